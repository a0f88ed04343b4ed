/*
 * Caches of objects of equal size. (slab.c; what is given: slabs.c)
 *
 * A cache takes memory in chunks: one page or a few in a row, cut into objects. Each 64 objects in a row,
 * and the rest, are a span. What is known of a span is not in its pages: a record apart has one bit for each
 * object. So a free object is never touched, and one that is freed twice is noticed.
 */
#ifndef INC_SLAB_H
#define INC_SLAB_H

#include "memlayout.h"
#include "spinlock.h"
#include "zone.h"

#define SLAB_ALIGN   16   /* of objects, unless slab_create is asked for more */
#define SLAB_MAX     2048 /* the largest object, in bytes */
#define SPAN_OBJECTS 64   /* in a span: as many as a word has bits */

/* The record of a span. Those of a chunk are an array. */
struct span {
    struct span *next, *prev; /* on its cache's ring, while an object is free */
    char *base;               /* object k begins at base + k * slab->size */
    struct slab *slab;
    uint64_t free; /* bit k is 1: object k is free */
    uint64_t all;  /* a bit for each object that there is: what `free` is when none is in use */
    uint64_t reserved[2]; /* a record has 64 bytes: a line of the data cache */
};

struct slab {
    struct span
        head; /* of the ring of spans with a free object. It has none itself: so an empty ring
                             begins with a full span */
    struct span *empty; /* the chunk that became free as a whole last; it may be in use again */
    uint32_t size;      /* of an object, in bytes: a multiple of its alignment */
    uint32_t
        reciprocal;   /* offset * reciprocal >> 32 is offset / size, for every offset in a chunk */
    uint32_t objects; /* in a chunk */
    uint32_t spans;   /* in a chunk: objects / 64, rounded up */
    uint32_t order;   /* a chunk has 2^order pages */
    uint32_t chunks;  /* how many the cache has */
    const char *name;
    void (*construct)(void *); /* if not NULL: called for each object of a new chunk, once */
    struct slab *next;         /* of all caches, for slabinfo */
};

/* For all caches and spans. Not held while the pmm is called. */
extern struct spinlock slab_lock;

/*
 * A cache for objects of size bytes (1 to SLAB_MAX) at multiples of align (a power of 2 up to PGSIZE; 0
 * stands for SLAB_ALIGN, and less is rounded up to it). The name is for people, and not copied. NULL: no
 * memory, or an argument makes no sense. The caller's until slab_destroy.
 */
struct slab *slab_create(const char *name, size_t size, size_t align);

/*
 * An object of the ring's first span; if there is none, of a new chunk. The caller's until slab_free.
 * What it contains is unspecified. NULL: no memory.
 */
void *slab_alloc(struct slab *slab);

/*
 * Give the object at p back. A span that was full goes to the front of the ring. Of the chunks that have no
 * object in use the cache keeps one: the last that became so, and then its spans went to the end of the
 * ring (unless it was the one already). The others' pages go back to the pmm. Panics, having changed nothing, and says the address and what is wrong, when no object in use of
 * this cache begins at p: it is free already, p is inside of an object, or another cache's, or nobody's.
 */
void slab_free(struct slab *slab, void *p);

/* The cache is no more, and its pages go back. Panics, having changed nothing, when an object is in use. */
void slab_destroy(struct slab *slab);

/* ---- what is given (slabs.c) ---- */

/* kmalloc's caches: for 1 to 16 bytes that of [0], for 17 to 32 that of [1], and so on. */
extern struct slab *slab_by_size[SLAB_MAX / SLAB_ALIGN];

/* Make them. At boot, once. */
void slabs_init(void);

/*
 * Fill in all of *slab: it has no chunk. How many pages a chunk has is chosen so that little is lost.
 * Returns false, with nothing changed, when size or align are not as slab_create wants them. It is on the
 * list of all caches from now on, until slab_forget.
 */
bool slab_setup(struct slab *slab, const char *name, size_t size, size_t align);
void slab_forget(struct slab *slab);

/*
 * A chunk for this cache: pages from the pmm, which are FRAME_SLAB from now on, and their spans, filled in,
 * every object free. Returns the first span; they are on no ring yet. NULL: no memory. The caller does not
 * hold slab_lock.
 */
struct span *chunk_new(struct slab *slab);

/* The chunk's pages and records go back. Its spans are on no ring; the caller does not hold slab_lock. */
void chunk_delete(struct span *first);

/* All caches, linked by next; and how many objects of one are in use. For people. */
extern struct slab *slabs;
size_t slab_in_use(const struct slab *slab);

/* The empty chunks that caches have kept go back to the pmm. Returns how many pages these were. */
size_t slabs_trim(void);

/*
 * The block that begins at pa, of this kind and any order, is of kind `to` from now on. Returns its order;
 * -EINVAL: there is no such block.
 */
int block_set_kind(uint64_t pa, unsigned kind, unsigned to);

/*
 * Of the other things that a link holds, none has these bits all set, and every pointer to a span has.
 * (On the host, where the tests run, it gets them here.)
 */
#define SPAN_BITS (0xffffUL << 48)

/* The first span of the chunk that p points into, if that lies in this zone; NULL: into none. */
static inline struct span *
chunk_in(const struct zone *z, const void *p)
{
    size_t i = (V2P(p) - z->base) >> PGSHIFT;

    if (i < z->n && (int64_t)z->link[i].chunk < 0)
        return P2V(z->link[i].chunk - SPAN_BITS);
    return NULL;
}

/* The same in any zone. Any p will do. */
struct span *chunk_in_other(const void *p);

static inline struct span *
chunk_of(const void *p)
{
    struct span *first = chunk_in(zones, p);

    return __builtin_expect(first != NULL, 1) ? first : chunk_in_other(p);
}

/* Onto the ring behind `at`, and off it. */
static inline void
span_insert(struct span *at, struct span *span)
{
    struct span *next = at->next;

    span->next = next;
    span->prev = at;
    next->prev = span;
    at->next = span;
}

static inline void
span_remove(const struct span *span)
{
    struct span *next = span->next, *prev = span->prev;

    next->prev = prev;
    prev->next = next;
}

#if defined(DEBUG) || defined(SAN)
#include "heapdebug.h"
#endif

#endif
