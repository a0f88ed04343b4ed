/*
 * kern/mmap.c over the ranges of kern/vma.c, the pages of kern/aspace.c and the tables of kern/vm.c, against a set of
 * pages and Linux's rules (mm/mmap.c and mm/mprotect.c of Linux 6.1), with memory that may run out at any point.
 */
#include "lib.h"

#include "errno.h"
#include "kalloc.h"
#include "mmap.h"
#include "space.h"
#include "types.h"
#include "vm.h"

#define PAGES_MAX SPACE_PAGES
#define CODE      0x400000u
#define RW        (PROT_READ | PROT_WRITE)

/* ---- The model ---- */

struct page {
    uint64_t va;
    int prot;
    enum vma_kind kind;
    uint64_t stamp; /* what is in it; 0: nothing yet */
};

static struct model {
    size_t n; /* by address */
    struct page page[PAGES_MAX];
    uint64_t brk_start, brk;
} m;
static struct aspace as;
static uint64_t seed, last_stamp;
static char doing[120];

static void
explain(void)
{
    fprintf(stderr, "%s, with", doing);
    for (size_t i = 0; i < m.n; i++) {
        fprintf(stderr, " %lx(%d%c)", (unsigned long)m.page[i].va, m.page[i].prot,
                "fhas"[m.page[i].kind]);
    }
    fprintf(stderr, " and the break at %lx:\n", (unsigned long)m.brk);
}

/* The first page at or behind va. */
static size_t
first_at(uint64_t va)
{
    size_t i = 0;

    while (i < m.n && m.page[i].va < va) {
        i++;
    }
    return i;
}

static const struct page *
page_at(uint64_t va)
{
    size_t i = first_at(va);

    return i < m.n && m.page[i].va == va ? &m.page[i] : NULL;
}

static size_t
count(uint64_t start, uint64_t stop)
{
    return first_at(stop) - first_at(start);
}

static void
forget(uint64_t start, uint64_t stop)
{
    size_t i = first_at(start), j = first_at(stop);

    memmove(&m.page[i], &m.page[j], (m.n - j) * sizeof(m.page[0]));
    m.n -= j - i;
}

static void
enter(uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    size_t i = first_at(start), n = (stop - start) / PGSIZE;

    assert_true(m.n + n <= PAGES_MAX);
    memmove(&m.page[i + n], &m.page[i], (m.n - i) * sizeof(m.page[0]));
    m.n += n;
    for (size_t j = 0; j < n; j++) {
        m.page[i + j] = (struct page){start + j * PGSIZE, prot, kind, 0};
    }
}

/* Are these two, one behind the other, in one range? */
static bool
together(const struct page *a, const struct page *b)
{
    return a && b && a->va + PGSIZE == b->va && a->prot == b->prot && a->kind == b->kind;
}

/* ---- Is all as the model says? ---- */

/* New pages are all zero; they get a stamp, and keep it. */
static void
check_contents(struct page *p, uint64_t pa)
{
    static const char zeroes[PGSIZE];
    uint64_t *frame = P2V(pa);

    if (p->stamp == 0) {
        if (memcmp(frame, zeroes, PGSIZE) != 0) {
            broken("the new page at %#lx is not zero", (unsigned long)p->va);
        }
        p->stamp = ++last_stamp;
        frame[last_stamp % 512] = last_stamp;
    } else if (frame[p->stamp % 512] != p->stamp) {
        broken("the page at %#lx is another one than before", (unsigned long)p->va);
    }
    if (p->prot & PROT_EXEC) {
        if (!space_synced(pa)) {
            broken("what is executed at %#lx may be something older", (unsigned long)p->va);
        }
    } else {
        space_forget_sync(pa);
    }
}

static size_t ntables;

