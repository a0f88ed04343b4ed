/*
 * The contract of inc/pmm.h, inc/kcache.h and kalloc in its plainest form: a set of pages, each of which is
 * nobody's, free, in kalloc's cache, or part of a block in use. Which free blocks there are is not remembered:
 * it follows, as merges are maximal, from which pages are free. Every call of the code under test is made through
 * this, which knows what it may do, and finds any difference.
 */
#ifndef PAGES_H
#define PAGES_H

#include "pool.h"
#include "pmm.h"

#define PAGES_MAX (1u << 19)

enum page_kind { PAGE_NONE, PAGE_FREE, PAGE_CACHED, PAGE_USED };

extern struct pages {
    size_t n;                             /* frames in the table */
    uint8_t kind[PAGES_MAX];              /* enum page_kind */
    uint8_t order[PAGES_MAX];             /* of the block in use that begins here */
    uint32_t head[PAGES_MAX];             /* PAGE_USED: where the block begins */
    uint32_t users[PAGES_MAX];            /* of the block in use that begins here */
    size_t free[ZONES_MAX];               /* pages in each zone, */
    size_t managed[ZONES_MAX];            /* of those that there are, */
    size_t blocks[ZONES_MAX][PMM_ORDERS]; /* and free blocks */
    size_t ncached;
    uint32_t cached[PAGES_MAX]; /* kalloc's list, the page that it returns next at the end */
} pages;

/* After every call, look at all there is? Else only at what is quick: for large tables. */
extern bool pages_thorough;

/* The table and the zones are as the code under test has them, and nobody has any page. */
void pages_start(void);
/* These n frames are free from now on, or (order) a block in use. */
void pages_set_free(size_t first, size_t n);
void pages_set_used(size_t first, unsigned order, uint32_t users);
void pages_set_cached(size_t i);
/* Give these frames to the pmm, for real. They are in a zone. */
void pages_hand_over(size_t first, size_t n);

/*
 * After pmm_init: what the pmm should have, of the banks and the usable pages that kern/ram.c knows, where
 * the memmap had free frames before. Pages that kalloc has by now count as free; pages_adopt_cache tells the model
 * of them.
 */
void pages_booted(bool (*was_free)(uint64_t pa));
size_t pages_adopt_cache(void);

/* How many are free; the largest order that pmm_alloc can serve without draining; -1: none. */
size_t pages_free_count(void);
int pages_largest(void);
/* The order of the free block that the free page i is in. */
unsigned pages_free_order(size_t i);

/* Is all that the code under test has as the model says? */
void pages_check(void);

/* Make the call and see that it does what it may. The result is the call's. */
uint64_t pages_alloc(unsigned order);
int pages_free(uint64_t pa, unsigned order);
int pages_free_range(uint64_t pa, size_t npages);
int pages_share(uint64_t pa);
int pages_unshare(uint64_t pa);
char *pages_kalloc(void);
bool pages_kfree(char *v); /* false: it panics, as it should */
size_t pages_refill(void);
size_t pages_drain(size_t n);

/* mem_has_space, which may drain kalloc's list. */
bool pages_has_space(enum mem_type type, size_t size);

/* Free and drain all there is; then it is whole again. */
void pages_free_all(void);

/* Take all that is free as single pages, and then there is no more: each page once. Returns how many. */
size_t pages_take_all(void);

#endif
