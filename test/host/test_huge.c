/*
 * What costs how much on machines of 64 MiB to 1 TiB: none of their memory is there before it is touched. The code
 * under test is compiled to count the basic blocks that it runs through (operations, below), so the figures are
 * the same in every run; times are not looked at.
 */
#include "lib.h"

#include <sys/mman.h>

#include "kalloc.h"
#include "memmap.h"
#include "pmm.h"
#include "pool.h"

#define BASE    (1UL << 40)
#define BANKS   4
#define LARGEST (1UL << (PMM_ORDERS - 1))
#define WINDOW  (MEMMAP_FRAMES * (uint64_t)PGSIZE)

static uint64_t operations;

void __sanitizer_cov_trace_pc(void); // NOLINT(bugprone-reserved-identifier): the compiler's name

void
__sanitizer_cov_trace_pc(void)
{
    operations++;
}

#define OPERATIONS(statement) (operations = 0, (void)(statement), operations)

/* ---- Machines ---- */

static const struct {
    const char *name;
    uint64_t size;
} machines[] = {
    {"64 MiB", 1UL << 26},
    {"8 GiB", 1UL << 33},
    {"64 GiB", 1UL << 36},
    {"1 TiB", 1UL << 40},
};
#define MACHINES ARRAY_SIZE(machines)
static size_t nmachines = MACHINES; /* an argument says how many of them */

static size_t
pages_of(size_t m)
{
    return machines[m].size / PGSIZE;
}

/* Between two banks: whole largest blocks. */
static uint64_t
hole_of(size_t m)
{
    return MAX(machines[m].size / 64, LARGEST * PGSIZE);
}

static uint64_t
bank_start(size_t m, size_t bank)
{
    return BASE + bank * (machines[m].size / BANKS + hole_of(m));
}

/* How many pages of memory, from this address on, have been touched. */
static size_t
touched(const void *from, size_t n)
{
    static unsigned char there[1 << 16];
    size_t found = 0;

    for (size_t at = 0; at < n; at += sizeof(there) * PGSIZE) {
        size_t part = MIN(n - at, sizeof(there) * PGSIZE);
        memset(there, 0, sizeof(there));
        assert_int_equal(mincore((char *)(uintptr_t)from + at, part, there), 0);
        for (size_t i = 0; i < (part + PGSIZE - 1) / PGSIZE; i++) {
            found += there[i] & 1;
        }
    }
    return found;
}

static void
start(size_t m)
{
    pool_start(BASE, WINDOW, false);
    assert_int_equal(madvise(P2V(BASE), WINDOW, MADV_NOHUGEPAGE), 0);
    assert_int_equal(madvise(P2V(BASE), WINDOW, MADV_DONTNEED), 0);
    for (size_t i = 0; i < BANKS; i++) {
        pool_bank(bank_start(m, i), bank_start(m, i) + machines[m].size / BANKS);
    }
    pool_banks_done();
    assert_true(pool_fill_memmap());
}

/* In proportion to memory, more or less. */
static void
assert_grows_with_memory(const uint64_t figure[])
{
    for (size_t m = 1; m < nmachines; m++) {
        double growth = (double)figure[m] / (double)figure[m - 1];
        double memory = (double)machines[m].size / (double)machines[m - 1].size;
        assert_true(growth > memory / 4 && growth < memory * 2);
    }
}

/* Memory grows 16384 times. What blocks there are is a matter of chance, so a little more or less may be. */
static void
assert_does_not_grow(const uint64_t figure[], uint64_t each)
{
    for (size_t m = 1; m < nmachines; m++) {
        assert_true(figure[m] <= figure[0] + figure[0] / 2 + 20 * each);
    }
}

/* Divided by `each`, to two places. */
static void
print_row(const char *what, const uint64_t figure[], uint64_t each)
{
    print_message("[          ] %-42s", what);
    for (size_t m = 0; m < nmachines; m++) {
        print_message(" %14.2f", (double)figure[m] / (double)each);
    }
    print_message("\n");
}

/* ---- The workloads ---- */

#define PAIRS  1000
#define BLOCKS 1000

static uint64_t seed;

enum {
    INIT,
    INIT_BYTES,
    INIT_TOUCHED,
    PAIR,
    PAIR_RANDOM,
    KALLOC_PAIR,
    SPACE,
    STATS,
    RANGE_PAGE,
    RANGE_ORDER_0,
    RANGE_ORDER_10,
    RANGE_PART,
    RANGE_BLOCKS,
    MAP_FRAME,
    MAP_FULL,
    FIGURES
};
static uint64_t figure[FIGURES][MACHINES];

