/*
 * Page tables: finding an entry, mapping a region, and taking a whole tree down again.
 */
#include "vm.h"
#include "console.h"
#include "kalloc.h"
#include "page.h"
#include "tlb.h"

#if SOL >= 2
#define LAST_LEVEL 3
#define VA_BITS    48

/* The table that a valid table descriptor points to. */
static uint64_t *
table_of(uint64_t pte)
{
    return P2V(PTE_ADDR(pte));
}

/* Is this entry, of a level before the last, the descriptor of a table? */
static bool
is_table(uint64_t pte)
{
    return (pte & PTE_TABLE) == PTE_TABLE;
}

/*
 * Tables are allocated before any is used: a call that needs n of them takes n pages at once or none,
 * so that running out of memory never leaves something half done. The reserve is linked like the
 * free list.
 */
static void
release(struct run *reserve)
{
    while (reserve) {
        struct run *next = reserve->next;
        kfree((char *)reserve);
        reserve = next;
    }
}

static int
take(struct run **reserve, uint64_t n)
{
    *reserve = NULL;
    while (n-- > 0) {
        struct run *page = (struct run *)kalloc();
        if (!page) {
            release(*reserve);
            return -1;
        }
        page->next = *reserve;
        *reserve = page;
    }
    return 0;
}

/* Link a table from the reserve into the empty *entry, and return it. */
static uint64_t *
link_table(uint64_t *entry, struct run **reserve)
{
    struct run *page = *reserve;

    assert(page); /* whoever made the reserve has counted the tables */
    *reserve = page->next;
    page_zero(page);
    pte_sync(); /* the zeroes, before a walker can reach them through the entry */
    *entry = V2P(page) | PTE_TABLE;
    return (uint64_t *)page;
}

/* How many tables of all levels below `level` [va, last] needs, where none exists yet. */
static uint64_t
tables_below(int level, uint64_t va, uint64_t last)
{
    uint64_t n = 0;

    for (; level < LAST_LEVEL; level++)
        n += (last >> PTXSHIFT(level)) - (va >> PTXSHIFT(level)) + 1;
    return n;
}

/* The last address that the entry for va, in a table of this level, covers; or `last` if lower. */
static uint64_t
entry_end(int level, uint64_t va, uint64_t last)
{
    return MIN(va | ((1UL << PTXSHIFT(level)) - 1), last);
}

/*
 * How many tables are missing before every page of [va, last] has an entry. -1: a page is mapped
 * already, or a block is in the way.
 */
static int64_t
missing_tables(const uint64_t *table, int level, uint64_t va, uint64_t last)
{
    int64_t missing = 0;

    if (level == LAST_LEVEL) {
        for (uint64_t i = PTX(level, va); i <= PTX(level, last); i++)
            if (table[i] & PTE_P)
                return -1;
        return 0;
    }
    for (;;) {
        uint64_t pte = table[PTX(level, va)], stop = entry_end(level, va, last);
        if (!(pte & PTE_P)) {
            missing += (int64_t)tables_below(level, va, stop);
        } else if (!is_table(pte)) {
            return -1;
        } else {
            int64_t below = missing_tables(table_of(pte), level + 1, va, stop);
            if (below < 0)
                return -1;
            missing += below;
        }
        if (stop == last)
            return missing;
        va = stop + 1;
    }
}

/* Write the entries of [va, last]: desc for the first page, and so on. The reserve has every table. */
static uint64_t
write_entries(uint64_t *table, int level, uint64_t va, uint64_t last, uint64_t desc,
              struct run **reserve)
{
    if (level == LAST_LEVEL) {
        uint64_t *entry = &table[PTX(level, va)], *stop = &table[PTX(level, last)] + 1;
        for (; entry < stop; entry++, desc += PGSIZE)
            *entry = desc;
        return desc;
    }
    for (;;) {
        uint64_t *entry = &table[PTX(level, va)], stop = entry_end(level, va, last);
        uint64_t *below = *entry & PTE_P ? table_of(*entry) : link_table(entry, reserve);
        desc = write_entries(below, level + 1, va, stop, desc, reserve);
        if (stop == last)
            return desc;
        va = stop + 1;
    }
}
#endif

uint64_t *
pgdir_walk(uint64_t *pgdir, const void *va, int64_t alloc)
{
#if SOL >= 2
    uint64_t *table = pgdir;
    struct run *reserve = NULL;

    for (int level = 0; level < LAST_LEVEL; level++) {
        uint64_t *entry = &table[PTX(level, va)];
        if (!(*entry & PTE_P)) {
            /* This table is missing, and so are all below it. */
            if (!reserve && (!alloc || take(&reserve, (uint64_t)(LAST_LEVEL - level)) < 0))
                return NULL;
            table = link_table(entry, &reserve);
        } else if (is_table(*entry)) {
            table = table_of(*entry);
        } else {
            return NULL;
        }
    }
    return &table[PTX(LAST_LEVEL, va)];
#else
    /* Lab 2: your code here. */
    (void)pgdir, (void)va, (void)alloc;
    return NULL;
#endif
}

int
map_region(uint64_t *pgdir, void *va, uint64_t size, uint64_t pa, int64_t perm)
{
#if SOL >= 2
    uint64_t first = (uint64_t)va, last = first + size - 1;
    struct run *reserve;

    if (size == 0)
        return 0;
    if (last < first || first >> VA_BITS != last >> VA_BITS)
        return -1;
    first = ROUNDDOWN(first, PGSIZE);
    pa = ROUNDDOWN(pa, PGSIZE);
    if (pa >> VA_BITS || (pa + (last - first)) >> VA_BITS)
        return -1;

    int64_t missing = missing_tables(pgdir, 0, first, last);
    if (missing < 0 || take(&reserve, (uint64_t)missing) < 0)
        return -1;
    write_entries(pgdir, 0, first, last, pa | (uint64_t)perm | PTE_PAGE | PTE_AF | PTE_SH,
                  &reserve);
    pte_sync();
    return 0;
#else
    /* Lab 2: your code here. */
    (void)pgdir, (void)va, (void)size, (void)pa, (void)perm;
    return -1;
#endif
}

#if SOL >= 2
static void
free_table(uint64_t *table, int level)
{
    for (size_t i = 0; i < NPTE; i++) {
        uint64_t pte = table[i];
        if (!(pte & PTE_P))
            continue;
        if (level < LAST_LEVEL && is_table(pte))
            free_table(table_of(pte), level + 1);
        else if (level == LAST_LEVEL && page_owned(PTE_ADDR(pte)))
            kfree(P2V(PTE_ADDR(pte)));
    }
    kfree((char *)table);
}
#endif

void
vm_free(uint64_t *pgdir, int level)
{
#if SOL >= 2
    tlb_flush_all(); /* once a page is free, nobody may reach it through a stale translation */
    free_table(pgdir, level);
#else
    /* Lab 2: your code here. */
    (void)pgdir, (void)level;
#endif
}
