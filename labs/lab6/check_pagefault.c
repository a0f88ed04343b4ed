/*
 * Lab 6's checks of pagefault.c: ranges that are made up, in which pages are absent, or there for others, too, are
 * touched. Each function has a check of its own, which the others' mistakes cost no points.
 */
#include "check.h"
#include "errno.h"
#include "failnth.h"
#include "kalloc.h"
#include "lab6.h"
#include "pagefault.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"
#include "tlb.h"

#define READ_WRITE (PROT_READ | PROT_WRITE)
#define READ_EXEC  (PROT_READ | PROT_EXEC)

/* ---- entries ---- */

/* The entry of a page with these rights; if user_pte is wrong, which has a check of its own, then so is this. */
static uint64_t
entry_for(uint64_t pa, int prot, uint64_t is)
{
    uint64_t own = pa | (user_pte(prot) & ~PTE_ADDR_MASK) | PAGE_FLAGS;

    return is == own ? own : space_entry(pa, prot);
}

/* The page at va is mapped to pa, or should be, with these rights. */
static void
expect_mapped(uint64_t va, uint64_t pa, int prot)
{
    const uint64_t *entry = side_entry(&parent, va);

    side_expect(&parent, va, entry_for(pa, prot, entry ? *entry : 0));
}

/* The page that is mapped at va, of the code under test's own: so far it is no frame of the check's. */
static uint64_t
own_page(uint64_t va, int prot)
{
    const uint64_t *entry = side_entry(&parent, va);

    check_table.va = va;
    EXPECT(entry && *entry & PTE_P, "0x%lx is not mapped after it: expected a page of its own", va);
    uint64_t pa = PTE_ADDR(*entry);
    EXPECT(!frame_users(pa),
           "0x%lx is mapped to 0x%lx, a page that others use: expected one of its own", va, pa);
    const char *wrong = page_to_table(pa);
    EXPECT(!wrong, "0x%lx is mapped to 0x%lx: expected a page from kalloc(), found %s", va, pa,
           wrong);
    frame_adopt(pa, 1);
    expect_mapped(va, pa, prot);
    return pa;
}

/* A place for a range of a few pages: near the end of a table, or of the address space, or anywhere. */
static uint64_t
some_place(size_t pages)
{
    static const uint64_t places[] = {0x10000000, BLOCK1G, 1UL << PTXSHIFT(0),
                                      0x5040000000 + BLOCK2M};

    if (check_random() % 4 == 0)
        return USER_TOP - pages * PGSIZE;
    return places[check_random_below(ARRAY_SIZE(places))] - PGSIZE * check_random_below(pages);
}

/* ---- page_fault ---- */

/* What is at the address that faults. */
enum state { NO_TABLE, ABSENT, INVALID, OWN, SHARED, SOLE, STATES };

static const char *const state_names[] = {"there is no table for it",
                                          "nothing is mapped there",
                                          "an entry is there that is not valid",
                                          "a page is mapped there with the range's rights",
                                          "a page with two users is mapped there, read-only",
                                          "a page with one user is mapped there, read-only"};

struct setting {
    int prot;
    bool file, no_memory;
    enum state state;
    int access;
};

static uint64_t page_before; /* what is mapped there at first, if anything */

/* Make it. Returns the address: of a page in the middle of a range, whose neighbours have other rights. */
static uint64_t
setting_make(const struct setting *t)
{
    uint64_t va;

    sides_start(12);
    memset(&program, 0, sizeof(program));
    if (t->file) {
        program_start(&parent, VMA_FILE);
        va = program_any(t->prot, true);
    } else {
        int other = t->prot == PROT_NONE ? READ_WRITE : PROT_NONE;
        uint64_t start = some_place(5);
        side_range(&parent, start, start + PGSIZE, other, VMA_ANON);
        side_range(&parent, start + PGSIZE, start + 4 * PGSIZE, t->prot,
                   (enum vma_kind)(VMA_HEAP + check_random_below(3)));
        side_range(&parent, start + 4 * PGSIZE, start + 5 * PGSIZE, other, VMA_ANON);
        va = start + PGSIZE * (1 + check_random_below(3));
    }
    page_before = 0;
    if (t->state != NO_TABLE) {
        page_before = frame_new(t->state == SHARED ? 2 : 1);
        side_map(&parent, va, page_before, t->state == OWN ? t->prot : t->prot & ~PROT_WRITE);
    }
    if (t->state == ABSENT || t->state == INVALID) {
        *side_entry(&parent, va) = t->state == INVALID ? check_random() & ~PTE_P : 0;
        pte_sync();
        side_expect(&parent, va, 0);
        parent.model.pages = --parent.as.pages;
    }
    if (t->no_memory)
        pool_set(0);
    return va;
}

