/*
 * From entry.S to the upper half. This code runs at its physical address with the MMU off, so it
 * must not follow a pointer that the linker made; what it calls may not either. It looks at what
 * entry.S has achieved, has the kernel's page tables built, and enters main() through them.
 */
#include "boot.h"
#include "bcm2837.h"
#include "kvm.h"
#include "memlayout.h"
#include "power.h"
#include "sysreg.h"

/*
 * A line on the PL011, which is staff's own channel to the host (QEMU's first -serial): it works
 * before the student's console does. Data written to a UART that is not enabled goes nowhere, so
 * this is harmless on a board. base: 0 with the MMU off, else KERNBASE.
 */
static void
pl011_puts(uint64_t base, const char *s)
{
    volatile uint32_t *dr = (volatile uint32_t *)(base + PL011_DR_PA);

    while (*s)
        *dr = (uint8_t)*s++;
}

static void
report(uint64_t base, const char *what)
{
    pl011_puts(base, "boot: ");
    pl011_puts(base, what);
    pl011_puts(base, "\n");
}

void
boot_milestone(const char *name)
{
    report(KERNBASE, name);
}

static _Noreturn void
boot_fail(const char *why)
{
    pl011_puts(0, "boot: FAILED: ");
    pl011_puts(0, why);
    pl011_puts(0, "\n");
    power_off_at(PM_PA);
}

void
boot_exception(void)
{
    boot_fail(
        "an exception before the MMU was on: look at el2_to_el1 and clear_bss in kern/entry.S");
}

/* Lab 1's exercises lie on this path; what they should have done is looked at, not assumed. */
static void
check_entry(void)
{
    if (read_sysreg(CurrentEL) != CURRENTEL(1))
        boot_fail("still at EL2: write el2_to_el1 in kern/entry.S");
    report(0, "el1");

    for (const uint64_t *p = (const uint64_t *)bss_start; p < (const uint64_t *)bss_end; p++)
        if (*p != 0)
            boot_fail("the BSS is not zero: write clear_bss in kern/entry.S");
    report(0, "bss");
}

_Noreturn void
boot_start(uint64_t firmware)
{
    check_entry();
    kvm_boot(firmware);
    report(0, "mmu");
    mmu_enable(kvm_root(), kvm_empty_root(), firmware);
}
