/*
 * From banks to kalloc (kern/frames.c, and pmm_init in kern/zone.c): what becomes of memory of every shape, and of
 * what there is no room to describe.
 */
#include "lib.h"

#include "frames.h"
#include "kalloc.h"
#include "memmap.h"
#include "pages.h"

#define MIB     (1UL << 20)
#define WINDOW  (3 * (uint64_t)MEMMAP_FRAMES * PGSIZE)
#define MAP_MIB (MEMMAP_FRAMES * PGSIZE / MIB) /* what the memmap has room for */

static uint64_t seed;

static bool
any(uint64_t pa)
{
    return pa != 0;
}

static void
start(uint64_t base)
{
    pool_start(base, WINDOW, true);
    machine_messages = 0;
    pages_thorough = false;
}

static void
call_frames_init(void *unused)
{
    (void)unused;
    frames_init();
}

/* All is known; frames_init has it, and now the pmm and kalloc have every usable page once. Returns how many. */
static size_t
boot(void)
{
    const char *message = machine_panics(call_frames_init, NULL);
    if (message) {
        broken("%s; %s; %zu zones", message, machine_said, nzones);
    }
    pool_check_locks("frames_init returned");
    pages_booted(any);
    pages_adopt_cache();
    pages_check();
    assert_int_equal(alloc_frame(), 0); /* the memmap has nothing left */

    size_t usable = 0, n;
    const struct range *r = ram_usable(&n);
    for (size_t i = 0; i < n; i++) {
        usable += (r[i].end - r[i].start) / PGSIZE - (r[i].start == 0); /* 0 means none */
    }
    return usable;
}

/* What the pmm's tables take, of frames that it can describe. */
static size_t
tables(size_t nframes)
{
    return (nframes + PGSIZE - 1) / PGSIZE
         + ((nframes + PMM_ORDERS) * sizeof(struct link) + PGSIZE - 1) / PGSIZE;
}

static void
check_use(size_t usable)
{
    char *page = pages_kalloc();
    uint64_t block = pages_alloc(3);

    assert_non_null(page);
    assert_int_not_equal(block, 0);
    assert_true(pages_kfree(page));
    assert_int_equal(pages_free_range(block + PGSIZE, 5), 0);
    pages_free_all();
    assert_int_equal(pages_take_all(), usable);
}

static void
one_bank(void **state)
{
    (void)state;
    start(0);
    pool_bank(0, 16 * MIB);
    pool_reserve(0, 700000);
    pool_banks_done();
    size_t usable = boot();
    assert_int_equal(usable, 4096 - 171 - tables(4096));
    assert_int_equal(nzones, 1);
    assert_int_equal(machine_messages, 0);
    assert_in_range(kmem.count, 1, KCACHE_MAX);
    assert_int_equal(zones[0].pages, usable);
    assert_int_equal(zones[0].watermark[WATERMARK_MIN], usable / 256);
    assert_int_equal(zones[0].watermark[WATERMARK_LOW], usable / 256 + usable / 256 / 4);
    assert_int_equal(zones[0].watermark[WATERMARK_HIGH], usable / 256 + usable / 256 / 2);
    check_use(usable);
}

/* Tables go where there is room: at the end, when the kernel has split the rest. */
static void
holes_of_all_kinds(void **state)
{
    (void)state;
    start(0x40000000);
    pool_bank(0x40000000 + 123, 0x40000000 + 9 * MIB + 5000);
    pool_bank(0x40000000 + 13 * MIB + 1, 0x40000000 + 23 * MIB);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t at = 0x40000000 + i * (MIB / 5) + 77;
        pool_reserve(at, at + i * 300);
    }
    pool_banks_done();
    size_t usable = boot();
    assert_int_equal(nzones, 2);
    check_use(usable);
}

static void
sixteen_banks(void **state)
{
    (void)state;
    start(0x40000000);
    for (uint64_t i = 0; i < ZONES_MAX; i++) {
        uint64_t at = 0x40000000 + i * 2 * MIB - (i % 3) * PGSIZE;
        pool_bank(at, at + MIB + i * 12345);
    }
    pool_bank(0x40000000 + 49 * MIB,
              0x40000000 + 50 * MIB); /* one more, which kern/ram.c has no room for */
    assert_int_equal(machine_messages, 1);
    pool_banks_done();
    size_t usable = boot();
    assert_int_equal(nzones, ZONES_MAX);
    assert_int_equal(machine_messages, 1);
    check_use(usable);
}