/* What a call has done, without addresses, as these are others each time. */
struct outcome {
    int result;
    enum { NOTHING, SAME, ZEROES, FILES, NEW } maps;
    uint64_t flags;
    size_t leaves, pages;
    unsigned users; /* of the page that was there */
};

static size_t
count_leaves(const uint64_t *table, int level)
{
    size_t n = 0;

    for (size_t i = 0; i < NPTE; i++)
        if (table[i] & PTE_P)
            n += level == 3 ? 1 : count_leaves(P2V(PTE_ADDR(table[i])), level + 1);
    return n;
}

static struct outcome
outcome_of(int result, uint64_t va)
{
    const uint64_t *entry = side_entry(&parent, va);
    struct outcome o = {.result = result,
                        .leaves = count_leaves(parent.as.root, 0),
                        .pages = parent.as.pages};
    int i = program_page(va);

    if (page_before)
        o.users = page_refs(page_before);
    if (!entry || !(*entry & PTE_P))
        return o;
    uint64_t pa = PTE_ADDR(*entry);
    o.flags = PTE_FLAGS(*entry);
    o.maps = pa == page_before                                        ? SAME
           : pa == zero_page                                          ? ZEROES
           : parent.as.image && i >= 0 && pa == program.image.page[i] ? FILES
                                                                      : NEW;
    return o;
}

static const char *
outcome_name(const struct outcome *o)
{
    static const char *const maps[] = {"maps nothing", "maps the page that was there",
                                       "maps zero_page", "maps the file's page",
                                       "maps a page of its own"};
    static char text[2][128];
    static size_t turn;
    char *at = text[turn++ % 2];

    snprintf(at, sizeof(text[0]), "returns %s, %s (%lu mapped, as->pages %lu), attributes 0x%lx",
             error_name(o->result), maps[o->maps], (unsigned long)o->leaves,
             (unsigned long)o->pages, o->flags);
    return at;
}

static bool
same_outcome(const struct outcome *a, const struct outcome *b)
{
    return a->result == b->result && a->maps == b->maps && a->flags == b->flags
        && a->leaves == b->leaves && a->pages == b->pages && a->users == b->users;
}

static int
call_page_fault(const struct setting *t, uint64_t va)
{
    va += check_random() % 3 == 0 ? 0
        : check_random() % 2      ? PGSIZE - 1
                                  : check_random_below(PGSIZE);
    check_doing("page_fault(as, 0x%lx, %s), in a range with %s%s, where %s%s", va,
                access_name(t->access), prot_name(t->prot), t->file ? " of a program" : "",
                state_names[t->state], t->no_memory ? ", no page being free" : "");
    check_table.va = va;
    return page_fault(&parent.as, va, t->access);
}

/* Does it do what the other function does, called with these arguments? */
static void
fault_as(const struct setting *t, bool absent)
{
    uint64_t va = setting_make(t);
    const struct vma *v = vma_find(&parent.as, va);

    check_doing("%s, called directly", absent ? "fault_absent" : "fault_cow");
    int result = absent ? fault_absent(&parent.as, v, va, t->access) : fault_cow(&parent.as, v, va);
    struct outcome wanted = outcome_of(result, va);
    va = setting_make(t);
    struct outcome found = outcome_of(call_page_fault(t, va), va);
    EXPECT(same_outcome(&found, &wanted),
           "expected that it does what %s does there: %s; found that it %s",
           absent ? "fault_absent" : "fault_cow", outcome_name(&wanted), outcome_name(&found));
}

