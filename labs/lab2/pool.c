/*
 * Where every page is while a check of lab 2 runs.
 */
#include "lab2.h"
#include "check.h"
#include "kalloc.h"
#include "kvm.h"
#include "mmu.h"
#include "page.h"
#include "string.h"
#include "sysreg.h"
#include "tlb.h"
#if LAB >= 4
#include "../lab4/lab4.h"
#endif

enum {
    UNKNOWN, /* has not come out of kalloc yet */
    HELD,    /* in the stock */
    USED,    /* page_take */
    DECOY,
    POOL,         /* given to kfree, or pool_adopt: free, or in a table */
    DRAINED,      /* was free, and is with pool_drain now */
    TABLE = 0x80, /* with one of the above: tree_scan found it to be a table */
};

static uint8_t state[DEVICES_PA / PGSIZE];

#define POOL_MAX 256
static struct {
    uint64_t pa, va;
    enum role role;
} pool[POOL_MAX];
static size_t npool;

#define USED_MAX 256
static struct {
    uint64_t pa;
    const char *where; /* of a DECOY: what refers to it */
} used[USED_MAX];      /* USED or DECOY */
static size_t nused;

static bool collecting, collected; /* the stock is being made; has been made */
static size_t held;

static uint8_t *
state_of(uint64_t pa)
{
    return &state[pa / PGSIZE];
}

/* Is it the address of a whole page that the allocator owns? */
static bool
is_page(const void *page)
{
    return (uint64_t)page % PGSIZE == 0 && V2P(page) < DEVICES_PA && page_owned(V2P(page));
}

/* ---- the stock ---- */

static void
explain_no_page(void)
{
    EXPECT(kmem.free_list == NULL,
           "kalloc() returns NULL although kmem.free_list is not: write kalloc in kern/kalloc.c");
    EXPECT(false, "kalloc() returns NULL at once, and kmem.free_list is NULL: "
                  "write kalloc and kfree in kern/kalloc.c first");
}

#if LAB >= 4
/* When many checks follow each other, not all of a large memory is to go through their hands. */
#define MANY_PAGES 8192
#endif

/* Take every page that kalloc has. */
static void
collect(void)
{
    char *page;

    EXPECT(!collecting, "kalloc and kfree come first: kalloc() went wrong when the checks took all "
                        "free pages (see the first failed check, or make qemu again)");
    collecting = true;
    memset(state, UNKNOWN, sizeof(state));
    held = npool = nused = 0;
    check_doing("taking all pages that are free after boot");
#if LAB >= 4
    if (!check_is_last())
        hold_all_but(MANY_PAGES);
#endif
    while ((page = kalloc())) {
        EXPECT(is_page(page),
               "expected a page of the allocator's from kalloc(), found %p after %lu "
               "good ones (memory is usable up to %p)",
               (void *)page, held, P2V(PHYSTOP));
        EXPECT(*state_of(V2P(page)) == UNKNOWN,
               "kalloc() returned the page %p a second time, %lu calls in: expected each page once",
               (void *)page, held);
        *state_of(V2P(page)) = HELD;
        held++;
    }
    collecting = false;
    if (held == 0)
        explain_no_page();
    collected = true;
    check_doing("%s", "");
}

static void
try_kalloc(void *result)
{
    *(char **)result = kalloc();
}

/* The next free page, NULL if there is none. False: the free list is broken. */
static bool
next_free(char **page)
{
    if (check_panics(try_kalloc, (void *)page))
        return false;
    return !*page || (is_page(*page) && (*state_of(V2P(*page)) & ~TABLE) == POOL);
}

/* Whatever the last check left behind: all its pages belong to the stock again. */
static void
reclaim(void)
{
    char *page = NULL;
    bool sound;

    while ((sound = next_free(&page)) && page)
        *state_of(V2P(page)) = DRAINED;
    if (!sound)
        kmem.free_list = NULL; /* start afresh */
    for (size_t i = 0; i < npool; i++)
        *state_of(pool[i].pa) = HELD;
    for (size_t i = 0; i < nused; i++)
        *state_of(used[i].pa) = HELD;
    held += npool + nused;
    npool = nused = 0;
}

