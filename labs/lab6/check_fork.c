/*
 * Lab 6's checks of fork.c: address spaces that are made up become two, with memory and without, and a process that
 * is made up gets its registers.
 */
#include "check.h"
#include "errno.h"
#include "../lab5/registers.h"
#include "failnth.h"
#include "fork.h"
#include "kmalloc.h"
#include "lab6.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"
#include "sysreg.h"
#include "tlb.h"

/* ---- a parent ---- */

static const int prots[] = {
    PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE,
    PROT_EXEC};

static unsigned
some_users(void)
{
    static const unsigned users[] = {2, 3, 254, 255, 256, 257, 300, 65534, 65535, 65536, 70000};

    return users[check_random_below(ARRAY_SIZE(users))];
}

/* A page of a range with these rights: its own, or one that others have, too, or the page of zeroes. */
static void
map_some(uint64_t va, int prot)
{
    unsigned users = 1;

    switch (check_random_below(4)) {
    case 0:
        frame_set_users(zero_page, frame_users(zero_page) + 1);
        side_map(&parent, va, zero_page, prot & ~PROT_WRITE);
        return;
    case 1:
        users = some_users();
        prot &= ~PROT_WRITE;
        break;
    default:
        break;
    }
    side_map(&parent, va, frame_new(users), prot);
}

/* A range of up to three pages, most of which are mapped. Returns where it ends. */
static uint64_t
add_range(uint64_t start, size_t pages, int prot)
{
    side_range(&parent, start, start + pages * PGSIZE, prot,
               (enum vma_kind)check_random_below(VMA_STACK + 1));
    for (size_t i = 0; i < pages; i++)
        if (check_random() % 4 != 0)
            map_some(start + i * PGSIZE, prot);
        else if (check_random() % 2)
            side_invalid(&parent, start + i * PGSIZE);
    return start + pages * PGSIZE;
}

/* A range that has no tables for most of it; its last page is there. */
static void
add_long(uint64_t start)
{
    uint64_t stop = start + 4 * BLOCK2M;

    side_range(&parent, start, stop, PROT_READ | PROT_WRITE, VMA_STACK);
    if (check_random() % 2)
        map_some(start + PGSIZE, PROT_READ | PROT_WRITE);
    map_some(stop - PGSIZE, PROT_READ | PROT_WRITE);
}

/*
 * Ranges here and there: at both ends of the address space, over the ends of tables, near and far; some have a
 * neighbour with other rights.
 */
static void
make_sparse(void)
{
    static const uint64_t places[] = {
        USER_MIN,
        0x400000,
        5 * BLOCK2M - PGSIZE,
        BLOCK1G - 2 * PGSIZE,
        0x5040000000,
        (1UL << PTXSHIFT(0)) - PGSIZE,
        7UL << PTXSHIFT(0),
        USER_TOP - 3 * PGSIZE,
    };

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        bool last = i + 1 == ARRAY_SIZE(places);
        if (last)
            add_long(places[i] - 9 * BLOCK2M + PGSIZE * check_random_below(NPTE));
        size_t kind = check_random_below(ARRAY_SIZE(prots));
        if (!last && check_random() % 4 == 0)
            continue;
        uint64_t stop = add_range(places[i], last ? 3 : 1 + check_random_below(3), prots[kind]);
        if (!last && check_random() % 2)
            add_range(stop, 1, prots[kind ^ 1]);
    }
}

/* As a small program has it. */
static void
make_program(void)
{
    program_start(&parent, VMA_FILE);
    for (size_t i = 0; i < 5; i++) {
        int prot = i % 2 ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE;
        uint64_t va = program_any(prot, true);
        if (!side_expected(&parent, va))
            side_map(&parent, va, frame_new(2), prot & ~PROT_WRITE);
    }
    side_map(&parent, program_any(PROT_READ | PROT_WRITE, false), frame_new(1),
             PROT_READ | PROT_WRITE);
    add_range(0x410000, 3, PROT_READ | PROT_WRITE);
    add_range(USER_MMAP_TOP - 2 * PGSIZE, 2, PROT_READ | PROT_WRITE);
    add_range(USER_STACK_TOP - 3 * PGSIZE, 3, PROT_READ | PROT_WRITE);
}

