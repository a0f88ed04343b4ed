/*
 * Filling whole pages, as fast as the core can. Each takes a 4096-byte page, aligned to 4096.
 */
#ifndef PAGE_H
#define PAGE_H

#include "types.h"

/*
 * Zero a page. Normal memory with the MMU on only: it uses `dc zva`, which faults on device memory,
 * and with the MMU off all memory counts as device memory (ARM ARM D7.2.27 DCZID_EL0, B2.7.2).
 */
void page_zero(void *page);

/* Fill a page with (unsigned char)byte. Works on any memory, with the MMU on or off. */
void page_fill(void *page, int byte);

#endif
