/*
 * Lab 3's last check: all the memory there is.
 */
#include "check.h"
#include "kalloc.h"
#include "lab3.h"
#include "memmap.h"
#include "pmm.h"
#include "string.h"

#define TABLE_FRAMES (MEMMAP_FRAMES + 2 * BLOCK_FRAMES) /* what frames can describe */
#define BLOCKS_MAX   2048

static uint64_t seen[TABLE_FRAMES / 64]; /* bit i: frame i has come up */

/* The blocks that the check has taken. */
static struct {
    uint32_t first;
    uint32_t order;
} taken[BLOCKS_MAX];
static size_t ntaken;

static uint64_t
pa_of(size_t i)
{
    return V2P(frames.first) + i * PGSIZE;
}

/* The bits of a word that belong to frames from to stop - 1. */
static uint64_t
bits_between(size_t from, size_t stop)
{
    uint64_t bits = UINT64_MAX << from % 64;

    if (from / 64 == stop / 64)
        bits &= (1UL << stop % 64) - 1;
    return bits;
}

/* Frames i to i + n - 1 are here. They must not have been elsewhere. */
static void
see(size_t i, size_t n, const char *where)
{
    for (size_t stop = i + n, next; i < stop; i = next) {
        uint64_t bits = bits_between(i, stop);
        next = MIN(ROUNDDOWN(i, 64UL) + 64, stop);
        uint64_t twice = seen[i / 64] & bits;
        EXPECT(!twice, "page 0x%lx is %s, and somewhere else as well",
               pa_of(ROUNDDOWN(i, 64UL) + (size_t)__builtin_ctzl(twice)), where);
        seen[i / 64] |= bits;
    }
}

/* The blocks on a zone's lists. Each is free, and its buddy is not free in the same size. */
static size_t
see_zone(const struct zone *z)
{
    size_t pages = 0, base = (size_t)(z->state - frames.state);

    for (unsigned order = 0; order < PMM_ORDERS; order++) {
        size_t head = z->n + order;
        for (size_t link = z->link[head].next; link != head; link = z->link[link].next) {
            size_t i = base + link, buddy = i ^ 1UL << order;
            EXPECT(link < z->n, "a list for order %u leads to link %lu: expected one below %lu",
                   order, link, z->n);
            EXPECT(frames.state[i] == FRAME_FREE + order,
                   "page 0x%lx is on the list for order %u: expected the state FRAME_FREE + %u, "
                   "found 0x%x",
                   pa_of(i), order, order, frames.state[i]);
            EXPECT(order == PMM_ORDERS - 1 || frames.state[buddy] != FRAME_FREE + order,
                   "the blocks of order %u at 0x%lx and 0x%lx are buddies, and both free: expected "
                   "one block",
                   order, pa_of(i), pa_of(buddy));
            see(i, 1UL << order, "free");
            pages += 1UL << order;
        }
    }
    EXPECT(z->free == pages, "zones[%lu].free: expected %lu, found %lu", (size_t)(z - zones), pages,
           z->free);
    return pages;
}

static size_t
see_list(void)
{
    size_t n = 0;

    for (const struct run *page = kmem.free_list; page; page = page->next) {
        size_t i = frame_index(page);
        EXPECT(i < frames.n && page_owned(V2P(page)),
               "kmem.free_list: expected a usable page, found %p", (const void *)page);
        see(i, 1, "on kalloc's list");
        n++;
    }
    return n;
}

/* Every usable page has been seen, and no other. */
static void
check_seen(size_t pages)
{
    size_t usable = 0;

    for (const struct range *r = usable_ranges; r->end != 0; r++) {
        size_t i = frame_index(P2V(r->start)), stop = i + (r->end - r->start) / PGSIZE;
        usable += stop - i;
        for (size_t next; i < stop; i = next) {
            next = MIN(ROUNDDOWN(i, 64UL) + 64, stop);
            uint64_t missing = ~seen[i / 64] & bits_between(i, stop);
            EXPECT(!missing,
                   "page 0x%lx is usable: expected it to be free with the pmm, or on kalloc's list",
                   pa_of(ROUNDDOWN(i, 64UL) + (size_t)__builtin_ctzl(missing)));
        }
    }
    EXPECT(pages == usable, "expected %lu pages, as many as are usable, found %lu", usable, pages);
}

/* Where every page is, as long as nobody uses one. */
static void
check_places(void)
{
    size_t pages = 0, of_zones = 0;

    EXPECT(frames.n <= TABLE_FRAMES, "a mistake in the check itself: TABLE_FRAMES is too small");
    memset(seen, 0, sizeof(seen));
    for (const struct zone *z = zones; z < zones + nzones; z++) {
        pages += see_zone(z);
        of_zones += z->pages;
    }
    pages += see_list();
    check_seen(pages);
    EXPECT(of_zones == pages, "the zones' pages: expected %lu, found %lu", pages, of_zones);
}

/* ---- the memmap ---- */

