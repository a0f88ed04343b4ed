/*
 * Lab 4's checks of the heap (kern/heap.c), on heaps made up in pages of their own (layout.h): so each
 * function is checked without the others. Those with a pmm behind it are in check_heap_grow.c, and those of
 * what heap_free refuses in check_heap_refuse.c.
 */
#include "../lab3/lab3.h"
#include "check.h"
#include "lab4.h"
#include "layout.h"
#include "memmap.h"
#include "pmm.h"
#include "string.h"

/* Whatever the heap may contain before mem_init. */
#define GARBAGE 0x12340

static void
leave_garbage(void)
{
    heap.regions = heap.first = P2V(GARBAGE);
    heap.free_list = P2V(GARBAGE + 0x1000);
}

/* ---- memory_init ---- */

/* What the check has borrowed, to be put back. */
static struct {
    struct memmap *map; /* while its bitmaps are elsewhere */
    uint8_t *bitmap, *reserved;
    uint64_t
        kept; /* where pages of the kernel's heap are, which lie at layout_page(0) meanwhile; 0: nowhere */
    uint64_t pages; /* from the pmm; 0: none */
} own;
#define BORROWED 6 /* order of own.pages */

static void
memory_put_back(void)
{
    heap_restore();
    if (own.kept)
        memcpy(P2V(own.kept), P2V(layout_page(0)), HEAP_PAGES * PGSIZE);
    own.kept = 0;
    if (own.map) {
        own.map->bitmap = own.bitmap;
        own.map->reserved = own.reserved;
    }
    own.map = NULL;
    if (own.pages)
        pmm_free(own.pages, BORROWED);
    own.pages = 0;
}

/* Where the bitmaps are to be, as if the memmap had them behind the image; 0: where they are. */
static uint64_t bitmap_at, reserved_at;

static void
move_bits(void)
{
    own.map = (struct memmap *)(uint64_t)memmap_get(); /* it is const for all others */
    own.bitmap = own.map->bitmap;
    own.reserved = own.map->reserved;
    own.map->bitmap = memcpy(P2V(bitmap_at), own.bitmap, MEMMAP_FRAMES / 8);
    own.map->reserved = memcpy(P2V(reserved_at), own.reserved, MEMMAP_FRAMES / 8);
}

__attribute__((no_sanitize("undefined"))) static void
merge_bits(uint8_t *into, const uint8_t *from)
{
    uint64_t *to = (uint64_t *)(void *)into;
    const uint64_t *word = (const uint64_t *)(const void *)from;

    for (size_t i = 0; i < MEMMAP_FRAMES / 64; i++)
        to[i] |= word[i];
}

/* Back again, with what memmap_reserve has set: it may go by the map's pointers, or know its arrays. */
static void
move_back(void)
{
    merge_bits(own.bitmap, own.map->bitmap);
    merge_bits(own.reserved, own.map->reserved);
    own.map->bitmap = own.bitmap;
    own.map->reserved = own.reserved;
    own.map = NULL;
}

/* memory_init, where `found` frames are free from address `start` on, the first behind image and bitmaps. */
static void
memory(uint64_t start, size_t found)
{
    layout_new();
    check_finally(memory_put_back);
    leave_garbage();
    if (bitmap_at)
        move_bits();
    check_doing("memory_init(), %s end at 0x%lx; from there on, %lu frames are free",
                bitmap_at ? "bitmaps" : "image and bitmaps", start, found);
    memory_init();
    if (bitmap_at)
        move_back();

    EXPECT(heap.regions != P2V(GARBAGE) && (found == 0 || heap.regions),
           "found %s in heap.regions: write memory_init in kern/heap.c, and mem_init",
           heap.regions ? "what was there before" : "NULL");
    found = MIN(found, HEAP_PAGES);
    if (found > 0) {
        EXPECT(heap.regions == P2V(start), "heap.regions: expected %p, found %p", P2V(start),
               (void *)heap.regions);
        layout.region[0].at = layout.first = P2V(start);
        layout.region[0].size = found * PGSIZE;
        layout.nregions = 1;
        layout_rest(false);
        map_reserve((start - map_pa(0)) / PGSIZE, found);
    }
    layout_check();
    map_check_all();
}

