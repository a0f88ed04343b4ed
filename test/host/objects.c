#include "objects.h"

#include <sanitizer/asan_interface.h>
#include <string.h>

#include "caches.h"
#include "heap.h"
#include "kalloc.h"
#include "pmm.h"

/* The fuzzer is to look for other ways through the code under test, not through the model. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

#define GRANULE    16 /* no object begins between two of these */
#define FRAMES_MAX (1u << 13)
#define GRANULES   (FRAMES_MAX * (PGSIZE / GRANULE))
#define CACHES_MAX 64

struct objects objects;
bool objects_thorough, objects_unguarded;
static bool saved; /* since then, nothing has changed */

static uint64_t used[GRANULES / 64]; /* a bit for each granule: part of an object in use */
static uint32_t begins[GRANULES];    /* which object does there, counted from 1; 0: none */
static uint8_t next_fill;

/* ---- Where objects are ---- */

/* Counted from the table's first frame on; GRANULES: p is none. */
static size_t
granule(const void *p)
{
    uint64_t offset = (uint64_t)p - (uint64_t)frames.first;

    return offset % GRANULE == 0 && offset / PGSIZE < frames.n ? offset / GRANULE : GRANULES;
}

const struct object *
objects_at(const void *p)
{
    size_t g = granule(p);

    return g < GRANULES && begins[g] != 0 ? &objects.list[begins[g] - 1] : NULL;
}

/* Bits first to stop - 1 of `used` are all `before`, and the contrary from now on. Were they? */
static bool
flip(size_t first, size_t stop, bool before)
{
    bool right = true;

    while (first < stop) {
        size_t n = MIN(64 - first % 64, stop - first);
        uint64_t mask = (n == 64 ? ~0UL : (1UL << n) - 1) << first % 64, *word = &used[first / 64];
        right = right && (*word & mask) == (before ? mask : 0);
        *word = before ? *word & ~mask : *word | mask;
        first += n;
    }
    return right;
}

static void
forget(const struct object *o)
{
    size_t g = granule(o->p);

    flip(g, g + o->room / GRANULE, true);
    begins[g] = 0;
    struct object *hole = &objects.list[o - objects.list], *last = &objects.list[--objects.n];
    if (hole != last) {
        *hole = *last;
        begins[granule(hole->p)] = (uint32_t)(hole - objects.list) + 1;
    }
}

static void
check_content(const struct object *o)
{
    if (!o->is_cache && ((uint8_t)o->p[0] != o->fill || memcmp(o->p, o->p + 1, o->room - 1) != 0)) {
        broken("somebody wrote to the object %p, of %zu bytes, which is in use", (void *)o->p,
               o->room);
    }
}

static const char *
name_of(enum object_kind kind)
{
    return kind == OBJECT_CACHED ? "cached" : kind == OBJECT_HEAP ? "the heap's" : "large";
}

/* ---- Locks ---- */

static uint64_t
mix(uint64_t sum, uint64_t number)
{
    return (sum ^ number) * 0x9e3779b97f4a7c15u;
}

/* What slab_lock is for: all rings, as a number. */
static uint64_t
rings(void)
{
    uint64_t sum = 0;

    for (const struct slab *slab = caches_first(); slab; slab = slab->next) {
        const struct span *span = &slab->head;
        size_t n = 0;
        sum = mix(mix(sum, (uint64_t)slab->empty), slab->chunks);
        do {
            sum = mix(mix(mix(sum, (uint64_t)span->next), (uint64_t)span->prev), span->free);
            span = span->next;
        } while (span != &slab->head && ++n < FRAMES_MAX);
    }
    return sum;
}

/* What heap_lock is for: regions and free blocks. */
static uint64_t
free_blocks(void)
{
    uint64_t sum = mix((uint64_t)heap.regions, (uint64_t)heap.first);
    size_t n = 0;

    for (const struct block *b = heap.free_list; b && ++n < GRANULES; b = b->next) {
        sum = mix(mix(sum, (uint64_t)b), b->size);
    }
    return sum;
}

/* Nothing of that changes while its lock is not held. */
static void
look(const struct spinlock *lock, bool taken)
{
    static uint64_t released[2];
    static bool known[2];
    bool of_heap = lock == &heap_lock;

    if (!of_heap && lock != &slab_lock) {
        return;
    }
    if (!objects_thorough) {
        known[0] = known[1] = false;
        return;
    }
    uint64_t now = of_heap ? free_blocks() : rings();
    if (taken && known[of_heap] && now != released[of_heap]) {
        broken("%s is taken, and what it is for has changed since it was released", lock->name);
    }
    known[of_heap] = !taken;
    released[of_heap] = now;
}

