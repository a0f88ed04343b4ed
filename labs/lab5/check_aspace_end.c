/*
 * Lab 5's checks of aspace.c, second half: how pages lose their rights, go, and an address space ends. The tables
 * are made here, entry by entry: whether user_map works does not matter.
 */
#include "check.h"
#include "errno.h"
#include "kalloc.h"
#include "lab5.h"
#include "pmm.h"
#include "string.h"
#include "tlb.h"
#include "vma.h"

/* Pages that are mapped. */
#define PAGES_MAX 32
static struct mapped {
    uint64_t va;
    uint64_t *page;
    unsigned users;
} pages[PAGES_MAX];
static size_t npages;

static void
start(size_t free_pages)
{
    space_start(free_pages);
    npages = 0;
}

static const struct mapped *
put_at(uint64_t va, int prot, unsigned users)
{
    struct mapped *m = &pages[npages++];

    EXPECT(npages <= PAGES_MAX, "a mistake in the check itself: PAGES_MAX is too small");
    *m = (struct mapped){va, users > 1 ? space_shared_page(users) : space_page(), users};
    space_put(va, V2P(m->page), prot);
    return m;
}

/* Somewhere; or right behind the one before, if nothing is there. */
static const struct mapped *
put(int prot, unsigned users)
{
    uint64_t next = npages > 0 ? pages[npages - 1].va + PGSIZE : USER_TOP;

    return put_at(check_random() % 3 == 0 && next < USER_TOP && tree_lacks(next, 1) ? next
                                                                                    : space_place(),
                  prot, users);
}

/* Those that nobody was to touch. */
static void
check_others(void)
{
    for (size_t i = 0; i < npages; i++)
        EXPECT(space_page_kept(pages[i].page),
               "the page at 0x%lx, which is another one's, has been changed", pages[i].va);
}

/* ---- the TLB: QEMU keeps what was used until a TLBI, as the core may ---- */

static void
load(void *va)
{
    (void)user_load((uint64_t)va);
}

