/*
 * An address space that is made up, for the checks of aspace.c: what is in it, and whether only that has changed
 * which should.
 */
#include "lab5.h"
#include "errno.h"
#include "kalloc.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"
#include "tlb.h"
#include "vma.h"

struct aspace space;
static struct aspace before; /* as it was when space_check looked last */
static uint64_t key;         /* of what is in the check's pages */
static bool gives_back;

const int space_prots[6] = {PROT_NONE,  PROT_READ,
                            PROT_WRITE, PROT_READ | PROT_WRITE,
                            PROT_EXEC,  PROT_READ | PROT_EXEC};

const char *
prot_name(int prot)
{
    static const char *const names[] = {"PROT_NONE",  "PROT_READ",
                                        "PROT_WRITE", "PROT_READ | PROT_WRITE",
                                        "PROT_EXEC",  "PROT_READ | PROT_EXEC"};

    for (size_t i = 0; i < ARRAY_SIZE(space_prots); i++)
        if (space_prots[i] == prot)
            return names[i];
    return "?";
}

int
space_any_prot(void)
{
    return space_prots[check_random_below(ARRAY_SIZE(space_prots))];
}

/* ---- pages with several users ---- */

#define SHARED_MAX 16
static uint64_t shared[SHARED_MAX]; /* physical addresses */
static size_t nshared;

uint64_t *
space_shared_page(unsigned users)
{
    uint64_t *page = space_page();

    EXPECT(nshared < SHARED_MAX, "a mistake in the check itself: SHARED_MAX is too small");
    shared[nshared++] = V2P(page);
    while (page_refs(V2P(page)) < users)
        EXPECT(page_share(V2P(page)) > 1,
               "page_share of a page in use fails: write it in kern/pmm.c first (lab 3)");
    return page;
}

/* ---- beginning and end ---- */

/* As lab 2's pool keeps all pages from one check to the next, and this was the last that uses it. */
static void
give_back(void)
{
    gives_back = false;
    pool_start(0);
    for (uint64_t pa = 0; pa < PHYSTOP; pa += PGSIZE)
        if (stock_has(pa))
            kfree(P2V(pa));
    stock_given_back();
}

static void
space_end(void)
{
    aspace_use(NULL);
    for (; nshared > 0; nshared--)
        while (page_refs(shared[nshared - 1]) > 1 && page_unshare(shared[nshared - 1]) > 0)
            ;
    if (gives_back && !check_is_last())
        give_back();
    else
        pool_end();
}

void
space_last_check(void)
{
    gives_back = true;
}

void
space_start(size_t free_pages)
{
    nshared = 0;
    space.root = tree_start(free_pages, LOWER);
    check_finally(space_end);
    key = check_random();
    space.asid = check_random();
    space.vmas = P2V(check_random() & 0x3ffffff8);
    space.brk_start = check_random();
    space.brk = check_random();
    space.pages = check_random() >> 8;
    before = space;
}

void
space_use(void)
{
    aspace_use(&space);
    before.asid = space.asid;
}

/* ---- pages ---- */

uint64_t *
space_page(void)
{
    uint64_t *page = page_take(0);

    for (size_t i = 0; i < NPTE; i++)
        page[i] = (V2P(&page[i]) ^ key) * 0x9e3779b97f4a7c15;
    return page;
}

bool
space_page_kept(const uint64_t *page)
{
    for (size_t i = 0; i < NPTE; i++)
        if (page[i] != (V2P(&page[i]) ^ key) * 0x9e3779b97f4a7c15)
            return false;
    return true;
}

uint64_t
space_place(void)
{
    static const uint64_t special[] = {USER_TOP - PGSIZE, 0, PGSIZE, 0x400000,
                                       USER_STACK_TOP - PGSIZE};

    if (check_random() % 4 == 0) {
        uint64_t va = special[check_random_below(ARRAY_SIZE(special))];
        if (tree_lacks(va, 1))
            return va;
    }
    return tree_place(1);
}

/* ---- entries ---- */

uint64_t
space_attributes(int prot)
{
    uint64_t pte = PTE_NORMAL | PTE_NG | PTE_PXN;

    if (prot != PROT_NONE)
        pte |= PTE_USER;
    if (!(prot & PROT_WRITE))
        pte |= PTE_RO;
    if (!(prot & PROT_EXEC))
        pte |= PTE_UXN;
    return pte;
}

