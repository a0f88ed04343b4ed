/*
 * kern/kalloc.c: every page once and none else, whatever the order; junk; and pointers that kfree must refuse.
 */
#include "lib.h"

#include "kalloc.h"
#include "machine.h"

#define PAGES   1100
#define STEPS   200000
#define NUMBERS (PGSIZE / sizeof(uint64_t))

/* The pages, drained: each once. Returns how many. */
static size_t
drain(char *list[])
{
    static bool got[MACHINE_PAGES];
    size_t n = 0;
    char *page;

    memset(got, 0, sizeof(got));
    while ((page = kalloc()) != NULL) {
        size_t i = machine_index(page);
        assert_true(i < machine_pages() && !got[i]);
        got[i] = true;
        memset(page, 0x5a, PGSIZE);
        list[n++] = page;
    }
    assert_int_equal(kmem.free_list, NULL);
    return n;
}

static void
every_page_exactly_once(void **state)
{
    static const size_t sizes[][2] = {{PAGES, 0}, {PAGES, 7}, {1, 0}, {2, 1}, {0, 0}, {37, 36}};
    static char *list[MACHINE_PAGES];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        machine_start(sizes[i][0], sizes[i][1]);
        assert_int_equal(machine_count_free(), sizes[i][0]);
        for (int round = 0; round < 3; round++) {
            size_t n = drain(list);
            assert_int_equal(n, sizes[i][0]);
            assert_null(kalloc());
            for (size_t j = 0; j < n; j++) {
                kfree(list[j]);
            }
        }
    }
}

/* A page holds its own number until it is freed. */
static void
pages_in_use_stay_as_they_are(void **state)
{
    static uint64_t *list[MACHINE_PAGES];
    static char *rest[MACHINE_PAGES];
    uint64_t seed = 1;
    size_t n = 0;

    (void)state;
    machine_start(PAGES, 100);
    for (size_t step = 0; step < STEPS; step++) {
        /* Waves: mostly kalloc, then mostly kfree. */
        if (random_below(&seed, 10) < (step / 5000 % 2 ? 3 : 7)) {
            uint64_t *page = (uint64_t *)(void *)kalloc();
            assert_int_equal(page == NULL, n == PAGES);
            if (page) {
                page[0] = page[200] = page[NUMBERS - 1] = (uint64_t)page;
                list[n++] = page;
            }
        } else if (n > 0) {
            size_t i = random_below(&seed, n);
            uint64_t *page = list[i];
            assert_true(page[0] == (uint64_t)page && page[200] == page[0]
                        && page[NUMBERS - 1] == page[0]);
            list[i] = list[--n];
            kfree((char *)page);
        }
        if (step % 1000 == 0) {
            assert_int_equal(machine_count_free(), PAGES - n);
        }
    }
    assert_int_equal(drain(rest), PAGES - n);
}

/* Nothing of what was in the page is left. */
static void
kfree_fills_with_junk(void **state)
{
    static char first[PGSIZE];

    (void)state;
    machine_start(3, 0);
    for (int byte = 0; byte < 256; byte++) {
        char *page = kalloc();
        memset(page, byte, PGSIZE);
        kfree(page);
        assert_ptr_equal(kalloc(), page); /* the last one freed comes first */
        if (byte == 0) {
            memcpy(first, page, PGSIZE);
            assert_int_not_equal(first[PGSIZE - 1], 0);
        }
        assert_memory_equal(page + sizeof(struct run), first + sizeof(struct run),
                            PGSIZE - sizeof(struct run));
        kfree(page);
    }
}

static void
free_it(void *page)
{
    kfree(page);
}

static void
bad_pointers_panic(void **state)
{
    static char *list[MACHINE_PAGES];

    (void)state;
    machine_start(40, 10);
    char *page = kalloc();
    for (size_t offset = 1; offset < PGSIZE; offset++) {
        assert_non_null(machine_panics(free_it, page + offset));
    }
    char *first = machine_page(0), *last = machine_page(39), *ninth = machine_page(9);
    char *bad[] = {NULL,
                   (char *)PGSIZE,
                   first - PGSIZE,
                   last + PGSIZE,
                   ninth + PGSIZE,    /* between two ranges */
                   (char *)V2P(page), /* the physical address */
                   P2V(0),
                   P2V(0x3f000000),
                   (char *)-PGSIZE,
                   (char *)UINT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_non_null(machine_panics(free_it, bad[i]));
    }
    kfree(page);
    assert_int_equal(drain(list), 40);
}

static void
free_range_takes_whole_pages_only(void **state)
{
    static char *list[MACHINE_PAGES];

    (void)state;
    for (size_t before = 0; before <= PGSIZE + 1; before += 1 + before % 2 * (PGSIZE - 3)) {
        for (size_t after = 0; after <= PGSIZE + 1; after += 1 + after % 2 * (PGSIZE - 3)) {
            machine_start(5, 0);
            machine_take_all();
            char *from = (char *)machine_page(0) + before,
                 *to = (char *)machine_page(4) + PGSIZE - after;
            machine_call(false);
            free_range(from, to);
            size_t pages = 5 - (before + PGSIZE - 1) / PGSIZE - (after + PGSIZE - 1) / PGSIZE;
            assert_int_equal(machine_count_free(), pages);
            machine_adopt();
            assert_int_equal(drain(list), pages);
        }
    }
    machine_start(5, 0);
    machine_take_all();
    free_range((char *)machine_page(1) + 1, (char *)machine_page(2) + 1);
    free_range(machine_page(3), machine_page(3));
    free_range(machine_page(4), machine_page(2));
    assert_null(kmem.free_list);
}

/* A list that a bug has made into a ring does not hang the count. */
static void
counting_a_ring_ends(void **state)
{
    (void)state;
    machine_start(3, 0);
    machine_take_all();
    struct run *page = machine_page(0);
    page->next = page;
    kmem.free_list = page;
    phystop = 100 * PGSIZE;
    assert_int_equal(count_free_pages(), 100);
    kmem.free_list = NULL;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_exactly_once),
        cmocka_unit_test(pages_in_use_stay_as_they_are),
        cmocka_unit_test(kfree_fills_with_junk),
        cmocka_unit_test(bad_pointers_panic),
        cmocka_unit_test(free_range_takes_whole_pages_only),
        cmocka_unit_test(counting_a_ring_ends),
    };

    return cmocka_run_group_tests_name("kalloc", tests, NULL, NULL);
}
