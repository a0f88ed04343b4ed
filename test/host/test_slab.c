/*
 * kern/slab.c's caches, and what kern/slabs.c makes for them: the clauses of inc/slab.h one by one, and caches of
 * any kind at random. objects.c judges.
 */
#include "lib.h"

#include "caches.h"
#include "kalloc.h"
#include "objects.h"
#include "pmm.h"

#define LARGEST  (1UL << (PMM_ORDERS - 1))
#define FIRST_PA (0x40011 * LARGEST * PGSIZE) /* of the table: 1 TiB and more */

static uint64_t seed;

static void
start_with(size_t n)
{
    objects_start(FIRST_PA, n + 3);
    objects_bank(3, n);
    objects_thorough = true;
    objects_check();
}

/* ---- Caches ---- */

static void
caches_that_make_no_sense(void **state)
{
    static const size_t sizes[] = {0,         SLAB_MAX + 1,     SLAB_MAX + 16,
                                   PGSIZE,    SIZE_MAX,         SIZE_MAX - 15,
                                   1UL << 32, (1UL << 32) + 64, 1UL << 63};
    static const size_t aligns[] = {
        3,          5,         24,           PGSIZE - 1, PGSIZE + 1,
        2 * PGSIZE, 1UL << 32, 1UL << 63,    SIZE_MAX,   (1UL << 32) + 16,
        48,         17,        SIZE_MAX - 15};
    struct slab slab;
    char before[sizeof(slab)];

    (void)state;
    start_with(50);
    memset(before, 0x77, sizeof(before));
    memset(&slab, 0x77, sizeof(slab));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (size_t align = 0; align <= PGSIZE; align = MAX(2 * align, (size_t)1)) {
            assert_null(objects_slab_create("size", sizes[i], align));
            assert_false(slab_setup(&slab, "size", sizes[i], align));
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(aligns); i++) {
        for (size_t size = 1; size <= SLAB_MAX; size += 89) {
            assert_null(objects_slab_create("align", size, aligns[i]));
            assert_false(slab_setup(&slab, "align", size, aligns[i]));
        }
    }
    assert_memory_equal(&slab, before, sizeof(slab)); /* nothing has changed */
    objects_end();
}

/* What a cache should have for objects of this size: chunks of up to 8 pages, as many objects as fit. */
static void
check_fields(const struct slab *slab, const char *name)
{
    size_t bytes = (size_t)PGSIZE << slab->order;

    assert_in_range(slab->order, 0, 3);
    assert_int_equal(slab->objects, bytes / slab->size);
    assert_int_equal(slab->spans, (slab->objects + SPAN_OBJECTS - 1) / SPAN_OBJECTS);
    assert_string_equal(slab->name, name);
    assert_int_equal(slab->chunks, 0);
    assert_null(slab->empty);
    /* Little is lost: of a chunk that is more than a page, an eighth at most. */
    assert_true(slab->order == 0 || (bytes - slab->objects * slab->size) * 8 <= bytes);
    /* The quotient is exact for any offset that there can be. */
    for (uint32_t offset = 0; offset < bytes; offset++) {
        if ((uint64_t)offset * slab->reciprocal >> 32 != offset / slab->size) {
            broken("a cache for %u bytes: %u / %u is said to be %lu", slab->size, offset,
                   slab->size, (unsigned long)((uint64_t)offset * slab->reciprocal >> 32));
        }
    }
}

static void
every_size_and_alignment(void **state)
{
    static const char *name = "sizes";

    (void)state;
    start_with(200);
    objects_thorough = false;
    for (size_t align = 0; align <= PGSIZE; align = MAX(2 * align, (size_t)1)) {
        for (size_t size = 1; size <= SLAB_MAX; size += align < 2 ? 1 : 7) {
            struct slab *slab = objects_slab_create(name, size, align);
            check_fields(slab, name);
            for (size_t k = 0; k < 3; k++) {
                char *p = objects_slab_alloc(slab);
                assert_int_equal((uint64_t)p % MAX(align, (size_t)SLAB_ALIGN), 0);
            }
            objects_end();
        }
    }
}

