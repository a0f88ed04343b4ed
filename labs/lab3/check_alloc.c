/*
 * Lab 3's checks of alloc_frame, alloc_frames and free_frame. What they find in the map, the check
 * has put there.
 */
#include "check.h"
#include "errno.h"
#include "lab3.h"
#include "memmap.h"
#include "string.h"
#include "sysreg.h"

/* ---- alloc_frame and alloc_frames ---- */

/* Is `pa` what a function may have returned for n frames that were free? Then they are in use. */
static void
took(uint64_t pa, size_t n)
{
    uint64_t first = map_pa(0), i = (pa - first) / PGSIZE;

    EXPECT(pa < KERNBASE, "found the kernel address 0x%lx: expected a physical one", pa);
    EXPECT(pa % PGSIZE == 0 && pa >= first && i < map_frames(),
           "expected the address of a frame of the map (0x%lx to 0x%lx), found 0x%lx", first,
           map_pa(map_frames() - 1), pa);
    EXPECT(n <= map_frames() - i, "found 0x%lx, which is only %lu frames before the map's end", pa,
           map_frames() - i);
    for (size_t j = i; j < i + n; j++) {
        EXPECT(!map_is_reserved(j), "found 0x%lx: the frame at 0x%lx is reserved", pa, map_pa(j));
        EXPECT(map_is_free(j), "found 0x%lx: the frame at 0x%lx is in use", pa, map_pa(j));
    }
    map_take(i, n);
    map_check();
}

static size_t
count_free(void)
{
    size_t n = 0;

    for (size_t i = 0; i < map_frames(); i++)
        n += map_is_free(i);
    return n;
}

/* Take frames until there are none. */
static void
take_all(void)
{
    for (size_t left = count_free(); left > 0; left--) {
        check_doing("alloc_frame() with %lu of %lu frames free", left, map_frames());
        uint64_t pa = alloc_frame();
        EXPECT(pa != 0, "expected a frame, found 0");
        took(pa, 1);
    }
    for (size_t i = 0; i < 3; i++) {
        check_doing("alloc_frame() with no frame free");
        uint64_t pa = alloc_frame();
        EXPECT(pa == 0, "expected 0, found 0x%lx", pa);
        map_check();
    }
}

CHECK(alloc_frame)
{
    static const unsigned percent[] = {0, 20, 90, 100};

    need_memmap_init();
    map_start(100, 64);
    check_doing("alloc_frame() with all frames free");
    uint64_t pa = alloc_frame();
    EXPECT(pa != 0, "expected a frame, found 0: write alloc_frame in kern/memmap.c");
    took(pa, 1);
    take_all();
    for (size_t round = 0; round < 6; round++) {
        /* Shorter maps after longer ones as well. */
        map_start(round % 4 == 1 ? 0 : map_any_frame(), map_any_length());
        map_random(percent[round % ARRAY_SIZE(percent)]);
        take_all();
        /* What comes free behind the search's back. */
        for (size_t i = 0; i < map_frames(); i++)
            if (!map_is_reserved(i) && check_random() % 8 == 0)
                map_put(i, false, false);
        take_all();
        map_check_all();
    }
}

/* Is there a run of n free frames? */
static bool
has_run(size_t n)
{
    size_t run = 0;

    for (size_t i = 0; i < map_frames() && run < n; i++)
        run = map_is_free(i) ? run + 1 : 0;
    return n > 0 && run >= n;
}

static void
take_run_of(size_t n)
{
    bool possible = has_run(n);

    check_doing("alloc_frames(%lu)", n);
    uint64_t pa = alloc_frames(n);
    if (pa == 0) {
        EXPECT(!possible, "expected the first of %lu free frames in a row, found 0", n);
        map_check();
        return;
    }
    EXPECT(n != 0, "expected 0, found 0x%lx", pa);
    EXPECT(possible, "expected 0, as there is no such run, found 0x%lx", pa);
    took(pa, n);
}

/* Only frames from to from + n - 1 are free. */
static void
leave_only(size_t from, size_t n)
{
    for (size_t i = 0; i < map_frames(); i++)
        map_put(i, i < from || i >= from + n, i % 3 == 0 && (i < from || i >= from + n));
}

