/*
 * A little machine for kern/vm.c, kern/kalloc.c and kern/ram.c on the host: some pages of memory at a made-up
 * physical address, the kernel functions that those files call, and a look at every barrier and every page
 * that changes hands. Included before everything else (-include) in the code under test too.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report.h"

/* inc/memlayout.h takes KERNBASE from here: what to add to a physical address on this host. */
extern uint64_t machine_kernbase;
#define KERNBASE machine_kernbase

/* In place of inc/tlb.h: here, barriers and TLB maintenance are noted. */
#define INC_TLB_H
void pte_sync(void);
void tlb_flush_all(void);
void tlb_flush_page(const void *va);

#define MACHINE_PA \
    0x7a5a5a000000u /* of what lies before the first page; far from any other number in use */
#define MACHINE_PAGES 1200 /* at most */

/*
 * Start over with n pages that the allocator owns, all of them free, given to alloc_init in ranges of the given
 * number of pages each (0: in one), with a page between them that nobody owns.
 */
void machine_start(size_t n, size_t range);

/* The pages: how many, and the index of an address; MACHINE_PAGES when it is not owned. */
size_t machine_pages(void);
size_t machine_index(const void *page);
void *machine_page(size_t index);
bool machine_is_free(size_t index);
/* count_free_pages, which may read the links in free pages. */
size_t machine_count_free(void);

/* Put the machine into a state by hand: take all pages off the list; then put back the ones that are free. */
void machine_take_all(void);
void machine_put(size_t index);
/* Note which pages are free now: after calls that went past this file. */
void machine_adopt(void);

/* The k-th kalloc from now on and all later ones return NULL; 0: none does. Counts from every machine_call. */
void machine_fail(size_t k);
/* What kalloc can give from now on. */
size_t machine_available(void);

/* A call into the code under test begins: forget what was noted. vm_free: no page may be freed before a flush. */
void machine_call(bool vm_free);
/* How often the code under test asked kalloc since then, and whether it was given the page. */
size_t machine_asked(void);
bool machine_taken(size_t index);
/* Called at every pte_sync, when not NULL. */
extern void (*machine_on_sync)(void);

#endif
