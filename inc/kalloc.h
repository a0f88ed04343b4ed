/* The page allocator. (kalloc.c) */
#ifndef INC_KALLOC_H
#define INC_KALLOC_H

#include "memlayout.h"
#include "ram.h"
#if LAB >= 3
#include "kcache.h"
#include "pmm.h"
#endif

/* A free page. The list needs no memory of its own: each link lives in the free page itself. */
struct run {
    struct run *next;
};

extern struct kmem {
    struct run *free_list; /* NULL: no page is free */
#if LAB >= 3
    size_t count; /* how many pages are on it */
#endif
} kmem;

/* Give every usable page behind the kernel image to the allocator. Call once. */
void alloc_init(void);

/* kfree every whole page in [vstart, vend). */
void free_range(void *vstart, void *vend);

/*
 * Take a free page. Returns its address in the linear map (page-aligned, owned by the caller until it
 * calls kfree), or NULL when no page is free. What the page contains is unspecified.
 */
char *kalloc(void);

/*
 * Give back a page that kalloc returned. Its 4096 bytes are filled with junk, so that a dangling
 * pointer soon shows. Panics unless v is page-aligned and lies in a page that the allocator owns
 * (page_owned); so NULL panics too.
 */
void kfree(char *v);

/* How many pages are free; walks the list. */
size_t count_free_pages(void);

#endif
