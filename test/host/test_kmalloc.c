/*
 * kmalloc over caches, or over the heap (test_kmalloc_heap.c): a million calls at random with memory running out,
 * sizes at every border, what mem_has_space says, and everything that kmfree must refuse. objects.c judges.
 */
#include "lib.h"

#include "heap.h"
#include "kalloc.h"
#include "objects.h"
#include "pmm.h"

#define LARGEST  (1UL << (PMM_ORDERS - 1))
#define FIRST_PA (0x40011 * LARGEST * PGSIZE) /* of the table: 1 TiB and more */

static unsigned long steps = 1000000; /* of the random run; an argument gives another number */
static uint64_t seed;

/* One bank, with so many pages; the heap has its first region. */
static void
start_with(size_t n)
{
    objects_start(FIRST_PA, n + 3);
    objects_bank(3, n);
    if (n > HEAP_PAGES) {
        objects_heap(HEAP_ORDER);
    }
    objects_thorough = true;
    objects_check();
}

/* ---- Sizes ---- */

/* A machine on which there is room for anything. */
static void
start_large(void)
{
    objects_start(FIRST_PA, 4 * LARGEST);
    objects_bank(3, 4 * LARGEST - 3);
    objects_heap(HEAP_ORDER);
    objects_thorough = true;
}

/* How many bytes there are for so many, by what the headers say. */
static size_t
expected_room(size_t size)
{
    size_t room = PGSIZE;

    if (KMALLOC_HEAP && size <= HEAP_MAX) {
        return ROUNDUP(size, HEAP_ALIGN);
    }
    if (size <= SLAB_MAX) {
        return slab_by_size[(size - 1) / SLAB_ALIGN]->size;
    }
    while (room < size) {
        room *= 2;
    }
    return room;
}

static void
check_room(const void *p, size_t size)
{
    size_t room = kmalloc_size(p), expected = expected_room(size);

    /* What is too little for a block of its own stays with the block before. */
    assert_in_range(room, expected, expected + (KMALLOC_HEAP && size <= HEAP_MAX ? HEAP_ALIGN : 0));
}

static void
try_size(size_t size)
{
    bool sane = size > 0 && size <= KMALLOC_MAX;
    void *p = objects_kmalloc(size, true);

    assert_int_equal(p != NULL, sane);
    if (!sane) {
        assert_null(objects_kzalloc(size));
        return;
    }
    check_room(p, size);
    assert_true(objects_kmfree(p));
    assert_false(objects_kmfree(p)); /* twice */
    p = objects_kzalloc(size);
    assert_non_null(p);
    assert_true(objects_kmfree(p));
}

static void
sizes_at_every_border(void **state)
{
    static const size_t odd[] = {0,
                                 1,
                                 2,
                                 SIZE_MAX,
                                 SIZE_MAX - 1,
                                 SIZE_MAX - 7,
                                 SIZE_MAX - 8,
                                 SIZE_MAX - 15,
                                 SIZE_MAX - 16,
                                 SIZE_MAX - 17,
                                 SIZE_MAX - 31,
                                 SIZE_MAX - 32,
                                 SIZE_MAX - 47,
                                 SIZE_MAX - PGSIZE + 1,
                                 SIZE_MAX - KMALLOC_MAX,
                                 SIZE_MAX / 2,
                                 SIZE_MAX / 2 + 1,
                                 1UL << 32,
                                 (1UL << 32) + 1,
                                 (1UL << 32) + 100};

    (void)state;
    start_large();
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        try_size(odd[i]);
    }
    for (size_t c = 0; c < SLAB_MAX / SLAB_ALIGN; c++) {
        for (size_t n = 0; n < 3; n++) {
            try_size((c + 1) * SLAB_ALIGN - 1 + n);
            try_size(slab_by_size[c]->size - 1 + n);
        }
    }
    for (size_t page = PGSIZE / 2; page <= 2 * KMALLOC_MAX; page *= 2) {
        for (size_t n = 0; n < 5; n++) {
            try_size(page - 2 + n);
            try_size(page - n * HEAP_ALIGN);
            try_size(page - n * HEAP_ALIGN + 1);
        }
    }
    for (size_t n = 0; n < 5; n++) {
        try_size(SLAB_MAX - 2 + n);
        try_size(HEAP_MAX - 2 + n);
        try_size(KMALLOC_MAX - 2 + n);
    }
    assert_true(mem_has_space(MEM_HEAP, 0)); /* nothing can be had: but there is space for it */
    assert_false(kmalloc_has_space(0));
    assert_int_equal(kmalloc_size(NULL), 0);
    assert_true(objects_kmfree(NULL));
    objects_end();
}