/* A whole table of pages, and some more on both sides. */
static void
make_full(void)
{
    uint64_t start = 9 * BLOCK2M - 3 * PGSIZE, stop = 10 * BLOCK2M + 2 * PGSIZE;

    side_range(&parent, start, stop, PROT_READ | PROT_WRITE, VMA_ANON);
    for (uint64_t va = start; va < stop; va += PGSIZE) {
        side_map(&parent, va, zero_page, PROT_READ);
        frame_more(zero_page, 1);
    }
    frame_set_users(zero_page, frame_users(zero_page));
    for (size_t i = 0; i < 4; i++) {
        uint64_t va = start + PGSIZE * check_random_below((stop - start) / PGSIZE);
        if (PTE_ADDR(side_expected(&parent, va)) != zero_page)
            continue;
        frame_set_users(zero_page, frame_users(zero_page) - 1);
        *side_entry(&parent, va) = space_entry(frame_new(1), PROT_READ | PROT_WRITE);
        side_expect(&parent, va, *side_entry(&parent, va));
        pte_sync();
    }
}

/* ---- aspace_copy ---- */

static const char *
what_of(const struct side *s)
{
    static char text[64];

    snprintf(text, sizeof(text), "%lu pages in %lu ranges", (unsigned long)s->nleaves,
             (unsigned long)s->nranges);
    return text;
}

/* Copy s; it must succeed. The model learns of it, but for what the children's entries have become. */
static void
copy(struct side *to, struct side *from)
{
    check_doing("aspace_copy(to, from), of %s%s", what_of(from),
                from == &parent ? "" : ", a copy itself");
    int result = aspace_copy(&to->as, &from->as);
    EXPECT(result == 0, "expected 0, found %s: there is memory", error_name(result));

    to->nleaves = from->nleaves;
    to->nranges = from->nranges;
    memcpy(to->range, from->range, sizeof(to->range));
    for (size_t i = 0; i < from->nleaves; i++) {
        from->leaf[i].entry |= PTE_RO;
        to->leaf[i] = from->leaf[i];
        frame_more(PTE_ADDR(from->leaf[i].entry), 1);
    }
    to->model.brk_start = from->model.brk_start;
    to->model.brk = from->model.brk;
    to->model.pages = from->model.pages;
}

static void
copy_all(struct side *to, struct side *from)
{
    size_t objects = objects_in_use();

    copy(to, from);
    sides_check(ATTRIBUTES);
    EXPECT(!objects_countable() || objects_in_use() == objects + to->nranges,
           "after it %ld more objects of kmalloc's are in use: expected one for each of %lu ranges",
           (long)(objects_in_use() - objects), to->nranges);
}

/* One parent after the other; pages more than there can be tables. */
static void
make_parent(size_t i)
{
    sides_start(100);
    switch (i % 4) {
    case 0:
        make_program();
        break;
    case 1:
        make_full();
        break;
    default:
        make_sparse();
    }
}

CHECK(aspace_copy)
{
    need_aspace_copy();

    sides_start(4);
    copy_all(&child, &parent); /* of nothing */
    sides_start(4);
    side_range(&parent, 0x7000000, 0x7002000, PROT_READ | PROT_WRITE, VMA_ANON);
    copy_all(&child, &parent); /* of a range without pages */
    for (size_t i = 0; i < 7; i++) {
        make_parent(i);
        copy_all(&child, &parent);
        copy_all(&second, i % 2 ? &child : &parent);
    }
}

/* ---- copy_protect ---- */

/* The entries of what is mapped there at all. */
static void
check_rights(const struct side *s)
{
    for (size_t i = 0; i < s->nleaves; i++) {
        const struct leaf *l = &s->leaf[i];
        const uint64_t *entry = side_entry(s, l->va);
        if (!entry || !(*entry & PTE_P) || PTE_ADDR(*entry) != PTE_ADDR(l->entry))
            continue; /* check_aspace_copy says that */
        check_table.root = s->as.root;
        check_table.va = l->va;
        const struct vma *v = side_range_of(s, l->va);
        EXPECT(*entry & PTE_RO,
               "0x%lx in %s, in a range with %s, can still be written: expected the entry 0x%lx, "
               "found 0x%lx",
               l->va, s->name, prot_name(v->prot), l->entry, *entry);
        EXPECT(*entry == l->entry,
               "the entry for 0x%lx in %s, in a range with %s, is 0x%lx, expected 0x%lx: all but "
               "PTE_RO "
               "stays (the bits 0x%lx do not)",
               l->va, s->name, prot_name(v->prot), *entry, l->entry, *entry ^ l->entry);
    }
}

