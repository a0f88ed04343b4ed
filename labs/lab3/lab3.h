/*
 * What the checks of lab 3 are made of: a model of the memmap's bits (bitmap.c), and imaginary machines,
 * with a model of whose each page frame is (machine.c, model.c, compare.c).
 *
 * Neither the memmap nor the pmm ever looks into a page, so most checks describe memory that is not
 * there, with banks and holes as they please. Whoever touches one of its pages gets a fault.
 */
#ifndef LABS_LAB3_H
#define LABS_LAB3_H

#include "check.h"
#include "types.h"
#include "zone.h"

/* "-EINVAL", or the number if it is no error that we know. Good until the next but three calls. */
const char *error_text(int error);

/* ---- the memmap (bitmap.c) ---- */

/* Fail the check, naming the exercise, unless memmap_init does anything at all. */
void need_memmap_init(void);

/* Describe n frames from frame `first` on (memmap_init); the model learns of it. */
void map_start(uint64_t first, size_t n);

/* What memmap_init has been told; nothing is called. */
void map_describe(uint64_t first, size_t n);

/* Let frame first + i be in use, or free; reserved or not. In the memmap and in the model. */
void map_put(size_t i, bool used, bool reserved);

/* Let this many per cent of all frames be in use, and of these some reserved. Frame 0 always is. */
void map_random(unsigned percent);

/* The model only: frames i to i + n - 1 are in use (reserved as well); frame i is free. */
void map_take(size_t i, size_t n);
void map_reserve(size_t i, size_t n);
void map_give(size_t i);

bool map_is_free(size_t i);
bool map_is_reserved(size_t i);
size_t map_frames(void);
uint64_t map_pa(size_t i);

/* For a new map: a frame to begin with, low or high, in the middle of a word of bits or not; a length. */
uint64_t map_any_frame(void);
size_t map_any_length(void);

/* Fails the check unless the memmap is what the model says; _all: all bits, behind the frames too. */
void map_check(void);
void map_check_all(void);

/* ---- imaginary machines (machine.c, model.c, compare.c) ---- */

#define MACHINE_BLOCKS 4 /* of the largest order: what a machine has at most */
#define BLOCK_FRAMES   (1UL << (PMM_ORDERS - 1))
#define MACHINE_FRAMES (MACHINE_BLOCKS * BLOCK_FRAMES)

/*
 * What the model says of a frame: the state of a block in use or cached that begins there (FRAME_USED and
 * so on), or one of these.
 */
enum {
    IS_FREE = 0x80,
    IS_HOLE = 0xfd, /* no RAM */
    IS_RESERVED = 0xfe,
    IS_INSIDE = 0xff, /* of a block in use, not at its beginning */
};

/*
 * A new machine with room for so many blocks of the largest order, and no RAM so far. It takes the place
 * of the kernel's frames, zones and list of free pages until the check ends.
 */
void machine_new(size_t blocks);

/*
 * A new machine that has real memory: a block that the kernel's own pmm has given for this check. Returns
 * its first frame, and how many there are (128 or 256).
 */
size_t machine_real(size_t *n);

/* The kernel's own frames, zones and free pages once more. Needed only to go on with them. */
void machine_end(void);

/* A bank of frames first to first + n - 1, all reserved. In ascending order, not touching. */
void machine_bank(size_t first, size_t n);

/* Frame i begins a block of this order: FRAME_USED, _SHARED or _CACHED; or IS_FREE, IS_RESERVED. */
void machine_put(size_t i, unsigned order, uint8_t kind);

/* n frames are free; or in use, as the largest blocks that there can be. */
void machine_put_free(size_t i, size_t n);
void machine_put_used(size_t i, size_t n);

/* The users of the shared block that begins at frame i. */
void machine_put_users(size_t i, unsigned users);
unsigned machine_users(size_t i);

/* A bank, at random, in blocks of orders up to max: so many per cent free, reserved; the rest in use. */
void machine_random(size_t bank, unsigned max, unsigned free, unsigned reserved);

/* check_doing, for what is done on a machine that is not there. */
#define machine_doing(...) check_doing("imaginary machine: " __VA_ARGS__)

/* Make frames and zones what the model says. */
void machine_start(void);

/* Fails the check unless they are. */
void machine_check(void);

/* What the model says of frame i (any number). */
uint8_t machine_is(size_t i);
size_t machine_frames(void);
uint64_t machine_pa(size_t i);

/* The block that frame i belongs to, in use or free: its first frame, and its order. */
size_t machine_block(size_t i, unsigned *order);

/* Free pages; free blocks of the order in the zone, as of the last machine_start or machine_check. */
size_t machine_free(void);
size_t machine_free_blocks(size_t zone, unsigned order);

/* A random frame for which this is so (true: there is one). */
bool machine_pick(uint8_t is, size_t *i);
/* The same for frames where a block in use begins. */
bool machine_pick_used(size_t *i);

/* ---- what other exercises a check needs (each fails the check with its name) ---- */

void need_pmm_alloc(void); /* check_buddy.c */
void need_pmm_free(void);
void need_pmm_free_range(void); /* check_range.c */
void need_page_share(void);     /* check_share.c */

#endif