static void
measure_memmap(size_t m)
{
    size_t n = pages_of(m);

    /* One by one, with all in front taken: the search goes on where it ended. */
    assert_int_not_equal(alloc_frames(n / BANKS - 100), 0);
    figure[MAP_FRAME][m] = 0;
    for (int i = 0; i < 80; i++) {
        figure[MAP_FRAME][m] += OPERATIONS(alloc_frame());
    }
    for (int i = 1; i < BANKS; i++) {
        assert_int_not_equal(alloc_frames(n / BANKS), 0);
    }
    assert_int_not_equal(alloc_frames(20), 0);
    figure[MAP_FULL][m] = OPERATIONS(alloc_frame());
    assert_int_equal(alloc_frame(), 0);
}

static void
measure_init(size_t m)
{
    size_t table_bytes = 0, pages = 0;
    bool done = false;

    figure[INIT][m] = OPERATIONS(done = pmm_init());
    assert_true(done);
    table_bytes += frames.n;
    pages += touched(frames.state, frames.n);
    for (size_t z = 0; z < nzones; z++) {
        size_t bytes = (zones[z].n + PMM_ORDERS) * sizeof(struct link);
        table_bytes += bytes;
        pages += touched(zones[z].link, bytes);
    }
    figure[INIT_BYTES][m] = table_bytes;
    figure[INIT_TOUCHED][m] = pages * PGSIZE;
    /* Nothing else has been touched: no page that can be handed out. */
    if (m == 0) {
        size_t all = 0;
        for (size_t i = 0; i < BANKS; i++) {
            all += touched(P2V(bank_start(m, i)), machines[m].size / BANKS);
        }
        assert_int_equal(all, pages);
    }
}

static void
measure_pairs(size_t m)
{
    static struct {
        uint64_t pa;
        unsigned order;
    } held[BLOCKS];

    uint64_t pa = 0, one = pmm_alloc(0); /* so that nothing has to be split for the next */
    for (int i = 0; i < PAIRS; i++) {
        figure[PAIR][m] += OPERATIONS(pa = pmm_alloc(0)) + OPERATIONS(pmm_free(pa, 0));
    }
    for (int i = 0; i < PAIRS; i++) {
        char *page = NULL;
        figure[KALLOC_PAIR][m] += OPERATIONS(page = kalloc()) + OPERATIONS(kfree(page));
    }
    kcache_drain(SIZE_MAX);
    assert_int_equal(pmm_free(one, 0), 0);
    /* Among blocks of orders 0 to 6, of which some go and others come. */
    memset(held, 0, sizeof(held));
    seed = 1;
    for (int i = 0; i < 20 * PAIRS; i++) {
        size_t j = random_below(&seed, BLOCKS);
        if (held[j].pa != 0) {
            figure[PAIR_RANDOM][m] += OPERATIONS(pmm_free(held[j].pa, held[j].order));
            held[j].pa = 0;
        } else {
            held[j].order = (unsigned)random_below(&seed, 7);
            figure[PAIR_RANDOM][m] += OPERATIONS(held[j].pa = pmm_alloc(held[j].order));
            assert_int_not_equal(held[j].pa, 0);
        }
    }
    figure[SPACE][m] =
        OPERATIONS(mem_has_space(MEM_FRAMES, PGSIZE << 9)) + OPERATIONS(pmm_wanted(WATERMARK_HIGH));
    struct pmm_stats stats;
    figure[STATS][m] = OPERATIONS(pmm_stats(&stats));
    for (size_t j = 0; j < BLOCKS; j++) {
        if (held[j].pa != 0) {
            assert_int_equal(pmm_free(held[j].pa, held[j].order), 0);
        }
    }
}

static int
compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static uint64_t
must_alloc(unsigned order)
{
    uint64_t pa = pmm_alloc(order);

    assert_int_not_equal(pa, 0);
    return pa;
}

/* Up to 1 GiB in a row, in blocks of 4 MiB. Returns how many operations that takes for each of them. */
static uint64_t
range_of_many(size_t m)
{
    size_t max = pages_of(m) / LARGEST, n = 0, row = 1;
    uint64_t *list = malloc(max * sizeof(*list)), pa;

    assert_non_null(list);
    while (n < max && (pa = pmm_alloc(PMM_ORDERS - 1)) != 0) {
        list[n++] = pa;
    }
    qsort(list, n, sizeof(*list), compare);
    while (row < MIN(n, (size_t)256) && list[row] == list[0] + row * LARGEST * PGSIZE) {
        row++;
    }
    assert_true(row > 1);
    operations = 0;
    int error = pmm_free_range(list[0], row * LARGEST);
    uint64_t each = operations / row;
    assert_int_equal(error, 0);
    for (size_t i = row; i < n; i++) {
        assert_int_equal(pmm_free(list[i], PMM_ORDERS - 1), 0);
    }
    free(list);
    return each;
}