uint64_t
space_entry(uint64_t pa, int prot)
{
    return pa | space_attributes(prot) | PAGE_FLAGS;
}

const char *
space_wrong_attributes(uint64_t pte, int prot)
{
    static char text[64];
    uint64_t differs = (pte ^ space_attributes(prot)) & ~PAGE_FLAGS;

    if (differs & 7UL << 2)
        return "the memory type is not PTE_NORMAL (bits 4:2)";
    if (differs & PTE_NG)
        return "PTE_NG is missing: a TLB entry would hold for all processes";
    if (differs & PTE_PXN)
        return "PTE_PXN is missing: the kernel could execute it";
    if (differs & PTE_USER)
        return prot == PROT_NONE ? "PTE_USER is set: programs could read it"
                                 : "PTE_USER is missing: programs could not read it";
    if (differs & PTE_RO)
        return prot & PROT_WRITE
                 ? "PTE_RO is set: programs could not write it"
                 : "PTE_RO is missing: programs (or the kernel for them) could write it";
    if (differs & PTE_UXN)
        return prot & PROT_EXEC ? "PTE_UXN is set: programs could not execute it"
                                : "PTE_UXN is missing: programs could execute it";
    snprintf(text, sizeof(text), "the bits 0x%lx belong to no attribute of it", differs);
    return differs ? text : NULL;
}

void
space_put(uint64_t va, uint64_t pa, int prot)
{
    uint64_t *table = space.root;

    for (int level = 0; level < 3; level++) {
        uint64_t *entry = &table[PTX(level, va)];
        if (!(*entry & PTE_P))
            *entry = V2P(page_take(0)) | PTE_TABLE;
        table = P2V(PTE_ADDR(*entry));
    }
    table[PTX(3, va)] = space_entry(pa, prot);
    tree_add(3, va, table[PTX(3, va)]);
    pte_sync();
}

void
space_mapped(uint64_t va, uint64_t pa, int prot, uint64_t also)
{
    const uint64_t *entry = tree_entry(va, 3);
    uint64_t flags = entry ? PTE_FLAGS(*entry) & ~PAGE_FLAGS : 0, model = space_entry(pa, prot);

    EXPECT(entry && *entry & PTE_P, "0x%lx is not mapped: expected the entry 0x%lx, found %s", va,
           model, entry ? "one that is not valid" : "no table for it");
    EXPECT(PTE_ADDR(*entry) == pa, "0x%lx is mapped to 0x%lx, expected 0x%lx", va, PTE_ADDR(*entry),
           pa);
    if (flags == (user_pte(prot) & ~PAGE_FLAGS) || (also && flags == (also & ~PAGE_FLAGS)))
        model = pa | flags | PAGE_FLAGS;
    else
        EXPECT(!space_wrong_attributes(flags, prot),
               "the entry for 0x%lx is 0x%lx, expected 0x%lx: %s", va, *entry, model,
               space_wrong_attributes(flags, prot));
    tree_add(3, va, model);
}

void
space_unmapped(uint64_t va)
{
    const uint64_t *entry = tree_entry(va, 3);

    EXPECT(entry, "the tables for 0x%lx are gone, expected that they stay", va);
    EXPECT(!(*entry & PTE_P),
           "0x%lx is still mapped: expected an entry whose bit 0 is clear, found 0x%lx", va,
           *entry);
    tree_add(3, va, *entry);
}

/* ---- comparing ---- */

int64_t
space_more_pages(void)
{
    return (int64_t)(space.pages - before.pages);
}

void
space_check(int64_t more_pages)
{
    tree_check();
    EXPECT(space.root == before.root && space.asid == before.asid && space.vmas == before.vmas
               && space.brk_start == before.brk_start && space.brk == before.brk,
           "as->%s has changed: expected all but as->pages to be as before",
           space.root != before.root   ? "root"
           : space.asid != before.asid ? "asid"
           : space.vmas != before.vmas ? "vmas"
                                       : "brk or as->brk_start");
    EXPECT(space_more_pages() == more_pages, "as->pages has changed by %ld, expected %ld",
           space_more_pages(), more_pages);
    before = space;
}

void
space_expect(int expected, int result, const char *why)
{
    EXPECT(result == expected, "expected %s, as %s, found %s", error_name(expected), why,
           error_name(result));
}
