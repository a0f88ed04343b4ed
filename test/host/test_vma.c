/*
 * kern/vma.c against the plainest model: an array of pages, each of which is in no range or in one of some rights
 * and kind. Every list of a few pages with every call, every record that can fail; then many calls on many pages.
 */
#include "lib.h"

#include "errno.h"
#include "kmalloc.h"
#include "report.h"
#include "types.h"
#include "vma.h"

#define PAGES_MAX 40

/* ---- Records ---- */

static size_t nrecords, left = SIZE_MAX; /* in use; that can still be had */

void *
kmalloc(size_t size)
{
    if (left == 0) {
        return NULL;
    }
    left -= left != SIZE_MAX;
    nrecords++;
    void *p = malloc(size);
    return p ? memset(p, 0x5b, size) : NULL;
}

void
kmfree(void *p)
{
    if (p) {
        left += left != SIZE_MAX;
        nrecords--;
        free(p);
    }
}

/* ---- The model ---- */

struct page {
    bool there;
    int prot;
    enum vma_kind kind;
};

static struct model {
    uint64_t base; /* where page 0 is */
    size_t n;
    struct page page[PAGES_MAX + 1]; /* the last one is never there */
} m;
static struct aspace as;

static bool
same(const struct page *a, const struct page *b)
{
    return a->there == b->there && (!a->there || (a->prot == b->prot && a->kind == b->kind));
}

static uint64_t
at(size_t i)
{
    return m.base + i * PGSIZE;
}

static const char *doing;
static size_t from, to;

static void
explain(void)
{
    fprintf(stderr, "%s(%zu to %zu) of %zu pages:", doing, from, to, m.n);
    for (size_t i = 0; i < m.n; i++) {
        fprintf(stderr, m.page[i].there ? " %d%c" : " -", m.page[i].prot, "fhas"[m.page[i].kind]);
    }
    fprintf(stderr, "\nbut");
    for (const struct vma *v = as.vmas; v; v = v->next) {
        fprintf(stderr, " [%ld to %ld: %d%c]", ((int64_t)v->start - (int64_t)m.base) / PGSIZE,
                ((int64_t)v->end - (int64_t)m.base) / PGSIZE, v->prot, "fhas"[v->kind & 3]);
    }
    fprintf(stderr, "\n");
}

/* The list is made of the model's runs of equal pages, and of as many records. */
static void
check(void)
{
    const struct vma *v = as.vmas;
    size_t ranges = 0;

    for (size_t i = 0, stop; i < m.n; i = stop) {
        stop = i + 1;
        while (stop < m.n && same(&m.page[stop], &m.page[i])) {
            stop++;
        }
        if (!m.page[i].there) {
            continue;
        }
        if (!v || v->start != at(i) || v->end != at(stop) || v->prot != m.page[i].prot
            || v->kind != m.page[i].kind) {
            broken("the list is wrong at page %zu", i);
        }
        v = v->next;
        ranges++;
    }
    if (v || nrecords != ranges) {
        broken("there are more ranges than %zu, or more records: %zu", ranges, nrecords);
    }
}

/* The list that the model says. */
static void
set_up(const struct model *state)
{
    struct vma **link = &as.vmas;

    left = SIZE_MAX;
    vma_clear(&as);
    if (as.vmas || nrecords != 0) {
        broken("vma_clear leaves %zu records", nrecords);
    }
    m = *state;
    for (size_t i = 0, stop; i < m.n; i = stop) {
        stop = i + 1;
        while (stop < m.n && same(&m.page[stop], &m.page[i])) {
            stop++;
        }
        if (m.page[i].there) {
            struct vma *v = kmalloc(sizeof(*v));
            *v = (struct vma){at(i), at(stop), m.page[i].prot, m.page[i].kind, NULL};
            *link = v;
            link = &v->next;
        }
    }
}

/* ---- Questions ---- */

