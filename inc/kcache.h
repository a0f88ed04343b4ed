/*
 * What makes kalloc's list of free pages a cache in front of the pmm: a page that was freed a moment ago
 * is handed out again without any splitting and merging. The list is bounded, and filled and emptied in
 * batches. (kcache.c; the list itself is kmem, and kalloc and kfree work on it, in kalloc.c)
 */
#ifndef INC_KCACHE_H
#define INC_KCACHE_H

#include "spinlock.h"
#include "zone.h"

#ifndef KCACHE_MAX
#define KCACHE_MAX \
    64 /* kfree drains a batch when there are as many pages on the list; a power of 2 */
#define KCACHE_BATCH 32
#endif

/*
 * With the pmm behind the list, kalloc and kfree (kalloc.h) have more to do than in lab 2:
 *
 * - kalloc: a page that leaves the list is in use (kcache_unmark). An empty list is refilled; NULL means
 *   that the pmm has no page left either.
 * - kfree: only a page that kcache_mark accepts goes to the list; that the allocator owns it is not enough
 *   any more. A shared page has one user less, keeps its content, and does not go to the list. For all else
 *   it panics, and nothing has changed: NULL, an address that is not page-aligned, a page that is free
 *   already (on the list or with the pmm), one that is reserved, or part of a larger block.
 * - kmem.count is how many pages are on the list. When kfree has made it KCACHE_MAX, it drains
 *   KCACHE_BATCH pages.
 */

/* For kmem's list and count, and nothing else; not held while the pmm is called. */
extern struct spinlock kmem_lock;

/*
 * Take a batch of pages from the pmm, one by one, and put them on kmem's list. Fewer will do when there
 * are not more. Returns how many there were.
 */
size_t kcache_refill(void);

/* Give up to n pages of kmem's list back to the pmm. Returns how many. */
size_t kcache_drain(size_t n);

/*
 * The page at v goes to kalloc's list: from a single page in use to FRAME_CACHED. false, with nothing
 * changed: it is no such page (shared, on the list already, free, part of a larger block, no page).
 */
static inline bool
kcache_mark(const void *v)
{
    size_t i = frame_index(v);

    if (i >= frames.n || frames.state[i] != FRAME_USED)
        return false;
    frames.state[i] = FRAME_CACHED;
    return true;
}

/* The page at v, of kalloc's list, is in use again. */
static inline void
kcache_unmark(const void *v)
{
    *(uint8_t *)(frames.bias + (uint64_t)v / PGSIZE) = FRAME_USED; /* it is one: no need to look */
}

#endif
