/*
 * kern/pmm.c, kern/kcache.c, kern/kalloc.c and what of kern/zone.c works on a pmm that is there: millions of calls
 * at random, how whole memory stays, and the headers' clauses one by one. pages.c judges.
 */
#include "lib.h"

#include "errno.h"
#include "kalloc.h"
#include "pages.h"

#define LARGEST    (1UL << (PMM_ORDERS - 1))
#define LARGEST_PA (LARGEST * PGSIZE)
#define FIRST_PA   (0x40011 * LARGEST_PA) /* of the tables: 1 TiB and more */
#define ROUNDS     5

static unsigned long steps = 2000000; /* of the random run; an argument gives another number */

/* A bank of n frames from this one on, all of them free. */
static void
bank(size_t first, size_t n)
{
    pool_zone(first, n);
    zones[nzones - 1].watermark[WATERMARK_MIN] = n / 256;
    zones[nzones - 1].watermark[WATERMARK_LOW] = n / 4;
    zones[nzones - 1].watermark[WATERMARK_HIGH] = n / 2;
}

static void
start(size_t n, bool guard)
{
    pool_start(FIRST_PA, ROUNDUP(n, LARGEST) * PGSIZE, guard);
    pool_table(FIRST_PA, n);
    pages_thorough = true;
}

/* One bank, whole. */
static void
start_with(size_t first, size_t n)
{
    start(first + n, true);
    bank(first, n);
    pages_start();
    pages_hand_over(first, n);
    pages_check();
}

/* ---- At random ---- */

#define RUN_FRAMES (21 * LARGEST)

static uint64_t seed;
static bool stamped[RUN_FRAMES]; /* the page came from kalloc, and contains its own address */

static uint64_t *
stamp(size_t i, size_t which)
{
    return (uint64_t *)P2V(pool_pa(i)) + which * (PGSIZE / sizeof(uint64_t) - 1);
}

static void
forget_stamps(size_t first, size_t n)
{
    memset(&stamped[first], false, n);
}

static void
kalloc_one(void)
{
    char *page = pages_kalloc();

    if (page) {
        size_t i = frame_index(page);
        stamped[i] = true;
        *stamp(i, 0) = *stamp(i, 1) = pool_pa(i);
    }
}

static void
kfree_one(size_t i)
{
    if (stamped[i] && (*stamp(i, 0) != pool_pa(i) || *stamp(i, 1) != pool_pa(i))) {
        broken("frame %zu, which was in use, contains something else now", i);
    }
    stamped[i] = stamped[i] && pages.users[i] > 1;
    pages_kfree(P2V(pool_pa(i)));
}

/* Some page in use; pages.n: none was found soon. */
static size_t
some_used(void)
{
    size_t i = pages.n;

    for (int tries = 0; tries < 30 && i == pages.n; tries++) {
        size_t j = random_below(&seed, pages.n);
        i = pages.kind[j] == PAGE_USED ? j : pages.n;
    }
    return i;
}

static void
free_some_range(size_t i)
{
    size_t n = 1 + random_below(&seed, random_below(&seed, 8) ? 40 : 3000), j = i;

    /* Mostly, no more than there is in a row; else it should be refused. */
    if (random_below(&seed, 10) > 0) {
        while (j < i + n && j < pages.n && pages.kind[j] == PAGE_USED
               && pages.users[pages.head[j]] == 1) {
            j++;
        }
        n = j - i;
    }
    if (pages_free_range(pool_pa(i), n) == 0) {
        forget_stamps(i, n);
    }
}

static void
anything_wrong(void)
{
    uint64_t pa = pool_pa(random_below(&seed, pages.n + 2) - 1);

    pa += random_below(&seed, 4) == 0 ? random_below(&seed, PGSIZE) : 0;
    switch (random_below(&seed, 3)) {
    case 0:
        /* It may be right, after all. */
        if (pages_free(pa, (unsigned)random_below(&seed, PMM_ORDERS + 1)) == 0) {
            forget_stamps(frame_index(P2V(pa)), 1);
        }
        break;
    case 1:
        pages_alloc(PMM_ORDERS + (unsigned)random_below(&seed, 60));
        break;
    default:
        if (pa % PGSIZE != 0 || frame_index(P2V(pa)) >= pages.n
            || pages.kind[frame_index(P2V(pa))] != PAGE_USED) {
            pages_kfree(P2V(pa));
        }
        break;
    }
}

