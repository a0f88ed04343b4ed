/*
 * What caches are made of: spans and their records, and the sizes that kmalloc has.
 */
#include "console.h"
#include "errno.h"
#include "heap.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "pmm.h"
#include "slab.h"
#include "string.h"

struct slab *slabs;

/* ---- records: a page has 63, and before them this, of the same size ---- */

struct records {
    struct records *next, *prev; /* a ring of the pages in which records are unused */
    uint64_t unused;             /* bit k: the one at 64 * k from the page's beginning */
};

#define ALL_UNUSED (~1UL)

_Static_assert(sizeof(struct span) == PGSIZE / 64, "the page's records are the bits of a word");

static struct records records = {&records, &records, 0};

/* Bit k is 1: so are bits k to k + n - 1 of word, or some more of them. n <= 32 */
static uint64_t
runs(uint64_t word, size_t n)
{
    for (size_t have = 1; have < n; have *= 2)
        word &= word >> have;
    return word;
}

/* n in a row, from a page that is there already. */
static struct span *
records_take(size_t n)
{
    struct span *first = NULL;

    uint64_t flags = spin_lock(&slab_lock);
    for (struct records *page = records.next; page != &records; page = page->next) {
        uint64_t where = runs(page->unused, n);
        if (where) {
            unsigned k = (unsigned)__builtin_ctzl(where);
            page->unused &= ~(((1UL << n) - 1) << k);
            if (page->unused == 0) {
                page->next->prev = page->prev;
                page->prev->next = page->next;
            }
            first = (struct span *)(void *)page + k;
            break;
        }
    }
    spin_unlock(&slab_lock, flags);
    return first;
}

static void
records_insert(struct records *page)
{
    page->next = records.next;
    page->prev = &records;
    page->next->prev = page;
    records.next = page;
}

static struct span *
records_new(size_t n)
{
    struct span *first;

    while (!(first = records_take(n))) {
        uint64_t pa = pmm_alloc(0);
        if (pa == 0)
            return NULL;
        struct records *page = P2V(pa);
        page->unused = ALL_UNUSED;
        uint64_t flags = spin_lock(&slab_lock);
        records_insert(page);
        spin_unlock(&slab_lock, flags);
    }
    return first;
}

static void
records_delete(struct span *first, size_t n)
{
    struct records *page = (struct records *)(void *)ROUNDDOWN(first, PGSIZE);
    size_t k = (size_t)(first - (struct span *)(void *)page);

    uint64_t flags = spin_lock(&slab_lock);
    if (page->unused == 0)
        records_insert(page);
    page->unused |= ((1UL << n) - 1) << k;
    bool all = page->unused == ALL_UNUSED;
    if (all) {
        page->next->prev = page->prev;
        page->prev->next = page->next;
    }
    spin_unlock(&slab_lock, flags);
    if (all)
        pmm_free(V2P(page), 0);
}

/* ---- chunks ---- */

/* What is in the frames' tables of the 2^order pages at pa that are a chunk, or a block in use again. */
static void
mark_pages(uint64_t pa, unsigned order, const struct span *first)
{
    size_t i;

    uint64_t flags = spin_lock(&pmm_lock);
    struct zone *z = zone_of(pa, &i);
    for (size_t k = i; k < i + (1UL << order); k++) {
        z->link[k].chunk = first ? V2P(first) + SPAN_BITS : 0;
        z->state[k] = first ? FRAME_SLAB : FRAME_NONE;
    }
    if (!first)
        z->state[i] = (uint8_t)(FRAME_USED + order);
    spin_unlock(&pmm_lock, flags);
}

/* Its pages, and records for its spans. NULL: no memory. */
static struct span *
chunk_take(const struct slab *slab, uint64_t *pa)
{
    *pa = pmm_alloc(slab->order);
    if (*pa == 0)
        return NULL;
    struct span *first = records_new(slab->spans);
    if (!first)
        pmm_free(*pa, slab->order);
    return first;
}