/* n frames from there on are free, and the next one is not. */
static void
memory_free(uint64_t start, size_t n)
{
    size_t before = 1 + check_random_below(9);

    map_start(start / PGSIZE - before, before + 40);
    for (size_t i = 0; i < before; i++)
        map_put(i, check_random() % 2, false);
    map_put(before + n, true, check_random() % 2);
    memory(start, n);
}

/* Where the heap of this kernel is. */
static void
memory_behind_image(void)
{
    static const size_t some[] = {16, 0, 1, 15, 17};
    const struct memmap *map = memmap_get();
    uint64_t bits = MAX(V2P(map->bitmap), V2P(map->reserved)) + MEMMAP_FRAMES / 8;
    uint64_t start = ROUNDUP(MAX(V2P(end), bits), PGSIZE);

    memcpy(P2V(layout_page(0)), P2V(start), HEAP_PAGES * PGSIZE);
    own.kept = start;
    for (size_t i = 0; i < ARRAY_SIZE(some); i++)
        memory_free(start, some[i]);
    /* The map ends there, or begins there, or behind it. */
    size_t n = 1 + check_random_below(HEAP_PAGES - 1);
    map_start(start / PGSIZE - 7, 7 + n);
    memory(start, n);
    map_start(start / PGSIZE, 40);
    memory(start, 40);
    map_start(start / PGSIZE + 1, 40);
    memory(start, 0);
}

static void
memory_behind_bits(uint64_t bitmap, uint64_t reserved, size_t n)
{
    bitmap_at = bitmap;
    reserved_at = reserved;
    memory_free(ROUNDUP(MAX(bitmap, reserved) + MEMMAP_FRAMES / 8, PGSIZE), n);
}

CHECK(memory_init)
{
    const size_t bytes = MEMMAP_FRAMES / 8;

    need_memmap_init();
    bitmap_at = reserved_at = 0;
    memory_behind_image();

    own.pages = pmm_alloc(BORROWED);
    if (own.pages == 0 || own.pages < V2P(end))
        return; /* without a pmm there is no place for bitmaps */
    uint64_t low = own.pages + 8 * check_random_below(100);
    uint64_t high = low + bytes + 8 * (1 + check_random_below(100));
    memory_behind_bits(low, high, check_random_below(20));
    memory_behind_bits(high, low, check_random_below(20));
    low = own.pages + 2 * PGSIZE; /* both end with a page */
    memory_behind_bits(low, low + bytes, HEAP_PAGES);
    memory_behind_bits(low + 8, V2P(memmap_get()->reserved), 5);
}

/* ---- mem_init ---- */

static void
init(uint64_t start, size_t npages)
{
    layout_new();
    if (npages > 0) {
        layout_region(start, npages);
        layout_rest(false);
    }
    leave_garbage();
    check_doing("mem_init(0x%lx, 0x%lx)", start, start + npages * PGSIZE);
    mem_init(start, start + npages * PGSIZE);
    layout_check();
}

CHECK(mem_init)
{
    layout_alone();
    layout_region(layout_page(0), 1);
    check_doing("mem_init(0x%lx, 0x%lx)", layout_page(0), layout_page(1));
    mem_init(layout_page(0), layout_page(1));
    EXPECT(heap.regions, "found heap.regions NULL: write mem_init in kern/heap.c");
    init(layout_page(0), 1);
    init(layout_page(3), 16);
    init(layout_page(0), LAYOUT_PAGES);
    init(layout_page(7), 0);
    for (size_t i = 0; i < 6; i++) {
        size_t first = check_random_below(LAYOUT_PAGES);
        init(layout_page(first), check_random_below(LAYOUT_PAGES - first + 1));
    }
    /* A heap in which much has happened. */
    init(layout_page(0), 8);
    layout_region(layout_page(20), 2);
    layout_random(300, 50);
    layout_start();
    check_doing("mem_init(0x%lx, 0x%lx), of a heap that had two regions", layout_page(4),
                layout_page(10));
    mem_init(layout_page(4), layout_page(10));
    layout_new();
    layout.region[0].at = layout.first = P2V(layout_page(4));
    layout.region[0].size = 6 * PGSIZE;
    layout.nregions = 1;
    layout_rest(false);
    layout_check();
    init(0, 0);
}

