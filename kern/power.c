/*
 * Power off and reset. The Pi has no power switch: both let the watchdog reset the chip, and a code
 * in RSTS asks the firmware not to boot again.
 */
#include "power.h"
#include "bcm2837.h"

static _Noreturn void
watchdog(uint64_t pm, uint32_t rsts)
{
    volatile uint32_t *reg = (volatile uint32_t *)pm;
    uint32_t rstc = reg[PM_RSTC / 4] & 0x00ffffff & ~PM_RSTC_WRCFG;

    reg[PM_RSTS / 4] = PM_PASSWORD | rsts;
    reg[PM_WDOG / 4] = PM_PASSWORD | PM_WDOG_TICKS;
    reg[PM_RSTC / 4] = PM_PASSWORD | rstc | PM_RSTC_FULL;
    for (;;)
        __asm__ volatile("wfi");
}

__attribute__((noinline)) void
power_off_at(uint64_t pm)
{
    watchdog(pm, PM_RSTS_HALT);
}

__attribute__((noinline)) void
power_off(void)
{
    watchdog((uint64_t)P2V(PM_PA), PM_RSTS_HALT);
}

__attribute__((noinline)) void
power_reset(void)
{
    watchdog((uint64_t)P2V(PM_PA), 0);
}
