/*
 * A model of one cache, and what the checks of caches have in common.
 */
#include "cache.h"
#include "check.h"
#include "kmalloc.h"
#include "lab4.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"
#include "sysreg.h"

/* Much is compared after each call: without the checks for undefined behaviour. */
#define UNCHECKED __attribute__((no_sanitize("undefined")))

#define USED  1 /* how objects are filled */
#define FREED 2

/* In .data, before all tables that a check may overwrite: the next check is to start afresh. */
static struct {
    size_t caches;
    struct block_taken *memory;
} state __attribute__((section(".data")));

static struct cache all[4];

/* ---- memory ---- */

struct block_taken {
    struct block_taken *next;
    uint64_t order;
};

void
memory_take(void)
{
    slabs_trim();
    for (unsigned order = PMM_ORDERS; order-- > 0;) {
        uint64_t pa;
        while ((pa = pmm_alloc(order)) != 0) {
            struct block_taken *block = P2V(pa);
            *block = (struct block_taken){.next = state.memory, .order = order};
            state.memory = block;
        }
    }
}

void
memory_give(void)
{
    while (state.memory) {
        const struct block_taken *block = state.memory;
        state.memory = block->next;
        pmm_free(V2P(block), (unsigned)block->order);
    }
}

/* Which bytes are written: those at both ends, and some in between. What follows byte i. */
UNCHECKED static size_t
next_place(size_t i, size_t size)
{
    if (i < 15 || i + 16 >= size)
        return i + 1;
    return MIN(i + 500, size - 16);
}

UNCHECKED static uint8_t
value_at(const void *p, size_t i, uint64_t how)
{
    return (uint8_t)(((uint64_t)p >> 4) * 3 + how * 5 + i * 7);
}

UNCHECKED void
fill(void *p, size_t size, uint64_t how)
{
    for (size_t i = 0; i < size; i = next_place(i, size))
        ((uint8_t *)p)[i] = value_at(p, i, how);
}

/* The first byte that is not; size: all are. */
UNCHECKED static size_t
first_other(const void *p, size_t size, uint64_t how)
{
    size_t i = 0;

    while (i < size && ((const uint8_t *)p)[i] == value_at(p, i, how))
        i = next_place(i, size);
    return i;
}

void
expect_filled(const void *p, size_t size, uint64_t how, const char *when)
{
    size_t i = first_other(p, size, how);

    EXPECT(i >= size, "byte %lu of the %lu at %p was written over %s", i, size, p, when);
}

/* ---- the model ---- */

/* The call that is compared: check_doing for each would cost more than all else. */
static struct {
    const char *function;
    const void *p;
} call;

void
cache_doing(const struct cache *c)
{
    check_doing("slab_alloc or slab_free, in a cache of %u-byte objects, %u in a chunk",
                c->slab->size, c->slab->objects);
}

static void
say_call(const struct cache *c)
{
    const struct slab *slab = c->slab;

    if (call.p)
        check_doing("%s(%p), in a cache of %u-byte objects, %u in a chunk, %lu in use",
                    call.function, call.p, slab->size, slab->objects, c->in_use);
    else
        check_doing("%s, in a cache of %u-byte objects, %u in a chunk, %lu in use", call.function,
                    slab->size, slab->objects, c->in_use);
}

#define EXPECT_OF(c, condition, ...)                     \
    do {                                                 \
        if (!(condition)) {                              \
            say_call(c);                                 \
            check_fail(__FILE__, __LINE__, __VA_ARGS__); \
        }                                                \
    } while (0)

UNCHECKED static struct cache_chunk *
known_chunk(struct cache *c, const struct span *span)
{
    for (size_t i = 0; i < c->nchunks; i++)
        if (span >= c->chunks[i].first && span < c->chunks[i].first + c->slab->spans)
            return &c->chunks[i];
    return NULL;
}

/* The chunks on the ring of c's own cache that it never came to know: somebody else has called slab_alloc. */
static void
delete_unknown(void *arg)
{
    struct cache *c = arg;
    struct span *unknown[8];
    size_t n = 0, seen = 0;

    for (const struct span *span = c->own.head.next; span != &c->own.head && seen < 1000; seen++) {
        struct span *first = chunk_of(span->base);
        if (first && first->slab == &c->own && !known_chunk(c, first) && n < ARRAY_SIZE(unknown)
            && (n == 0 || unknown[n - 1] != first))
            unknown[n++] = first;
        span = span->next;
    }
    while (n-- > 0)
        if (chunk_of(unknown[n]->base) == unknown[n])
            chunk_delete(unknown[n]);
}

