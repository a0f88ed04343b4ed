/*
 * Caches of objects of equal size, and kmalloc over them.
 */
#include "slab.h"
#include "console.h"
#include "heap.h"
#include "kmalloc.h"
#include "pmm.h"
#include "string.h"

SPINLOCK(slab_lock);

#if SOL >= 4
#define likely(condition)   __builtin_expect(condition, 1)
#define unlikely(condition) __builtin_expect(condition, 0)

/* ---- taking an object ---- */

/*
 * A new chunk for a cache that has no object left, and its first object: that one is in use before the chunk
 * is on the ring. (If it came off the ring later, another core could have put a span in front by then; the
 * chunk would stay empty, and not be the one to keep.)
 */
static __attribute__((cold, noinline)) void *
grow_and_alloc(struct slab *slab)
{
    struct span *first = chunk_new(slab);

    if (!first)
        return NULL;
    first->free &= ~1UL;
    uint64_t flags = spin_lock(&slab_lock);
    for (size_t s = slab->spans; s-- > 0;)
        if (first[s].free != 0)
            span_insert(&slab->head, &first[s]);
    slab->chunks++;
    spin_unlock(&slab_lock, flags);
    return first->base;
}

static inline __attribute__((always_inline)) void *
take(struct slab *slab)
{
    uint64_t flags = spin_lock(&slab_lock);
    struct span *span = slab->head.next;
    uint64_t free = span->free;

    if (unlikely(free == 0)) { /* this is the head */
        spin_unlock(&slab_lock, flags);
        return grow_and_alloc(slab);
    }
    span->free = free & (free - 1); /* without its lowest bit */
    if (span->free == 0) {
        slab->head.next = span->next;
        span->next->prev = &slab->head;
    }
    spin_unlock(&slab_lock, flags);
    return span->base + (uint32_t)__builtin_ctzl(free) * slab->size;
}

/* ---- giving it back ---- */

static __attribute__((cold, noinline, noreturn)) void
refuse(const void *p, const char *why)
{
    panic("kmfree(%p): %s", p, why);
}

/* Is no object of the chunk in use? */
static bool
is_empty(const struct span *first, const struct slab *slab)
{
    for (size_t s = 0; s < slab->spans; s++)
        if (first[s].free != first[s].all)
            return false;
    return true;
}

/*
 * A span has no object in use any more. If its whole chunk has none, this is the one to keep; the one
 * that was kept before is surplus, if it is still empty: off the ring, and returned.
 */
static __attribute__((cold, noinline)) struct span *
keep_one(struct slab *slab, struct span *first)
{
    struct span *before = slab->empty;

    if (!is_empty(first, slab))
        return NULL;
    slab->empty = first;
    for (size_t s = 0; s < slab->spans; s++) {
        span_remove(&first[s]);
        span_insert(slab->head.prev, &first[s]);
    }
    if (!before || !is_empty(before, slab))
        return NULL;
    for (size_t s = 0; s < slab->spans; s++)
        span_remove(&before[s]);
    slab->chunks--;
    return before;
}

/* The object at p, in the chunk whose first span this is. */
static inline __attribute__((always_inline)) void
give_back(struct span *first, const void *p)
{
    struct slab *slab = first->slab;
    struct span *surplus = NULL;
    uint32_t offset = (uint32_t)((uint64_t)p - (uint64_t)first->base);
    uint32_t k = (uint32_t)((uint64_t)offset * slab->reciprocal >> 32);
    struct span *span = &first[k / SPAN_OBJECTS];
    uint64_t object = 1UL << k % SPAN_OBJECTS;

    if (unlikely(k * slab->size != offset))
        refuse(p, "it is inside of an object");
    uint64_t flags = spin_lock(&slab_lock);
    uint64_t free = span->free, all = span->all;
    if (unlikely(!(object & all & ~free))) {
        spin_unlock(&slab_lock, flags);
        refuse(p, free & object ? "it is free already" : "it is behind the last object");
    }
    span->free = free | object;
    if (free == 0)
        span_insert(&slab->head, span);
    if (unlikely((free | object) == all && first != slab->empty))
        surplus = keep_one(slab, first);
    spin_unlock(&slab_lock, flags);
    if (unlikely(surplus != NULL))
        chunk_delete(surplus);
}

