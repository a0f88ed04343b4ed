/*
 * Lab 4's checks of kmalloc, whatever is behind it.
 */
#include "cache.h"
#include "check.h"
#include "heap.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "lab4.h"
#include "pmm.h"
#include "string.h"

/* What is allocated now. */
static struct piece {
    char *p;
    size_t size;
} pieces[700];
static size_t npieces __attribute__((section(".data")));

static void
call_kmfree(void *p)
{
    kmfree(p);
}

/* After the check: what kmfree does is another check's affair. */
static void
kmalloc_end(void)
{
    const char *lock;

    cache_end();
    while (npieces > 0)
        if (check_panics(call_kmfree, pieces[--npieces].p))
            spinlocks_reset(&lock);
}

/* ---- what kmalloc returns ---- */

static bool
is_large(size_t size)
{
    return size > (KMALLOC_HEAP ? HEAP_MAX : SLAB_MAX);
}

static unsigned
order_of(size_t size)
{
    unsigned order = 0;

    while (order < PMM_ORDERS && (size_t)PGSIZE << order < size)
        order++;
    return order;
}

static uint8_t
state_of(const void *p)
{
    size_t i = frame_index(ROUNDDOWN(p, PGSIZE));

    return i < frames.n ? frames.state[i] : FRAME_NONE;
}

/* p is in the heap, and its header says so. */
static bool
is_of_heap(const void *p)
{
    const struct block *b = (const void *)((const char *)p - BLOCK_HEADER);

    for (const struct region *r = heap.regions; r; r = r->next)
        if ((uint64_t)p - (uint64_t)r < r->size)
            return b->tag == block_tag(b, b->size, BLOCK_USED);
    return false;
}

/* kmalloc(size) has returned p: is it from where it should be, and of the right size? */
static void
check_piece(const char *p, size_t size)
{
    const struct span *first = chunk_of(p);
    size_t there;

    EXPECT((uint64_t)p % 16 == 0, "found %p: expected a multiple of 16", p);
    if (is_large(size)) {
        unsigned order = order_of(size);
        there = (size_t)PGSIZE << order;
        EXPECT(!first && (uint64_t)p % PGSIZE == 0, "found %p: expected a block of the pmm", p);
        EXPECT(state_of(p) == FRAME_LARGE + order,
               "found %p, where the state of the page is 0x%x: expected a block of order %u, "
               "FRAME_LARGE + %u",
               p, state_of(p), order, order);
    } else if (KMALLOC_HEAP) {
        EXPECT(!first && is_of_heap(p), "found %p: expected memory of the heap", p);
        there = ((const struct block *)(const void *)(p - BLOCK_HEADER))->size - BLOCK_HEADER;
    } else {
        const struct slab *slab = slab_by_size[(size - 1) / SLAB_ALIGN];
        EXPECT(first && first->slab == slab,
               "found %p: expected an object of slab_by_size[%lu], which has %u-byte objects", p,
               (size - 1) / SLAB_ALIGN, slab->size);
        EXPECT((size_t)(p - first->base) % slab->size == 0, "found %p, in the middle of an object",
               p);
        there = slab->size;
    }
    check_doing("kmalloc_size of what kmalloc(%lu) returned", size);
    size_t found = kmalloc_size(p);
    EXPECT(found == there, "expected %lu, found %lu%s", there, found,
           found == 0 ? ": write kmalloc_size in kern/slab.c" : "");
}

/* Could a block for this size be had from the pmm? */
static bool
could_be_had(size_t size)
{
    unsigned order = order_of(size + (is_large(size) ? 0 : sizeof(struct region) + BLOCK_HEADER));
    uint64_t pa = order < PMM_ORDERS ? pmm_alloc(order) : 0;

    if (pa != 0)
        pmm_free(pa, order);
    return pa != 0;
}

/* kmalloc(size), which is expected to succeed if there is memory. */
static void
get(size_t size)
{
    check_doing("kmalloc(%lu)", size);
    char *p = kmalloc(size);
    if (!p) {
        EXPECT(!could_be_had(size), "expected memory, found NULL");
        return;
    }
    for (size_t i = 0; i < npieces; i++)
        EXPECT(p >= pieces[i].p + pieces[i].size || pieces[i].p >= p + size,
               "found %p, within %lu bytes at %p that are in use", p, pieces[i].size, pieces[i].p);
    check_piece(p, size);
    fill(p, size, npieces);
    pieces[npieces++] = (struct piece){p, size};
}