void
cache_end(void)
{
    memory_give();
    while (state.caches > 0) {
        struct cache *c = &all[--state.caches];
        if (c->slab == &c->own)
            check_panics(delete_unknown, c); /* who knows what is on the ring */
        for (size_t i = 0; i < c->nchunks; i++)
            if (chunk_of(c->chunks[i].base) == c->chunks[i].first)
                chunk_delete(c->chunks[i].first);
        if (c->slab == &c->own)
            slab_forget(c->slab);
    }
}

struct cache *
cache_known(struct slab *slab, size_t align)
{
    struct cache *c = &all[state.caches % ARRAY_SIZE(all)];

    *c = (struct cache){.slab = slab, .align = MAX(align, (size_t)SLAB_ALIGN)};
    state.caches++;
    check_finally(cache_end);
    return c;
}

struct cache *
cache_new(size_t size, size_t align)
{
    struct cache *c = cache_known(NULL, align);

    c->slab = &c->own;
    EXPECT(slab_setup(c->slab, "check", size, align) && c->own.spans <= CACHE_SPANS,
           "slab_setup(%lu, %lu): found false", size, align);
    cache_doing(c);
    return c;
}

/* The chunk that the object at p belongs to, its span, and its bit there. */
UNCHECKED static struct cache_chunk *
locate(struct cache *c, const void *p, size_t *s, uint64_t *bit)
{
    for (size_t i = 0; i < c->nchunks; i++) {
        size_t offset = (size_t)((uint64_t)p - (uint64_t)c->chunks[i].base);
        if (offset < (size_t)PGSIZE << c->slab->order) {
            size_t k = offset / c->slab->size;
            *s = k / SPAN_OBJECTS;
            *bit = 1UL << k % SPAN_OBJECTS;
            return &c->chunks[i];
        }
    }
    return NULL;
}

UNCHECKED static bool
has_none_in_use(const struct cache *c, const struct cache_chunk *chunk)
{
    for (size_t s = 0; s < c->slab->spans; s++)
        if (chunk->used[s] != 0)
            return false;
    return true;
}

UNCHECKED static void
ring_front(struct cache *c, const struct span *span)
{
    for (size_t i = c->nring++; i > 0; i--)
        c->ring[i] = c->ring[i - 1];
    c->ring[0] = span;
}

/* The spans first to first + n - 1 leave the model's ring. */
UNCHECKED static void
ring_without(struct cache *c, const struct span *first, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->nring; i++)
        if (!(c->ring[i] >= first && c->ring[i] < first + n))
            c->ring[kept++] = c->ring[i];
    c->nring = kept;
}

/* ---- what is there, against the model ---- */

static const struct span *found[CACHE_RING];

/* The ring as it is. Only spans that we know are looked at. Returns how many there are. */
UNCHECKED static size_t
read_ring(struct cache *c)
{
    const struct span *before = &c->slab->head;
    size_t n = 0;

    EXPECT_OF(c, before->free == 0 && before->all == 0,
              "the ring's head has objects: expected none");
    for (const struct span *at = before->next; at != &c->slab->head; at = at->next) {
        EXPECT_OF(c, known_chunk(c, at),
                  "the ring has %p behind %lu spans: expected a span of this cache",
                  (const void *)at, n);
        EXPECT_OF(c, at->prev == before,
                  "the ring is broken behind %lu spans: the next one's prev is %p", n,
                  (const void *)at->prev);
        EXPECT_OF(c, n < CACHE_RING, "the ring goes round without its head");
        found[n++] = at; /* none is there twice: its prev would not be right both times */
        before = at;
    }
    EXPECT_OF(c, c->slab->head.prev == before, "head.prev is not the last of the ring's %lu spans",
              n);
    return n;
}