/* ---- Starting ---- */

void
objects_start(uint64_t start, size_t npages)
{
    while (objects.n > 0) {
        forget(&objects.list[0]);
    }
    objects.held = 0;
    saved = false;
    pool_start(start, ROUNDUP(npages, 1UL << (PMM_ORDERS - 1)) * PGSIZE, true);
    pool_table(start, npages);
    if (frames.n > FRAMES_MAX) {
        broken("a table of %zu frames is too large for the model", frames.n);
    }
    objects_thorough = false; /* from here on, look() knows nothing */
    pool_on_lock = look;
    slabs_init();
    mem_init(0, 0);
}

void
objects_bank(size_t first, size_t n)
{
    pool_zone(first, n);
    size_t from = first - pool_base(nzones - 1);
    zone_set_used(&zones[nzones - 1], from, from + n);
    zones[nzones - 1].pages = n;
    if (pmm_free_range(pool_pa(first), n) != 0) {
        broken("pmm_free_range(frame %zu, %zu pages) fails for pages that are in use", first, n);
    }
}

void
objects_heap(unsigned order)
{
    uint64_t pa = pmm_alloc(order);

    saved = false;
    if (pa == 0) {
        broken("no %u pages for the heap to begin with", 1u << order);
    }
    objects.held += 1UL << order;
    mem_init(pa, pa + ((uint64_t)PGSIZE << order));
}

/* ---- Looking at all of it ---- */

/* What is found on the way: it has to be as much as the model has. */
static struct {
    size_t objects[3];            /* in use, of each kind */
    size_t used_pages;            /* in blocks that are FRAME_USED */
    size_t own_pages;             /* records and regions: as many should be */
    uint64_t records[FRAMES_MAX]; /* bit k: the record at 64 * k in this page is a span's */
    struct {
        const struct slab *slab;
        size_t objects, chunks, empty, ring; /* ring: spans that should be on it */
    } caches[CACHES_MAX];
    size_t ncaches;
} found;

static size_t
cache_index(const struct slab *slab)
{
    for (size_t c = 0; c < found.ncaches; c++) {
        if (found.caches[c].slab == slab) {
            return c;
        }
    }
    broken("%p is no cache", (const void *)slab);
}

static void
find_object(const void *p, enum object_kind kind, const struct slab *slab)
{
    const struct object *o = objects_at(p);

    if (!o || o->kind != kind || o->slab != slab) {
        broken("%p is in use as a %s object, and nobody has it", p, name_of(kind));
    }
    found.objects[kind]++;
}

static void
check_span(const struct span *span, size_t s, const struct span *first, size_t c)
{
    const struct slab *slab = first->slab;
    size_t n = MIN(slab->objects - s * SPAN_OBJECTS, (size_t)SPAN_OBJECTS);
    uint64_t all = n == 64 ? ~0UL : (1UL << n) - 1;

    if (span->slab != slab || span->all != all || (span->free & ~all) != 0
        || span->base != first->base + s * SPAN_OBJECTS * slab->size) {
        broken("span %zu of the chunk at %p is wrong", s, (void *)first->base);
    }
    for (size_t k = 0; k < n; k++) {
        if (!(span->free >> k & 1)) {
            find_object(span->base + k * slab->size, OBJECT_CACHED, slab);
            found.caches[c].objects++;
        }
    }
}

