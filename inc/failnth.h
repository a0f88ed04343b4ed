/* Memory that runs out when asked to. (failnth.c; not in kernels made with FAILNTH=0) */
#ifndef INC_FAILNTH_H
#define INC_FAILNTH_H

#include "types.h"

/*
 * The n-th call of kalloc, kmalloc, kzalloc, pmm_alloc from here on returns that there is no memory (1: the next one); 0: none does.
 * Calls within the allocators' own files do not count.
 */
void failnth_set(uint64_t n);

/* How many such calls there have been since failnth_set, and whether one has failed. */
uint64_t failnth_calls(void);
bool failnth_happened(void);

#endif
