/* Which memory there is, and which of it is free to be handed out. (ram.c) */
#ifndef INC_RAM_H
#define INC_RAM_H

#include "types.h"

/* The bytes [start, end) of physical memory. */
struct range {
    uint64_t start, end;
};

/* There is RAM at [start, stop). Overlaps and any order are fine; empty or wrapping ranges count nothing. */
void ram_add(uint64_t start, uint64_t stop);

/* Nobody may be given [start, stop): it is in use, or belongs to the firmware. */
void ram_reserve(uint64_t start, uint64_t stop);

/* RAM at or above limit does not count. */
void ram_limit(uint64_t limit);

/*
 * All is known: maps the RAM (kvm.c), computes PHYSTOP and the usable ranges, and prints what was
 * found. What the kernel image and everything below it occupy is never usable.
 */
void ram_init(void);

/* Are the n bytes at pa RAM that the linear map reaches? */
bool ram_holds(uint64_t pa, uint64_t n);

/* The usable ranges, page-aligned, ascending, disjoint; *n is how many. */
const struct range *ram_usable(size_t *n);

/* After ram_init: the kernel keeps [start, stop) for itself, so it is usable no more. */
void ram_withdraw(uint64_t start, uint64_t stop);

#if LAB >= 3
/* The banks of RAM that are mapped: page-aligned, ascending, none touching another; *n is how many. */
const struct range *ram_banks(size_t *n);
#endif

#if LAB >= 2
/* The usable ranges once more, for page_owned; an empty one follows the last. */
extern struct range usable_ranges[];

/* Does the page allocator own the page that pa lies in: does it lie in a usable range? */
static inline bool
page_owned(uint64_t pa)
{
    const struct range *r = usable_ranges;

    do {
        if (pa - r->start < r->end - r->start)
            return true;
    } while ((++r)->end != 0);
    return false;
}
#endif

#endif
