/*
 * kern/fork.c, kern/pagefault.c and kern/pager.c, with kern/mmap.c as it is in lab 6: several processes share what
 * they can, and each of them sees memory as if it were alone. Against one array of pages a process, with memory that
 * may run out at any point.
 */
#include "lib.h"

#include "elf_file.h"
#include "errno.h"
#include "fork.h"
#include "kalloc.h"
#include "mmap.h"
#include "pagefault.h"
#include "pmm.h"
#include "space.h"
#include "types.h"
#include "vm.h"

#define RW (PROT_READ | PROT_WRITE)

/* ---- The model ---- */

/* All pages that anything is done with: the program, the heap, on both sides of a table's end, far away, the stack. */
static const struct area {
    uint64_t start;
    size_t n;
    enum vma_kind kind;
} areas[] = {
    {0x400000, 6, VMA_FILE},
    {0x406000, 5, VMA_HEAP},
    {0x10000000 - 5 * PGSIZE, 10, VMA_ANON},
    {1UL << 40, 3, VMA_ANON},
    {USER_STACK_TOP - 4 * PGSIZE, 4, VMA_STACK},
};
#define FILE_AREA  0
#define HEAP_AREA  1
#define STACK_AREA 4
#define SLOTS      28

static uint64_t va_of[SLOTS];
static size_t first_of[ARRAY_SIZE(areas)];

struct page {
    bool there; /* in a range */
    int prot;
    enum vma_kind kind;
    uint64_t stamp; /* its first and last word, after a write; 0: as it was */
};

#define SPACES 4

static struct space {
    struct aspace as; /* root is NULL: there is no such process */
    struct page page[SLOTS];
} space[SPACES];

static uint8_t file[GOOD_SIZE] __attribute__((aligned(16)));
static uint64_t seed, stamps;
static char doing[120] = "at the start";

unsigned long forked_tpidr_el0;
static struct proc running;

static void
explain(void)
{
    fprintf(stderr, "%s:\n", doing);
}

/* What the page has before anybody writes to it. */
static void
fresh(uint64_t va, enum vma_kind kind, uint8_t contents[PGSIZE])
{
    struct elf elf;

    memset(contents, 0, PGSIZE);
    if (kind != VMA_FILE) {
        return;
    }
    assert_int_equal(elf_read(file, sizeof(file), USER_MMAP_TOP, &elf, NULL), 0);
    for (size_t i = 0; i < elf.nsegments; i++) {
        const struct elf_segment *s = &elf.segment[i];
        uint64_t from = MAX(va, s->va), to = MIN(va + PGSIZE, s->va + s->filesz);
        if (from < to) {
            memcpy(contents + (from - va), file + s->offset + (from - s->va), to - from);
        }
    }
}

static void
check_contents(const struct page *p, uint64_t va, const char *frame)
{
    uint8_t expected[PGSIZE];

    fresh(va, p->kind, expected);
    if (p->stamp != 0) {
        memcpy(expected, &p->stamp, sizeof(p->stamp));
        memcpy(expected + PGSIZE - sizeof(p->stamp), &p->stamp, sizeof(p->stamp));
    }
    if (memcmp(frame, expected, PGSIZE) != 0) {
        broken("%#lx has what it should not have", (unsigned long)va);
    }
}

/* ---- What holds at any time ---- */

static uint64_t users[SPACES * SPACE_PAGES]; /* a frame's address for each user */
static size_t nusers;

static void
add_user(uint64_t pa)
{
    users[nusers++] = pa;
}

static int
by_address(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The number of users of each frame is right. Returns how many nframes there are. */
static size_t
check_users(void)
{
    size_t nframes = 0;

    qsort(users, nusers, sizeof(users[0]), by_address);
    for (size_t i = 0, n; i < nusers; i += n, nframes++) {
        for (n = 1; i + n < nusers && users[i + n] == users[i];) {
            n++;
        }
        if (page_refs(users[i]) != n) {
            broken("frame %#lx has %zu users, and counts %u", (unsigned long)users[i], n,
                   page_refs(users[i]));
        }
    }
    return nframes;
}

static void
check_ranges(const struct space *s)
{
    for (size_t i = 0; i < SLOTS; i++) {
        const struct page *p = &s->page[i];
        const struct vma *v = vma_find(&s->as, va_of[i]);
        if (!v != !p->there || (v && (v->prot != p->prot || v->kind != p->kind))) {
            broken("the range at %#lx is not as it should be", (unsigned long)va_of[i]);
        }
    }
}

static size_t
slot_of(uint64_t va)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (va_of[i] == va) {
            return i;
        }
    }
    broken("%#lx is mapped", (unsigned long)va);
}

