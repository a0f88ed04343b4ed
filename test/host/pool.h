/*
 * A machine for what hands out page frames on the host (memmap, pmm, kalloc over it): a window of made-up
 * physical memory, kern/ram.c with banks of the test's choice, locks that find every wrong use, and a look at
 * each call on its way in and out. Included before everything else (-include) in the code under test too.
 */
#ifndef POOL_H
#define POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report.h"

/* inc/memlayout.h takes KERNBASE from here: what to add to a physical address on this host. */
extern uint64_t machine_kernbase;
#define KERNBASE machine_kernbase

#ifdef POOL_TLB
/* In place of inc/tlb.h: the test has these. */
#define INC_TLB_H
void pte_sync(void);
void tlb_flush_all(void);
void tlb_flush_page(const void *va);
#endif

/*
 * Start over: the machine has no banks; no memmap, no pmm, nothing in the cache. There is memory at the
 * physical addresses [start, start + size). AddressSanitizer guards those of its pages that nobody may
 * touch: all but the pmm's tables and what the pmm has handed out (guard), or none. With
 * size 0, no page may be touched at all.
 */
void pool_start(uint64_t start, uint64_t size, bool guard);

/* Another bank; then, all banks are known. */
void pool_bank(uint64_t start, uint64_t stop);
void pool_reserve(uint64_t start, uint64_t stop);
void pool_banks_done(void);

/* memmap_init and memmap_reserve, as kern/frames.c does it. False: there is no RAM. */
bool pool_fill_memmap(void);

/*
 * In place of pmm_init: a table of n frames (rounded up to a multiple of the largest block) that begins at the
 * physical address `first`, and no zones. A zone for n frames from this one of the table on. Both have bytes
 * of the host's for their tables.
 */
void pool_table(uint64_t first, size_t n);
void pool_zone(size_t first, size_t n);

/* Frame i of the table: its address, and its link (in the zone that it is in). */
uint64_t pool_pa(size_t i);
struct link *pool_link(size_t i);
/* The zone of a frame; ZONES_MAX: none. */
size_t pool_zone_of(size_t i);
/* Which frame of the table is a zone's frame 0? */
size_t pool_base(size_t zone);

/* The k-th pmm_alloc from now on and all later ones return 0, before pmm.c is asked; 0: none. */
void pool_fail(size_t k);
/* How many more will be let through. */
size_t pool_will_succeed(void);

/* Functions that are not written yet, or wrong: pmm_alloc returns this, when not 0; memmap_init fails;
 * memmap_init panics (1), with its lock held (2). */
extern uint64_t pool_forged;
extern bool pool_no_memmap;
extern int pool_panics;

/* Called once, before the next lock is taken: what another core does just then. */
extern void (*pool_meanwhile)(void);

/* While this one is held, those of kalloc and the pmm may be taken. NULL, as after pool_start: no second one. */
struct spinlock;
extern const struct spinlock *pool_outer;

/* Called, if not NULL, when a lock has just been taken, and when it is about to be released. */
extern void (*pool_on_lock)(const struct spinlock *lock, bool taken);

/* How many locks were taken since pool_start. Is none held now? */
extern size_t pool_locked;
void pool_check_locks(const char *where);

/*
 * All that the code under test remembers, but for the free pages' links: its tables, lists, counts,
 * bitmaps; with caches (POOL_CACHES), also all that there is in memory. Take note of it; has it changed since?
 */
void pool_save(void);
bool pool_changed(void);

#endif