static void
random_call(bool grow)
{
    size_t i = some_used();
    uint64_t what = random_below(&seed, 100);

    if (i == pages.n || what < (grow ? 40u : 20u)) {
        unsigned order = (unsigned)random_below(&seed, random_below(&seed, 4) ? 4 : PMM_ORDERS);
        uint64_t pa = pages_alloc(order);
        if (pa != 0) {
            forget_stamps(frame_index(P2V(pa)), 1UL << order);
        }
        return;
    }
    size_t head = pages.head[i];
    if (what < (grow ? 55u : 35u)) {
        kalloc_one();
    } else if (what < 75) {
        if (pages.order[head] == 0) {
            kfree_one(head);
        } else if (pages_free(pool_pa(head), pages.order[head]) == 0) {
            forget_stamps(head, 1);
        }
    } else if (what < 85) {
        free_some_range(i);
    } else if (what < 88) {
        pages_share(pool_pa(head));
    } else if (what < 94) {
        unsigned order = pages.order[head];
        if (pages_unshare(pool_pa(head)) == 0) {
            forget_stamps(head, 1UL << order);
        }
    } else if (what == 94) {
        pages_drain(random_below(&seed, 70));
    } else if (what == 95) {
        if (pages.ncached < 500) {
            pages_refill();
        }
    } else {
        anything_wrong();
    }
}