/* ---- larger than any object ---- */

static __attribute__((cold, noinline)) void *
large_alloc(size_t size)
{
    unsigned order = 0;

    if (size == 0 || size > KMALLOC_MAX)
        return NULL;
    while ((size_t)PGSIZE << order < size)
        order++;
    uint64_t pa = pmm_alloc(order);
    if (pa == 0)
        return NULL;
    block_set_kind(pa, FRAME_USED, FRAME_LARGE);
    return P2V(pa);
}

/* What is no object in the first zone. */
static __attribute__((cold, noinline)) void
free_other(void *p)
{
    struct span *first = chunk_in_other(p);
    int order = block_set_kind(V2P(p), FRAME_LARGE, FRAME_USED);

    if (first)
        give_back(first, p);
    else if (order >= 0)
        pmm_free(V2P(p), (unsigned)order);
    else if (KMALLOC_HEAP)
        heap_free(p);
    else
        refuse(p, "nothing in use begins there");
}
#endif

struct slab *
slab_create(const char *name, size_t size, size_t align)
{
#if SOL >= 4
    struct slab *slab = kmalloc(sizeof(*slab));

    if (slab && !slab_setup(slab, name, size, align)) {
        kmfree(slab);
        slab = NULL;
    }
    return slab;
#else
    /* Lab 4: your code here. */
    (void)name, (void)size, (void)align;
    return NULL;
#endif
}

void *
slab_alloc(struct slab *slab)
{
#if SOL >= 4
    return take(slab);
#else
    /* Lab 4: your code here. */
    (void)slab;
    return NULL;
#endif
}

void
slab_free(struct slab *slab, void *p)
{
#if SOL >= 4
    struct span *first = chunk_of(p);

    if (!first || first->slab != slab)
        refuse(p, "it is no object of this cache");
    give_back(first, p);
#else
    /* Lab 4: your code here. */
    (void)slab, (void)p;
#endif
}

void
slab_destroy(struct slab *slab)
{
#if SOL >= 4
    uint64_t flags = spin_lock(&slab_lock);
    struct span *first = slab->chunks > 0 ? slab->empty : NULL;
    bool in_use = slab->chunks > 1 || (slab->chunks == 1 && (!first || !is_empty(first, slab)));
    spin_unlock(&slab_lock, flags);

    if (in_use)
        panic("slab_destroy(%s): an object is in use", slab->name);
    slab_forget(slab);
    if (first)
        chunk_delete(first);
    kmfree(slab);
#else
    /* Lab 4: your code here. */
    (void)slab;
#endif
}

void *
kmalloc(size_t size)
{
#if SOL >= 4
    if (KMALLOC_HEAP && size <= HEAP_MAX)
        return heap_alloc(size);
    if (likely(size - 1 < SLAB_MAX))
        return take(slab_by_size[(size - 1) / SLAB_ALIGN]);
    return large_alloc(size);
#else
    /* Lab 4: your code here. */
    (void)size;
    return NULL;
#endif
}

void *
kzalloc(size_t size)
{
#if SOL >= 4
    void *p = kmalloc(size);

    if (p)
        memset(p, 0, size);
    return p;
#else
    /* Lab 4: your code here. */
    (void)size;
    return NULL;
#endif
}

void
kmfree(void *p)
{
#if SOL >= 4
    struct span *first = chunk_in(zones, p);

    if (likely(first != NULL))
        give_back(first, p);
    else if (p)
        free_other(p);
#else
    /* Lab 4: your code here. */
    (void)p;
#endif
}

size_t
kmalloc_size(const void *p)
{
#if SOL >= 4
    const struct span *first = chunk_of(p);
    int order = block_set_kind(V2P(p), FRAME_LARGE, FRAME_LARGE);

    if (first)
        return first->slab->size;
    if (order >= 0)
        return (size_t)PGSIZE << order;
    return p && KMALLOC_HEAP ? heap_size(p) : 0;
#else
    /* Lab 4: your code here. */
    (void)p;
    return 0;
#endif
}
