#include "pages.h"

#include <string.h>

#include "errno.h"
#include "kalloc.h"

#define LARGEST (1UL << (PMM_ORDERS - 1))

/* The fuzzer is to look for other ways through the code under test, not through the model. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

struct pages pages;
bool pages_thorough;
static bool saved; /* since then, nothing has changed */

/* ---- What is free ---- */

static uint8_t all_free_kind[LARGEST];

static bool
all_free(size_t first, size_t n)
{
    if (n <= 8) {
        size_t i = first;
        while (i < first + n && pages.kind[i] == PAGE_FREE) {
            i++;
        }
        return i == first + n;
    }
    return memcmp(&pages.kind[first], all_free_kind, n) == 0;
}

/* The largest aligned block around page i that is free. */
unsigned
pages_free_order(size_t i)
{
    unsigned order = 0;

    while (order < PMM_ORDERS - 1
           && all_free(ROUNDDOWN(i, 1UL << order) ^ (1UL << order), 1UL << order)) {
        order++;
    }
    return order;
}

/* Count the free blocks in this aligned region: they are what it says, or no more. */
static void
count_blocks(size_t i, size_t n, size_t sign)
{
    size_t stop = i + n;

    while (i < stop) {
        if (pages.kind[i] != PAGE_FREE) {
            i++;
            continue;
        }
        unsigned order = pages_free_order(i);
        pages.blocks[pool_zone_of(i)][order] += sign;
        i += 1UL << order;
    }
}

/* [first, first + n) lies within one of the largest blocks. */
static void
set_kind_there(size_t first, size_t n, uint8_t kind)
{
    size_t z = pool_zone_of(first), was_free = 0, size = 1, at = first;

    /* The region in which free blocks may become others: further than that, nothing can merge with it. */
    while (at + size < first + n) {
        size *= 2;
        at = ROUNDDOWN(first, size);
    }
    if (all_free(at, first - at) && all_free(first + n, at + size - first - n)) {
        while (size < LARGEST && all_free(at ^ size, size)) {
            size *= 2;
            at = ROUNDDOWN(first, size);
        }
    }
    count_blocks(at, size, SIZE_MAX);
    for (size_t i = first; i < first + n; i++) {
        was_free += pages.kind[i] == PAGE_FREE;
        pages.kind[i] = kind;
    }
    pages.free[z] += (kind == PAGE_FREE ? n : 0) - was_free;
    count_blocks(at, size, 1);
}

static void
set_kind(size_t first, size_t n, uint8_t kind)
{
    for (size_t stop = first + n, next; first < stop; first = next) {
        next = MIN(ROUNDDOWN(first, LARGEST) + LARGEST, stop);
        set_kind_there(first, next - first, kind);
    }
}

void
pages_start(void)
{
    if (frames.n > PAGES_MAX) {
        broken("a table of %zu frames is too large for the model", frames.n);
    }
    memset(all_free_kind, PAGE_FREE, sizeof(all_free_kind));
    memset(pages.kind, PAGE_NONE, MAX(pages.n, frames.n));
    memset(pages.free, 0, sizeof(pages.free));
    memset(pages.managed, 0, sizeof(pages.managed));
    memset(pages.blocks, 0, sizeof(pages.blocks));
    pages.n = frames.n;
    pages.ncached = 0;
    saved = false;
}

void
pages_set_free(size_t first, size_t n)
{
    saved = false;
    for (size_t i = first; i < first + n; i++) {
        size_t z = pool_zone_of(i);
        if (z == ZONES_MAX) {
            broken("frame %zu is in no zone", i);
        }
        pages.managed[z] += pages.kind[i] == PAGE_NONE;
    }
    set_kind(first, n, PAGE_FREE);
}

void
pages_set_used(size_t first, unsigned order, uint32_t users)
{
    pages_set_free(first, 1UL << order);
    set_kind(first, 1UL << order, PAGE_USED);
    for (size_t i = first; i < first + (1UL << order); i++) {
        pages.head[i] = (uint32_t)first;
    }
    pages.order[first] = (uint8_t)order;
    pages.users[first] = users;
}

