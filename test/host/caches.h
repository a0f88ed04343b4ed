/*
 * What kern/slabs.c keeps to itself, for the tests: all caches, and the pages of records. (caches.c, which is
 * compiled in place of it)
 */
#ifndef CACHES_H
#define CACHES_H

#include "slab.h"

/* No caches, no records, as before slabs_init. */
void caches_start_over(void);

/* The first of all caches; the others follow by their `next`. */
const struct slab *caches_first(void);

/*
 * The page on the ring of those with unused records that comes after this one (NULL: the first). NULL: there
 * are no more. *unused: bit k says so of the one at 64 * k.
 */
const void *caches_records(const void *page, uint64_t *unused);

/* All of this to fn. */
void caches_state(void (*fn)(const void *, size_t));

#endif
