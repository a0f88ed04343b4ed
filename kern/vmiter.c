/*
 * From leaf to leaf through a page table.
 */
#include "vmiter.h"

#define LAST_LEVEL 3
#define VA_BITS    48

static bool
is_table(uint64_t pte, int level)
{
    return level != LAST_LEVEL && (pte & PTE_TABLE) == PTE_TABLE;
}

/* The first leaf at or behind va. it->tables holds the tables for va, down to this level. */
static void
find(struct vmiter *it, uint64_t va, int level)
{
    for (;;) {
        uint64_t *table = it->tables[level];
        size_t first = PTX(level, va), i = first;

        while (i < NPTE && !(table[i] & PTE_P))
            i++;
        if (i > first)
            va = ROUNDDOWN(va, 1UL << PTXSHIFT(level)) + ((i - first) << PTXSHIFT(level));
        if (i == NPTE) {
            /* This table has no more. Where va is now, the tables above may have other entries, too. */
            if (va >> VA_BITS)
                break;
            while (PTX(level, va) == 0)
                level--;
        } else if (is_table(table[i], level)) {
            it->tables[++level] = P2V(PTE_ADDR(table[i]));
        } else {
            it->va = ROUNDDOWN(va, 1UL << PTXSHIFT(level));
            it->pte = &table[i];
            it->level = level;
            return;
        }
    }
    it->pte = NULL;
}

struct vmiter
vmiter_at(uint64_t *root, uint64_t va)
{
    struct vmiter it = {.tables = {root}};

    find(&it, va & ((1UL << VA_BITS) - 1), 0);
    return it;
}

void
vmiter_next(struct vmiter *it)
{
    uint64_t va = it->va + vmiter_size(it);
    int level = it->level;

    if (va >> VA_BITS) {
        it->pte = NULL;
        return;
    }
    while (PTX(level, va) == 0)
        level--;
    find(it, va, level);
}

static void
tables_below(uint64_t *table, int level, uint64_t va, void (*fn)(uint64_t *, int, uint64_t, void *),
             void *arg)
{
    fn(table, level, va, arg);
    for (size_t i = 0; i < NPTE && level < LAST_LEVEL; i++)
        if (is_table(table[i], level))
            tables_below(P2V(PTE_ADDR(table[i])), level + 1, va + (i << PTXSHIFT(level)), fn, arg);
}

void
vmiter_tables(uint64_t *root, void (*fn)(uint64_t *table, int level, uint64_t va, void *arg),
              void *arg)
{
    tables_below(root, 0, 0, fn, arg);
}
