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
#if LAB >= 4
#define FRAME_SLAB  0x10 /* one page of a cache's objects; link.chunk says of which (slab.h) */
#define FRAME_LARGE 0x20 /* + order: handed out as one large object (kmalloc.h) */
#endif

#define FRAME_ORDER(state) ((state)&0xfu)
#define FRAME_KIND(state)  ((state)&0xf0u)

/*
 * The states of all frames, in one table. It begins and ends at multiples of the largest block, so that
 * the buddy of any block of a zone is in it.
 */
extern struct frames {
    uint64_t bias;  /* bias + v / PGSIZE is the address of the state of the frame at v */
    char *first;    /* where the first frame is, in the linear map */
    size_t n;       /* how many there are */
    uint8_t *state; /* one byte for each of them */
} frames;

/* Set all of frames, for what begins at physical address `first`: the state of each is FRAME_NONE. */
void frames_set(uint64_t first, size_t n, uint8_t *state);

/* The frame that begins at address v of the linear map; a number >= frames.n if none does. */
static inline size_t
frame_index(const void *v)
{
    uint64_t offset = (uint64_t)v - (uint64_t)frames.first;

    return offset >> PGSHIFT | offset << (64 - PGSHIFT); /* low bits that are not 0 go to the top */
}

/* The neighbours on a list, or the users of a shared block. */
struct link {
#if LAB >= 4
    union {
        uint64_t chunk; /* of a FRAME_SLAB (slab.h) */
        struct {
#endif
            union {
                uint32_t next;
                uint32_t users;
            };
            uint32_t prev;
#if LAB >= 4
        };
    };
#endif
};

enum watermark { WATERMARK_MIN, WATERMARK_LOW, WATERMARK_HIGH, WATERMARKS };

/*
 * One bank of RAM. Its frames are counted from `base` on, a multiple of the largest block at or before
 * the bank's first frame: so the buddy of the block of some order at frame i begins at frame
 * i ^ (1 << order). A list is a ring of frames that begins and ends at its head, link[n + order].
 */
struct zone {
    size_t orders;                /* lists: PMM_ORDERS, or 0 where no zone has been made */
    uint64_t base;                /* physical address of frame 0 */
    size_t n;                     /* the bank ends before frame n */
    struct link *link;            /* n + PMM_ORDERS of them */
    uint8_t *state;               /* of frame 0, in the table of all frames */
    size_t free;                  /* pages that are free now: who takes or frees keeps count */
    size_t pages;                 /* pages that can be handed out */
    size_t watermark[WATERMARKS]; /* free pages at which there is cause to make room: pmm_wanted */
};

/* In ascending order; behind the last one is one with n = 0. No two of them touch. */
#define ZONES_MAX 16
extern struct zone zones[ZONES_MAX + 1];
extern size_t nzones;

extern struct spinlock pmm_lock; /* for all of the above; no other lock is held with it */

/* Which of the zone's frames begins at pa; a number >= z->n if none does. As frame_index does it. */
static inline size_t
zone_frame(const struct zone *z, uint64_t pa)
{
    uint64_t offset = pa - z->base;

    return offset >> PGSHIFT | offset << (64 - PGSHIFT);
}

/*
 * The zone that a frame beginning at physical address pa belongs to, if any does (unaligned: none), and
 * which of its frames that is. NULL: there is no such zone. Most frames are in the first one.
 */
static inline struct zone *
zone_of(uint64_t pa, size_t *i)
{
    struct zone *z = zones;

    *i = zone_frame(z, pa);
    if (__builtin_expect(*i < z->n, 1))
        return z;
    while ((++z)->n != 0) {
        *i = zone_frame(z, pa);
        if (*i < z->n)
            return z;
    }
    return NULL;
}

/* Is there no block on the list of this order? (Only where n is not 0: there are no lists elsewhere.) */
static inline bool
zone_empty(const struct zone *z, size_t order)
{
    size_t head = z->n + order;

    return z->link[head].next == head;
}

/* The first block on the list of this order, which must not be empty. */
static inline size_t
zone_first(const struct zone *z, size_t order)
{
    return z->link[z->n + order].next;
}

/*
 * Below, `link` is a copy of z->link that stays in a register. The original is in memory: for all that the
 * compiler knows, any store to the links could change it.
 */

/* Frame i goes to the front of the list for this order; its state is not touched. */
static inline void
zone_link(struct zone *z, size_t i, size_t order)
{
    struct link *link = z->link;
    size_t head = z->n + order, next = link[head].next;

    link[i].next = (uint32_t)next;
    link[i].prev = (uint32_t)head;
    link[next].prev = (uint32_t)i;
    link[head].next = (uint32_t)i;
}

/* Frame i comes off the list for this order, whichever that is; its state is not touched. */
static inline void
zone_unlink(struct zone *z, size_t i, size_t order)
{
    struct link *link = z->link;
    size_t next = link[i].next, prev = link[i].prev;

    (void)order; /* the neighbours are all that a ring needs */
    link[prev].next = (uint32_t)next;
    link[next].prev = (uint32_t)prev;
}

/*
 * zone_first and zone_unlink at once: returns the block. This is shorter, for what is before the first one
 * is known, the list's head.
 */
static inline size_t
zone_pop(struct zone *z, size_t order)
{
    struct link *link = z->link;
    size_t head = z->n + order, i = link[head].next, next = link[i].next;

    link[head].next = (uint32_t)next;
    link[next].prev = (uint32_t)head;
    return i;
}

/* The block of this order that begins at frame i is free from now on: its state and the list say so. */
static inline void
zone_push(struct zone *z, size_t i, size_t order)
{
    zone_link(z, i, order);
    z->state[i] = (uint8_t)(FRAME_FREE + order);
}

/* The free block of this order at frame i comes off its list, and no block begins there any more. */
static inline void
zone_remove(struct zone *z, size_t i, size_t order)
{
    zone_unlink(z, i, order);
    z->state[i] = FRAME_NONE;
}

/*
 * Frames first to stop - 1 are in use: as few blocks as there can be, which the caller may free by
 * order or by range. They must have been in no free block.
 */
void zone_set_used(const struct zone *z, size_t first, size_t stop);

/*
 * One more zone, for the bank [start, stop), behind all others; its frames are reserved until somebody
 * frees them. It must be within `frames`. link: room for zone_links(start, stop) of them.
 */
struct zone *zone_add(uint64_t start, uint64_t stop, struct link *link);
size_t zone_links(uint64_t start, uint64_t stop);

#endif
