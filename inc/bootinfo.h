/* What the firmware told us. (bootinfo.c) */
#ifndef INC_BOOTINFO_H
#define INC_BOOTINFO_H

#include "types.h"

/*
 * Learn memory, reservations and boot arguments from what is at `firmware` (physical): a device
 * tree, or ATAGs; the mailbox bounds or replaces what they say of memory. Fills kern/ram.c's map.
 * Call once, first thing after the console.
 */
void bootinfo_init(uint64_t firmware);

/*
 * The boot argument NAME=VALUE: copies VALUE, cut to size - 1 characters, to buf and returns true.
 * An argument without "=" has the value "". false, with buf untouched: there is none.
 */
bool bootarg(const char *name, char *buf, size_t size);

/* The same as a number: decimal or 0x, with an optional suffix K, M or G (powers of 1024). */
bool bootarg_number(const char *name, uint64_t *value);

/* Is this a graded run, with check= among the boot arguments? It ends by power off, or reset. */
bool graded(void);

#endif