/* A single run somewhere, in which one frame too many is not to be had. */
static void
exact_fit(size_t total, size_t from, size_t n)
{
    map_start(map_any_frame(), total);
    leave_only(from, n);
    take_run_of(n + 1);
    take_run_of(n);
    take_run_of(1);
}

/* Free frames before and behind words that are all used are no run. */
static void
used_words_between(void)
{
    size_t n = 1 + check_random_below(60), words = 1 + check_random_below(3);

    map_start(map_any_frame(), 64 * (words + 2));
    leave_only(64 - n, n);
    for (size_t i = 64 * (words + 1); i < map_frames(); i++)
        map_put(i, false, false);
    take_run_of(n + 1);
}

/* The search begins where the last one ended, but finds also what lies before that, and around it. */
static void
wrap_around(void)
{
    size_t from = 20 + check_random_below(100), n = 2 + check_random_below(80);

    map_start(map_any_frame(), 300);
    leave_only(from, n);
    take_run_of(n);
    leave_only(from + n - 1, n);
    take_run_of(n);
    leave_only(from - 10, n);
    take_run_of(n);
    leave_only(from / 2, 3);
    take_run_of(3);
    leave_only(290, 10);
    take_run_of(10);
    leave_only(0, 70);
    take_run_of(70);
}

/* What no map has: numbers that overflow when they are multiplied, added or cut to 32 bits. */
static void
too_many(void)
{
    static const size_t n[] = {MEMMAP_FRAMES, MEMMAP_FRAMES + 1, 1UL << 32,        (1UL << 32) + 1,
                               1UL << 51,     (1UL << 52) + 1,   UINT64_MAX / 2,   UINT64_MAX - 1,
                               UINT64_MAX,    UINT64_MAX - 63,   UINT64_MAX - 4095};

    map_start(map_any_frame(), 1 + check_random_below(200));
    take_run_of(1); /* so that the next search begins behind it */
    for (size_t i = 0; i < ARRAY_SIZE(n); i++)
        take_run_of(n[i]);
    take_run_of(0);
    take_run_of(map_frames() + 1);
    take_run_of(map_frames());
}

/* ---- how fast alloc_frames is ---- */

static uint64_t
now(void)
{
    __asm__ volatile("isb"
                     :
                     :
                     : "memory"); /* what came before is done, or the count is read early */
    return read_sysreg(cntpct_el0);
}

/* How long it takes to look at each word of the bitmap once. */
static uint64_t
time_of_all_words(void)
{
    const uint64_t *bits = (const uint64_t *)(const void *)memmap_get()->bitmap;
    uint64_t start = now();
    size_t words = 0;

    while (words < MEMMAP_FRAMES / 64 && bits[words] == UINT64_MAX)
        words++;
    uint64_t time = now() - start;
    EXPECT(words > MEMMAP_FRAMES / 64 - 20, "the bitmap is not as the check has left it");
    return time;
}

#define SPEED_TRIES 8
#define FAST_RUNS   64

/* How long alloc_frames(3) takes when all of the largest map is in use but for the last few frames. */
static uint64_t
time_of_search(uint64_t *once)
{
    const struct memmap *map = memmap_get();

    map_start(map_any_frame(), MEMMAP_FRAMES);
    memset(map->bitmap, 0xff, MEMMAP_FRAMES / 8 - 80);
    map_take(0, MEMMAP_FRAMES - 640);
    *once = time_of_all_words();
    check_doing("alloc_frames(3) when the first 262000 frames are in use");
    uint64_t start = now(), pa = alloc_frames(3), time = now() - start;
    took(pa, 3);
    return time;
}

/*
 * Under make qemu the clock is the host's, and whatever else the host does counts as well. So the first
 * search may try again, and of many others a few may be slow.
 */
static void
check_speed(void)
{
    uint64_t once, time = time_of_search(&once);
    size_t slow = 0;

    for (size_t i = 1; i < SPEED_TRIES && time > 8 * once; i++)
        time = time_of_search(&once);
    EXPECT(time <= 8 * once,
           "it takes %lu times as long as looking at each word of the bitmap once: expected a "
           "search that goes word by word",
           time / once);
    check_doing("alloc_frames(3), %d times, when the first 262000 frames are in use", FAST_RUNS);
    for (size_t i = 0; i < FAST_RUNS; i++) {
        uint64_t start = now(), pa = alloc_frames(3);
        slow += now() - start > once / 3;
        EXPECT(pa != 0, "expected frames, found 0");
    }
    EXPECT(
        slow <= FAST_RUNS / 2,
        "%lu of them take as long as looking at all words of the bitmap: expected each search to "
        "begin where the last one ended",
        slow);
}

