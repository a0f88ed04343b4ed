/*
 * kern/memmap.c against two arrays of flags: in every state of a few frames across the border of a word, at random,
 * and at the edges of what can be described.
 */
#include "lib.h"

#include "errno.h"
#include "memmap.h"
#include "pool.h"
#include "types.h"

#define START 0x7a5a5000u /* an odd frame */

/* What the map should be. A frame that is reserved is in use as well. */
static struct {
    uint64_t first; /* frame */
    size_t n, hint;
    bool used[MEMMAP_FRAMES], reserved[MEMMAP_FRAMES];
} model;

static const char *doing;
static uint64_t doing_with[2];

static void
explain(void)
{
    fprintf(stderr, "%s with %#lx, %#lx: ", doing, (unsigned long)doing_with[0],
            (unsigned long)doing_with[1]);
}

static void
about_to(const char *call, uint64_t a, uint64_t b)
{
    doing = call;
    doing_with[0] = a;
    doing_with[1] = b;
    pool_save();
}

static bool
bit(const uint8_t *map, size_t i)
{
    return map[i / 8] >> i % 8 & 1;
}

static void
check_map(void)
{
    const struct memmap *map = memmap_get();

    pool_check_locks(doing);
    if (map->start_frame != model.first || map->max_frames != model.n
        || map->start_addr != model.first * PGSIZE
        || map->end_addr != (model.first + model.n) * PGSIZE) {
        broken("it describes %lu frames at %#lx", (unsigned long)map->max_frames,
               (unsigned long)map->start_addr);
    }
    if (map->bitmap[-1 + MEMMAP_FRAMES / 8] != 0xff && model.n <= MEMMAP_FRAMES - 8) {
        broken("the map's last bits are not 1");
    }
    for (size_t i = 0; i < MEMMAP_FRAMES; i++) {
        bool used = i >= model.n || model.used[i], kept = i >= model.n || model.reserved[i];
        if (bit(map->bitmap, i) != used || bit(map->reserved, i) != kept) {
            broken("frame %zu of %zu is in use: %d, reserved: %d", i, model.n, bit(map->bitmap, i),
                   bit(map->reserved, i));
        }
        if (i < model.n + 2
            && memmap_is_free((model.first + i) * PGSIZE + i % PGSIZE) != (i < model.n && !used)) {
            broken("memmap_is_free(frame %zu) is wrong", i);
        }
    }
}

static void
unchanged(void)
{
    if (pool_changed()) {
        broken("the call failed, and yet something has changed");
    }
}

/* The first run of n free frames from here on, or model.n. */
static size_t
find(size_t from, size_t n)
{
    for (size_t i = from, run = 0; i < model.n; i++) {
        run = model.used[i] ? 0 : run + 1;
        if (run == n) {
            return i + 1 - n;
        }
    }
    return model.n;
}

static bool
alloc(size_t n, bool single)
{
    size_t i = n > 0 && n <= model.n ? find(model.hint, n) : model.n;

    if (i == model.n && n > 0 && n <= model.n) {
        i = find(0, n);
    }
    about_to("alloc_frames", n, model.hint);
    uint64_t pa = single ? alloc_frame() : alloc_frames(n);
    if (pa != (i == model.n ? 0 : (model.first + i) * PGSIZE)) {
        broken("it returned %#lx instead of frame %zu of %zu", (unsigned long)pa, i, model.n);
    }
    if (pa == 0) {
        unchanged();
        return false;
    }
    memset(&model.used[i], true, n);
    model.hint = i + n;
    return true;
}

static bool
give_back(uint64_t pa)
{
    uint64_t i = pa / PGSIZE - model.first;
    bool right = pa % PGSIZE == 0 && pa / PGSIZE >= model.first && i < model.n && model.used[i]
              && !model.reserved[i];

    about_to("free_frame", pa, 0);
    if (free_frame(pa) != (right ? 0 : -EINVAL)) {
        broken("it should%s fail", right ? " not" : "");
    }
    if (!right) {
        unchanged();
        return false;
    }
    model.used[i] = false;
    return true;
}

static void
keep(uint64_t start, uint64_t stop)
{
    about_to("memmap_reserve", start, stop);
    memmap_reserve(start, stop);
    for (size_t i = 0; i < model.n && start < stop; i++) {
        uint64_t pa = (model.first + i) * PGSIZE;
        if (pa + (PGSIZE - 1) >= start && pa < stop) {
            model.used[i] = model.reserved[i] = true;
        }
    }
}

