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

char *
kalloc(void)
{
#if SOL >= 2
    struct run *page = kmem.free_list;

    if (page)
        kmem.free_list = page->next;
    return (char *)page;
#else
    /* Lab 2: your code here. */
    return NULL;
#endif
}

void
kfree(char *v)
{
#if SOL >= 2
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
