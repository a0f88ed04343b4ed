/*
 * Shows how the MMU translates an address: for fault reports and the monitor.
 */
#include "pt.h"
#include "console.h"
#include "mmu.h"
#include "ram.h"
#include "sysreg.h"

static void
print_attributes(uint64_t pte)
{
    cprintf("%s, EL1 %s%s, EL0 %s%s%s%s\n", (pte & (7UL << 2)) == PTE_NORMAL ? "normal" : "device",
            pte & PTE_RO ? "r" : "rw", pte & PTE_PXN ? "" : "x",
            !(pte & PTE_USER) ? "-" : (pte & PTE_RO ? "r" : "rw"), pte & PTE_UXN ? "" : "x",
            pte & PTE_AF ? "" : ", AF clear", pte & PTE_NG ? ", not global" : "");
}

/* From the table at the physical address `table`, which is a root. */
static void
print_levels(uint64_t table, uint64_t va)
{
    for (int level = 0; level <= 3; level++) {
        if (!ram_holds(table, PGSIZE)) {
            cprintf("    level %d: no table there: %lx is not RAM\n", level, table);
            return;
        }
        uint64_t pte = ((const uint64_t *)P2V(table))[PTX(level, va)];
        cprintf("    level %d [%3lu]: %016lx ", level, PTX(level, va), pte);
        if (!(pte & PTE_P)) {
            cprintf("not valid\n");
            return;
        }
        if (level == 3 || (pte & PTE_TABLE) == PTE_BLOCK) {
            bool reserved = level == 0 || (level == 3 && (pte & PTE_PAGE) != PTE_PAGE);
            if (reserved) {
                cprintf("reserved encoding: bit 1 is clear, faults as if not valid\n");
                return;
            }
            cprintf("%s %lx, ", level == 3 ? "page" : "block", PTE_ADDR(pte));
            print_attributes(pte);
            return;
        }
        cprintf("table\n");
        table = PTE_ADDR(pte);
    }
}

void
pt_print_walk(uint64_t va)
{
    bool upper = va >> 48 == 0xffff;

    if (!upper && va >> 48 != 0) {
        cprintf("  %lx is in neither half: bits 63:48 are not all alike\n", va);
        return;
    }
    uint64_t table = PTE_ADDR(upper ? read_sysreg(ttbr1_el1) : read_sysreg(ttbr0_el1));
    cprintf("  walk of %lx: TTBR%d = %lx\n", va, upper, table);
    print_levels(table, va);
}
#if LAB >= 5

void
pt_print_walk_in(uint64_t root, uint64_t va)
{
    cprintf("  walk of %lx: the root is at %lx\n", va, root);
    print_levels(root, va);
}
#endif