static void
millions_of_random_calls(void **state)
{
    struct pmm_stats before, after;
    size_t most = 0;

    (void)state;
    start(RUN_FRAMES, true);
    bank(5, 3 * LARGEST + 77);
    bank(4 * LARGEST + 1, 2046); /* as far from being aligned as can be */
    bank(7 * LARGEST, 14 * LARGEST);
    pages_start();
    pages_hand_over(5, 900);
    pages_hand_over(911, 3 * LARGEST + 5 + 77 - 911);
    pages_hand_over(4 * LARGEST + 1, 2046);
    pages_hand_over(7 * LARGEST, 9 * LARGEST + 512);
    pages_hand_over(16 * LARGEST + 513, 5 * LARGEST - 513);
    pages_check();
    pmm_stats(&before);
    pages_thorough = false;
    forget_stamps(0, RUN_FRAMES);
    for (size_t step = 0; step < steps; step++) {
        seed = step; /* so that any of them can be repeated */
        random_call(step / (1 + steps / 64) % 4 < 2);
        if (step % (steps / 128 + 1) == 0) {
            pages_check();
        }
        if (step % 64 == 0) {
            most = MAX(most, before.free - pages_free_count());
        }
    }
    pages_free_all();
    pmm_stats(&after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(pages_take_all(), before.free);
    print_message(
        "[          ] %lu calls, up to %zu of %zu pages in use; then all is whole again\n", steps,
        most, before.pages);
}

/* ---- How whole memory stays ---- */

#define STEADY_PAGES 0x3c000 /* 960 MiB */
#define STEADY_STEPS 400000

/* Blocks of random orders 0 to 9 come and go, with half of all pages in use. */
static void
half_of_the_pages_in_use(void **state)
{
    static struct {
        uint64_t pa;
        unsigned order;
    } held[STEADY_PAGES];
    size_t nheld = 0, used = 0, samples = 0;
    struct pmm_stats stats;
    double sum = 0, least = 100;

    (void)state;
    pool_start(FIRST_PA, 0, false);
    pool_table(FIRST_PA, STEADY_PAGES);
    bank(0, STEADY_PAGES);
    pages_thorough = false;
    pages_start();
    pages_hand_over(0, STEADY_PAGES);
    seed = 1;
    for (size_t step = 0; step < STEADY_STEPS; step++) {
        while (used < STEADY_PAGES / 2) {
            unsigned order = (unsigned)random_below(&seed, 10);
            uint64_t pa = pmm_alloc(order);
            assert_int_not_equal(pa, 0);
            held[nheld].pa = pa;
            held[nheld++].order = order;
            used += 1UL << order;
        }
        size_t i = random_below(&seed, nheld);
        assert_int_equal(pmm_free(held[i].pa, held[i].order), 0);
        used -= 1UL << held[i].order;
        held[i] = held[--nheld];
        if (step > STEADY_STEPS / 2 && step % 500 == 0) {
            pmm_stats(&stats);
            size_t whole = (stats.blocks[9] << 9) + (stats.blocks[10] << 10);
            double share = 100.0 * (double)whole / (double)stats.free;
            sum += share;
            samples++;
            least = MIN(least, share);
            assert_int_equal(stats.fragmented, 100 * (stats.free - whole) / stats.free);
        }
    }
    print_message("[          ] half of %d pages in use: %.1f %% of the free ones in whole 2 MiB, "
                  "at least %.1f %%, after %d steps\n",
                  STEADY_PAGES, sum / (double)samples, least, STEADY_STEPS);
    assert_true(sum / (double)samples >= 89);
    while (nheld > 0) {
        nheld--;
        assert_int_equal(pmm_free(held[nheld].pa, held[nheld].order), 0);
    }
    pages_check();
    assert_int_equal(pages_take_all(), STEADY_PAGES);
}

/* ---- Clause by clause: pmm_alloc, pmm_free ---- */

/* Of each order there are as many blocks as fit, each at a multiple of its size; and then there is none. */
static void
every_block_of_every_order_once(void **state)
{
    static const size_t shapes[][2] = {
        {0, LARGEST}, {0, 3 * LARGEST}, {1, 2 * LARGEST - 2},  {LARGEST - 1, 2},
        {513, 1},     {300, 1500},      {LARGEST / 2, LARGEST}};

    (void)state;
    for (size_t s = 0; s < ARRAY_SIZE(shapes); s++) {
        for (unsigned order = 0; order < PMM_ORDERS; order++) {
            size_t first = shapes[s][0], stop = first + shapes[s][1], size = 1UL << order, n = 0;
            start_with(first, stop - first);
            pages_thorough = order > 5;
            while (pages_alloc(order) != 0) {
                n++;
            }
            size_t from = ROUNDUP(first, size), to = ROUNDDOWN(stop, size);
            assert_int_equal(n, from < to ? (to - from) / size : 0);
            pages_thorough = true;
            pages_check();
            pages_free_all();
            assert_int_equal(pages_take_all(), shapes[s][1]);
        }
    }
}

static void
the_smallest_block_that_holds_it_is_split(void **state)
{
    (void)state;
    start_with(1, 2 * LARGEST - 2); /* blocks of 1, 2, 4, ... 512, and ... 4, 2, 1 pages */
    for (unsigned order = 0; order + 1 < PMM_ORDERS; order++) {
        assert_true(pages_alloc(order) != 0 && pages_alloc(order) != 0);
    }
    assert_int_equal(pages_free_count(), 0);
    start_with(0, LARGEST);
    assert_int_equal(pages_alloc(0), FIRST_PA);
    assert_int_equal(pages.blocks[0][0], 1);
    assert_int_equal(pages.blocks[0][PMM_ORDERS - 2], 1);
    assert_int_equal(pages_alloc(3), FIRST_PA + 8 * PGSIZE);
    assert_int_equal(pages_alloc(PMM_ORDERS - 1), 0);
}

static void
wrong_frees_are_refused(void **state)
{
    (void)state;
    start(3 * LARGEST, true);
    bank(8, LARGEST);
    bank(2 * LARGEST, LARGEST - 8);
    pages_start();
    pages_hand_over(16, 500);
    pages_hand_over(2 * LARGEST, 100);
    uint64_t pa = pages_alloc(2), single = pages_alloc(0);
    char *page = pages_kalloc();
    assert_true(pages_kfree(page));
    static const struct {
        const char *what;
        uint64_t pa;
        unsigned order;
    } wrong[] = {
        {"frame 0", 0, 0},
        {"the last frame", ROUNDDOWN(UINT64_MAX, PGSIZE), 0},
        {"in front of the table", FIRST_PA - PGSIZE, 0},
        {"behind it", FIRST_PA + 3 * LARGEST_PA, 0},
        {"in front of a bank", FIRST_PA + 7 * PGSIZE, 0},
        {"reserved", FIRST_PA + 8 * PGSIZE, 3},
        {"reserved, the end", FIRST_PA + 516 * PGSIZE, 2},
        {"between two banks", FIRST_PA + LARGEST_PA + 8 * PGSIZE, 3},
        {"behind the last bank", FIRST_PA + 3 * LARGEST_PA - 8 * PGSIZE, 3},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        for (unsigned order = 0; order < PMM_ORDERS; order++) {
            assert_int_equal(pages_free(wrong[i].pa, order), -EINVAL);
        }
        assert_int_equal(pages_free_range(wrong[i].pa, 1), -EINVAL);
        assert_int_equal(pages_share(wrong[i].pa), -EINVAL);
        assert_int_equal(pages_unshare(wrong[i].pa), -EINVAL);
        assert_int_equal(page_refs(wrong[i].pa), 0);
        assert_false(pages_kfree(P2V(wrong[i].pa)));
    }
    for (unsigned order = 0; order < 300; order++) {
        if (order != 2) {
            assert_int_equal(pages_free(pa, order), -EINVAL);
        }
        assert_int_equal(pages_free(pa + PGSIZE, order), -EINVAL);
        assert_int_equal(pages_free(pa + 1, order), -EINVAL);
        assert_int_equal(pages_free(V2P(page), order), -EINVAL); /* it is cached */
    }
    assert_int_equal(pages_free(pa, 2 + 256), -EINVAL);
    assert_int_equal(pages_free(pa, UINT32_MAX), -EINVAL);
    assert_int_equal(pages_free_range(V2P(page), 1), -EINVAL);
    assert_int_equal(pages_share(V2P(page)), -EINVAL);
    assert_int_equal(pages_unshare(V2P(page)), -EINVAL);
    assert_int_equal(pages_share(pa), 2);
    /* An order that is too large may make another state of the sum. */
    for (unsigned order = 0; order < 300; order++) {
        assert_int_equal(pages_free(pa, order), order == 2 ? -EBUSY : -EINVAL);
    }
    assert_int_equal(pages_free_range(pa, 4), -EBUSY);
    assert_int_equal(pages_free_range(pa + PGSIZE, 1), -EBUSY);
    assert_int_equal(pages_unshare(pa), 1);
    assert_int_equal(pages_free(pa, 2), 0);
    for (unsigned order = 0; order < 300; order++) {
        assert_int_equal(pages_free(pa, order), -EINVAL); /* twice */
    }
    assert_int_equal(pages_free(single, 0), 0);
    pages_free_all();
}

/* ---- pmm_free_range ---- */

/* Every run of every block size, from within and across blocks, with what is left freed by order or by range. */
static void
every_run_out_of_blocks(void **state)
{
    size_t runs = 0;

    (void)state;
    pages_thorough = true;
    for (unsigned order = 0; order <= 5; order++) {
        size_t size = 1UL << order, three = 3 * size;
        for (size_t first = 0; first < three; first++) {
            for (size_t n = 1; n <= three - first; n++, runs++) {
                if (n % 7 != first % 7 && order > 3) {
                    continue;
                }
                start_with(2 * size,
                           three); /* the last two are one larger block, when they are free */
                for (int block = 0; block < 3; block++) {
                    assert_int_not_equal(pages_alloc(order), 0);
                }
                assert_int_equal(pages_free_range(pool_pa(2 * size + first), n), 0);
                assert_int_equal(pages_free_range(pool_pa(2 * size + first), n), -EINVAL);
                for (size_t i = 2 * size; i < 5 * size; i++) {
                    if (pages.kind[i] == PAGE_USED) {
                        assert_int_equal(pages_free(pool_pa(i), pages.order[i]), 0);
                    }
                }
                assert_int_equal(pages_free_count(), three);
            }
        }
    }
    print_message("[          ] %zu runs\n", runs);
}

/* As in the handout: six pages, of which pages 1 to 4 go. */
static void
four_pages_out_of_six(void **state)
{
    (void)state;
    start_with(0, LARGEST);
    uint64_t four = pages_alloc(2), two = pages_alloc(1);
    assert_int_equal(two, four + 4 * PGSIZE);
    assert_int_equal(pages_free_range(four + PGSIZE, 4), 0);
    assert_int_equal(page_refs(four), 1);
    assert_int_equal(page_refs(four + PGSIZE), 0);
    assert_int_equal(page_refs(four + 5 * PGSIZE), 1);
    assert_int_equal(pages_free(four, 2), -EINVAL);
    assert_int_equal(pages_free(two, 1), -EINVAL);
    assert_int_equal(pages_free(four, 0), 0);
    assert_int_equal(pages_free_range(four + 5 * PGSIZE, 1), 0);
    assert_int_equal(pages_largest(), PMM_ORDERS - 1);
}

static void
ranges_that_are_refused(void **state)
{
    static const size_t sizes[] = {0,          SIZE_MAX,  SIZE_MAX - 1,    SIZE_MAX / 2,
                                   1UL << 52,  1UL << 63, (1UL << 52) + 4, LARGEST + 1,
                                   2 * LARGEST};

    (void)state;
    start(4 * LARGEST, true);
    bank(1, LARGEST);
    bank(2 * LARGEST, 2 * LARGEST);
    pages_start();
    pages_hand_over(1, LARGEST);
    pages_hand_over(2 * LARGEST, 2 * LARGEST);
    pages_thorough = false;
    while (pages_alloc(0) != 0) {}
    pages_thorough = true;
    pages_check();
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_int_equal(pages_free_range(pool_pa(1), sizes[i]), -EINVAL);
        if (sizes[i] != LARGEST + 1) {
            assert_int_equal(pages_free_range(pool_pa(2 * LARGEST + 1), sizes[i]), -EINVAL);
        }
    }
    /* Through the hole between the banks, and past the end; from no page, or not from its beginning. */
    assert_int_equal(pages_free_range(pool_pa(LARGEST), 2), -EINVAL);
    assert_int_equal(pages_free_range(pool_pa(LARGEST), LARGEST + 1), -EINVAL);
    assert_int_equal(pages_free_range(pool_pa(4 * LARGEST - 1), 2), -EINVAL);
    assert_int_equal(pages_free_range(pool_pa(0), 2), -EINVAL);
    assert_int_equal(pages_free_range(pool_pa(3) + 1, 2), -EINVAL);
    assert_int_equal(pages_free_range(pool_pa(3) + PGSIZE - 1, 2), -EINVAL);
    /* One page of many that is free, or shared. */
    for (size_t i = 2; i < 30; i++) {
        assert_int_equal(pages_free(pool_pa(i), 0), 0);
        assert_int_equal(pages_free_range(pool_pa(2), 30), -EINVAL);
        assert_int_equal(pages_free_range(pool_pa(2), i - 1), -EINVAL);
        pages_free_range(pool_pa(2), i - 2);
        while (pages_alloc(0) != 0) {}
        assert_int_equal(pages_share(pool_pa(i)), 2);
        assert_int_equal(pages_free_range(pool_pa(2), 30), -EBUSY);
        assert_int_equal(pages_unshare(pool_pa(i)), 1);
    }
    assert_int_equal(pages_free_range(pool_pa(1), LARGEST), 0);
    assert_int_equal(pages_free_range(pool_pa(2 * LARGEST), 2 * LARGEST), 0);
}