static void
ask_everything(void)
{
    doing = "a question";
    for (size_t i = 0; i < m.n; i++) {
        for (uint64_t offset = 0; offset < PGSIZE; offset += PGSIZE - 1) {
            const struct vma *v = vma_find(&as, at(i) + offset);
            if ((v != NULL) != m.page[i].there || (v && (v->start > at(i) || v->end <= at(i)))) {
                broken("vma_find is wrong at page %zu", i);
            }
        }
        bool overlaps = false, covers = true;
        for (size_t stop = i + 1; stop <= m.n; stop++) {
            overlaps = overlaps || m.page[stop - 1].there;
            covers = covers && m.page[stop - 1].there;
            from = i;
            to = stop;
            if (vma_overlaps(&as, at(i), at(stop)) != overlaps
                || vma_covers(&as, at(i), at(stop)) != covers) {
                broken("vma_overlaps or vma_covers is wrong: expected %d and %d", overlaps, covers);
            }
        }
    }
    assert_null(vma_find(&as, 0));
    assert_null(vma_find(&as, UINT64_MAX));
}

/* All of it, when it begins at USER_MIN. */
static void
ask_for_gaps(void)
{
    doing = "vma_gap";
    for (size_t top = 0; top <= m.n; top++) {
        for (size_t size = 1; size <= m.n + 1; size++) {
            uint64_t expected = 0;
            for (size_t i = 0; i + size <= top; i++) {
                bool is_free = true;
                for (size_t j = i; j < i + size; j++) {
                    is_free = is_free && !m.page[j].there;
                }
                expected = is_free ? at(i) : expected;
            }
            from = size;
            to = top;
            if (vma_gap(&as, size * PGSIZE, at(top)) != expected) {
                broken("expected %#lx", (unsigned long)expected);
            }
        }
    }
}

/* ---- Calls ---- */

enum call { ADD, REMOVE, REPLACE, PROTECT, CALLS };
static const char *const names[] = {"vma_add", "vma_remove", "vma_replace", "vma_protect"};

static bool
any_there(size_t start, size_t stop, bool there)
{
    for (size_t i = start; i < stop; i++) {
        if (m.page[i].there == there) {
            return true;
        }
    }
    return false;
}

/* Are these two pages in one range? */
static bool
together(size_t i, size_t j)
{
    return j < m.n && m.page[i].there && same(&m.page[i], &m.page[j]);
}

/* How many records the call may ask for. */
static size_t
records_wanted(enum call call, size_t start, size_t stop, const struct page *new)
{
    bool inside = start > 0 && stop < m.n && together(start - 1, start);

    for (size_t i = start; inside && i < stop; i++) {
        inside = together(i, i + 1);
    }
    switch (call) {
    case ADD:
        return (start > 0 && same(&m.page[start - 1], new)) || same(&m.page[stop], new) ? 0 : 1;
    case REMOVE:
        return inside ? 1 : 0;
    case REPLACE:
        return inside ? 2 : 1;
    default:
        return (size_t)(start > 0 && together(start - 1, start) && m.page[start].prot != new->prot)
             + (size_t)(together(stop - 1, stop) && m.page[stop].prot != new->prot);
    }
}

static int
make_call(enum call call, size_t start, size_t stop, const struct page *new)
{
    switch (call) {
    case ADD:
        return vma_add(&as, at(start), at(stop), new->prot, new->kind);
    case REMOVE:
        return vma_remove(&as, at(start), at(stop));
    case REPLACE:
        return vma_replace(&as, at(start), at(stop), new->prot, new->kind);
    default:
        return vma_protect(&as, at(start), at(stop), new->prot);
    }
}

static bool
applies(enum call call, size_t start, size_t stop)
{
    return call == ADD ? !any_there(start, stop, true)
                       : call != PROTECT || !any_there(start, stop, false);
}

/* One call, with so many records to be had. Did it succeed? */
static bool
try(enum call call, size_t start, size_t stop, const struct page *new, size_t records)
{
    size_t wanted = records_wanted(call, start, stop, new);

    doing = names[call];
    from = start;
    to = stop;
    left = records;
    int error = make_call(call, start, stop, new);
    left = SIZE_MAX;
    if (error != (records < wanted ? -ENOMEM : 0)) {
        broken("it returns %d, with %zu records of %zu that it may need", error, records, wanted);
    }
    for (size_t i = start; !error && i < stop; i++) {
        m.page[i].there = call != REMOVE;
        m.page[i].prot = new->prot;
        m.page[i].kind = call == PROTECT ? m.page[i].kind : new->kind;
    }
    check();
    return !error;
}