struct span *
chunk_new(struct slab *slab)
{
    uint64_t pa;
    struct span *first = chunk_take(slab, &pa);
    if (!first && slabs_trim() > 0)
        first = chunk_take(slab, &pa);
    if (!first)
        return NULL;

    for (size_t k = 0; k < slab->objects; k += SPAN_OBJECTS) {
        size_t n = MIN(slab->objects - k, (size_t)SPAN_OBJECTS);
        uint64_t all = n < SPAN_OBJECTS ? (1UL << n) - 1 : ~0UL;
        first[k / SPAN_OBJECTS] = (struct span){
            .base = (char *)P2V(pa) + k * slab->size,
            .slab = slab,
            .free = all,
            .all = all,
        };
    }
    mark_pages(pa, slab->order, first);
    for (size_t k = 0; slab->construct && k < slab->objects; k++)
        slab->construct(first->base + k * slab->size);
    return first;
}

void
chunk_delete(struct span *first)
{
    const struct slab *slab = first->slab;
    uint64_t pa = V2P(first->base);

    mark_pages(pa, slab->order, NULL);
    pmm_free(pa, slab->order);
    records_delete(first, slab->spans);
}

struct span *
chunk_in_other(const void *p)
{
    struct span *first = NULL;

    for (const struct zone *z = zones + 1; !first && z->n != 0; z++)
        first = chunk_in(z, p);
    return first;
}

int
block_set_kind(uint64_t pa, unsigned kind, unsigned to)
{
    int order = -EINVAL;
    size_t i;

    uint64_t flags = spin_lock(&pmm_lock);
    struct zone *z = zone_of(pa, &i);
    if (z && FRAME_KIND(z->state[i]) == kind) {
        order = (int)FRAME_ORDER(z->state[i]);
        z->state[i] = (uint8_t)(to + (unsigned)order);
    }
    spin_unlock(&pmm_lock, flags);
    return order;
}

/* ---- caches ---- */

#define CHUNK_ORDERS 4 /* pages in a chunk: up to 2^3 */

/* How much of a chunk is lost, with its records, in thousandths; and more pages must be worth it. */
static size_t
loss(unsigned order, size_t size)
{
    size_t bytes = (size_t)PGSIZE << order, objects = bytes / size;
    size_t spans = (objects + SPAN_OBJECTS - 1) / SPAN_OBJECTS;

    return (bytes - objects * size + spans * sizeof(struct span)) * 1000 / bytes + 8UL * order;
}

bool
slab_setup(struct slab *slab, const char *name, size_t size, size_t align)
{
    unsigned order = 0;

    if (size == 0 || size > SLAB_MAX || align > PGSIZE || (align & (align - 1)) != 0)
        return false;
    size = ROUNDUP(size, MAX(align, (size_t)SLAB_ALIGN));
    for (unsigned more = 1; more < CHUNK_ORDERS; more++)
        if (loss(more, size) < loss(order, size))
            order = more;

    uint32_t objects = (uint32_t)(((size_t)PGSIZE << order) / size);
    *slab = (struct slab){
        .head = {.next = &slab->head, .prev = &slab->head, .slab = slab},
        .size = (uint32_t)size,
        .reciprocal = (uint32_t)((0x100000000 + size - 1) / size),
        .objects = objects,
        .spans = (objects + SPAN_OBJECTS - 1) / SPAN_OBJECTS,
        .order = order,
        .name = name,
    };

    uint64_t flags = spin_lock(&slab_lock);
    slab->next = slabs;
    slabs = slab;
    spin_unlock(&slab_lock, flags);
    return true;
}

void
slab_forget(struct slab *slab)
{
    uint64_t flags = spin_lock(&slab_lock);
    for (struct slab **at = &slabs; *at; at = &(*at)->next)
        if (*at == slab) {
            *at = slab->next;
            break;
        }
    spin_unlock(&slab_lock, flags);
}

size_t
slab_in_use(const struct slab *slab)
{
    uint64_t flags = spin_lock(&slab_lock);
    size_t n = (size_t)slab->chunks * slab->objects;
    for (const struct span *span = slab->head.next; span != &slab->head; span = span->next)
        for (uint64_t free = span->free; free != 0; free &= free - 1)
            n--;
    spin_unlock(&slab_lock, flags);
    return n;
}

