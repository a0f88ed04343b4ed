/*
 * Lab 2's last check: all the memory there is, page by page.
 */
#include "check.h"
#include "kalloc.h"
#include "lab2.h"
#include "mmu.h"
#if LAB >= 4
#include "../lab4/lab4.h"
#endif

/* Free pages that kalloc does not have: from lab 3 on, most are with the pmm. */
static size_t
free_elsewhere(void)
{
    size_t n = 0;
#if LAB >= 4
    n = pages_held(); /* pool_start may have left them out */
#endif
#if LAB >= 3

    for (const struct zone *z = zones; z < zones + nzones; z++)
        n += z->free;
#endif
    return n;
}

static size_t
usable_pages(void)
{
    size_t n, pages = 0;
    const struct range *usable = ram_usable(&n);

    for (size_t i = 0; i < n; i++)
        pages += (usable[i].end - usable[i].start) / PGSIZE;
    return pages;
}

/* pool_start has taken what kalloc gives, each page once, owned; was that all? */
static void
check_all_came(void)
{
    size_t n, total = usable_pages(), missing = 0;
    uint64_t first = 0, last = 0;
    const struct range *usable = ram_usable(&n);

    for (const struct range *r = usable; r < usable + n; r++)
        for (uint64_t pa = r->start; pa < r->end; pa += PGSIZE)
            if (!stock_has(pa)) {
                if (missing++ == 0)
                    first = pa;
                last = pa;
            }
    EXPECT(missing == free_elsewhere(),
           "expected each of the %lu usable pages from kalloc(), found that %lu of them never "
           "came, the "
           "first %p, the last %p",
           total, missing, P2V(first), P2V(last));
}

/* ---- a few pages, at random ---- */

#define FEW 24

static void
check_random_use(void)
{
    static uint64_t *mine[FEW];
    size_t n = 0;

    pool_start(FEW);
    for (size_t i = 0; i < 600; i++) {
        if (n < FEW && (n == 0 || check_random() % 2)) {
            check_doing("kalloc() with %lu pages free", FEW - n);
            mine[n] = (uint64_t *)kalloc();
            EXPECT(mine[n], "expected a page, found NULL");
            for (size_t j = 0; j < n; j++)
                EXPECT(mine[n] != mine[j], "found the page %p, which is in use", (void *)mine[n]);
            mine[n][0] = mine[n][NPTE - 1] = (uint64_t)mine[n];
            n++;
        } else {
            size_t pick = check_random_below(n);
            uint64_t *page = mine[pick];
            check_doing("kfree(%p)", (void *)page);
            EXPECT(page[0] == (uint64_t)page && page[NPTE - 1] == (uint64_t)page,
                   "the page was changed while it was in use");
            kfree((char *)page);
            mine[pick] = mine[--n];
        }
    }
    while (n > 0)
        kfree((char *)mine[--n]);
    pool_check();
}

/* An empty list and a single page on it. */
static void
check_empty(void)
{
    pool_start(0);
    for (size_t i = 0; i < 3; i++) {
        const char *page = kalloc();
        EXPECT(!page, "kalloc() with no page free: expected NULL, found %p", (const void *)page);
    }
    pool_set(1);
    char *page = kalloc();
    EXPECT(page, "kalloc() with one page free: expected it, found NULL");
    const char *more = kalloc();
    EXPECT(!more, "kalloc() with no page free: expected NULL, found %p", (const void *)more);
    kfree(page);
    pool_check();
}

/* ---- everything ---- */

/* Free all of the stock, and follow the list. */
static void
check_all_free(void)
{
    size_t n = 0;

    pool_start(0);
    const size_t total = stock_size(), elsewhere = free_elsewhere();
    check_doing("kfree of all %lu pages", total);
    for (uint64_t pa = 0; pa < PHYSTOP; pa += PGSIZE)
        if (stock_has(pa))
            kfree(P2V(pa));
    for (const struct run *page = kmem.free_list; page; page = page->next) {
        EXPECT((uint64_t)page % PGSIZE == 0 && V2P(page) < DEVICES_PA && stock_has(V2P(page)),
               "expected a free page as number %lu on kmem.free_list, found %p", n,
               (const void *)page);
        EXPECT(++n <= total,
               "expected %lu pages on kmem.free_list, found more: it goes round in a circle",
               total);
    }
    n += free_elsewhere() - elsewhere; /* what kfree has passed on */
    EXPECT(n == total, "expected %lu free pages, found %lu", total, n);
    stock_given_back();
}

CHECK(free_list)
{
    pool_start(0);
    check_all_came();
    check_empty();
    check_random_use();
    check_doing("%s", "");
    check_all_free();
}
