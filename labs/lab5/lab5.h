/*
 * What the checks of lab 5 share. (common.c; made-up address spaces: space.c)
 */
#ifndef LABS_LAB5_H
#define LABS_LAB5_H

#include "../lab2/lab2.h"
#include "aspace.h"
#include "check.h"

/* ---- what a check needs (common.c): each fails it, naming what is to be written first ---- */

/* Other threads: from here on there are threads 1 and 2 (proc_trouble), which stay. */
void need_threads(void);

/* The exercises of aspace.c do anything at all; and before them what they need of lab 2. No page is lost. */
void need_user_pte(void);
void need_aspace_create(void);
void need_user_map(void);
void need_user_alloc(void);
void need_user_free(void);
void need_user_protect(void);
void need_aspace_destroy(void);

/* Pages may have several users (lab 3): page_share does it, and kfree of such a page drops one. */
void need_shared_pages(void);
#if LAB >= 6

/* Pages come when they are touched (labs/lab6/check_whole.c). No page is lost. */
void need_faults(void);
#endif

/* ---- counting pages (common.c) ---- */

/*
 * Take note of how many pages nobody has: with threads 1 and 2 there, and without the empty chunks that caches keep.
 */
void pages_note(void);

/* Fail the check unless there are as many now; `after` says what has been done, for the message. */
void pages_expect(const char *after);

/* ---- while programs run (auditor.c); interrupts are masked ---- */

void sleep_ms(uint64_t ms);

/* Take note of how many objects kmalloc has given, and areas vmalloc; fail the check unless there are as many now. */
void objects_note(void);
void objects_expect(const char *after);

/*
 * A thread that looks at the tables of all processes every few milliseconds, and has memory of its own for that. stop:
 * once it has ended, there is a last look. The check fails if one has found an error: expect, for those so far; look, for
 * one more. reset: at the beginning, and when all threads are gone.
 */
extern int auditor; /* its number */
void auditor_start(void);
void auditor_stop(void);
void auditor_expect(void);
void auditor_look(void);
void auditor_reset(void);

/* ---- words ---- */

/* "-ENOENT", or the number if it is no error that we know. Good until the next but three calls. */
const char *error_name(int error);

/* ---- an address space that is made up (space.c): lab 2's tree, and every page accounted for (lab2.h) ---- */

/*
 * The address space. Its table is tree_start's; all else has random values, which no call but those of mmap.c
 * and asid.c may change.
 */
extern struct aspace space;

/* Begin a check, or a part of one: an empty address space, and so many free pages, which hold 0xff. */
void space_start(size_t free_pages);

/* No check of this run works with lab 2's pool after this one, so that all pages are to be free at its end. */
void space_last_check(void);

/* aspace_use(&space): TTBR0 has its table until the check ends. */
void space_use(void);

/* The rights that a page can have, and their names. */
extern const int space_prots[6];
int space_any_prot(void);
const char *prot_name(int prot);

/* The attributes that the contract wants for these rights, and the whole entry of the page at pa. */
uint64_t space_attributes(int prot);
uint64_t space_entry(uint64_t pa, int prot);

/* What is wrong with these attributes, in words; NULL: nothing. What map_region adds does not matter. */
const char *space_wrong_attributes(uint64_t pte, int prot);

/* An address where nothing is mapped: near others or far, sometimes the first page or the last there is. */
uint64_t space_place(void);

/* A page frame of the check's own with random contents, and so many users; is it still as it was? */
uint64_t *space_page(void);
uint64_t *space_shared_page(unsigned users);
bool space_page_kept(const uint64_t *page);

/* Map the page at va without the code under test, in tables of the check's own. */
void space_put(uint64_t va, uint64_t pa, int prot);

/*
 * The code under test has mapped the page at va: is the entry right? The model learns of it. Its attributes may be those
 * that user_pte gives, though wrong, as user_pte has a check of its own; or `also`, if not 0.
 */
void space_mapped(uint64_t va, uint64_t pa, int prot, uint64_t also);

/* It has unmapped the page at va. The entry may keep bits that mean nothing. */
void space_unmapped(uint64_t va);

/*
 * Fail the check unless the table holds what the model says, as->pages has changed by so many since the last
 * time, and nothing else of the address space has.
 */
void space_check(int64_t more_pages);
int64_t space_more_pages(void);

/* A call must return this. */
void space_expect(int expected, int result, const char *why);

#endif
