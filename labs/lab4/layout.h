/*
 * Heaps made up for a check, and a model of them: regions, and the blocks in each. (layout.c)
 *
 *     layout_new();                       no region
 *     layout_region(layout_page(0), 2);   two pages; then its blocks, from its beginning on
 *     layout_block(64, true);
 *     layout_rest(false);                 all that is left of the region
 *     layout_start();                     the heap is like that now
 */
#ifndef LABS_LAYOUT_H
#define LABS_LAYOUT_H

#include "check.h"
#include "heap.h"
#include "types.h"

/* Pages for regions, that nobody else has. They belong to the image: the pmm never has them. */
#define LAYOUT_PAGES 40
uint64_t layout_page(size_t i); /* physical address */

/* A block of the model. */
struct piece {
    struct block *at;
    size_t size;
    bool used;
    uint64_t word; /* what its memory is filled with, if it is in use */
    struct region *in;
};

#define PIECES_MAX 640
extern struct layout {
    size_t npieces, nregions;
    struct piece piece[PIECES_MAX]; /* by address */
    struct {
        struct region *at;
        size_t size;
    } region[8];
    struct region *first; /* mem_init's: the one that was made first; NULL: there is none */
} layout;

/* A new heap without regions. Until the check ends it takes the place of the kernel's. */
void layout_new(void);

/* The same; and until the check ends, the pmm has no memory at all. */
void layout_alone(void);

/* A region at this physical address. */
void layout_region(uint64_t pa, size_t npages);

/* The next block of the region that was added last. Its size, header included. */
void layout_block(size_t size, bool used);
void layout_rest(bool used);
/* How much of the region is left. */
size_t layout_room(void);
/* Blocks of all sizes up to the end of the region: so many per cent of them are free. */
void layout_random(size_t most, unsigned percent);

/* Make heap and its regions what the model says. */
void layout_start(void);

/* Fails the check unless they are. */
void layout_check(void);

/* The first free block of the model with so many bytes (header included); npieces: none. */
size_t layout_fit(size_t need);
/* What a block for an object of this size needs, header included. */
size_t layout_need(size_t size);

/* heap_alloc(size), that is to take this block of the model (from layout_fit). Returns the memory. */
void *layout_take(size_t size, size_t i);
/* heap_alloc(size), that is to take some block that is large enough. */
void *layout_take_any(size_t size);
/* heap_alloc(size), whatever comes of it; no region may be had. */
void *layout_alloc(size_t size);

/* heap_free of block i, which is in use. Returns the index of the free block that it is now part of. */
size_t layout_free(size_t i);

/* A sum of all there is in the regions, and of heap: has anything changed? */
uint64_t layout_sum(void);

/* The memory of block i. A random one that is in use (or free); npieces: there is none. */
char *layout_memory(size_t i);
size_t layout_pick(bool used);
/* The one that begins there. */
size_t layout_find(const struct block *at);

/* In the model: the lower `need` bytes of block i are in use now. A new region, all free, has come: returns its
 * block. A region has gone. */
void layout_took(size_t i, size_t need);
size_t layout_came(struct region *at, size_t size);
void layout_went(struct region *at);

#endif