void
pages_set_cached(size_t i)
{
    pages_set_free(i, 1);
    set_kind(i, 1, PAGE_CACHED);
    pages.cached[pages.ncached++] = (uint32_t)i;
}

void
pages_hand_over(size_t first, size_t n)
{
    size_t z = pool_zone_of(first), from = first - pool_base(z);

    zone_set_used(&zones[z], from, from + n);
    zones[z].pages += n;
    if (pmm_free_range(pool_pa(first), n) != 0) {
        broken("pmm_free_range(frame %zu, %zu pages) fails for pages that are in use", first, n);
    }
    pages_set_free(first, n);
}

void
pages_booted(bool (*was_free)(uint64_t pa))
{
    size_t n;
    const struct range *bank = ram_banks(&n), *last = bank + n;

    pages_start();
    for (size_t z = 0; z < nzones; z++, bank++) {
        uint64_t stop = zones[z].base + zones[z].n * PGSIZE;
        while (bank < last && ROUNDDOWN(bank->start, LARGEST * PGSIZE) < zones[z].base) {
            bank++; /* has none */
        }
        while (bank < last && stop <= bank->start) {
            bank++;
        }
        if (bank == last || ROUNDDOWN(bank->start, LARGEST * PGSIZE) != zones[z].base
            || stop > bank->end) {
            broken("zone %zu, %#lx to %#lx, is no bank's", z, (unsigned long)zones[z].base,
                   (unsigned long)stop);
        }
        for (const struct range *r = usable_ranges; r->end != 0; r++) {
            uint64_t from = MAX(r->start, bank->start), to = MIN(r->end, stop);
            for (; from < to; from += PGSIZE) {
                if (was_free(from)) {
                    pages_set_free((from - V2P(frames.first)) / PGSIZE, 1);
                }
            }
        }
    }
}

size_t
pages_free_count(void)
{
    size_t n = 0;

    for (size_t z = 0; z < nzones; z++) {
        n += pages.free[z];
    }
    return n;
}

int
pages_largest(void)
{
    for (int order = PMM_ORDERS - 1; order >= 0; order--) {
        for (size_t z = 0; z < nzones; z++) {
            if (pages.blocks[z][order] > 0) {
                return order;
            }
        }
    }
    return -1;
}

/* ---- Looking at all of it ---- */

static uint8_t
expected_state(size_t i)
{
    unsigned order;

    switch (pages.kind[i]) {
    case PAGE_FREE:
        order = pages_free_order(i);
        return i % (1UL << order) == 0 ? (uint8_t)(FRAME_FREE + order) : FRAME_NONE;
    case PAGE_CACHED:
        return FRAME_CACHED;
    case PAGE_USED:
        if (pages.head[i] != i) {
            return FRAME_NONE;
        }
        return (uint8_t)((pages.users[i] > 1 ? FRAME_SHARED : FRAME_USED) + pages.order[i]);
    default:
        return FRAME_NONE;
    }
}

/* Frames whose expected state is known at once: inside a free or used block. Returns where they end. */
static size_t
check_block(size_t i)
{
    uint8_t expected = expected_state(i);
    size_t n = 1;

    if (frames.state[i] != expected) {
        broken("frame %zu has state %#x instead of %#x", i, frames.state[i], expected);
    }
    if (FRAME_KIND(expected) <= FRAME_FREE) {
        n = 1UL << FRAME_ORDER(expected);
    }
    for (size_t j = i + 1; j < i + n; j++) {
        if (frames.state[j] != FRAME_NONE) {
            broken("frame %zu, inside the block of frame %zu, has state %#x", j, i,
                   frames.state[j]);
        }
    }
    if (FRAME_KIND(expected) == FRAME_SHARED && pool_link(i)->users != pages.users[i]) {
        broken("frame %zu has %u users instead of %u", i, pool_link(i)->users, pages.users[i]);
    }
    return i + n;
}