/* It changes nothing. */
static void
fault_nothing(const struct setting *t, int expected, const char *why)
{
    uint64_t va = setting_make(t);
    int result = call_page_fault(t, va);

    EXPECT(result == expected, "expected %s, as %s, found %s", error_name(expected), why,
           error_name(result));
    sides_check(0);
}

static void
fault(const struct setting *t)
{
    if (!(t->prot & t->access))
        fault_nothing(t, -EFAULT, "its range has not the right to it");
    else if (t->state < OWN)
        fault_as(t, true);
    else if (t->access == PROT_WRITE && t->state != OWN)
        fault_as(t, false);
    else
        fault_nothing(t, 0, "the entry has the right to it");
}

/* Where there is no range: before, between and behind those that there are. */
static void
fault_in_gap(int access)
{
    static const struct setting t = {.prot = PROT_NONE,
                                     .state = ABSENT}; /* its neighbours may be written */
    uint64_t va = setting_make(&t), start = parent.range[0].start, stop = parent.range[2].end;
    const uint64_t gaps[] = {start - 1,      stop,        stop + check_random_below(PGSIZE),
                             start - PGSIZE, 0,           check_random_below(PGSIZE),
                             va ^ BLOCK1G,   USER_TOP - 1};

    for (size_t i = 0; i < ARRAY_SIZE(gaps); i++) {
        if (gaps[i] >= USER_TOP || side_range_of(&parent, gaps[i]))
            continue;
        check_doing("page_fault(as, 0x%lx, %s), where there is no range", gaps[i],
                    access_name(access));
        int result = page_fault(&parent.as, gaps[i], access);
        EXPECT(result == -EFAULT, "expected -EFAULT, found %s", error_name(result));
    }
    sides_check(0);
}

CHECK(page_fault)
{
    static const int prots[] = {PROT_NONE, PROT_READ, READ_WRITE, READ_EXEC};
    static const int accesses[] = {PROT_READ, PROT_WRITE, PROT_EXEC};
    struct setting t = {.prot = 0};

    need_page_fault();
    need_fault_absent();
    need_fault_cow();
    for (size_t p = 0; p < ARRAY_SIZE(prots); p++)
        for (size_t a = 0; a < ARRAY_SIZE(accesses); a++)
            for (t.state = NO_TABLE; t.state < STATES; t.state++) {
                t.prot = prots[p];
                t.access = accesses[a];
                t.file = p >= 2 && check_random() % 2;
                t.no_memory = check_random() % 4 == 0;
                fault(&t);
            }
    for (size_t a = 0; a < ARRAY_SIZE(accesses); a++)
        fault_in_gap(accesses[a]);
}

/* ---- fault_absent ---- */

static const char *where = ""; /* what is special about the call, for messages */

static int
call_absent(const struct vma *v, uint64_t va, int access)
{
    check_doing("fault_absent(as, v, 0x%lx, %s), in a range of kind %s with %s%s", va,
                access_name(access), kind_name(v->kind), prot_name(v->prot), where);
    check_table.va = va;
    page_forget_tables();
    return fault_absent(&parent.as, v, va, access);
}

/* A page comes from the program's file. */
static void
file_page_came(const struct vma *v, uint64_t va, bool was_there, int access)
{
    uint64_t pa = program.image.page[program_page(va)];

    EXPECT(pa,
           "the image has no page for it after it: expected it to be asked for one (pager_page)");
    EXPECT(program_has(va, P2V(pa)), "what is in the image's page is not what the file has there");
    if (!was_there)
        frame_adopt(pa, 1);
    if (access == PROT_WRITE) {
        uint64_t own = own_page(va, v->prot);
        EXPECT(program_has(va, P2V(own)), "what is in the page is not what the file has there");
    } else {
        frame_more(pa, 1);
        expect_mapped(va, pa, v->prot & ~PROT_WRITE);
    }
}

