/*
 * Lab 3's checks of kalloc's cache. The pages are real here, but few: the pmm has a machine of its own.
 */
#include "check.h"
#include "kalloc.h"
#include "lab3.h"
#include "string.h"
#include "sysreg.h"

#define PAGE_WORDS (PGSIZE / sizeof(uint64_t))

static size_t first, total; /* the frames of the machine's memory */

static void *
page_at(size_t i)
{
    return P2V(machine_pa(i));
}

/* The cache needs the pmm, and this the memmap. */
static void
need_pmm(void)
{
    need_pmm_alloc();
    need_pmm_free();
}

/* A machine with all of the memory in one bank, so far reserved. */
static void
supply_new(void)
{
    first = machine_real(&total);
    machine_bank(first, total);
}

/* Make it so, and put the pages that are cached on kalloc's list. */
static void
supply_start(void)
{
    machine_start();
    for (size_t i = first; i < first + total; i++)
        if (machine_is(i) == FRAME_CACHED) {
            struct run *page = page_at(i);
            page->next = kmem.free_list;
            kmem.free_list = page;
            kmem.count++;
        }
}

/*
 * The list of free pages, and the pmm, after a call: the model learns which pages went from the one to
 * the other. Returns how many are on the list.
 */
static size_t
check_supply(void)
{
    static bool listed[BLOCK_FRAMES];
    size_t n = 0;

    memset(listed, 0, sizeof(listed));
    for (const struct run *page = kmem.free_list; page; page = page->next) {
        size_t i = frame_index(page);
        EXPECT(i - first < total, "kmem.free_list: expected one of %lu pages from %p on, found %p",
               total, page_at(first), (const void *)page);
        EXPECT(!listed[i], "kmem.free_list: the page %p is on it twice", (const void *)page);
        EXPECT(machine_is(i) == FRAME_CACHED || machine_is(i) == IS_FREE,
               "kmem.free_list: the page %p is on it, and %s", (const void *)page,
               machine_is(i) == IS_RESERVED ? "reserved" : "in use");
        listed[i] = true;
        n++;
    }
    for (size_t i = first; i < first + total; i++) {
        if (listed[i])
            machine_put(i, 0, FRAME_CACHED);
        else if (machine_is(i) == FRAME_CACHED)
            machine_put(i, 0, IS_FREE);
    }
    EXPECT(kmem.count == n,
           "kmem.count: expected %lu, as so many pages are on the list, found %lu (who changes the "
           "list keeps count: extend kalloc and kfree in kern/kalloc.c)",
           n, kmem.count);
    machine_check();
    return n;
}

/* A function has worked on the list: has it taken the lock since next was `ticket`? */
static void
expect_locked(uint16_t ticket)
{
    EXPECT(kmem_lock.next != ticket, "it never took kmem_lock: expected spin_lock(&kmem_lock)");
}

/* ---- kcache_refill ---- */

static size_t
pages_that_are(uint8_t is)
{
    size_t n = 0;

    for (size_t i = first; i < first + total; i++)
        n += machine_is(i) == is;
    return n;
}

static void
refill(size_t wanted)
{
    size_t before = pages_that_are(FRAME_CACHED), free = pages_that_are(IS_FREE);

    check_doing("kcache_refill(), pages with the pmm: %lu, on the list: %lu", free, before);
    uint16_t ticket = kmem_lock.next;
    size_t n = kcache_refill();
    EXPECT(n == wanted, "expected %lu, found %lu%s", wanted, n,
           n > wanted ? " (a page on the list may come a second time, as pmm_alloc drains the list "
                        "when it has nothing else: first take all, then put them on the list)"
                      : "");
    if (n > 0)
        expect_locked(ticket);
    size_t listed = check_supply();
    EXPECT(listed == before + n, "pages on the list: expected %lu, found %lu", before + n, listed);
}