static void
check_list(size_t z, unsigned order)
{
    const struct zone *zone = &zones[z];
    size_t head = zone->n + order, n = 0, before = head;

    for (size_t at = zone->link[head].next; at != head; at = zone->link[at].next) {
        if (at >= zone->n || zone->link[at].prev != before || ++n > pages.blocks[z][order]) {
            broken("zone %zu, list of order %u: its %zuth link, %zu, is wrong", z, order, n, at);
        }
        if (zone->state[at] != FRAME_FREE + order) {
            broken("zone %zu, list of order %u: frame %zu is no such free block", z, order, at);
        }
        before = at;
    }
    if (zone->link[head].prev != before || n != pages.blocks[z][order]) {
        broken("zone %zu, list of order %u: %zu blocks instead of %zu", z, order, n,
               pages.blocks[z][order]);
    }
}

/* The counts alone. */
static void
check_zones(void)
{
    for (size_t z = 0; z < nzones; z++) {
        if (zones[z].free != pages.free[z]) {
            broken("zone %zu: %zu pages free instead of %zu", z, zones[z].free, pages.free[z]);
        }
    }
    if (kmem.count != pages.ncached) {
        broken("%zu pages in the cache instead of %zu", kmem.count, pages.ncached);
    }
}

static void
check_cache(void)
{
    const struct run *page = kmem.free_list;

    for (size_t n = pages.ncached; n > 0; n--, page = page->next) {
        if (!page || frame_index(page) != pages.cached[n - 1]) {
            broken("kalloc's list has %p in place of frame %u", (const void *)page,
                   pages.cached[n - 1]);
        }
    }
    if (page) {
        broken("kalloc's list goes on after %zu pages", pages.ncached);
    }
}

static unsigned
expected_refs(size_t i)
{
    return i < pages.n && pages.kind[i] == PAGE_USED ? pages.users[pages.head[i]] : 0;
}

/* What the functions say that only look. */
static void
check_answers(void)
{
    struct pmm_stats stats;
    size_t managed = 0, shared = 0, whole = 0, blocks[PMM_ORDERS] = {0};
    size_t wanted[WATERMARKS] = {0};

    for (size_t z = 0; z < nzones; z++) {
        managed += pages.managed[z];
        for (unsigned order = 0; order < PMM_ORDERS; order++) {
            blocks[order] += pages.blocks[z][order];
            whole += order >= 9 ? pages.blocks[z][order] << order : 0;
        }
        for (unsigned mark = 0; mark < WATERMARKS; mark++) {
            size_t level = zones[z].watermark[mark];
            wanted[mark] += pages.free[z] < level ? level - pages.free[z] : 0;
        }
    }
    for (size_t i = 0; i < pages.n; i++) {
        unsigned refs = expected_refs(i);
        shared += refs > 1 && pages.head[i] == i;
        if (page_refs(pool_pa(i) + i % PGSIZE) != refs) {
            broken("page_refs(frame %zu) is %u instead of %u", i, page_refs(pool_pa(i)), refs);
        }
    }
    memset(&stats, 0xa5, sizeof(stats));
    pmm_stats(&stats);
    size_t n = pages_free_count(), fragmented = n > 0 ? 100 * (n - whole) / n : 0;
    int largest = pages_largest();
    if (stats.zones != nzones || stats.pages != managed || stats.free != n
        || stats.cached != pages.ncached || stats.shared != shared
        || memcmp(stats.blocks, blocks, sizeof(blocks)) != 0
        || stats.largest != (largest < 0 ? 0 : 1UL << largest) || stats.fragmented != fragmented) {
        broken("pmm_stats: %zu zones, %zu pages, %zu free, %zu cached, %zu shared, %zu in the "
               "largest, %u %% fragmented; expected %zu, %zu, %zu, %zu, %zu, order %d, %zu %%",
               stats.zones, stats.pages, stats.free, stats.cached, stats.shared, stats.largest,
               stats.fragmented, nzones, managed, n, pages.ncached, shared, largest, fragmented);
    }
    for (enum watermark mark = 0; mark < WATERMARKS; mark++) {
        if (pmm_wanted(mark) != wanted[mark]) {
            broken("pmm_wanted(%d) is %zu instead of %zu", (int)mark, pmm_wanted(mark),
                   wanted[mark]);
        }
    }
    for (int order = 0; order <= largest; order++) {
        if (!mem_has_space(MEM_FRAMES, (size_t)PGSIZE << order)) {
            broken("mem_has_space(%d pages) is false with a block of order %d free", 1 << order,
                   largest);
        }
    }
}