static void
check(void)
{
    static struct leaf leaves[SPACE_PAGES];
    size_t n = space_leaves(as.root, leaves, &ntables), ranges = 0;
    const struct vma *v = as.vmas;

    if (n != m.n || as.pages != n) {
        broken("%zu pages are mapped, and as->pages is %zu, instead of %zu", n, as.pages, m.n);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t pa = PTE_ADDR(leaves[i].pte);
        struct page *p = &m.page[i];
        if (leaves[i].va != p->va || leaves[i].pte != space_pte(pa, p->prot)) {
            broken("page %zu is at %#lx, with the entry %#lx", i, (unsigned long)leaves[i].va,
                   (unsigned long)leaves[i].pte);
        }
        check_contents(p, pa);
        if (i > 0 && together(p - 1, p)) {
            continue;
        }
        size_t stop = i + 1;
        while (stop < n && together(&m.page[stop - 1], &m.page[stop])) {
            stop++;
        }
        if (!v || v->start != p->va || v->end != m.page[stop - 1].va + PGSIZE || v->prot != p->prot
            || v->kind != p->kind) {
            broken("the list of ranges is wrong at %#lx", (unsigned long)p->va);
        }
        v = v->next;
        ranges++;
    }
    if (v || space_records() != ranges) {
        broken("there are more ranges than %zu, or more records: %zu", ranges, space_records());
    }
    if (space_pages() != m.n + ntables) {
        broken("%zu pages are in use, by %zu pages and %zu tables", space_pages(), m.n, ntables);
    }
    if (as.brk_start != m.brk_start || as.brk != m.brk) {
        broken("the break is %#lx", (unsigned long)as.brk);
    }
}

/* ---- Linux's rules ---- */

#define TASK_SIZE (1UL << 48)
#define LOWEST    PGSIZE /* mmap_min_addr */
#define ALIGN(n)  (((n) + PGSIZE - 1) & ~(uint64_t)(PGSIZE - 1))
#define GUARD     0x3ffef000u

/* The highest place for len bytes below top; 0: none. */
static uint64_t
highest(uint64_t len, uint64_t top)
{
    for (size_t i = first_at(top) + 1; i-- > 0;) {
        uint64_t stop = i < m.n && m.page[i].va < top ? m.page[i].va : top;
        if (stop >= LOWEST && stop - LOWEST >= len && count(stop - len, stop) == 0) {
            return stop - len;
        }
    }
    return 0;
}

/* get_unmapped_area, but for what is done above the stack. */
static int64_t
unmapped_area(uint64_t addr, uint64_t len, bool fixed)
{
    if (len > TASK_SIZE || len > TASK_SIZE - LOWEST) {
        return -ENOMEM;
    }
    if (!fixed) {
        uint64_t hint = addr;
        addr = 0;
        if (hint != 0 && TASK_SIZE - len >= hint && count(hint, hint + len) == 0
            && (hint + len <= GUARD || hint >= GUARD + PGSIZE)) {
            addr = hint;
        }
        if (addr == 0) {
            addr = highest(len, GUARD);
        }
        if (addr == 0) {
            addr = highest(len, TASK_SIZE);
        }
        return addr != 0 ? (int64_t)addr : -ENOMEM;
    }
    if (addr > TASK_SIZE - len) {
        return -ENOMEM;
    }
    if (addr % PGSIZE != 0) {
        return -EINVAL;
    }
    return addr < LOWEST ? -EPERM : (int64_t)addr;
}

static int64_t
linux_mmap(uint64_t addr, uint64_t len, int prot, int flags)
{
    if ((prot & 6) == 6) {
        return -EACCES;
    }
    if (len == 0) {
        return -EINVAL;
    }
    if (flags & 0x100000) {
        flags |= 0x10;
    }
    if (!(flags & 0x10)) {
        addr &= ~(uint64_t)(PGSIZE - 1);
    }
    len = ALIGN(len);
    if (len == 0) {
        return -ENOMEM;
    }
    int64_t result = unmapped_area(addr, len, flags & 0x10);
    if (result < 0) {
        return result;
    }
    if ((flags & 0x100000) && count((uint64_t)result, (uint64_t)result + len) > 0) {
        return -EEXIST;
    }
    if (flags & 0x20) {
        return (flags & 0xf) == 2 ? result : -EINVAL; /* MAP_SHARED is not there yet */
    }
    return (flags & 0xf) >= 1 && (flags & 0xf) <= 3 ? -ENODEV : -EINVAL;
}

/* ---- With what there is ---- */

static size_t pages_left, records_left;

