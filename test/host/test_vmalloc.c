/*
 * kern/vmalloc.c over the page tables of kern/vm.c: where areas are, what is mapped in them and how, and in which
 * order pages go back. Their addresses are only numbers here, and what they contain is reached by the linear map.
 */
#include "lib.h"

#include "kalloc.h"
#include "kvm.h"
#include "objects.h"
#include "pmm.h"
#include "tlb.h"
#include "vm.h"
#include "vmalloc.h"

#define FIRST_PA \
    0xff0000000000UL /* of the table: so high that KERNBASE is in the upper half here, too */
#define ROOM  (1UL << 36)
#define AREAS 200
#define FLAGS \
    (PTE_PAGE | PTE_NORMAL | PTE_KERNEL | PTE_RW | PTE_SH | PTE_AF | (uint64_t)PTE_PXN | PTE_UXN)

static uint64_t *root;
static struct {
    uint64_t start;
    size_t npages;
} mine[AREAS];
static size_t nmine;
static uint64_t seed;

/* ---- What vmalloc.c and vm.c call ---- */

uint64_t
kvm_root(void)
{
    return V2P(root);
}

void
page_zero(void *page)
{
    memset(page, 0, PGSIZE);
}

void
pte_sync(void)
{
}

void
tlb_flush_all(void)
{
}

static uint64_t
entry_at(uint64_t va)
{
    const uint64_t *entry = pgdir_walk(root, (const void *)va, 0);

    return entry ? *entry : 0;
}

static size_t nflushed, free_before; /* pages, in this vfree */
static bool freeing;

/* By now the entry is clear; the page is still nobody else's. */
void
tlb_flush_page(const void *va)
{
    pool_outer = NULL;
    pool_check_locks("tlb_flush_page is called");
    pool_outer = &vmalloc_lock;
    if (entry_at((uint64_t)va) != 0) {
        broken("tlb_flush_page(%p) is called with the page still mapped", va);
    }
    if (freeing && objects_free_pages() > free_before + nflushed) {
        broken("%zu pages were flushed, and %zu are free already", nflushed,
               objects_free_pages() - free_before);
    }
    nflushed++;
}

/* ---- The model ---- */

static void
start_with(size_t npages)
{
    objects_start(FIRST_PA, npages);
    objects_bank(0, npages);
    objects_thorough = false;
    objects_unguarded = true;
    areas = NULL;
    nmine = 0;
    root = (uint64_t *)(void *)kalloc();
    page_zero(root);
}

/* How many pages the tables have, and what they map; each page is in use, and mapped once. */
static size_t
count_tables(const uint64_t *table, int level, size_t *mapped)
{
    static bool seen[1 << 12];
    size_t n = 1;

    if (level == 0) {
        memset(seen, false, sizeof(seen));
    }
    for (size_t i = 0; i < PGSIZE / sizeof(*table); i++) {
        size_t page = frame_index(P2V(PTE_ADDR(table[i])));
        if (table[i] == 0) {
            continue;
        }
        if (page >= frames.n || frames.state[page] != FRAME_USED || seen[page]) {
            broken("a table's entry is %#lx, of frame %zu", (unsigned long)table[i], page);
        }
        seen[page] = true;
        if (level == 3) {
            if (PTE_FLAGS(table[i]) != FLAGS) {
                broken("an entry is %#lx", (unsigned long)table[i]);
            }
            ++*mapped;
        } else {
            n += count_tables(P2V(PTE_ADDR(table[i])), level + 1, mapped);
        }
    }
    return n;
}

static uint64_t *
stamp(size_t i, size_t page)
{
    return P2V(PTE_ADDR(entry_at(mine[i].start + page * PGSIZE)));
}

static size_t
check(void)
{
    size_t n = 0, mapped = 0, pages = 0;
    const struct area *before = NULL;

    for (const struct area *a = areas; a; before = a, a = a->next) {
        uint64_t from = before ? before->start + (before->npages + 1) * PGSIZE : VMALLOC_START;
        if (++n > nmine || a->start < from || a->start + (a->npages + 1) * PGSIZE > VMALLOC_STOP) {
            broken("area %zu, of %zu pages, begins at %#lx", n, a->npages, (unsigned long)a->start);
        }
    }
    for (size_t i = 0; i < nmine; i++) {
        const struct area *a = areas;
        while (a && a->start != mine[i].start) {
            a = a->next;
        }
        if (!a || a->npages != mine[i].npages) {
            broken("no area at %#lx has %zu pages", (unsigned long)mine[i].start, mine[i].npages);
        }
        for (size_t page = 0; page < a->npages; page++) {
            if (entry_at(a->start + page * PGSIZE) == 0 || *stamp(i, page) != a->start + page) {
                broken("page %zu of the area at %#lx is not what it was", page,
                       (unsigned long)a->start);
            }
        }
        pages += a->npages;
    }
    size_t tables = count_tables(root, 0, &mapped);
    if (n != nmine || mapped != pages) {
        broken("%zu areas instead of %zu; %zu pages mapped instead of %zu", n, nmine, mapped,
               pages);
    }
    return tables;
}

