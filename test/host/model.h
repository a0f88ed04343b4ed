/*
 * The contract of inc/vm.h in its plainest form: a set of tables, each with its level, the first address that it
 * covers and what its entries map; and the pages that the caller holds. Every call of the code under test is
 * made through this, and after each the real tables, entry for entry, and the free list must be what
 * the model says. Addresses in it are 48 bits wide: bits 63:48 take no part in a walk.
 */
#ifndef MODEL_H
#define MODEL_H

#include "machine.h"
#include "mmu.h"

#define VA48 0xffffffffffffu

struct model_table {
    int level;
    uint64_t base;
    uint64_t entry[NPTE]; /* pages and blocks; what leads to a table of the model is 0 here */
};

struct model {
    uint64_t *root; /* NULL: none */
    size_t ntables; /* the root included */
    struct model_table table[MACHINE_PAGES];
    size_t nheld;
    char *held[MACHINE_PAGES];
};

/* Bytes that a table of this level, and one entry of it, cover. */
static inline uint64_t
entry_span(int level)
{
    return 1UL << (39 - 9 * (level & 3));
}

static inline uint64_t
table_span(int level)
{
    return NPTE * entry_span(level);
}

/* The first index >= i at which two tables differ, or NPTE; and a table to compare with. */
size_t tables_differ(const uint64_t *a, const uint64_t *b, size_t i);
extern const uint64_t empty_table[NPTE];

void model_clear(struct model *m);
struct model_table *model_find(struct model *m, int level, uint64_t va);
struct model_table *model_add(struct model *m, int level, uint64_t va);
/* The entry of an existing table, in the real tables. */
uint64_t *real_entry(const struct model *m, int level, uint64_t va);

/* Do the tables and pages of the machine agree with the model? */
void model_check(struct model *m);
/* Take every free page with kalloc: exactly those that neither the model's tables, its leaves nor its caller have. */
void model_drain(struct model *m);

/* Make the call, in the model and for real; panic on any difference. The result is what the call returned. */
bool model_new_root(struct model *m);
bool model_kalloc(struct model *m);
void model_kfree(struct model *m, size_t held);
uint64_t *model_walk(struct model *m, uint64_t va, int64_t alloc);
int model_map(struct model *m, uint64_t va, uint64_t size, uint64_t pa, int64_t perm);
/* Map a page that the caller holds: from then on it is the mapping's. */
int model_map_held(struct model *m, uint64_t va, uint64_t offset, size_t held, int64_t perm);
/* Clear va's last-level entry; its page goes back to the allocator if it is one of its own. */
void model_unmap(struct model *m, uint64_t va);
/* Set an empty entry of a table at level 1 or 2 to a block, or clear such an entry. */
void model_set_block(struct model *m, int level, uint64_t va, uint64_t desc);
/* Take the table out of its parent and vm_free it. */
void model_vm_free(struct model *m, int level, uint64_t va);

#endif