static void
load(void *va)
{
    (void)user_load((uint64_t)va);
}

static void
store(void *va)
{
    __asm__ volatile("sttr %0, [%0]" : : "r"(va) : "memory");
}

static bool
can_load(uint64_t va)
{
    return check_panics(load, (void *)va) == NULL;
}

static bool
can_store(uint64_t va)
{
    return check_panics(store, (void *)va) == NULL;
}

/* What could be written just before cannot any more, in either of them; all can be read as before. */
static void
check_translations(void)
{
    const uint64_t base = 0x5040000000 + 509 * PGSIZE;

    sides_start(20);
    for (size_t i = 0; i < 8; i++) {
        int prot = i % 4 == 3 ? PROT_READ : PROT_READ | PROT_WRITE;
        side_range(&parent, base + i * PGSIZE, base + (i + 1) * PGSIZE, prot,
                   (enum vma_kind)(i % 4));
        side_map(&parent, base + i * PGSIZE, frame_new(1), prot);
    }
    side_use(&parent);
    for (size_t i = 0; i < parent.nleaves; i++) {
        uint64_t va = parent.leaf[i].va, pa = PTE_ADDR(parent.leaf[i].entry);
        if (parent.leaf[i].entry & PTE_RO) {
            load((void *)va);
            continue;
        }
        store((void *)va);
        frame_written(pa);
    }
    copy(&child, &parent);
    for (size_t k = 0; k < 2; k++) {
        const struct side *s = k == 0 ? &parent : &child;
        for (size_t i = 0; i < s->nleaves; i++) {
            uint64_t va = s->leaf[i].va;
            const uint64_t *entry = side_entry(s, va);
            if (!entry || !(*entry & PTE_P))
                continue;
            EXPECT(!can_store(va), "0x%lx can still be written in %s: expected a fault%s", va,
                   s->name, k == 0 ? "; an old translation is in the TLB (aspace_flush)" : "");
            EXPECT(can_load(va) && user_load(va) == *(uint64_t *)P2V(PTE_ADDR(s->leaf[i].entry)),
                   "what is read at 0x%lx in %s is not what is in the page", va, s->name);
        }
        side_use(&child);
    }
}

CHECK(copy_protect)
{
    need_aspace_copy();
    for (size_t i = 0; i < 6; i++) {
        make_parent(i);
        copy(&child, &parent);
        check_rights(&parent);
        check_rights(&child);
        copy(&second, i % 2 ? &child : &parent);
        check_rights(&parent);
        check_rights(&child);
        check_rights(&second);
    }
    check_translations();
}

/* ---- copy_nomem ---- */

/* Entries of the parent may have become read-only where others may get to share a page. */
static void
learn_read_only(void)
{
    for (size_t i = 0; i < parent.nleaves; i++) {
        const uint64_t *entry = side_entry(&parent, parent.leaf[i].va);
        if (entry && *entry == (parent.leaf[i].entry | PTE_RO))
            parent.leaf[i].entry = *entry;
    }
}

/* It has failed, as it should: is all as before? */
static void
check_undone(int result, size_t objects)
{
    EXPECT(result == -ENOMEM, "expected -ENOMEM, found %s", error_name(result));
    learn_read_only();
    EXPECT(!child.as.vmas,
           "it failed, but to has ranges: expected it to have nothing but its root");
    EXPECT(child.as.pages == 0, "it failed, but pages of to is %lu: expected 0", child.as.pages);
    for (size_t i = 0; i < NPTE; i++)
        EXPECT(!(child.as.root[i] & PTE_P),
               "it failed, but entry %lu of the root of to is 0x%lx: expected an empty root", i,
               child.as.root[i]);
    child.model = child.as; /* the break is of no meaning */
    sides_check(0);
    EXPECT(!objects_countable() || objects_in_use() == objects,
           "it failed, but %ld more objects of kmalloc's are in use than before: expected that "
           "ranges go back",
           (long)(objects_in_use() - objects));
}