static void
get_none(size_t size)
{
    check_doing("kmalloc(0x%lx)", size);
    const char *p = kmalloc(size);
    EXPECT(!p, "expected NULL, found %p", p);
}

/* A size at random: as many small ones as large ones. */
static size_t
any_size(unsigned bits)
{
    return 1 + check_random_below(1UL << (1 + check_random_below(bits)));
}

/* ---- what is in use ---- */

/* A number that changes when anything of kmalloc's memory is handed out or comes back. */
static uint64_t
memory_state(void)
{
    uint64_t sum = kmem.count * 3;

    for (const struct zone *z = zones; z < zones + nzones; z++)
        sum += z->free * 3;
    for (const struct region *r = heap.regions; r; r = r->next)
        sum += (r->size - heap_free_bytes(r)) << 32;
    for (const struct slab *slab = slabs; slab; slab = slab->next)
        sum = sum * 31 + slab_in_use(slab) + slab->chunks;
    return sum;
}

static void
need_kmalloc(void)
{
    need_pmm();
    check_finally(kmalloc_end);
    check_doing("kmalloc(100)");
    pieces[npieces].p = kmalloc(100);
    EXPECT(pieces[npieces].p, "expected memory, found NULL: write kmalloc in kern/slab.c");
    pieces[npieces++].size = 100;
}

static void
check_contents(const char *when)
{
    check_doing("%s", "");
    for (size_t i = 0; i < npieces; i++)
        expect_filled(pieces[i].p, pieces[i].size, i, when);
}

/* Until there is nothing of this size any more; then all is given back. */
static void
until_none(size_t size, void **list)
{
    void *p;

    check_doing("kmalloc(%lu), until there is no memory", size);
    while ((p = kmalloc(size)) != NULL) {
        EXPECT(size <= HEAP_MAX && !is_large(size), "expected NULL, found %p", p);
        memcpy(p, list, sizeof(*list));
        *list = p;
    }
}

CHECK(kmalloc)
{
    static const size_t none[] = {0,
                                  KMALLOC_MAX + 1,
                                  KMALLOC_MAX + PGSIZE,
                                  1UL << 31,
                                  1UL << 32,
                                  0x100000010,
                                  1UL << 63,
                                  -1UL,
                                  -8UL,
                                  -15UL,
                                  -16UL,
                                  -17UL,
                                  -32UL,
                                  -100UL,
                                  -4096UL,
                                  -4095UL,
                                  -4097UL,
                                  -0x400000UL};
    static const size_t large[] = {2 * SLAB_MAX,   PGSIZE + 1, 2 * PGSIZE - 1, 2 * PGSIZE,
                                   2 * PGSIZE + 1, 100000,     0x10000,        0x10001,
                                   0xfffff,        0x100000,   0x100001};
    static const size_t largest[] = {KMALLOC_MAX / 2, KMALLOC_MAX / 2 + 1, HEAP_MAX - 1, HEAP_MAX,
                                     HEAP_MAX + 1,    KMALLOC_MAX - 1,     KMALLOC_MAX};

    need_kmalloc();
    fill(pieces[0].p, pieces[0].size, 0);
    check_piece(pieces[0].p, 100);
    uint64_t state = memory_state();
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        get_none(none[i]);
    EXPECT(memory_state() == state, "kmalloc returned NULL, but took memory");

    for (size_t i = 0; i < ARRAY_SIZE(slab_by_size); i++) {
        size_t size = (i + 1) * SLAB_ALIGN;
        if (i + 1 == ARRAY_SIZE(slab_by_size) || slab_by_size[i] != slab_by_size[i + 1]) {
            get(size - 1);
            get(size);
            get(size + 1);
        }
    }
    for (size_t size = 1; size < 20; size += 2)
        get(size);
    check_contents("by a later kmalloc");
    for (size_t i = 0; i < ARRAY_SIZE(large); i++)
        get(large[i]);
    for (size_t i = 0; i < 200; i++)
        get(any_size(13));
    check_contents("by a later kmalloc");
    kmalloc_end();
    for (size_t i = 0; i < ARRAY_SIZE(largest); i++) {
        get(largest[i]);
        kmalloc_end();
    }

    check_doing("kmalloc_size(NULL)");
    size_t found = kmalloc_size(NULL);
    EXPECT(found == 0, "expected 0, found %lu", found);
    struct cache *c = cache_new(600, 0);
    check_finally(kmalloc_end);
    char *p = cache_alloc(c);
    check_doing("kmalloc_size of an object of %u bytes from slab_alloc", c->slab->size);
    found = kmalloc_size(p);
    EXPECT(found == c->slab->size, "expected %u, found %lu", c->slab->size, found);
    cache_end();

    void *list = NULL;
    memory_take();
    until_none(KMALLOC_MAX, &list);
    until_none(SLAB_MAX + 1, &list);
    for (size_t size = 1000; size > 0; size /= 3)
        until_none(MAX(size, sizeof(list)), &list);
    memory_give();
    while (list) {
        p = list;
        memcpy(&list, p, sizeof(list));
        kmfree(p);
    }
    get(1000);
    get(3 * PGSIZE);
    kmalloc_end();
}