static void
kmallocs_own_caches(void **state)
{
    size_t n = 0;

    (void)state;
    start_with(10);
    for (const struct slab *slab = caches_first(); slab; slab = slab->next) {
        check_fields(slab, "kmalloc");
        n++;
    }
    for (size_t i = 0; i < ARRAY_SIZE(slab_by_size); i++) {
        assert_true(slab_by_size[i]->size >= (i + 1) * SLAB_ALIGN);
        assert_true(i == 0 || slab_by_size[i - 1]->size == slab_by_size[i]->size
                    || slab_by_size[i - 1]->size == i * SLAB_ALIGN);
    }
    assert_int_equal(slab_by_size[ARRAY_SIZE(slab_by_size) - 1]->size, SLAB_MAX);
    assert_in_range(n, 1, ARRAY_SIZE(slab_by_size));
    objects_end();
}

/* ---- The ring ---- */

/* Is the span of the chunk `first`, at this place on the ring, the one that is expected? */
static void
assert_on_ring(const struct slab *slab, size_t place, const struct span *expected)
{
    const struct span *at = slab->head.next;

    while (place-- > 0) {
        at = at->next;
    }
    assert_ptr_equal(at, expected);
}

static void
a_new_chunk_lowest_object_first(void **state)
{
    (void)state;
    start_with(60);
    struct slab *slab = objects_slab_create("sixteen", 16, 0);
    char *first = objects_slab_alloc(slab);
    const struct span *spans = chunk_of(first);
    assert_ptr_equal(first, spans->base);
    assert_true(slab->spans > 2);
    for (size_t s = 0; s < slab->spans; s++) {
        assert_on_ring(slab, s, &spans[s]);
    }
    assert_on_ring(slab, slab->spans, &slab->head);
    for (size_t k = 1; k < slab->objects; k++) {
        assert_ptr_equal(objects_slab_alloc(slab), first + k * 16);
        /* A span that has become full is not there any more. */
        assert_on_ring(slab, 0, (k + 1) / 64 < slab->spans ? &spans[(k + 1) / 64] : &slab->head);
    }
    assert_int_equal(slab->chunks, 1);
    /* Once more, with a chunk that is full: the new one's spans are in front. */
    char *next = objects_slab_alloc(slab);
    assert_ptr_equal(next, chunk_of(next)->base);
    assert_ptr_not_equal(chunk_of(next), spans);
    assert_int_equal(slab->chunks, 2);
    objects_end();
}

static void
a_span_that_was_full_goes_to_the_front(void **state)
{
    static char *list[600];

    (void)state;
    start_with(60);
    struct slab *slab = objects_slab_create("sixteen", 16, 0);
    size_t n = slab->objects;
    for (size_t k = 0; k < n; k++) {
        list[k] = objects_slab_alloc(slab);
    }
    const struct span *spans = chunk_of(list[0]);
    objects_slab_free(slab, list[70]);
    objects_slab_free(slab, list[5]);
    objects_slab_free(slab, list[130]);
    objects_slab_free(slab, list[6]); /* its span is there already */
    assert_on_ring(slab, 0, &spans[2]);
    assert_on_ring(slab, 1, &spans[0]);
    assert_on_ring(slab, 2, &spans[1]);
    assert_on_ring(slab, 3, &slab->head);
    assert_ptr_equal(objects_slab_alloc(slab), list[130]);
    assert_ptr_equal(objects_slab_alloc(slab), list[5]);
    assert_ptr_equal(objects_slab_alloc(slab), list[6]);
    assert_ptr_equal(objects_slab_alloc(slab), list[70]);
    assert_on_ring(slab, 0, &slab->head);
    objects_end();
}

