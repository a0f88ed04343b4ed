/*
 * Which address space the core uses, and the tags (ASIDs) by which TLB entries of different ones are told
 * apart: so nothing has to be flushed when another process gets its turn. (ARM ARM D5.10.1)
 *
 * ASIDs are handed out in a row, each to one address space. When there are no more, a new generation begins: every
 * translation leaves the TLBs, and whoever runs again gets a new one. Bits 15:0 of aspace.asid are the tag, those above it
 * the generation. ASID 0 belongs to the empty table.
 */
#include "aspace.h"
#include "kvm.h"
#include "sysreg.h"
#include "tlb.h"

#define TTBR_ASID_SHIFT 48
#define ASID_MASK       0xffffUL
#define GENERATION      0x10000UL /* the first one; also the step from each to the next */

static uint64_t generation = GENERATION;
static uint64_t next_asid = 1;

/* How many there are: ID_AA64MMFR0_EL1.ASIDBits (D13.2.64) says 8 or 16 bits; mmu.S sets TCR_EL1.AS to match. */
static uint64_t
asid_count(void)
{
    return (read_sysreg(id_aa64mmfr0_el1) >> 4 & 0xf) == 2 ? 1UL << 16 : 1UL << 8;
}

static uint64_t
new_asid(void)
{
    if (next_asid >= asid_count()) {
        generation += GENERATION;
        next_asid = 1;
        tlb_flush_all(); /* nothing of the old generation is left when its tags are used again */
    }
    return generation | next_asid++;
}

void
aspace_use(struct aspace *as)
{
    uint64_t ttbr = kvm_empty_root();

    if (as) {
        if ((as->asid & ~ASID_MASK) != generation)
            as->asid = new_asid();
        ttbr = V2P(as->root) | (as->asid & ASID_MASK) << TTBR_ASID_SHIFT;
    }
    if (ttbr == read_sysreg(ttbr0_el1))
        return;
    write_sysreg(ttbr0_el1, ttbr);
    __asm__ volatile("isb"); /* from here on the kernel's own LDTR and STTR go through it, too */
}

void
aspace_flush_page(const struct aspace *as, uint64_t va)
{
    tlb_flush_user(as->asid & ASID_MASK, va);
}
#if LAB >= 6

void
aspace_flush(const struct aspace *as)
{
    tlb_flush_asid(as->asid & ASID_MASK);
}
#endif