/* So many pages free, here and there. */
static void
scatter_free(size_t n)
{
    supply_new();
    machine_put_used(first, total);
    while (n > 0) {
        size_t i = first + check_random_below(total);
        if (machine_is(i) == IS_FREE)
            continue;
        if (machine_is(i) != FRAME_USED)
            for (size_t j = first; j < first + total; j++)
                if (machine_is(j) != IS_FREE)
                    machine_put(j, 0, FRAME_USED);
        machine_put(i, 0, IS_FREE);
        n--;
    }
    supply_start();
}

/* The page that kalloc has returned is in use from now on. */
static void
took(const char *v)
{
    EXPECT(v, "expected a page, found NULL: kalloc, in kern/kalloc.c, calls kcache_refill when its "
              "list is empty");
    size_t i = frame_index(v);
    EXPECT(i - first < total, "expected one of %lu pages from %p on, found %p", total,
           page_at(first), (const void *)v);
    EXPECT(machine_is(i) == FRAME_CACHED || machine_is(i) == IS_FREE,
           "found the page %p, which is %s", (const void *)v,
           machine_is(i) == IS_RESERVED ? "reserved" : "in use");
    machine_put(i, 0, FRAME_USED);
}

/* kalloc, until there is nothing left. */
static void
kalloc_all(void)
{
    size_t left = pages_that_are(IS_FREE) + pages_that_are(FRAME_CACHED);
    bool whole_batch = pages_that_are(FRAME_CACHED) == 0 && left >= KCACHE_BATCH;

    for (; left > 0; left--) {
        check_doing("kalloc(), pages on the list and with the pmm: %lu", left);
        uint16_t ticket = kmem_lock.next;
        took(kalloc());
        size_t listed = check_supply();
        expect_locked(ticket);
        EXPECT(!whole_batch || listed == KCACHE_BATCH - 1,
               "pages on the list, once it has been refilled: expected %d, found %lu: refill it in "
               "batches",
               KCACHE_BATCH - 1, listed);
        whole_batch = false;
    }
    for (size_t i = 0; i < 2; i++) {
        check_doing("kalloc() with no page left");
        const char *v = kalloc();
        EXPECT(!v, "expected NULL, found %p", (const void *)v);
        check_supply();
    }
}

CHECK(kcache_refill)
{
    static const size_t few[] = {0, 1, 2, 31, 32, 33, 100};

    need_pmm();
    scatter_free(100);
    check_doing("kcache_refill(), pages with the pmm: 100, on the list: 0");
    EXPECT(kcache_refill() > 0, "expected %d, found 0: write kcache_refill in kern/kcache.c",
           KCACHE_BATCH);
    for (size_t i = 0; i < ARRAY_SIZE(few); i++) {
        scatter_free(few[i]);
        refill(MIN(few[i], (size_t)KCACHE_BATCH));
    }
    supply_new();
    machine_put_free(first + 1, total - 3);
    supply_start();
    refill(KCACHE_BATCH);
    refill(KCACHE_BATCH); /* what is on the list stays there */

    scatter_free(70);
    kalloc_all();
    scatter_free(3);
    kalloc_all();
    /* Some on the list, others in the pmm. */
    supply_new();
    machine_random(0, 3, 25, 45);
    for (size_t i = first; i < first + total; i++)
        if (machine_is(i) == FRAME_USED)
            machine_put(i, 0, FRAME_CACHED);
    supply_start();
    kalloc_all();
}

/* ---- kcache_drain ---- */

/* n pages on the list, the rest of the memory in use. */
static void
start_with_list(size_t n)
{
    supply_new();
    for (size_t i = first; i < first + total; i++)
        machine_put(i, 0, FRAME_USED);
    while (n > 0) {
        size_t i = first + check_random_below(total);
        if (machine_is(i) == FRAME_USED) {
            machine_put(i, 0, FRAME_CACHED);
            n--;
        }
    }
    supply_start();
}

static void
drain(size_t n)
{
    size_t before = pages_that_are(FRAME_CACHED), wanted = MIN(n, before);

    check_doing("kcache_drain(%lu), pages on the list: %lu", n, before);
    uint16_t ticket = kmem_lock.next;
    size_t drained = kcache_drain(n);
    EXPECT(drained == wanted, "expected %lu, found %lu", wanted, drained);
    if (drained > 0)
        expect_locked(ticket);
    size_t left = check_supply();
    EXPECT(left == before - drained, "pages left on the list: expected %lu, found %lu",
           before - drained, left);
}