/* ---- Sharing ---- */

static void
as_many_users_as_there_may_be(void **state)
{
    static const int many[] = {2, 3, 255, 256, 257, 300, 65535, 65536, 70000};

    (void)state;
    start_with(3, 2000);
    for (size_t n = 0; n < ARRAY_SIZE(many); n++) {
        uint64_t pa = pages_alloc((unsigned)n % 5);
        pages_thorough = false;
        for (int users = 2; users <= many[n]; users++) {
            assert_int_equal(pages_share(pa), users);
        }
        pages_thorough = true;
        pages_check();
        assert_int_equal(page_refs(pa + (PGSIZE << n % 5) - 1), many[n]);
        assert_int_equal(page_refs(pa + (PGSIZE << n % 5)), 0);
        pages_thorough = false;
        for (int users = many[n] - 1; users >= 0; users--) {
            assert_int_equal(pages_unshare(pa), users);
        }
        pages_thorough = true;
        assert_int_equal(pages_unshare(pa), -EINVAL);
        assert_int_equal(pages_share(pa), -EINVAL);
        assert_int_equal(pages_free_count(), 2000);
    }
    /* The last ones: who has the time to count there can set the number by hand. */
    uint64_t pa = pages_alloc(1);
    size_t i = frame_index(P2V(pa));
    assert_int_equal(pages_share(pa), 2);
    pages.users[i] = pool_link(i)->users = INT32_MAX - 1;
    assert_int_equal(pages_share(pa), INT32_MAX);
    assert_int_equal(pages_share(pa), -EBUSY);
    assert_int_equal(page_refs(pa), INT32_MAX);
    assert_int_equal(pages_unshare(pa), INT32_MAX - 1);
    assert_int_equal(pages_share(pa), INT32_MAX);
    pages.users[i] = pool_link(i)->users = 2;
    assert_int_equal(pages_unshare(pa), 1);
    assert_int_equal(pages_unshare(pa), 0);
    assert_int_equal(pages_take_all(), 2000);
}