/* Each starts where the last block of the one before it would have gone on. */
static void
banks_within_one_block(void **state)
{
    (void)state;
    start(0);
    for (uint64_t i = 0; i < 10; i++) {
        pool_bank(i * 37 * PGSIZE, (i * 37 + 36) * PGSIZE);
    }
    pool_banks_done();
    size_t usable = boot();
    assert_int_equal(nzones, 10);
    check_use(usable);
}

/* More than the memmap has bits for: the rest is nobody's, and a message says so. */
static void
banks_above_the_map(void **state)
{
    (void)state;
    start(0x40000000);
    pool_bank(0x40000000, 0x40000000 + 5 * MIB);
    pool_bank(0x40000000 + 8 * MIB, 0x40000000 + (MAP_MIB + 3) * MIB);
    pool_bank(0x40000000 + (MAP_MIB + 5) * MIB, 0x40000000 + (MAP_MIB + 9) * MIB);
    pool_banks_done();
    size_t usable = boot();
    assert_int_equal(nzones, 2);
    assert_int_equal(machine_messages, 1);
    assert_non_null(strstr(machine_said, "no room in the memmap"));
    assert_int_equal(memmap_get()->max_frames, MEMMAP_FRAMES);
    assert_true(page_owned(0x40000000 + (MAP_MIB - 1) * MIB));
    assert_false(page_owned(0x40000000 + MAP_MIB * MIB));
    assert_false(page_owned(0x40000000 + (MAP_MIB + 5) * MIB));
    check_use(usable);
}

/* There are frames, but never enough of them in a row for a link to each: half of a bank, and half of that. */
static void
no_room_for_the_links(void **state)
{
    (void)state;
    for (uint64_t gap = 2; gap <= 12; gap++) {
        start(0x40000000);
        pool_bank(0x40000000, 0x40000000 + 16 * MIB);
        pool_bank(0x40000000 + 20 * MIB, 0x40000000 + 36 * MIB);
        for (uint64_t i = 64 * gap; i < 16 * MIB / PGSIZE; i += 64 * gap) {
            pool_reserve(0x40000000 + i * PGSIZE, 0x40000000 + (i + 1) * PGSIZE);
        }
        pool_banks_done();
        size_t usable = boot();
        assert_int_equal(nzones, 2);
        check_use(usable);
    }
    /* One bank of two, in which nothing longer than six pages is free; and so the other is too large. */
    start(0x40000000);
    pool_bank(0x40000000, 0x40000000 + 16 * MIB);
    pool_bank(0x40000000 + 20 * MIB, 0x40000000 + 20 * MIB + 7 * PGSIZE);
    pool_reserve(0x40000000 + 300 * PGSIZE, 0x40000000 + 16 * MIB);
    for (uint64_t i = 6; i < 300; i += 7) {
        pool_reserve(0x40000000 + i * PGSIZE, 0x40000000 + (i + 1) * PGSIZE);
    }
    pool_banks_done();
    size_t usable = boot();
    assert_int_equal(nzones, 2);
    assert_true(machine_messages > 0);
    assert_non_null(strstr(machine_said, "no room for the pmm's links"));
    pages_free_all();
    assert_int_equal(pages_take_all(), usable);
}

/*
 * A bank that is described in part, with usable memory behind a reserved page in the part that is not, and then
 * another bank: what is cut off does not become a part of that.
 */
