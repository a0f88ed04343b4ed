/*
 * The heap: blocks with headers, first fit, and one free list in the order of addresses.
 */
#include "heap.h"
#include "console.h"
#include "memmap.h"
#include "pmm.h"

struct heap heap;
SPINLOCK(heap_lock);

#if SOL >= 4
/* Header and memory: where the one is, when the other is known. */
static struct block *
block_of(const void *p)
{
    return (struct block *)((uint64_t)p - BLOCK_HEADER);
}

static void *
memory_of(struct block *b)
{
    return (char *)b + BLOCK_HEADER;
}

static struct block *
behind(const struct block *b)
{
    return (struct block *)((uint64_t)b + b->size);
}

static struct block *
first_block(struct region *r)
{
    return (struct block *)(void *)(r + 1);
}

static const struct block *
region_stop(const struct region *r)
{
    return (const struct block *)((uint64_t)r + r->size);
}

static void
write_header(struct block *b, size_t size, uint64_t kind)
{
    b->size = size;
    b->tag = block_tag(b, size, kind);
}

static bool
is_block(const struct block *b, uint64_t kind)
{
    return b->tag == block_tag(b, b->size, kind);
}

/* The region that b's header lies in; NULL: in none. */
static struct region *
region_of(const struct block *b)
{
    for (struct region *r = heap.regions; r; r = r->next)
        if ((uint64_t)b - (uint64_t)(r + 1) < r->size - sizeof(*r))
            return r;
    return NULL;
}

/* ---- the free list ---- */

/* The link that points to the first free block behind b, or to b itself. */
static struct block **
link_to(const struct block *b)
{
    struct block **link = &heap.free_list;

    while (*link && *link < b)
        link = &(*link)->next;
    return link;
}

/* b, of this size, is free: put it in its place. */
static void
insert(struct block *b, size_t size)
{
    struct block **link = link_to(b);

    write_header(b, size, BLOCK_FREE);
    b->next = *link;
    *link = b;
}

/* The same, and one block with the free ones right before and behind it. Returns that block. */
static struct block *
insert_and_merge(struct block *b, size_t size)
{
    struct block **link = link_to(b), *next = *link, *prev = NULL;

    if (link != &heap.free_list)
        prev = container_of(link, struct block, next);
    if (next && (char *)b + size == (char *)next) {
        size += next->size;
        next->tag = 0; /* no block begins there any more */
        next = next->next;
    }
    if (prev && behind(prev) == b) {
        b->tag = 0;
        size += prev->size;
        b = prev;
    } else {
        *link = b;
    }
    write_header(b, size, BLOCK_FREE);
    b->next = next;
    return b;
}

/* The lower `size` bytes of the free block *link, which has so many, as a block in use. */
static struct block *
cut(struct block **link, size_t size)
{
    struct block *b = *link;

    *link = b->next;
    if (b->size - size >= BLOCK_MIN) {
        struct block *rest = (struct block *)(void *)((char *)b + size);
        write_header(rest, b->size - size, BLOCK_FREE);
        rest->next = b->next;
        *link = rest;
    } else {
        size = b->size;
    }
    write_header(b, size, BLOCK_USED);
    return b;
}

/*
 * Cut from the first free block that is large enough. NULL: none is. If there is a block on the list that is
 * no free block any more, that one, and nothing has changed.
 */
static struct block *
take(size_t size)
{
    struct block **link = &heap.free_list, *b;

    while ((b = *link) && is_block(b, BLOCK_FREE) && b->size < size)
        link = &b->next;
    return b && is_block(b, BLOCK_FREE) ? cut(link, size) : b;
}

/* ---- regions ---- */

static void
add_region(struct region *r, size_t size)
{
    *r = (struct region){.next = heap.regions, .size = size};
    heap.regions = r;
    insert(first_block(r), size - sizeof(*r));
}

/* A block of this size of one more region, which is large enough. NULL: the pmm has no memory. */
static struct block *
grow(size_t size)
{
    unsigned needed = 0, order;

    while ((size_t)PGSIZE << needed < size + sizeof(struct region))
        needed++;
    order = MAX(needed, (unsigned)HEAP_ORDER);
    uint64_t pa = pmm_alloc(order);
    if (pa == 0) {
        order = needed;
        pa = pmm_alloc(order);
    }
    if (pa == 0)
        return NULL;
    struct region *r = P2V(pa);
    uint64_t flags = spin_lock(&heap_lock);
    add_region(r, (size_t)PGSIZE << order);
    struct block *b = cut(link_to(first_block(r)), size);
    spin_unlock(&heap_lock, flags);
    return b;
}

