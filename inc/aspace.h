/*
 * Address spaces: the lower half, which each process has for itself. (aspace.c, asid.c; what is where in
 * it: vma.h)
 */
#ifndef INC_ASPACE_H
#define INC_ASPACE_H

#include "mmu.h"
#include "uapi/mman.h"

struct vma;

/* Fields change only while the process itself, or who creates or ends it, is at work in the kernel. */
struct aspace {
    uint64_t *root;     /* level 0 table, an address in the linear map */
    uint64_t asid;      /* asid.c's; bits 15:0 tag its TLB entries; 0: it has not run yet */
    struct vma *vmas;   /* what is mapped, by address (vma.h) */
    uint64_t brk_start; /* the heap begins here ... */
    uint64_t brk;       /* ... and ends before this: the program break */
    size_t pages;       /* how many pages it has, without tables */
#if LAB >= 6
    struct image *image; /* the program that it runs (pager.h), or NULL */
#endif
};

/*
 * ---- Lab 5's exercises, in aspace.c ----
 *
 * prot: PROT_READ, PROT_WRITE, PROT_EXEC (uapi/mman.h), any of them, but never WRITE and EXEC both. va is
 * the address of a page below USER_TOP.
 */

/*
 * The attributes of a user's page with the rights prot, for map_region: PTE_NORMAL, PTE_NG (its TLB entry
 * belongs to the ASID) and PTE_PXN (the kernel never executes it), always. With any right at all
 * PTE_USER, else PTE_KERNEL: mapped, and out of EL0's reach. PTE_RW with PROT_WRITE, else PTE_RO. PTE_UXN
 * without PROT_EXEC. Nothing else; but what map_region adds (PTE_PAGE, PTE_AF, PTE_SH) may be there already.
 */
uint64_t user_pte(int prot);

/* Make as->root an empty table, a page of kalloc's. No other field changes. 0, or -ENOMEM. */
int aspace_create(struct aspace *as);

/*
 * Give back everything: pages, tables, the root; as->root is NULL then. No core uses the table any more.
 * No translation is left in a TLB before the first page is free.
 */
void aspace_destroy(struct aspace *as);

/*
 * Map the page frame at pa at va, with the rights prot. With PROT_EXEC, instruction fetches see what is in the
 * frame now (icache_sync) before the page is mapped. as->pages counts it. 0; -EEXIST: va is mapped already
 * (bit 0 of its entry tells); -ENOMEM: no page for a table. After an error nothing has changed, and the frame is
 * still the caller's.
 */
int user_map(struct aspace *as, uint64_t va, uint64_t pa, int prot);

/*
 * A page of kalloc's for va, all zero before anybody can see it, mapped with the rights prot. 0, or -ENOMEM,
 * -EEXIST: then nothing has changed, and no page is lost.
 */
int user_alloc(struct aspace *as, uint64_t va, int prot);

/*
 * Unmap the page at va and give it back (kfree: who shares it keeps it). Before it is free, no core can
 * reach it at va any more: entry, TLB, then kfree. Tables stay. as->pages counts it. 0; -ENOENT: nothing was
 * mapped.
 */
int user_free(struct aspace *as, uint64_t va);

/*
 * Give the page at va the rights prot; the page and what is in it stay. The entry is live: it is made invalid,
 * leaves the TLBs, and only then becomes the new one (break before make, ARM ARM D5.10.1), which the walkers see
 * (pte_sync) before it returns. (The manual demands that of a new address, memory type or PTE_NG; here it is done for
 * every change, as one rule is easier to keep than two.) What was written to a page that becomes executable is seen
 * by instruction fetches before the page can be executed. 0; -ENOENT: nothing is mapped.
 */
int user_protect(struct aspace *as, uint64_t va, int prot);

/* ---- Given, in asid.c ---- */

/*
 * From here on this core translates the lower half with as (NULL: with the empty table). Gives as an ASID
 * if it has none of today's. Interrupts are masked.
 */
void aspace_use(struct aspace *as);

/* The page's translation for as leaves the TLBs of all cores. After a change of its entry. */
void aspace_flush_page(const struct aspace *as, uint64_t va);
#if LAB >= 6

/* The same for all of its pages. */
void aspace_flush(const struct aspace *as);
#endif

#endif