/* The chunk that the cache has kept, if it is still empty: off the ring, and no more its own. */
static struct span *
take_empty(struct slab *slab)
{
    struct span *first = slab->empty;

    for (size_t s = 0; first && s < slab->spans; s++)
        if (first[s].free != first[s].all)
            return NULL;
    if (!first)
        return NULL;
    for (size_t s = 0; s < slab->spans; s++)
        span_remove(&first[s]);
    slab->chunks--;
    slab->empty = NULL;
    return first;
}

size_t
slabs_trim(void)
{
    struct span *first;
    size_t pages = 0;

    do {
        first = NULL;
        uint64_t flags = spin_lock(&slab_lock);
        for (struct slab *slab = slabs; slab && !first; slab = slab->next)
            first = take_empty(slab);
        spin_unlock(&slab_lock, flags);
        if (first) {
            pages += 1UL << first->slab->order;
            chunk_delete(first);
        }
    } while (first);
    return pages;
}

/* ---- kmalloc's ---- */

/* Four sizes to each doubling: from 65 bytes on, at most a fifth of an object is lost to rounding. */
static const uint16_t sizes[] = {16,  32,  48,  64,  80,  96,  112, 128,  160,  192,  224,  256,
                                 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048};

static struct slab classes[ARRAY_SIZE(sizes)];
struct slab *slab_by_size[SLAB_MAX / SLAB_ALIGN];

void
slabs_init(void)
{
    size_t at = 0;

    for (size_t c = 0; c < ARRAY_SIZE(sizes); c++) {
        slab_setup(&classes[c], "kmalloc", sizes[c], 0);
        for (; at < sizes[c] / SLAB_ALIGN; at++)
            slab_by_size[at] = &classes[c];
    }
}

/* Has the heap a free block of so many bytes? */
static bool
heap_has_space(size_t size)
{
    uint64_t flags = spin_lock(&heap_lock);
    const struct block *b = heap.free_list;
    while (b && b->size < size)
        b = b->next;
    spin_unlock(&heap_lock, flags);
    return b != NULL;
}

/* Are there so many in a row, without another page? */
static bool
records_have(size_t n)
{
    bool have = false;

    uint64_t flags = spin_lock(&slab_lock);
    for (const struct records *page = records.next; page != &records; page = page->next)
        have = have || runs(page->unused, n) != 0;
    spin_unlock(&slab_lock, flags);
    return have;
}

/* Can a chunk be had, and its records? Any page will do for those. */
static bool
chunk_has_space(const struct slab *slab)
{
    size_t needed = (1UL << slab->order) + !records_have(slab->spans), free = kmem.count;

    for (const struct zone *z = zones; z < zones + nzones; z++)
        free += z->free;
    return free >= needed && mem_has_space(MEM_FRAMES, (size_t)PGSIZE << slab->order);
}

bool
kmalloc_has_space(size_t size)
{
    if (size == 0 || size > KMALLOC_MAX)
        return false;
    if (KMALLOC_HEAP && size <= HEAP_MAX) {
        size = ROUNDUP(size + BLOCK_HEADER, HEAP_ALIGN);
        return heap_has_space(size) || mem_has_space(MEM_FRAMES, size + sizeof(struct region));
    }
    if (size <= SLAB_MAX) {
        const struct slab *slab = slab_by_size[(size - 1) / SLAB_ALIGN];
        return slab->head.next->free != 0 || chunk_has_space(slab)
            || (slabs_trim() > 0 && chunk_has_space(slab));
    }
    return mem_has_space(MEM_FRAMES, size);
}

size_t
heap_free_bytes(const struct region *r)
{
    size_t n = 0;

    uint64_t flags = spin_lock(&heap_lock);
    for (const struct block *b = heap.free_list; b; b = b->next)
        if ((uint64_t)b - (uint64_t)r < r->size)
            n += b->size;
    spin_unlock(&heap_lock, flags);
    return n;
}
