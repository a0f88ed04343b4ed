/*
 * The physical memory manager: blocks of page frames, split and merged with their buddies.
 */
#include "pmm.h"
#include "errno.h"
#include "kcache.h"

SPINLOCK(pmm_lock);

#if SOL >= 3
#define USERS_MAX 0x7fffffffu
#define EIGHT_SINGLE \
    (0x0101010101010101u * FRAME_USED) /* the states of eight single pages in use */

#define likely(condition) __builtin_expect(condition, 1)

/* Is the buddy of the block of this order at frame i free, and as large? */
static inline bool
can_merge(const struct zone *z, size_t i, unsigned order)
{
    return order < PMM_ORDERS - 1 && z->state[i ^ 1UL << order] == FRAME_FREE + order;
}

/* give_back of a block that is merged: on its own, so that the usual case has nothing to do with it. */
static __attribute__((noinline)) void
merge(struct zone *z, size_t i, unsigned order)
{
    z->free += 1UL << order;
    do {
        zone_unlink(z, i ^ 1UL << order, order);
        z->state[i | 1UL << order] =
            FRAME_NONE; /* of both, the upper one begins no block any more */
        i &= ~(1UL << order);
        order++;
    } while (can_merge(z, i, order));
    zone_push(z, i, order);
}

/* The block of this order at frame i, which was in use, is free now. Few blocks merge. */
static inline void
give_back(struct zone *z, size_t i, unsigned order)
{
    if (likely(!can_merge(z, i, order))) {
        zone_link(z, i, order);
        z->free += 1UL << order;
        z->state[i] = (uint8_t)(FRAME_FREE + order);
    } else {
        merge(z, i, order);
    }
}

/* The block of this order at frame i, which was free, is in use now. Returns its address. */
static inline uint64_t
hand_out(struct zone *z, size_t i, size_t order)
{
    z->free -= 1UL << order;
    z->state[i] = (uint8_t)(FRAME_USED + order);
    return z->base + (i << PGSHIFT);
}

/* A block of this order: the lower end of the smallest free one that holds it, in the first zone that has one. */
static inline __attribute__((always_inline)) uint64_t
split(size_t order)
{
    struct zone *z = zones;

    do {
        size_t have = order;
        do {
            if (zone_empty(z, have))
                continue;
            size_t i = zone_pop(z, have);
            for (size_t half = order; half < have; half++) /* the upper halves stay free */
                zone_push(z, i + (1UL << half), half);
            return hand_out(z, i, order);
        } while (++have < PMM_ORDERS);
    } while ((++z)->n != 0);
    return 0;
}

/* With the help of what kalloc keeps. */
static __attribute__((cold, noinline)) uint64_t
drain_and_alloc(unsigned order)
{
    return kcache_drain(KCACHE_MAX) > 0 ? pmm_alloc(order) : 0;
}

/* The frame at which the block begins that frame i belongs to; z->n: to none. */
static size_t
block_of(const struct zone *z, size_t i)
{
    for (unsigned order = 0; order < PMM_ORDERS; order++) {
        size_t head = ROUNDDOWN(i, 1UL << order);
        uint8_t state = z->state[head];
        if (state != FRAME_NONE)
            return i - head < 1UL << FRAME_ORDER(state) ? head : z->n;
    }
    return z->n;
}

/*
 * Is every block from frame i, where one begins, up to frame stop in use by one? Then *after is where the
 * last of them ends.
 */
static int
check_in_use(const struct zone *z, size_t i, size_t stop, size_t *after)
{
    while (i < stop) {
        uint8_t state = z->state[i];
        if (FRAME_KIND(state) == FRAME_SHARED)
            return -EBUSY;
        if (FRAME_KIND(state) != FRAME_USED)
            return -EINVAL;
        i += 1UL << FRAME_ORDER(state);
        /* Single pages go eight at a time. */
        if (i % 8 == 0)
            while (i + 8 <= stop && *(const uint64_t *)(const void *)&z->state[i] == EIGHT_SINGLE)
                i += 8;
    }
    *after = i;
    return 0;
}

static int
free_frames(struct zone *z, size_t first, size_t npages)
{
    size_t before = block_of(z, first), stop = first + npages, after;

    if (before == z->n || npages == 0 || npages > z->n - first)
        return -EINVAL;
    int error = check_in_use(z, before, stop, &after);
    if (error)
        return error;
    zone_set_used(z, before, first);
    zone_set_used(z, stop, after);
    zone_set_used(z, first, stop);
    while (first < stop) {
        unsigned order = FRAME_ORDER(z->state[first]);
        give_back(z, first, order);
        first += 1UL << order;
    }
    return 0;
}
#endif

