/*
 * Lab 4's checks of caches of objects.
 */
#include "cache.h"
#include "check.h"
#include "heap.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "lab4.h"
#include "pmm.h"
#include "string.h"

struct form {
    size_t size, align;
};

/* One object to a page, or many; a span that is not whole; space behind the last object. */
static const struct form forms[] = {
    {16, 0}, {48, 0}, {64, 64}, {112, 0}, {1000, 8}, {2048, 0}, {40, 256}, {24, PGSIZE}, {700, 128},
};

/* One that nobody has thought of. */
static struct form
any_form(void)
{
    return (struct form){1 + check_random_below(SLAB_MAX), 1UL << check_random_below(PGSHIFT + 1)};
}

/* ---- slab_create ---- */

static struct slab *created[16];
static size_t ncreated __attribute__((section(".data")));

static void
create_end(void)
{
    memory_give();
    while (ncreated > 0) {
        struct slab *slab = created[--ncreated];
        slab_forget(slab);
        kmfree(slab);
    }
}

/* All that slab_setup fills in, but for what links it to others. */
static bool
same_setup(const struct slab *a, const struct slab *b)
{
    return a->size == b->size && a->reciprocal == b->reciprocal && a->objects == b->objects
        && a->spans == b->spans && a->order == b->order && a->construct == b->construct;
}

static void
create(size_t size, size_t align)
{
    static const char name[] = "some objects";
    static struct slab model;

    check_doing("slab_create(\"%s\", %lu, %lu)", name, size, align);
    struct slab *slab = slab_create(name, size, align);
    EXPECT(slab, "expected a cache, found NULL");
    created[ncreated++] = slab;
    for (size_t i = 0; i + 1 < ncreated; i++)
        EXPECT(slab + 1 <= created[i] || created[i] + 1 <= slab,
               "the caches at %p and at %p overlap", (const void *)slab, (const void *)created[i]);
    slab_setup(&model, name, size, align);
    slab_forget(&model);
    EXPECT(slab->size == model.size, "slab->size: expected %u, found %u", model.size, slab->size);
    EXPECT(same_setup(slab, &model), "the cache is not as slab_setup makes it");
    EXPECT(slab->name == name, "slab->name: expected %p as given, found %p", (const void *)name,
           (const void *)slab->name);
    EXPECT(slab->head.next == &slab->head && slab->head.prev == &slab->head && slab->chunks == 0
               && !slab->empty,
           "expected a cache without a chunk");
    EXPECT(slabs == slab, "expected it to be on the list of all caches (slabs.c)");
}

/* Caches that cannot be. */
static void
create_none(size_t size, size_t align)
{
    const struct slab *first = slabs;

    check_doing("slab_create(\"none\", %lu, %lu)", size, align);
    const struct slab *slab = slab_create("none", size, align);
    EXPECT(!slab, "expected NULL, found %p", (const void *)slab);
    EXPECT(slabs == first, "returned NULL, but a cache is on the list of all caches (slabs.c)");
}

/* How much of kmalloc's memory for a cache is in use, whatever is behind kmalloc. */
static size_t
memory_in_use(void)
{
    size_t bytes = 0;

    for (const struct region *r = heap.regions; r; r = r->next)
        bytes += r->size - sizeof(*r) - heap_free_bytes(r);
    return bytes + slab_in_use(slab_by_size[(sizeof(struct slab) - 1) / SLAB_ALIGN]);
}

/* All objects for which there is memory; none are left. */
static void
create_without_memory(void)
{
    void *objects = NULL, *p;

    memory_take();
    while ((p = kmalloc(sizeof(struct slab))) != NULL) {
        memcpy(p, &objects, sizeof(objects));
        objects = p;
    }
    check_doing("slab_create(\"none\", 100, 0) without memory");
    const struct slab *slab = slab_create("none", 100, 0), *first = slabs;
    while (objects) {
        p = objects;
        memcpy(&objects, p, sizeof(objects));
        kmfree(p);
    }
    memory_give();
    EXPECT(!slab, "expected NULL, found %p", (const void *)slab);
    EXPECT(first == slabs, "a cache is on the list of all caches, that is not there");
}