/* ---- kzalloc ---- */

static void
zeroed(size_t size)
{
    char *p[3];

    for (size_t i = 0; i < 3; i++) {
        check_doing("kmalloc(%lu)", size);
        p[i] = kmalloc(size);
        EXPECT(p[i], "expected memory, found NULL");
        memset(p[i], 0xa5, size);
        pieces[npieces++] = (struct piece){p[i], size};
    }
    kmfree(p[1]);
    pieces[npieces - 2] = pieces[npieces - 1];
    npieces--;
    check_doing("kzalloc(%lu)", size);
    const char *z = kzalloc(size);
    EXPECT(z, "expected memory, found NULL: write kzalloc in kern/slab.c");
    pieces[npieces++] = (struct piece){(char *)(uint64_t)z, size};
    check_piece(z, size);
    check_doing("kzalloc(%lu)", size);
    for (size_t i = 0; i < size; i++)
        EXPECT(z[i] == 0, "byte %lu is 0x%x: expected 0", i, (uint8_t)z[i]);
    for (size_t i = 0; i < 3; i += 2)
        EXPECT((uint8_t)p[i][0] == 0xa5 && (uint8_t)p[i][size - 1] == 0xa5,
               "it has written into the memory of somebody else, at %p", p[i]);
    kmalloc_end();
}

/* Memory from the pmm is not clean. */
static void
soil(void)
{
    for (unsigned order = 0; order < 7; order++) {
        uint64_t pa = pmm_alloc(order);
        if (pa != 0) {
            memset(P2V(pa), 0xa5, (size_t)PGSIZE << order);
            pmm_free(pa, order);
        }
    }
}

CHECK(kzalloc)
{
    static const size_t sizes[] = {1, 7, 16, 17, 48, 100, 321, 1024, 2048, 2049, 4096, 5000, 20000};

    need_kmalloc();
    soil();
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        zeroed(sizes[i]);
    zeroed(any_size(12));
    for (size_t i = 0; i < 3; i++) {
        size_t size = i == 0 ? 0 : i == 1 ? KMALLOC_MAX + 1 : -100UL;
        check_doing("kzalloc(0x%lx)", size);
        const char *p = kzalloc(size);
        EXPECT(!p, "expected NULL, found %p", p);
    }
    memory_take();
    check_doing("kzalloc(%d) without memory", 3 * PGSIZE);
    const char *p = NULL;
    void *list = NULL;
    if (!KMALLOC_HEAP)
        p = kzalloc(3 * PGSIZE);
    EXPECT(!p, "expected NULL, found %p", p);
    until_none(100, &list);
    check_doing("kzalloc(100) without memory");
    p = kzalloc(100);
    EXPECT(!p, "expected NULL, found %p", p);
    memory_give();
    while (list) {
        void *next;
        memcpy(&next, list, sizeof(next));
        kmfree(list);
        list = next;
    }
}

/* ---- kmfree ---- */

static void
put(size_t i)
{
    struct piece piece = pieces[i];

    check_doing("kmfree(%p), of %lu bytes", piece.p, piece.size);
    expect_filled(piece.p, piece.size, i, "while it was in use");
    pieces[i] = pieces[--npieces];
    kmfree(piece.p);
    EXPECT(!is_large(piece.size) || FRAME_KIND(state_of(piece.p)) != FRAME_LARGE,
           "the block is still in use");
    if (i < npieces)
        fill(pieces[i].p, pieces[i].size, i);
}

static void
refuse(void *p, const char *why)
{
    check_doing("kmfree(%p)", p);
    uint64_t state = memory_state();
    uint8_t frame = state_of(p);
    cache_refuses(NULL, call_kmfree, p, why);
    EXPECT(memory_state() == state && state_of(p) == frame,
           "it panicked, but had changed something before");
}