/* The chunk that begins at frame i. Returns where it ends. */
static size_t
check_chunk(size_t i)
{
    uint64_t chunk = pool_link(i)->chunk;
    const struct span *first = P2V(chunk - SPAN_BITS);
    size_t page = frame_index((const void *)ROUNDDOWN(first, PGSIZE));
    size_t record = (uint64_t)first % PGSIZE / sizeof(*first);

    if (chunk < SPAN_BITS || page >= frames.n || (uint64_t)first % sizeof(*first) != 0) {
        broken("frame %zu: %#lx is no span", i, (unsigned long)chunk);
    }
    if (frames.state[page] != FRAME_USED) {
        broken("frame %zu, with the records of the chunk at frame %zu, has state %#x", page, i,
               frames.state[page]);
    }
    const struct slab *slab = first->slab;
    size_t c = cache_index(slab), empty = 0;
    if (frame_index(first->base) != i || i % (1UL << slab->order) != 0) {
        broken("the chunk at frame %zu is said to begin at %p", i, (void *)first->base);
    }
    for (size_t j = i; j < i + (1UL << slab->order); j++) {
        if (frames.state[j] != FRAME_SLAB || pool_link(j)->chunk != chunk) {
            broken("frame %zu, of the chunk at frame %zu, has state %#x", j, i, frames.state[j]);
        }
    }
    for (size_t s = 0; s < slab->spans; s++, record++) {
        if (record == 0 || record >= 64 || found.records[page] >> record & 1) {
            broken("record %zu of frame %zu has two owners", record, page);
        }
        found.own_pages += found.records[page] == 0;
        found.records[page] |= 1UL << record;
        check_span(&first[s], s, first, c);
        empty += first[s].free == first[s].all;
        found.caches[c].ring += first[s].free != 0;
    }
    found.caches[c].chunks++;
    if (empty == slab->spans) {
        found.caches[c].empty++;
        if (slab->empty != first) {
            broken("the chunk at frame %zu is empty, and not the one to keep", i);
        }
    }
    return i + (1UL << slab->order);
}

static void
check_cache(size_t c)
{
    const struct slab *slab = found.caches[c].slab;
    const struct span *before = &slab->head, *span;
    size_t n = 0;

    for (span = before->next; span != &slab->head; before = span, span = span->next) {
        size_t page = frame_index((const void *)ROUNDDOWN(span, PGSIZE));
        if (page >= frames.n || !(found.records[page] >> ((uint64_t)span % PGSIZE / 64) & 1)
            || span->slab != slab || span->free == 0 || span->prev != before
            || ++n > found.caches[c].ring) {
            broken("the ring of cache %zu, of %u bytes: span %zu is wrong", c, slab->size, n);
        }
    }
    if (slab->head.prev != before || slab->head.free != 0 || n != found.caches[c].ring
        || slab->chunks != found.caches[c].chunks || found.caches[c].empty > 1) {
        broken("cache %zu, of %u bytes: %zu spans on the ring and %u chunks instead of %zu and %zu",
               c, slab->size, n, slab->chunks, found.caches[c].ring, found.caches[c].chunks);
    }
    if (slab_in_use(slab) != found.caches[c].objects) {
        broken("slab_in_use is %zu instead of %zu", slab_in_use(slab), found.caches[c].objects);
    }
}

/* Every page of records has one in use; those with others are on the ring. */
static void
check_records(void)
{
    uint64_t unused;
    size_t on_ring = 0, have_unused = 0;

    for (const void *page = caches_records(NULL, &unused); page;
         page = caches_records(page, &unused)) {
        size_t i = frame_index(page);
        if (i >= frames.n || found.records[i] == 0 || unused == 0
            || unused != (~1UL & ~found.records[i]) || ++on_ring > frames.n) {
            broken("frame %zu: its unused records are said to be %#lx", i, (unsigned long)unused);
        }
    }
    for (size_t i = 0; i < frames.n; i++) {
        have_unused += found.records[i] != 0 && found.records[i] != ~1UL;
    }
    if (on_ring != have_unused) {
        broken("%zu pages of records have unused ones, and %zu are known", have_unused, on_ring);
    }
}

static bool
is_block(const struct block *b, uint64_t kind)
{
    return b->tag == block_tag(b, b->size, kind);
}