/* ---- heap_alloc ---- */

void
need_heap_alloc(void)
{
    layout_alone();
    layout_region(layout_page(0), 1);
    layout_rest(false);
    layout_start();
    check_doing("heap_alloc(100), from an empty heap of one page");
    EXPECT(heap_alloc(100), "found NULL: write heap_alloc in kern/heap.c");
}

/* heap_size of all that is in use. */
static void
check_sizes(void)
{
    for (size_t i = 0; i < layout.npieces; i++) {
        if (!layout.piece[i].used)
            continue;
        check_doing("heap_size(%p)", (void *)layout_memory(i));
        size_t size = heap_size(layout_memory(i)), wanted = layout.piece[i].size - BLOCK_HEADER;
        EXPECT(size == wanted, "expected %lu, up to the end of the block, found %lu%s", wanted,
               size, size == 0 ? ": write heap_size in kern/heap.c" : "");
    }
}

/* One free block of each of these sizes, from the lowest on, between others that are in use. */
static void
alloc_from(const size_t *sizes, size_t n, size_t request)
{
    layout_new();
    layout_region(layout_page(check_random_below(4)), 4);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 || check_random() % 2)
            layout_block(BLOCK_MIN + HEAP_ALIGN * check_random_below(4), true);
        layout_block(sizes[i], false);
    }
    layout_rest(true);
    layout_start();
    layout_alloc(request);
}

/* The rest of a block: none, too little for a block, just enough, or more. */
static void
alloc_splits(void)
{
    for (size_t request = 1; request <= 100; request += 1 + check_random_below(5)) {
        size_t need = layout_need(request);
        for (size_t more = 0; more <= 4 * HEAP_ALIGN; more += HEAP_ALIGN) {
            size_t sizes[] = {need + more, need};
            alloc_from(sizes, check_random() % 2 ? 1 : 2, request);
        }
    }
}

/* The first that is large enough: not the smallest, not the largest, not the one behind the last one. */
static void
alloc_first(void)
{
    static const size_t sizes[][4] = {{64, 512, 128, 1024},
                                      {1024, 512, 128, 64},
                                      {32, 48, 80, 1008},
                                      {512, 128, 1024, 64}};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        for (size_t k = 0; k < 4; k++) {
            alloc_from(sizes[i], 4, sizes[i][k] - BLOCK_HEADER);
            alloc_from(sizes[i], 4, sizes[i][k] - 2 * BLOCK_HEADER - check_random_below(15));
        }
    layout_new();
    layout_region(layout_page(0), 1);
    layout_rest(false);
    layout_start();
    size_t last = 0;
    for (size_t request = 200; request > 0;
         request -= 8) /* one after the other, until it is full */
        last += layout_alloc(request) != NULL;
    EXPECT(last > 0, "a mistake in the check itself");
}

static void
alloc_none(void)
{
    static const size_t none[] = {0,
                                  HEAP_MAX + 1,
                                  KERNBASE,
                                  UINT64_MAX,
                                  UINT64_MAX - 15,
                                  UINT64_MAX - 16,
                                  UINT64_MAX - 31,
                                  1UL << 32,
                                  (1UL << 32) + 1};

    layout_new();
    layout_region(layout_page(0), LAYOUT_PAGES);
    layout_block(64, true);
    layout_rest(false);
    layout_start();
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        layout_alloc(none[i]);
    layout_alloc(layout.piece[1].size - BLOCK_HEADER + 1);
    layout_alloc(HEAP_MAX);
    layout_alloc(layout.piece[1].size - BLOCK_HEADER); /* all of it */
    layout_alloc(1);
    check_sizes();
    layout_new(); /* no region at all */
    layout_start();
    layout_alloc(1);
    layout_alloc(100000);
}

