/*
 * Between kalloc's list and the pmm: pages go in batches, in either direction.
 */
#include "kcache.h"
#include "kalloc.h"

SPINLOCK(kmem_lock);

size_t
kcache_refill(void)
{
#if SOL >= 3
    struct run *first = NULL, *last = NULL;
    size_t n = 0;
    uint64_t pa;

    while (n < KCACHE_BATCH && (pa = pmm_alloc(0)) != 0) {
        struct run *page = P2V(pa);
        kcache_mark(page);
        page->next = first;
        first = page;
        if (!last)
            last = page;
        n++;
    }
    if (n == 0)
        return 0;
    uint64_t flags = spin_lock(&kmem_lock);
    last->next = kmem.free_list;
    kmem.free_list = first;
    kmem.count += n;
    spin_unlock(&kmem_lock, flags);
    return n;
#else
    /* Lab 3: your code here. */
    return 0;
#endif
}

size_t
kcache_drain(size_t n)
{
#if SOL >= 3
    size_t drained = 0;

    uint64_t flags = spin_lock(&kmem_lock);
    struct run *first = kmem.free_list, *rest = first;
    for (; rest && drained < n; rest = rest->next) {
        kcache_unmark(rest);
        drained++;
    }
    kmem.free_list = rest;
    kmem.count -= drained;
    spin_unlock(&kmem_lock, flags);

    for (struct run *next; first != rest; first = next) {
        next = first->next;
        pmm_free(V2P(first), 0);
    }
    return drained;
#else
    /* Lab 3: your code here. */
    (void)n;
    return 0;
#endif
}
