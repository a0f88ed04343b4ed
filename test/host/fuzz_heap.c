/*
 * libFuzzer on heap, caches and kmalloc: the input is one or two banks of memory and a sequence of calls, of kmalloc
 * as of what is below it. objects.c judges.
 */
#include "heap.h"
#include "kalloc.h"
#include "objects.h"
#include "pmm.h"

#define WINDOW    128 /* pages in which the banks are */
#define CALLS_MAX 120
#define CACHES    4

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const uint8_t *input, *input_end;
static struct slab *caches[CACHES];
static uint64_t held[WINDOW]; /* pages that somebody else has */
static size_t nheld;

static uint8_t
byte(void)
{
    return input < input_end ? *input++ : 0;
}

static uint64_t
any_number(void)
{
    uint64_t n = 0;

    for (int i = 0; i < 8; i++) {
        n = n << 8 | byte();
    }
    return n;
}

static size_t
object_size(void)
{
    static const size_t edges[] = {
        0,        SIZE_MAX,     SIZE_MAX - 15, SIZE_MAX - 31, SIZE_MAX - PGSIZE, SLAB_MAX - 1,
        SLAB_MAX, SLAB_MAX + 1, HEAP_MAX,      HEAP_MAX + 1,  KMALLOC_MAX,       KMALLOC_MAX + 1};
    uint8_t how = byte();

    if (how < 100) {
        return how;
    }
    if (how < 190) {
        return (how - 100) * 32UL + byte() % 32;
    }
    if (how < 240) { /* at a page's border, with a header or without */
        return ((how - 190) / 2 + 1UL) * PGSIZE - (how % 2 ? 32 : 0) + byte() % 3 - 1;
    }
    return how < 254 ? edges[how % ARRAY_SIZE(edges)] : any_number();
}

static const struct object *
some_object(void)
{
    size_t i = byte() | (byte() & 3u) << 8;

    return objects.n > 0 ? &objects.list[i % objects.n] : NULL;
}

/* Something that may be an object, or near one, or anything. */
static void *
pointer(void)
{
    const struct object *o = some_object();
    uint8_t how = byte();

    if (how < 100 && o) {
        return o->p;
    }
    if (how < 160 && o) {
        return (void *)((uint64_t)o->p + byte() * (how % 2 ? 16UL : 1) - (how % 3 ? 0 : 64));
    }
    if (how < 250) {
        uint64_t offset = (byte() | (byte() & 127u) << 8) * 16UL;
        return (void *)((uint64_t)P2V(pool_pa(0)) + offset + (how % 8 ? 0 : how));
    }
    return how < 253 ? caches[how % CACHES] : (void *)any_number();
}

static void
free_anything(void)
{
    void *p = pointer();
    uint8_t how = byte();
    struct slab *cache = caches[how % CACHES];
    const struct object *o = objects_at(p);

    if (o && o->is_cache) {
        return; /* it could be done, but then its cache is nobody's */
    }
    if (how < 100) {
        objects_kmfree(p);
    } else if (how < 170) {
        objects_heap_free(p);
    } else if (cache) {
        objects_slab_free(cache, p);
    } else {
        objects_slab_free(slab_by_size[how % ARRAY_SIZE(slab_by_size)], p);
    }
}

static void
free_object(void)
{
    const struct object *o = some_object();

    if (!o || o->is_cache) {
        return;
    }
    if (o->kind == OBJECT_HEAP) {
        objects_heap_free(o->p);
    } else {
        objects_kmfree(o->p);
    }
}

static void
use_cache(void)
{
    uint8_t how = byte();
    struct slab **cache = &caches[how % CACHES];

    if (!*cache) {
        size_t size = how < 240 ? 1 + (how | (byte() & 7u) << 8) % SLAB_MAX : object_size();
        uint8_t align = byte();
        *cache = objects_slab_create("fuzz", size,
                                     align < 200   ? 1UL << align % 14
                                     : align < 230 ? 0
                                                   : any_number());
    } else if (how < 240) {
        for (unsigned n = 1 + how / 4 % 4 * 9; n > 0; n--) {
            objects_slab_alloc(*cache);
        }
    } else if (objects_slab_destroy(*cache)) {
        *cache = NULL;
    }
}

/* Somebody else takes pages, until so many are left, or gives some back. */
static void
use_pages(void)
{
    uint8_t how = byte();

    if (how < 128) {
        while (objects_free_pages() > how / 4u && (held[nheld] = objects_take_page()) != 0) {
            nheld++;
        }
        return;
    }
    for (unsigned n = how - 127u; n > 0 && nheld > 0; n--) {
        size_t i = byte() % nheld;
        objects_give_page(held[i]);
        held[i] = held[--nheld];
    }
}

static void
call(void)
{
    uint8_t what = byte();

    switch (what % 16) {
    case 0:
    case 1:
    case 2:
        objects_kmalloc(object_size(), what & 16);
        break;
    case 3:
        objects_kzalloc(object_size());
        break;
    case 4:
    case 5:
        objects_heap_alloc(object_size());
        break;
    case 6:
        for (size_t n = 1 + what / 16, size = object_size(); n > 0; n--) {
            objects_kmalloc(size, false);
        }
        break;
    case 7:
    case 8:
        use_cache();
        break;
    case 9:
    case 10:
    case 11:
        for (size_t n = 1 + what / 16; n > 0; n--) {
            free_object();
        }
        break;
    case 12:
        free_anything();
        break;
    case 13:
        use_pages();
        break;
    case 14:
        pool_fail(1 + what / 16 % 4);
        what & 128 ? (void)objects_kmalloc(object_size(), false) : use_cache();
        pool_fail(0);
        break;
    default:
        what & 128 ? (void)objects_trim() : objects_refill();
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint64_t bases[] = {0x40000, 0x40000000, 0xfff8000000};
    uint8_t first, n, order;

    input = bytes;
    input_end = bytes + size;
    nheld = 0;
    for (size_t i = 0; i < CACHES; i++) {
        caches[i] = NULL;
    }
    objects_start(ROUNDUP(bases[byte() % ARRAY_SIZE(bases)], PGSIZE << (PMM_ORDERS - 1)), WINDOW);
    first = byte() % 32;
    n = byte() % 64 + 1;
    objects_bank(first, n);
    order = byte() % 8;
    if (n >= 2u << order) {
        objects_heap(order);
    }
    if (byte() % 2) {
        objects_bank(96 + byte() % 2, 1 + byte() % 31);
    }
    objects_thorough = true;
    for (int i = 0; i < CALLS_MAX && input < input_end; i++) {
        call();
    }
    while (nheld > 0) {
        objects_give_page(held[--nheld]);
    }
    objects_end();
    return 0;
}