CHECK(slab_create)
{
    static const size_t sizes[] = {0,         SLAB_MAX + 1, SLAB_MAX + 16, PGSIZE, 0x100000010,
                                   1UL << 63, -100UL,       -16UL,         -1UL};
    static const size_t aligns[] = {3,          12,          17,        24,        48,   PGSIZE + 1,
                                    2 * PGSIZE, 0x100000010, 1UL << 32, 1UL << 63, -1UL, -16UL};
    static const size_t aligned[] = {0, 1, 2, 8, 16, 32, PGSIZE};

    need_pmm();
    check_finally(create_end);
    check_doing("slab_create(\"objects\", 100, 0)");
    struct slab *slab = slab_create("objects", 100, 0);
    check_doing("kmalloc(%lu)", sizeof(*slab));
    void *p = kmalloc(sizeof(*slab));
    EXPECT(p, "expected memory for a cache, found NULL: write kmalloc in kern/slab.c first");
    kmfree(p);
    check_doing("slab_create(\"objects\", 100, 0)");
    EXPECT(slab, "expected a cache, found NULL: write slab_create in kern/slab.c");
    created[ncreated++] = slab;

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        create(forms[i].size, forms[i].align);
    create_end();
    for (size_t i = 0; i < ARRAY_SIZE(aligned); i++) {
        create(15 + i % 3, aligned[i]);
        create(SLAB_MAX, aligned[i]);
    }
    create_end();
    for (size_t i = 0; i < 12; i++) {
        struct form form = any_form();
        create(form.size, form.align);
    }
    create(SLAB_MAX, PGSIZE);
    create_end();

    size_t before = memory_in_use();
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        create_none(sizes[i], 0);
    for (size_t i = 0; i < ARRAY_SIZE(aligns); i++)
        create_none(100, aligns[i]);
    create_none(0, 24);
    size_t after = memory_in_use();
    EXPECT(after == before, "it returned NULL, and did not give back the memory for the cache");
    create_without_memory();
    after = memory_in_use();
    EXPECT(after == before, "it returned NULL, and did not give back the memory for the cache");
}

/* ---- slab_alloc ---- */

/* Objects of some chunks, then of places that become free here and there, then of new chunks again. */
static void
alloc_some(struct form form)
{
    struct cache *c = cache_new(form.size, form.align);
    size_t n = MIN(c->slab->objects * 3 + 1, 400U);

    cache_set_construct(c);
    for (size_t i = 0; i < n; i++)
        cache_alloc(c);
    EXPECT(cache_constructed() == c->nchunks * c->slab->objects,
           "the constructor was called for %lu objects, expected it for the %lu of %lu chunks",
           cache_constructed(), c->nchunks * c->slab->objects, c->nchunks);
    for (size_t turn = 0; turn < 3; turn++) {
        for (size_t i = check_random_below(MIN(n, 40UL)); i > 0; i--)
            cache_release(c, cache_pick(c));
        while (c->in_use <= n)
            cache_alloc(c);
        n++;
    }
    cache_end();
}

/* What is left in the chunks, and then nothing, again and again; and all is well when there is memory. */
static void
alloc_without_memory(struct form form)
{
    struct cache *c = cache_new(form.size, form.align);

    cache_alloc(c);
    memory_take();
    while (c->nring > 0)
        cache_alloc(c);
    cache_alloc_none(c);
    cache_alloc_none(c);
    void *p = cache_pick(c);
    cache_release(c, p);
    cache_alloc(c);
    cache_alloc_none(c);
    memory_give();
    cache_alloc(c);
    cache_alloc(c);
    cache_end();
    memory_take();
    c = cache_new(form.size, form.align); /* not even a first chunk */
    cache_alloc_none(c);
    cache_end();
}

/* A chunk can be had, but only because another cache has one that it does not need. */
static void
alloc_what_another_keeps(void)
{
    struct cache *c = cache_new(2048, 0), *keeper = cache_new(2048, 0);
    void *p = cache_alloc(keeper);

    cache_alloc(c);
    cache_alloc(c);
    memory_take();
    cache_release(keeper, p);
    keeper->nchunks = 0; /* not there any more, once the other cache has taken it */
    keeper->nring = 0;
    cache_alloc(c);
    cache_check(keeper);
    cache_end();
}

