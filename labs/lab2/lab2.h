/*
 * What the checks of lab 2 are made of: pages whose whereabouts are known one by one (pool.c), and a
 * model of what a page table should hold (tree.c).
 *
 * The checks take every page from kalloc at first and keep them: the stock. The code under test then
 * gets as few as a check wants it to have, the pool. "Free" is never counted: all that kalloc gives
 * is taken back and looked at page by page.
 */
#ifndef LABS_LAB2_H
#define LABS_LAB2_H

#include "types.h"

/* ---- pages (pool.c) ---- */

/* What a page of the pool is, for messages; ROLE_TABLE + level is a table. */
enum role { ROLE_TABLE, ROLE_LEAF = 4, ROLE_FREE };

/*
 * Begin a check, or a part of one: put away whatever was there, tables too, and let the allocator have
 * n free pages.
 */
void pool_start(size_t n);

/* What pool_start has registered for the end of the check: after the last check all pages are freed. */
void pool_end(void);

/* Let it have n free pages, in place of those that it has now. Each holds 0xff but for its link. */
void pool_set(size_t n);

/*
 * Take all free pages, which go back to the stock. Fails the check unless each had been given to
 * kfree, comes once, and is in no table that tree_scan found; and unless every other page of the
 * pool is in such a table. Returns how many there were.
 */
size_t pool_drain(void);

/* pool_drain, and as many other pages in their place. */
void pool_check(void);

/* A page from the stock for the check's own use, filled with the word. It is not the pool's. */
uint64_t *page_take(uint64_t word);

/* The code under test is to free this page, which page_take returned; for va see role. */
void pool_adopt(const void *page, enum role role, uint64_t va);

/* A page from the stock that nobody may free or change; where says what refers to it. */
uint64_t page_decoy(const char *where);
/* The same with a page at a multiple of 2 MiB; 0 if there is none. */
uint64_t page_decoy_2m(const char *where);

/* For tree_scan: why there can be no table at pa, or NULL. Then it counts as a table. */
const char *page_to_table(uint64_t pa);
void page_forget_tables(void);

/* For check_free_list. */
size_t stock_size(void);
bool stock_has(uint64_t pa);
void stock_given_back(void);

/* ---- TTBR0 ---- */

/*
 * Let TTBR0 hold this root table; the empty one again, with nothing left in the TLB; and the empty
 * one, but without the TLBI: the ASID is the same, so translations that were used stay valid.
 */
void user_root(const uint64_t *root);
void user_root_none(void);
void user_root_stale(void);

/* Load a word with EL0's rights. QEMU keeps a TLB of its own for these, which no other access touches. */
uint64_t user_load(uint64_t va);

/* ---- a page table and its model (tree.c) ---- */

#define LOWER 0UL
#define UPPER 0xffff000000000000UL

/* pool_start, and a new root table. half: bits 63:48 of the addresses used with it. */
uint64_t *tree_start(size_t free_pages, uint64_t half);

/* From now on the entry for va, in a table of this level, should be this; 0: its table exists. */
void tree_add(int level, uint64_t va, uint64_t entry);

/* Is there nothing in the model for the n pages from va on? */
bool tree_lacks(uint64_t va, size_t n);

/* Do not compare these bits of entries (until the next tree_start). */
void tree_ignore(uint64_t bits);

/* How many tables (levels 1 to 3) would the n pages from va on need beside those of the model? */
size_t tree_tables_for(uint64_t va, size_t n);

/* Fails the check unless the table, and all below it, holds what the model says. */
void tree_check(void);

/* The page-aligned address of n pages that the model lacks. They are near others, or far. */
uint64_t tree_place(size_t n);

/* The entry for va, read the way the MMU does: through valid tables only. NULL: a table is missing. */
uint64_t *tree_entry(uint64_t va, int level);

/* ---- map_region (check_map.c) ---- */

#define PAGE_FLAGS (PTE_PAGE | PTE_AF | PTE_SH)

/* Call map_region for the root of tree_start. */
int map(uint64_t va, uint64_t size, uint64_t pa, uint64_t perm);

/* Call it; it must succeed, and the model learns of it. */
void map_ok(uint64_t va, uint64_t size, uint64_t pa, uint64_t perm);

/* Fail the check, naming the exercise, unless map_region (pgdir_walk) does anything at all. */
void need_map_region(void);
void need_pgdir_walk(void);

#endif
