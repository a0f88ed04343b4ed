/*
 * Lab 4's check of how the heap grows, and shrinks. The pmm has a machine of its own, with few real pages
 * (lab3.h).
 */
#include "../lab3/lab3.h"
#include "check.h"
#include "lab4.h"
#include "layout.h"
#include "pmm.h"

static size_t first, total; /* frames of the machine's memory */

/* A machine where only some pages are free; and a heap with one region that is full, or none. */
static void
grow_new(size_t region_pages)
{
    first = machine_real(&total);
    machine_bank(first, total);
    machine_put(first, 0, FRAME_USED);
    layout_new();
    if (region_pages > 0) {
        layout_region(layout_page(2), region_pages);
        layout_random(500, 0);
    }
}

static void
grow_start(void)
{
    machine_start();
    layout_start();
}

static bool
pmm_has(unsigned order)
{
    for (unsigned o = order; o < PMM_ORDERS; o++)
        if (machine_free_blocks(0, o) > 0)
            return true;
    return false;
}

static unsigned
order_for(size_t bytes)
{
    unsigned order = 0;

    while (((size_t)PGSIZE << order) < bytes)
        order++;
    return order;
}

static bool
is_known(const struct region *r)
{
    for (size_t i = 0; i < layout.nregions; i++)
        if (layout.region[i].at == r)
            return true;
    return false;
}

/* The region that has come, of 2^order pages, is the machine's. */
static struct region *
new_region(unsigned order)
{
    struct region *r = heap.regions;
    size_t known = 0;

    while (r && known <= layout.nregions && is_known(r)) {
        r = r->next;
        known++;
    }
    EXPECT(r && known <= layout.nregions,
           "expected one more region on heap.regions, found none but the %lu from before",
           layout.nregions);
    size_t i = frame_index(r);
    EXPECT(i - first < total && machine_is(i) == IS_FREE,
           "heap.regions: expected a block of the pmm that was free, found %p", (void *)r);
    EXPECT(i + (1UL << order) <= first + total && i % (1UL << order) == 0,
           "heap.regions: expected a block of order %u, found %p", order, (void *)r);
    EXPECT(r->size == (size_t)PGSIZE << order,
           "size of the new region %p: expected %lu (a block of order %u), found %lu", (void *)r,
           (size_t)PGSIZE << order, order, r->size);
    machine_put(i, order, FRAME_USED);
    return r;
}

static void *
grow_alloc(size_t size)
{
    size_t need = layout_need(size), i = layout_fit(need);
    unsigned needed = order_for(need + sizeof(struct region)), order = MAX(needed, HEAP_ORDER);

    if (i < layout.npieces) {
        void *p = layout_take_any(size); /* which one is another check's matter */
        machine_check();
        return p;
    }
    if (!pmm_has(order))
        order = needed;
    if (!pmm_has(order)) {
        check_doing("heap_alloc(%lu), the pmm's largest block is too small", size);
        void *p = heap_alloc(size);
        EXPECT(!p, "expected NULL, found %p", p);
        machine_check();
        layout_check();
        return NULL;
    }
    check_doing("heap_alloc(%lu), for which the heap is to grow by a block of order %u", size,
                order);
    char *p = heap_alloc(size);
    EXPECT(
        p,
        "found NULL: expected the heap to grow: heap_alloc, in kern/heap.c, asks the pmm when no "
        "free block is large enough");
    struct region *r = new_region(order);
    i = layout_came(r, (size_t)PGSIZE << order);
    EXPECT(p == layout_memory(i), "expected %p, in the first block of the new region %p, found %p",
           (void *)layout_memory(i), (void *)r, (void *)p);
    layout_took(i, need);
    layout_check();
    machine_check();
    return p;
}

/* heap_free of block i: with it, its region may go. */
static void
grow_free(size_t i)
{
    struct region *r = layout.piece[i].in;

    i = layout_free(i);
    size_t size = layout.piece[i].size + sizeof(*r);
    if (r != layout.first && (char *)layout.piece[i].at == (char *)(r + 1)
        && (i + 1 == layout.npieces || layout.piece[i + 1].in != r)) {
        check_doing("heap_free of the last block in use of the region %p", (void *)r);
        layout_went(r);
        machine_put_free(frame_index(r), size / PGSIZE);
    }
    layout_check();
    machine_check();
}