CHECK(slab_alloc)
{
    need_slab_alloc();
    size_t before = pages_free();
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        alloc_some(forms[i]);
    for (size_t i = 0; i < 3; i++)
        alloc_some(any_form());
    for (size_t i = 0; i < 3; i++)
        alloc_without_memory(forms[3 * i]);
    alloc_what_another_keeps();

    /* Two at once: neither has anything to do with the other. */
    struct cache *one = cache_new(96, 0), *two = cache_new(96, 0);
    for (size_t i = 0; i < 120; i++) {
        cache_alloc(check_random_below(2) ? one : two);
        cache_check(one);
        cache_check(two);
    }
    cache_end();
    size_t after = pages_free();
    EXPECT(after == before, "free pages: expected %lu as before the check, found %lu", before,
           after);
}

/* ---- slab_free ---- */

/* Grow and shrink, at random, and give everything back in the end. */
static void
free_at_random(struct form form, size_t most, size_t turns)
{
    struct cache *c = cache_new(form.size, form.align);
    bool growing = true;

    c->exact = true;
    most = MIN(most, (CACHE_CHUNKS - 1UL) * c->slab->objects);
    for (size_t i = 0; i < turns; i++) {
        size_t n = c->in_use;
        if (n == 0 || n >= most)
            growing = n == 0;
        if (check_random_below(4) == 0 ? !growing : growing) {
            if (n < most)
                cache_alloc(c);
        } else if (n > 0) {
            cache_free(c, cache_pick(c));
        }
    }
    void *p;
    while ((p = cache_pick(c)) != NULL)
        cache_free(c, p);
    EXPECT(c->nchunks <= 1, "no object is in use: expected one chunk to be kept, found %lu",
           c->nchunks);
    cache_end();
}

static void *objects[512];

/* Free what is in objects[]: all of the chunk at base, but for the first `left` of it. */
static void
free_chunk(struct cache *c, const char *base, size_t n, size_t left)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t offset = (uint64_t)objects[i] - (uint64_t)base;
        if (objects[i] && offset < (size_t)PGSIZE << c->slab->order) {
            if (left > 0) {
                left--;
                continue;
            }
            cache_free(c, objects[i]);
            objects[i] = NULL;
        }
    }
}

/* Chunks become empty in all orders: one is kept, unless it is in use again; and it is used again. */
static void
free_chunks(struct form form)
{
    struct cache *c = cache_new(form.size, form.align);
    char *base[4] = {NULL};
    size_t n = 0;

    c->exact = true;
    while (c->nchunks < 4 || c->nring > 0) {
        objects[n] = cache_alloc(c);
        n++;
        if (c->nchunks > 0)
            base[c->nchunks - 1] = c->chunks[c->nchunks - 1].base;
    }
    size_t pages = pages_free(), chunk_pages = 1UL << c->slab->order;
    free_chunk(c, base[2], n, 0);
    void *again =
        cache_alloc(c); /* the kept chunk is in use again, while others have nothing free */
    free_chunk(c, base[1], n, 0); /* and this one is kept now; both are there */
    EXPECT(c->nchunks == 4, "chunks: expected 4, as all but one are in use, found %lu", c->nchunks);
    cache_free(c, again);
    free_chunk(c, base[0], n, 1);
    free_chunk(c, base[0], n, 0);
    free_chunk(c, base[3], n, 0);
    void *p;
    while ((p = cache_pick(c)) != NULL)
        cache_free(c, p);
    EXPECT(c->nchunks == 1, "chunks, with no object in use: expected one to be kept, found %lu",
           c->nchunks);
    size_t found = kmem.count;
    for (const struct zone *z = zones; z < zones + nzones; z++)
        found += z->free;
    EXPECT(found >= pages + 3 * chunk_pages,
           "free pages, when 3 of 4 chunks are not in use: expected %lu, found %lu",
           pages + 3 * chunk_pages, found);
    for (size_t i = 0; i < 5; i++)
        cache_free(c, cache_alloc(c)); /* no chunk comes and goes for that */
    cache_end();
}

CHECK(slab_free)
{
    need_slab_free();
    size_t before = pages_free();
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (i != 0) /* 256 objects in a page */
            free_chunks(forms[i]);
    free_at_random(forms[0], 700, 1500);
    free_at_random(forms[3], 200, 1200);
    free_at_random(forms[5], 20, 700);
    free_at_random(forms[7], 9, 300);
    free_at_random(any_form(), 60, 500);
    size_t after = pages_free();
    EXPECT(after == before, "free pages: expected %lu as before the check, found %lu", before,
           after);
}