/* Every record of every chunk. */
UNCHECKED static void
check_records(struct cache *c)
{
    const struct slab *slab = c->slab;
    const struct cache_chunk *empty = NULL;

    EXPECT_OF(c, slab->chunks == c->nchunks, "slab->chunks: expected %lu, found %u", c->nchunks,
              slab->chunks);
    for (const struct cache_chunk *chunk = c->chunks; chunk < c->chunks + c->nchunks; chunk++) {
        EXPECT_OF(c, chunk_of(chunk->base) == chunk->first,
                  "the chunk at %p: expected it to be the cache's still", chunk->base);
        for (size_t s = 0; s < slab->spans; s++) {
            const struct span *span = &chunk->first[s];
            uint64_t left = slab->objects - s * SPAN_OBJECTS, all_bits = ~0UL;
            if (left < SPAN_OBJECTS)
                all_bits >>= SPAN_OBJECTS - left;
            EXPECT_OF(c,
                      span->all == all_bits && span->slab == slab
                          && span->base == chunk->base + s * SPAN_OBJECTS * slab->size,
                      "span %lu of the chunk at %p: base, slab or all was changed", s, chunk->base);
            EXPECT_OF(c, span->free == (all_bits & ~chunk->used[s]),
                      "free of span %lu of the chunk at %p: expected 0x%lx, found 0x%lx", s,
                      chunk->base, all_bits & ~chunk->used[s], span->free);
        }
        if (has_none_in_use(c, chunk))
            empty = chunk;
    }
    EXPECT_OF(
        c, !slab->empty || known_chunk(c, slab->empty),
        "slab->empty: found %p: expected NULL, or the first span of one of the cache's chunks",
        (const void *)slab->empty);
    EXPECT_OF(
        c, !c->exact || !empty || slab->empty == empty->first,
        "slab->empty: expected %p, the first span of the chunk that has no object in use, found "
        "%p",
        (const void *)(empty ? empty->first : NULL), (const void *)slab->empty);
}

/* Is the ring found as the model's is? With `moved`, the spans of this chunk at the end, in any order. */
UNCHECKED static bool
ring_matches(struct cache *c, size_t n, const struct span *moved)
{
    size_t others = 0, skipped = 0;

    if (n != c->nring)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (moved && c->ring[i] >= moved && c->ring[i] < moved + c->slab->spans)
            skipped++;
        else if (found[others++] != c->ring[i])
            return false;
    }
    for (size_t i = others; i < n; i++)
        if (!(found[i] >= moved && found[i] < moved + c->slab->spans))
            return false;
    return others + skipped == n;
}

/* Compare all. The ring must be as the model says, or with this chunk's spans at the end (moved), or either. */
static void
compare(struct cache *c, const struct span *moved, bool may_stay)
{
    size_t n = read_ring(c);

    check_records(c);
    EXPECT_OF(c, n == c->nring,
              "expected %lu spans on the ring, as so many have a free object, found %lu", c->nring,
              n);
    EXPECT_OF(c,
              ((may_stay || !moved) && ring_matches(c, n, NULL))
                  || (moved && ring_matches(c, n, moved)),
              "the ring's spans are in another order than expected (%s)",
              moved ? "those of the chunk that has no object in use any more at the end"
                    : "one that was full goes to the front");
    for (size_t i = 0; i < n; i++)
        c->ring[i] = found[i];
}

void
cache_check(struct cache *c)
{
    compare(c, NULL, true);
}

/* ---- calls ---- */

static const char *
what_is_at(const struct slab *slab, const struct span *first)
{
    if (!first)
        return "is in no chunk";
    return first->slab == slab ? "is behind the last object" : "is another cache's";
}

static size_t constructed, construct_size;

static void
cache_construct(void *p)
{
    constructed++;
    fill(p, construct_size, FREED);
}

void
cache_set_construct(struct cache *c)
{
    constructed = 0;
    construct_size = c->slab->size;
    c->slab->construct = cache_construct;
}

size_t
cache_constructed(void)
{
    return constructed;
}

/* A chunk that the model did not know. */
static struct cache_chunk *
learn(struct cache *c, struct span *first)
{
    struct cache_chunk *chunk = &c->chunks[c->nchunks];

    EXPECT_OF(c, c->nchunks < CACHE_CHUNKS, "the cache has more than %d chunks", CACHE_CHUNKS);
    *chunk = (struct cache_chunk){.first = first, .base = first->base};
    c->nchunks++;
    for (size_t s = c->slab->spans; s-- > 0;) {
        ring_front(c, &first[s]);
        chunk->marked[s] = c->slab->construct == cache_construct ? ~0UL : 0;
    }
    return chunk;
}