/* ---- Every state of a few pages ---- */

#define FEW   5
#define KINDS 4 /* of pages */

static const struct page kinds[KINDS] = {{true, PROT_READ, VMA_FILE},
                                         {true, PROT_READ, VMA_ANON},
                                         {true, PROT_READ | PROT_WRITE, VMA_ANON},
                                         {true, PROT_READ | PROT_WRITE, VMA_HEAP}};

static void
every_call(const struct model *state, size_t *calls)
{
    for (size_t start = 0; start < FEW; start++) {
        for (size_t stop = start + 1; stop <= FEW; stop++) {
            for (enum call call = ADD; call < CALLS; call++) {
                for (size_t kind = 0; applies(call, start, stop) && kind < KINDS; kind++) {
                    bool done = false;
                    for (size_t records = 0; !done; records++, ++*calls) {
                        set_up(state);
                        done = try(call, start, stop, &kinds[kind], records);
                    }
                    set_up(state);
                }
            }
        }
    }
}

static void
every_list_of_few_pages(void **unused)
{
    size_t states = 1, calls = 0;

    (void)unused;
    machine_explain = explain;
    for (size_t i = 0; i < FEW; i++) {
        states *= KINDS + 1;
    }
    for (size_t state = 0; state < states; state++) {
        struct model s = {.base = USER_MIN, .n = FEW};
        size_t rest = state;
        for (size_t i = 0; i < FEW; i++, rest /= KINDS + 1) {
            if (rest % (KINDS + 1) > 0) {
                s.page[i] = kinds[rest % (KINDS + 1) - 1];
            }
        }
        set_up(&s);
        check();
        ask_everything();
        ask_for_gaps();
        every_call(&s, &calls);
        s.base = USER_TOP - FEW * PGSIZE;
        set_up(&s);
        ask_everything();
    }
    vma_clear(&as);
    print_message("[          ] %zu lists, %zu calls\n", states, calls);
}

/* ---- Many calls ---- */

static void
many_calls_on_many_pages(void **unused)
{
    static const int prots[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
                                PROT_READ | PROT_EXEC};
    uint64_t seed = 5;

    (void)unused;
    machine_explain = explain;
    set_up(&(struct model){.base = USER_MIN, .n = PAGES_MAX});
    for (size_t step = 0; step < 60000; step++) {
        enum call call = (enum call)random_below(&seed, CALLS);
        size_t start = random_below(&seed, m.n), stop = start + 1 + random_below(&seed, 9);
        struct page new = {true, prots[random_below(&seed, ARRAY_SIZE(prots))],
                           (enum vma_kind)random_below(&seed, 4)};
        size_t records = random_below(&seed, 4);
        stop = stop < m.n ? stop : m.n;
        if (applies(call, start, stop)) {
            try(call, start, stop, &new, records < 3 ? records : SIZE_MAX);
        }
        if (step % 64 == 0) {
            ask_everything();
            ask_for_gaps();
        }
    }
    vma_clear(&as);
    assert_int_equal(nrecords, 0);
}

/* ---- The ends of what there can be ---- */