static void
check_leaf(const struct space *s, const struct leaf *leaf)
{
    const struct page *p = &s->page[slot_of(leaf->va)];
    bool writable = (leaf->pte & PTE_RO) == 0;
    uint64_t pa = PTE_ADDR(leaf->pte);

    if (!p->there || (writable && (!(p->prot & PROT_WRITE) || page_refs(pa) != 1))
        || leaf->pte != space_pte(pa, writable ? p->prot : p->prot & ~PROT_WRITE)) {
        broken("the entry for %#lx is %#lx", (unsigned long)leaf->va, (unsigned long)leaf->pte);
    }
    if ((p->prot & PROT_EXEC) && !space_synced(pa)) {
        broken("what is executed at %#lx may be something older", (unsigned long)leaf->va);
    }
    check_contents(p, leaf->va, P2V(pa));
    add_user(pa);
}

static size_t nimages;

static void
check(void)
{
    static struct leaf leaves[SPACE_PAGES];
    size_t tables = 0, records = nimages, ntables;

    nusers = 0;
    for (struct space *s = space; s < space + SPACES; s++) {
        if (!s->as.root) {
            continue;
        }
        size_t n = space_leaves(s->as.root, leaves, &ntables);
        if (n != s->as.pages) {
            broken("%zu pages, counted as %zu", n, s->as.pages);
        }
        check_ranges(s);
        for (size_t i = 0; i < n; i++) {
            check_leaf(s, &leaves[i]);
        }
        for (const struct vma *v = s->as.vmas; v; v = v->next) {
            records++;
        }
        tables += ntables;
    }
    pager_each(add_user);
    size_t nframes = check_users();
    if (nframes + tables != space_pages() || records != space_records()) {
        broken("%zu frames, %zu tables and %zu records, but %zu pages and %zu records are in use",
               nframes, tables, records, space_pages(), space_records());
    }
}

/* ---- Processes come and go ---- */

/* What the program and its stack are in a new process. */
static void
enter(struct space *s, size_t area, size_t i, int prot)
{
    size_t slot = first_of[area] + i;

    s->page[slot] = (struct page){true, prot, areas[area].kind, 0};
    assert_int_equal(vma_add(&s->as, va_of[slot], va_of[slot] + PGSIZE, prot, areas[area].kind), 0);
}

static void
begin(struct space *s)
{
    memset(s, 0, sizeof(*s));
    assert_int_equal(aspace_create(&s->as), 0);
    assert_int_equal(image_get(file, sizeof(file), &s->as.image), 0);
    nimages = 1;
    for (size_t i = 0; i < areas[FILE_AREA].n; i++) {
        enter(s, FILE_AREA, i, i == 0 ? PROT_READ | PROT_EXEC : i == 1 ? PROT_READ : RW);
    }
    for (size_t i = 0; i < areas[STACK_AREA].n; i++) {
        enter(s, STACK_AREA, i, RW);
    }
    s->as.brk_start = s->as.brk = areas[HEAP_AREA].start;
}

static size_t
count_spaces(void)
{
    size_t n = 0;

    for (size_t i = 0; i < SPACES; i++) {
        n += space[i].as.root != NULL;
    }
    return n;
}

static void
finish(struct space *s)
{
    vma_clear(&s->as);
    aspace_destroy(&s->as);
    image_put(s->as.image);
    nimages = count_spaces() > 0;
}

static void
start_over(void)
{
    machine_explain = explain;
    space_start();
    memset(space, 0, sizeof(space));
    zero_page = 0;
    space_limit(0, 0);
    assert_int_equal(pager_init(), -ENOMEM);
    space_limit(SPACE_NO_LIMIT, SPACE_NO_LIMIT);
    assert_int_equal(pager_init(), 0);
    assert_int_equal(pager_init(), 0); /* once more is no mistake */
    begin(&space[0]);
    check();
}