/* A page in use, of which nobody but the check knows. */
static void
give(size_t i)
{
    check_doing("kfree(%p), pages on the list: %lu", page_at(i), kmem.count);
    kfree(page_at(i));
    machine_put(i, 0, FRAME_CACHED); /* or with the pmm already, as check_supply sees */
}

/* More pages than the list may hold are in use, then all are freed. */
static void
free_everything(void)
{
    size_t i;

    supply_new();
    for (i = first; i < first + MIN(total, 140UL); i++)
        machine_put(i, 0, FRAME_USED);
    supply_start();
    for (size_t wanted = 1; machine_pick(FRAME_USED, &i); wanted++) {
        uint16_t ticket = kmem_lock.next;
        give(i);
        if (wanted == KCACHE_MAX)
            wanted -= KCACHE_BATCH;
        size_t listed = check_supply();
        expect_locked(ticket);
        EXPECT(listed == wanted,
               "pages on the list then: expected %lu, found %lu (when there are %d, kfree calls "
               "kcache_drain for %d: see kcache.h)",
               wanted, listed, KCACHE_MAX, KCACHE_BATCH);
    }
    drain(UINT64_MAX);
}

/* Only the pages of the list could make up the block that is asked for. */
static void
drained_by_order(unsigned order, size_t n)
{
    supply_new();
    for (size_t i = first; i < first + total; i++)
        machine_put(i, 0, i - first < n ? FRAME_CACHED : FRAME_USED);
    supply_start();
    check_doing("pmm_alloc(%u), pages free: 0, on kalloc's list: %lu", order, n);
    uint64_t pa = pmm_alloc(order);
    if (1UL << order > n) {
        EXPECT(pa == 0, "expected 0, found 0x%lx", pa);
        check_supply();
        return;
    }
    EXPECT(
        pa != 0,
        "expected a block, found 0: pmm_alloc, in kern/pmm.c, calls kcache_drain and tries again "
        "when there is none");
    EXPECT(
        pa >= machine_pa(first) && pa < machine_pa(first + n) && pa % (PGSIZE << order) == 0,
        "expected a block that begins at a multiple of its size, within 0x%lx-0x%lx, found 0x%lx",
        machine_pa(first), machine_pa(first + n), pa);
    machine_put((pa - machine_pa(0)) / PGSIZE, order, FRAME_USED);
    check_supply();
}

CHECK(kcache_drain)
{
    static const size_t many[] = {1, 31, 32, 33, 64};

    need_pmm();
    start_with_list(40);
    check_doing("kcache_drain(10), pages on the list: 40");
    EXPECT(kcache_drain(10) > 0, "expected 10, found 0: write kcache_drain in kern/kcache.c");
    start_with_list(40);
    drain(10);
    drain(0);
    drain(29);
    drain(5);
    drain(5);
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        start_with_list(many[i]);
        drain(KCACHE_BATCH);
        drain(UINT64_MAX);
        drain(1);
    }
    for (unsigned order = 0; order < 8; order++)
        drained_by_order(order, 64);
    drained_by_order(0, 1);
    free_everything();
}

/* ---- kfree of what is not in use, or not by one ---- */

/* A number that depends on all of a page. */
static uint64_t
sum_of(const void *page)
{
    const uint64_t *word = page;
    uint64_t sum = 0;

    for (size_t i = 0; i < PAGE_WORDS; i++)
        sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15 + 1;
    return sum;
}

static void
call_kfree(void *page)
{
    kfree(page);
}

static void
refused(void *page, const char *why)
{
    void *whole = ROUNDDOWN(page, PGSIZE);
    uint64_t sum = sum_of(whole), mask = read_sysreg(daif);
    size_t listed = kmem.count;
    const char *name;

    check_doing("kfree(%p)", page);
    const char *message = check_panics(call_kfree, page);
    size_t held = spinlocks_reset(&name);
    write_sysreg(daif, mask);
    EXPECT(message, "it returned: expected a panic, because this %s", why);
    EXPECT(strncmp(message, "fault", 5) != 0, "%s: expected a panic, because this %s", message,
           why);
    EXPECT(held == 0, "it panicked while %s was locked", name);
    EXPECT(sum_of(whole) == sum, "it panicked, but has changed the page before");
    EXPECT(check_supply() == listed, "it panicked, but has changed the list before");
}