static void
check_region(const struct region *r, size_t *nfree)
{
    const char *stop = (const char *)r + r->size, *at = (const char *)(r + 1);
    size_t i = frame_index(r), free_bytes = 0;
    bool before_is_free = false, any_used = false;

    if (i >= frames.n || r->size % PGSIZE != 0) {
        broken("the heap has a region at %p, of %zu bytes", (const void *)r, r->size);
    }
    if (r != heap.first) {
        found.own_pages += r->size / PGSIZE;
        if (FRAME_KIND(frames.state[i]) != FRAME_USED
            || r->size != (size_t)PGSIZE << FRAME_ORDER(frames.state[i])) {
            broken("the heap's region at frame %zu has state %#x", i, frames.state[i]);
        }
    }
    while (at < stop) {
        const struct block *b = (const struct block *)(const void *)at;
        bool is_free = is_block(b, BLOCK_FREE);
        if ((!is_free && !is_block(b, BLOCK_USED)) || b->size < BLOCK_MIN
            || b->size % HEAP_ALIGN != 0 || b->size > (size_t)(stop - at)) {
            broken("the heap has no block at %p", (const void *)b);
        }
        if (is_free && before_is_free) {
            broken("the heap's blocks before and at %p are both free", (const void *)b);
        }
        if (is_free) {
            ++*nfree;
            free_bytes += b->size;
        } else {
            find_object(at + BLOCK_HEADER, OBJECT_HEAP, NULL);
            if (objects_at(at + BLOCK_HEADER)->room != b->size - BLOCK_HEADER) {
                broken("the heap's block at %p has changed its size", (const void *)b);
            }
            any_used = true;
        }
        before_is_free = is_free;
        at += b->size;
    }
    if (heap_free_bytes(r) != free_bytes) {
        broken("heap_free_bytes is %zu instead of %zu", heap_free_bytes(r), free_bytes);
    }
    if (!any_used && r != heap.first) {
        broken("the heap's region at frame %zu is empty", i);
    }
}

static void
check_heap(void)
{
    size_t nfree = 0, on_list = 0, nregions = 0;
    const struct block *before = NULL;
    bool has_first = heap.first == NULL;

    for (const struct region *r = heap.regions; r; r = r->next) {
        has_first = has_first || r == heap.first;
        if (++nregions > frames.n) {
            broken("the heap's regions are a ring");
        }
        check_region(r, &nfree);
    }
    for (const struct block *b = heap.free_list; b; before = b, b = b->next) {
        if (++on_list > nfree || b <= before || !is_block(b, BLOCK_FREE)) {
            broken("the heap's free list: block %zu, %p, is wrong", on_list, (const void *)b);
        }
    }
    if (on_list != nfree || !has_first) {
        broken("%zu blocks of the heap are free, and %zu on the list", nfree, on_list);
    }
}

/* The block that begins at frame i. Returns where it ends. */
static size_t
check_frame(size_t i, size_t *nfree, size_t *ncached)
{
    uint8_t state = frames.state[i];
    size_t n = 1UL << FRAME_ORDER(state);

    switch (state == FRAME_CACHED || state == FRAME_NONE ? state : FRAME_KIND(state)) {
    case FRAME_SLAB:
        return check_chunk(i);
    case FRAME_LARGE:
        find_object(P2V(pool_pa(i)), OBJECT_LARGE, NULL);
        break;
    case FRAME_USED:
        found.used_pages += n;
        break;
    case FRAME_FREE:
        *nfree += n;
        break;
    case FRAME_CACHED:
        ++*ncached;
        return i + 1;
    case FRAME_NONE:
        return i + 1;
    default:
        broken("frame %zu has state %#x", i, state);
    }
    for (size_t j = i + 1; j < i + n; j++) {
        if (frames.state[j] != FRAME_NONE) {
            broken("frame %zu, in the block of frame %zu, has state %#x", j, i, frames.state[j]);
        }
    }
    return i + n;
}

void
objects_check(void)
{
    size_t nfree = 0, ncached = 0, managed = 0, zone_free = 0, n[3] = {0};

    memset(&found.objects, 0, sizeof(found.objects));
    memset(found.records, 0, frames.n * sizeof(found.records[0]));
    found.used_pages = found.own_pages = found.ncaches = 0;
    for (const struct slab *slab = caches_first(); slab; slab = slab->next) {
        if (found.ncaches == CACHES_MAX) {
            broken("there are too many caches");
        }
        memset(&found.caches[found.ncaches], 0, sizeof(found.caches[0]));
        found.caches[found.ncaches++].slab = slab;
    }
    for (size_t i = 0; i < frames.n;) {
        i = check_frame(i, &nfree, &ncached);
    }
    for (size_t c = 0; c < found.ncaches; c++) {
        check_cache(c);
    }
    check_records();
    check_heap();
    for (size_t i = 0; i < objects.n; i++) {
        n[objects.list[i].kind]++;
    }
    for (int kind = 0; kind < 3; kind++) {
        if (n[kind] != found.objects[kind]) {
            broken("%zu %s objects are in use, and %zu known as such", n[kind],
                   name_of((enum object_kind)kind), found.objects[kind]);
        }
    }
    for (size_t z = 0; z < nzones; z++) {
        managed += zones[z].pages;
        zone_free += zones[z].free;
    }
    if (found.used_pages != found.own_pages + objects.held || nfree != zone_free
        || ncached != kmem.count || nfree + ncached > managed) {
        broken("%zu pages in use, for records and regions %zu and the test %zu; %zu and %zu free",
               found.used_pages, found.own_pages, objects.held, nfree, ncached);
    }
    for (size_t i = 0; i < objects.n; i++) {
        check_content(&objects.list[i]);
    }
}

