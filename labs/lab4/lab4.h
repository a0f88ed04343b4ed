/*
 * What the checks of lab 4 share. (common.c) They work on real memory: the kernel's own, or, where it matters
 * what the pmm has, on that of a machine of lab 3 (machine_real, which has its pmm to itself).
 */
#ifndef LABS_LAB4_H
#define LABS_LAB4_H

#include "check.h"
#include "types.h"

/* Fail the check, naming the exercise, unless the pmm hands out pages and takes them back. */
void need_pmm(void);

/* The same, unless these do anything at all. */
void need_heap_alloc(void); /* check_heap.c */
void need_heap_free(void);

/* The same for kalloc: it must be the cache over the pmm that lab 3 makes of it, as vmalloc's pages come from it. */
void need_cache(void);

/*
 * How many pages nobody has: in the pmm's free blocks, or on kalloc's list. Empty chunks that the caches
 * keep have gone back before (slabs_trim).
 */
size_t pages_free(void);

/*
 * Take blocks until no more pages than that are free (or there were as few already); give all of them back; and how many
 * pages they have.
 */
void hold_all_but(size_t leave);
void hold_none(void);
size_t pages_held(void);

/*
 * For the end of a check: what vmalloc and the caches keep goes back, their empty chunks and, if there is no
 * area, the tables. So the checks of all memory can be run again.
 */
void pages_back(void);

/*
 * Call fn(p), which is expected to panic, as `p` is (or has) what `why` says. Locks that it leaves, and the
 * interrupt mask, are put right: who holds a lock while it panics fails another check.
 */
void expect_panic(void (*fn)(void *), void *p, const char *why);

/*
 * Take note of the kernel's own heap; the check may then call mem_init. heap_restore, in the function for
 * check_finally, puts it back; it does nothing when heap_save was not called.
 */
void heap_save(void);
void heap_restore(void);

#endif