static void
gaps_between_far_ends(void **unused)
{
    (void)unused;
    machine_explain = NULL;
    as.vmas = NULL;
    assert_int_equal(vma_gap(&as, USER_TOP - USER_MIN, USER_TOP), USER_MIN);
    assert_int_equal(vma_gap(&as, USER_TOP - USER_MIN + PGSIZE, USER_TOP), 0);
    assert_int_equal(vma_gap(&as, UINT64_MAX - PGSIZE + 1, USER_TOP), 0);
    assert_int_equal(vma_gap(&as, PGSIZE, USER_MIN), 0);
    assert_int_equal(vma_gap(&as, PGSIZE, 0), 0);
    assert_int_equal(vma_add(&as, USER_TOP - PGSIZE, USER_TOP, PROT_READ, VMA_ANON), 0);
    assert_int_equal(vma_gap(&as, PGSIZE, USER_TOP), USER_TOP - 2 * PGSIZE);
    assert_int_equal(vma_add(&as, USER_MIN, USER_TOP - PGSIZE, PROT_READ, VMA_ANON), 0);
    assert_int_equal(nrecords, 1);
    assert_int_equal(vma_gap(&as, PGSIZE, USER_TOP), 0);
    assert_true(vma_covers(&as, USER_MIN, USER_TOP));
    assert_false(vma_covers(&as, USER_MIN, USER_TOP + PGSIZE));
    assert_false(vma_covers(&as, USER_TOP, USER_TOP + PGSIZE));
    assert_false(vma_overlaps(&as, 0, USER_MIN));
    assert_int_equal(vma_remove(&as, 0, 2 * USER_TOP), 0);
    assert_null(as.vmas);
    assert_int_equal(nrecords, 0);
}

/* Range i of as many as there may be, each of three pages, with a page between it and the next. */
static uint64_t
range_at(size_t i)
{
    return USER_MIN + i * 4 * PGSIZE;
}

/* Where there are VMAS_MAX, only that is refused which would make it more, or could. */
static void
no_more_than_there_may_be(void **unused)
{
    const uint64_t first = range_at(0), inside = first + PGSIZE, behind = range_at(VMAS_MAX);

    (void)unused;
    for (size_t i = 0; i < VMAS_MAX; i++) {
        assert_int_equal(vma_add(&as, range_at(i), range_at(i) + 3 * PGSIZE, PROT_READ, VMA_ANON),
                         0);
    }
    assert_int_equal(vma_add(&as, behind, behind + PGSIZE, PROT_READ, VMA_ANON), -ENOMEM);
    assert_int_equal(vma_remove(&as, inside, inside + PGSIZE), -ENOMEM);
    assert_int_equal(vma_replace(&as, inside, inside + PGSIZE, PROT_NONE, VMA_ANON), -ENOMEM);
    assert_int_equal(vma_protect(&as, inside, inside + PGSIZE, PROT_NONE), -ENOMEM);
    assert_int_equal(vma_protect(&as, first, inside, PROT_NONE), -ENOMEM);
    assert_int_equal(nrecords, VMAS_MAX);
    assert_true(as.vmas->start == first && as.vmas->end == first + 3 * PGSIZE);

    assert_int_equal(vma_protect(&as, first, first + 3 * PGSIZE, PROT_NONE), 0);
    assert_int_equal(vma_add(&as, behind - PGSIZE, behind, PROT_READ, VMA_ANON), 0); /* joins */
    assert_int_equal(nrecords, VMAS_MAX);
    assert_int_equal(vma_remove(&as, first, first + 3 * PGSIZE), 0);
    assert_int_equal(vma_protect(&as, range_at(1), range_at(1) + PGSIZE, PROT_NONE), 0);
    assert_int_equal(nrecords, VMAS_MAX);
    assert_int_equal(vma_add(&as, first, first + PGSIZE, PROT_READ, VMA_ANON), -ENOMEM);
    vma_clear(&as);
    assert_int_equal(nrecords, 0);
}

static void
add_over(void *start)
{
    vma_add(&as, (uint64_t)start, (uint64_t)start + 2 * PGSIZE, PROT_READ, VMA_ANON);
}

/* vma_add where something is, or of nothing, is a mistake of the kernel's. */
static void
not_where_something_is(void **unused)
{
    (void)unused;
    assert_int_equal(vma_add(&as, 5 * PGSIZE, 7 * PGSIZE, PROT_READ, VMA_ANON), 0);
    for (uint64_t page = 4; page <= 6; page++) {
        assert_non_null(machine_panics(add_over, (void *)(page * PGSIZE)));
    }
    vma_clear(&as);
    assert_int_equal(nrecords, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_list_of_few_pages), cmocka_unit_test(many_calls_on_many_pages),
        cmocka_unit_test(gaps_between_far_ends),   cmocka_unit_test(no_more_than_there_may_be),
        cmocka_unit_test(not_where_something_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