static void
hardly_anything_is_lost_to_rounding(void **state)
{
    (void)state;
    start_large();
    objects_thorough = false;
    for (size_t size = 1; size <= 3 * PGSIZE; size++) {
        char *p = objects_kmalloc(size, false), *next = objects_kmalloc(size, false);
        assert_int_equal((uint64_t)p % 16 + (uint64_t)next % 16, 0);
        check_room(p, size);
        if (KMALLOC_HEAP || size <= SLAB_MAX) {
            assert_true(kmalloc_size(p) < size + MAX(size / 4, (size_t)16));
        }
        objects_kmfree(p);
        objects_kmfree(next);
    }
    objects_end();
}

/* ---- With memory scarce ---- */

/* Pages for kalloc's list, some of which come back to it. */
static void
fill_kalloc(void)
{
    uint64_t list[80];
    size_t n = 0;

    while (n < random_below(&seed, ARRAY_SIZE(list))) {
        char *page = kalloc();
        if (!page) {
            break;
        }
        list[n++] = V2P(page);
    }
    while (n > 0) {
        kfree(P2V(list[--n]));
    }
}

/* mem_has_space says yes exactly when kmalloc then succeeds, in machines of a few pages. */
static void
space_for_a_kmalloc(void **state)
{
    size_t yes = 0, no = 0;

    (void)state;
    for (uint64_t round = 0; round < 30000; round++) {
        seed = round;
        size_t n = 1 + random_below(&seed, 60);
        objects_start(FIRST_PA, 100);
        objects_bank(random_below(&seed, 9), n);
        if (random_below(&seed, 2)) {
            objects_bank(80, 1 + random_below(&seed, 20));
        }
        if (n > 2 * HEAP_PAGES + 9 && random_below(&seed, 2)) {
            objects_heap((unsigned)random_below(&seed, HEAP_ORDER));
        }
        objects_thorough = false;
        size_t most = 1UL << (4 + random_below(&seed, 10));
        for (size_t i = random_below(&seed, 300); i > 0; i--) {
            if (random_below(&seed, 3) || objects.n == 0) {
                objects_kmalloc(1 + random_below(&seed, most), false);
            } else {
                objects_kmfree(objects.list[random_below(&seed, objects.n)].p);
            }
        }
        for (size_t i = 0; i < 8; i++) {
            if (random_below(&seed, 4) == 0) {
                fill_kalloc();
            }
            /* Empty chunks, which caches keep */
            while (objects.n > 0 && random_below(&seed, 20) > 0) {
                objects_kmfree(objects.list[random_below(&seed, objects.n)].p);
            }
            while (objects_free_pages() > random_below(&seed, 10) && objects_take_page() != 0) {}
            size_t size = random_below(&seed, 1UL << (5 + random_below(&seed, 12)));
            bool had = objects_kmalloc(size, true) != NULL;
            yes += had;
            no += !had;
            objects_check();
        }
    }
    print_message("[          ] %zu times there was space, %zu times none\n", yes, no);
}

/* The k-th pmm_alloc fails, and all after it: nothing is lost. */
static void
every_allocation_of_pages_fails_once(void **state)
{
    static const size_t sizes[] = {1,    16,   100,   1000,   2048,    2049,
                                   4096, 5000, 65536, 100000, HEAP_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (size_t k = 1; k < 8; k++) {
            start_large();
            for (size_t round = 0; round < 20; round++) {
                pool_fail(k);
                void *p = objects_kmalloc(sizes[i], false);
                void *q = objects_kzalloc(sizes[i]);
                struct slab *slab = objects_slab_create("any", 512, 512);
                if (slab) {
                    objects_slab_alloc(slab);
                }
                pool_fail(0);
                if (round % 3) {
                    objects_kmfree(p);
                    objects_kmfree(q);
                }
            }
            objects_end();
        }
    }
}

static void
without_any_memory(void **state)
{
    static char nobodys[2 * PGSIZE];

    (void)state;
    objects_start(FIRST_PA, 1);
    objects_thorough = true;
    for (size_t size = 0; size < 3 * PGSIZE; size += 5) {
        assert_null(objects_kmalloc(size, true));
        assert_null(objects_kzalloc(size));
    }
    assert_null(objects_kmalloc(HEAP_MAX, true));
    assert_null(objects_kmalloc(KMALLOC_MAX, true));
    assert_null(objects_slab_create("none", 64, 0));
    assert_false(objects_kmfree((void *)ROUNDUP(nobodys, PGSIZE)));
    assert_false(objects_kmfree((void *)P2V(FIRST_PA)));
    assert_true(objects_kmfree(NULL));
    assert_int_equal(objects_trim(), 0);
    objects_end();
}