/* However the check ended: no table of its in TTBR0, and after the last check all pages free again. */
void
pool_end(void)
{
    user_root_none();
    if (!collected || !check_is_last())
        return;
    reclaim();
    collected = false;
    for (uint64_t pa = 0; pa < PHYSTOP; pa += PGSIZE)
        if (*state_of(pa) == HELD)
            kfree(P2V(pa));
#if LAB >= 4
    hold_none();
#endif
}

size_t
stock_size(void)
{
    return held;
}

bool
stock_has(uint64_t pa)
{
    return *state_of(pa) == HELD;
}

void
stock_given_back(void)
{
    collected = false;
#if LAB >= 4
    hold_none();
#endif
}

/* A random page of the stock, which pool_start has made sure is large enough. */
static uint64_t
stock_pick(void)
{
    size_t n;
    const struct range *usable = ram_usable(&n);

    for (;;) {
        const struct range *r = &usable[check_random_below(n)];
        uint64_t pa = r->start + PGSIZE * check_random_below((r->end - r->start) / PGSIZE);
        if (*state_of(pa) == HELD) {
            held--;
            return pa;
        }
    }
}

static void
use(uint64_t pa, uint8_t as, const char *where)
{
    EXPECT(nused < USED_MAX, "a mistake in the check itself: USED_MAX is too small");
    used[nused].pa = pa;
    used[nused++].where = where;
    *state_of(pa) = as;
}

uint64_t *
page_take(uint64_t word)
{
    uint64_t pa = stock_pick(), *page = P2V(pa);

    use(pa, USED, NULL);
    for (size_t i = 0; i < PGSIZE / sizeof(word); i++)
        page[i] = word;
    return page;
}

uint64_t
page_decoy(const char *where)
{
    uint64_t pa = stock_pick();

    use(pa, DECOY, where);
    page_zero(P2V(pa));
    return pa;
}

uint64_t
page_decoy_2m(const char *where)
{
    for (uint64_t pa = BLOCK2M * (1 + check_random_below(4)); pa < PHYSTOP; pa += BLOCK2M) {
        if (*state_of(pa) != HELD)
            continue;
        held--;
        use(pa, DECOY, where);
        page_zero(P2V(pa));
        return pa;
    }
    return 0;
}

/* ---- the pool ---- */

static void
pool_add(uint64_t pa, enum role role, uint64_t va)
{
    EXPECT(npool < POOL_MAX, "a mistake in the check itself: POOL_MAX is too small");
    pool[npool].pa = pa;
    pool[npool].role = role;
    pool[npool++].va = va;
    *state_of(pa) = POOL;
}

void
pool_adopt(const void *page, enum role role, uint64_t va)
{
    size_t i = 0;

    while (i < nused && used[i].pa != V2P(page))
        i++;
    EXPECT(i < nused, "a mistake in the check itself: pool_adopt without page_take");
    used[i] = used[--nused];
    pool_add(V2P(page), role, va);
}

/* Give n pages of the stock to kfree, each then filled with ones: no new table is zero by chance. */
static void
pool_fill(size_t n)
{
    while (n-- > 0) {
        uint64_t pa = stock_pick(), *page = P2V(pa);
        pool_add(pa, ROLE_FREE, 0);
        kfree((char *)page);
        uint64_t link = page[0];
        page_fill(page, 0xff);
        page[0] = link;
    }
}

static const char *
decoy_where(const void *page)
{
    for (size_t i = 0; i < nused; i++)
        if (used[i].pa == V2P(page))
            return used[i].where;
    return "nothing";
}

/* A page came out of kalloc: had it any right to? */
static void
check_free_page(const char *page)
{
    EXPECT(is_page(page), "the free list is broken: kalloc() returned %p, which is no page",
           (const void *)page);
    uint8_t is = *state_of(V2P(page));

    EXPECT(!(is & TABLE), "the page %p is on the free list, and a table of pgdir as well",
           (const void *)page);
    EXPECT(is != DRAINED, "the page %p is on the free list twice: it was freed twice",
           (const void *)page);
    EXPECT(is != USED, "the page %p is on the free list, but was never to be freed",
           (const void *)page);
    EXPECT(is != DECOY,
           "the page %p was freed, but it is no part of the table: what refers to it is %s",
           (const void *)page, decoy_where(page));
    EXPECT(is == POOL, "the page %p is on the free list, but nobody was to free it",
           (const void *)page);
}