static void
measure_ranges(size_t m)
{
    uint64_t pa = must_alloc(3);

    figure[RANGE_PAGE][m] = OPERATIONS(pmm_free_range(pa + PGSIZE, 1)); /* out of eight */
    assert_int_equal(pmm_free_range(pa, 1) + pmm_free_range(pa + 2 * PGSIZE, 6), 0);
    pa = must_alloc(0);
    figure[RANGE_ORDER_0][m] = OPERATIONS(pmm_free_range(pa, 1));
    pa = must_alloc(PMM_ORDERS - 1);
    figure[RANGE_ORDER_10][m] = OPERATIONS(pmm_free_range(pa, LARGEST));
    pa = must_alloc(PMM_ORDERS - 1);
    figure[RANGE_PART][m] = OPERATIONS(pmm_free_range(pa + 100 * PGSIZE, 800));
    assert_int_equal(pmm_free_range(pa, 100) + pmm_free_range(pa + 900 * PGSIZE, LARGEST - 900), 0);
    figure[RANGE_BLOCKS][m] = range_of_many(m);
}

static void
from_64_mib_to_1_tib(void **state)
{
    struct pmm_stats before, after;

    (void)state;
    for (size_t m = 0; m < nmachines; m++) {
        start(m);
        measure_memmap(m);
        start(m);
        measure_init(m);
        pmm_stats(&before);
        measure_pairs(m);
        measure_ranges(m);
        pmm_stats(&after);
        assert_memory_equal(&before, &after, sizeof(before));
    }
    if (figure[PAIR][0] == 0) {
        return; /* compiled without counting */
    }
    print_message("[          ] %-42s", "");
    for (size_t m = 0; m < nmachines; m++) {
        print_message(" %14s", machines[m].name);
    }
    print_message("\n");
    print_row("pmm_init: operations, in thousands", figure[INIT], 1000);
    print_row("pmm_init: tables, KiB", figure[INIT_BYTES], 1024);
    print_row("pmm_init: memory touched, KiB", figure[INIT_TOUCHED], 1024);
    print_row("pmm_stats: operations, in thousands", figure[STATS], 1000);
    print_row("memmap full: a search in vain, thousands", figure[MAP_FULL], 1000);
    print_row("alloc_frame, one after the other", figure[MAP_FRAME], 80);
    print_row("pmm_alloc and pmm_free, one page", figure[PAIR], PAIRS);
    print_row("pmm_alloc or pmm_free, random orders", figure[PAIR_RANDOM], 20 * PAIRS);
    print_row("kalloc and kfree", figure[KALLOC_PAIR], PAIRS);
    print_row("mem_has_space and pmm_wanted", figure[SPACE], 1);
    print_row("pmm_free_range: one page of eight", figure[RANGE_PAGE], 1);
    print_row("pmm_free_range: a block of one page", figure[RANGE_ORDER_0], 1);
    print_row("pmm_free_range: a block of 1024 pages", figure[RANGE_ORDER_10], 1);
    print_row("pmm_free_range: 800 pages of such a block", figure[RANGE_PART], 1);
    print_row("pmm_free_range: of many such, for each", figure[RANGE_BLOCKS], 1);

    assert_grows_with_memory(figure[INIT]);
    assert_grows_with_memory(figure[INIT_BYTES]);
    assert_grows_with_memory(figure[STATS]);
    for (size_t m = 0; m < nmachines; m++) {
        size_t n = pages_of(m), holes = (BANKS - 1) * hole_of(m) / PGSIZE;
        /* 9 bytes for each frame, and one for each that the holes have. */
        assert_true(figure[INIT_BYTES][m] <= 9 * n + holes + BANKS * 2 * PGSIZE);
        /* The states; and of the links, those of the blocks that there are. */
        size_t states = n + holes, links = (n / LARGEST + 30 * BANKS) * PGSIZE;
        assert_true(figure[INIT_TOUCHED][m] <= states + MIN(links, 8 * n) + BANKS * 4 * PGSIZE);
        assert_true(figure[MAP_FULL][m] < (n + holes) / 8 + 1000); /* word by word */
    }
    /* Nor is it the pages of a range that count, but its blocks. */
    assert_true(figure[RANGE_ORDER_10][0] < 4 * figure[RANGE_ORDER_0][0]);
    assert_true(figure[RANGE_PART][0] < 20 * figure[RANGE_ORDER_0][0]);
    assert_does_not_grow(figure[MAP_FRAME], 80);
    assert_does_not_grow(figure[PAIR], PAIRS);
    assert_does_not_grow(figure[PAIR_RANDOM], 20 * PAIRS);
    assert_does_not_grow(figure[KALLOC_PAIR], PAIRS);
    assert_does_not_grow(figure[SPACE], 1);
    assert_does_not_grow(figure[RANGE_PAGE], 1);
    assert_does_not_grow(figure[RANGE_ORDER_0], 1);
    assert_does_not_grow(figure[RANGE_ORDER_10], 1);
    assert_does_not_grow(figure[RANGE_PART], 1);
    assert_does_not_grow(figure[RANGE_BLOCKS], 1);
}

int
main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_64_mib_to_1_tib),
    };

    if (argc > 1) {
        nmachines = MIN(strtoul(argv[1], NULL, 10), MACHINES);
    }
    return cmocka_run_group_tests_name("huge", tests, NULL, NULL);
}