static void
fail(unsigned long n, const char *how)
{
    size_t objects = objects_in_use();

    check_doing("aspace_copy(to, from), of %s, with %lu %s", what_of(&parent), n, how);
    check_undone(aspace_copy(&child.as, &parent.as), objects);
}

/* With all numbers of pages that are too few. */
static void
fail_for_pages(void)
{
    size_t tables = side_tables(&parent);

    for (size_t n = 0; n < tables; n++) {
        pool_set(n);
        fail(n, "pages free, fewer than it has tables");
    }
    pool_set(tables + 8);
}

/*
 * Each allocation fails once, the others succeed. In a kernel with FAILNTH=0 none ever does; with DEBUG=1 and SAN=1 one
 * that fails may be tried once more (heapdebug.c).
 */
static void
fail_for_each(void)
{
#if defined(DEBUG) || defined(SAN)
    return;
#endif
    for (unsigned long n = 1;; n++) {
        size_t objects = objects_in_use();
        check_doing("aspace_copy(to, from), in which allocation number %lu fails", n);
        failnth_set(n);
        int result = aspace_copy(&child.as, &parent.as);
        bool happened = failnth_happened();
        failnth_set(0);
        if (!happened)
            return;
        check_undone(result, objects);
    }
}

/* A page can have no more users. */
static void
fail_for_users(void)
{
    for (size_t i = 0; i < 3; i++) {
        uint64_t pa = PTE_ADDR(parent.leaf[check_random_below(parent.nleaves)].entry);
        unsigned users = frame_users(pa);
        frame_set_users(pa, USERS_MAX);
        fail(USERS_MAX, "users of one of the pages, which can have no more");
        frame_set_users(pa, users);
    }
}

CHECK(copy_nomem)
{
    need_aspace_copy();
    for (size_t i = 0; i < 3; i++) {
        make_parent(2 * i);
        fail_for_pages();
        fail_for_users();
        fail_for_each();
        if (i == 1) { /* and then there is memory */
            make_parent(2);
            fail_for_pages();
            copy(&child, &parent);
        }
    }
}

/* ---- fork_registers ---- */

/* A process that is made up, and a kernel stack for it; there may be anything around it. */
static struct {
    uint64_t below[8];
    struct proc proc;
    uint64_t above[8];
} new, new_before;
static uint64_t stack[STACK_SIZE / 8] __attribute__((aligned(16)));
static uint64_t stack_before[STACK_SIZE / 8];

static struct {
    uint64_t below[8];
    struct trap_frame frame;
    uint64_t above[8];
} given, given_before;

static struct fpu registers_now, registers_wanted;
static struct proc running_before;
static struct fpu fpu_real;
static bool fpu_is_ours;

static void
put_fpu_back(void)
{
    fpu_drop();
    if (fpu_is_ours)
        current()->fpu = fpu_real;
    fpu_is_ours = false;
    write_sysreg(tpidr_el0, 0);
}

/* FPCR and FPSR have bits that cannot be set (ARM ARM C5.2.7, C5.2.9). */
static void
fpu_random(struct fpu *fpu)
{
    fill_random(fpu, sizeof(*fpu) / 8);
    fpu->fpcr &= 0x07c00000;
    fpu->fpsr &= 0xf800009f;
}

static void
fpu_put(const struct fpu *fpu)
{
    write_sysreg(cpacr_el1, CPACR_FPEN);
    __asm__ volatile("isb" : : : "memory");
    fpu_load(fpu);
}

/*
 * The running process's floating-point registers are in the core (live), and what it has in memory is old; or it has
 * them in memory, and the core has another one's.
 */
static void
start_registers(bool live)
{
    if (!fpu_is_ours)
        fpu_real = current()->fpu;
    fpu_is_ours = true;
    fpu_random(&registers_wanted);
    if (live) {
        fpu_random(&current()->fpu);
        fpu_put(&registers_wanted);
    } else {
        fpu_random(&registers_now);
        fpu_put(&registers_now);
        current()->fpu = registers_wanted;
        fpu_drop();
    }
    fill_random(&new, sizeof(new) / 8);
    fill_random(stack, STACK_SIZE / 8);
    fill_random(&given, sizeof(given) / 8);
    new.proc.kstack = (char *)stack;
    memcpy(&new_before, &new, sizeof(new)); /* the bytes between its fields, too */
    memcpy(stack_before, stack, sizeof(stack));
    given_before = given;
    memcpy(&running_before, current(), sizeof(running_before));
}

