/*
 * A machine for what makes and fills address spaces: page frames full of junk, records of kmalloc's, and not more
 * of either than the test says; and page tables, walked by code that is not under test. Included before
 * everything else (-include) in the code under test too.
 */
#ifndef SPACE_H
#define SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report.h"

/* inc/memlayout.h takes KERNBASE from here: what to add to a physical address on this host. */
extern uint64_t machine_kernbase;
#define KERNBASE machine_kernbase

/* In place of inc/tlb.h. */
#define INC_TLB_H
void pte_sync(void);
void tlb_flush_all(void);
void tlb_flush_page(const void *va);
void tlb_flush_user(uint64_t asid, uint64_t va);
void icache_sync(const void *page);

#define SPACE_PAGES 1200

/* Start over: all pages and records are free, and there is no limit but their number. */
void space_start(void);

/* From now on this many pages and records can be had; one that is freed can be had again. */
#define SPACE_NO_LIMIT SIZE_MAX
void space_limit(size_t pages, size_t records);

/* How many can be had; how many are in use; and how often kalloc was called since space_start. */
size_t space_available(void);
size_t space_pages(void);
size_t space_records(void);
extern size_t space_asked;

/* A frame can have so many users, and page_share (pmm.h) is refused after that. */
#define SPACE_USERS 400

/* Will instruction fetches see what is in the frame? Not what is written after this has been forgotten. */
bool space_synced(uint64_t pa);
void space_forget_sync(uint64_t pa);

/*
 * What the page table maps, by address; each table is a frame in use, and so is what is mapped, once, unless it is
 * shared. Returns how many pages there are; *ntables: how many tables.
 */
struct leaf {
    uint64_t va, pte;
};
size_t space_leaves(const uint64_t *root, struct leaf leaves[SPACE_PAGES], size_t *ntables);

/* The frame that va is mapped to; NULL: none. */
char *space_frame(const uint64_t *root, uint64_t va);

/* How many tables are missing before [start, stop) can be mapped. */
size_t space_tables_missing(const uint64_t *root, uint64_t start, uint64_t stop);

/* The entry for a page at pa with the rights prot, as inc/aspace.h has it. */
uint64_t space_pte(uint64_t pa, int prot);

#endif
