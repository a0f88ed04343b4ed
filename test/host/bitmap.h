/*
 * The contract of inc/memmap.h in its plainest form: two arrays of flags. Every call of the code under test is made
 * through this, and after it the real bits must be the same.
 */
#ifndef BITMAP_H
#define BITMAP_H

#include "memmap.h"
#include "pool.h"

/* A frame that is reserved is in use as well. */
extern struct bitmap {
    uint64_t first; /* frame */
    size_t n, hint; /* hint: the search begins at this one */
    bool used[MEMMAP_FRAMES], reserved[MEMMAP_FRAMES];
} bitmap;

/* Make the call and see that it does what it should. False: it fails, as it should. */
bool bitmap_init(uint64_t start, uint64_t stop);
void bitmap_reserve(uint64_t start, uint64_t stop);
bool bitmap_alloc(size_t n, bool single); /* single: by alloc_frame */
bool bitmap_free(uint64_t pa);

/* Are all bits as they should be? */
void bitmap_check(void);
/* Has the model this address as a free frame's? */
bool bitmap_is_free(uint64_t pa);
/* The last call, for who explains what is broken. */
void bitmap_explain(void);

#endif