static bool
same(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}

static void
expect_word(const char *what, uint64_t found, uint64_t wanted)
{
    EXPECT(found == wanted, "%s is 0x%lx: expected 0x%lx", what, found, wanted);
}

static void
check_child_frame(uint64_t sp)
{
    const struct trap_frame *is = proc_frame(&new.proc), *wanted = &given_before.frame;

    expect_word("x0 of the child's frame, its result of fork,", is->x[0], 0);
    for (int i = 1; i < 31; i++)
        EXPECT(is->x[i] == wanted->x[i],
               "x%d of the child's frame is 0x%lx: expected the parent's, 0x%lx", i, is->x[i],
               wanted->x[i]);
    expect_word("sp of the child's frame", is->sp, sp ? sp : wanted->sp);
    expect_word("elr of the child's frame", is->elr, wanted->elr);
    expect_word("spsr of the child's frame", is->spsr, wanted->spsr);
    EXPECT(same(stack, stack_before, STACK_SIZE - sizeof(*is)),
           "below the child's frame its kernel stack has changed: expected that to stay");
}

static void
check_fpu(const char *whose_, const struct fpu *is)
{
    const struct fpu *wanted = &registers_wanted;

    for (size_t i = 0; i < 64; i++)
        EXPECT(is->v[i] == wanted->v[i], "the %s half of V%lu of %s is 0x%lx: expected 0x%lx",
               i % 2 ? "upper" : "lower", i / 2, whose_, is->v[i], wanted->v[i]);
    EXPECT(is->fpcr == wanted->fpcr && is->fpsr == wanted->fpsr,
           "FPCR and FPSR of %s are 0x%lx and 0x%lx: expected 0x%lx and 0x%lx", whose_, is->fpcr,
           is->fpsr, wanted->fpcr, wanted->fpsr);
}

/* Nothing of the child has changed but what has been looked at; x19 to x29 of its context mean nothing. */
static void
check_child(void)
{
    struct context *context = &new_before.proc.context;
    uint64_t lr = new.proc.context.lr;

    expect_word("context.tpidr of the child", new.proc.context.tpidr, read_sysreg(tpidr_el0));
    expect_word("context.sp of the child", new.proc.context.sp, (uint64_t)proc_frame(&new.proc));
    EXPECT(lr == (uint64_t)process_entry,
           "context.lr of the child is 0x%lx: expected process_entry, %p", lr,
           (void *)process_entry);
    check_fpu("the child", &new.proc.fpu);
    *context = new.proc.context;
    new_before.proc.fpu = new.proc.fpu;
    EXPECT(same(&new, &new_before, sizeof(new)),
           "something else of the child has changed: expected its frame, context and fpu to");
}

static void
check_parent(uint64_t tpidr)
{
    if (read_sysreg(cpacr_el1) & CPACR_FPEN) {
        fpu_save(&registers_now);
        check_fpu("the parent, in the core,", &registers_now);
    } else {
        check_fpu("the parent", &current()->fpu);
    }
    expect_word("TPIDR_EL0", read_sysreg(tpidr_el0), tpidr);
    running_before.fpu = current()->fpu;
    EXPECT(same(current(), &running_before, sizeof(running_before)),
           "something of the parent has changed: expected nothing but fpu to");
    EXPECT(same(&given, &given_before, sizeof(given)),
           "the parent's frame has changed: expected it to stay");
}

static void
give_registers(bool live, uint64_t sp)
{
    uint64_t tpidr = check_random();

    start_registers(live);
    write_sysreg(tpidr_el0, tpidr);
    check_doing("fork_registers(child, frame, 0x%lx), the floating-point registers being in %s", sp,
                live ? "the core" : "memory");
    fork_registers(&new.proc, &given.frame, sp);
    check_child_frame(sp);
    check_child();
    check_parent(tpidr);
}

CHECK(fork_registers)
{
    check_finally(put_fpu_back);
    need_fork_registers();
    for (size_t i = 0; i < 40; i++)
        give_registers(i % 2, i % 3 ? check_random() >> check_random_below(64) : 0);
}
