/*
 * The physical memory manager: page frames in blocks of 2^order, by the buddy method. Addresses are
 * physical, and 0 means none. All functions may be called on any core. Any wrong call is refused with
 * an error, and then nothing has changed. (pmm.c; what it keeps of memory is in zone.h)
 */
#ifndef INC_PMM_H
#define INC_PMM_H

#include "types.h"
#include "zone.h"

/*
 * Take a block of 2^order pages, aligned to its size, from the first zone that has one: the lower end of
 * the smallest free block there that holds it. The rest of that stays free. Returns its address, or 0 when
 * there is none, even after kalloc's cache has been drained, or order >= PMM_ORDERS. What the pages
 * contain is unspecified.
 */
uint64_t pmm_alloc(unsigned order);

/*
 * Give back the block at pa, which was handed out with this order, and merge it with its buddy, and so
 * on upwards, as long as both are free. Returns 0; -EBUSY: it is shared; -EINVAL: no block of this order
 * in use begins at pa (it is free already, or the middle of a block, reserved, or no RAM).
 */
int pmm_free(uint64_t pa, unsigned order);

/*
 * Give back npages pages in a row, however they were allocated: several blocks, or part of one. What is
 * left of a block that was cut counts from then on as the largest aligned blocks that it consists
 * of. The time goes by blocks; of a single page no more than its state is touched. Returns 0; -EBUSY: a
 * block that the pages touch is shared; -EINVAL: a page is not in use, or pa is not aligned, or npages
 * is 0.
 */
int pmm_free_range(uint64_t pa, size_t npages);

/*
 * One more user for the block in use that begins at pa. Returns how many there are now (2 and more);
 * -EINVAL: no block in use begins at pa; -EBUSY: there are 2^31 - 1 already.
 */
int page_share(uint64_t pa);

/* One user less. Returns how many are left; with the last one the block is freed: 0. Errors as above. */
int page_unshare(uint64_t pa);

/*
 * How many users has the block that the page at pa belongs to? 0: it is free (for kalloc's cache too),
 * reserved, or no RAM. pa need not be aligned.
 */
unsigned page_refs(uint64_t pa);

/* What follows is in zone.c. */

/*
 * Make a zone of each bank, with its tables, out of frames of the memmap; then take over what the
 * memmap has free, and leave it nothing. Returns false, having changed nothing but the memmap, when
 * there is no room for the tables. Call once.
 */
bool pmm_init(void);

/* What there can be more of. */
enum mem_type {
    MEM_FRAMES, /* page frames, one block of them */
    MEM_HEAP,   /* kmalloc's memory */
};

/* Would an allocation of this size, in bytes, succeed now? 0 bytes always do. */
bool mem_has_space(enum mem_type type, size_t size);

/*
 * How many pages should become free until every zone has as many as the watermark says? Below
 * WATERMARK_LOW is the time to start making room, until none is wanted for WATERMARK_HIGH; with less
 * than WATERMARK_MIN, who allocates makes the room first.
 */
size_t pmm_wanted(enum watermark mark);

struct pmm_stats {
    size_t zones, pages;       /* pages: all that can be handed out, cached and free ones too */
    size_t free;               /* pages in free blocks */
    size_t cached;             /* pages in kalloc's cache */
    size_t shared;             /* blocks with more than one user */
    size_t blocks[PMM_ORDERS]; /* free blocks of each order */
    size_t largest;            /* pages in the largest free block */
    unsigned fragmented;       /* per cent of the free pages that are in no free 2 MiB */
};

/* Count. Walks all lists and states: for people, not for fast paths. */
void pmm_stats(struct pmm_stats *stats);

#endif