/* Is [start, stop) inside of a range, which goes on at both ends? */
static bool
inside(uint64_t start, uint64_t stop)
{
    for (uint64_t va = start - PGSIZE; va < stop; va += PGSIZE) {
        if (!together(page_at(va), page_at(va + PGSIZE))) {
            return false;
        }
    }
    return true;
}

/* How many records for a range where nothing is. */
static size_t
records_to_add(uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    const struct page *before = page_at(start - PGSIZE), *behind = page_at(stop);

    return (before && before->prot == prot && before->kind == kind)
                || (behind && behind->prot == prot && behind->kind == kind)
             ? 0
             : 1;
}

/* as_map: what it should return. */
static int64_t
map(uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    size_t n = (stop - start) / PGSIZE;

    if (n > pages_left || n + space_tables_missing(as.root, start, stop) > pages_left
        || records_to_add(start, stop, prot, kind) > records_left) {
        return -ENOMEM;
    }
    enter(start, stop, prot, kind);
    return 0;
}

static int64_t
map_over(uint64_t start, uint64_t stop, int prot)
{
    size_t more = (stop - start) / PGSIZE - count(start, stop);

    if (more > pages_left || more + space_tables_missing(as.root, start, stop) > pages_left
        || (size_t)(inside(start, stop) ? 2 : 1) > records_left) {
        return -ENOMEM;
    }
    forget(start, stop);
    enter(start, stop, prot, VMA_ANON);
    return 0;
}

static int64_t
unmap(uint64_t start, uint64_t stop)
{
    if (count(start, stop) > 0 && records_left == 0 && inside(start, stop)) {
        return -ENOMEM;
    }
    forget(start, stop);
    return 0;
}

static int64_t
expect_mmap(uint64_t addr, uint64_t len, int prot, int flags)
{
    int64_t place = linux_mmap(addr, len, prot, flags);

    if (place < 0) {
        return place;
    }
    uint64_t start = (uint64_t)place, stop = start + ALIGN(len);
    int64_t error = count(start, stop) > 0 ? map_over(start, stop, prot & 7)
                                           : map(start, stop, prot & 7, VMA_ANON);
    return error ? error : place;
}

static int64_t
expect_munmap(uint64_t addr, uint64_t len)
{
    if (addr % PGSIZE != 0 || addr > TASK_SIZE || len > TASK_SIZE - addr || ALIGN(len) == 0) {
        return -EINVAL;
    }
    return unmap(addr, addr + ALIGN(len));
}

static int64_t
expect_mprotect(uint64_t addr, uint64_t len, int prot)
{
    uint64_t stop = addr + ALIGN(len);
    size_t records = 0;

    bool down = prot & 0x1000000, up = prot & 0x2000000;

    prot &= ~0x3000000;
    if ((down && up) || addr % PGSIZE != 0) {
        return -EINVAL;
    }
    if (len == 0) {
        return 0;
    }
    if (stop <= addr) {
        return -ENOMEM;
    }
    if (prot & ~0xf) {
        return -EINVAL;
    }
    const struct page *p = page_at(addr);
    if (!p) {
        return -ENOMEM;
    }
    if (down || up) {
        return -EINVAL; /* no range grows */
    }
    if ((prot & 6) == 6) {
        return -EACCES;
    }
    if (count(addr, stop) != (stop - addr) / PGSIZE) {
        return -ENOMEM;
    }
    prot &= 7;
    records += together(page_at(addr - PGSIZE), p) && p->prot != prot;
    p = page_at(stop - PGSIZE);
    records += together(p, page_at(stop)) && p->prot != prot;
    if (records > records_left) {
        return -ENOMEM;
    }
    for (size_t i = first_at(addr); i < first_at(stop); i++) {
        m.page[i].prot = prot;
    }
    return 0;
}

static int64_t
expect_brk(uint64_t addr)
{
    uint64_t old = ALIGN(m.brk), new = ALIGN(addr);

    if (addr < m.brk_start || addr >= TASK_SIZE - PGSIZE) {
        return (int64_t)m.brk;
    }
    if (new < old && unmap(new, old) != 0) {
        return (int64_t)m.brk;
    }
    if (new > old) {
        bool guarded = old <= GUARD && new + PGSIZE > GUARD;
        if (count(old, new + PGSIZE) > 0 || guarded || map(old, new, RW, VMA_HEAP) != 0) {
            return (int64_t)m.brk;
        }
    }
    m.brk = addr;
    return (int64_t)addr;
}

