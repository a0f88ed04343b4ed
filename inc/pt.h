/* Looking at page tables. (pt.c) */
#ifndef INC_PT_H
#define INC_PT_H

#include "types.h"

/*
 * Print the walk of va through TTBR0 or TTBR1, whichever holds it: each level's entry, in words.
 * Reads only tables that lie in RAM: a broken entry is shown, not followed.
 */
void pt_print_walk(uint64_t va);

#endif
