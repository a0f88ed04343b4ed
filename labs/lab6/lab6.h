/*
 * What the checks of lab 6 share: address spaces that are made up, with their tables, ranges and pages, each page with
 * as many users as it should have. (spaces.c; what is asked first, and the program that they run: common.c)
 */
#ifndef LABS_LAB6_H
#define LABS_LAB6_H

#include "../lab5/lab5.h"
#include "check.h"
#include "pager.h"
#include "vma.h"

/* ---- what a check needs (common.c): each fails it, naming what is to be written first ---- */

void need_aspace_copy(void);
void need_fork_registers(void);
void need_page_fault(void);
void need_fault_absent(void);
void need_fault_cow(void);

/* ---- page frames (spaces.c) ---- */

/* A page of the check's own with random contents, and so many users. Its physical address. */
uint64_t frame_new(unsigned users);

/* The page at pa is a program's from here on, as it is: the code under test has made it. With so many users. */
void frame_adopt(uint64_t pa, unsigned users);

/* It should have so many users more than before. */
void frame_more(uint64_t pa, int more);

/* It has so many users, and should. */
void frame_set_users(uint64_t pa, unsigned users);

/* How many it should have; 0: it is none of these. */
unsigned frame_users(uint64_t pa);

/* The check has written to it: as it is now, it should stay. */
void frame_written(uint64_t pa);

/* More users than a page can have. */
#define USERS_MAX 0x7fffffffu

/* ---- address spaces (spaces.c) ---- */

#define LEAVES_MAX 640
#define RANGES_MAX 24

struct side {
    const char *name;    /* for messages */
    struct aspace as;    /* for the code under test */
    struct aspace model; /* what its fields should be */
    size_t nleaves;
    struct leaf {
        uint64_t va, entry; /* entry: what it should be */
    } leaf[LEAVES_MAX];     /* by address */
    size_t nranges;
    struct vma range[RANGES_MAX]; /* what as.vmas should say, by address; next means nothing */
};

extern struct side parent, child, second;

/*
 * Begin a check, or a part of one: all are empty, the second and the child as proc_fork makes them; and there are so many
 * free pages, which hold 0xff. There are objects for ranges without any page. zero_page is a frame_new.
 */
void sides_start(size_t free_pages);

/* No check of this run works with lab 2's pool after this one, so that all pages are to be free at its end. */
void sides_last_check(void);

/* aspace_use(&s->as): TTBR0 has its table until the check ends. */
void side_use(struct side *s);

/* Add a range, behind all that there are. */
void side_range(struct side *s, uint64_t start, uint64_t stop, int prot, enum vma_kind kind);

/* Map a page, in tables of the check's own, with the entry for these rights. It counts as one of s->as.pages. */
void side_map(struct side *s, uint64_t va, uint64_t pa, int prot);

/* The entry for va should be this from here on; 0: nothing is mapped there. */
void side_expect(struct side *s, uint64_t va, uint64_t entry);

/* The entry for va means nothing from here on, as it is not valid, whatever it looks like. There are tables for it. */
void side_invalid(struct side *s, uint64_t va);

/* What it should be; 0: nothing. */
uint64_t side_expected(const struct side *s, uint64_t va);

/* The entry for va as it is now; NULL: there is no table for it. */
uint64_t *side_entry(const struct side *s, uint64_t va);

/* The range that va lies in. */
const struct vma *side_range_of(const struct side *s, uint64_t va);

/*
 * Fail the check unless all is as it should be: tables, ranges and fields of all sides, users and contents of all
 * frames; and every other page is free. These bits of entries do not matter.
 */
void sides_check(uint64_t ignore);
#define ATTRIBUTES (~(PTE_ADDR_MASK | PTE_P)) /* all but where it leads, and whether it does */

/* How many tables below its root a side cannot do without. */
size_t side_tables(const struct side *s);

/* How many objects of kmalloc's are in use; if they can be counted in this kernel. */
size_t objects_in_use(void);
bool objects_countable(void);

/* Words for an access; for a kind of range. */
const char *access_name(int access);
const char *kind_name(enum vma_kind kind);

/* ---- a program (common.c) ---- */

/* Two segments, of several pages each, and what comes behind them; other ones each time. */
#define PROGRAM_PAGES 8
extern union made_up {
    struct image image;
    char room[sizeof(struct image) + PROGRAM_PAGES * sizeof(uint64_t)];
} program;

/* s runs it: its ranges are there, of this kind, and none of its pages. Before any other range. */
void program_start(struct side *s, enum vma_kind kind);

/* Has the file something for the page at va? Which of the image's pages it is; -1: none. */
int program_page(uint64_t va);

/* Is this what belongs there? */
bool program_has(uint64_t va, const void *page);

/* A page of a segment, in the file or behind it (in the BSS). */
uint64_t program_any(int prot, bool in_file);

/* The image has got pages by what was called: they are frames from here on. Fails the check if they are wrong. */
void program_adopt(void);

#endif