CHECK(heap_alloc)
{
    need_heap_alloc();
    alloc_splits();
    alloc_first();
    alloc_none();
    for (size_t round = 0; round < 8; round++) {
        layout_new();
        for (size_t i = 0, at = 0; i < 1 + round % 3; i++) {
            size_t n = 1 + check_random_below(3);
            at += check_random_below(3); /* so regions may touch */
            layout_region(layout_page(at), n);
            layout_random(300, 60);
            at += n;
        }
        layout_start();
        for (size_t i = 0; i < 40; i++)
            layout_alloc(check_random_below(check_random() % 4 == 0 ? 1500 : 250));
        check_sizes();
    }
}

/* ---- heap_free ---- */

void
need_heap_free(void)
{
    layout_alone();
    layout_region(layout_page(0), 1);
    layout_block(64, true);
    layout_rest(true);
    layout_start();
    check_doing("heap_free(%p)", (void *)layout_memory(0));
    heap_free(layout_memory(0));
    EXPECT(heap.free_list, "no block is free now, expected one: write heap_free in kern/heap.c");
}

/* What is behind the end of a region looks like a free block. It is none of the heap's. */
static void
forge_behind(size_t page)
{
    struct block *forged = P2V(layout_page(page));

    forged->size = 256;
    forged->tag = block_tag(forged, forged->size, BLOCK_FREE);
    forged->next = NULL;
}

enum { NONE, USED, FREE };

/* Free a block that has these neighbours, with other blocks around. */
static void
free_beside(int before, int behind, bool others)
{
    layout_new();
    layout_region(layout_page(1), 1);
    if (others && before != NONE) {
        layout_block(80, false);
        layout_block(48, true);
    }
    if (before != NONE)
        layout_block(BLOCK_MIN + HEAP_ALIGN * check_random_below(9), before == USED);
    size_t i = layout.npieces;
    if (behind == NONE) {
        layout_rest(true);
    } else {
        layout_block(BLOCK_MIN + HEAP_ALIGN * check_random_below(9), true);
        layout_block(BLOCK_MIN + HEAP_ALIGN * check_random_below(9), behind == USED);
        if (others) {
            layout_block(96, true);
            layout_block(64, false);
        }
        layout_rest(true);
    }
    layout_start();
    forge_behind(2);
    layout_free(i);
    layout_check();
}

/* Two regions that touch each other: their blocks are no neighbours. */
static void
free_across(void)
{
    for (size_t lower = 0; lower < 2; lower++) {
        layout_new();
        layout_region(layout_page(2 * lower), 2);
        layout_random(200, 30);
        layout_region(layout_page(2 - 2 * lower), 2);
        layout_block(400, true);
        layout_rest(true);
        /* The model is in the order of addresses. */
        if (lower == 1) {
            size_t n = layout.npieces;
            struct piece last[2] = {layout.piece[n - 2], layout.piece[n - 1]};
            memmove(&layout.piece[2], &layout.piece[0], (n - 2) * sizeof(struct piece));
            memcpy(&layout.piece[0], last, sizeof(last));
        }
        layout_start();
        for (size_t turn = 0; turn < 2; turn++) {
            /* The last block of the one, and the first of the other; something stays in use. */
            size_t i = 0;
            while (layout.piece[i].in == layout.piece[0].in)
                i++;
            i -= turn;
            if (layout.piece[i].used && (turn == 0 || layout.piece[0].used)) {
                layout_free(i);
                layout_check();
            }
        }
    }
}

/* All in a random order; something of each region but the first stays in use, as it would go to the pmm. */
static void
free_all(size_t most, unsigned percent, size_t npages)
{
    layout_new();
    layout_region(layout_page(0), npages);
    layout_random(most, percent);
    layout_start();
    for (size_t i; (i = layout_pick(true)) < layout.npieces;) {
        layout_free(i);
        layout_check();
    }
    EXPECT(layout.npieces == 1, "a mistake in the check itself");
}

CHECK(heap_free)
{
    need_heap_free();
    for (int before = NONE; before <= FREE; before++)
        for (int behind = NONE; behind <= FREE; behind++)
            for (int others = 0; others < 2; others++)
                free_beside(before, behind, others);
    free_across();
    free_all(400, 0, 2);
    free_all(1000, 50, 4);
    free_all(64, 40, 1);

    free_all(700, 20, 1);
    free_all(2000, 50, 8);
}