/* ---- Calls ---- */

struct call {
    enum { MMAP, MUNMAP, MPROTECT, BRK } what;
    uint64_t addr, len;
    int prot, flags;
};

static int64_t
make_call(const struct call *c, bool expect)
{
    switch (c->what) {
    case MMAP:
        return (expect ? expect_mmap(c->addr, c->len, c->prot, c->flags)
                       : do_mmap(&as, c->addr, c->len, c->prot, c->flags));
    case MUNMAP:
        return expect ? expect_munmap(c->addr, c->len) : do_munmap(&as, c->addr, c->len);
    case MPROTECT:
        return expect ? expect_mprotect(c->addr, c->len, c->prot)
                      : do_mprotect(&as, c->addr, c->len, c->prot);
    default:
        return expect ? expect_brk(c->addr) : (int64_t)do_brk(&as, c->addr);
    }
}

/* With so many pages and records to be had. The result is the call's. */
static int64_t
call(struct call c, size_t pages, size_t records)
{
    static const char *const names[] = {"mmap", "munmap", "mprotect", "brk"};

    snprintf(doing, sizeof(doing), "%s(%#lx, %#lx, prot %d, flags %#x), %ld pages, %ld records",
             names[c.what], (unsigned long)c.addr, (unsigned long)c.len, c.prot, (unsigned)c.flags,
             (long)pages, (long)records);
    space_limit(pages, records);
    pages_left = space_available();
    records_left = records;
    int64_t expected = make_call(&c, true);
    space_asked = 0;
    int64_t result = make_call(&c, false);
    if (c.what == MMAP && c.len / PGSIZE > SPACE_PAGES && space_asked > 0) {
        broken("it takes %zu pages before it sees that there is no memory", space_asked);
    }
    space_limit(SPACE_NO_LIMIT, SPACE_NO_LIMIT);
    if (result != expected) {
        broken("it returns %#lx instead of %#lx", (unsigned long)result, (unsigned long)expected);
    }
    check();
    return result;
}

static int64_t
freely(struct call c)
{
    return call(c, SPACE_NO_LIMIT, SPACE_NO_LIMIT);
}

static int64_t
mmap_at(uint64_t addr, size_t pages, int prot, int more_flags)
{
    return freely(
        (struct call){MMAP, addr, pages * PGSIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS | more_flags});
}

static int64_t
munmap_at(uint64_t addr, size_t pages)
{
    return freely((struct call){MUNMAP, addr, pages * PGSIZE, 0, 0});
}

static int64_t
brk_at(uint64_t addr)
{
    return freely((struct call){BRK, addr, 0, 0, 0});
}

static void
program_page(uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    assert_int_equal(as_map(&as, start, stop, prot, kind), 0);
    enter(start, stop, prot, kind);
}

/* A program of five pages and its stack. */
static void
start_over(void)
{
    machine_explain = explain;
    space_start();
    memset(&as, 0, sizeof(as));
    m.n = 0;
    assert_int_equal(aspace_create(&as), 0);
    program_page(CODE, CODE + 3 * PGSIZE, PROT_READ | PROT_EXEC, VMA_FILE);
    program_page(CODE + 3 * PGSIZE, CODE + 5 * PGSIZE, RW, VMA_FILE);
    program_page(USER_STACK_TOP - USER_STACK_SIZE, USER_STACK_TOP, RW, VMA_STACK);
    m.brk_start = m.brk = as.brk_start = as.brk = CODE + 5 * PGSIZE;
    check();
}

/* Everything back. */
static void
end_all(void)
{
    vma_clear(&as);
    aspace_destroy(&as);
    assert_null(as.root);
    assert_int_equal(space_pages(), 0);
    assert_int_equal(space_records(), 0);
    machine_explain = NULL;
}

/* ---- Every argument alone ---- */

