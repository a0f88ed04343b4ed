/* Looking at page tables. (pt.c) */
#ifndef INC_PT_H
#define INC_PT_H

#include "types.h"

/*
 * Print the walk of va through TTBR0 or TTBR1, whichever holds it: each level's entry, in words.
 * Reads only tables that lie in RAM: a broken entry is shown, not followed.
 */
void pt_print_walk(uint64_t va);
#if LAB >= 5

/* The same through the table whose root is at that physical address. va belongs to the lower half. */
void pt_print_walk_in(uint64_t root, uint64_t va);
#endif

#endif