void *
cache_alloc(struct cache *c)
{
    struct slab *slab = c->slab;
    const struct span *front = c->nring > 0 ? c->ring[0] : NULL;
    size_t s = 0;
    uint64_t bit = 0;

    call.function = "slab_alloc()";
    call.p = NULL;
    char *p = slab_alloc(slab);
    EXPECT_OF(c, p, "expected an object, found NULL");
    struct span *first = chunk_of(p);
    EXPECT_OF(c,
              first && first->slab == slab && p >= first->base
                  && p < first->base + (size_t)slab->objects * slab->size,
              "found %p, which %s", p, what_is_at(slab, first));
    EXPECT_OF(c, (size_t)(p - first->base) % slab->size == 0,
              "found %p, in the middle of an object", p);
    EXPECT_OF(c, (uint64_t)p % c->align == 0, "found %p: expected a multiple of %lu", p, c->align);
    struct cache_chunk *chunk = known_chunk(c, first);
    if (!chunk) {
        EXPECT_OF(c, !front,
                  "found %p, of a new chunk: expected an object of the ring's first span", p);
        chunk = learn(c, first);
    }
    locate(c, p, &s, &bit);
    EXPECT_OF(c, !(chunk->used[s] & bit), "found %p, which is in use already", p);
    EXPECT_OF(c, !front || front == &first[s], "found %p, which is not of the ring's first span",
              p);
    if (chunk->marked[s] & bit)
        EXPECT_OF(c, first_other(p, slab->size, FREED) >= slab->size,
                  "the object at %p was written over %s", (const void *)p,
                  "while it was free: free objects are never touched");
    chunk->marked[s] &= ~bit;
    chunk->used[s] |= bit;
    c->in_use++;
    if (chunk->used[s] == first[s].all)
        ring_without(c, &first[s], 1);
    compare(c, front ? NULL : first, true);
    fill(p, slab->size, USED);
    return p;
}

void
cache_alloc_none(struct cache *c)
{
    call.function = "slab_alloc() without memory";
    call.p = NULL;
    const char *p = slab_alloc(c->slab);
    EXPECT_OF(c, !p, "expected NULL, found %p", p);
    cache_check(c);
}

/* Of two chunks that have no object in use, this one went back. The model forgets it. */
static void
forget_surplus(struct cache *c, struct cache_chunk *gone, const struct cache_chunk *kept)
{
    EXPECT_OF(c, chunk_of(kept->base) == kept->first,
              "the chunk at %p has no object in use, as the last that became so: expected it to be "
              "kept",
              kept->base);
    EXPECT_OF(c, chunk_of(gone->base) != gone->first,
              "another chunk has no object in use: expected the one kept so far, at %p, to go back "
              "to the pmm (chunk_delete)",
              gone->base);
    ring_without(c, gone->first, c->slab->spans);
    *gone = c->chunks[--c->nchunks];
}

/* Where that is another check's affair: which empty chunks are gone, and in which order are the spans? */
static void
adopt(struct cache *c)
{
    for (size_t i = c->nchunks; i-- > 0;) {
        struct cache_chunk *chunk = &c->chunks[i];
        if (has_none_in_use(c, chunk) && chunk_of(chunk->base) != chunk->first) {
            ring_without(c, chunk->first, c->slab->spans);
            *chunk = c->chunks[--c->nchunks];
        }
    }
    size_t n = read_ring(c);
    EXPECT_OF(c, n == c->nring,
              "expected %lu spans on the ring, as so many have a free object, found %lu", c->nring,
              n);
    for (size_t i = 0; i < n; i++)
        c->ring[i] = found[i];
}

void
cache_freed(struct cache *c, const void *p, const struct span *kept_before)
{
    size_t s = 0;
    uint64_t bit = 0;
    struct cache_chunk *chunk = locate(c, p, &s, &bit), *other = NULL;
    const struct span *moved = NULL;
    bool may_stay = true;

    EXPECT_OF(c, chunk && (chunk->used[s] & bit), "the check itself has lost %p", p);
    if (chunk->used[s] == chunk->first[s].all)
        ring_front(c, &chunk->first[s]);
    chunk->used[s] &= ~bit;
    c->in_use--;
    chunk->marked[s] |= bit;
    if (!c->exact) {
        adopt(c);
    } else if (has_none_in_use(c, chunk)) {
        for (struct cache_chunk *e = c->chunks; e < c->chunks + c->nchunks; e++)
            if (e != chunk && has_none_in_use(c, e))
                other = e;
        moved = chunk->first;
        may_stay = moved == kept_before;
        if (other)
            forget_surplus(c, other, chunk);
    }
    compare(c, moved, may_stay);
}

