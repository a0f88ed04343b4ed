/*
 * The physical memory manager: blocks of page frames, split and merged with their buddies.
 */
#include "pmm.h"
#include "errno.h"
#include "kcache.h"

SPINLOCK(pmm_lock);

#if SOL >= 3
#define USERS_MAX 0x7fffffffu

/* Frame i begins a block of this order that was in use, and is free now. */
static inline void
free_block(struct zone *z, size_t i, unsigned order)
{
    z->free += 1UL << order;
    frames.state[i] = FRAME_NONE;
    for (; order < PMM_ORDERS - 1; order++) {
        size_t buddy = i ^ (1UL << order);
        if (frames.state[buddy] != FRAME_FREE + order)
            break;
        zone_remove(z, buddy, order);
        i &= ~(1UL << order);
    }
    zone_push(z, i, order);
}

/* A block of this order out of z, in use. There is one. */
static inline size_t
take_from(struct zone *z, unsigned order)
{
    unsigned have = order + (unsigned)__builtin_ctz(z->nonempty >> order);
    size_t i = zone_first(z, have);

    zone_remove(z, i, have);
    while (have > order) { /* the upper half stays free */
        have--;
        zone_push(z, i + (1UL << have), have);
    }
    z->free -= 1UL << order;
    frames.state[i] = (uint8_t)(FRAME_USED + order);
    return i;
}

static inline uint64_t
take_block(unsigned order)
{
    struct zone *z = zones;
    uint64_t pa = 0;

    uint64_t flags = spin_lock(&pmm_lock);
    do {
        if (z->nonempty >> order) {
            pa = frame_pa(take_from(z, order));
            break;
        }
    } while ((++z)->n != 0);
    spin_unlock(&pmm_lock, flags);
    return pa;
}

/* With the help of what kalloc keeps. */
static __attribute__((cold, noinline)) uint64_t
drain_and_take(unsigned order)
{
    uint64_t pa = 0;

    while (pa == 0 && kcache_drain(KCACHE_MAX) > 0)
        pa = take_block(order);
    return pa;
}

/* The frame at which the block begins that frame i belongs to; frames.n: to none. */
static size_t
block_of(size_t i)
{
    if (i >= frames.n)
        return frames.n;
    for (unsigned order = 0; order < PMM_ORDERS; order++) {
        size_t head = ROUNDDOWN(i, 1UL << order);
        uint8_t state = frames.state[head];
        if (state != FRAME_NONE)
            return i - head < 1UL << FRAME_ORDER(state) ? head : frames.n;
    }
    return frames.n;
}

/*
 * Is every block from frame i, where one begins, up to frame stop in use by one? Then *after is where the
 * last of them ends.
 */
static int
check_in_use(size_t i, size_t stop, size_t *after)
{
    while (i < stop) {
        uint8_t state = frames.state[i];
        if (FRAME_KIND(state) == FRAME_SHARED)
            return -EBUSY;
        if (FRAME_KIND(state) != FRAME_USED)
            return -EINVAL;
        i += 1UL << FRAME_ORDER(state);
    }
    *after = i;
    return 0;
}

static int
free_frames(size_t first, size_t npages)
{
    size_t before = block_of(first), stop = first + npages, after;

    if (before >= frames.n || npages == 0 || npages > frames.n - first)
        return -EINVAL;
    int error = check_in_use(before, stop, &after);
    if (error)
        return error;
    zone_set_used(before, first);
    zone_set_used(stop, after);
    zone_set_used(first, stop);
    while (first < stop) {
        unsigned order = FRAME_ORDER(frames.state[first]);
        free_block(zone_of(first), first, order);
        first += 1UL << order;
    }
    return 0;
}
#endif

uint64_t
pmm_alloc(unsigned order)
{
#if SOL >= 3
    if (order >= PMM_ORDERS)
        return 0;
    uint64_t pa = take_block(order);
    return pa != 0 ? pa : drain_and_take(order);
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
    size_t i = frame_index(P2V(pa));
    int error = -EINVAL;

    if (i >= frames.n || order >= PMM_ORDERS)
        return -EINVAL;
    uint64_t flags = spin_lock(&pmm_lock);
    if (frames.state[i] == FRAME_USED + order) {
        free_block(zone_of(i), i, order);
        error = 0;
    } else if (frames.state[i] == FRAME_SHARED + order) {
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
    uint64_t flags = spin_lock(&pmm_lock);
    int error = free_frames(frame_index(P2V(pa)), npages);

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
    size_t i = frame_index(P2V(pa));
    int result = -EINVAL;

    if (i >= frames.n)
        return -EINVAL;
    uint64_t flags = spin_lock(&pmm_lock);
    struct link *link = link_of(i);
    if (FRAME_KIND(frames.state[i]) == FRAME_USED) {
        frames.state[i] |= FRAME_SHARED;
        link->users = 2;
        result = 2;
    } else if (FRAME_KIND(frames.state[i]) == FRAME_SHARED) {
        result = link->users < USERS_MAX ? (int)++link->users : -EBUSY;
    }
    spin_unlock(&pmm_lock, flags);
    return result;
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
    size_t i = frame_index(P2V(pa));
    int result = -EINVAL;

    if (i >= frames.n)
        return -EINVAL;
    uint64_t flags = spin_lock(&pmm_lock);
    unsigned order = FRAME_ORDER(frames.state[i]);
    if (frames.state[i] == FRAME_USED + order) {
        free_block(zone_of(i), i, order);
        result = 0;
    } else if (frames.state[i] == FRAME_SHARED + order) {
        result = (int)--link_of(i)->users;
        if (result == 1)
            frames.state[i] = (uint8_t)(FRAME_USED + order);
    }
    spin_unlock(&pmm_lock, flags);
    return result;
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

    uint64_t flags = spin_lock(&pmm_lock);
    size_t i = block_of(frame_index(P2V(ROUNDDOWN(pa, PGSIZE))));
    if (i < frames.n && FRAME_KIND(frames.state[i]) == FRAME_USED)
        users = 1;
    else if (i < frames.n && FRAME_KIND(frames.state[i]) == FRAME_SHARED)
        users = link_of(i)->users;
    spin_unlock(&pmm_lock, flags);
    return users;
#else
    /* Lab 3: your code here. */
    (void)pa;
    return 0;
#endif
}
