/*
 * The pmm's records: made out of the memmap at boot, and counted on demand.
 */
#include "zone.h"
#include "console.h"
#include "kalloc.h"
#include "memmap.h"
#include "pmm.h"
#include "string.h"
#if LAB >= 4
#include "kmalloc.h"
#endif

#define LARGEST     (1UL << (PMM_ORDERS - 1)) /* the largest block, in frames */
#define ORDER_2M    9
#define MIN_SHARE   256  /* WATERMARK_MIN is a zone's pages by this ... */
#define MIN_AT_MOST 1024 /* ... but no more than that */

struct frames frames;
struct zone zones[ZONES_MAX + 1];
size_t nzones;

/* ---- blocks ---- */

void
frames_set(uint64_t first, size_t n, uint8_t *state)
{
    memset(state, FRAME_NONE, n);
    frames = (struct frames){.first = P2V(first), .n = n, .state = state};
    frames.bias = (uint64_t)state - (uint64_t)frames.first / PGSIZE;
}

void
zone_set_used(const struct zone *z, size_t first, size_t stop)
{
    memset(&z->state[first], FRAME_NONE, stop - first);
    while (first < stop) {
        /* The largest block that may begin here: by alignment, and by what is left. */
        unsigned order = PMM_ORDERS - 1;
        if (first % LARGEST != 0)
            order = (unsigned)__builtin_ctzl(first);
        while (1UL << order > stop - first)
            order--;
        z->state[first] = (uint8_t)(FRAME_USED + order);
        first += 1UL << order;
    }
}

size_t
zone_links(uint64_t start, uint64_t stop)
{
    return (stop - ROUNDDOWN(start, LARGEST * PGSIZE)) / PGSIZE + PMM_ORDERS;
}

struct zone *
zone_add(uint64_t start, uint64_t stop, struct link *link)
{
    struct zone *z = &zones[nzones++];
    uint64_t base = ROUNDDOWN(start, LARGEST * PGSIZE);

    *z = (struct zone){.orders = PMM_ORDERS, .base = base, .link = link};
    z->n = (stop - base) / PGSIZE;
    z->state = &frames.state[frame_index(P2V(base))];
#if LAB >= 4
    memset(
        link, 0,
        z->n
            * sizeof(
                *link)); /* no frame is a chunk's (chunk_in in slab.h), whatever was here before */
#endif
    for (size_t head = z->n; head < z->n + PMM_ORDERS; head++)
        link[head].next = link[head].prev = (uint32_t)head;
    zones[nzones].n = 0;
    return z;
}

/* ---- at boot ---- */

/* Frames from the memmap for n bytes. NULL: there are not so many. */
static void *
table(size_t n)
{
    uint64_t pa = alloc_frames((n + PGSIZE - 1) / PGSIZE);

    return pa != 0 ? P2V(pa) : NULL;
}

/* A table stays with the pmm for good. */
static void
keep(const void *table, size_t n)
{
    ram_withdraw(V2P(table), V2P(table) + n);
}

/* Let the pmm have the frames of [start, stop), which the memmap had free. */
static void
hand_over(struct zone *z, uint64_t start, uint64_t stop)
{
    size_t first = (start - z->base) / PGSIZE, last = (stop - z->base) / PGSIZE;

    z->pages += last - first;
    zone_set_used(z, first, last);
    while (first < last) {
        unsigned order = FRAME_ORDER(z->state[first]);
        pmm_free(z->base + first * PGSIZE, order);
        first += 1UL << order;
    }
}

/* The frames of [start, stop) that are free in the memmap go to z. */
static void
take_over(struct zone *z, uint64_t start, uint64_t stop)
{
    for (uint64_t from = start, to; from < stop; from = to) {
        bool is_free = memmap_is_free(from);
        to = from + PGSIZE;
        while (to < stop && memmap_is_free(to) == is_free)
            to += PGSIZE;
        if (is_free)
            hand_over(z, from, to);
    }
}

/* The zone for the bank [start, stop). If its links find no room, only for a part of it. */
static void
add_bank(uint64_t start, uint64_t stop)
{
    uint64_t described = stop;
    struct link *link = NULL;

    while (described > start && !(link = table(zone_links(start, described) * sizeof(*link))))
        described = ROUNDDOWN(start + (described - start) / 2, PGSIZE);
    if (described < stop)
        cprintf("Memory: not using %lx-%lx: no room for the pmm's links\n", described, stop);
    if (described > start) {
        zone_add(start, described, link);
        keep(link, zone_links(start, described) * sizeof(*link));
    }
}