/* ---- slab_refuse ---- */

static struct slab *refusing;

static void
call_slab_free(void *p)
{
    slab_free(refusing, p);
}

static void
refuse(struct cache *c, void *p, const char *why)
{
    refusing = c->slab;
    check_doing("slab_free(%p): cache of %u-byte objects", p, c->slab->size);
    cache_refuses(c, call_slab_free, p, why);
}

/* What lies in and around the cache's chunks. */
static void
refuse_near(struct form form)
{
    struct cache *c = cache_new(form.size, form.align);
    size_t size, n = 0;

    while (c->nchunks < 3) {
        objects[n] = cache_alloc(c);
        n++;
    }
    size = c->slab->size;
    char *p = objects[check_random_below(n)], *base = c->chunks[0].base;
    refuse(c, p + 1, "is inside of an object");
    refuse(c, p + 8, "is inside of an object");
    refuse(c, p + size - 1, "is inside of an object");
    refuse(c, p + 1 + check_random_below(size - 1), "is inside of an object");
    if (size > SLAB_ALIGN)
        refuse(c, p + size - SLAB_ALIGN, "is inside of an object");
    if (n > 1)
        refuse(c, objects[0] == (void *)base ? base + 1 : base, "is inside of an object");
    if (c->slab->objects > 1) {
        struct span *first = c->chunks[2].first; /* one object of this chunk is in use */
        refuse(c, first->base + (c->slab->objects - 1) * size, "is free, and never was in use");
    }
    char *stop = base + c->slab->objects * size;
    if (stop < base + ((size_t)PGSIZE << c->slab->order)) {
        refuse(c, stop, "is behind the chunk's last object");
        refuse(c, base + ((size_t)PGSIZE << c->slab->order) - 8,
               "is behind the chunk's last object");
    }

    cache_free(c, p);
    refuse(c, p, "is free already");
    size_t i = 0;
    while (i < n && (objects[i] == p || (char *)objects[i] + size == p))
        i++;
    if (i < n) {
        cache_free(c, objects[i]);
        refuse(c, p, "is free already");
        refuse(c, objects[i], "is free already");
        refuse(c, (char *)objects[i] + 1, "is inside of a free object");
    }
    cache_end();
}

/* Objects of chunks that are empty, or gone. */
static void
refuse_gone(struct form form)
{
    struct cache *c = cache_new(form.size, form.align);
    size_t n = 0;

    while (c->nchunks < 3) {
        objects[n] = cache_alloc(c);
        n++;
    }
    for (size_t i = 0; i < n; i++)
        cache_free(c, objects[i]);
    refuse(c, objects[0], "is free already, and maybe its chunk is gone");
    refuse(c, objects[n - 1], "is free already, and maybe its chunk is gone");
    for (size_t i = 0; i < n; i += n / 3 + 1)
        refuse(c, objects[i], "is free already, and maybe its chunk is gone");
    cache_end();
}

static char in_the_image[64] __attribute__((aligned(16)));

/* What has nothing to do with the cache. */
static void
refuse_foreign(void)
{
    struct cache *c = cache_new(128, 0), *other = cache_new(128, 0);
    char on_the_stack[32] __attribute__((aligned(16)));

    cache_alloc(c);
    char *p = cache_alloc(other);
    refuse(c, p, "is an object of another cache");
    cache_free(other, p);
    refuse(c, p, "is a free object of another cache");

    p = kalloc();
    if (p) {
        refuse(c, p, "is a page that kalloc gave");
        kfree(p);
        refuse(c, p, "is a page that nobody has");
    }
    uint64_t pa = pmm_alloc(2);
    if (pa != 0) {
        refuse(c, P2V(pa), "is a block that pmm_alloc gave");
        pmm_free(pa, 2);
    }
    refuse(c, in_the_image, "is a variable of the kernel");
    refuse(c, on_the_stack, "is on the stack");
    refuse(c, NULL, "is NULL");
    p = cache_pick(c);
    refuse(c, (void *)V2P(p), "is a physical address");
    refuse(c, (void *)(V2P(p) | 1UL << 48), "is no address of the linear map");
    refuse(c, P2V(V2P(p) + (1UL << 40)), "is no address of RAM");
    refuse(c, P2V(PHYSTOP), "is no address of RAM");
    refuse(c, P2V(DEVICES_PA), "is no address of RAM");
    refuse(c, (void *)-8UL, "is no address of RAM");
    cache_free(c, p);
    cache_end();
}

