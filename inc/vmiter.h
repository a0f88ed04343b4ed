/*
 * Goes through what a page table maps, leaf by leaf in order of addresses, and skips what is empty, a table
 * at a time:
 *
 *     for (struct vmiter it = vmiter_at(root, 0); vmiter_ok(&it); vmiter_next(&it))
 *         cprintf("%lx: %lx\n", it.va, PTE_ADDR(*it.pte));
 *
 * The entry may be changed on the way (it.pte points to it); tables may not come or go. (vmiter.c)
 */
#ifndef INC_VMITER_H
#define INC_VMITER_H

#include "mmu.h"

struct vmiter {
    uint64_t
        va; /* where this leaf begins: bits 47:0 (a table does not know which half it is for) */
    uint64_t *pte;       /* its entry; NULL: behind the last leaf */
    int level;           /* of the table that the entry is in: 3 a page, 1 or 2 a block */
    uint64_t *tables[4]; /* the tables on the way, root first */
};

/* The first leaf at or behind va (or the one that va lies in). root: a level 0 table. */
struct vmiter vmiter_at(uint64_t *root, uint64_t va);

/* Is there a leaf? */
static inline bool
vmiter_ok(const struct vmiter *it)
{
    return it->pte != NULL;
}

/* How many bytes the leaf maps. */
static inline uint64_t
vmiter_size(const struct vmiter *it)
{
    return 1UL << PTXSHIFT(it->level);
}

/* On to the next leaf. */
void vmiter_next(struct vmiter *it);

/* Call fn(table, level, arg) for every table of the tree, root first; va: where what it spans begins. */
void vmiter_tables(uint64_t *root, void (*fn)(uint64_t *table, int level, uint64_t va, void *arg),
                   void *arg);

#endif