static const uint64_t edges[] = {0,
                                 1,
                                 PGSIZE - 1,
                                 PGSIZE,
                                 PGSIZE + 1,
                                 CODE,
                                 CODE + 1,
                                 CODE + 2 * PGSIZE,
                                 CODE + 5 * PGSIZE,
                                 GUARD - PGSIZE,
                                 GUARD,
                                 GUARD + PGSIZE,
                                 USER_STACK_TOP - PGSIZE,
                                 USER_STACK_TOP,
                                 1UL << 40,
                                 TASK_SIZE - 2 * PGSIZE,
                                 TASK_SIZE - PGSIZE - 1,
                                 TASK_SIZE - PGSIZE,
                                 TASK_SIZE - 1,
                                 TASK_SIZE,
                                 TASK_SIZE + 1,
                                 TASK_SIZE + PGSIZE,
                                 1UL << 63,
                                 0xffff000000000000u,
                                 UINT64_MAX - PGSIZE,
                                 UINT64_MAX - PGSIZE + 1,
                                 UINT64_MAX - PGSIZE + 2,
                                 UINT64_MAX};

static void
every_edge_of_every_call(void **state)
{
    static const int flags[] = {0x22, 0x32,    0x100022, 0x100032, 0x21,     0x31,
                                0x20, 0x02,    0x12,     0x01,     0x03,     0x00,
                                0x04, 0x0f,    0x2f,     0x24,     0x100021, 0x100002,
                                -1,   0x20022, 0x40002,  0x4000022};
    static const int prots[] = {0, 1, 2,  3,  4,         5,         6,         7,
                                8, 9, 14, 16, 0x1000001, 0x2000007, INT32_MIN, -1};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
        start_over();
        for (size_t j = 0; j < ARRAY_SIZE(edges); j++) {
            freely((struct call){MUNMAP, edges[i], edges[j], 0, 0});
            for (size_t k = 0; k < ARRAY_SIZE(prots); k++) {
                freely((struct call){MPROTECT, edges[i], edges[j], prots[k], 0});
            }
        }
        end_all();
        for (size_t j = 0; j < ARRAY_SIZE(edges); j++) {
            start_over();
            for (size_t k = 0; k < ARRAY_SIZE(flags); k++) {
                freely((struct call){MMAP, edges[i], edges[j], RW, flags[k]});
                freely((struct call){MMAP, edges[i], edges[j], RW, flags[k]});
            }
            freely((struct call){BRK, edges[i], 0, 0, 0});
            freely((struct call){BRK, edges[j], 0, 0, 0});
            end_all();
        }
    }
    for (size_t k = 0; k < ARRAY_SIZE(prots); k++) {
        start_over();
        for (size_t j = 0; j < ARRAY_SIZE(flags); j++) {
            freely((struct call){MMAP, CODE, PGSIZE, prots[k], flags[j]});
            freely((struct call){MMAP, 0, 0, prots[k], flags[j]});
            freely((struct call){MPROTECT, CODE + 3 * PGSIZE, PGSIZE, prots[k], 0});
        }
        end_all();
    }
}

/* What the rules come to, in numbers. */
static void
results_in_numbers(void **state)
{
    (void)state;
    start_over();
    assert_int_equal(mmap_at(0, 1, RW, 0), 0x3ffee000);
    assert_int_equal(mmap_at(0, 2, RW, 0), 0x3ffec000);
    assert_int_equal(mmap_at(0x10000123, 1, RW, 0), 0x10000000);
    assert_int_equal(mmap_at(0x10000000, 1, RW, 0), 0x3ffeb000);
    assert_int_equal(mmap_at(GUARD, 1, RW, 0), 0x3ffea000);
    assert_int_equal(mmap_at(GUARD, 1, RW, MAP_FIXED), GUARD);
    assert_int_equal(mmap_at(USER_STACK_TOP, 1, RW, 0), USER_STACK_TOP);
    assert_int_equal(mmap_at(0, 1, RW, MAP_FIXED), -EPERM);
    assert_int_equal(mmap_at(CODE, 1, RW, MAP_FIXED_NOREPLACE), -EEXIST);
    assert_int_equal(mmap_at(CODE, 1, RW, MAP_FIXED), CODE);
    assert_int_equal(mmap_at(0, 1UL << 28, RW, 0), -ENOMEM); /* 1 TiB */
    assert_int_equal(mmap_at(0, 1, PROT_WRITE | PROT_EXEC, 0), -EACCES);
    assert_int_equal(munmap_at(CODE, 1UL << 28), 0);
    assert_int_equal(m.n, 0);
    assert_int_equal(munmap_at(CODE, 1UL << 28), 0);
    end_all();
}