static void
store(void *va)
{
    __asm__ volatile("sttr %0, [%1]" : : "r"(0UL), "r"(va) : "memory");
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

/* ---- user_free ---- */

static int
call_free(uint64_t va, const char *what)
{
    check_doing("user_free(as, 0x%lx), %s", va, what);
    check_table.va = va;
    return user_free(&space, va);
}

static void
free_ok(size_t i)
{
    struct mapped m = pages[i];

    pages[i] = pages[--npages];
    if (m.users == 1)
        pool_adopt(m.page, ROLE_LEAF, m.va);
    space_expect(0,
                 call_free(m.va, m.users == 1 ? "a page is mapped there"
                                              : "a page with several users is mapped there"),
                 "a page is mapped there");
    space_unmapped(m.va);
    space_check(-1);
    pool_check();
    if (m.users > 1) {
        unsigned left = page_refs(V2P(m.page));
        EXPECT(left == m.users - 1,
               "the page has %u users, of whom one has gone: expected %u, found %u (kfree)",
               m.users, m.users - 1, left);
        EXPECT(space_page_kept(m.page), "the page has other users, but it has been changed");
    }
    check_others();
}

static void
free_nothing(uint64_t va, const char *what)
{
    space_expect(-ENOENT, call_free(va, what), "nothing is mapped there");
    space_check(0);
    pool_check();
    check_others();
}

/* No translation of a page that is gone stays behind; those of others may. */
static void
free_translations(void)
{
    start(5);
    for (size_t i = 0; i < 8; i++)
        put_at(0x5040000000UL + (i / 4 << PTXSHIFT(1)) + i * PGSIZE, PROT_READ, 1);
    space_use();
    for (size_t i = 0; i < npages; i++)
        load((void *)pages[i].va);
    while (npages > 0) {
        size_t i = check_random_below(npages);
        uint64_t va = pages[i].va;
        free_ok(i);
        EXPECT(!can_load(va),
               "0x%lx can still be read: expected a fault, as nothing is mapped there; an old "
               "translation is in the TLB (aspace_flush_page)",
               va);
        for (size_t k = 0; k < npages; k++)
            EXPECT(user_load(pages[k].va) == *pages[k].page,
                   "what is read at 0x%lx, another page, is not what is in it", pages[k].va);
    }
}

CHECK(user_free)
{
    start(8);
    need_user_free();

    start(5);
    put_at(USER_TOP - PGSIZE, PROT_READ, 1);
    put_at(0, PROT_NONE, 1);
    for (size_t i = 0; i < 18; i++)
        put(space_any_prot(), 1);
    while (npages > 8)
        free_ok(check_random_below(npages));

    /* Nothing is mapped: no table, or tables and no entry, or one that is not valid. */
    for (size_t i = 0; i < 6; i++)
        free_nothing(space_place(), "where nothing is mapped");
    free_nothing(7UL << PTXSHIFT(0), "where there is no table");
    uint64_t va = put(PROT_READ, 1)->va, decoy = page_decoy("an entry that is not valid");
    free_ok(npages - 1);
    free_nothing(va, "where a page was freed just before");
    *tree_entry(va, 3) = decoy | (PAGE_FLAGS & ~PTE_P);
    tree_add(3, va, *tree_entry(va, 3));
    free_nothing(va, "where the entry is not 0, but not valid either");

    free_translations();

    start(8);
    need_shared_pages();
    start(5);
    for (size_t i = 0; i < 8; i++)
        put(space_any_prot(), 1 + (unsigned)check_random_below(4));
    while (npages > 0)
        free_ok(check_random_below(npages));
}

/* ---- user_protect ---- */

static int
call_protect(uint64_t va, int prot, const char *what)
{
    check_doing("user_protect(as, 0x%lx, %s), %s", va, prot_name(prot), what);
    check_table.va = va;
    return user_protect(&space, va, prot);
}

static void
protect_ok(const struct mapped *m, int before, int prot)
{
    static char what[48];

    strlcpy(what, "of a page with ", sizeof(what));
    strlcpy(what + strlen(what), prot_name(before), sizeof(what) - strlen(what));
    space_expect(0, call_protect(m->va, prot, what), "a page is mapped there");
    space_mapped(m->va, V2P(m->page), prot, 0);
    space_check(0);
    EXPECT(space_page_kept(m->page), "what is in the page has changed: expected it to stay");
}

static void
protect_nothing(uint64_t va, const char *what)
{
    space_expect(-ENOENT, call_protect(va, space_any_prot(), what), "nothing is mapped there");
    space_check(0);
    pool_check();
}

/* Rights that were in use before are gone when it returns. */
static void
protect_translations(void)
{
    start(0);
    for (size_t i = 0; i < 4; i++)
        put_at(0x5040000000UL + i * PGSIZE, PROT_READ | PROT_WRITE, 1);
    space_use();
    for (size_t i = 0; i < npages; i++)
        load((void *)pages[i].va);
    for (size_t i = 0; i < npages; i++) {
        int prot = i % 2 ? PROT_READ : PROT_NONE;
        uint64_t va = pages[i].va;
        protect_ok(&pages[i], PROT_READ | PROT_WRITE, prot);
        const uint64_t entry = *tree_entry(va, 3); /* its rights may be user_pte's mistake */
        bool readable = entry & PTE_USER, writable = readable && !(entry & PTE_RO);
        EXPECT(writable || !can_store(va),
               "0x%lx can still be written: expected a fault; an old translation is in the TLB "
               "(aspace_flush_page)",
               va);
        EXPECT(can_load(va) == readable,
               "0x%lx can%s be read: expected the opposite; an old translation is in the TLB "
               "(aspace_flush_page)",
               va, readable ? "not" : " still");
        protect_ok(&pages[i], prot, PROT_READ | PROT_WRITE);
    }
}

CHECK(user_protect)
{
    start(8);
    need_user_pte();
    need_user_protect();

    start(0); /* no page is needed for it */
    for (size_t i = 0; i < 4; i++)
        put(space_any_prot(), 1);
    /* From any rights to any. */
    for (size_t i = 0; i < ARRAY_SIZE(space_prots); i++)
        for (size_t k = 0; k < ARRAY_SIZE(space_prots); k++) {
            const struct mapped *m = &pages[check_random_below(npages)];
            space_put(m->va, V2P(m->page), space_prots[i]);
            protect_ok(m, space_prots[i], space_prots[k]);
        }
    /* One page, from one to the next. */
    const struct mapped *m = put_at(USER_TOP - PGSIZE, PROT_NONE, 1);
    for (int i = 0, before = PROT_NONE; i < 20; i++) {
        int prot = space_any_prot();
        protect_ok(m, before, prot);
        before = prot;
    }
    check_others();
    pool_check();

    pool_set(5);
    for (size_t i = 0; i < 4; i++)
        protect_nothing(space_place(), "where nothing is mapped");
    protect_nothing(7UL << PTXSHIFT(0), "where there is no table");
    uint64_t va = pages[0].va, decoy = page_decoy("an entry that is not valid");
    *tree_entry(va, 3) = decoy | (space_entry(0, PROT_READ) & ~PTE_P);
    tree_add(3, va, *tree_entry(va, 3));
    protect_nothing(va, "where the entry is not 0, but not valid either");

    protect_translations();
}

/* ---- aspace_destroy ---- */

/* All tables are to be freed, this one and those below it. */
static void
adopt_tables(const uint64_t *table, int level, uint64_t va)
{
    pool_adopt(table, (enum role)level, va);
    for (size_t i = 0; i < NPTE && level < 3; i++)
        if (table[i] & PTE_P)
            adopt_tables(P2V(PTE_ADDR(table[i])), level + 1, va | i << PTXSHIFT(level));
}

static void
destroy(const char *what)
{
    adopt_tables(space.root, 0, 0);
    for (size_t i = 0; i < npages; i++)
        if (pages[i].users == 1)
            pool_adopt(pages[i].page, ROLE_LEAF, pages[i].va);
    check_table.root = NULL;
    check_doing("aspace_destroy(as), %s", what);
    aspace_destroy(&space);
    EXPECT(!space.root, "as->root is %p: expected NULL", (void *)space.root);
    pool_check();
    for (size_t i = 0; i < npages; i++) {
        if (pages[i].users == 1)
            continue;
        unsigned left = page_refs(V2P(pages[i].page));
        EXPECT(
            left == pages[i].users - 1,
            "the page at 0x%lx had %u users, of whom one has gone: expected %u, found %u (kfree)",
            pages[i].va, pages[i].users, pages[i].users - 1, left);
        EXPECT(space_page_kept(pages[i].page),
               "the page at 0x%lx has other users, but it has been changed", pages[i].va);
    }
}

/* What is mapped, but is not the allocator's; and entries that mean nothing. */
static void
put_others(void)
{
    const uint64_t foreign[] = {DEVICES_PA + 0x200000, LOCAL_PA, V2P(image_start),
                                ROUNDDOWN(V2P(end) - 1, PGSIZE)};
    uint64_t decoy = page_decoy("an entry whose bit 0 (PTE_P) is clear");

    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
        space_put(space_place(), foreign[i], PROT_READ);
    for (int level = 0; level <= 3; level++) {
        uint64_t va = space_place();
        space_put(va, V2P(image_start), PROT_NONE); /* its tables */
        uint64_t *table = space.root;
        for (int l = 0; l < level; l++)
            table = P2V(PTE_ADDR(table[PTX(l, va)]));
        for (size_t i = 0; i < NPTE; i++)
            if (table[i] == 0) {
                table[i] = decoy | 0x742;
                break;
            }
    }
}

/* Translations that were used are gone. */
static void
destroy_translations(void)
{
    const uint64_t base = 0x5040000000UL;
    uint64_t stale = 0;

    start(5);
    for (size_t i = 0; i < 16; i++)
        space_put(base + i * PGSIZE, V2P(image_start),
                  PROT_READ); /* to be left alone, so that it stays readable */
    user_root(space.root);
    space.asid = 0;
    check_doing("reading pages of an address space");
    for (size_t i = 0; i < 16; i++)
        load((void *)(base + i * PGSIZE));
    user_root_stale();
    destroy("that was in use just before");
    for (size_t i = 0; i < 16; i++)
        if (can_load(base + i * PGSIZE))
            stale = base + i * PGSIZE;
    EXPECT(!stale,
           "0x%lx can still be read: expected a fault; an old translation is in the TLB "
           "(tlb_flush_all, before the first page is freed)",
           stale);
}

CHECK(aspace_destroy)
{
    space_last_check();
    start(8);
    need_aspace_destroy();

    start(5);
    destroy("of an empty one");
    for (size_t round = 0; round < 3; round++) {
        start(5);
        put_at(USER_TOP - PGSIZE, PROT_READ | PROT_WRITE, 1);
        put_at(0, space_any_prot(), 1);
        for (size_t i = 0; i < 16; i++)
            put(space_any_prot(), 1);
        destroy("of one with 18 pages");
    }
    start(5);
    put(PROT_READ, 1);
    put_others();
    destroy("of one with devices and pages of the kernel's image in it");

    destroy_translations();

    start(8);
    need_shared_pages();
    start(5);
    for (size_t i = 0; i < 10; i++)
        put(space_any_prot(), 1 + (unsigned)check_random_below(4));
    destroy("of one with pages that have other users");
}
