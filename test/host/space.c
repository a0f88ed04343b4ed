#include "space.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "aspace.h"
#include "errno.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "mmu.h"
#include "page.h"
#include "pmm.h"

#define FIRST_PA 0x7a5a5a000000u /* far from any other number in use */

static char memory[SPACE_PAGES * PGSIZE] __attribute__((aligned(PGSIZE)));
static struct {
    unsigned users; /* 0: free */
    bool synced;
} frame[SPACE_PAGES];
static size_t nused, nrecords, pages_left, records_left;
static size_t next; /* where the search for a free frame begins */

uint64_t machine_kernbase;
size_t space_asked;
struct range usable_ranges[2];
struct zone zones[ZONES_MAX + 1];
size_t nzones;

static size_t
index_of(uint64_t pa)
{
    size_t i = (pa - FIRST_PA) / PGSIZE;

    if (pa < FIRST_PA || i >= SPACE_PAGES || pa % PGSIZE != 0) {
        broken("%#lx is no frame", (unsigned long)pa);
    }
    return i;
}

/* ---- How much there is ---- */

void
space_start(void)
{
    machine_kernbase = (uint64_t)memory - FIRST_PA;
    memset(frame, 0, sizeof(frame));
    memset(zones, 0, sizeof(zones));
    ASAN_POISON_MEMORY_REGION(memory, sizeof(memory));
    usable_ranges[0] = (struct range){FIRST_PA, FIRST_PA + sizeof(memory)};
    nused = nrecords = space_asked = next = 0;
    zones[0].pages = SPACE_PAGES;
    nzones = 1;
    space_limit(SPACE_NO_LIMIT, SPACE_NO_LIMIT);
}

size_t
space_available(void)
{
    size_t nfree = SPACE_PAGES - nused;

    return pages_left < nfree ? pages_left : nfree;
}

/* Half of them is on kalloc's list. */
static void
count_again(void)
{
    zones[0].free = space_available() / 2;
}

size_t
count_free_pages(void)
{
    return space_available() - space_available() / 2;
}

void
space_limit(size_t pages, size_t records)
{
    pages_left = pages;
    records_left = records;
    count_again();
}

size_t
space_pages(void)
{
    return nused;
}

size_t
space_records(void)
{
    return nrecords;
}

/* ---- Frames ---- */

char *
kalloc(void)
{
    space_asked++;
    if (space_available() == 0) {
        return NULL;
    }
    do { /* two in a row are not side by side */
        next = (next + 7) % SPACE_PAGES;
    } while (frame[next].users != 0);
    char *page = memory + next * PGSIZE;
    frame[next].users = 1;
    frame[next].synced = false;
    nused++;
    pages_left -= pages_left != SPACE_NO_LIMIT;
    count_again();
    ASAN_UNPOISON_MEMORY_REGION(page, PGSIZE);
    memset(page, (int)(space_asked * 2 + 1), PGSIZE); /* as a table: full of valid entries */
    return page;
}

void
kfree(char *v)
{
    size_t i = index_of(V2P(v));

    if (frame[i].users == 0) {
        broken("kfree of frame %zu, which is free", i);
    }
    if (--frame[i].users > 0) {
        return;
    }
    nused--;
    pages_left += pages_left != SPACE_NO_LIMIT;
    count_again();
    ASAN_POISON_MEMORY_REGION(v, PGSIZE);
}

unsigned
page_refs(uint64_t pa)
{
    return frame[index_of(pa)].users;
}

int
page_share(uint64_t pa)
{
    unsigned *users = &frame[index_of(pa)].users;

    if (*users == 0) {
        broken("page_share of a page that is free");
    }
    return *users < SPACE_USERS ? (int)++*users : -EBUSY;
}

bool
space_synced(uint64_t pa)
{
    return frame[index_of(pa)].synced;
}

void
space_forget_sync(uint64_t pa)
{
    frame[index_of(pa)].synced = false;
}

void
page_zero(void *page)
{
    memset(page, 0, PGSIZE);
}

#if LAB >= 6
void
page_copy(void *to, const void *from)
{
    memcpy(to, from, PGSIZE);
}
#endif

/* ---- Records ---- */

void *
kmalloc(size_t size)
{
    if (records_left == 0) {
        return NULL;
    }
    records_left -= records_left != SPACE_NO_LIMIT;
    nrecords++;
    void *p = malloc(size);
    return p ? memset(p, 0x5b, size) : NULL;
}