/* One chunk with nothing in use is kept, at the end of the ring. */
static void
one_empty_chunk_is_kept(void **state)
{
    static char *list[3][600];

    (void)state;
    start_with(100);
    for (size_t size = 16; size <= SLAB_MAX; size += 208) {
        struct slab *slab = objects_slab_create("three chunks", size, 0);
        size_t n = slab->objects, last = slab->spans - 1;
        const struct span *chunks[3];
        for (size_t k = 0; k < 3 * n; k++) {
            list[k / n][k % n] = objects_slab_alloc(slab);
        }
        assert_int_equal(slab->chunks, 3);
        for (size_t c = 0; c < 3; c++) {
            chunks[c] = chunk_of(list[c][0]);
        }
        objects_slab_free(slab, list[2][0]); /* so that the ring has others */
        for (size_t k = 0; k < n; k++) {
            objects_slab_free(slab, list[1][k]);
            assert_ptr_equal(slab->empty, k + 1 < n ? NULL : chunks[1]);
        }
        assert_ptr_equal(slab->head.prev, &chunks[1][last]);
        assert_on_ring(slab, n > 1 ? 0 : slab->spans - 1, n > 1 ? chunks[2] : chunks[1]);
        assert_int_equal(slab->chunks, 3);
        /* The next one is kept in its place, and that one's pages go back. */
        size_t before = objects_free_pages();
        for (size_t k = n; k > 0; k--) {
            objects_slab_free(slab, list[0][k - 1]);
        }
        assert_ptr_equal(slab->empty, chunks[0]);
        assert_ptr_equal(slab->head.prev, &chunks[0][last]);
        assert_int_equal(slab->chunks, 2);
        assert_int_equal(objects_free_pages(), before + (1UL << slab->order));
        /* In use again: it is no more to be had. Then it is empty once more, and still the one. */
        while (chunk_of(list[0][0] = objects_slab_alloc(slab)) != chunks[0]) {}
        assert_ptr_equal(slab->empty, chunks[0]);
        assert_int_equal(objects_trim(), 0);
        objects_slab_free(slab, list[0][0]);
        assert_ptr_equal(slab->empty, chunks[0]);
        assert_int_equal(slab->chunks, 2);
        /* In use, when another one becomes empty: both stay, and then the other is the one. */
        while (chunk_of(list[0][0] = objects_slab_alloc(slab)) != chunks[0]) {}
        for (size_t i = objects.n; i > 0; i--) {
            if (chunk_of(objects.list[i - 1].p) == chunks[2]) {
                objects_slab_free(slab, objects.list[i - 1].p);
            }
        }
        assert_ptr_equal(slab->empty, chunks[2]);
        assert_int_equal(slab->chunks, 2);
        objects_slab_free(slab, list[0][0]);
        assert_ptr_equal(slab->empty, chunks[0]);
        assert_int_equal(slab->chunks, 1);
        assert_int_equal(objects_trim(), 1UL << slab->order);
        assert_int_equal(slab->chunks, 0);
        assert_int_equal(objects_trim(), 0);
        objects_end();
    }
}

/* ---- Mistakes ---- */

static void
wrong_frees_of_one_cache(void **state)
{
    static const size_t sizes[] = {16, 48, 80, 208, 640, 1040, 2048};
    static char *list[600];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        start_with(60);
        struct slab *slab = objects_slab_create("one", sizes[i], 0);
        struct slab *other = objects_slab_create("other", sizes[i], 0);
        size_t n = slab->objects;
        for (size_t k = 0; k < n; k++) {
            list[k] = objects_slab_alloc(slab);
        }
        void *of_other = objects_slab_alloc(other);
        objects_thorough = false;
        pool_save();
        for (size_t k = 0; k < n; k += 1 + n / 9) {
            for (size_t offset = 1; offset < sizes[i]; offset += offset < 20 ? 1 : 61) {
                assert_false(objects_slab_free(slab, list[k] + offset));
                assert_false(objects_kmfree(list[k] + offset));
            }
            assert_false(objects_slab_free(other, list[k]));
        }
        assert_false(objects_slab_free(slab, of_other));
        /* The rest of the chunk, behind its last object, and the pages around it. */
        char *stop = list[0] + (PGSIZE << slab->order);
        for (char *p = list[n - 1] + sizes[i]; p < stop + PGSIZE; p += 16) {
            assert_false(objects_slab_free(slab, p));
        }
        assert_false(objects_slab_free(slab, list[0] - 16));
        assert_false(objects_slab_free(slab, NULL));
        assert_false(objects_slab_free(slab, slab));
        assert_false(objects_slab_free(slab, slab->head.prev));
        assert_false(objects_slab_free(slab, (void *)chunk_of(list[0])));
        assert_false(objects_slab_destroy(slab));
        assert_false(pool_changed());
        for (size_t k = 0; k < n; k++) {
            objects_thorough = k < 3 || k + 3 > n;
            assert_true(objects_slab_free(slab, list[k]));
            assert_false(objects_slab_free(slab, list[k])); /* twice */
            assert_false(objects_kmfree(list[k]));
            if (k + 1 < n) {
                assert_false(objects_slab_destroy(slab));
            }
        }
        assert_true(objects_slab_destroy(slab));
        assert_false(objects_slab_free(other, list[0])); /* nobody's page */
        objects_end();
    }
}

