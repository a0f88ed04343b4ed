/*
 * What `make DEBUG=1` and `make SAN=1` put between kmalloc and those who call it: every object is watched
 * from kmalloc to kmfree, and for a while after that. Included by kmalloc.h and slab.h; the allocators' own
 * files and the checks (the Makefile's UNWATCHED) see the functions themselves. (heapdebug.c)
 *
 *     head, 48 bytes  | the caller's bytes | red zone, 16 bytes or more
 */
#ifndef INC_HEAPDEBUG_H
#define INC_HEAPDEBUG_H

#include "kmalloc.h"
#include "slab.h"

/*
 * As the functions without "watched_"; only that kmalloc_size returns what was asked for, and that
 * whoever reads memory before writing to it finds junk. What is found wrong is told, with the names of
 * those who allocated and freed the object, in a panic.
 */
void *watched_kmalloc(size_t size);
void *watched_kzalloc(size_t size);
void watched_kmfree(void *p);
size_t watched_kmalloc_size(const void *p);

/* Not watched are the objects of a cache with a constructor, and those that are too large or too aligned. */
struct slab *watched_slab_create(const char *name, size_t size, size_t align);
void *watched_slab_alloc(struct slab *slab);
void watched_slab_free(struct slab *slab, void *p);
void watched_slab_destroy(struct slab *slab);

/* The monitor's command: who has allocated what is still in use. */
void leaks(const char *unused);

#ifndef UNWATCHED
#define kmalloc      watched_kmalloc
#define kzalloc      watched_kzalloc
#define kmfree       watched_kmfree
#define kmalloc_size watched_kmalloc_size
#define slab_create  watched_slab_create
#define slab_alloc   watched_slab_alloc
#define slab_free    watched_slab_free
#define slab_destroy watched_slab_destroy
#endif

#endif