/* Memory of this size, and what is in it; twice. */
static void
refuse_of(size_t size)
{
    check_doing("kmalloc(%lu)", size);
    char *p = kmalloc(size), *other = kmalloc(size);
    if (!p || !other) {
        kmfree(p);
        kmfree(other);
        return;
    }
    memset(p, 0, size);
    memset(other, 0, size);
    refuse(p + 1, "is in the middle of what is in use");
    refuse(p + 8, "is in the middle of what is in use");
    if (size > 16)
        refuse(p + 16, "is in the middle of what is in use");
    if (size > 100)
        refuse(p + ROUNDDOWN(check_random_below(size - 32) + 16, 16),
               "is in the middle of what is in use");
    if (size > PGSIZE)
        refuse(p + PGSIZE, "is in the middle of what is in use");
    if (size > PGSIZE)
        refuse(p + size - 1, "is in the middle of what is in use");
    check_doing("kmfree(%p), of %lu bytes", p, size);
    kmfree(p);
    refuse(p, "is free already");
    refuse(p + 1, "is in the middle of what is free");
    check_doing("kmfree(%p), of %lu bytes", other, size);
    kmfree(other);
    refuse(other, "is free already");
    refuse(p, "is free already");
}

static char in_the_image[64] __attribute__((aligned(16)));

static void
refuse_foreign(void)
{
    char on_the_stack[32] __attribute__((aligned(16)));
    char *p = kalloc();

    if (p) {
        refuse(p, "is a page that kalloc gave");
        refuse(p + 64, "is in a page that kalloc gave");
        kfree(p);
        refuse(p, "is a page that nobody has");
    }
    uint64_t pa = pmm_alloc(2);
    if (pa != 0) {
        refuse(P2V(pa), "is a block that pmm_alloc gave");
        refuse(P2V(pa + PGSIZE), "is in a block that pmm_alloc gave");
        page_share(pa);
        refuse(P2V(pa), "is a block that several use");
        page_unshare(pa);
        pmm_free(pa, 2);
        refuse(P2V(pa), "is a block that nobody has");
    }
    refuse(in_the_image, "is a variable of the kernel");
    refuse(on_the_stack, "is on the stack");
    p = pieces[0].p;
    refuse((void *)V2P(p), "is a physical address");
    refuse((void *)(V2P(p) | 1UL << 48), "is no address of the linear map");
    refuse(P2V(V2P(p) + (1UL << 40)), "is no address of RAM");
    refuse(P2V(PHYSTOP), "is no address of RAM");
    refuse((void *)-16UL, "is no address of RAM");
    refuse((void *)16, "is no address of RAM");
}

/* Objects of slab_alloc's. */
static void
free_objects(void)
{
    struct cache *c = cache_new(300, 64);

    check_finally(kmalloc_end);
    while (c->nchunks < 3)
        cache_alloc(c);
    while (c->in_use > 0) {
        void *p = cache_pick(c);
        const struct span *kept = c->slab->empty;
        check_doing("kmfree(%p), of an object from slab_alloc", p);
        kmfree(p);
        cache_freed(c, p, kept);
        cache_refuses(c, call_kmfree, p, "is free already");
    }
    cache_end();
}

CHECK(kmfree)
{
    need_kmalloc();
    uint64_t state = memory_state();
    check_doing("kmfree(%p), of 100 bytes", pieces[0].p);
    kmfree(pieces[--npieces].p);
    EXPECT(memory_state() != state, "nothing has changed: write kmfree in kern/slab.c");
    state = memory_state();
    check_doing("kmfree(NULL)");
    kmfree(NULL);
    EXPECT(memory_state() == state, "expected nothing to change");

    slabs_trim();
    state = memory_state();
    for (size_t turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < 100; i++) {
            get(any_size(turn == 0 ? 11 : 14));
            if (check_random_below(3) == 0)
                put(check_random_below(npieces));
        }
        while (npieces > 0)
            put(check_random_below(npieces));
        slabs_trim();
        EXPECT(memory_state() == state,
               "everything is free again: expected as many free pages and objects as before");
    }
    free_objects();

    static const size_t sizes[] = {16, 48, 100, 700, 2048, 2049, 5000, 30000, 100000};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        refuse_of(sizes[i]);
    get(200);
    refuse_foreign();
    kmalloc_end();
}
