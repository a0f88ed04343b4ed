/*
 * Lab 3's checks of memmap_init and memmap_reserve. The others are in check_alloc.c, check_buddy.c,
 * check_range.c, check_share.c, check_spin.c, check_supply.c and check_whole.c.
 */
#include "check.h"
#include "errno.h"
#include "lab3.h"
#include "memmap.h"
#include "string.h"

/* The highest frame number that an address can have. */
#define LAST_FRAME (UINT64_MAX / PGSIZE)

/* How far into a page: often one of the ends. */
static uint64_t
any_offset(void)
{
    static const uint64_t ends[] = {0, 0, 1, PGSIZE - 1};
    uint64_t pick = check_random_below(ARRAY_SIZE(ends) + 2);

    return pick < ARRAY_SIZE(ends) ? ends[pick] : check_random_below(PGSIZE);
}

/* ---- memmap_init ---- */

/* What an earlier use of the map may have left behind. */
static void
leave_garbage(void)
{
    const struct memmap *map = memmap_get();
    int junk = (int)check_random_below(256);

    memset(map->bitmap, junk, MEMMAP_FRAMES / 8);
    memset(map->reserved, ~junk, MEMMAP_FRAMES / 8);
}

static int
init(uint64_t start, uint64_t stop)
{
    check_doing("memmap_init(0x%lx, 0x%lx)", start, stop);
    return memmap_init(start, stop);
}

/* n whole frames, and less than a page more at each end. */
static void
init_ok(uint64_t first, size_t n, uint64_t before, uint64_t behind)
{
    leave_garbage();
    int result = init(first * PGSIZE - before, (first + n) * PGSIZE + behind);
    EXPECT(result == 0, "expected 0, as there are %lu whole frames, found %s", n,
           error_text(result));
    map_describe(first, n);
    map_check_all();
    uint64_t hint = memmap_get()->hint;
    EXPECT(hint < map_frames(), "hint: expected a frame of the new map (below %lu), found %lu",
           map_frames(), hint);
}

static void
init_refused(uint64_t start, uint64_t stop)
{
    int result = init(start, stop);
    EXPECT(result == -EINVAL, "expected -EINVAL, as no whole frame lies in there, found %s",
           error_text(result));
    map_check_all();
}

CHECK(memmap_init)
{
    need_memmap_init();
    for (size_t i = 0; i < 8; i++)
        init_ok(map_any_frame(), map_any_length(), any_offset(), any_offset());
    init_ok(0, 1 + check_random_below(100), 0, any_offset());
    init_ok(0, 1, 0, 0);
    init_ok(LAST_FRAME - 2, 2, PGSIZE - 1, PGSIZE - 1);

    uint64_t page = map_any_frame() * PGSIZE;
    init_refused(page, page);
    init_refused(page + 0x123, page + 0x123);
    init_refused(page, page + PGSIZE - 1);
    init_refused(page + 1, page + PGSIZE);
    init_refused(page + 1, page + 2 * PGSIZE - 1);
    init_refused(page + PGSIZE, page);
    init_refused(page + 0x800, page - 0x800);
    init_refused(page, 0);
    init_refused(UINT64_MAX - 0x7ff, UINT64_MAX);

    /* As many frames as there are bits, and more. */
    init_ok(map_any_frame(), MEMMAP_FRAMES, 0, 0);
    init_ok(map_any_frame(), MEMMAP_FRAMES + 1, any_offset(), any_offset());
    init_ok(0, LAST_FRAME, 0, PGSIZE - 1);
    init_ok(map_any_frame(), 3, 0, 0);
}

/* ---- memmap_reserve ---- */

/* Does the byte range [start, stop), which is not empty, touch this frame? */
static bool
touches(uint64_t start, uint64_t stop, uint64_t pa)
{
    return start <= pa + (PGSIZE - 1) && stop - 1 >= pa;
}

static void
reserve(uint64_t start, uint64_t stop)
{
    check_doing("memmap_reserve(0x%lx, 0x%lx)", start, stop);
    memmap_reserve(start, stop);
    if (start < stop)
        for (size_t i = 0; i < map_frames(); i++)
            if (touches(start, stop, map_pa(i)))
                map_reserve(i, 1);
    map_check();
}

/* An address in, or not far from, the n frames of the map. */
static uint64_t
any_address(size_t n)
{
    return map_pa(0) - 10 * PGSIZE + PGSIZE * check_random_below(n + 20) + any_offset();
}

static void
reserve_corners(void)
{
    const struct memmap *map = memmap_get();
    uint64_t first = map_pa(0), end_addr = map_pa(map_frames()), inside = first + 5 * PGSIZE;

    /* Nothing in there, or nothing of ours. */
    reserve(inside, inside);
    reserve(inside + 0x10, inside + 0x10);
    reserve(inside + 3 * PGSIZE, inside);
    reserve(inside + 0x20, inside + 0x10);
    reserve(UINT64_MAX, 0);
    reserve(0, first);
    reserve(0, 1);
    reserve(end_addr, UINT64_MAX);
    reserve(end_addr + (uint64_t)MEMMAP_FRAMES * PGSIZE, end_addr + (MEMMAP_FRAMES + 9UL) * PGSIZE);
    /* One byte, and one byte too many. */
    reserve(inside + PGSIZE - 1, inside + PGSIZE);
    reserve(inside + 2 * PGSIZE, inside + 2 * PGSIZE + 1);
    reserve(inside + 4 * PGSIZE - 1, inside + 5 * PGSIZE + 1);
    reserve(first - 1, first + 1);
    reserve(end_addr - 1, end_addr + 0x5000);
    EXPECT(map->end_addr == end_addr, "end_addr has changed");
    reserve(end_addr - 3 * PGSIZE + 1, UINT64_MAX);
    reserve(0, first + 2 * PGSIZE);
}

CHECK(memmap_reserve)
{
    need_memmap_init();
    map_start(100, 64);
    check_doing("memmap_reserve(0x%lx, 0x%lx)", map_pa(3), map_pa(6));
    memmap_reserve(map_pa(3), map_pa(6));
    EXPECT(memmap_get()->bitmap[0] != 0, "expected bits 3 to 5 of the bitmap to be 1, found 0: "
                                         "write memmap_reserve in kern/memmap.c");
    map_reserve(3, 3);
    map_check();
    map_start(map_any_frame() + 20, 33 + check_random_below(200));
    map_random(10);
    reserve_corners();
    map_check_all();
    for (size_t round = 0; round < 5; round++) {
        size_t n = map_any_length();
        map_start(map_any_frame() + 20, n);
        map_random(15);
        for (size_t i = 0; i < 12; i++) {
            uint64_t start = any_address(n), stop = any_address(n);
            if (check_random() % 2)
                stop = start + any_offset() + PGSIZE * check_random_below(4);
            reserve(start, stop);
        }
        map_check_all();
    }
    map_start(map_any_frame(), map_any_length());
    reserve(0, UINT64_MAX);
    map_check_all();
}
