/* The end of a run. (power.c) */
#ifndef INC_POWER_H
#define INC_POWER_H

#include "types.h"

/* Switch the machine off: QEMU exits, a board stays halted. */
_Noreturn void power_off(void);

/* Restart the machine. A graded run ends so after a panic: with -no-reboot the host can tell. */
_Noreturn void power_reset(void);

/* power_off with the power manager's registers at address pm: for boot.c, before the MMU is on. */
_Noreturn void power_off_at(uint64_t pm);

#endif