/* ---- Calls ---- */

static void
call_begins(void)
{
    if (objects_thorough && !saved) {
        pool_save();
        saved = true;
    }
}

static void
call_ended(const char *what)
{
    saved = false;
    pool_check_locks(what);
    if (objects_thorough) {
        objects_check();
    }
}

/* It panicked, which was right. */
static void
call_refused(const char *what)
{
    pool_check_locks(what);
    if (objects_thorough && pool_changed()) {
        broken("%s has panicked, and yet something has changed", what);
    }
}

size_t
objects_free_pages(void)
{
    size_t n = kmem.count;

    for (size_t z = 0; z < nzones; z++) {
        n += zones[z].free;
    }
    return n;
}

static enum object_kind
kind_for(size_t size)
{
    if (KMALLOC_HEAP) {
        return size <= HEAP_MAX ? OBJECT_HEAP : OBJECT_LARGE;
    }
    return size <= SLAB_MAX ? OBJECT_CACHED : OBJECT_LARGE;
}

/* How many bytes are there at p, which has just been handed out? */
static size_t
room_of(const char *p, enum object_kind kind, const struct slab *slab)
{
    size_t i = frame_index((const char *)ROUNDDOWN(p, PGSIZE));

    if (kind == OBJECT_CACHED) {
        const struct span *first = chunk_of(p);
        if (!first || first->slab != slab || (uint64_t)(p - first->base) % slab->size != 0
            || (uint64_t)(p - first->base) / slab->size >= slab->objects) {
            broken("%p is no object of the cache for %u bytes", (const void *)p, slab->size);
        }
        return slab->size;
    }
    if (kind == OBJECT_HEAP) {
        const struct region *r = heap.regions;
        while (r && (uint64_t)p - (uint64_t)r >= r->size) {
            r = r->next;
        }
        const struct block *b = (const struct block *)(const void *)(p - BLOCK_HEADER);
        if (!r || p < (const char *)(r + 1) + BLOCK_HEADER || !is_block(b, BLOCK_USED)
            || b->size - BLOCK_HEADER != heap_size(p)) {
            broken("%p is in no block of the heap", (const void *)p);
        }
        return b->size - BLOCK_HEADER;
    }
    if (pool_pa(i) != V2P(p) || FRAME_KIND(frames.state[i]) != FRAME_LARGE) {
        broken("%p is no large object: its frame has state %#x", (const void *)p, frames.state[i]);
    }
    return (size_t)PGSIZE << FRAME_ORDER(frames.state[i]);
}

static struct object *
add(void *p, size_t size, enum object_kind kind, const struct slab *slab)
{
    size_t g = granule(p);

    if (g == GRANULES || pool_zone_of(frame_index((char *)ROUNDDOWN(p, PGSIZE))) == ZONES_MAX) {
        broken("%p, for %zu bytes, is not in the pmm's memory, or not aligned", p, size);
    }
    size_t room = room_of(p, kind, slab);
    /* Without a reason, no more than was asked for. */
    size_t most = kind == OBJECT_HEAP   ? ROUNDUP(size, HEAP_ALIGN) + HEAP_ALIGN
                : kind == OBJECT_CACHED ? slab->size
                                        : MAX(2 * size - 2, (size_t)PGSIZE);
    if (room < size || room > most) {
        broken("%p: there are %zu bytes instead of %zu", p, room, size);
    }
    if (objects.n == OBJECTS_MAX) {
        broken("there are too many objects");
    }
    if (!flip(g, g + room / GRANULE, false)) {
        broken("%p, for %zu bytes, is in use already, or a part of it is", p, size);
    }
    struct object *o = &objects.list[objects.n++];
    begins[g] = (uint32_t)objects.n;
    *o = (struct object){p, room, ++next_fill, false, kind, slab};
    if (kind == OBJECT_CACHED) {
        ASAN_UNPOISON_MEMORY_REGION(p, room);
    }
    return o;
}