static void
finish_all(void)
{
    for (size_t i = 0; i < SPACES; i++) {
        if (space[i].as.root) {
            finish(&space[i]);
            check();
        }
    }
    assert_int_equal(space_pages(), 1); /* of zeroes */
    assert_int_equal(space_records(), 0);
    machine_explain = NULL;
}

/* ---- Calls, without and with memory enough ---- */

struct call {
    enum { READ, WRITE, EXECUTE, FORK, MMAP, MUNMAP, MPROTECT, BRK, CALLS } what;
    struct space *s, *child;
    size_t slot, n;
    int prot;
};

static int
right_to(const struct call *c)
{
    return c->what == READ ? PROT_READ : c->what == WRITE ? PROT_WRITE : PROT_EXEC;
}

/* Would the processor do it? */
static bool
is_allowed(uint64_t pte, int access)
{
    return (pte & PTE_P) && (pte & PTE_USER)
        && (access == PROT_READ || (access == PROT_WRITE ? !(pte & PTE_RO) : !(pte & PTE_UXN)));
}

/* Like a program: it tries, and tries again after a fault. */
static int64_t
touch(const struct call *c)
{
    uint64_t va = va_of[c->slot];
    const uint64_t *entry = pgdir_walk(c->s->as.root, (const void *)va, 0);
    uint64_t before = entry ? *entry : 0, pa = PTE_ADDR(before);
    unsigned refs = before & PTE_P ? page_refs(pa) : 0;

    if (!is_allowed(before, right_to(c))) {
        int error = page_fault(&c->s->as, va + random_below(&seed, PGSIZE), right_to(c));
        if (error) {
            return error;
        }
        entry = pgdir_walk(c->s->as.root, (const void *)va, 0);
        if (!entry || !is_allowed(*entry, right_to(c))) {
            broken("%#lx faults again", (unsigned long)va);
        }
        /* A page that nobody else uses is not copied; one that others use is not written to. */
        if (refs > 0 && (refs == 1) != (PTE_ADDR(*entry) == pa)) {
            broken("%#lx of %u users, %#lx before, now %#lx", (unsigned long)va, refs,
                   (unsigned long)pa, (unsigned long)PTE_ADDR(*entry));
        }
    } else {
        assert_int_equal(page_fault(&c->s->as, va, right_to(c)), 0); /* somebody was faster */
        assert_int_equal(*entry, before);
    }
    return 0;
}

static int64_t
do_fork(const struct call *c)
{
    struct aspace *to = &c->child->as;

    memset(c->child, 0, sizeof(*c->child));
    assert_int_equal(aspace_create(to), 0);
    int error = aspace_copy(to, &c->s->as);
    if (error) {
        for (size_t i = 0; i < NPTE; i++) {
            assert_int_equal(to->root[i], 0);
        }
        assert_null(to->vmas);
        assert_int_equal(to->pages, 0);
        aspace_destroy(to);
        return error;
    }
    assert_int_equal(to->brk, c->s->as.brk);
    assert_int_equal(to->brk_start, c->s->as.brk_start);
    to->image = image_share(c->s->as.image);
    for (size_t i = 0; i < SLOTS; i++) { /* nothing is copied now */
        assert_ptr_equal(space_frame(to->root, va_of[i]), space_frame(c->s->as.root, va_of[i]));
    }
    return 0;
}