static void
the_break(void **state)
{
    uint64_t start = CODE + 5 * PGSIZE;

    (void)state;
    start_over();
    assert_int_equal(brk_at(0), start);
    assert_int_equal(brk_at(start - 1), start);
    assert_int_equal(brk_at(start + 1), start + 1);
    assert_int_equal(brk_at(start + PGSIZE), start + PGSIZE);
    assert_int_equal(count(start, USER_MMAP_TOP), 1);
    assert_int_equal(brk_at(start + 80 * PGSIZE + 5), start + 80 * PGSIZE + 5);
    assert_int_equal(brk_at(start + 40 * PGSIZE + 1), start + 40 * PGSIZE + 1);
    assert_int_equal(count(start, USER_MMAP_TOP), 41);
    /* Something behind it: a page stays free in between. */
    assert_int_equal(mmap_at(start + 50 * PGSIZE, 1, RW, 0), start + 50 * PGSIZE);
    assert_int_equal(brk_at(start + 49 * PGSIZE + 1), start + 40 * PGSIZE + 1);
    assert_int_equal(brk_at(start + 49 * PGSIZE), start + 49 * PGSIZE);
    /* What is in its way when it shrinks goes. */
    assert_int_equal(mmap_at(start + 20 * PGSIZE, 2, PROT_READ, MAP_FIXED), start + 20 * PGSIZE);
    assert_int_equal(brk_at(start), start);
    assert_int_equal(count(start, start + 50 * PGSIZE), 0);
    /* No memory, and not even addresses. */
    assert_int_equal(brk_at(start + SPACE_PAGES * PGSIZE), start);
    munmap_at(start + 50 * PGSIZE, 1);
    assert_int_equal(brk_at(GUARD - PGSIZE), start);
    assert_int_equal(brk_at(USER_TOP), start);
    assert_int_equal(brk_at(UINT64_MAX), start);
    end_all();
    /* Below the stack, and above it. */
    start_over();
    m.brk_start = m.brk = as.brk_start = as.brk = GUARD - 3 * PGSIZE;
    assert_int_equal(brk_at(GUARD - PGSIZE + 1), GUARD - 3 * PGSIZE);
    assert_int_equal(brk_at(GUARD - PGSIZE), GUARD - PGSIZE);
    assert_int_equal(brk_at(USER_STACK_TOP + PGSIZE), GUARD - PGSIZE);
    end_all();
    start_over();
    m.brk_start = m.brk = as.brk_start = as.brk = USER_TOP - 5 * PGSIZE;
    assert_int_equal(brk_at(USER_TOP - PGSIZE), USER_TOP - 5 * PGSIZE);
    assert_int_equal(brk_at(USER_TOP - PGSIZE - 1), USER_TOP - PGSIZE - 1);
    end_all();
}

/* ---- Any calls, and memory that runs out ---- */

static uint64_t
some_address(void)
{
    static const uint64_t bases[] = {0,
                                     CODE - 4 * PGSIZE,
                                     CODE + 4 * PGSIZE,
                                     CODE + 12 * PGSIZE,
                                     BLOCK2M * 3 - 8 * PGSIZE,
                                     GUARD - 12 * PGSIZE,
                                     GUARD - 30 * PGSIZE,
                                     USER_STACK_TOP - 4 * PGSIZE,
                                     (1UL << 39) - 4 * PGSIZE,
                                     TASK_SIZE - 12 * PGSIZE};
    uint64_t va = bases[random_below(&seed, ARRAY_SIZE(bases))] + random_below(&seed, 16) * PGSIZE;

    return random_below(&seed, 12) == 0 ? va + random_below(&seed, PGSIZE) : va;
}

static uint64_t
some_length(void)
{
    uint64_t kind = random_below(&seed, 20);

    if (kind == 0) {
        return edges[random_below(&seed, ARRAY_SIZE(edges))];
    }
    if (kind == 1) {
        return random_below(&seed, 150 * PGSIZE);
    }
    return random_below(&seed, 8) * PGSIZE + (random_below(&seed, 4) == 0 ? 123 : 0);
}