/* ---- Wrong frees ---- */

/* They panic; and every now and then it is looked at what has changed. */
static void
try_wrong_frees(void *p)
{
    static unsigned tries;
    const struct object *o = objects_at(p);
    struct slab *other = slab_by_size[3];

    if (!o) {
        assert_int_equal(objects_kmfree(p), p == NULL);
    }
    if (!o || o->kind != OBJECT_HEAP) {
        assert_false(objects_heap_free(p));
    }
    if (!o || o->slab != other) {
        assert_false(objects_slab_free(other, p));
    }
    if (++tries % 64 == 0 && pool_changed()) {
        broken("one of the last 64 wrong frees, of up to %p, has changed something", p);
    }
}

/* Wherever no object in use begins, kmfree, heap_free and slab_free panic, and nothing has changed. */
static void
everything_else_is_refused(void **state)
{
    static const uint64_t far[] = {1,         8,         15,        16,        4096,
                                   1UL << 20, 1UL << 39, 1UL << 47, 1UL << 48, 1UL << 63,
                                   ~0UL,      ~15UL,     ~4095UL,   ~4096UL,   (1UL << 63) - 16};

    (void)state;
    start_with(60);
    objects_bank(80, 7);
    struct slab *slab = objects_slab_create("odd", 200, 0);
    struct slab *page = objects_slab_create("pages", 2048, PGSIZE);
    seed = 7;
    /* A chunk that is full, others that are not, one that is kept; large objects; the heap in pieces. */
    for (size_t i = 0; i < 90; i++) {
        objects_slab_alloc(slab);
        objects_heap_alloc(1 + random_below(&seed, 700));
        objects_kmalloc(48, false);
    }
    objects_slab_alloc(page);
    objects_kmalloc(PGSIZE + 1, false);
    void *large = objects_kmalloc(3 * PGSIZE, false);
    void *kept = objects_kmalloc(1000, false);
    objects_kmfree(kept);
    for (size_t i = 0; i < 100; i++) {
        size_t which = random_below(&seed, objects.n);
        if (!objects.list[which].is_cache && objects.list[which].kind == OBJECT_HEAP) {
            objects_heap_free(objects.list[which].p);
        } else if (!objects.list[which].is_cache) {
            objects_kmfree(objects.list[which].p);
        }
    }
    if (objects_at(large)) {
        objects_kmfree(large);
    }
    objects_check();
    objects_thorough = false;
    pool_save();
    uint64_t first = (uint64_t)P2V(pool_pa(0)), stop = first + 87 * PGSIZE;
    for (uint64_t at = first - PGSIZE; at < stop + PGSIZE; at += 16) {
        try_wrong_frees((void *)at);
    }
    for (uint64_t at = first; at < stop; at += 37) {
        try_wrong_frees((void *)at);
    }
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        try_wrong_frees((void *)far[i]);
        try_wrong_frees((void *)(first + far[i]));
        try_wrong_frees((void *)(first - far[i]));
    }
    try_wrong_frees(NULL);
    try_wrong_frees(slab_by_size[0]);
    assert_false(pool_changed());
    objects_end();
}

/* ---- Another core ---- */

static int countdown, action;
static size_t other_size;
static void *others;

/* Before the lock after so many others. */
static void
other_core(void)
{
    if (--countdown > 0) {
        pool_meanwhile = other_core;
    } else if (action == 0) {
        others = kmalloc(other_size);
    } else if (action == 1) {
        kmfree(others);
        others = NULL;
    } else {
        slabs_trim();
    }
}

/* One core takes an object and frees all that there are; another does one of these, before the at-th lock. */
static void
two_at_once(size_t size, size_t nobjects, int at)
{
    static void *list[100];

    start_with(180);
    other_size = size;
    for (size_t i = 0; i < nobjects; i++) {
        list[i] = kmalloc(size);
    }
    others = action == 1 ? kmalloc(size) : NULL;
    countdown = at;
    pool_meanwhile = other_core;
    void *mine = kmalloc(size);
    for (size_t i = nobjects; i > 0; i--) {
        kmfree(list[i - 1]);
    }
    pool_meanwhile = NULL;
    assert_non_null(mine);
    objects_adopt(mine, size);
    if (others) {
        objects_adopt(others, size);
    }
    objects_end();
}

