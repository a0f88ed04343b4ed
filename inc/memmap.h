/*
 * A map of page frames, one bit each: who is in use, from the firmware's word on memory until the pmm
 * takes over. Addresses are physical. (memmap.c)
 */
#ifndef INC_MEMMAP_H
#define INC_MEMMAP_H

#include "memlayout.h"
#include "spinlock.h"

/* As many frames as there are bits: 1 GiB, all that a Pi 3 can have. */
#ifndef MEMMAP_FRAMES
#define MEMMAP_FRAMES 0x40000
#endif

struct memmap {
    uint64_t start_addr, end_addr; /* it describes [start_addr, end_addr), whole frames */
    uint64_t start_frame;          /* start_addr / PGSIZE */
    uint64_t max_frames;           /* how many frames these are */
    /*
     * Frame start_frame + i is bit i % 8 of byte i / 8. Both arrays begin at a multiple of 8 and are
     * MEMMAP_FRAMES bits long; the bits from max_frames on are 1.
     */
    uint8_t *bitmap;   /* 1: in use, or reserved */
    uint8_t *reserved; /* 1: reserved; never handed out, and not to be freed */
    uint64_t hint;     /* the i at which the next search begins */
};

extern struct spinlock memmap_lock; /* for the map; no other lock is held with it */

/*
 * Describe the whole frames in [start, stop), all of them free but frame 0, which is reserved: address 0
 * means "none". What lies more than MEMMAP_FRAMES frames above start is left out (see end_addr).
 * Whatever was described before is forgotten. Returns 0, or -EINVAL, with nothing changed, when there
 * is no whole frame in [start, stop).
 */
int memmap_init(uint64_t start, uint64_t stop);

/*
 * Nobody may have the frames that [start, stop) touches, from now on; those outside the map are no
 * matter. Nothing happens when start >= stop.
 */
void memmap_reserve(uint64_t start, uint64_t stop);

/* Take a free frame. Returns its address, or 0 when there is none. */
uint64_t alloc_frame(void);

/*
 * Take n free frames in a row. Returns the address of the first, or 0 when there is no such run (or n
 * is 0). The search goes word by word, begins where the last one ended, and wraps around once.
 */
uint64_t alloc_frames(size_t n);

/*
 * Give a frame back, whether it came alone or in a row. Returns 0, or -EINVAL, with nothing changed,
 * when pa is not the address of a frame of the map that is in use and not reserved.
 */
int free_frame(uint64_t pa);

/* The map, to look at. */
const struct memmap *memmap_get(void);

/* Is the frame that pa lies in described and free? */
bool memmap_is_free(uint64_t pa);

#endif