static struct call
some_call(void)
{
    static const int prots[] = {PROT_NONE, PROT_READ, RW, RW, RW, PROT_READ | PROT_EXEC,
                                PROT_EXEC, PROT_WRITE};
    static const int flags[] = {0x22, 0x22, 0x32, 0x32, 0x32, 0x100022, 0x21};
    struct call c = {(int)random_below(&seed, 4), some_address(), some_length(),
                     prots[random_below(&seed, ARRAY_SIZE(prots))],
                     flags[random_below(&seed, ARRAY_SIZE(flags))]};

    if (random_below(&seed, 30) == 0) {
        c.prot = (int)random_below(&seed, 20);
    }
    if (c.what == BRK && random_below(&seed, 2) == 0) {
        c.addr = m.brk_start + random_below(&seed, 40 * PGSIZE);
    }
    return c;
}

static void
any_calls(void **state)
{
    (void)state;
    for (size_t round = 0; round < 40; round++) {
        seed = round;
        start_over();
        for (size_t step = 0; step < 400; step++) {
            bool limited = random_below(&seed, 4) == 0;
            if (m.n > 500) {
                munmap_at(0, 1UL << 36);
            }
            call(some_call(), limited ? random_below(&seed, 12) : SPACE_NO_LIMIT,
                 limited ? random_below(&seed, 3) : SPACE_NO_LIMIT);
        }
        end_all();
    }
}

/* With nothing to be had, then with one more each time, until the call goes through. Returns how often it did not. */
static size_t
until_there_is_enough(struct call c, bool of_pages)
{
    size_t failed = 0;

    for (size_t n = 0; n < 200; n++, failed++) {
        uint64_t before = m.brk;
        int64_t result = call(c, of_pages ? n : SPACE_NO_LIMIT, of_pages ? SPACE_NO_LIMIT : n);
        if (c.what == BRK ? m.brk != before || n > 60 : result != -ENOMEM) {
            break;
        }
    }
    return failed;
}

static void
every_page_and_record_fails(void **state)
{
    size_t failed = 0;

    (void)state;
    for (size_t round = 0; round < 12; round++) {
        seed = 1000 + round;
        start_over();
        for (size_t step = 0; step < 300; step++) {
            struct call c = some_call();
            c.len %= (step % 8 == 0 ? 80 : 12) * PGSIZE;
            failed += until_there_is_enough(c, step % 2);
            if (m.n > 400) {
                munmap_at(0, 1UL << 36);
            }
        }
        end_all();
    }
    print_message("[          ] %zu times there was not enough\n", failed);
}

/* ---- What is there stays there, or goes ---- */

/* In place of 100 pages, when there are only just as many: none is needed besides. */
static void
in_place_of_what_is_there(void **state)
{
    struct call c = {MMAP, 0x10000000, 100 * PGSIZE, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED};

    (void)state;
    start_over();
    assert_int_equal(mmap_at(c.addr, 100, RW, 0), c.addr);
    assert_int_equal(call(c, 0, 1), c.addr);
    c.len += PGSIZE;
    assert_int_equal(call(c, 0, 1), -ENOMEM);
    assert_int_equal(call(c, 1, 1), c.addr);
    c.addr -= 50 * PGSIZE;
    c.len = 200 * PGSIZE;
    assert_int_equal(call(c, 99, 1), -ENOMEM); /* it wants one more, for a table */
    assert_int_equal(call(c, 100, 1), c.addr);
    assert_int_equal(mmap_at(c.addr, 200, RW, MAP_FIXED), c.addr);

    /* A page that somebody else uses, too, does not come back. */
    c = (struct call){MMAP, 0x10000000, PGSIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED};
    uint64_t pa = V2P(space_frame(as.root, c.addr));
    assert_int_equal(page_share(pa), 2);
    space_limit(0, 2);
    assert_int_equal(do_mmap(&as, c.addr, c.len, c.prot, c.flags), -ENOMEM);
    check();
    space_limit(1, 2);
    assert_int_equal(do_mmap(&as, c.addr, c.len, c.prot, c.flags), c.addr);
    space_limit(SPACE_NO_LIMIT, SPACE_NO_LIMIT);
    forget(c.addr, c.addr + PGSIZE);
    enter(c.addr, c.addr + PGSIZE, c.prot, VMA_ANON);
    assert_int_equal(page_refs(pa), 1);
    kfree(P2V(pa));
    check();
    end_all();
}