static bool
init(uint64_t start, uint64_t stop)
{
    uint64_t first = start / PGSIZE + (start % PGSIZE != 0), last = stop / PGSIZE;

    about_to("memmap_init", start, stop);
    if (memmap_init(start, stop) != (first < last ? 0 : -EINVAL)) {
        broken("it should%s fail", first < last ? " not" : "");
    }
    if (first >= last) {
        unchanged();
        return false;
    }
    memset(&model, 0, sizeof(model));
    model.first = first;
    model.n = MIN(last - first, (uint64_t)MEMMAP_FRAMES);
    model.used[0] = model.reserved[0] = first == 0;
    check_map();
    return true;
}

static void
begin(void)
{
    pool_start(0, 0, false);
    machine_explain = explain;
}

/* ---- Every state of a few frames ---- */

#define FEW    8
#define BEFORE 60 /* frames in front of them, reserved: so they lie in two words */

/* Each of them is free, in use, or reserved; and the next search begins at any place among them. */
static void
set_up(size_t state, size_t hint)
{
    struct memmap *map = (struct memmap *)(uintptr_t)memmap_get();

    for (size_t i = BEFORE; i < BEFORE + FEW; i++, state /= 3) {
        uint8_t mask = (uint8_t)(1u << i % 8);
        model.used[i] = state % 3 != 0;
        model.reserved[i] = state % 3 == 2;
        map->bitmap[i / 8] = (uint8_t)((map->bitmap[i / 8] & ~mask) | (model.used[i] ? mask : 0));
        map->reserved[i / 8] =
            (uint8_t)((map->reserved[i / 8] & ~mask) | (model.reserved[i] ? mask : 0));
    }
    map->hint = model.hint = BEFORE + hint;
}

static void
every_state_of_a_few_frames(void **state)
{
    size_t states = 1, calls = 0;

    (void)state;
    begin();
    assert_true(init(START, START + (BEFORE + FEW) * PGSIZE));
    keep(START, START + BEFORE * PGSIZE);
    for (size_t i = 0; i < FEW; i++) {
        states *= 3;
    }
    for (size_t n = 0; n < states; n++) {
        for (size_t hint = 0; hint <= FEW; hint++) {
            for (size_t run = 0; run <= FEW + 1; run++, calls++) {
                set_up(n, hint);
                alloc(run, false);
                check_map();
            }
        }
        for (size_t from = BEFORE - 1; from <= BEFORE + FEW; from++) {
            set_up(n, from % FEW);
            give_back(START + from * PGSIZE + 8);
            if (give_back(START + from * PGSIZE)) {
                check_map();
            }
            /* Ranges from anywhere in this frame to anywhere in another one. */
            for (size_t to = from; to <= BEFORE + FEW + 1; to++, calls++) {
                set_up(n, to % FEW);
                keep(START + from * PGSIZE + n % 3, START + to * PGSIZE + n % 2);
                check_map();
            }
        }
        for (size_t i = 0; i < BEFORE; i += 7) {
            set_up(n, 0);
            assert_false(give_back(START + i * PGSIZE)); /* reserved */
            calls++;
        }
        set_up(n, 3);
        alloc(1, true);
        check_map();
    }
    machine_explain = NULL;
    print_message("[          ] %zu states, %zu places to begin a search; %zu calls\n", states,
                  (size_t)FEW + 1, calls);
}

/* ---- At random ---- */

static uint64_t
near(uint64_t *seed, uint64_t n)
{
    return n + random_below(seed, 5) * (PGSIZE / 2) - PGSIZE;
}

static void
random_calls(void **state)
{
    static const uint64_t starts[] = {0, PGSIZE, START, UINT64_MAX - 2 * MEMMAP_FRAMES * PGSIZE};

    (void)state;
    begin();
    for (uint64_t run = 0; run < 60; run++) {
        uint64_t seed = run, start = starts[run % ARRAY_SIZE(starts)];
        uint64_t n = 1 + random_below(&seed, run % 3 ? MEMMAP_FRAMES + 70 : 130);
        uint64_t longest = 1 + random_below(&seed, run % 2 ? 10 : 200);
        assert_true(init(start + random_below(&seed, 2) * 100, start + n * PGSIZE + 300));
        for (int step = 0; step < 1500; step++) {
            uint64_t i = model.first + random_below(&seed, model.n + 1);
            switch (random_below(&seed, 12)) {
            case 0:
                keep(near(&seed, i * PGSIZE), near(&seed, (i + random_below(&seed, 4)) * PGSIZE));
                break;
            case 1:
                give_back(near(&seed, i * PGSIZE));
                break;
            case 2:
            case 3:
            case 4:
            case 5:
            case 6:
                give_back(i * PGSIZE);
                break;
            case 7:
                alloc(1, true);
                break;
            default:
                alloc(random_below(&seed, longest + 1), false);
                break;
            }
            if (step % 10 == 0) {
                check_map();
            }
        }
        /* Every frame that is free, once. */
        size_t left = 0;
        for (size_t i = 0; i < model.n; i++) {
            left += !model.used[i];
        }
        while (alloc(1, true)) {
            left--;
        }
        assert_int_equal(left, 0);
        check_map();
    }
    machine_explain = NULL;
}