/* The bank that the zone was made for: it ends there, or the rest of it is cut off. */
static const struct range *
bank_of(const struct zone *z)
{
    size_t n;
    const struct range *bank = ram_banks(&n);

    while (bank->end < z->base + z->n * PGSIZE)
        bank++;
    return bank;
}

/* All that is usable of the zone, whatever the memmap has become, and still free there. */
static void
fill_zone(struct zone *z)
{
    const struct range *bank = bank_of(z);
    uint64_t stop = z->base + z->n * PGSIZE;

    for (const struct range *r = usable_ranges; r->end != 0; r++)
        if (r->start >= bank->start && r->start < stop)
            take_over(z, r->start, MIN(r->end, stop));
}

static void
set_watermarks(struct zone *z)
{
    size_t min = MIN(z->pages / MIN_SHARE, (size_t)MIN_AT_MOST);

    z->watermark[WATERMARK_MIN] = min;
    z->watermark[WATERMARK_LOW] = min + min / 4;
    z->watermark[WATERMARK_HIGH] = min + min / 2;
}

bool
pmm_init(void)
{
    const struct memmap *map = memmap_get();
    size_t nbanks;
    const struct range *banks = ram_banks(&nbanks);
    uint64_t first = ROUNDDOWN(map->start_addr, LARGEST * PGSIZE);
    size_t n = ROUNDUP(map->end_addr - first, LARGEST * PGSIZE) / PGSIZE;

    uint8_t *state = table(n);
    if (!state)
        return false;
    frames_set(first, n, state);
    for (const struct range *bank = banks; bank < banks + nbanks; bank++)
        if (bank->start < map->end_addr)
            add_bank(bank->start, MIN(bank->end, map->end_addr));

    if (nzones == 0) {
        frames = (struct frames){0};
        return false;
    }
    keep(state, n);
    for (struct zone *z = zones; z < zones + nzones; z++) {
        fill_zone(z);
        set_watermarks(z);
    }
    memmap_reserve(map->start_addr, map->end_addr);
    return true;
}

/* ---- counting ---- */

static bool
has_block(unsigned order)
{
    bool found = false;

    uint64_t flags = spin_lock(&pmm_lock);
    for (const struct zone *z = zones; z < zones + nzones; z++)
        for (unsigned have = order; have < PMM_ORDERS; have++)
            found = found || !zone_empty(z, have);
    spin_unlock(&pmm_lock, flags);
    return found;
}

bool
mem_has_space(enum mem_type type, size_t size)
{
    unsigned order = 0;

    if (size == 0)
        return true;
#if LAB >= 4
    if (type == MEM_HEAP)
        return kmalloc_has_space(size);
#endif
    if (type != MEM_FRAMES || size > LARGEST * PGSIZE)
        return false;
    while ((size_t)PGSIZE << order < size)
        order++;
    /* As pmm_alloc would do it: what kalloc keeps counts, and may be a part of a larger block. */
    return has_block(order) || (order == 0 && kmem.free_list)
        || (kcache_drain(SIZE_MAX) > 0 && has_block(order));
}

size_t
pmm_wanted(enum watermark mark)
{
    size_t wanted = 0;

    uint64_t flags = spin_lock(&pmm_lock);
    for (const struct zone *z = zones; z < zones + nzones; z++)
        if (z->free < z->watermark[mark])
            wanted += z->watermark[mark] - z->free;
    spin_unlock(&pmm_lock, flags);
    return wanted;
}

static void
count_list(const struct zone *z, unsigned order, struct pmm_stats *stats)
{
    size_t head = z->n + order;

    for (size_t i = z->link[head].next; i != head; i = z->link[i].next)
        stats->blocks[order]++;
    if (stats->blocks[order] > 0)
        stats->largest = MAX(stats->largest, 1UL << order);
}

void
pmm_stats(struct pmm_stats *stats)
{
    size_t whole = 0;

    *stats = (struct pmm_stats){.zones = nzones, .cached = kmem.free_list ? kmem.count : 0};
    uint64_t flags = spin_lock(&pmm_lock);
    for (const struct zone *z = zones; z < zones + nzones; z++) {
        stats->pages += z->pages;
        stats->free += z->free;
        for (unsigned order = 0; order < PMM_ORDERS; order++)
            count_list(z, order, stats);
    }
    for (size_t i = 0; i < frames.n; i++)
        stats->shared += FRAME_KIND(frames.state[i]) == FRAME_SHARED;
    spin_unlock(&pmm_lock, flags);
    for (unsigned order = ORDER_2M; order < PMM_ORDERS; order++)
        whole += stats->blocks[order] << order;
    if (stats->free > 0)
        stats->fragmented = (unsigned)(100 * (stats->free - whole) / stats->free);
}