/* Page i of the pool did not come out of kalloc and is in no table. */
static void
explain_lost(size_t i, size_t lost, size_t adopted)
{
    enum role role = pool[i].role;
    const char *more = lost == 1 ? "" : ", and others with it";

    EXPECT(role != ROLE_FREE,
           "the page %p is lost: neither free nor in a table of pgdir (expected every page to be "
           "one or the other, found %lu that are not)",
           P2V(pool[i].pa), lost);
    EXPECT(lost != adopted || adopted == 1,
           "nothing at all was freed, expected all %lu "
           "pages: write vm_free in kern/vm.c",
           lost);
    EXPECT(role != ROLE_TABLE, "the root table %p was not freed%s (%lu of %lu pages are missing)",
           P2V(pool[i].pa), more, lost, adopted);
    EXPECT(role != ROLE_LEAF,
           "the page %p, mapped at 0x%lx, was not freed%s (%lu of %lu pages are missing)",
           P2V(pool[i].pa), pool[i].va, more, lost, adopted);
    EXPECT(
        false,
        "the level %d table %p, which serves 0x%lx, was not freed%s (%lu of %lu pages are missing)",
        (int)role, P2V(pool[i].pa), pool[i].va, more, lost, adopted);
}

size_t
pool_drain(void)
{
    size_t n = 0, lost = 0, first_lost = 0, adopted = 0;
    char *page;

    while ((page = kalloc())) {
        check_free_page(page);
        *state_of(V2P(page)) = DRAINED;
        n++;
    }
    for (size_t i = 0; i < npool; i++) {
        adopted += pool[i].role != ROLE_FREE;
        if (*state_of(pool[i].pa) == POOL && lost++ == 0)
            first_lost = i;
    }
    if (lost > 0)
        explain_lost(first_lost, lost, adopted);

    /* What is left of the pool is tables. */
    size_t left = 0;
    for (size_t i = 0; i < npool; i++) {
        if (*state_of(pool[i].pa) == DRAINED)
            *state_of(pool[i].pa) = HELD;
        else
            pool[left++] = pool[i];
    }
    npool = left;
    held += n;
    return n;
}

void
pool_set(size_t n)
{
    pool_drain();
    pool_fill(n);
}

void
pool_check(void)
{
    pool_fill(pool_drain());
}

void
pool_start(size_t n)
{
    check_finally(pool_end);
    user_root_none();
    if (collected)
        reclaim();
    else
        collect();
    EXPECT(n == 0 || held > POOL_MAX + USED_MAX,
           "kalloc() gave only %lu pages before NULL: get kalloc and kfree right first "
           "(check_free_list)",
           held);
    pool_fill(n);
}

/* ---- tables ---- */

const char *
page_to_table(uint64_t pa)
{
    if (pa >= DEVICES_PA || !page_owned(pa))
        return "an address that is no page of the allocator's";
    uint8_t is = *state_of(pa);
    if (is & TABLE)
        return "a table of pgdir that is linked elsewhere already";
    if (is != POOL && is != USED)
        return "a page that nobody had from kalloc()";
    *state_of(pa) = (uint8_t)(is | TABLE);
    return NULL;
}

void
page_forget_tables(void)
{
    for (size_t i = 0; i < npool; i++)
        *state_of(pool[i].pa) &= (uint8_t)~TABLE;
    for (size_t i = 0; i < nused; i++)
        *state_of(used[i].pa) &= (uint8_t)~TABLE;
}

/* ---- TTBR0 ---- */

void
user_root(const uint64_t *root)
{
    pte_sync(); /* the tables, before the walker looks at them */
    write_sysreg(ttbr0_el1, V2P(root));
    __asm__ volatile("isb"); /* the new table, before the next access */
}

void
user_root_stale(void)
{
    write_sysreg(ttbr0_el1, kvm_empty_root());
    __asm__ volatile("isb"); /* no walk through the old table from here on */
}

void
user_root_none(void)
{
    user_root_stale();
    tlb_flush_all();
}

__attribute__((noinline)) uint64_t
user_load(uint64_t va)
{
    uint64_t word;

    __asm__ volatile("ldtr %0, [%1]" : "=r"(word) : "r"(va) : "memory");
    return word;
}