/* ---- Clause by clause ---- */

static void
ranges_that_make_no_map(void **state)
{
    static const uint64_t none[][2] = {{0, 0},
                                       {0, PGSIZE - 1},
                                       {1, 2 * PGSIZE - 1},
                                       {PGSIZE, PGSIZE},
                                       {2 * PGSIZE, PGSIZE},
                                       {PGSIZE + 1, 2 * PGSIZE + 1},
                                       {UINT64_MAX, 0},
                                       {UINT64_MAX, UINT64_MAX},
                                       {UINT64_MAX - PGSIZE + 1, UINT64_MAX},
                                       {UINT64_MAX - PGSIZE + 2, 0},
                                       {START + 1, START}};

    (void)state;
    begin();
    assert_true(init(START, START + 100 * PGSIZE));
    assert_true(alloc(3, false));
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        assert_false(init(none[i][0], none[i][1]));
        check_map();
    }
    machine_explain = NULL;
}

static void
whole_frames_as_many_as_there_is_room_for(void **state)
{
    (void)state;
    begin();
    for (uint64_t n = MEMMAP_FRAMES - 9; n < MEMMAP_FRAMES + 9; n++) {
        assert_true(init(START + 1, START + (n + 1) * PGSIZE + 5));
        assert_int_equal(model.n, MIN(n, (uint64_t)MEMMAP_FRAMES));
        assert_true(alloc(model.n, false));
        assert_false(alloc(1, true));
        assert_true(give_back(START + PGSIZE));
        assert_true(init(START, START + n * PGSIZE)); /* and all is forgotten */
    }
    assert_true(init(0, UINT64_MAX));
    assert_int_equal(model.n, MEMMAP_FRAMES);
    assert_false(give_back(0)); /* frame 0 is reserved */
    assert_false(alloc(MEMMAP_FRAMES, false));
    assert_true(alloc(MEMMAP_FRAMES - 1, false));
    assert_true(init(UINT64_MAX - 3 * PGSIZE, UINT64_MAX));
    assert_true(alloc(1, true));
    machine_explain = NULL;
}

static void
numbers_too_large_for_a_run(void **state)
{
    static const size_t sizes[] = {SIZE_MAX,      SIZE_MAX - 1,      SIZE_MAX / 2, 1UL << 32,
                                   MEMMAP_FRAMES, MEMMAP_FRAMES + 1, 301};

    (void)state;
    begin();
    assert_true(init(START, START + 300 * PGSIZE));
    for (uint64_t hint = 0; hint + 37 <= 300; hint += 37) {
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            assert_false(alloc(sizes[i], false));
        }
        assert_false(alloc(0, false));
        assert_true(alloc(37, false));
    }
    machine_explain = NULL;
}

static void
reserving_what_is_not_there(void **state)
{
    (void)state;
    begin();
    assert_true(init(START, START + 130 * PGSIZE));
    static const uint64_t ends[] = {0,
                                    1,
                                    START - PGSIZE,
                                    START - 1,
                                    START,
                                    START + 129 * PGSIZE,
                                    START + 130 * PGSIZE - 1,
                                    START + 130 * PGSIZE,
                                    START + 131 * PGSIZE,
                                    UINT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(ends); j++) {
            assert_true(init(START, START + 130 * PGSIZE));
            keep(ends[i], ends[j]);
            check_map();
        }
    }
    machine_explain = NULL;
}

/* Nothing is known before the first memmap_init. */
static void
before_there_is_a_map(void **state)
{
    (void)state;
    begin();
    about_to("before memmap_init", 0, 0);
    assert_int_equal(memmap_get()->max_frames, 0);
    assert_int_equal(alloc_frame(), 0);
    assert_int_equal(alloc_frames(3), 0);
    assert_int_equal(free_frame(0), -EINVAL);
    assert_int_equal(free_frame(PGSIZE), -EINVAL);
    memmap_reserve(0, UINT64_MAX);
    assert_false(memmap_is_free(0));
    assert_false(memmap_is_free(PGSIZE));
    assert_false(pool_changed());
    machine_explain = NULL;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_there_is_a_map),
        cmocka_unit_test(every_state_of_a_few_frames),
        cmocka_unit_test(random_calls),
        cmocka_unit_test(ranges_that_make_no_map),
        cmocka_unit_test(whole_frames_as_many_as_there_is_room_for),
        cmocka_unit_test(numbers_too_large_for_a_run),
        cmocka_unit_test(reserving_what_is_not_there),
    };

    return cmocka_run_group_tests_name("memmap", tests, NULL, NULL);
}