static void
caches_come_and_go(void **state)
{
    static char *list[1000];

    (void)state;
    start_with(300);
    for (size_t use = 0; use < 5; use++) {
        size_t before = objects_free_pages();
        struct slab *slab = objects_slab_create("short", 300, 64);
        size_t n = use * slab->objects / 2;
        for (size_t k = 0; k < n; k++) {
            list[k] = objects_slab_alloc(slab);
        }
        for (size_t k = 0; k < n; k++) {
            assert_false(objects_slab_destroy(slab));
            objects_slab_free(slab, list[k]);
        }
        if (use == 3) {
            objects_trim();
        }
        assert_true(objects_slab_destroy(slab));
        objects_trim();
        assert_int_equal(objects_free_pages(), before);
    }
    /* One that is used by two chunks, of which the kept one is empty. */
    struct slab *slab = objects_slab_create("two", 300, 64);
    for (size_t k = 0; k <= slab->objects; k++) {
        list[k] = objects_slab_alloc(slab);
    }
    objects_slab_free(slab, list[slab->objects]);
    assert_false(objects_slab_destroy(slab));
    objects_end();
}

/* The list of all caches loses the one that is meant, wherever it is, and none when there is none such. */
static void
forgetting_caches(void **state)
{
    static struct slab mine[5], none;
    static const size_t order[] = {2, 4, 0, 3, 1};

    (void)state;
    start_with(10);
    const struct slab *before = caches_first();
    for (size_t i = 0; i < 5; i++) {
        assert_true(slab_setup(&mine[i], "mine", 64, 0));
        assert_ptr_equal(caches_first(), &mine[i]);
    }
    for (size_t i = 0; i < 5; i++) {
        size_t n = 0, with = 0;
        slab_forget(&none);
        slab_forget(&mine[order[i]]);
        for (const struct slab *slab = caches_first(); slab != before; slab = slab->next) {
            n++;
            with += slab == &mine[order[i]];
        }
        assert_int_equal(n, 4 - i);
        assert_int_equal(with, 0);
    }
    slab_forget(&none);
    assert_ptr_equal(caches_first(), before);
    objects_end();
}

/* ---- Chunks ---- */

static char *constructed[1000];
static size_t nconstructed;

static void
construct(void *p)
{
    constructed[nconstructed++] = p;
}

static void
the_constructor_sees_each_object_once(void **state)
{
    static char *list[200];

    (void)state;
    start_with(60);
    for (size_t size = 100; size <= SLAB_MAX; size += 400) {
        struct slab *slab = objects_slab_create("constructed", size, 0);
        slab->construct = construct;
        nconstructed = 0;
        for (size_t k = 0; k <= slab->objects; k++) {
            list[k] = objects_slab_alloc(slab);
            assert_int_equal(nconstructed, k < slab->objects ? slab->objects : 2 * slab->objects);
        }
        for (size_t k = 0; k < slab->objects; k++) {
            assert_ptr_equal(constructed[k], chunk_of(list[0])->base + k * slab->size);
        }
        objects_slab_free(slab, list[0]);
        assert_ptr_equal(objects_slab_alloc(slab), constructed[0]);
        assert_int_equal(nconstructed, 2 * slab->objects);
        objects_end();
    }
}