void
pages_check(void)
{
    for (size_t i = 0; i < pages.n;) {
        i = check_block(i);
    }
    for (size_t z = 0; z < nzones; z++) {
        for (unsigned order = 0; order < PMM_ORDERS; order++) {
            check_list(z, order);
        }
    }
    check_zones();
    check_cache();
    check_answers();
}

/* ---- Calls ---- */

static void
call_begins(void)
{
    if (pages_thorough && !saved) {
        pool_save();
        saved = true;
    }
}

static void
call_ended(void)
{
    saved = false;
    if (pages_thorough) {
        pages_check();
    } else {
        check_zones();
    }
}

static void
call_refused(const char *what)
{
    if (pages_thorough && pool_changed()) {
        broken("%s was refused, and yet something has changed", what);
    }
    check_zones();
}

/* The frame at pa, which must be aligned and in the table; pages.n if it is not. */
static size_t
frame_at(uint64_t pa)
{
    uint64_t first = V2P(frames.first);

    return pa % PGSIZE == 0 && pa >= first && (pa - first) / PGSIZE < pages.n
             ? (pa - first) / PGSIZE
             : pages.n;
}

/* Does a block in use begin at frame i? */
static bool
is_head(size_t i)
{
    return i < pages.n && pages.kind[i] == PAGE_USED && pages.head[i] == i;
}

/*
 * kalloc's list may have become another one, out of its own pages and free ones; what has left it is free.
 * Pages that are on it now and were free are in the cache. Returns how many of these there are.
 */
size_t
pages_adopt_cache(void)
{
    static uint32_t list[PAGES_MAX];
    size_t n = 0, added = 0;

    for (const struct run *page = kmem.free_list; page; page = page->next) {
        size_t i = frame_index(page);
        if (i >= pages.n || (pages.kind[i] != PAGE_CACHED && pages.kind[i] != PAGE_FREE)
            || n == kmem.count) {
            broken("kalloc's list has %p as its page %zu of %zu, which is not free",
                   (const void *)page, n, kmem.count);
        }
        added += pages.kind[i] == PAGE_FREE;
        list[n++] = (uint32_t)i;
    }
    /* First all of them leave it. A page that is on it twice is found at its second turn. */
    for (size_t j = 0; j < pages.ncached; j++) {
        set_kind(pages.cached[j], 1, PAGE_FREE);
    }
    for (size_t j = 0; j < n; j++) {
        if (pages.kind[list[j]] != PAGE_FREE) {
            broken("frame %u is on kalloc's list twice", list[j]);
        }
        set_kind(list[j], 1, PAGE_CACHED);
    }
    for (size_t j = 0; j < n; j++) {
        pages.cached[j] = list[n - 1 - j];
    }
    pages.ncached = n;
    return added;
}

