/*
 * A heap: memory of any size out of regions, by first fit. Every block has a header in front of it, and
 * the free ones form a list in the order of their addresses. (heap.c)
 *
 *     a region   | region | header  memory ... | header  memory ... | header  memory ... |
 *                           ^ block              ^ block
 */
#ifndef INC_HEAP_H
#define INC_HEAP_H

#include "memlayout.h"
#include "spinlock.h"
#include "zone.h"

#define HEAP_ALIGN 16 /* of a block, and so of the memory in it */

/*
 * The blocks of a region follow each other from `region + 1` up to its end, without a gap. No two free
 * blocks are neighbours.
 */
struct block {
    size_t size;  /* bytes, this header included: a multiple of HEAP_ALIGN, BLOCK_MIN or more */
    uint64_t tag; /* block_tag() of it: anything else, and this is no header (any more) */
    struct block
        *next; /* of a free block: the next free one, at a higher address, or NULL. The memory of
                           a block in use begins here. */
};

#define BLOCK_HEADER (2 * sizeof(uint64_t))
#define BLOCK_MIN    (BLOCK_HEADER + HEAP_ALIGN)

#define BLOCK_FREE 0x66726565 /* "free" */
#define BLOCK_USED 0x75736564 /* "used" */

/* What says that a block of this size begins at b, and of which kind: BLOCK_FREE or BLOCK_USED. */
static inline uint64_t
block_tag(const struct block *b, size_t size, uint64_t kind)
{
    return (uint64_t)b ^ (size << 32 | size >> 32) ^ kind;
}

/* Memory in a row: it begins with this. */
struct region {
    struct region *next; /* another one, anywhere */
    size_t size;         /* bytes, this included: whole pages */
};

extern struct heap {
    struct region *regions;
    struct region *first;    /* mem_init's: it stays; NULL: there is none */
    struct block *free_list; /* the free block at the lowest address; NULL: there is none */
} heap;

/* For the heap. Not held while the pmm is called. */
extern struct spinlock heap_lock;

/* Pages to begin with, and by which the heap grows unless one block needs more: a power of 2. */
#define HEAP_ORDER 4
#define HEAP_PAGES (1UL << HEAP_ORDER)

/* The largest object that fits: in the largest block of the pmm, after both headers. */
#define HEAP_MAX ((PGSIZE << (PMM_ORDERS - 1)) - sizeof(struct region) - BLOCK_HEADER)

/*
 * At boot, while the memmap has all memory and there is no pmm: the heap gets its first region. It begins
 * at the first whole page behind the kernel image and the memmap's bitmaps, whichever is higher, and
 * consists of up to HEAP_PAGES frames in a row that are free in the memmap; they are reserved there. If
 * the very first is not free, the heap begins empty.
 */
void memory_init(void);

/*
 * The heap is [start, stop), physical addresses of whole pages, and nothing else: one region with one
 * free block. Whatever was in it before is forgotten. start = stop: it is empty.
 */
void mem_init(uint64_t start, uint64_t stop);

/*
 * size bytes, aligned to HEAP_ALIGN, the caller's until heap_free: the lower end of the first free block
 * that is large enough. The rest of it stays free, if it makes a block. If there is none, the heap grows by
 * a block of the pmm: HEAP_PAGES or as many as are needed; if there are not so many, by just what is
 * needed. NULL: not even that, or size is 0 or more than HEAP_MAX.
 */
void *heap_alloc(size_t size);

/*
 * Give p's block back, and make one block of it and its free neighbours. A region in which nothing is in
 * use any more goes back to the pmm, unless it is mem_init's. Panics, having changed nothing, and says the
 * address and what is wrong, when p's block is not in use: it is free already, p is in the middle of a block or
 * in none, or its header was overwritten.
 */
void heap_free(void *p);

/* How many bytes there are from p, which heap_alloc returned, to the end of its block. */
size_t heap_size(const void *p);

/* How many bytes of this region are in free blocks, headers included? Given (slabs.c), for people. */
size_t heap_free_bytes(const struct region *r);

#endif