static void
a_cut_bank_and_then_another(void **state)
{
    (void)state;
    start(0x40000000);
    pool_bank(0x40000000, 0x40000000 + 16 * MIB); /* its links take 9 pages */
    pool_bank(0x40000000 + 20 * MIB, 0x40000000 + 20 * MIB + 8 * PGSIZE);
    for (uint64_t i = 0; i < 4096; i += i < 1900 ? 100 : 8) {
        if (i > 2100 && i < 4000) { /* reserved as a whole */
            continue;
        }
        pool_reserve(0x40000000 + i * PGSIZE, 0x40000000 + (i + (i < 1900 ? 92 : 1)) * PGSIZE);
    }
    pool_reserve(0x40000000 + 2100 * PGSIZE, 0x40000000 + 4001 * PGSIZE);
    pool_banks_done();
    size_t usable = boot();
    assert_int_equal(nzones, 2);
    assert_non_null(strstr(machine_said, "no room for the pmm's links"));
    assert_true(zones[0].n < 4096);
    assert_true(zones[1].pages <= 8);
    assert_false(page_owned(0x40000000 + 4090 * PGSIZE));
    check_use(usable);
}

/* pmm_init fails: the memmap apart, all is as it was. */
static void
no_room_for_the_tables(void **state)
{
    (void)state;
    for (size_t npages = 0; npages < 6; npages++) {
        for (size_t apart = 0; apart < 3; apart++) {
            start(0x40000000);
            pool_bank(0x40000000, 0x40000000 + 16 * MIB);
            for (size_t i = 0, at = 0; i <= npages; i++) {
                size_t next = i == npages ? 4096 : 100 + i * (1 + apart);
                pool_reserve(0x40000000 + at * PGSIZE, 0x40000000 + next * PGSIZE);
                at = next + 1;
            }
            pool_banks_done();
            struct range before[ARRAY_SIZE(((struct range[10]){{0}}))];
            memcpy(before, usable_ranges, sizeof(before));
            assert_int_equal(pool_fill_memmap(), true);
            if (pmm_init()) {
                assert_true(npages > 1);
                pages_booted(any);
                pages_check();
                continue;
            }
            assert_int_equal(nzones, 0);
            assert_int_equal(frames.n, 0);
            assert_memory_equal(before, usable_ranges, sizeof(before));
            assert_int_equal(pmm_alloc(0), 0);
            assert_int_equal(page_refs(0x40000000 + 100 * PGSIZE), 0);
        }
    }
    /* Without a memmap that describes anything. */
    start(0x40000000);
    pool_banks_done();
    assert_false(pool_fill_memmap());
    frames_init();
    assert_int_equal(nzones, 0);
    assert_null(kmem.free_list);
    assert_int_equal(machine_messages, 1);
    assert_non_null(strstr(machine_said, "no usable page"));
}

/* With a few pages, kalloc has none to begin with; the kernel says what it is that does not work. */
static void
hardly_any_memory(void **state)
{
    (void)state;
    for (size_t npages = 0; npages < 40; npages++) {
        start(0x40000000);
        pool_bank(0x40000000, 0x40000000 + npages * PGSIZE);
        pool_banks_done();
        const char *message = machine_panics(call_frames_init, NULL);
        if (message || machine_messages > 0) {
            assert_true(npages < 5);
            continue;
        }
        pages_booted(any);
        pages_adopt_cache();
        pages_check();
        assert_int_equal(pages.ncached + pages_free_count(), npages - 2);
    }
}

/* pmm_alloc gives nothing, as before it is written: then the zones, all of them, are there and empty. */
static void
no_pmm_alloc_yet(void **state)
{
    (void)state;
    start(0x40000000);
    for (uint64_t i = 0; i < 5; i++) {
        pool_bank(0x40000000 + i * 5 * MIB + i * PGSIZE, 0x40000000 + (i * 5 + 3) * MIB);
    }
    pool_banks_done();
    pool_fail(1);
    (void)machine_panics(call_frames_init, NULL); /* kalloc may not be able to do without */
    pool_fail(0);
    assert_true(nzones == 5 || nzones == 0); /* 0: nobody knows in which state they are */
    for (size_t z = 0; z < nzones; z++) {
        assert_int_equal(zones[z].free + zones[z].pages, 0);
        assert_int_equal(zones[z].base + zones[z].n * PGSIZE, 0x40000000 + (z * 5 + 3) * MIB);
        assert_int_equal(page_refs(zones[z].base + zones[z].n * PGSIZE - 1), 0);
    }
    assert_int_equal(pmm_alloc(0), 0);
}