static int64_t
do_call(const struct call *c)
{
    struct aspace *as = &c->s->as;
    uint64_t va = va_of[c->slot], len = c->n * PGSIZE;

    switch (c->what) {
    case FORK:
        return do_fork(c);
    case MMAP:
        return do_mmap(as, va, len, c->prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
    case MUNMAP:
        return do_munmap(as, va, len);
    case MPROTECT:
        return do_mprotect(as, va, len, c->prot);
    case BRK:
        return do_brk(as, areas[HEAP_AREA].start + len) == areas[HEAP_AREA].start + len ? 0
                                                                                        : -ENOMEM;
    default:
        return touch(c);
    }
}

/* What it must return when there is memory. */
static int64_t
expected(const struct call *c)
{
    const struct page *p = &c->s->page[c->slot];

    if (c->what <= EXECUTE) {
        return p->there && (p->prot & right_to(c)) ? 0 : -EFAULT;
    }
    for (size_t i = 0; c->what == MPROTECT && i < c->n; i++) {
        if (!p[i].there) {
            return -ENOMEM;
        }
    }
    return c->what == MMAP ? (int64_t)va_of[c->slot] : 0;
}

static void
happens(const struct call *c)
{
    struct page *p = &c->s->page[c->slot];
    int prot = c->prot == PROT_NONE ? PROT_NONE : c->prot | PROT_READ;

    if (c->what == FORK) {
        memcpy(c->child->page, c->s->page, sizeof(c->s->page));
    } else if (c->what == WRITE) {
        char *frame = space_frame(c->s->as.root, va_of[c->slot]);
        p->stamp = ++stamps;
        memcpy(frame, &p->stamp, sizeof(p->stamp));
        memcpy(frame + PGSIZE - sizeof(p->stamp), &p->stamp, sizeof(p->stamp));
    } else if (c->what == BRK) {
        p = &c->s->page[first_of[HEAP_AREA]];
        for (size_t i = 0; i < areas[HEAP_AREA].n; i++) {
            bool was = p[i].there;
            if (was != (i < c->n)) {
                p[i] = was ? (struct page){0} : (struct page){true, RW, VMA_HEAP, 0};
            }
        }
    }
    for (size_t i = 0; i < c->n && c->what >= MMAP && c->what <= MPROTECT; i++) {
        if (c->what == MPROTECT) {
            p[i].prot = prot;
        } else {
            p[i] = (struct page){0};
        }
        if (c->what == MMAP) {
            p[i] = (struct page){true, prot, VMA_ANON, 0};
        }
    }
}

static void
call(const struct call *c)
{
    static const char *const names[] = {"read", "write",  "execute",  "fork",
                                        "mmap", "munmap", "mprotect", "brk"};
    int64_t result;

    snprintf(doing, sizeof(doing), "%s by process %zu, %#lx, %zu pages, rights %d", names[c->what],
             (size_t)(c->s - space), (unsigned long)va_of[c->slot], c->n, c->prot);
    result = do_call(c);
    if (result != expected(c)) {
        broken("the result is %ld, not %ld", (long)result, (long)expected(c));
    }
    if (result >= 0) {
        happens(c);
    }
    check();
}

/* The same, but at first with less and less missing: until it works, each call fails and changes nothing. */
static size_t
call_poor(const struct call *c)
{
    size_t root = c->what == FORK, kind = random_below(&seed, 3); /* pages, records, both */

    if (expected(c) < 0) {
        call(c);
        return 0;
    }
    for (size_t n = 0; n < 100; n++) {
        snprintf(doing, sizeof(doing), "call %d by process %zu, %#lx, with %zu of %s", (int)c->what,
                 (size_t)(c->s - space), (unsigned long)va_of[c->slot], n,
                 kind == 0   ? "pages"
                 : kind == 1 ? "records"
                             : "both");
        space_limit(kind != 1 ? n + root : SPACE_NO_LIMIT, kind != 0 ? n : SPACE_NO_LIMIT);
        int64_t result = do_call(c);
        space_limit(SPACE_NO_LIMIT, SPACE_NO_LIMIT);
        if (result >= 0) {
            happens(c);
            check();
            return n;
        }
        assert_int_equal(result, -ENOMEM);
        check();
    }
    broken("it always fails");
}

static void
read_only_once(struct space *s, size_t slot)
{
    call(&(struct call){READ, s, NULL, slot, 1, 0});
}

static void
write_to(struct space *s, size_t slot)
{
    call(&(struct call){WRITE, s, NULL, slot, 1, 0});
}

static void
fork_to(struct space *parent, struct space *child)
{
    call(&(struct call){FORK, parent, child, 0, 0, 0});
}

/* ---- One thing after the other ---- */

static void
what_is_read_is_shared(void **state)
{
    size_t heap = first_of[HEAP_AREA], text = first_of[FILE_AREA], data_slot = text + 2;

    (void)state;
    start_over();
    size_t before = space_pages();
    call(&(struct call){BRK, &space[0], NULL, heap, 3, 0});
    assert_int_equal(space_pages(), before);
    read_only_once(&space[0], heap);
    read_only_once(&space[0], heap + 1);
    assert_int_equal(page_refs(zero_page), 3);
    assert_int_equal(space_pages(), before + 3); /* tables */

    /* A program that runs twice has its pages once; the second time, also what has been written to since. */
    begin(&space[1]);
    assert_ptr_equal(space[0].as.image, space[1].as.image);
    call(&(struct call){EXECUTE, &space[0], NULL, text, 1, 0});
    call(&(struct call){EXECUTE, &space[1], NULL, text, 1, 0});
    assert_ptr_equal(space_frame(space[0].as.root, va_of[text]),
                     space_frame(space[1].as.root, va_of[text]));
    write_to(&space[0], data_slot);
    read_only_once(&space[1], data_slot);
    finish_all();
}

static void
who_writes_last_does_not_copy(void **state)
{
    size_t stack = first_of[STACK_AREA];

    (void)state;
    start_over();
    write_to(&space[0], stack);
    char *frame = space_frame(space[0].as.root, va_of[stack]);
    fork_to(&space[0], &space[1]);
    fork_to(&space[1], &space[2]);
    assert_int_equal(page_refs(V2P(frame)), 3);
    write_to(&space[0], stack);
    write_to(&space[1], stack);
    assert_ptr_not_equal(space_frame(space[0].as.root, va_of[stack]), frame);
    assert_int_equal(page_refs(V2P(frame)), 1);
    write_to(&space[2], stack);
    assert_ptr_equal(space_frame(space[2].as.root, va_of[stack]), frame);
    finish_all();
}

/* Where there are as many users as can be counted, nothing changes. */
static void
a_page_that_cannot_be_shared(void **state)
{
    size_t heap = first_of[HEAP_AREA], text = first_of[FILE_AREA], stack = first_of[STACK_AREA];

    (void)state;
    start_over();
    call(&(struct call){BRK, &space[0], NULL, heap, 3, 0});
    write_to(&space[0], stack);
    read_only_once(&space[0], text);
    const uint64_t pa[] = {zero_page, V2P(space_frame(space[0].as.root, va_of[text])),
                           V2P(space_frame(space[0].as.root, va_of[stack]))};
    unsigned more[ARRAY_SIZE(pa)] = {0};
    begin(&space[1]);
    for (size_t i = 0; i < ARRAY_SIZE(pa); i++) {
        while (page_share(pa[i]) > 0) {
            more[i]++;
        }
    }
    assert_int_equal(page_fault(&space[0].as, va_of[heap], PROT_READ), -ENOMEM);
    assert_int_equal(page_fault(&space[0].as, va_of[heap], PROT_WRITE), 0);
    assert_int_equal(page_fault(&space[1].as, va_of[text], PROT_EXEC), -ENOMEM);
    memset(&space[2], 0, sizeof(space[2]));
    assert_int_equal(aspace_create(&space[2].as), 0);
    assert_int_equal(aspace_copy(&space[2].as, &space[0].as), -ENOMEM);
    aspace_destroy(&space[2].as);
    for (size_t i = 0; i < ARRAY_SIZE(pa); i++) {
        for (; more[i] > 0; more[i]--) {
            kfree(P2V(pa[i]));
        }
    }
    check();
    finish_all();
}

/* 280 processes with one page, which is more than a byte can count. */
static void
more_users_than_255(void **state)
{
    static struct aspace child[280];
    size_t stack = first_of[STACK_AREA];

    (void)state;
    start_over();
    write_to(&space[0], stack);
    uint64_t pa = V2P(space_frame(space[0].as.root, va_of[stack]));
    for (size_t i = 0; i < ARRAY_SIZE(child); i++) {
        memset(&child[i], 0, sizeof(child[i]));
        assert_int_equal(aspace_create(&child[i]), 0);
        assert_int_equal(aspace_copy(&child[i], &space[0].as), 0);
        assert_int_equal(page_refs(pa), i + 2);
    }
    for (size_t i = ARRAY_SIZE(child); i-- > 0;) {
        assert_int_equal(page_fault(&child[i], va_of[stack], PROT_WRITE), 0);
        assert_int_equal(page_refs(pa), i + 1);
        vma_clear(&child[i]);
        aspace_destroy(&child[i]);
    }
    check();
    finish_all();
}

/* A range comes without pages, but what all memory could not fill is refused. */
static void
larger_than_memory(void **state)
{
    struct call c = {MMAP, &space[0], NULL, first_of[2], 3, RW};
    uint64_t most = SPACE_PAGES * PGSIZE, flags = MAP_PRIVATE | MAP_ANONYMOUS;

    (void)state;
    start_over();
    call(&c);
    write_to(&space[0], c.slot);
    assert_int_equal(do_mmap(&space[0].as, 0, most + 1, RW, (int)flags), -ENOMEM);
    assert_int_equal(do_mmap(&space[0].as, va_of[c.slot], most + 1, RW, (int)(flags | MAP_FIXED)),
                     -ENOMEM);
    check();
    int64_t place = do_mmap(&space[0].as, 0, most, RW, (int)flags);
    assert_true(place > 0);
    assert_int_equal(do_munmap(&space[0].as, (uint64_t)place, most), 0);
    check();
    finish_all();
}

/* ---- The image ---- */

static void
images(void **state)
{
    static uint8_t other[GOOD_SIZE + 1] __attribute__((aligned(16)));
    struct image *first, *second, *third;

    (void)state;
    space_start();
    elf_make_good(other);
    zero_page = nusers = 0;
    pager_each(add_user);
    assert_int_equal(nusers, 0);
    assert_int_equal(image_get(file, 63, &first), -ENOEXEC);
    space_limit(SPACE_NO_LIMIT, 0);
    assert_int_equal(image_get(file, sizeof(file), &first), -ENOMEM);
    space_limit(SPACE_NO_LIMIT, SPACE_NO_LIMIT);
    assert_int_equal(image_get(file, sizeof(file), &first), 0);
    assert_int_equal(image_get(other, GOOD_SIZE, &second), 0);
    assert_ptr_not_equal(first, second);
    assert_int_equal(image_get(file, sizeof(file), &third), 0);
    assert_ptr_equal(first, third);
    assert_int_equal(image_get(other, sizeof(other), &third), 0); /* another size is another file */
    assert_ptr_not_equal(second, third);
    assert_null(image_share(NULL));
    image_put(NULL);
    assert_ptr_equal(image_share(second), second);
    image_put(second);
    image_put(second);
    image_put(first);
    image_put(first);
    image_put(third);
    assert_int_equal(space_records(), 0);
}

/* Below, between, behind the segments; and where a segment has nothing of the file. */
static void
pages_of_no_segment(void **state)
{
    struct image *image;
    uint64_t pa;

    (void)state;
    space_start();
    assert_int_equal(image_get(file, sizeof(file), &image), 0);
    for (uint64_t va = 0x3ff000; va < 0x408000; va += PGSIZE) {
        assert_int_equal(pager_page(image, va, &pa), 0);
        assert_int_equal(pa != 0, va >= 0x400000 && va < 0x403000);
        if (pa != 0) {
            assert_int_equal(page_refs(pa), 2);
            kfree(P2V(pa));
        }
    }
    space_limit(0, 0); /* what is there needs no memory */
    assert_int_equal(pager_page(image, 0x400000, &pa), 0);
    kfree(P2V(pa));
    image_put(image);
    assert_int_equal(space_pages(), 0);
}

static void
a_segment_without_contents(void **state)
{
    static uint8_t bss[GOOD_SIZE] __attribute__((aligned(16)));
    const uint64_t nothing = 0;
    struct image *image;
    uint64_t pa;

    (void)state;
    space_start();
    elf_make_good(bss);
    memcpy(bss + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, p_filesz), &nothing,
           sizeof(nothing));
    assert_int_equal(image_get(bss, sizeof(bss), &image), 0);
    assert_int_equal(pager_page(image, 0x401000, &pa), 0);
    assert_int_equal(pa, 0);
    assert_int_equal(pager_page(image, 0x402000, &pa),
                     0); /* the next segment's is found all the same */
    assert_int_not_equal(pa, 0);
    kfree(P2V(pa));
    image_put(image);
    assert_int_equal(space_pages(), 0);
}

