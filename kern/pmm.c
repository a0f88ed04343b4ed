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

/*
 * Both of these work on a copy of the zone: it stays in registers, while any store to the tables could
 * change the original, for all that the compiler knows.
 */

/* The block of this order at frame i, which was in use, is free now. */
static inline __attribute__((always_inline)) void
give_back(struct zone *zone, size_t i, size_t order)
{
    struct zone z = *zone;

    z.free += 1UL << order;
    for (; order < PMM_ORDERS - 1; order++) {
        size_t buddy = i ^ 1UL << order;
        if (likely(z.state[buddy] != FRAME_FREE + order))
            break;
        zone_unlink(&z, buddy, order);
        z.state[i | 1UL << order] =
            FRAME_NONE; /* of both, the upper one begins no block any more */
        i &= ~(1UL << order);
    }
    zone_push(&z, i, order);
    zone->free = z.free;
    zone->nonempty = z.nonempty;
}

/* A block of this order: the first on its list, or the lower part of the smallest larger one. */
static inline __attribute__((always_inline)) size_t
take(struct zone *zone, size_t order)
{
    struct zone z = *zone;
    size_t i;

    if (likely(z.nonempty >> order & 1)) {
        i = zone_first(&z, order);
        zone_unlink(&z, i, order);
    } else {
        size_t have = order + (size_t)__builtin_ctzl(z.nonempty >> order);
        i = zone_first(&z, have);
        zone_unlink(&z, i, have);
        while (have-- > order) /* the upper half stays free */
            zone_push(&z, i + (1UL << have), have);
    }
    z.state[i] = (uint8_t)(FRAME_USED + order);
    zone->free = z.free - (1UL << order);
    zone->nonempty = z.nonempty;
    return i;
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
    struct zone *z = zones;
    uint64_t pa = 0;

    if (order >= PMM_ORDERS)
        return 0;
    uint64_t flags = spin_lock(&pmm_lock);
    do {
        if (z->nonempty >> order) {
            pa = z->base + take(z, order) * PGSIZE;
            break;
        }
    } while ((++z)->n != 0);
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

    if (order >= PMM_ORDERS)
        return -EINVAL;
    uint64_t flags = spin_lock(&pmm_lock);
    struct zone *z = zone_of(pa, &i);
    if (z && z->state[i] == FRAME_USED + order) {
        give_back(z, i, order);
        error = 0;
    } else if (z && z->state[i] == FRAME_SHARED + order) {
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