/* The lowest place for so many pages, and one behind them; 0: there is none. */
static uint64_t
lowest(size_t npages, size_t align)
{
    uint64_t best = 0, size = (npages + 1) * PGSIZE;

    for (size_t i = 0; i <= nmine; i++) {
        uint64_t from = i < nmine ? mine[i].start + (mine[i].npages + 1) * PGSIZE : VMALLOC_START;
        uint64_t at = ROUNDUP(from, align);
        bool fits = at >= from && at < VMALLOC_STOP && VMALLOC_STOP - at >= size;
        for (size_t j = 0; j < nmine && fits; j++) {
            fits =
                at >= mine[j].start + (mine[j].npages + 1) * PGSIZE || at + size <= mine[j].start;
        }
        best = fits && (best == 0 || at < best) ? at : best;
    }
    return best;
}

/* vmalloc_aligned; true: there was memory. */
static bool
take(size_t size, size_t align)
{
    size_t npages = size / PGSIZE + (size % PGSIZE != 0), before = objects_free_pages();
    bool sane = size > 0 && size <= ROOM && align >= PGSIZE && (align & (align - 1)) == 0;
    uint64_t expected = sane ? lowest(npages, align) : 0;
    size_t tables = check();

    pool_outer = &vmalloc_lock;
    uint64_t start = (uint64_t)(align == PGSIZE ? vmalloc(size) : vmalloc_aligned(size, align));
    pool_outer = NULL;
    pool_check_locks("vmalloc returned");
    if (start == 0) {
        /* There may be some more tables, and a chunk and a page of records in which the area was. */
        size_t after = objects_free_pages() + check() - tables;
        if (after + 2 < before) {
            broken("vmalloc has returned NULL, and of %zu pages %zu are left", before, after);
        }
        return false;
    }
    if (start != expected) {
        broken("vmalloc_aligned(%#zx, %#zx) returned %#lx instead of %#lx", size, align,
               (unsigned long)start, (unsigned long)expected);
    }
    mine[nmine].start = start;
    mine[nmine++].npages = npages;
    for (size_t page = 0; page < npages; page++) {
        if (entry_at(start + page * PGSIZE) == 0) {
            broken("page %zu of the area at %#lx is not mapped", page, (unsigned long)start);
        }
        *stamp(nmine - 1, page) = start + page;
    }
    check();
    return true;
}

static void
give(size_t i)
{
    size_t npages = mine[i].npages, before = objects_free_pages(), tables = check();

    nflushed = 0;
    free_before = before;
    freeing = true;
    pool_outer = &vmalloc_lock;
    vfree((void *)mine[i].start);
    freeing = false;
    pool_outer = NULL;
    pool_check_locks("vfree returned");
    mine[i] = mine[--nmine];
    if (nflushed != npages || check() != tables || objects_free_pages() < before + npages) {
        broken("vfree: of %zu pages %zu were flushed, %zu are free", npages, nflushed,
               objects_free_pages() - before);
    }
}

static void
call_vfree(void *p)
{
    vfree(p);
}

static void
refused(uint64_t p)
{
    pool_save();
    const struct area *before = areas;
    pool_outer = &vmalloc_lock;
    const char *message = machine_panics(call_vfree, (void *)p);
    pool_outer = NULL;
    pool_check_locks("vfree panicked");
    if (!message || pool_changed() || areas != before) {
        broken("vfree(%#lx): %s", (unsigned long)p, message ? "something has changed" : "no panic");
    }
}

static void
free_tables(uint64_t *table, int level)
{
    for (size_t i = 0; i < PGSIZE / sizeof(*table) && level < 3; i++) {
        if (table[i] != 0) {
            free_tables(P2V(PTE_ADDR(table[i])), level + 1);
        }
    }
    kfree((char *)table);
}

/* Everything back: no page is missing. */
static void
end_all(void)
{
    while (nmine > 0) {
        give(nmine / 2);
    }
    free_tables(root, 0);
    objects_end();
}

/* ---- Tests ---- */

static void
sizes_and_alignments(void **state)
{
    static const size_t sizes[] = {
        0,        ROOM + 1,  ROOM + PGSIZE,        SIZE_MAX, SIZE_MAX - PGSIZE + 1, ROOM,
        ROOM - 1, 1UL << 63, SIZE_MAX - PGSIZE + 2};
    static const size_t aligns[] = {0,          1,          16,         PGSIZE / 2,
                                    PGSIZE - 1, PGSIZE + 1, 3 * PGSIZE, 5UL << 30,
                                    SIZE_MAX,   1UL << 63,  1UL << 48,  SIZE_MAX - 4095};

    (void)state;
    start_with(600);
    assert_int_equal(VMALLOC_STOP - VMALLOC_START, ROOM);
    assert_true(VMALLOC_START >> 48 == 0xffff);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        assert_false(take(sizes[i], PGSIZE));
        assert_false(take(sizes[i], 1UL << 21));
    }
    for (size_t i = 0; i < ARRAY_SIZE(aligns); i++) {
        assert_false(take(PGSIZE, aligns[i]));
    }
    take(PGSIZE, 1UL << 40); /* whether there is such an address depends on the host */
    for (size_t align = PGSIZE; align <= 1UL << 34; align *= 2) {
        assert_true(take(align == PGSIZE ? 1 : PGSIZE + 1, align));
        assert_int_equal(mine[nmine - 1].start % align, 0);
    }
    for (size_t n = 0; n < 5; n++) {
        assert_true(take(3 * PGSIZE - 2 + n, PGSIZE));
        assert_int_equal(mine[nmine - 1].npages, n < 3 ? 3 : 4);
    }
    end_all();
}

