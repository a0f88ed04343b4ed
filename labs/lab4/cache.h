/*
 * A model of one cache, for lab 4's checks: which chunks it has, which objects are in use, and in which order
 * its spans are on the ring. (cache.c)
 */
#ifndef LABS_LAB4_CACHE_H
#define LABS_LAB4_CACHE_H

#include "slab.h"

#define CACHE_CHUNKS 24                           /* that a cache of a check may have at once */
#define CACHE_SPANS  16                           /* in a chunk */
#define CACHE_RING   (CACHE_CHUNKS * CACHE_SPANS) /* spans on the ring */

struct cache {
    struct slab *slab;
    struct slab own; /* where slab points to, unless slab_create made it */
    size_t align;
    bool exact; /* what slab_free does with empty chunks, and with the ring's order, is looked at */
    size_t in_use;
    size_t nchunks;
    struct cache_chunk {
        struct span *first;
        char *base;
        uint64_t used[CACHE_SPANS];
        uint64_t marked[CACHE_SPANS]; /* free, and we have written into it before */
    } chunks[CACHE_CHUNKS];
    size_t nring;
    const struct span *ring[CACHE_RING];
};

/* A new cache, made with slab_setup, which ends with the check (cache_end). There can be 4 at once. */
struct cache *cache_new(size_t size, size_t align);

/* The same for one that slab_create made; it has no chunk. */
struct cache *cache_known(struct slab *slab, size_t align);

/* All caches of this check, and all memory, as before the check. For check_finally; cache_new arranges that. */
void cache_end(void);

/* check_doing for what follows: these two. */
void cache_doing(const struct cache *c);

/* slab_alloc and slab_free, and all that they change is as the header says, and the objects' contents. */
void *cache_alloc(struct cache *c);
void cache_free(struct cache *c, void *p);

/* slab_alloc without memory: expected to give NULL, and to change nothing. */
void cache_alloc_none(struct cache *c);

/* Let the cache (only this one) have a constructor: what it has done to free objects must stay. How many? */
void cache_set_construct(struct cache *c);
size_t cache_constructed(void);

/* What kmfree has done, or slab_free: the model learns of it, and all is compared. */
void cache_freed(struct cache *c, const void *p, const struct span *kept_before);

/*
 * Make p free without the code under test: its span goes to the front of the ring if it was full. Does nothing
 * when p is its chunk's last object in use, and there are other chunks.
 */
void cache_release(struct cache *c, void *p);

/* An object in use, at random; NULL: there is none. */
void *cache_pick(const struct cache *c);

/* Fails the check unless the cache is what the model says. */
void cache_check(struct cache *c);

/* fn(p) must panic and say p, as it `why`, and the cache (NULL: none) is as it was. */
void cache_refuses(struct cache *c, void (*fn)(void *), void *p, const char *why);

/* Write over memory, here and there, and see whether that is still there. `how`: another number, other values. */
void fill(void *p, size_t size, uint64_t how);
void expect_filled(const void *p, size_t size, uint64_t how, const char *when);

/* Take all memory that the pmm has; give it back. cache_end does that too. */
void memory_take(void);
void memory_give(void);

/* Fail the check unless slab_alloc gives anything at all (slab_free: and takes it back). */
void need_slab_alloc(void);
void need_slab_free(void);

#endif