/* ---- Registers ---- */

static struct fpu kept;

struct proc *
current(void)
{
    return &running;
}

void
fpu_leave(void)
{
    running.fpu = kept;
}

/* In thread.S. */
void
process_entry(void)
{
}

static void
registers(void **state)
{
    static struct proc child;
    static char stack[STACK_SIZE] __attribute__((aligned(16)));

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct trap_frame frame, expect;
        uint64_t sp = i % 2 ? random_below(&seed, 1UL << 40) << 4 : 0;
        memset(&frame, 17 + i, sizeof(frame));
        memset(&kept, 1 + i, sizeof(kept));
        memset(&child, 0, sizeof(child));
        memset(stack, 0x5a, sizeof(stack));
        child.kstack = stack;
        forked_tpidr_el0 = random_below(&seed, UINT64_MAX);
        fork_registers(&child, &frame, sp);
        expect = frame;
        expect.x[0] = 0;
        expect.sp = sp ? sp : frame.sp;
        assert_memory_equal(proc_frame(&child), &expect, sizeof(expect));
        assert_memory_equal(&child.fpu, &kept, sizeof(kept));
        assert_int_equal(child.context.tpidr, forked_tpidr_el0);
        assert_ptr_equal((void *)child.context.lr, (void *)process_entry);
        assert_ptr_equal((void *)child.context.sp, (void *)proc_frame(&child));
        for (size_t j = 0; j < STACK_SIZE - sizeof(frame); j++) {
            assert_int_equal(stack[j], 0x5a);
        }
    }
}