/* It has said 0: is the page there, and nothing else has changed? */
static void
absent_done(const struct vma *v, uint64_t va, int access, bool was_there)
{
    parent.model.pages++;
    if (v->kind == VMA_FILE && program_page(va) >= 0) {
        file_page_came(v, va, was_there, access);
    } else if (access == PROT_WRITE) {
        const uint64_t *page = P2V(own_page(va, v->prot));
        for (size_t i = 0; i < NPTE; i++)
            EXPECT(page[i] == 0, "word %lu of the new page is 0x%lx: expected 0", i, page[i]);
    } else {
        frame_more(zero_page, 1);
        expect_mapped(va, zero_page, v->prot & ~PROT_WRITE);
    }
    sides_check(0);
}

/* It has said -ENOMEM: nothing has changed. But the image may have its page now. */
static void
absent_undone(void)
{
    program_adopt();
    sides_check(0);
}

/* Has the image got the page at va? */
static bool
is_there(const struct vma *v, uint64_t va)
{
    return v->kind == VMA_FILE && program_page(va) >= 0 && program.image.page[program_page(va)];
}

static void
absent_ok(const struct vma *v, uint64_t va, int access)
{
    bool was_there = is_there(v, va);
    int result = call_absent(v, va, access);

    EXPECT(result == 0, "expected 0, found %s: there is memory", error_name(result));
    absent_done(v, va, access, was_there);
}

/* A range of a page or two, or a program, where nothing is there yet. */
static const struct vma *
absent_start(bool file, uint64_t *va)
{
    sides_start(16);
    memset(&program, 0, sizeof(program));
    if (file) {
        program_start(&parent, VMA_FILE);
        *va = program_any(READ_WRITE, true);
        return parent.as.vmas->next;
    }
    *va = some_place(2);
    side_range(&parent, *va, *va + 2 * PGSIZE, READ_WRITE, VMA_ANON);
    return parent.as.vmas;
}

/* Where memory may have run out. Has it? */
static bool
absent_failed(const struct vma *v, uint64_t va, int access)
{
    int result = call_absent(v, va, access);

    failnth_set(0);
    EXPECT(result == 0 || result == -ENOMEM, "expected -ENOMEM, found %s", error_name(result));
    if (result == 0)
        absent_done(v, va, access, false);
    else
        absent_undone();
    return result != 0;
}

/* With ever more pages, until there are enough; and with each allocation failing, until none does. */
static void
absent_nomem(bool file, int access)
{
    uint64_t va;
    const struct vma *v;
    size_t n = 0;

    where = ", with too few pages free";
    do {
        EXPECT(n < 16, "expected 0, found -ENOMEM: there is memory");
        v = absent_start(file, &va);
        pool_set(n++);
    } while (absent_failed(v, va, access));
    EXPECT(n > 1, "expected -ENOMEM, found 0: no page was free");

    where = ", an allocation failing in it";
    n = 0;
    do {
        v = absent_start(file, &va);
        failnth_set(++n);
    } while (absent_failed(v, va, access));
    where = "";
}

/* The page that it would share has all the users that it can have. */
static void
absent_too_many(bool file, int access)
{
    uint64_t va, pa;
    const struct vma *v = absent_start(file, &va);

    if (file)
        program.image.page[program_page(va)] = pa = frame_new(1);
    else
        pa = zero_page;
    frame_set_users(pa, USERS_MAX);
    where = ", of a page that can have no more users";
    EXPECT(absent_failed(v, va, access), "expected -ENOMEM, found 0");
    where = "";
}

/* Does fault_cow make a copy? If not, a page of a file that is to be written is none of fault_absent's business. */
static bool
cow_works(void)
{
    const uint64_t va = 0x10000000;

    sides_start(16);
    side_range(&parent, va, va + PGSIZE, READ_WRITE, VMA_ANON);
    uint64_t pa = frame_new(2);
    side_map(&parent, va, pa, PROT_READ);
    check_doing("fault_cow(as, v, 0x%lx)", va);
    int result = fault_cow(&parent.as, parent.as.vmas, va);
    const uint64_t *entry = side_entry(&parent, va);
    uint64_t is = entry ? *entry : 0;
    return result == 0 && is == entry_for(PTE_ADDR(is), READ_WRITE, is) && PTE_ADDR(is) != pa
        && page_owned(PTE_ADDR(is)) && page_refs(PTE_ADDR(is)) == 1 && page_refs(pa) == 1
        && memcmp(P2V(PTE_ADDR(is)), P2V(pa), PGSIZE) == 0 && parent.as.pages == 1;
}

