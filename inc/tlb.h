/*
 * The barriers and TLB maintenance of the page-table code, apart from its algorithms, which also
 * compile for the host: there these are empty. (ARM ARM D5.10, B2.3.7.)
 */
#ifndef INC_TLB_H
#define INC_TLB_H

#include "types.h"
#if LAB >= 5
#include "memlayout.h"
#endif

#ifdef __aarch64__
#define tlb_asm(...) __asm__ volatile(__VA_ARGS__)
#else
#define tlb_asm(...) ((void)0)
#endif

/*
 * Order table writes (a new table's zeroes, a new entry) before whatever follows: this and the other
 * cores' walkers see them first. The isb makes an entry that was just written usable by the next
 * instruction.
 */
static inline void
pte_sync(void)
{
    tlb_asm("dsb ishst; isb" : : : "memory");
}

/*
 * Drop every EL1&0 translation from the TLBs of all cores. The first dsb makes the table changes
 * visible to the walkers before they can refill; the second waits until no core uses an old entry;
 * the isb drops what this core has already fetched through one.
 */
static inline void
tlb_flush_all(void)
{
    tlb_asm("dsb ishst; tlbi vmalle1is; dsb ish; isb" : : : "memory");
}

/* The same for one page of address space, whatever its ASID. va: any address in the page. */
static inline void
tlb_flush_page(const void *va)
{
    tlb_asm("dsb ishst; tlbi vaae1is, %0; dsb ish; isb"
            :
            : "r"(((uint64_t)va >> 12) & 0xfffffffffffUL)
            : "memory");
    (void)va;
}
#if LAB >= 5

/* The same for one page of the address space that asid stands for. */
static inline void
tlb_flush_user(uint64_t asid, uint64_t va)
{
    tlb_asm("dsb ishst; tlbi vae1is, %0; dsb ish; isb"
            :
            : "r"(asid << 48 | (va >> 12 & 0xfffffffffffUL))
            : "memory");
    (void)asid, (void)va;
}

#if LAB >= 6
/* The same for all of that address space. */
static inline void
tlb_flush_asid(uint64_t asid)
{
    tlb_asm("dsb ishst; tlbi aside1is, %0; dsb ish; isb" : : "r"(asid << 48) : "memory");
    (void)asid;
}

#endif
/*
 * Instruction fetches of all cores see what was written to the page (ARM ARM B2.4.4): its data cache lines
 * go to where both caches meet, then the instruction caches forget theirs. Lines of 64 bytes; a core whose
 * lines are longer does some twice.
 */
static inline void
icache_sync(const void *page)
{
    for (uint64_t offset = 0; offset < PGSIZE; offset += 64)
        tlb_asm("dc cvau, %0" : : "r"((uint64_t)page + offset) : "memory");
    tlb_asm("dsb ish"
            :
            :
            : "memory"); /* the data is there before any instruction line is dropped ... */
    for (uint64_t offset = 0; offset < PGSIZE; offset += 64)
        tlb_asm("ic ivau, %0" : : "r"((uint64_t)page + offset) : "memory");
    tlb_asm("dsb ish; isb"
            :
            :
            : "memory"); /* ... and they are, before anything of the page is fetched */
    (void)page;
}
#endif

#endif