/* ---- Anything ---- */

static struct call
any_call(void)
{
    static const int prots[] = {PROT_NONE, PROT_READ, RW, RW, RW, PROT_WRITE, PROT_READ | PROT_EXEC,
                                PROT_EXEC};
    struct call c = {.what = random_below(&seed, CALLS)};

    c.s = &space[random_below(&seed, SPACES)];
    while (!c.s->as.root) {
        c.s = &space[random_below(&seed, SPACES)];
    }
    for (size_t i = 0; i < SPACES; i++) {
        c.child = space[i].as.root ? c.child : &space[i];
    }
    if ((c.what == FORK && !c.child) || random_below(&seed, 2)) {
        c.what = random_below(&seed, 3); /* half of them just touch */
    }
    size_t area = random_below(&seed, ARRAY_SIZE(areas)), at = random_below(&seed, areas[area].n);
    while (c.what == MMAP
           && areas[area].kind == VMA_HEAP) { /* or brk would not be simple any more */
        area = random_below(&seed, ARRAY_SIZE(areas));
        at = random_below(&seed, areas[area].n);
    }
    c.slot = first_of[area] + at;
    c.n = 1 + random_below(&seed, areas[area].n - at);
    if (c.what == MUNMAP && areas[area].kind == VMA_HEAP) {
        c.what = BRK;
    }
    if (c.what == BRK) {
        c.n = random_below(&seed, areas[HEAP_AREA].n + 1);
    }
    c.prot = prots[random_below(&seed, ARRAY_SIZE(prots))];
    return c;
}