/* The first page that the memmap has free and the pmm has not got, or the other way round; 0: none. */
__attribute__((no_sanitize("undefined"))) static uint64_t
first_other(const struct memmap *map)
{
    size_t frame = frame_index(P2V(map->start_addr));

    for (uint64_t i = 0; i < map->max_frames; i++, frame++) {
        bool in_use = map->bitmap[i / 8] >> i % 8 & 1;
        if (in_use == (seen[frame / 64] >> frame % 64 & 1))
            return map->start_addr + i * PGSIZE;
    }
    return 0;
}

/* What the memmap would hand over at boot is what the pmm has got. */
static void
check_memmap(void)
{
    const struct memmap *map = memmap_get();
    size_t nbanks;
    const struct range *banks = ram_banks(&nbanks);
    uint64_t at = banks[0].start, wrong = 0;

    check_doing("memmap_init(0x%lx, 0x%lx)", at, PHYSTOP);
    EXPECT(memmap_init(at, PHYSTOP) == 0, "expected 0");
    EXPECT(map->start_addr == at && map->end_addr == PHYSTOP
               && map->max_frames == (PHYSTOP - at) / PGSIZE,
           "expected a map of all that, found 0x%lx to 0x%lx, with %lu frames", map->start_addr,
           map->end_addr, map->max_frames);
    for (const struct range *r = usable_ranges; r->end != 0; r++) {
        check_doing("memmap_reserve(0x%lx, 0x%lx)", at, r->start);
        memmap_reserve(at, r->start);
        at = r->end;
    }
    check_doing("memmap_reserve(0x%lx, 0x%lx)", at, PHYSTOP);
    memmap_reserve(at, PHYSTOP);
    check_doing("the memmap, with all that is not usable reserved");
    wrong = first_other(map);
    EXPECT(wrong == 0, "page 0x%lx is %s: expected the memmap's bit to say so", wrong,
           page_owned(wrong) ? "usable" : "not usable");
}

/* ---- taking all of it ---- */

static void
give_back(void)
{
    while (ntaken > 0) {
        uint64_t pa = pa_of(taken[--ntaken].first);
        check_doing("pmm_free(0x%lx, %u)", pa, taken[ntaken].order);
        int result = pmm_free(pa, taken[ntaken].order);
        EXPECT(result == 0, "expected 0, as pmm_alloc has handed it out, found %s",
               error_text(result));
    }
}

/* It is memory: what is written stays, and in one place. */
static void
mark_block(size_t i, unsigned order)
{
    uint64_t pa = pa_of(i), last = pa + ((uint64_t)PGSIZE << order) - PGSIZE;

    *(uint64_t *)P2V(last) = ~pa;
    *(uint64_t *)P2V(pa) = pa;
}

static bool
take_block(unsigned order)
{
    check_doing("pmm_alloc(%u), of all memory", order);
    uint64_t pa = pmm_alloc(order);
    if (pa == 0)
        return false;
    size_t i = frame_index(P2V(pa));
    EXPECT(i < frames.n && 1UL << order <= frames.n - i && page_owned(pa)
               && pa % ((uint64_t)PGSIZE << order) == 0
               && page_owned(pa + ((uint64_t)PGSIZE << order) - 1),
           "expected a usable block of this order, found 0x%lx", pa);
    see(i, 1UL << order, "in the block that was returned");
    EXPECT(ntaken < BLOCKS_MAX, "found %d blocks and more: expected larger ones", BLOCKS_MAX);
    taken[ntaken].first = (uint32_t)i;
    taken[ntaken++].order = order;
    mark_block(i, order);
    return true;
}

/* The largest blocks first; kalloc's list may keep what it has, if it is one of lab 2's. */
static void
take_everything(void)
{
    size_t pages = 0;

    memset(seen, 0, sizeof(seen));
    check_finally(give_back);
    for (unsigned order = PMM_ORDERS; order-- > 0;)
        while (take_block(order))
            pages += 1UL << order;
    check_doing("%s", "pmm_alloc until there was no more");
    check_seen(pages + see_list());
    for (size_t n = 0; n < ntaken; n++) {
        uint64_t pa = pa_of(taken[n].first);
        EXPECT(*(uint64_t *)P2V(pa) == pa, "the block at 0x%lx has been changed while in use", pa);
    }
}

/* In another order than that in which they came. */
static void
mix_taken(void)
{
    for (size_t n = ntaken; n > 1; n--) {
        size_t other = check_random_below(n);
        __typeof__(taken[0]) last = taken[n - 1];
        taken[n - 1] = taken[other];
        taken[other] = last;
    }
}

CHECK(frames_whole)
{
    need_memmap_init();
    need_pmm_alloc();
    need_pmm_free();
    machine_end();
    check_doing("%s", "the memory after boot");
    EXPECT(nzones > 0, "the pmm has got none: write memmap_reserve and alloc_frames in "
                       "kern/memmap.c first");
    check_places();
    check_memmap();
    take_everything();
    mix_taken();
    give_back();
    check_doing("%s", "all memory, after it was taken and freed");
    check_places();
}
