/*
 * Memory in one piece for the kernel, made of single pages from anywhere. (vmalloc.c)
 */
#ifndef INC_VMALLOC_H
#define INC_VMALLOC_H

#include "memlayout.h"
#include "spinlock.h"

/* Its address space: the level 0 entry behind the linear map's. */
#define VMALLOC_START (KERNBASE + (1UL << 39))
#define VMALLOC_STOP  (VMALLOC_START + (1UL << 36))

/*
 * An area: pages that are mapped, and behind the last one a page that never is: running over the end
 * faults. Pages before an area are not mapped either, as an area before it ends with one of those.
 */
struct area {
    uint64_t start;    /* its first page */
    size_t npages;     /* without the one that is not mapped */
    struct area *next; /* the next one, by address; they do not touch */
};

extern struct area *areas; /* the one with the lowest address; NULL: there is none. From kmalloc. */

/*
 * For the areas, and for the tables that map them. Held while a page is mapped: so kmem_lock and pmm_lock
 * may be taken while it is held, but not the other way round.
 */
extern struct spinlock vmalloc_lock;

/*
 * size bytes, rounded up to whole pages, at a multiple of align (a power of 2, PGSIZE or more), the
 * caller's until vfree: read-write, for the kernel only (and the same whatever process runs: without
 * PTE_NG), never executable. The area is the lowest one that fits between the others. What the pages
 * contain is unspecified. NULL, with nothing changed but that tables may have come: no memory, no room,
 * size is 0, or align makes no sense.
 */
void *vmalloc_aligned(size_t size, size_t align);

/* The same at a page boundary. */
void *vmalloc(size_t size);

/*
 * Give back the area that begins at p. Before one of its pages is free for others, no core can reach it
 * here any more; and before others can have its addresses, all pages are gone. The tables stay. NULL does
 * nothing. Panics, having changed nothing, when no area begins at p.
 */
void vfree(void *p);

#endif