/* Frames counted from the first: what they are in both of these checks. */
enum {
    ONE = 4,
    OTHER = 9,
    BLOCK = 16,
    FREE = 32,
    RESERVED = 40,
    LISTED = 44,
    SHARED = 48,
    BOTH = 52
};

static void
start_small(void)
{
    need_pmm();
    supply_new();
    machine_put(first + ONE, 0, FRAME_USED);
    machine_put(first + OTHER, 0, FRAME_USED);
    machine_put(first + BLOCK, 2, FRAME_USED);
    machine_put_free(first + FREE, 6);
    machine_put(first + LISTED, 0, FRAME_CACHED);
    machine_put(first + SHARED, 0, FRAME_SHARED);
    machine_put_users(first + SHARED, 3);
    machine_put(first + BOTH, 1, FRAME_SHARED);
    supply_start();
    for (size_t i = 0; i < 64; i++)
        if (i != LISTED)
            memset(page_at(first + i), 0x40 + (int)i, PGSIZE);

    /* What is right comes first: who always panics has nothing to be checked. */
    give(first + ONE);
    EXPECT(kmem.free_list == page_at(first + ONE),
           "expected the page on kmem.free_list: write kfree in kern/kalloc.c (lab 2)");
    check_supply();
}

CHECK(kfree_twice)
{
    start_small();
    refused(page_at(first + ONE), "page was freed just before, and is on the list");
    refused(page_at(first + LISTED), "page is on the list already");
    refused(page_at(first + FREE), "page is free, and with the pmm");
    refused(page_at(first + FREE + 1), "page is free, and with the pmm");
    refused(page_at(first + FREE + 5), "page is free, and with the pmm");
    refused(page_at(first + BLOCK), "is a block of four pages");
    for (size_t i = 1; i < 4; i++)
        refused(page_at(first + BLOCK + i), "is one of a block of four pages");
    refused(page_at(first + BOTH + 1), "is the second page of a block that is shared");
    refused(page_at(first + RESERVED), "page is reserved");
    refused((char *)page_at(first + OTHER) + 8, "is not page-aligned");
    refused((char *)page_at(first + SHARED) + 1 + check_random_below(PGSIZE - 1),
            "is not page-aligned");

    /* After a way through the pmm as well. */
    give(first + OTHER);
    check_supply();
    drain(3);
    refused(page_at(first + OTHER), "page was freed, and has gone back to the pmm");
    refused(page_at(first + ONE), "page was freed, and has gone back to the pmm");
}

CHECK(kfree_shared)
{
    start_small();
    need_page_share();
    start_small();
    const uint64_t *page = page_at(first + SHARED);
    uint64_t sum = sum_of(page), word = page[PAGE_WORDS - 1];

    for (unsigned users = 3; users > 1; users--) {
        check_doing("kfree(%p), users of the page: %u", (const void *)page, users);
        kfree((char *)page_at(first + SHARED));
        EXPECT(sum_of(page) == sum,
               "the page was changed: expected it to be left alone, as others use it");
        machine_put(first + SHARED, 0, users > 2 ? FRAME_SHARED : FRAME_USED);
        check_supply();
        unsigned refs = page_refs(V2P(page));
        EXPECT(refs == users - 1, "page_refs: expected %u, found %u", users - 1, refs);
    }
    give(first + SHARED);
    size_t listed = check_supply();
    EXPECT(listed == 3 && kmem.free_list == page_at(first + SHARED),
           "expected the page on the list, now that nobody uses it any more");
    EXPECT(page[PAGE_WORDS - 1] != word, "expected junk in the page, now that it is free");
    refused(page_at(first + SHARED), "page was freed just before");
}