/* ---- What there is ---- */

static void
space_for_every_size(void **state)
{
    static const size_t near[] = {SIZE_MAX,       SIZE_MAX - 1,        SIZE_MAX / 2 + 1,
                                  LARGEST_PA + 1, LARGEST_PA + PGSIZE, 1UL << 32,
                                  1UL << 63};

    (void)state;
    for (int largest = -1; largest < PMM_ORDERS; largest++) {
        start_with(0, largest < 0 ? 1 : 1UL << largest);
        if (largest < 0) {
            pages_alloc(0);
        }
        assert_true(pages_has_space(MEM_FRAMES, 0));
        assert_true(pages_has_space(MEM_HEAP, 0));
        assert_false(pages_has_space(MEM_HEAP, 1));
        assert_int_equal(pages_has_space(MEM_FRAMES, 1), largest >= 0);
        for (size_t i = 0; i < ARRAY_SIZE(near); i++) {
            assert_false(pages_has_space(MEM_FRAMES, near[i]));
            assert_false(pages_has_space(MEM_HEAP, near[i]));
        }
        for (int order = 0; order < PMM_ORDERS; order++) {
            size_t size = (size_t)PGSIZE << order;
            assert_int_equal(pages_has_space(MEM_FRAMES, size), order <= largest);
            assert_int_equal(pages_has_space(MEM_FRAMES, size - 1), order <= largest);
            assert_int_equal(pages_has_space(MEM_FRAMES, size + 1), order < largest);
        }
    }
    /* In any zone will do. */
    start(3 * LARGEST, true);
    bank(0, 1);
    bank(LARGEST, 8);
    bank(2 * LARGEST, 2);
    pages_start();
    pages_hand_over(0, 1);
    pages_hand_over(LARGEST, 8);
    pages_hand_over(2 * LARGEST, 2);
    assert_true(pages_has_space(MEM_FRAMES, 8 * PGSIZE));
    assert_false(pages_has_space(MEM_FRAMES, 8 * PGSIZE + 1));
}

