/*
 * kern/memmap.c against two arrays of flags: in every state of a few frames across the border of a word, at random,
 * and at the edges of what can be described.
 */
#include "lib.h"

#include "bitmap.h"
#include "errno.h"
#include "types.h"

#define START 0x7a5a5000u /* an odd frame */

static void
begin(void)
{
    pool_start(0, 0, false);
    machine_explain = bitmap_explain;
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
        bitmap.used[i] = state % 3 != 0;
        bitmap.reserved[i] = state % 3 == 2;
        map->bitmap[i / 8] = (uint8_t)((map->bitmap[i / 8] & ~mask) | (bitmap.used[i] ? mask : 0));
        map->reserved[i / 8] =
            (uint8_t)((map->reserved[i / 8] & ~mask) | (bitmap.reserved[i] ? mask : 0));
    }
    map->hint = bitmap.hint = BEFORE + hint;
}

static void
every_state_of_a_few_frames(void **state)
{
    size_t states = 1, calls = 0;

    (void)state;
    begin();
    assert_true(bitmap_init(START, START + (BEFORE + FEW) * PGSIZE));
    bitmap_reserve(START, START + BEFORE * PGSIZE);
    for (size_t i = 0; i < FEW; i++) {
        states *= 3;
    }
    for (size_t n = 0; n < states; n++) {
        for (size_t hint = 0; hint <= FEW; hint++) {
            for (size_t run = 0; run <= FEW + 1; run++, calls++) {
                set_up(n, hint);
                bitmap_alloc(run, false);
                bitmap_check();
            }
        }
        for (size_t from = BEFORE - 1; from <= BEFORE + FEW; from++) {
            set_up(n, from % FEW);
            bitmap_free(START + from * PGSIZE + 8);
            if (bitmap_free(START + from * PGSIZE)) {
                bitmap_check();
            }
            /* Ranges from anywhere in this frame to anywhere in another one. */
            for (size_t to = from; to <= BEFORE + FEW + 1; to++, calls++) {
                set_up(n, to % FEW);
                bitmap_reserve(START + from * PGSIZE + n % 3, START + to * PGSIZE + n % 2);
                bitmap_check();
            }
        }
        for (size_t i = 0; i < BEFORE; i += 7) {
            set_up(n, 0);
            assert_false(bitmap_free(START + i * PGSIZE)); /* reserved */
            calls++;
        }
        set_up(n, 3);
        bitmap_alloc(1, true);
        bitmap_check();
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
        assert_true(bitmap_init(start + random_below(&seed, 2) * 100, start + n * PGSIZE + 300));
        for (int step = 0; step < 1500; step++) {
            uint64_t i = bitmap.first + random_below(&seed, bitmap.n + 1);
            switch (random_below(&seed, 12)) {
            case 0:
                bitmap_reserve(near(&seed, i * PGSIZE),
                               near(&seed, (i + random_below(&seed, 4)) * PGSIZE));
                break;
            case 1:
                bitmap_free(near(&seed, i * PGSIZE));
                break;
            case 2:
            case 3:
            case 4:
            case 5:
            case 6:
                bitmap_free(i * PGSIZE);
                break;
            case 7:
                bitmap_alloc(1, true);
                break;
            default:
                bitmap_alloc(random_below(&seed, longest + 1), false);
                break;
            }
            if (step % 10 == 0) {
                bitmap_check();
            }
        }
        /* Every frame that is free, once. */
        size_t left = 0;
        for (size_t i = 0; i < bitmap.n; i++) {
            left += !bitmap.used[i];
        }
        while (bitmap_alloc(1, true)) {
            left--;
        }
        assert_int_equal(left, 0);
        bitmap_check();
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
    assert_true(bitmap_init(START, START + 100 * PGSIZE));
    assert_true(bitmap_alloc(3, false));
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        assert_false(bitmap_init(none[i][0], none[i][1]));
        bitmap_check();
    }
    machine_explain = NULL;
}

static void
whole_frames_as_many_as_there_is_room_for(void **state)
{
    (void)state;
    begin();
    for (uint64_t n = MEMMAP_FRAMES - 9; n < MEMMAP_FRAMES + 9; n++) {
        assert_true(bitmap_init(START + 1, START + (n + 1) * PGSIZE + 5));
        assert_int_equal(bitmap.n, MIN(n, (uint64_t)MEMMAP_FRAMES));
        assert_true(bitmap_alloc(bitmap.n, false));
        assert_false(bitmap_alloc(1, true));
        assert_true(bitmap_free(START + PGSIZE));
        assert_true(bitmap_init(START, START + n * PGSIZE)); /* and all is forgotten */
    }
    assert_true(bitmap_init(0, UINT64_MAX));
    assert_int_equal(bitmap.n, MEMMAP_FRAMES);
    assert_false(bitmap_free(0)); /* frame 0 is reserved */
    assert_false(bitmap_alloc(MEMMAP_FRAMES, false));
    assert_true(bitmap_alloc(MEMMAP_FRAMES - 1, false));
    assert_true(bitmap_init(UINT64_MAX - 3 * PGSIZE, UINT64_MAX));
    assert_true(bitmap_alloc(1, true));
    machine_explain = NULL;
}

static void
numbers_too_large_for_a_run(void **state)
{
    static const size_t sizes[] = {SIZE_MAX,      SIZE_MAX - 1,      SIZE_MAX / 2, 1UL << 32,
                                   MEMMAP_FRAMES, MEMMAP_FRAMES + 1, 301};

    (void)state;
    begin();
    assert_true(bitmap_init(START, START + 300 * PGSIZE));
    for (uint64_t hint = 0; hint + 37 <= 300; hint += 37) {
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            assert_false(bitmap_alloc(sizes[i], false));
        }
        assert_false(bitmap_alloc(0, false));
        assert_true(bitmap_alloc(37, false));
    }
    machine_explain = NULL;
}

static void
reserving_what_is_not_there(void **state)
{
    (void)state;
    begin();
    assert_true(bitmap_init(START, START + 130 * PGSIZE));
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
            assert_true(bitmap_init(START, START + 130 * PGSIZE));
            bitmap_reserve(ends[i], ends[j]);
            bitmap_check();
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
    pool_save();
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