/* ---- Exercises that are not written, or wrong ---- */

// NOLINTBEGIN(bugprone-reserved-identifier): the linker chose these names
int __real_user_alloc(struct aspace *space, uint64_t va, int prot);
int __wrap_user_alloc(struct aspace *space, uint64_t va, int prot);
int __real_user_protect(struct aspace *space, uint64_t va, int prot);
int __wrap_user_protect(struct aspace *space, uint64_t va, int prot);
// NOLINTEND(bugprone-reserved-identifier)

static uint64_t refused; /* user_alloc and user_protect refuse this page */

int
__wrap_user_alloc(struct aspace *space, uint64_t va, int prot)
{
    return va == refused ? -EEXIST : __real_user_alloc(space, va, prot);
}

int
__wrap_user_protect(struct aspace *space, uint64_t va, int prot)
{
    return va == refused ? -ENOENT : __real_user_protect(space, va, prot);
}

static void
with_broken_exercises(void **state)
{
    uint64_t va = 0x10000000;

    (void)state;
    start_over();
    assert_int_equal(mmap_at(va, 4, RW, 0), va);
    refused = va + 2 * PGSIZE;
    assert_int_equal(do_mmap(&as, va, 4 * PGSIZE, RW, 0x32), -EEXIST);
    forget(va, va + 4 * PGSIZE); /* at least it is known what is there */
    check();
    refused = va + PGSIZE;
    assert_int_equal(do_mmap(&as, va, 4 * PGSIZE, RW, 0x32), -EEXIST);
    check();
    refused = 0;
    assert_int_equal(mmap_at(va, 2, RW, 0), va);
    refused = va + PGSIZE;
    assert_int_equal(do_mprotect(&as, va, 2 * PGSIZE, RW), -ENOENT);
    refused = 0;
    assert_int_equal(munmap_at(va, 2), 0);

    /* A range without its pages, and even without a table. */
    assert_int_equal(vma_add(&as, va, va + 2 * PGSIZE, RW, VMA_ANON), 0);
    assert_int_equal(do_mprotect(&as, va, 2 * PGSIZE, PROT_READ), 0);
    assert_int_equal(do_munmap(&as, va, 2 * PGSIZE), 0);
    assert_int_equal(vma_add(&as, 1UL << 40, (1UL << 40) + 2 * PGSIZE, RW, VMA_ANON), 0);
    assert_int_equal(do_mprotect(&as, 1UL << 40, PGSIZE, PROT_READ), 0);
    assert_int_equal(do_mmap(&as, 1UL << 40, PGSIZE, RW, 0x32), 1UL << 40);
    assert_int_equal(do_munmap(&as, 1UL << 40, 2 * PGSIZE), 0);
    check();
    end_all();
}

/* ---- kern/aspace.c, as far as mmap.c does not come to it ---- */

static void
pages_that_are_there_or_not(void **state)
{
    (void)state;
    start_over();
    for (int prot = 0; prot < 6; prot++) {
        assert_int_equal(user_pte(prot) | PTE_SH | PTE_AF | PTE_PAGE, space_pte(0, prot));
    }
    assert_int_equal(user_alloc(&as, CODE, RW), -EEXIST);
    check();
    for (uint64_t va = CODE + 5 * PGSIZE; va < 1UL << 41; va <<= 9) {
        assert_int_equal(user_free(&as, va), -ENOENT);
        assert_int_equal(user_protect(&as, va, RW), -ENOENT);
    }
    check();
    end_all();

    space_limit(0, 0);
    assert_int_equal(aspace_create(&as), -ENOMEM);
    space_start();
    assert_int_equal(space_pages(), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_edge_of_every_call),
        cmocka_unit_test(results_in_numbers),
        cmocka_unit_test(the_break),
        cmocka_unit_test(any_calls),
        cmocka_unit_test(every_page_and_record_fails),
        cmocka_unit_test(in_place_of_what_is_there),
        cmocka_unit_test(with_broken_exercises),
        cmocka_unit_test(pages_that_are_there_or_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