/* mem_has_space says yes exactly when pmm_alloc then succeeds, whatever kalloc keeps. */
static void
space_in_the_cache_counts(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 3000; round++) {
        seed = round;
        start_with(random_below(&seed, 9), 1 + random_below(&seed, 40));
        pages_thorough = false;
        for (int i = 0; i < 3; i++) {
            pages_refill();
        }
        while (pages_kalloc() != NULL) {}
        for (size_t i = 0; i < pages.n; i++) {
            uint64_t what = random_below(&seed, 3);
            if (pages.kind[i] == PAGE_USED && what < 2) {
                what ? (void)pages_kfree(P2V(pool_pa(i))) : (void)pages_free(pool_pa(i), 0);
            }
        }
        unsigned order = (unsigned)random_below(&seed, 5);
        bool space = pages_has_space(MEM_FRAMES, (size_t)PGSIZE << order);
        assert_int_equal(pages_alloc(order) != 0, space);
    }
}

static void
watermarks_and_counts(void **state)
{
    struct pmm_stats stats;

    (void)state;
    start(4 * LARGEST, true);
    bank(0, LARGEST);
    bank(2 * LARGEST, 2 * LARGEST);
    pages_start();
    for (enum watermark mark = 0; mark < WATERMARKS; mark++) {
        size_t all = mark == WATERMARK_MIN ? 12 : mark == WATERMARK_LOW ? 768 : 1536;
        assert_int_equal(pmm_wanted(mark), all);
    }
    pages_hand_over(0, LARGEST); /* one zone has enough, the other nothing */
    assert_int_equal(pmm_wanted(WATERMARK_MIN), 8);
    assert_int_equal(pmm_wanted(WATERMARK_HIGH), LARGEST);
    pages_hand_over(2 * LARGEST, LARGEST - 1);
    assert_int_equal(pmm_wanted(WATERMARK_HIGH), 1);
    pages_hand_over(3 * LARGEST - 1, 1);
    assert_int_equal(pmm_wanted(WATERMARK_HIGH), 0);
    pmm_stats(&stats);
    assert_int_equal(stats.zones, 2);
    assert_int_equal(stats.pages, 2 * LARGEST);
    assert_int_equal(stats.free, 2 * LARGEST);
    assert_int_equal(stats.largest, LARGEST);
    assert_int_equal(stats.fragmented, 0);
    char *page = pages_kalloc();
    assert_int_equal(pages_share(V2P(page)), 2);
    pmm_stats(&stats);
    assert_int_equal(stats.cached, KCACHE_BATCH - 1);
    assert_int_equal(stats.shared, 1);
    assert_int_equal(stats.free, 2 * LARGEST - KCACHE_BATCH);
    assert_int_equal(stats.fragmented, 100 * (LARGEST / 2 - KCACHE_BATCH) / stats.free);
}

/* ---- kalloc's cache ---- */

static void
pages_come_and_go_in_batches(void **state)
{
    static char *list[400];
    size_t n = 0;

    (void)state;
    start_with(7, 400);
    assert_int_equal(pages_refill(), KCACHE_BATCH);
    assert_int_equal(pages_refill(), KCACHE_BATCH);
    assert_int_equal(pages_drain(0), 0);
    assert_int_equal(pages_drain(1), 1);
    assert_int_equal(pages_drain(2 * KCACHE_BATCH), 2 * KCACHE_BATCH - 1);
    assert_int_equal(pages_drain(SIZE_MAX), 0);
    while ((list[n] = pages_kalloc()) != NULL) {
        assert_int_equal(pages.ncached, MIN(400 - n - 1, KCACHE_BATCH - 1 - n % KCACHE_BATCH));
        if (++n == 400) {
            break;
        }
    }
    assert_int_equal(n, 400);
    assert_null(pages_kalloc());
    assert_int_equal(pages_refill(), 0);
    while (n > 0) {
        assert_true(pages_kfree(list[--n]));
        assert_true(pages.ncached < KCACHE_MAX);
        assert_false(pages_kfree(list[n])); /* twice */
    }
    n = pages.ncached;
    assert_int_equal(pages_drain(SIZE_MAX), n);
    assert_int_equal(pages_take_all(), 400);
}