static void *
fill(struct object *o)
{
    return memset(o->p, o->fill, o->room);
}

/* While kmalloc's caller may write to any of a span's free objects: that span; and a chunk made meanwhile. */
static const struct span *writable, *new_chunk;

/* The linker directs slab.c's calls of chunk_new here (--wrap): all objects of a chunk are free. */
// NOLINTBEGIN(bugprone-reserved-identifier)
struct span *__real_chunk_new(struct slab *slab);
struct span *__wrap_chunk_new(struct slab *slab);

struct span *
__wrap_chunk_new(struct slab *slab)
{
    pool_check_locks("chunk_new is called");
    struct span *first = __real_chunk_new(slab);
    pool_check_locks("chunk_new returned");
    if (first && writable) {
        new_chunk = first;
    } else if (first && !objects_unguarded) {
        ASAN_POISON_MEMORY_REGION(first->base, PGSIZE << slab->order);
    }
    return first;
}
// NOLINTEND(bugprone-reserved-identifier)

/* The free objects of a span are guarded, or not. */
static void
guard(const struct span *span, bool guarded)
{
    size_t size = span->slab->size;

    for (uint64_t free = span->free; free != 0; free &= free - 1) {
        const char *p = span->base + (size_t)__builtin_ctzl(free) * size;
        if (guarded) {
            ASAN_POISON_MEMORY_REGION(p, size);
        }
        if (!guarded) {
            ASAN_UNPOISON_MEMORY_REGION(p, size);
        }
    }
}

/*
 * For callers of kmalloc(size) that write to the object before anybody here knows which it is: those that it can
 * be are not guarded until guard_again.
 */
static void
let_write(size_t size)
{
    if (size > 0 && kind_for(size) == OBJECT_CACHED) {
        writable = slab_by_size[(size - 1) / SLAB_ALIGN]->head.next;
        new_chunk = NULL;
        guard(writable, false);
    }
}

static void
guard_again(void)
{
    if (writable) {
        guard(writable, true);
        for (size_t s = 0; new_chunk && s < new_chunk->slab->spans; s++) {
            guard(&new_chunk[s], true);
        }
    }
    writable = NULL;
}

static void *
call_kzalloc(size_t size)
{
    let_write(size);
    void *p = kzalloc(size);
    guard_again();
    return p;
}

/* The block of the heap that is the first large enough; NULL: none is. */
static const char *
first_fit(size_t size)
{
    const char *best = NULL;

    size = ROUNDUP(size, HEAP_ALIGN) + BLOCK_HEADER;
    for (const struct region *r = heap.regions; r; r = r->next) {
        const char *at = (const char *)(r + 1), *stop = (const char *)r + r->size;
        while (at < stop) {
            const struct block *b = (const struct block *)(const void *)at;
            if (is_block(b, BLOCK_FREE) && b->size >= size && (!best || at < best)) {
                best = at;
            }
            at += b->size;
        }
    }
    return best;
}

/* kmalloc and heap_alloc, which differ in where they look. */
static void *
allocate(size_t size, enum object_kind kind, bool ask, void *(*call)(size_t), const char *name)
{
    const struct slab *slab =
        kind == OBJECT_CACHED && size > 0 ? slab_by_size[(size - 1) / SLAB_ALIGN] : NULL;
    bool sane = size > 0 && size <= (kind == OBJECT_HEAP ? HEAP_MAX : (size_t)KMALLOC_MAX);
    bool expected = ask && mem_has_space(MEM_HEAP, size);

    if (ask) {
        call_ended("mem_has_space");
        expected = expected && size > 0; /* kmalloc(0) is not asked for anything */
    }
    const char *fits = kind == OBJECT_HEAP && objects_thorough && sane ? first_fit(size) : NULL;
    char *p = call(size);
    if (p && !sane) {
        broken("%s(%#zx) returned %p", name, size, (void *)p);
    }
    if (ask && (p != NULL) != expected) {
        broken("%s(%#zx) returned %p when mem_has_space said %d", name, size, (void *)p, expected);
    }
    if (!p) {
        /* There is nothing left. */
        if (sane && pool_will_succeed() > 0 && mem_has_space(MEM_HEAP, size)
            && kind == kind_for(size)) {
            broken("%s(%#zx) returned NULL, and mem_has_space says that there is memory", name,
                   size);
        }
        call_ended(name);
        return NULL;
    }
    struct object *o = add(p, size, kind, slab);
    if (fits && p != fits + BLOCK_HEADER) {
        broken("%s(%#zx) returned %p, and %p is the first that fits", name, size, (void *)p,
               (const void *)(fits + BLOCK_HEADER));
    }
    if (call == kmalloc && kmalloc_size(p) != o->room) {
        broken("kmalloc_size(%p) is %zu instead of %zu", (void *)p, kmalloc_size(p), o->room);
    }
    if (call == call_kzalloc && (p[0] != 0 || memcmp(p, p + 1, size - 1) != 0)) {
        broken("kzalloc(%#zx) returned what is not zero", size);
    }
    fill(o);
    call_ended(name);
    return p;
}