/* Nor is it of any use when memmap_init fails, or pmm_alloc returns what is no block in use. */
static void
functions_that_are_wrong(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        start(0x40000000);
        pool_bank(0x40000000, 0x40000000 + 9 * MIB);
        pool_bank(0x40000000 + 16 * MIB, 0x40000000 + 20 * MIB);
        pool_banks_done();
        pool_no_memmap = wrong == 0;
        pool_forged = wrong == 1 ? 0x40000000 + 12 * MIB : 0x40000000 + MIB; /* no RAM; free */
        (void)machine_panics(call_frames_init, NULL);
        assert_true(nzones == 0 || (wrong > 0 && nzones == 2));
    }
    pool_no_memmap = false;
    for (pool_forged = 0, seed = 1; seed <= 2; seed++) {
        start(0x40000000);
        pool_bank(0x40000000, 0x40000000 + 9 * MIB);
        pool_banks_done();
        pool_panics = (int)seed;
        (void)machine_panics(call_frames_init, NULL);
        assert_int_equal(nzones, 0);
        const char *lock;
        spinlocks_reset(&lock);
    }
}

/* What somebody has taken from the memmap before is not the pmm's. */
static void
frames_taken_early(void **state)
{
    (void)state;
    start(0x40000000);
    pool_bank(0x40000000, 0x40000000 + 16 * MIB);
    pool_banks_done();
    assert_true(pool_fill_memmap());
    uint64_t one = alloc_frame(), many = alloc_frames(30);
    assert_int_equal(free_frame(many + 7 * PGSIZE), 0);
    assert_true(pmm_init());
    assert_int_equal(zones[0].pages, 4096 - 30 - tables(4096));
    assert_int_equal(zones[0].free, zones[0].pages);
    assert_int_equal(free_frame(one), -22); /* and it cannot be given back any more */
    while (pmm_alloc(0) != 0) {}
    assert_int_equal(page_refs(one) + page_refs(many), 0);
    assert_int_equal(page_refs(many + 7 * PGSIZE), 1);
    assert_int_equal(pmm_free(one, 0), -22);
}

static void
random_banks(void **state)
{
    size_t cut = 0;

    (void)state;
    for (uint64_t round = 0; round < 400; round++) {
        seed = round;
        start(round % 2 ? 0 : 0x40000000);
        uint64_t base = round % 2 ? 0 : 0x40000000;
        for (uint64_t n = 1 + random_below(&seed, 8); n > 0; n--) {
            uint64_t at = base + random_below(&seed, MAP_MIB * MIB * 5 / 4);
            pool_bank(at, at + random_below(&seed, random_below(&seed, 3) ? MIB : 20 * MIB));
        }
        pool_reserve(base, base + random_below(&seed, 2 * MIB));
        for (uint64_t n = random_below(&seed, 100); n > 0; n--) {
            uint64_t at = base + random_below(&seed, MAP_MIB * MIB);
            pool_reserve(at, at + random_below(&seed, MIB / 4));
        }
        pool_banks_done();
        size_t longest = 0, n;
        const struct range *r = ram_usable(&n);
        for (size_t i = 0; i < n; i++) {
            longest = MAX(longest, (r[i].end - r[i].start) / PGSIZE);
        }
        if (longest < 16) { /* nothing to begin with */
            continue;
        }
        size_t usable = boot();
        cut += machine_messages > 0;
        pages_free_all();
        assert_int_equal(pages_take_all(), usable);
    }
    print_message("[          ] 400 machines, %zu of them with memory cut off\n", cut);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_bank),
        cmocka_unit_test(holes_of_all_kinds),
        cmocka_unit_test(sixteen_banks),
        cmocka_unit_test(banks_within_one_block),
        cmocka_unit_test(banks_above_the_map),
        cmocka_unit_test(no_room_for_the_links),
        cmocka_unit_test(a_cut_bank_and_then_another),
        cmocka_unit_test(no_room_for_the_tables),
        cmocka_unit_test(hardly_any_memory),
        cmocka_unit_test(no_pmm_alloc_yet),
        cmocka_unit_test(functions_that_are_wrong),
        cmocka_unit_test(frames_taken_early),
        cmocka_unit_test(random_banks),
    };

    return cmocka_run_group_tests_name("frames", tests, NULL, NULL);
}
