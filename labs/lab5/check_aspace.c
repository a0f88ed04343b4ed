/*
 * Lab 5's checks of aspace.c, first half: how an address space and what is in it come about.
 */
#include "check.h"
#include "errno.h"
#include "kalloc.h"
#include "lab5.h"
#include "pmm.h"
#include "string.h"
#include "vma.h"

/* ---- user_pte ---- */

CHECK(user_pte)
{
    need_user_pte();
    for (size_t i = 0; i < 4 * ARRAY_SIZE(space_prots); i++) {
        int prot = i < ARRAY_SIZE(space_prots) ? space_prots[i] : space_any_prot();
        check_doing("user_pte(%s)", prot_name(prot));
        uint64_t pte = user_pte(prot);
        const char *wrong = space_wrong_attributes(pte, prot);
        EXPECT(!wrong, "expected 0x%lx, found 0x%lx: %s", space_attributes(prot), pte, wrong);
    }
}

/* ---- aspace_create ---- */

/* Another address space, of which only the root is to be set. */
static struct aspace other, other_before;

static int
create(const char *where)
{
    uint64_t *word = (uint64_t *)(void *)&other;

    for (size_t i = 0; i < sizeof(other) / sizeof(*word); i++)
        word[i] = check_random();
    other_before = other;
    check_doing("aspace_create(as), %s", where);
    return aspace_create(&other);
}

static void
check_fields(void)
{
    other_before.root = other.root;
    EXPECT(memcmp(&other, &other_before, sizeof(other)) == 0,
           "a field of *as has changed: expected it to set as->root and nothing else");
}

CHECK(aspace_create)
{
    space_start(8);
    need_aspace_create();
    for (size_t round = 0; round < 4; round++) {
        size_t n = 1 + check_random_below(8);
        space_start(n);
        space_expect(0, create("the free pages being full of 0xff"), "pages are free");
        check_fields();
        EXPECT((uint64_t)other.root % PGSIZE == 0 && (uint64_t)other.root >= KERNBASE,
               "as->root is %p: expected a page, as an address in the linear map",
               (void *)other.root);
        const char *wrong = page_to_table(V2P(other.root));
        EXPECT(!wrong, "as->root is %p: expected a page from kalloc(), found %s",
               (void *)other.root, wrong);
        unsigned users = page_refs(V2P(other.root));
        EXPECT(users == 1, "the root has %u users, expected 1", users);
        for (size_t i = 0; i < NPTE; i++)
            EXPECT(other.root[i] == 0,
                   "entry %lu of the root table is 0x%lx: expected all %d to be 0", i,
                   other.root[i], NPTE);
        size_t left = pool_drain();
        EXPECT(left == n - 1, "expected one of %lu free pages to be taken, found that %lu were", n,
               n - left);
    }
    space_start(0);
    space_expect(-ENOMEM, create("no page being free"), "no page is free");
    check_fields();
    pool_check();
    space_check(0);
}

/* ---- user_map ---- */

static const char *where = ""; /* what is special about the call, for messages */

static int
call_map(uint64_t va, const uint64_t *page, int prot)
{
    check_doing("user_map(as, 0x%lx, 0x%lx, %s)%s", va, V2P(page), prot_name(prot), where);
    check_table.va = va;
    return user_map(&space, va, V2P(page), prot);
}

/* It must fail, and then nothing has changed. */
static void
map_fails(int error, uint64_t va, int prot, const char *why)
{
    const uint64_t *page = space_page();

    unsigned users = page_refs(V2P(page));

    space_expect(error, call_map(va, page, prot), why);
    space_check(0);
    pool_check();
    EXPECT(page_refs(V2P(page)) == users,
           "it failed, as it should: expected the frame to have %u users, found %u", users,
           page_refs(V2P(page)));
    EXPECT(space_page_kept(page), "the frame has been written to: expected it to be left alone");
}

static void
mapped_ok(uint64_t va, int prot)
{
    const uint64_t *page = space_page();
    unsigned users = page_refs(V2P(page));

    space_expect(0, call_map(va, page, prot), "nothing is mapped there");
    space_mapped(va, V2P(page), prot, 0);
    space_check(1);
    EXPECT(page_refs(V2P(page)) == users,
           "the frame has %u users, expected %u: it is the caller's who shares it",
           page_refs(V2P(page)), users);
    EXPECT(space_page_kept(page), "the frame has been written to: expected it to be left alone");
}