/* In the second bank, when the first has no page. */
static void
objects_in_every_zone(void **state)
{
    (void)state;
    objects_start(FIRST_PA, 3 * LARGEST);
    objects_bank(1, 6);
    objects_bank(LARGEST, 9);
    objects_bank(2 * LARGEST + 5, 9);
    objects_thorough = true;
    size_t zones_used = 0, n = 0;
    while (objects_kmalloc(2000, true)) {
        const char *page = ROUNDDOWN(objects.list[n].p, PGSIZE);
        size_t z = pool_zone_of(frame_index(page));
        n++;
        zones_used |= 1UL << z;
    }
    assert_int_equal(zones_used, 7);
    assert_true(n > 35);
    assert_null(chunk_of(P2V(pool_pa(0))));
    assert_null(chunk_of(P2V(pool_pa(LARGEST + 9))));
    objects_end();
    /* And what is wrong in one of them is wrong in any. */
    objects_thorough = false;
    while (objects_kmalloc(48, false)) {}
    pool_save();
    for (size_t i = 0; i < objects.n; i += 7) {
        char *p = objects.list[i].p;
        const struct span *first = chunk_of(p);
        assert_false(objects_kmfree(p + 16));
        assert_false(objects_kmfree(first->base + first->slab->objects * first->slab->size));
    }
    assert_false(pool_changed());
    for (size_t i = 0; i < 20; i++) {
        char *p = objects.list[i * 31 % objects.n].p;
        assert_true(objects_kmfree(p));
        assert_false(objects_kmfree(p));
    }
    objects_end();
}

/* More records than a page has, of chunks of one span and of many; then each page of them goes back. */
static void
pages_of_records_come_and_go(void **state)
{
    static char *list[60000];
    size_t n = 0;

    (void)state;
    start_with(700);
    objects_thorough = false;
    struct slab *small = objects_slab_create("small", 16, 0);
    struct slab *large = objects_slab_create("large", 2048, 0);
    seed = 3;
    while (objects_free_pages() > 50 && n < ARRAY_SIZE(list)) {
        list[n] = objects_slab_alloc(random_below(&seed, 300) ? small : large);
        if (list[n]) {
            n++;
        }
    }
    objects_check();
    for (size_t i = n; i > 0; i--) {
        size_t k = random_below(&seed, i);
        objects_kmfree(list[k]);
        list[k] = list[i - 1];
        if (i % 2000 == 0) {
            objects_check();
            assert_true(mem_has_space(MEM_HEAP, 16));
            assert_true(mem_has_space(MEM_HEAP, SLAB_MAX));
        }
        if (random_below(&seed, 4) == 0 && objects_slab_alloc(small)) {
            objects_slab_free(small, objects.list[objects.n - 1].p);
        }
    }
    objects_end();
}

/* ---- At random ---- */

static void
caches_at_random(void **state)
{
    static struct slab *caches[12];

    (void)state;
    for (uint64_t round = 0; round < 6; round++) {
        seed = round;
        start_with(20 + random_below(&seed, 150));
        memset(caches, 0, sizeof(caches));
        for (size_t step = 0; step < 1200; step++) {
            size_t c = random_below(&seed, ARRAY_SIZE(caches));
            uint64_t what = random_below(&seed, 100);
            if (!caches[c]) {
                caches[c] = objects_slab_create("any", 1 + random_below(&seed, SLAB_MAX),
                                                1UL << random_below(&seed, 13));
            } else if (what < (step / 300 % 2 ? 40u : 60u)) {
                objects_slab_alloc(caches[c]);
            } else if (what < 95) {
                const struct object *o = &objects.list[random_below(&seed, objects.n)];
                if (!o->is_cache) {
                    objects_slab_free((struct slab *)(uint64_t)o->slab, o->p);
                }
            } else if (what < 96) {
                if (objects_slab_destroy(caches[c])) {
                    caches[c] = NULL;
                }
            } else if (what < 97) {
                objects_trim();
            } else {
                char *p = (char *)P2V(FIRST_PA) + 16 * random_below(&seed, 200 * PGSIZE / 16);
                if (!objects_at(p)) {
                    objects_slab_free(caches[c], p);
                }
            }
        }
        objects_end();
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches_that_make_no_sense),
        cmocka_unit_test(every_size_and_alignment),
        cmocka_unit_test(kmallocs_own_caches),
        cmocka_unit_test(a_new_chunk_lowest_object_first),
        cmocka_unit_test(a_span_that_was_full_goes_to_the_front),
        cmocka_unit_test(one_empty_chunk_is_kept),
        cmocka_unit_test(wrong_frees_of_one_cache),
        cmocka_unit_test(caches_come_and_go),
        cmocka_unit_test(forgetting_caches),
        cmocka_unit_test(the_constructor_sees_each_object_once),
        cmocka_unit_test(objects_in_every_zone),
        cmocka_unit_test(pages_of_records_come_and_go),
        cmocka_unit_test(caches_at_random),
    };

    return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