uint64_t
pmm_alloc(unsigned order)
{
#if SOL >= 3
    uint64_t pa;

    if (order >= zones->orders) /* too large; or there is no zone at all */
        return 0;
    uint64_t flags = spin_lock(&pmm_lock);
    if (likely(!zone_empty(zones, order))) {
        /* Most calls end here. split would do the same, with a search. */
        pa = hand_out(zones, zone_pop(zones, order), order);
        spin_unlock(&pmm_lock, flags);
        return pa;
    }
    pa = split(order);
    spin_unlock(&pmm_lock, flags);
    return pa ? pa : drain_and_alloc(order);
#else
    /* Lab 3: your code here. */
    (void)order;
    return 0;
#endif
}

int
pmm_free(uint64_t pa, unsigned order)
{
#if SOL >= 3
    int error = -EINVAL;
    size_t i;

    uint64_t flags = spin_lock(&pmm_lock);
    struct zone *z = zone_of(pa, &i);
    /* A state tells kind and order, but any number may come as an order: 0x40 would make it another kind. */
    if (z && z->state[i] == FRAME_USED + order && likely(order < PMM_ORDERS)) {
        give_back(z, i, order);
        error = 0;
    } else if (z && z->state[i] == FRAME_SHARED + order && order < PMM_ORDERS) {
        error = -EBUSY;
    }
    spin_unlock(&pmm_lock, flags);
    return error;
#else
    /* Lab 3: your code here. */
    (void)pa, (void)order;
    return -EINVAL;
#endif
}

int
pmm_free_range(uint64_t pa, size_t npages)
{
#if SOL >= 3
    size_t i;

    uint64_t flags = spin_lock(&pmm_lock);
    struct zone *z = zone_of(pa, &i);
    int error = z ? free_frames(z, i, npages) : -EINVAL;
    spin_unlock(&pmm_lock, flags);
    return error;
#else
    /* Lab 3: your code here. */
    (void)pa, (void)npages;
    return -EINVAL;
#endif
}

int
page_share(uint64_t pa)
{
#if SOL >= 3
    int users = -EINVAL;
    size_t i;

    uint64_t flags = spin_lock(&pmm_lock);
    const struct zone *z = zone_of(pa, &i);
    if (z && FRAME_KIND(z->state[i]) == FRAME_USED) {
        z->state[i] |= FRAME_SHARED;
        z->link[i].users = 2;
        users = 2;
    } else if (z && FRAME_KIND(z->state[i]) == FRAME_SHARED) {
        users = z->link[i].users < USERS_MAX ? (int)++z->link[i].users : -EBUSY;
    }
    spin_unlock(&pmm_lock, flags);
    return users;
#else
    /* Lab 3: your code here. */
    (void)pa;
    return -EINVAL;
#endif
}

int
page_unshare(uint64_t pa)
{
#if SOL >= 3
    int users = -EINVAL;
    size_t i;

    uint64_t flags = spin_lock(&pmm_lock);
    struct zone *z = zone_of(pa, &i);
    unsigned order = z ? FRAME_ORDER(z->state[i]) : 0;
    if (z && z->state[i] == FRAME_USED + order) {
        give_back(z, i, order);
        users = 0;
    } else if (z && z->state[i] == FRAME_SHARED + order) {
        users = (int)--z->link[i].users;
        if (users == 1)
            z->state[i] = (uint8_t)(FRAME_USED + order);
    }
    spin_unlock(&pmm_lock, flags);
    return users;
#else
    /* Lab 3: your code here. */
    (void)pa;
    return -EINVAL;
#endif
}

unsigned
page_refs(uint64_t pa)
{
#if SOL >= 3
    unsigned users = 0;
    size_t i;

    uint64_t flags = spin_lock(&pmm_lock);
    const struct zone *z = zone_of(ROUNDDOWN(pa, PGSIZE), &i);
    if (z && (i = block_of(z, i)) < z->n) {
        if (FRAME_KIND(z->state[i]) == FRAME_USED)
            users = 1;
        else if (FRAME_KIND(z->state[i]) == FRAME_SHARED)
            users = z->link[i].users;
    }
    spin_unlock(&pmm_lock, flags);
    return users;
#else
    /* Lab 3: your code here. */
    (void)pa;
    return 0;
#endif
}