/* With every number of free pages that is too small, and with just enough. */
static void
map_short_of_memory(uint64_t va, int prot)
{
    size_t need = tree_tables_for(va, 1);

    where = ", with too few pages free for its tables";
    for (size_t free = 0; free < need; free++) {
        pool_set(free);
        map_fails(-ENOMEM, va, prot, "there is no page for a table");
    }
    where = ", with just enough pages free for its tables";
    pool_set(need);
    mapped_ok(va, prot);
    size_t left = pool_drain();
    EXPECT(left == 0, "expected it to take a page for each of %lu tables, found that %lu are left",
           need, left);
    where = "";
}

CHECK(user_map)
{
    where = "";
    space_start(8);
    need_user_pte();
    need_user_map();

    space_start(60);
    mapped_ok(USER_TOP - PGSIZE, space_any_prot());
    mapped_ok(0, space_any_prot());
    for (size_t i = 0; i < 18; i++)
        mapped_ok(space_place(), space_prots[i % ARRAY_SIZE(space_prots)]);
    pool_check();

    /* What is mapped stays mapped, even if nobody can reach it. */
    static const char *const there = "a page is mapped there";
    for (size_t i = 0; i < ARRAY_SIZE(space_prots); i++) {
        uint64_t va = space_place();
        mapped_ok(va, space_prots[i]);
        map_fails(-EEXIST, va, space_any_prot(), there);
    }
    pool_set(0);
    map_fails(-EEXIST, USER_TOP - PGSIZE, PROT_READ, there);

    /* Only bit 0 tells. */
    pool_set(8);
    uint64_t va = space_place(), *entry;
    mapped_ok(va, PROT_READ);
    entry = tree_entry(va, 3);
    *entry = check_random() & ~PTE_P;
    where = ", where the entry is not 0, but not valid either";
    mapped_ok(va, space_any_prot());
    where = "";

    for (size_t i = 0; i < 6; i++) {
        space_start(0);
        va = space_place();
        map_short_of_memory(va, space_any_prot());
        map_short_of_memory(va ^ 1UL << PTXSHIFT(1 + i % 3), space_any_prot());
    }
    /* In a table that is there. */
    pool_set(0);
    mapped_ok(va ^ 2 * PGSIZE, space_any_prot());
}

/* ---- user_alloc ---- */

/* What user_map does here: if it is wrong there, that costs no points twice. */
static struct {
    uint64_t flags[8];  /* by rights: the attributes of what it has mapped */
    int64_t counts;     /* by how much it changes as->pages */
    unsigned users;     /* how many a page has that was the caller's alone */
    bool refuses_again; /* where a page is mapped */
    bool refuses_none;  /* when there is no page for a table */
    bool page_0, high;  /* it maps the first page, and those from 2^47 on */
} by_map;

/* If user_map has shared it. */
static void
one_user(uint64_t pa)
{
    while (page_refs(pa) > 1 && page_unshare(pa) > 0)
        ;
}

static const uint64_t *map_frame;
static int map_error;

static void
try_map(void *va)
{
    map_error = call_map((uint64_t)va, map_frame, PROT_READ);
}

static bool
map_changes_nothing(int error, uint64_t va)
{
    static struct aspace was;
    uint64_t *entry = tree_entry(va, 3), entry_was = entry ? *entry : 0;

    was = space;
    map_frame = space_page();
    bool right = !check_panics(try_map, (void *)va) && map_error == error
              && space.pages == was.pages && tree_entry(va, 3) == entry
              && (!entry || *entry == entry_was);
    if (page_refs(V2P(map_frame)) == 0) {
        pool_adopt(map_frame, ROLE_FREE, 0); /* it has freed the caller's */
        right = false;
    }
    space = was;
    if (entry)
        *entry = entry_was;
    return right;
}

static void
learn_user_map(void)
{
    by_map.refuses_again = true;
    for (size_t i = 0; i < ARRAY_SIZE(space_prots); i++) {
        space_start(8);
        const uint64_t *page = space_page(), *entry;
        call_map(0x400000, page, space_prots[i]);
        by_map.counts = space_more_pages();
        entry = tree_entry(0x400000, 3);
        by_map.users = page_refs(V2P(page));
        one_user(V2P(page));
        by_map.flags[space_prots[i]] = entry && *entry & PTE_P ? PTE_FLAGS(*entry) : 0;
        by_map.refuses_again &= map_changes_nothing(-EEXIST, 0x400000);
    }
    const uint64_t *page_0 = space_page(), *high = space_page();
    by_map.page_0 = call_map(0, page_0, PROT_READ) == 0;
    by_map.high = call_map(1UL << 47, high, PROT_READ) == 0;
    one_user(V2P(page_0));
    one_user(V2P(high));
    space_start(1);
    by_map.refuses_none = map_changes_nothing(-ENOMEM, 0x400000);
    char *page = kalloc();
    if (page)
        kfree(page);
    else
        by_map.refuses_none = false; /* it is a table now */
}