/* An access that v allows; with a bias to writing. */
static int
some_access(int prot)
{
    static const int accesses[] = {PROT_WRITE, PROT_READ, PROT_EXEC, PROT_WRITE};

    for (;;) {
        int access = accesses[check_random_below(ARRAY_SIZE(accesses))];
        if (prot & access)
            return access;
    }
}

/* Pages of a program, one after the other until all are there. */
static void
absent_in_program(bool cow)
{
    sides_start(40);
    program_start(&parent, VMA_FILE);
    for (size_t i = 0; i < 40; i++) {
        const struct vma *v = check_random() % 2 ? parent.as.vmas : parent.as.vmas->next;
        uint64_t va = program_any(v->prot, check_random() % 4 != 0);
        int access = some_access(v->prot);
        if (side_expected(&parent, va) || (!cow && access == PROT_WRITE && program_page(va) >= 0))
            continue;
        absent_ok(v, va, access);
    }
}

/* What else is mapped where the program was has nothing of its file, though the image still knows the address. */
static void
absent_in_place_of_program(void)
{
    sides_start(16);
    program_start(&parent, VMA_ANON);
    absent_ok(parent.as.vmas, program_any(READ_EXEC, true), PROT_READ);
    absent_ok(parent.as.vmas->next, program_any(READ_WRITE, true),
              check_random() % 2 ? PROT_WRITE : PROT_READ);
}

static void
absent_elsewhere(void)
{
    static const int prots[] = {READ_WRITE, PROT_READ, READ_EXEC, READ_WRITE};

    sides_start(40);
    uint64_t start = some_place(4);
    int prot = prots[check_random_below(ARRAY_SIZE(prots))];
    side_range(&parent, start, start + 4 * PGSIZE, prot,
               (enum vma_kind)(VMA_HEAP + check_random_below(3)));
    for (size_t i = 0; i < 4; i++)
        if (check_random() % 4)
            absent_ok(parent.as.vmas, start + i * PGSIZE, some_access(prot));
}

CHECK(fault_absent)
{
    where = "";
    need_fault_absent();
    bool cow = cow_works();

    for (size_t i = 0; i < 3; i++)
        absent_in_program(cow);
    absent_in_place_of_program();
    for (size_t i = 0; i < 8; i++)
        absent_elsewhere();
    for (size_t i = 0; i < 2; i++) {
        absent_nomem(false, i ? PROT_WRITE : PROT_READ);
        if (cow || i == 0) {
            absent_nomem(true, i ? PROT_WRITE : PROT_READ);
            absent_too_many(true, i ? PROT_WRITE : PROT_READ);
        }
    }
    absent_too_many(false, PROT_READ);
}

/* ---- fault_cow ---- */

static int
call_cow(uint64_t va, unsigned users)
{
    const struct vma *v = parent.as.vmas;

    check_doing("fault_cow(as, v, 0x%lx), in a range with %s, of a page with %u users%s", va,
                prot_name(v->prot), users, where);
    check_table.va = va;
    page_forget_tables();
    return fault_cow(&parent.as, v, va);
}

static void
cow_sole(uint64_t va)
{
    uint64_t pa = PTE_ADDR(side_expected(&parent, va));
    int result = call_cow(va, 1);

    EXPECT(result == 0, "expected 0, found %s: it needs no memory", error_name(result));
    const uint64_t *entry = side_entry(&parent, va);
    EXPECT(entry && *entry & PTE_P && PTE_ADDR(*entry) == pa,
           "expected the page to stay, as nobody else uses it, found the entry 0x%lx",
           entry ? *entry : 0);
    expect_mapped(va, pa, parent.as.vmas->prot);
    sides_check(0);
}

static void
cow_shared(uint64_t va)
{
    uint64_t pa = PTE_ADDR(side_expected(&parent, va));
    int result = call_cow(va, frame_users(pa));

    EXPECT(result == 0, "expected 0, found %s: there is memory", error_name(result));
    frame_more(pa, -1);
    uint64_t own = own_page(va, parent.as.vmas->prot);
    for (size_t i = 0; i < NPTE; i++)
        EXPECT(((uint64_t *)P2V(own))[i] == ((uint64_t *)P2V(pa))[i],
               "word %lu of the copy is 0x%lx: expected 0x%lx, as in the page that it is a copy of",
               i, ((uint64_t *)P2V(own))[i], ((uint64_t *)P2V(pa))[i]);
    sides_check(0);
}