static unsigned rounds = 150;

static void
anything(void **state)
{
    size_t failed = 0;

    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        start_over();
        for (int i = 0; i < 250; i++) {
            struct call c = any_call();
            if (count_spaces() > 1 && random_below(&seed, 25) == 0) {
                snprintf(doing, sizeof(doing), "process %zu ends", (size_t)(c.s - space));
                finish(c.s);
                check();
            } else if (round % 2) {
                failed += call_poor(&c);
            } else {
                call(&c);
            }
        }
        finish_all();
    }
    print_message("[          ] %zu times there was not enough\n", failed);
}

int
main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_shared),
        cmocka_unit_test(who_writes_last_does_not_copy),
        cmocka_unit_test(a_page_that_cannot_be_shared),
        cmocka_unit_test(more_users_than_255),
        cmocka_unit_test(larger_than_memory),
        cmocka_unit_test(images),
        cmocka_unit_test(pages_of_no_segment),
        cmocka_unit_test(a_segment_without_contents),
        cmocka_unit_test(registers),
        cmocka_unit_test(anything),
    };
    size_t n = 0;

    if (argc > 1) {
        rounds = (unsigned)strtoul(argv[1], NULL, 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
        first_of[i] = n;
        for (size_t j = 0; j < areas[i].n; j++) {
            va_of[n++] = areas[i].start + j * PGSIZE;
        }
    }
    elf_make_good(file);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