static void
grow_free_all(void)
{
    for (size_t i; (i = layout_pick(true)) < layout.npieces;)
        grow_free(i);
    EXPECT(layout.nregions == (layout.first ? 1 : 0), "a mistake in the check itself");
}

/* As many pages as the block needs, if that is more than HEAP_PAGES; what they hold to the last byte. */
static void
grow_orders(void)
{
    for (unsigned order = 0; order < 7; order++) {
        size_t most = ((size_t)PGSIZE << order) - sizeof(struct region) - BLOCK_HEADER;
        for (size_t more = 0; more < 2; more++) {
            grow_new(check_random() % 2);
            machine_put_free(first + 1, total - 1);
            grow_start();
            void *p = grow_alloc(most + more);
            EXPECT(p, "a mistake in the check itself");
            grow_alloc(most + more - check_random_below(16));
            grow_free_all();
        }
    }
}

/* There are fewer than HEAP_PAGES in a row. */
static void
grow_small(void)
{
    grow_new(1);
    machine_put_free(first + 24, 8);
    grow_start();
    grow_alloc(100); /* 8 would do as well, but only one page is needed */
    grow_free_all();
    grow_new(1);
    machine_put_free(first + 1, 1);
    machine_put_free(first + 6, 2);
    machine_put_free(first + 12, 4);
    machine_put_free(first + 24, 8);
    grow_start();
    grow_alloc(5 * PGSIZE);
    grow_alloc(8 * PGSIZE);
    grow_alloc(100);
    grow_alloc(PGSIZE);
    grow_alloc(PGSIZE + 1);
    grow_alloc(2 * PGSIZE + 1);
    grow_alloc(1);
    grow_alloc(3 * PGSIZE);
    grow_free_all();
    grow_new(0);
    grow_start(); /* nothing at all */
    grow_alloc(1);
    grow_alloc(HEAP_MAX);
}

/* The later region lies below the earlier one: its blocks come first from now on. */
static void
grow_below(void)
{
    grow_new(1);
    machine_put_free(first + 64, 16);
    grow_start();
    grow_alloc(1000);
    machine_put_free(first + 16, 16);
    machine_start();
    grow_alloc(15 * PGSIZE + 1000); /* all that the first one has is no longer enough */
    for (size_t i = 0; i < 10; i++)
        grow_alloc(1 + check_random_below(9000));
    grow_free_all();
}

/* Sizes for which the heap never grows, whatever there is. */
static void
grow_never(void)
{
    static const size_t never[] = {0, HEAP_MAX + 1, UINT64_MAX, UINT64_MAX - 15, UINT64_MAX - 31};

    grow_new(1);
    machine_put_free(first + 1, total - 1);
    grow_start();
    for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
        layout_alloc(never[i]);
        machine_check();
    }
}

/* The largest object there is, from the kernel's own memory, if that has such a block. */
static void
grow_largest(void)
{
    machine_end();
    uint64_t pa = pmm_alloc(PMM_ORDERS - 1);
    if (pa == 0 || pmm_free(pa, PMM_ORDERS - 1) != 0)
        return;
    layout_new();
    layout_start();
    size_t before = pages_free();
    check_doing("heap_alloc(%lu), while the pmm has a block of the largest order", HEAP_MAX);
    void *p = heap_alloc(HEAP_MAX);
    EXPECT(p, "expected memory, as that is HEAP_MAX, found NULL");
    check_doing("heap_free(%p), of %lu bytes", p, HEAP_MAX);
    heap_free(p);
    layout_check();
    size_t after = pages_free();
    EXPECT(after == before, "free pages: expected %lu as before, found %lu", before, after);
}

CHECK(heap_grow)
{
    need_heap_alloc();
    need_heap_free();
    machine_end();
    need_pmm();
    grow_orders();
    grow_small();
    grow_below();
    grow_never();
    for (size_t round = 0; round < 3; round++) {
        grow_new(round);
        machine_random(0, 5, 60, 20);
        machine_put(first, 0, FRAME_USED);
        grow_start();
        for (size_t step = 0; step < 50; step++) {
            size_t i = layout_pick(true);
            if (i < layout.npieces && check_random() % 5 < 2)
                grow_free(i);
            else
                grow_alloc(1 + check_random_below(check_random() % 3 ? 5000 : 20 * PGSIZE));
            if (layout.nregions == ARRAY_SIZE(layout.region))
                break;
        }
        grow_free_all();
    }
    grow_largest();
}