void *
objects_kmalloc(size_t size, bool ask)
{
    return allocate(size, kind_for(size), ask, kmalloc, "kmalloc");
}

void *
objects_kzalloc(size_t size)
{
    return allocate(size, kind_for(size), false, call_kzalloc, "kzalloc");
}

void *
objects_heap_alloc(size_t size)
{
    return allocate(size, OBJECT_HEAP, false, heap_alloc, "heap_alloc");
}

void *
objects_slab_alloc(struct slab *slab)
{
    const struct span *first = slab->head.next;
    bool has_one = first->free != 0;
    char *p = slab_alloc(slab);

    if (!p) {
        if (has_one) {
            broken("slab_alloc returned NULL, and there is a free object");
        }
    } else {
        const struct object *o = add(p, 1, OBJECT_CACHED, slab);
        if (has_one && (uint64_t)(p - first->base) / slab->size >= (uint64_t)SPAN_OBJECTS) {
            broken("slab_alloc returned %p, which is not of the ring's first span", (void *)p);
        }
        fill(&objects.list[o - objects.list]);
    }
    call_ended("slab_alloc");
    return p;
}

void
objects_adopt(void *p, size_t size)
{
    enum object_kind kind = kind_for(size);

    saved = false;
    fill(add(p, size, kind, kind == OBJECT_CACHED ? slab_by_size[(size - 1) / SLAB_ALIGN] : NULL));
}

struct slab *
objects_slab_create(const char *name, size_t size, size_t align)
{
    bool sane = size > 0 && size <= SLAB_MAX && align <= PGSIZE && (align & (align - 1)) == 0;
    let_write(sizeof(struct slab));
    struct slab *slab = slab_create(name, size, align);
    guard_again();
    if (slab && !sane) {
        broken("slab_create(%#zx, %#zx) returned a cache", size, align);
    }
    if (slab) {
        enum object_kind kind = kind_for(sizeof(*slab));
        struct object *o =
            add(slab, sizeof(*slab), kind,
                kind == OBJECT_CACHED ? slab_by_size[(sizeof(*slab) - 1) / SLAB_ALIGN] : NULL);
        o->is_cache = true;
        align = MAX(align, (size_t)SLAB_ALIGN);
        if (slab->size != ROUNDUP(size, align) || slab->name != name || slab->construct) {
            broken("slab_create(%#zx, %#zx) made a cache for %u bytes", size, align, slab->size);
        }
    }
    call_ended("slab_create");
    return slab;
}

/* ---- Giving back ---- */

static struct {
    struct slab *slab;
    void *p;
} argument;

static void
call_kmfree(void *p)
{
    kmfree(p);
}

static void
call_heap_free(void *p)
{
    heap_free(p);
}

static void
call_slab_free(void *p)
{
    slab_free(argument.slab, p);
}

/* fn(p), which is right if there is such an object. */
static bool
give_back(void (*fn)(void *), void *p, bool right, const char *name)
{
    const struct object *o = right ? objects_at(p) : NULL;

    if (o) {
        check_content(o);
    }
    call_begins();
    const char *message = machine_panics(fn, p);
    if (!message != right) {
        broken("%s(%p): %s", name, p, message ? message : "no panic");
    }
    if (message) {
        call_refused(name);
        return false;
    }
    if (o) {
        if (o->kind == OBJECT_CACHED) {
            ASAN_POISON_MEMORY_REGION(o->p, o->room);
        }
        forget(o);
    }
    call_ended(name);
    return true;
}