static void
the_lowest_gap_is_used_again(void **state)
{
    (void)state;
    start_with(600);
    for (size_t i = 1; i <= 20; i++) {
        assert_true(take(i * PGSIZE, PGSIZE));
    }
    for (size_t i = 20; i > 2; i -= 3) {
        give(i - 1 < nmine ? i - 1 : 0);
    }
    for (size_t i = 20; i > 0; i--) {
        assert_true(take(i * PGSIZE, i % 4 ? PGSIZE : 8 * PGSIZE));
    }
    end_all();
}

/* An area in which nothing is mapped, up to the end of the address space. */
static void
no_room(void **state)
{
    static struct area rest;

    (void)state;
    start_with(300);
    rest = (struct area){VMALLOC_START + 16 * PGSIZE, ROOM / PGSIZE - 17, NULL};
    areas = &rest;
    pool_outer = &vmalloc_lock;
    size_t before = objects_free_pages();
    assert_null(vmalloc(16 * PGSIZE));
    assert_null(vmalloc_aligned(PGSIZE, 1UL << 30));
    assert_true(objects_free_pages() + 2 >= before);
    char *fits = vmalloc(15 * PGSIZE);
    assert_int_equal((uint64_t)fits, VMALLOC_START);
    assert_null(vmalloc(1));
    vfree(fits);
    /* The same from the other side: the last page is the one that is never mapped. */
    rest = (struct area){VMALLOC_START, ROOM / PGSIZE - 17, NULL};
    assert_null(vmalloc(16 * PGSIZE));
    fits = vmalloc(15 * PGSIZE);
    assert_int_equal((uint64_t)fits, VMALLOC_STOP - 16 * PGSIZE);
    assert_null(vmalloc(1));
    vfree(fits);
    rest = (struct area){VMALLOC_START, ROOM / PGSIZE - 1, NULL};
    assert_null(vmalloc(1));
    areas = NULL;
    pool_outer = NULL;
    end_all();
}

static void
wrong_frees(void **state)
{
    (void)state;
    start_with(100);
    take(3 * PGSIZE, PGSIZE);
    take(PGSIZE, PGSIZE);
    take(2 * PGSIZE, 1UL << 16);
    for (uint64_t at = 0; at < 24 * PGSIZE; at += PGSIZE / 2) {
        uint64_t va = VMALLOC_START + at;
        if (va != mine[0].start && va != mine[1].start && va != mine[2].start) {
            refused(va);
        }
    }
    refused(VMALLOC_START - PGSIZE);
    refused(VMALLOC_STOP);
    refused((uint64_t)root);
    refused((uint64_t)areas);
    refused(1);
    refused(UINT64_MAX);
    uint64_t gone = mine[1].start;
    give(1);
    refused(gone);
    vfree(NULL);
    end_all();
    areas = NULL;
    start_with(50);
    refused(VMALLOC_START);
    end_all();
}

/* The k-th page is not to be had: all that had come before goes back. */
static void
memory_runs_out_at_every_page(void **state)
{
    (void)state;
    for (size_t npages = 1; npages < 40; npages += 6) {
        for (size_t k = 1; k < npages + 12; k++) {
            start_with(200);
            if (k % 2) {
                take(PGSIZE, PGSIZE);
            }
            kcache_drain(SIZE_MAX);
            pool_fail(k);
            bool done = take(npages * PGSIZE, 1UL << (12 + k % 3 * 9));
            pool_fail(0);
            assert_true(done || k < npages + 10);
            take(npages * PGSIZE, PGSIZE);
            end_all();
        }
    }
}

static void
at_random(void **state)
{
    size_t no = 0;

    (void)state;
    start_with(1000);
    for (size_t step = 0; step < 4000; step++) {
        seed = step;
        if (random_below(&seed, 100) < (step / 500 % 2 ? 40u : 70u) && nmine < AREAS) {
            size_t size = 1 + random_below(&seed, PGSIZE << random_below(&seed, 7));
            no +=
                !take(size, (size_t)PGSIZE << random_below(&seed, random_below(&seed, 9) ? 2 : 20));
        } else if (nmine > 0) {
            give(random_below(&seed, nmine));
        }
    }
    end_all();
    assert_true(no > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_alignments),
        cmocka_unit_test(the_lowest_gap_is_used_again),
        cmocka_unit_test(no_room),
        cmocka_unit_test(wrong_frees),
        cmocka_unit_test(memory_runs_out_at_every_page),
        cmocka_unit_test(at_random),
    };

    return cmocka_run_group_tests_name("vmalloc", tests, NULL, NULL);
}