/* kcache_refill with its n-th pmm_alloc failing: what it had until then is on the list. */
static void
a_refill_that_ends_early(void **state)
{
    (void)state;
    for (size_t k = 1; k <= KCACHE_BATCH + 1; k++) {
        start_with(7, 400);
        pool_fail(k);
        assert_int_equal(pages_refill(), MIN(k - 1, (size_t)KCACHE_BATCH));
        pool_fail(0);
        pages_drain(SIZE_MAX);
        assert_int_equal(pages_free_count(), 400);

        pool_fail(k); /* and with the list not empty */
        char *page = pages_kalloc();
        assert_int_equal(page != NULL, k > 1);
        pool_fail(0);
        if (page) {
            assert_true(pages_kfree(page));
        }
        pool_fail(k);
        assert_int_equal(pages_refill(), MIN(k - 1, (size_t)KCACHE_BATCH));
        pool_fail(0);
        pages_free_all();
        assert_int_equal(pages_take_all(), 400);

        start_with(7, k); /* with as many as there are, and then no more */
        assert_int_equal(pages_refill(), MIN(k, (size_t)KCACHE_BATCH));
        assert_int_equal(pages_take_all(), k);
    }
}

/* With its pages on kalloc's list, memory is not lost to larger blocks. */
static void
a_large_block_drains_the_cache(void **state)
{
    (void)state;
    for (unsigned order = 1; order <= 6; order++) {
        start_with(1UL << order, 1UL << order);
        while (pages.ncached < 1UL << order) {
            pages_refill();
        }
        assert_int_equal(pages_alloc(order), pool_pa(1UL << order));
        assert_int_equal(pages.ncached, 0);
    }
    /* More than one drain takes, all of it needed; and then not enough of it. */
    start_with(LARGEST, LARGEST);
    pages_thorough = false;
    while (pages.ncached < LARGEST) {
        pages_refill();
    }
    pages_thorough = true;
    assert_int_equal(pages_alloc(PMM_ORDERS - 1), pool_pa(LARGEST));
    assert_int_equal(pages_alloc(0), 0);
    start_with(LARGEST, LARGEST - 1);
    while (pages.ncached < 200) {
        pages_refill();
    }
    assert_int_equal(pages_alloc(PMM_ORDERS - 1), 0);
    assert_int_equal(pages.ncached, 0); /* it was tried */
    assert_int_equal(pages_take_all(), LARGEST - 1);
}

static void
kfree_refuses_and_drops(void **state)
{
    (void)state;
    start_with(5, 500);
    char *page = pages_kalloc();
    memset(page, 0x77, PGSIZE);
    for (size_t offset = 1; offset < PGSIZE; offset = 2 * offset + 1) {
        assert_false(pages_kfree(page + offset));
    }
    assert_false(pages_kfree(NULL));
    assert_false(pages_kfree((char *)UINT64_MAX));
    assert_false(pages_kfree((char *)P2V(pool_pa(4))));
    assert_false(pages_kfree((char *)P2V(pool_pa(505))));
    uint64_t four = pages_alloc(2);
    for (size_t i = 0; i < 4; i++) {
        assert_false(pages_kfree((char *)P2V(four) + i * PGSIZE));
    }
    /* A page of two users, and a block of two. */
    assert_int_equal(pages_share(V2P(page)), 2);
    assert_int_equal(pages_share(V2P(page)), 3);
    for (size_t offset = 1; offset < PGSIZE; offset = 2 * offset + 1) {
        assert_false(pages_kfree(page + offset));
    }
    assert_true(pages_kfree(page) && pages_kfree(page));
    assert_int_equal(page_refs(V2P(page)), 1);
    assert_int_equal(page[PGSIZE - 1], 0x77);
    assert_true(pages_kfree(page));
    assert_int_not_equal(page[PGSIZE - 1], 0x77);
    assert_int_not_equal(page[sizeof(struct run)], 0x77);
    assert_ptr_equal(pages_kalloc(), page);
    assert_int_equal(pages_share(four), 2);
    assert_false(pages_kfree((char *)P2V(four) + PGSIZE));
    assert_true(pages_kfree((char *)P2V(four)));
    assert_false(pages_kfree((char *)P2V(four)));
    assert_int_equal(pages_free(four, 2), 0);
    pages_free_all();
    assert_int_equal(pages_take_all(), 500);
}

static void
counting_the_list(void **state)
{
    (void)state;
    start_with(5, 100);
    phystop = FIRST_PA;
    assert_int_equal(count_free_pages(), 0);
    pages_refill();
    assert_int_equal(count_free_pages(), KCACHE_BATCH);
    struct run *last = kmem.free_list;
    while (last->next) {
        last = last->next;
    }
    last->next = kmem.free_list; /* a ring */
    assert_int_equal(count_free_pages(), FIRST_PA / PGSIZE);
    last->next = NULL;
    pages_free_all();
}

