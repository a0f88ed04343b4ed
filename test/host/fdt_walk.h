/*
 * Use a device tree in every way that there is, for test_fdt.c and fuzz_fdt.c: whatever the blob
 * contains, nothing outside of it may be touched (the sanitizers watch), and what is handed out
 * must keep its promises.
 */
#ifndef FDT_WALK_H
#define FDT_WALK_H

#include "fdt.h"

/* Check the blob and walk it. Returns what fdt_check said; aborts when a promise is broken. */
int fdt_walk(const void *blob, size_t size);

#endif