bool
objects_kmfree(void *p)
{
    const struct object *o = objects_at(p);

    return give_back(call_kmfree, p, !p || (o && (o->kind != OBJECT_HEAP || KMALLOC_HEAP)),
                     "kmfree");
}

bool
objects_heap_free(void *p)
{
    const struct object *o = objects_at(p);

    return give_back(call_heap_free, p, o && o->kind == OBJECT_HEAP, "heap_free");
}

bool
objects_slab_free(struct slab *slab, void *p)
{
    const struct object *o = objects_at(p);

    argument.slab = slab;
    return give_back(call_slab_free, p, o && o->kind == OBJECT_CACHED && o->slab == slab,
                     "slab_free");
}

static void
call_slab_destroy(void *slab)
{
    slab_destroy(slab);
}

bool
objects_slab_destroy(struct slab *slab)
{
    bool in_use = false;

    for (size_t i = 0; i < objects.n && !in_use; i++) {
        in_use = objects.list[i].kind == OBJECT_CACHED && objects.list[i].slab == slab;
    }
    return give_back(call_slab_destroy, slab, !in_use, "slab_destroy");
}

size_t
objects_trim(void)
{
    size_t before = objects_free_pages(), n = slabs_trim();

    if (objects_free_pages() < before + n) {
        broken("slabs_trim returned %zu, and %zu pages have become free", n,
               objects_free_pages() - before);
    }
    for (const struct slab *slab = caches_first(); slab; slab = slab->next) {
        const struct span *first = slab->empty;
        size_t empty = 0;
        for (size_t s = 0; first && s < slab->spans; s++) {
            empty += first[s].free == first[s].all;
        }
        if (first && empty == slab->spans) {
            broken("slabs_trim has left an empty chunk");
        }
    }
    call_ended("slabs_trim");
    return n;
}

/* ---- Pages ---- */

uint64_t
objects_take_page(void)
{
    uint64_t pa = pmm_alloc(0);

    objects.held += pa != 0;
    call_ended("pmm_alloc");
    return pa;
}

void
objects_give_page(uint64_t pa)
{
    /* By one way or the other. */
    if (pa / PGSIZE % 2) {
        kfree(P2V(pa));
    } else if (pmm_free(pa, 0) != 0) {
        broken("pmm_free(%#lx) fails", (unsigned long)pa);
    }
    objects.held--;
    call_ended("pmm_free");
}

/* Every page that is free can be had, once. */
static void
take_all(size_t nfree)
{
    static uint64_t list[FRAMES_MAX];
    static bool taken[FRAMES_MAX];
    size_t n = 0;

    memset(taken, false, sizeof(taken));
    for (uint64_t pa; n < nfree + 1 && (pa = pmm_alloc(0)) != 0; n++) {
        list[n] = pa;
        if (taken[frame_index(P2V(pa))]) {
            broken("pmm_alloc returned %#lx twice", (unsigned long)pa);
        }
        taken[frame_index(P2V(pa))] = true;
    }
    if (n != nfree) {
        broken("%zu pages are free, and %zu can be had", nfree, n);
    }
    while (n > 0) {
        if (pmm_free(list[--n], 0) != 0) {
            broken("pmm_free(%#lx) fails", (unsigned long)list[n]);
        }
    }
}

void
objects_refill(void)
{
    kcache_refill();
    call_ended("kcache_refill");
}

void
objects_end(void)
{
    bool thorough = objects_thorough;
    size_t managed = 0, nfree;

    objects_check();
    objects_thorough = false;
    while (objects.n > 0) {
        const struct object *o = &objects.list[(size_t)next_fill * 37 % objects.n];
        for (size_t i = 0; i < objects.n && o->is_cache; i++) {
            o = &objects.list[i]; /* those at last */
        }
        if (o->is_cache) {
            objects_slab_destroy((struct slab *)(void *)o->p);
        } else if (o->kind == OBJECT_HEAP) {
            objects_heap_free(o->p);
        } else {
            objects_kmfree(o->p);
        }
    }
    objects_trim();
    kcache_drain(SIZE_MAX);
    objects_check();
    objects_thorough = thorough;
    for (size_t z = 0; z < nzones; z++) {
        managed += zones[z].pages;
    }
    nfree = objects_free_pages();
    if (found.own_pages != 0 || nfree + objects.held != managed) {
        broken("of %zu pages, %zu are free and %zu held", managed, nfree, objects.held);
    }
    take_all(nfree);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
