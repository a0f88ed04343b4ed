/* The way from reset to main(), and the milestones that the host is told of. */
#ifndef INC_BOOT_H
#define INC_BOOT_H

#include "types.h"

/* First C code, MMU off. firmware: physical address of a device tree or ATAGs, or 0. (boot.c) */
_Noreturn void boot_start(uint64_t firmware);

/* Where boot_vectors lead: report and power off. MMU off. */
_Noreturn void boot_exception(void);

/*
 * Turn the MMU and caches on with the kernel's tables (root: physical address), leave TTBR0 with
 * the empty table, and enter main(firmware) in the upper half on the boot stack. (mmu.S)
 */
_Noreturn void mmu_enable(uint64_t root, uint64_t empty_root, uint64_t firmware);

/* Tell the host, over the PL011, how far the boot has come. MMU on. */
void boot_milestone(const char *name);

/* Where cores 1 to 3 end up (entry.S), and what sends them there (cores.c). */
void secondary_start(void);
void cores_collect(void);

_Noreturn void main(uint64_t firmware);

#endif