uint64_t
pages_alloc(unsigned order)
{
    bool direct = order < PMM_ORDERS && pages_largest() >= (int)order;
    size_t ncached = pages.ncached;

    call_begins();
    uint64_t pa = pmm_alloc(order);
    if (order < PMM_ORDERS && !direct && ncached > 0) {
        pages_adopt_cache(); /* the pmm may take pages from it now */
    }
    if (pa == 0) {
        if (order < PMM_ORDERS && (pages.ncached > 0 || pages_largest() >= (int)order)) {
            broken("pmm_alloc(%u) returned 0 with %zu pages in the cache, and blocks of order %d",
                   order, pages.ncached, pages_largest());
        }
        if (order >= PMM_ORDERS || ncached == 0) {
            call_refused("pmm_alloc");
        } else {
            call_ended();
        }
        return 0;
    }
    size_t i = frame_at(pa);
    if (order >= PMM_ORDERS || i == pages.n || pa % ((uint64_t)PGSIZE << order) != 0
        || !all_free(i, 1UL << order)) {
        broken("pmm_alloc(%u) returned %#lx: no such free block", order, (unsigned long)pa);
    }
    unsigned from = pages_free_order(i);
    size_t z = pool_zone_of(i);
    for (unsigned smaller = order; smaller < from; smaller++) {
        if (pages.blocks[z][smaller] > 0) {
            broken("pmm_alloc(%u) split a block of order %u with one of order %u free", order, from,
                   smaller);
        }
    }
    if (i % (1UL << from) != 0) {
        broken("pmm_alloc(%u) returned frame %zu: not the lower part of a free block", order, i);
    }
    set_kind(i, 1UL << order, PAGE_USED);
    for (size_t j = i; j < i + (1UL << order); j++) {
        pages.head[j] = (uint32_t)i;
    }
    pages.order[i] = (uint8_t)order;
    pages.users[i] = 1;
    call_ended();
    return pa;
}

int
pages_free(uint64_t pa, unsigned order)
{
    size_t i = frame_at(pa);
    int expected = -EINVAL;

    if (is_head(i) && pages.order[i] == order) {
        expected = pages.users[i] > 1 ? -EBUSY : 0;
    }
    call_begins();
    int got = pmm_free(pa, order);
    if (got != expected) {
        broken("pmm_free(%#lx: frame %zu, %u) returned %d instead of %d", (unsigned long)pa, i,
               order, got, expected);
    }
    if (got != 0) {
        call_refused("pmm_free");
        return got;
    }
    set_kind(i, 1UL << order, PAGE_FREE);
    call_ended();
    return 0;
}

/* The block in use at `head` loses [first, stop): what is left is halved until no part lies on both sides. */
static void
carve(size_t head, unsigned order, size_t first, size_t stop)
{
    size_t n = 1UL << order;

    if (head >= first && head + n <= stop) {
        return;
    }
    if (head + n <= first || head >= stop) {
        for (size_t i = head; i < head + n; i++) {
            pages.head[i] = (uint32_t)head;
        }
        pages.order[head] = (uint8_t)order;
        pages.users[head] = 1;
        return;
    }
    carve(head, order - 1, first, stop);
    carve(head + n / 2, order - 1, first, stop);
}

int
pages_free_range(uint64_t pa, size_t npages)
{
    size_t first = frame_at(pa), stop = first + npages;
    bool unused = first == pages.n || npages == 0 || npages > pages.n - first, shared = false;

    for (size_t i = first; !unused && i < stop; i++) {
        unused = pages.kind[i] != PAGE_USED;
        shared = shared || expected_refs(i) > 1;
    }
    call_begins();
    int got = pmm_free_range(pa, npages);
    if (got != 0 ? !(got == -EINVAL && unused) && !(got == -EBUSY && shared) : unused || shared) {
        broken("pmm_free_range(%#lx: frame %zu, %zu pages) returned %d", (unsigned long)pa, first,
               npages, got);
    }
    if (got != 0) {
        call_refused("pmm_free_range");
        return got;
    }
    for (size_t i = first; i < stop;) {
        size_t head = pages.head[i], after = head + (1UL << pages.order[head]);
        if (head < first || after > stop) {
            carve(head, pages.order[head], first, stop);
        }
        i = after;
    }
    set_kind(first, npages, PAGE_FREE);
    call_ended();
    return 0;
}