/* One range, and in it pages with these numbers of users. */
static uint64_t
cow_start(const unsigned *users, size_t n, size_t free_pages)
{
    sides_start(free_pages);
    uint64_t start = some_place(n);
    side_range(&parent, start, start + n * PGSIZE, READ_WRITE,
               (enum vma_kind)check_random_below(4));
    for (size_t i = 0; i < n; i++)
        side_map(&parent, start + i * PGSIZE, frame_new(users[i]), PROT_READ);
    return start;
}

/* All pages of one range, in any order; some of them more than once, as they are shared again. */
static void
cow_numbers(void)
{
    static const unsigned users[] = {1, 2, 3, 255, 256, 257, 300, 65535, 65536, 65537, USERS_MAX};
    uint64_t start = cow_start(users, ARRAY_SIZE(users), 12);
    size_t first = check_random_below(ARRAY_SIZE(users));

    for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
        size_t k = (first + i) % ARRAY_SIZE(users);
        if (users[k] == 1)
            cow_sole(start + k * PGSIZE);
        else
            cow_shared(start + k * PGSIZE);
    }
}

/* The page of zeroes, which the kernel itself is a user of. */
static void
cow_of_zeroes(void)
{
    const unsigned none[1] = {1};
    uint64_t va = cow_start(none, 1, 8);

    side_expect(&parent, va, *side_entry(&parent, va) = space_entry(zero_page, PROT_READ));
    pte_sync();
    frame_set_users(zero_page, 2);
    cow_shared(va);
}

/* Two have a page: the one who writes first gets a copy, the other one keeps it. */
static void
cow_of_two(void)
{
    const unsigned users[2] = {2, 1};
    uint64_t va = cow_start(users, 2, 8), other = va + PGSIZE,
             pa = PTE_ADDR(side_expected(&parent, va));

    side_expect(&parent, other, *side_entry(&parent, other) = space_entry(pa, PROT_READ));
    pte_sync();
    cow_shared(va);
    cow_sole(other);
}

static void
cow_nomem(void)
{
    const unsigned users[3] = {1, 2, 300};
    uint64_t va = cow_start(users, 3, 0);

    where = ", no page being free";
    for (size_t i = 1; i < 3; i++) {
        int result = call_cow(va + i * PGSIZE, users[i]);
        EXPECT(result == -ENOMEM, "expected -ENOMEM, found %s", error_name(result));
        sides_check(0);
    }
    cow_sole(va);
    where = "";
    pool_set(4);
    cow_shared(va + PGSIZE);
}

/* What the program reads and writes from then on is the copy. */
static void
cow_translations(void)
{
    const unsigned users[4] = {2, 1, 300, 3};
    uint64_t start = cow_start(users, 4, 8);

    side_use(&parent);
    for (size_t i = 0; i < 4; i++)
        (void)user_load(start + i * PGSIZE);
    for (size_t i = 0; i < 4; i++) {
        uint64_t va = start + i * PGSIZE, old = PTE_ADDR(side_expected(&parent, va)),
                 mark = check_random();
        if (users[i] == 1)
            cow_sole(va);
        else
            cow_shared(va);
        uint64_t *own = P2V(PTE_ADDR(side_expected(&parent, va)));
        *own = mark;
        EXPECT(user_load(va) == mark,
               "what is read at 0x%lx after it is 0x%lx, from the page at 0x%lx: expected 0x%lx, "
               "from the "
               "copy; an old translation is in the TLB",
               va, user_load(va), old, mark);
        frame_written(V2P(own));
    }
}

CHECK(fault_cow)
{
    sides_last_check();
    where = "";
    need_fault_cow();
    for (size_t i = 0; i < 4; i++) {
        cow_numbers();
        cow_of_zeroes();
        cow_of_two();
        cow_nomem();
        cow_translations();
    }
}