static void
two_cores(void **state)
{
    static const size_t sizes[] = {100, 2000, 6000};

    (void)state;
    for (int at = 1; at < 14; at++) {
        for (action = 0; action < 3; action++) {
            for (size_t nobjects = 0; nobjects < 90; nobjects += 9) {
                two_at_once(100, nobjects, at);
            }
            for (size_t nobjects = 0; nobjects < 42; nobjects++) {
                two_at_once(sizes[nobjects % 3], nobjects / 3, at);
            }
            for (size_t nobjects = 25; nobjects < 40; nobjects++) {
                two_at_once(2000, nobjects, at);
            }
        }
    }
}

/* ---- At random ---- */

#define RUN_FRAMES (3 * LARGEST)

static uint64_t held[RUN_FRAMES]; /* pages that somebody else has */
static size_t nheld;

/* From 1 byte to 64 KiB, as many of one magnitude as of another. */
static size_t
random_size(void)
{
    size_t most = 1UL << random_below(&seed, 17);

    return 1 + random_below(&seed, most);
}

/* Somebody else wants pages: some, or all that there are; or gives some back. */
static void
other_user(void)
{
    uint64_t what = random_below(&seed, 40);

    if (what < 2) {
        for (size_t n = what == 0 ? SIZE_MAX : random_below(&seed, 500); n > 0; n--) {
            uint64_t pa = objects_take_page();
            if (pa == 0) {
                break;
            }
            held[nheld++] = pa;
        }
        return;
    }
    for (size_t n = random_below(&seed, what < 8 ? 600 : 20); n > 0 && nheld > 0; n--) {
        size_t i = random_below(&seed, nheld);
        objects_give_page(held[i]);
        held[i] = held[--nheld];
    }
}

static void
wrong_free(void)
{
    char *p = (char *)P2V(FIRST_PA) + random_below(&seed, RUN_FRAMES * PGSIZE);

    if (objects.n > 0 && random_below(&seed, 2)) {
        const struct object *o = &objects.list[random_below(&seed, objects.n)];
        p = o->p + random_below(&seed, 2 * o->room);
    }
    p = random_below(&seed, 4) ? ROUNDDOWN(p, (size_t)16) : p;
    if (!objects_at(p)) {
        objects_kmfree(p);
    }
}

static void
random_call(bool grow)
{
    uint64_t what = random_below(&seed, 1000);

    if (what < (grow ? 540u : 440u) || objects.n == 0) {
        objects_kmalloc(random_size(), random_below(&seed, 8) == 0);
    } else if (what < 985) {
        objects_kmfree(objects.list[random_below(&seed, objects.n)].p);
    } else if (what < 993) {
        wrong_free();
    } else if (what < 998) {
        other_user();
    } else if (what < 999) {
        pool_fail(1 + random_below(&seed, 3));
        objects_kmalloc(random_size(), false);
        pool_fail(0);
    } else {
        objects_trim();
    }
}

static void
a_million_calls_with_memory_running_out(void **state)
{
    size_t most = 0, none = 0, managed = 0, calls = 0;

    (void)state;
    objects_start(FIRST_PA, RUN_FRAMES);
    objects_bank(5, LARGEST - 305);
    objects_bank(LARGEST + 1, 200); /* as far from being aligned as can be */
    objects_bank(2 * LARGEST, LARGEST);
    objects_heap(HEAP_ORDER);
    managed = objects_free_pages();
    objects_thorough = false;
    nheld = 0;
    for (size_t step = 0; step < steps; step++) {
        seed = step; /* so that any of them can be repeated */
        random_call(step / (1 + steps / 50) % 5 < 3);
        none += objects_free_pages() == 0;
        most = MAX(most, objects.n);
        calls++;
        if (step % (steps / 256 + 1) == 0) {
            objects_check();
        }
    }
    while (nheld > 0) {
        objects_give_page(held[--nheld]);
    }
    objects_end();
    assert_int_equal(objects_free_pages(), managed);
    print_message("[          ] %zu calls, up to %zu objects in use; no page was free after %zu of "
                  "them; then all are whole again\n",
                  calls, most, none);
}

int
main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_any_memory),
        cmocka_unit_test(sizes_at_every_border),
        cmocka_unit_test(hardly_anything_is_lost_to_rounding),
        cmocka_unit_test(every_allocation_of_pages_fails_once),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(two_cores),
        cmocka_unit_test(space_for_a_kmalloc),
        cmocka_unit_test(a_million_calls_with_memory_running_out),
    };

    if (argc > 1) {
        steps = strtoul(argv[1], NULL, 10);
    }
    return cmocka_run_group_tests_name("kmalloc", tests, NULL, NULL);
}