int
pages_share(uint64_t pa)
{
    size_t i = frame_at(pa);
    int64_t expected = -EINVAL;

    if (is_head(i)) {
        expected = pages.users[i] < INT32_MAX ? (int64_t)pages.users[i] + 1 : -EBUSY;
    }
    call_begins();
    int got = page_share(pa);
    if (got != expected) {
        broken("page_share(%#lx: frame %zu) returned %d instead of %ld", (unsigned long)pa, i, got,
               (long)expected);
    }
    if (got < 0) {
        call_refused("page_share");
        return got;
    }
    pages.users[i]++;
    call_ended();
    return got;
}

int
pages_unshare(uint64_t pa)
{
    size_t i = frame_at(pa);
    int expected = is_head(i) ? (int)(pages.users[i] - 1) : -EINVAL;

    call_begins();
    int got = page_unshare(pa);
    if (got != expected) {
        broken("page_unshare(%#lx: frame %zu) returned %d instead of %d", (unsigned long)pa, i, got,
               expected);
    }
    if (got < 0) {
        call_refused("page_unshare");
        return got;
    }
    if (got > 0) {
        pages.users[i]--;
    } else {
        set_kind(i, 1UL << pages.order[i], PAGE_FREE);
    }
    call_ended();
    return got;
}

/* The page on top of the list is a single page in use from now on. */
static size_t
take_cached(void)
{
    size_t i = pages.cached[--pages.ncached];

    set_kind(i, 1, PAGE_USED);
    pages.head[i] = (uint32_t)i;
    pages.order[i] = 0;
    pages.users[i] = 1;
    return i;
}

char *
pages_kalloc(void)
{
    size_t before = pages.ncached, most = MIN((size_t)KCACHE_BATCH, pool_will_succeed());
    size_t n = MIN(pages_free_count(), most);

    call_begins();
    char *page = kalloc();
    if (!page) {
        if (before + n > 0) {
            broken("kalloc returned NULL with %zu pages in the cache, %zu free", before,
                   pages_free_count());
        }
        call_refused("kalloc");
        return NULL;
    }
    size_t i = frame_index(page);
    if (before == 0) {
        if (i >= pages.n || pages.kind[i] != PAGE_FREE || kmem.count != n - 1) {
            broken("kalloc returned frame %zu, and %zu of %zu pages are left", i, kmem.count, n);
        }
        /* As if it were still there. */
        set_kind(i, 1, PAGE_CACHED);
        pages_adopt_cache();
        pages.cached[pages.ncached++] = (uint32_t)i;
    } else if (i != pages.cached[before - 1]) {
        broken("kalloc returned frame %zu instead of %u", i, pages.cached[before - 1]);
    }
    take_cached();
    call_ended();
    return page;
}

static void
call_kfree(void *v)
{
    kfree(v);
}

bool
pages_kfree(char *v)
{
    size_t i = frame_at(V2P(v));
    bool right = is_head(i) && (pages.order[i] == 0 || pages.users[i] > 1);
    static char content[PGSIZE];

    if (right && pages_thorough && pages.order[i] == 0) {
        memcpy(content, v, PGSIZE);
    }
    call_begins();
    const char *message = machine_panics(call_kfree, v);
    pool_check_locks("kfree panicked");
    if (!message != right) {
        broken("kfree(frame %zu): %s", i, message ? message : "no panic");
    }
    if (message) {
        call_refused("kfree");
        return false;
    }
    if (pages.users[i] > 1) {
        pages.users[i]--;
        if (pages_thorough && pages.order[i] == 0 && memcmp(v, content, PGSIZE) != 0) {
            broken("kfree of a page that others have has changed what it contains");
        }
        call_ended();
        return true;
    }
    set_kind(i, 1, PAGE_CACHED);
    pages.cached[pages.ncached++] = (uint32_t)i;
    if (pages.ncached >= KCACHE_MAX) {
        /* The list gets longer than that by kcache_refill alone; then it may stay so. */
        size_t before = pages.ncached, left = before - KCACHE_BATCH;
        if (pages_adopt_cache() > 0
            || (pages.ncached != left && (before == KCACHE_MAX || pages.ncached != before))) {
            broken("kfree has left %zu pages in the cache instead of %zu", pages.ncached, left);
        }
    }
    call_ended();
    return true;
}

