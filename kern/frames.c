/*
 * How page frames find their owners at boot: firmware's map, memmap, pmm, kalloc.
 */
#include "frames.h"
#include "check.h"
#include "console.h"
#include "kalloc.h"
#include "memmap.h"
#include "pmm.h"
#include "string.h"
#if LAB >= 4
#include "heap.h"
#include "slab.h"
#endif

/*
 * All RAM (there is some) to the memmap, and nothing of it but what is usable. Returns false: it
 * describes nothing.
 */
static bool
fill_memmap(void)
{
    size_t n;
    const struct range *banks = ram_banks(&n);

    if (memmap_init(banks[0].start, PHYSTOP) < 0)
        return false;
    const struct memmap *map = memmap_get();
    if (map->end_addr < PHYSTOP)
        cprintf("Memory: not using %lx-%lx: no room in the memmap\n", map->end_addr, PHYSTOP);
    uint64_t at = map->start_addr;
    for (const struct range *r = usable_ranges; r->end != 0; r++) {
        memmap_reserve(at, r->start);
        at = r->end;
    }
    memmap_reserve(at, map->end_addr);
    return true;
}

/* Pages in a row for kalloc to begin with, each a block of its own. Returns how many; 0: the pmm gives
 * none. */
static size_t
supply(void)
{
    unsigned order = PMM_ORDERS;
    uint64_t pa = 0;

    while (pa == 0 && order > 0)
        pa = pmm_alloc(--order);
    size_t i, n = 1UL << order;
    const struct zone *z = zone_of(pa, &i);
    if (pa == 0 || !z || z->state[i] != FRAME_USED + order)
        return 0;
    memset(&z->state[i], FRAME_USED, n);
    free_range(P2V(pa), P2V(pa + n * PGSIZE));
    return n;
}

/* Memory that no zone describes is nobody's to hand out, or to take back. */
static void
withdraw_rest(void)
{
    size_t n;
    const struct range *banks = ram_banks(&n);

    for (const struct range *bank = banks; bank < banks + n; bank++) {
        uint64_t described = bank->start;
        for (const struct zone *z = zones; z < zones + nzones; z++) {
            uint64_t stop = z->base + z->n * PGSIZE;
            if (stop > bank->start && stop <= bank->end)
                described = stop;
        }
        ram_withdraw(described, bank->end);
    }
}

/* The zones have nothing, as what is given to them cannot be had back. */
static void
empty_zones(void)
{
    size_t n = nzones;

    memset(frames.state, FRAME_NONE, frames.n);
    for (nzones = 0; nzones < n;) {
        const struct zone *z = &zones[nzones];
        size_t next = z[1].n;
        zone_add(z->base, z->base + z->n * PGSIZE, z->link);
        zones[nzones].n = next; /* zone_add has made it the end */
    }
}

/* Who knows in which state they are. */
static void
forget_zones(void)
{
    frames = (struct frames){0};
    zones[0] = (struct zone){0};
    nzones = 0;
}

/* Call one of the two below, which call exercises. The checks shall run whatever comes of it. */
static void
attempt(void (*step)(void *), void *arg)
{
    const char *lock, *failure = check_panics(step, arg);

    if (spinlocks_reset(&lock) > 0)
        cprintf("Page frames: %s is still locked.\n", lock);
    if (failure) {
        cprintf("Page frames: %s\n", failure);
        forget_zones();
    }
}

#if LAB >= 4
/* The heap comes before the pmm, and what it begins with stays its own. */
static void
first_heap(void)
{
    memory_init();
    const struct region *r = heap.first;
    if (r && ram_holds(V2P(r), r->size))
        ram_withdraw(V2P(r), V2P(r) + r->size);
}
#endif

static void
with_pmm(void *done)
{
    bool described = fill_memmap();

#if LAB >= 4
    if (described)
        first_heap();
    slabs_init();
#endif
    *(bool *)done = described && pmm_init() && supply() > 0;
}

static void
without_pmm(void *unused)
{
    (void)unused;
    alloc_init();
}

void
frames_init(void)
{
    bool done = false;

    if (usable_ranges[0].end == 0) {
        cprintf("Page frames: there is no usable page.\n");
        return;
    }
    attempt(with_pmm, &done);
    if (done) {
        withdraw_rest();
        return;
    }
    cprintf("Page frames: no pmm yet; kalloc keeps all pages, as in lab 2.\n");
    empty_zones();
    attempt(without_pmm, NULL);
}
