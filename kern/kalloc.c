/*
 * The page allocator: a list of free pages, linked through the pages themselves.
 */
#include "kalloc.h"
#include "console.h"
#include "page.h"
#include "string.h"

#define JUNK 0x01 /* what a freed page is filled with */

struct kmem kmem;

void
alloc_init(void)
{
    size_t n;
    const struct range *usable = ram_usable(&n);

    for (size_t i = 0; i < n; i++)
        free_range(P2V(usable[i].start), P2V(usable[i].end));
    cprintf("Allocator: Init success.\n");
}

void
free_range(void *vstart, void *vend)
{
    char *stop = ROUNDDOWN((char *)vend, PGSIZE);

    for (char *v = ROUNDUP((char *)vstart, PGSIZE); v < stop; v += PGSIZE)
        kfree(v);
}

#if SOL >= 3
/* kalloc with an empty list. */
static __attribute__((cold, noinline)) char *
refill_and_alloc(void)
{
    return kcache_refill() > 0 ? kalloc() : NULL;
}
#endif

char *
kalloc(void)
{
#if SOL >= 3
    uint64_t flags = spin_lock(&kmem_lock);
    struct run *page = kmem.free_list;
    size_t count = kmem.count;

    if (page) {
        kmem = (struct kmem){.free_list = page->next, .count = count - 1};
        kcache_unmark(page);
    }
    spin_unlock(&kmem_lock, flags);
    return page ? (char *)page : refill_and_alloc();
#elif SOL >= 2
    struct run *page = kmem.free_list;

    if (page)
        kmem.free_list = page->next;
    return (char *)page;
#else
    /* Lab 2: your code here. */
    return NULL;
#endif
}

#if SOL >= 3
/*
 * kfree of what is no page in use by one. A shared page has one user less; if the other users have gone
 * meanwhile, on other cores, it is a page like any other. All else is a mistake.
 */
static __attribute__((cold, noinline)) void
drop_share(char *v)
{
    if ((uint64_t)v % PGSIZE == 0 && page_refs(V2P(v)) > 1 && page_unshare(V2P(v)) >= 0)
        return;
    if (!kcache_mark(v))
        panic("kfree(%p): not a page that is in use", v);
    kcache_unmark(v);
    kfree(v);
}
#endif

void
kfree(char *v)
{
#if SOL >= 3
    struct run *page = (struct run *)v;

    if (!kcache_mark(v)) {
        drop_share(v);
        return;
    }
    page_fill(v, JUNK);
    uint64_t flags = spin_lock(&kmem_lock);
    size_t count = kmem.count + 1;
    page->next = kmem.free_list;
    kmem = (struct kmem){.free_list = page, .count = count};
    spin_unlock(&kmem_lock, flags);
    if (count & KCACHE_MAX) /* it went up by one: so this says >= */
        kcache_drain(KCACHE_BATCH);
#elif SOL >= 2
    struct run *page = (struct run *)v;

    if ((uint64_t)v % PGSIZE != 0 || !page_owned(V2P(v)))
        panic("kfree(%p): not a page of the allocator's", v);
    page_fill(v, JUNK);
    page->next = kmem.free_list;
    kmem.free_list = page;
#else
    /* Lab 2: your code here. */
    (void)v;
#endif
}

size_t
count_free_pages(void)
{
    size_t n = 0;

    for (const struct run *page = kmem.free_list; page && n < PHYSTOP / PGSIZE; page = page->next)
        n++;
    return n;
}