size_t
pages_refill(void)
{
    size_t before = pages.ncached, n = pages_free_count();
    size_t most = MIN((size_t)KCACHE_BATCH, pool_will_succeed());

    call_begins();
    size_t got = kcache_refill();
    size_t added = pages_adopt_cache();
    if (n >= most ? got != most || added != most || pages.ncached != before + most
                  : got < n || got > most) {
        broken(
            "kcache_refill returned %zu, with %zu pages free; %zu in the cache before, %zu after",
            got, n, before, pages.ncached);
    }
    call_ended();
    return got;
}

size_t
pages_drain(size_t n)
{
    size_t expected = MIN(n, pages.ncached), before = pages.ncached;

    call_begins();
    size_t got = kcache_drain(n);
    if (pages_adopt_cache() > 0 || got != expected || pages.ncached != before - expected) {
        broken("kcache_drain(%zu) returned %zu, and %zu of %zu pages are left", n, got,
               pages.ncached, before);
    }
    call_ended();
    return got;
}

bool
pages_has_space(enum mem_type type, size_t size)
{
    unsigned order = 0;

    while (order < PMM_ORDERS && (size_t)PGSIZE << order < size) {
        order++;
    }
    bool has = mem_has_space(type, size);
    pages_adopt_cache();
    /* What the cache has counts, too. */
    for (size_t j = 0; j < pages.ncached; j++) {
        set_kind(pages.cached[j], 1, PAGE_FREE);
    }
    bool expected = size == 0 || (type == MEM_FRAMES && pages_largest() >= (int)order);
    for (size_t j = 0; j < pages.ncached; j++) {
        set_kind(pages.cached[j], 1, PAGE_CACHED);
    }
    if (has != expected) {
        broken("mem_has_space(%d, %#zx) is %d", (int)type, size, has);
    }
    call_ended();
    return has;
}

void
pages_free_all(void)
{
    bool thorough = pages_thorough;

    pages_thorough = false;
    for (size_t i = 0; i < pages.n; i++) {
        /* By one call or the other; and any further blocks next to it that are nobody else's, too. */
        while (pages.kind[i] == PAGE_USED && pages.users[pages.head[i]] > 1) {
            pages_unshare(pool_pa(pages.head[i]));
        }
        if (pages.kind[i] == PAGE_USED && pages.head[i] % 3 == 0) {
            pages_free(pool_pa(pages.head[i]), pages.order[pages.head[i]]);
        } else if (pages.kind[i] == PAGE_USED) {
            size_t j = i;
            while (j < pages.n && pages.kind[j] == PAGE_USED && pages.users[pages.head[j]] == 1) {
                j++;
            }
            pages_free_range(pool_pa(i), j - i);
        }
    }
    pages_drain(SIZE_MAX);
    pages_thorough = thorough;
    for (size_t z = 0; z < nzones; z++) {
        if (pages.free[z] != pages.managed[z]) {
            broken("zone %zu has %zu pages of %zu", z, pages.free[z], pages.managed[z]);
        }
    }
    pages_check();
}

size_t
pages_take_all(void)
{
    bool thorough = pages_thorough;
    size_t n = 0;

    pages_thorough = false;
    while (pages_alloc(0) != 0) {
        n++;
    }
    pages_thorough = thorough;
    if (pages_free_count() + pages.ncached != 0) {
        broken("%zu pages are free and cannot be had", pages_free_count() + pages.ncached);
    }
    pages_check();
    return n;
}

#ifdef __clang__
#pragma clang attribute pop
#endif
