/*
 * What the pmm knows about memory: a byte for each page frame, and for each bank of RAM a zone with
 * its lists of free blocks. A block is 2^order frames that begin at a multiple of 2^order frames, counted
 * from physical address 0. The pages themselves are never touched. (zone.c)
 */
#ifndef INC_ZONE_H
#define INC_ZONE_H

#include "memlayout.h"
#include "spinlock.h"

#ifndef PMM_ORDERS
#define PMM_ORDERS 11 /* 0 to 10: the largest block has 4 MiB */
#endif

/*
 * The state of the block that begins at a frame. FRAME_NONE: none begins here; the frame lies inside a
 * block, is reserved, or is no RAM.
 */
#define FRAME_USED 0x00 /* + order: handed out, and used once */
#define FRAME_SHARED \
    0x40 /* + order: handed out, and used several times; link.users says how often */
#define FRAME_FREE   0x80 /* + order: on the list for blocks of that order */
#define FRAME_CACHED 0xc0 /* one page, on kalloc's list (kcache.h) */
#define FRAME_NONE   0xff

#define FRAME_ORDER(state) ((state)&0xfu)
#define FRAME_KIND(state)  ((state)&0xf0u)

/*
 * Frames are counted from `first` on, a multiple of the largest block: frame i begins at
 * first + i * PGSIZE, and its buddy of an order is frame i ^ (1 << order), which is in the table as well.
 */
extern struct frames {
    char *first;    /* address in the linear map */
    size_t n;       /* a multiple of the largest block's frames */
    uint8_t *state; /* one byte for each of them */
    uint64_t bias;  /* bias + v / PGSIZE is the address of the state of the frame at v */
} frames;

/* Set all of frames: the state of each is FRAME_NONE. */
void frames_set(uint64_t first, size_t n, uint8_t *state);

/* The neighbours on a list, or the users of a shared block. */
struct link {
    union {
        uint32_t next;
        uint32_t users;
    };
    uint32_t prev;
};

enum watermark { WATERMARK_MIN, WATERMARK_LOW, WATERMARK_HIGH, WATERMARKS };

/*
 * One bank of RAM: frames first to first + n - 1. No two zones touch. A list is a ring: its head is
 * link[n + order], and the frames on it are counted from the zone's first one.
 */
struct zone {
    size_t first, n;
    struct link *link; /* n + PMM_ORDERS of them */
    uint32_t nonempty; /* bit o is 1: the list for order o is not empty */
    size_t pages;      /* those that can be handed out */
    size_t free;       /* those that are free now: pmm_alloc and pmm_free keep count */
    size_t
        watermark[WATERMARKS]; /* free pages at which there is cause to make room; see pmm_wanted */
};

#define ZONES_MAX 16
extern struct zone zones[ZONES_MAX + 1]; /* behind the last one, one with n = 0 */
extern size_t nzones;

extern struct spinlock pmm_lock; /* for all of the above; no other lock is held with it */

/* The frame that begins at address v of the linear map; a number >= frames.n if none does. */
static inline size_t
frame_index(const void *v)
{
    uint64_t offset = (uint64_t)v - (uint64_t)frames.first;

    return offset >> PGSHIFT | offset << (64 - PGSHIFT); /* low bits that are not 0 go to the top */
}

/* The physical address of frame i. */
static inline uint64_t
frame_pa(size_t i)
{
    return V2P(frames.first) + i * PGSIZE;
}

/* The zone of frame i (any number); NULL: it is in none. */
static inline struct zone *
zone_of(size_t i)
{
    struct zone *z = zones;

    do {
        if (i - z->first < z->n)
            return z;
    } while ((++z)->n != 0);
    return NULL;
}

/* The link of frame i, which must be in a zone. */
static inline struct link *
link_of(size_t i)
{
    const struct zone *z = zone_of(i);

    return &z->link[i - z->first];
}

/* The first free block of the order; its list must not be empty. */
static inline size_t
zone_first(const struct zone *z, unsigned order)
{
    return z->first + z->link[z->n + order].next;
}

/* The block of this order that begins at frame i is free from now on: its state and the list say so. */
static inline void
zone_push(struct zone *z, size_t i, unsigned order)
{
    uint32_t head = (uint32_t)z->n + order, self = (uint32_t)(i - z->first);
    struct link *link = z->link;
    uint32_t next = link[head].next;

    link[self].next = next;
    link[self].prev = head;
    link[next].prev = self;
    link[head].next = self;
    z->nonempty |= 1U << order;
    frames.state[i] = (uint8_t)(FRAME_FREE + order);
}

/* The free block of this order at frame i comes off its list, and no block begins there any more. */
static inline void
zone_remove(struct zone *z, size_t i, unsigned order)
{
    struct link *link = z->link;
    uint32_t next = link[i - z->first].next, prev = link[i - z->first].prev;

    link[prev].next = next;
    link[next].prev = prev;
    if (next == prev) /* only the head is left */
        z->nonempty &= ~(1U << order);
    frames.state[i] = FRAME_NONE;
}

/*
 * Frames first to stop - 1 are in use: as few blocks as there can be, which the caller may free by
 * order or by range. They must have been in no free block.
 */
void zone_set_used(size_t first, size_t stop);

/*
 * A new zone for frames first to first + n - 1, none of them free; link: room for n + PMM_ORDERS. The
 * frames must be in the table, with the state FRAME_NONE. Returns it.
 */
struct zone *zone_add(size_t first, size_t n, struct link *link);

#endif