CHECK(alloc_frames)
{
    need_memmap_init();
    map_start(100, 64);
    check_doing("alloc_frames(2) with all frames free");
    uint64_t pa = alloc_frames(2);
    EXPECT(pa != 0, "expected two frames, found 0: write alloc_frames in kern/memmap.c");
    took(pa, 2);
    for (size_t round = 0; round < 8; round++) {
        size_t most = 1UL << check_random_below(8);
        map_start(round % 4 == 1 ? 0 : map_any_frame(), 64 + map_any_length());
        map_random(round % 3 == 0 ? 0 : 1 + (unsigned)check_random_below(40));
        for (size_t i = 0; i < 16; i++)
            take_run_of(1 + check_random_below(most));
        map_check_all();
    }
    for (size_t n = 1; n <= 256; n *= 16) {
        exact_fit(300, check_random_below(40), n);
        exact_fit(300, 300 - n - 1, n + 1); /* up to the end of the map */
        exact_fit(256 + n, 0, 256 + n);
        exact_fit(320, 63, n + check_random_below(3));
        used_words_between();
    }
    wrap_around();
    too_many();
    map_check_all();
    check_speed();
}

/* ---- free_frame ---- */

static void
give_refused(uint64_t pa, const char *why)
{
    check_doing("free_frame(0x%lx)", pa);
    int result = free_frame(pa);
    EXPECT(result == -EINVAL, "expected -EINVAL, as %s, found %s", why, error_text(result));
    map_check();
}

static void
give_all(void)
{
    for (size_t turn = 0; turn < map_frames(); turn++) {
        size_t i = check_random_below(map_frames());
        uint64_t pa = map_pa(i);
        if (map_is_reserved(i)) {
            give_refused(pa, pa == 0 ? "frame 0 is reserved" : "this frame is reserved");
            continue;
        }
        if (map_is_free(i)) {
            give_refused(pa, "this frame is free already");
            continue;
        }
        if (turn % 4 == 0)
            give_refused(pa + 1 + check_random_below(PGSIZE - 1),
                         "this is not the address of a frame");
        check_doing("free_frame(0x%lx)", pa);
        int result = free_frame(pa);
        EXPECT(result == 0, "expected 0, as the frame is in use, found %s", error_text(result));
        map_give(i);
        map_check();
        if (turn % 3 == 0)
            give_refused(pa, "this frame was freed just before");
    }
}

static void
give_outside(void)
{
    uint64_t first = map_pa(0), stop = map_pa(map_frames());

    for (uint64_t i = 1; i < 70; i += 9) {
        if (first >= i * PGSIZE)
            give_refused(first - i * PGSIZE, "this is below the map");
        give_refused(stop + (i - 1) * PGSIZE, "this is above the map");
    }
    give_refused(stop + MEMMAP_FRAMES * (uint64_t)PGSIZE, "this is above the map");
    give_refused(first + (1UL << 44), "this is above the map");
    give_refused((uint64_t)P2V(first), "this is a kernel address");
    give_refused(UINT64_MAX, "this is not the address of a frame");
    give_refused(ROUNDDOWN(UINT64_MAX, PGSIZE), "this is above the map");
    if (first > 0)
        give_refused(0, "this is below the map");
}

CHECK(free_frame)
{
    need_memmap_init();
    map_start(100, 64);
    map_put(7, true, false);
    check_doing("free_frame(0x%lx)", map_pa(7));
    int result = free_frame(map_pa(7));
    EXPECT(result == 0,
           "expected 0, as the frame is in use, found %s: write free_frame in kern/memmap.c",
           error_text(result));
    map_give(7);
    map_check();
    for (size_t round = 0; round < 5; round++) {
        map_start(round == 3 ? 0 : map_any_frame(), map_any_length());
        map_random(70);
        give_all();
        give_outside();
        map_check_all();
    }
    /* A map with no bits behind its last frame. */
    map_start(map_any_frame(), MEMMAP_FRAMES);
    give_outside();
    map_check_all();
}