void
cache_free(struct cache *c, void *p)
{
    const struct span *kept_before = c->slab->empty;

    call.function = "slab_free";
    call.p = p;
    EXPECT_OF(c, first_other(p, c->slab->size, USED) >= c->slab->size,
              "the object at %p was written over %s", (const void *)p, "while it was in use");
    fill(p, c->slab->size, FREED);
    slab_free(c->slab, p);
    cache_freed(c, p, kept_before);
}

void
cache_release(struct cache *c, void *p)
{
    size_t s = 0;
    uint64_t bit = 0;
    struct cache_chunk *chunk = locate(c, p, &s, &bit);
    struct span *span = &chunk->first[s];

    chunk->used[s] &= ~bit;
    if (c->nchunks > 1 && has_none_in_use(c, chunk)) {
        chunk->used[s] |= bit;
        return;
    }
    fill(p, c->slab->size, FREED);
    if (span->free == 0) {
        span_insert(&c->slab->head, span);
        ring_front(c, span);
    }
    span->free |= bit;
    c->in_use--;
    chunk->marked[s] |= bit;
    if (has_none_in_use(c, chunk))
        c->slab->empty = chunk->first;
}

UNCHECKED void *
cache_pick(const struct cache *c)
{
    size_t nspans = c->nchunks * c->slab->spans;

    if (c->in_use == 0)
        return NULL;
    /* From a place at random on, the first one. */
    for (size_t at = check_random_below(nspans);; at = at + 1 < nspans ? at + 1 : 0) {
        const struct cache_chunk *chunk = &c->chunks[at / c->slab->spans];
        size_t s = at % c->slab->spans;
        uint64_t used = chunk->used[s] & ~0UL << check_random_below(SPAN_OBJECTS);
        if (used == 0)
            used = chunk->used[s];
        if (used != 0)
            return chunk->base + (s * SPAN_OBJECTS + (size_t)__builtin_ctzl(used)) * c->slab->size;
    }
}

void
cache_refuses(struct cache *c, void (*fn)(void *), void *p, const char *why)
{
    struct slab before = {0};
    uint64_t mask = read_sysreg(daif);
    char digits[20];
    const char *lock;
    bool said = false;

    if (c)
        before = *c->slab;
    const char *message = check_panics(fn, p);
    spinlocks_reset(&lock);
    write_sysreg(daif, mask);
    EXPECT(message, "it returned: expected a panic, as %p %s", p, why);
    EXPECT(strncmp(message, "fault", 5) != 0, "%s: expected a panic, as %p %s", message, p, why);
    size_t n = (size_t)snprintf(digits, sizeof(digits), "%lx", (uint64_t)p);
    for (const char *at = message; *at && !said; at++)
        said = strncmp(at, digits, n) == 0;
    EXPECT(said, "the panic \"%s\": expected it to say the address, %p", message, p);
    if (c) {
        EXPECT(memcmp(&before, c->slab, sizeof(before)) == 0,
               "it panicked, but had changed the cache before");
        call.function = "the call that panicked";
        call.p = p;
        cache_check(c);
        cache_doing(c);
    }
}

/* ---- what other exercises a check needs ---- */

void
need_slab_alloc(void)
{
    need_pmm();
    struct cache *c = cache_new(112, 0);
    check_doing("slab_alloc() of a new cache");
    char *p = slab_alloc(c->slab);
    EXPECT(p, "expected an object, found NULL: write slab_alloc in kern/slab.c");
    struct span *first = chunk_of(p);
    if (first && first->slab == c->slab)
        learn(c, first);
    cache_end();
}

void
need_slab_free(void)
{
    need_slab_alloc();
    struct cache *c = cache_new(112, 0);
    void *p = cache_alloc(c);
    check_doing("slab_free(%p) of the only object in use", p);
    slab_free(c->slab, p);
    EXPECT(chunk_of(c->chunks[0].base) != c->chunks[0].first
               || c->chunks[0].first->free != (c->chunks[0].first->all & ~c->chunks[0].used[0]),
           "the object is still in use: write slab_free in kern/slab.c");
    cache_end();
}
