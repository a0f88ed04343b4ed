/*
 * The contract of inc/slab.h, inc/heap.h and inc/kmalloc.h in its plainest form: a set of objects in use, each of
 * which is its owner's alone, where it should be, and full of what its owner has written; and every page is
 * somebody's. Every call of the code under test is made through this, which knows what it may do, and finds
 * any difference. AddressSanitizer guards the caches' objects that are free.
 */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "kmalloc.h"
#include "pool.h"
#include "slab.h"

#define OBJECTS_MAX (1u << 18)

enum object_kind { OBJECT_CACHED, OBJECT_HEAP, OBJECT_LARGE };

struct object {
    char *p;
    size_t room; /* bytes that there are, all of them filled with: */
    uint8_t fill;
    bool is_cache; /* no: it is a struct slab, the code's under test */
    enum object_kind kind;
    const struct slab *slab; /* of an OBJECT_CACHED */
};

extern struct objects {
    size_t n; /* in use */
    struct object list[OBJECTS_MAX];
    size_t
        held; /* pages that the test has from pmm_alloc or kalloc, the heap's first region among them */
} objects;

/* After every call, look at all there is? Else only at what is quick. */
extern bool objects_thorough;

/* For code that calls kmalloc itself: free objects of new chunks are not guarded. */
extern bool objects_unguarded;

/* A machine with memory at this address, in banks; slabs_init; and no heap. The table begins there, too. */
void objects_start(uint64_t start, size_t npages);
/* A bank of n frames from this one of the table on, all of them free. */
void objects_bank(size_t first, size_t n);
/* Let the heap begin with so many pages. */
void objects_heap(unsigned order);

/* Is all that the code under test has as the model says? */
void objects_check(void);

/* The object in use that begins at p; NULL: none does. */
const struct object *objects_at(const void *p);

/* How many pages are free, or kalloc's. */
size_t objects_free_pages(void);

/*
 * Make the call and see that it does what it may. The result is the call's. If `ask`: mem_has_space says before
 * whether it will succeed.
 */
void *objects_kmalloc(size_t size, bool ask);
void *objects_kzalloc(size_t size);
void *objects_heap_alloc(size_t size);
void *objects_slab_alloc(struct slab *slab);
struct slab *objects_slab_create(const char *name, size_t size, size_t align);
/* false: it panics, as it should. */
bool objects_kmfree(void *p);
bool objects_heap_free(void *p);
bool objects_slab_free(struct slab *slab, void *p);
bool objects_slab_destroy(struct slab *slab);

/* This is what kmalloc(size) has returned, which was not called through here. */
void objects_adopt(void *p, size_t size);

size_t objects_trim(void);

/* A page of pmm_alloc's or kalloc's comes and goes. */
uint64_t objects_take_page(void);
void objects_give_page(uint64_t pa);
/* Pages for kalloc's list. */
void objects_refill(void);

/*
 * Free all objects, in some order, and all caches but kmalloc's; then, after slabs_trim() and with kalloc's list
 * drained, no page is missing but what is held: each can be had once.
 */
void objects_end(void);

#endif