void *
kzalloc(size_t size)
{
    void *p = kmalloc(size);

    return p ? memset(p, 0, size) : NULL;
}

void
kmfree(void *p)
{
    if (!p) {
        return;
    }
    records_left += records_left != SPACE_NO_LIMIT;
    nrecords--;
    free(p);
}

/* ---- Page tables ---- */

static bool
is_used(uint64_t pa)
{
    return frame[index_of(pa)].users > 0;
}

static size_t
walk(const uint64_t *table, int level, uint64_t va, struct leaf *leaves, size_t n, size_t *ntables,
     unsigned *seen)
{
    if (!is_used(V2P(table)) || seen[index_of(V2P(table))]++ > 0) {
        broken("the level %d table for %#lx is free, or used twice", level, (unsigned long)va);
    }
    ++*ntables;
    for (size_t i = 0; i < NPTE; i++) {
        uint64_t pte = table[i], at = va + (i << (39 - 9 * level));
        if (pte == 0) {
            continue;
        }
        if ((pte & 3) != 3) {
            broken("the entry for %#lx at level %d is %#lx", (unsigned long)at, level,
                   (unsigned long)pte);
        }
        if (level < 3) {
            n = walk(P2V(PTE_ADDR(pte)), level + 1, at, leaves, n, ntables, seen);
            continue;
        }
        if (seen[index_of(PTE_ADDR(pte))]++ >= page_refs(PTE_ADDR(pte))) {
            broken("what %#lx is mapped to is free, or used by others", (unsigned long)at);
        }
        leaves[n++] = (struct leaf){at, pte};
    }
    return n;
}

size_t
space_leaves(const uint64_t *root, struct leaf leaves[SPACE_PAGES], size_t *ntables)
{
    static unsigned seen[SPACE_PAGES];

    memset(seen, 0, sizeof(seen));
    *ntables = 0;
    return walk(root, 0, 0, leaves, 0, ntables, seen);
}

/* The entry for va in the table of this level; NULL: there is no table. */
static const uint64_t *
entry_at(const uint64_t *root, uint64_t va, int level)
{
    const uint64_t *table = root;

    for (int l = 0; table && l < level; l++) {
        uint64_t pte = table[va >> (39 - 9 * l) & 511];
        table = pte != 0 ? P2V(PTE_ADDR(pte)) : NULL;
    }
    return table ? &table[va >> (39 - 9 * level) & 511] : NULL;
}

char *
space_frame(const uint64_t *root, uint64_t va)
{
    const uint64_t *entry = entry_at(root, va, 3);

    return entry && *entry != 0 ? P2V(PTE_ADDR(*entry)) : NULL;
}

size_t
space_tables_missing(const uint64_t *root, uint64_t start, uint64_t stop)
{
    size_t n = 0;

    for (int level = 1; level <= 3; level++) {
        uint64_t span = 1UL << (48 - 9 * level);
        for (uint64_t va = start / span * span; va < stop; va += span) {
            n += entry_at(root, va, level) == NULL;
        }
    }
    return n;
}

uint64_t
space_pte(uint64_t pa, int prot)
{
    uint64_t pte = pa | 3 | 1UL << 11 | 1UL << 10 | 3UL << 8 | 1UL << 53; /* nG, AF, SH, PXN */

    pte |= prot != 0 ? 1UL << 6 : 0;
    pte |= prot & 2 ? 0 : 1UL << 7;
    return prot & 4 ? pte : pte | 1UL << 54;
}

/* ---- Barriers, TLBs, caches ---- */

void
pte_sync(void)
{
}

void
tlb_flush_all(void)
{
}

void
tlb_flush_page(const void *va)
{
    (void)va;
}

void
tlb_flush_user(uint64_t asid, uint64_t va)
{
    (void)asid;
    (void)va;
}

void
icache_sync(const void *page)
{
    frame[index_of(V2P(page))].synced = true;
}

/* Until now the entry may be in use; so it must not be a valid one any more. */
void
aspace_flush_page(const struct aspace *as, uint64_t va)
{
    const uint64_t *entry = entry_at(as->root, va, 3);

    if (!entry || (*entry & 1) != 0) {
        broken("the TLBs forget %#lx, which is mapped", (unsigned long)va);
    }
}

#if LAB >= 6
void
aspace_flush(const struct aspace *as)
{
    (void)as;
}
#endif
