/*
 * Memory of any size for the kernel itself. Small sizes come from caches (slab.h), or, in a kernel made
 * with KMALLOC=heap, from the heap (heap.h); larger ones from the pmm. (slab.c; what is given: slabs.c)
 */
#ifndef INC_KMALLOC_H
#define INC_KMALLOC_H

#include "types.h"

#ifndef KMALLOC_HEAP
#define KMALLOC_HEAP 0 /* make KMALLOC=heap: 1 */
#endif

#define KMALLOC_MAX 0x400000 /* bytes: the pmm's largest block */

/*
 * size bytes, aligned to 16, the caller's until kmfree. What they contain is unspecified; kzalloc's are
 * zero. NULL when there are not so many, or size is 0 or more than KMALLOC_MAX.
 *
 * Up to SLAB_MAX bytes are an object of the cache for the next size there is (slab_by_size); or, with
 * KMALLOC=heap, up to HEAP_MAX are heap_alloc's. More is a block of the pmm, of the smallest order that
 * holds it, marked FRAME_LARGE.
 */
void *kmalloc(size_t size);
void *kzalloc(size_t size);

/*
 * Give back what kmalloc, kzalloc or slab_alloc returned. NULL does nothing. Panics, having changed
 * nothing, and says the address and what is wrong, when no such memory that is in use begins at p: it is
 * free already, p is inside of it, or nobody's.
 */
void kmfree(void *p);

/* How many bytes there really are: size or more. p as for kmfree; NULL: 0. */
size_t kmalloc_size(const void *p);

/* Would kmalloc(size) succeed now? Given (slabs.c), for mem_has_space. */
bool kmalloc_has_space(size_t size);

#if defined(DEBUG) || defined(SAN)
#include "heapdebug.h"
#endif

#endif