/* free_range takes whole pages only, also in lab 3. */
static void
free_range_takes_whole_pages_only(void **state)
{
    (void)state;
    for (size_t before = 0; before <= PGSIZE + 1; before += 1 + before % 2 * (PGSIZE - 3)) {
        for (size_t after = 0; after <= PGSIZE + 1; after += 1 + after % 2 * (PGSIZE - 3)) {
            start_with(0, 5);
            while (pages_alloc(0) != 0) {}
            char *from = (char *)P2V(pool_pa(0)) + before;
            char *to = (char *)P2V(pool_pa(5)) - after;
            free_range(from, to);
            size_t n = 5 - (before + PGSIZE - 1) / PGSIZE - (after + PGSIZE - 1) / PGSIZE;
            assert_int_equal(kmem.count, n);
            kcache_drain(SIZE_MAX);
        }
    }
}

/* ---- Nothing at all ---- */

/* Two users free a page, and the second is a moment behind, so that it finds the page no more shared. */
static char *shared_page;

static void
the_other_user_frees(void)
{
    page_unshare(V2P(shared_page));
}

static void
two_cores_free_a_shared_page(void **state)
{
    (void)state;
    start_with(7, 400);
    shared_page = pages_kalloc();
    size_t count = kmem.count;
    assert_int_equal(page_share(V2P(shared_page)), 2);
    pool_meanwhile = the_other_user_frees;
    kfree(shared_page);
    assert_null(pool_meanwhile);
    assert_int_equal(kmem.count, count + 1);
    assert_ptr_equal(kmem.free_list, shared_page);
    assert_int_equal(page_refs(V2P(shared_page)), 0);
}

static void
without_zones(void **state)
{
    struct pmm_stats stats;

    (void)state;
    pool_start(0, 0, false);
    pages_start();
    pages_thorough = false;
    for (unsigned order = 0; order < 20; order++) {
        assert_int_equal(pages_alloc(order), 0);
        assert_int_equal(pages_free((uint64_t)PGSIZE << order, order), -EINVAL);
        assert_int_equal(pages_free_range((uint64_t)PGSIZE << order, order), -EINVAL);
        assert_int_equal(pages_share((uint64_t)PGSIZE << order), -EINVAL);
        assert_int_equal(pages_unshare((uint64_t)PGSIZE << order), -EINVAL);
        assert_int_equal(page_refs((uint64_t)PGSIZE << order), 0);
    }
    assert_int_equal(pages_free(0, 0), -EINVAL);
    assert_int_equal(pages_free_range(0, 1), -EINVAL);
    assert_int_equal(page_refs(0), 0);
    assert_null(pages_kalloc());
    assert_false(pages_kfree((char *)P2V(0)));
    assert_int_equal(pages_refill(), 0);
    assert_int_equal(pages_drain(5), 0);
    assert_false(pages_has_space(MEM_FRAMES, 1));
    assert_int_equal(pmm_wanted(WATERMARK_HIGH), 0);
    pmm_stats(&stats);
    assert_int_equal(stats.pages + stats.free + stats.zones + stats.largest + stats.fragmented, 0);
}

int
main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_zones),
        cmocka_unit_test(every_block_of_every_order_once),
        cmocka_unit_test(the_smallest_block_that_holds_it_is_split),
        cmocka_unit_test(wrong_frees_are_refused),
        cmocka_unit_test(every_run_out_of_blocks),
        cmocka_unit_test(four_pages_out_of_six),
        cmocka_unit_test(ranges_that_are_refused),
        cmocka_unit_test(as_many_users_as_there_may_be),
        cmocka_unit_test(space_for_every_size),
        cmocka_unit_test(space_in_the_cache_counts),
        cmocka_unit_test(watermarks_and_counts),
        cmocka_unit_test(pages_come_and_go_in_batches),
        cmocka_unit_test(a_refill_that_ends_early),
        cmocka_unit_test(a_large_block_drains_the_cache),
        cmocka_unit_test(kfree_refuses_and_drops),
        cmocka_unit_test(two_cores_free_a_shared_page),
        cmocka_unit_test(counting_the_list),
        cmocka_unit_test(free_range_takes_whole_pages_only),
        cmocka_unit_test(half_of_the_pages_in_use),
        cmocka_unit_test(millions_of_random_calls),
    };

    if (argc > 1) {
        steps = strtoul(argv[1], NULL, 10);
    }
    return cmocka_run_group_tests_name("pmm", tests, NULL, NULL);
}