CHECK(slab_refuse)
{
    need_slab_free();
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (i != 0)
            refuse_near(forms[i]);
        if (forms[i].size > 100)
            refuse_gone(forms[i]);
    }
    refuse_near(any_form());
    refuse_foreign();
}

/* ---- slab_destroy ---- */

static void
call_slab_destroy(void *slab)
{
    slab_destroy(slab);
}

static struct cache *
create_cache(struct form form)
{
    check_doing("slab_create(\"check\", %lu, %lu)", form.size, form.align);
    struct slab *slab = slab_create("check", form.size, form.align);
    EXPECT(slab, "expected a cache, found NULL: write slab_create in kern/slab.c first");
    struct cache *c = cache_known(slab, form.align);
    cache_doing(c);
    return c;
}

static void
destroy(struct cache *c, const char *when, size_t pages)
{
    struct slab *slab = c->slab;

    check_doing("slab_destroy of a cache of %u-byte objects %s", slab->size, when);
    slab_destroy(slab);
    for (size_t i = 0; i < c->nchunks; i++)
        EXPECT(chunk_of(c->chunks[i].base) != c->chunks[i].first,
               "expected its pages to go back, found that the chunk at %p is still there",
               c->chunks[i].base);
    c->nchunks = 0;
    for (const struct slab *s = slabs; s; s = s->next)
        EXPECT(s != slab, "it is still on the list of all caches: expected slab_forget");
    size_t found = pages_free();
    EXPECT(found == pages, "free pages: expected %lu as before slab_create, found %lu", pages,
           found);
    cache_end();
}

/* Objects are in use: it panics, and the cache is as it was. */
static void
destroy_refused(struct cache *c, const char *when)
{
    struct slab before = *c->slab;

    check_doing("slab_destroy of a cache of %u-byte objects %s", c->slab->size, when);
    expect_panic(call_slab_destroy, c->slab, "has an object that is in use");
    EXPECT(memcmp(&before, c->slab, sizeof(before)) == 0,
           "it panicked, but had changed the cache before");
    cache_check(c);
    const struct slab *s = slabs;
    while (s && s != c->slab)
        s = s->next;
    EXPECT(s, "it panicked, but the cache is not on the list of all caches any more");
    cache_doing(c);
}

CHECK(slab_destroy)
{
    need_slab_free();
    for (size_t i = 1; i < ARRAY_SIZE(forms); i++) {
        size_t pages = pages_free(), in_use = memory_in_use();
        struct cache *c = create_cache(forms[i]);
        if (i == 1) {
            check_doing("slab_destroy of a new cache");
            slab_destroy(c->slab);
            EXPECT(slabs != c->slab, "it is still there: write slab_destroy in kern/slab.c");
            cache_end();
            c = create_cache(forms[i]);
        }
        destroy(c, "that has no chunk", pages);

        c = create_cache(forms[i]);
        cache_alloc(c);
        destroy_refused(c, "one object of which is in use");
        while (c->nchunks < 3)
            cache_alloc(c);
        destroy_refused(c, "objects of 3 chunks of which are in use");
        while (c->in_use > 1)
            cache_free(c, cache_pick(c));
        destroy_refused(c, "one object of which is in use, and that keeps a chunk, maybe");
        cache_free(c, cache_alloc(c));
        destroy_refused(c, "one object of which is in use");
        cache_free(c, cache_pick(c));
        destroy(c, "that keeps a chunk", pages);

        c = create_cache(forms[i]);
        void *p = cache_alloc(c);
        cache_free(c, p);
        p = cache_alloc(c);
        destroy_refused(c, "an object of the chunk of which that it has kept is in use again");
        cache_free(c, p);
        slabs_trim();
        c->nchunks = 0;
        c->nring = 0;
        destroy(c, "that has given its chunk back (slabs_trim)", pages);
        size_t now = memory_in_use();
        EXPECT(now == in_use, "the memory for the cache itself did not go back (kmfree)");
    }
}