/* Pages that user_alloc has taken, by where they are mapped. */
static uint64_t allocated[64];
static size_t nallocated;

static int
call_alloc(uint64_t va, int prot)
{
    check_doing("user_alloc(as, 0x%lx, %s)%s", va, prot_name(prot), where);
    check_table.va = va;
    return user_alloc(&space, va, prot);
}

/* Every page is where it belongs. Returns how many are free. */
static size_t
drain(void)
{
    for (size_t i = 0; i < nallocated; i++) {
        uint64_t pa = PTE_ADDR(*tree_entry(allocated[i], 3));
        const char *wrong = page_to_table(pa);
        EXPECT(!wrong,
               "0x%lx is mapped to 0x%lx: expected a page from kalloc() of its own, found %s",
               allocated[i], pa, wrong);
    }
    return pool_drain();
}

static void
alloc_ok(uint64_t va, int prot)
{
    size_t needed = 1 + tree_tables_for(va, 1), free = needed + check_random_below(3);

    pool_set(free);
    space_expect(0, call_alloc(va, prot), "nothing is mapped there, and there are enough pages");
    const uint64_t *entry = tree_entry(va, 3);
    EXPECT(entry && *entry & PTE_P, "expected a page to be mapped, found none");
    space_mapped(va, PTE_ADDR(*entry), prot, by_map.flags[prot]);
    space_check(space_more_pages() == by_map.counts ? by_map.counts : 1);
    unsigned users = page_refs(PTE_ADDR(*entry));
    EXPECT(users == 1 || users == by_map.users, "the page has %u users, expected 1", users);
    one_user(PTE_ADDR(*entry));
    allocated[nallocated++] = va;
    size_t left = drain();
    EXPECT(left == free - needed,
           "expected it to take one page and one for each of %lu tables, found that it took %lu",
           needed - 1, free - left);
    const uint64_t *page = P2V(PTE_ADDR(*entry));
    for (size_t i = 0; i < NPTE; i++)
        EXPECT(page[i] == 0, "word %lu of the page is 0x%lx: expected all of it to be 0", i,
               page[i]);
}

/* Where user_map can map a page. */
static uint64_t
alloc_place(void)
{
    for (;;) {
        uint64_t va = space_place();
        if ((va != 0 || by_map.page_0) && (va >> 47 == 0 || by_map.high))
            return va;
    }
}

static void
start_alloc(void)
{
    space_start(0);
    nallocated = 0;
    where = "";
}

/* It must fail, and no page is lost. */
static void
alloc_refused(size_t free, int error, int or, uint64_t va, const char *why)
{
    pool_set(free);
    int result = call_alloc(va, space_any_prot());
    space_expect(result == or ? or : error, result, why);
    space_check(0);
    size_t left = drain();
    EXPECT(left == free, "it failed, as it should: expected %lu pages to be free again, found %lu",
           free, left);
}

static void
alloc_short_of_memory(uint64_t va)
{
    size_t needed = 1 + tree_tables_for(va, 1);

    where = ", with too few pages free";
    for (size_t free = 0; free < needed; free++)
        if (free == 0 || by_map.refuses_none)
            alloc_refused(free, -ENOMEM, -ENOMEM, va, "there are too few pages");
    where = "";
    alloc_ok(va, space_any_prot());
}

CHECK(user_alloc)
{
    space_start(8);
    need_user_pte();
    need_user_map();
    need_user_alloc();
    learn_user_map();

    start_alloc();
    if (by_map.high)
        alloc_ok(USER_TOP - PGSIZE, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < 14; i++)
        alloc_ok(alloc_place(), space_prots[i % ARRAY_SIZE(space_prots)]);
    if (by_map.refuses_again)
        for (size_t i = 0; i < 6; i++)
            alloc_refused(i % 3, -EEXIST, i % 3 == 0 ? -ENOMEM : -EEXIST,
                          allocated[check_random_below(nallocated)], "a page is mapped there");
    for (size_t i = 0; i < 5; i++) {
        start_alloc();
        uint64_t va = alloc_place();
        alloc_short_of_memory(va);
        alloc_short_of_memory(va ^ 1UL << PTXSHIFT(1 + i % 3));
        alloc_short_of_memory(va ^ 2 * PGSIZE);
    }
}