/* b is free. If it is all of a region that can go, then it is no more of the heap's, and returned. */
static struct region *
unused_region(const struct block *b)
{
    struct region **link = &heap.regions, *r;

    while ((r = *link) && first_block(r) != b)
        link = &r->next;
    if (!r || r == heap.first || b->size != r->size - sizeof(*r))
        return NULL;
    *link = r->next;
    *link_to(b) = b->next;
    return r;
}

/* ---- mistakes ---- */

/*
 * What is wrong with freeing b, and with which block? Something is, as looks_right says so. Goes through all
 * blocks of its region up to the one that is wrong.
 */
static const char *
mistake(const struct block *b, const struct block **where)
{
    struct region *r = region_of(b);

    *where = b;
    if (!r)
        return "it is not in the heap; block";
    for (const struct block *at = first_block(r);; at = behind(at)) {
        bool is_free = is_block(at, BLOCK_FREE);
        *where = at;
        if (!is_free && !is_block(at, BLOCK_USED))
            return "somebody wrote over the header of block";
        if (is_free && b < behind(at))
            return "it is free already, a part of block";
        if (at < b && b < behind(at))
            return "it is in the middle of block";
    }
}

/* Can b be freed, as far as can be said without a search? */
static bool
looks_right(const struct block *b)
{
    struct region *r = (uint64_t)b % HEAP_ALIGN == 0 ? region_of(b) : NULL;

    if (!r || !is_block(b, BLOCK_USED))
        return false;
    const struct block *next = behind(b);
    return next == region_stop(r) || is_block(next, BLOCK_FREE) || is_block(next, BLOCK_USED);
}
#endif

void
memory_init(void)
{
#if SOL >= 4
    const struct memmap *map = memmap_get();
    uint64_t bitmaps = MAX(V2P(map->bitmap), V2P(map->reserved)) + MEMMAP_FRAMES / 8;
    uint64_t start = ROUNDUP(MAX(V2P(end), bitmaps), PGSIZE), stop = start;

    while (stop < start + HEAP_PAGES * PGSIZE && memmap_is_free(stop))
        stop += PGSIZE;
    mem_init(start, stop);
    memmap_reserve(start, stop);
#else
    /* Lab 4: your code here. */
#endif
}

void
mem_init(uint64_t start, uint64_t stop)
{
#if SOL >= 4
    uint64_t flags = spin_lock(&heap_lock);
    heap = (struct heap){0};
    if (start < stop) {
        heap.first = P2V(start);
        add_region(heap.first, stop - start);
    }
    spin_unlock(&heap_lock, flags);
#else
    /* Lab 4: your code here. */
    (void)start, (void)stop;
#endif
}

void *
heap_alloc(size_t size)
{
#if SOL >= 4
    if (size == 0 || size > HEAP_MAX)
        return NULL;
    size = ROUNDUP(size + BLOCK_HEADER, HEAP_ALIGN);
    uint64_t flags = spin_lock(&heap_lock);
    struct block *b = take(size);
    bool intact = !b || is_block(b, BLOCK_USED);
    spin_unlock(&heap_lock, flags);
    if (!intact)
        panic("heap_alloc(%lu): somebody wrote over the header of the free block %p", size, b);
    if (!b)
        b = grow(size);
    return b ? memory_of(b) : NULL;
#else
    /* Lab 4: your code here. */
    (void)size;
    return NULL;
#endif
}

void
heap_free(void *p)
{
#if SOL >= 4
    struct block *b = block_of(p);
    struct region *unused = NULL;
    const struct block *where = b;
    const char *why = NULL;

    uint64_t flags = spin_lock(&heap_lock);
    if (looks_right(b))
        unused = unused_region(insert_and_merge(b, b->size));
    else
        why = mistake(b, &where);
    spin_unlock(&heap_lock, flags);
    if (why)
        panic("heap_free(%p): %s %p", p, why, where);
    if (unused)
        pmm_free(V2P(unused), (unsigned)__builtin_ctzl(unused->size / PGSIZE));
#else
    /* Lab 4: your code here. */
    (void)p;
#endif
}

size_t
heap_size(const void *p)
{
#if SOL >= 4
    return block_of(p)->size - BLOCK_HEADER;
#else
    /* Lab 4: your code here. */
    (void)p;
    return 0;
#endif
}
