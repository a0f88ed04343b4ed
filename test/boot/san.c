/*
 * Mistakes with memory, one for each boot of a kernel that is built with SAN=1 or DEBUG=1: linked instead of
 * kern/scratch.c by test_san.py, and chosen by the boot argument try=NAME. What is touched wrongly is reached
 * through a pointer that the compiler knows nothing about, or UBSan would notice first.
 */
#include "bootinfo.h"
#include "console.h"
#include "kalloc.h"
#include "memlayout.h"
#include "scratch.h"
#include "string.h"
#if LAB >= 4
#include "kmalloc.h"
#include "slab.h"
#endif

/* The same pointer. */
static char *
hidden(void *p)
{
    __asm__("" : "+r"(p));
    return p;
}

#define SEED static __attribute__((noinline)) void

static char pad[8];
static char name[10] = "bramble";
static uint64_t table[5];

/* ---- Global variables ---- */

SEED
global_write(void)
{
    hidden(name)[sizeof(name)] = 1;
}

SEED
global_read(void)
{
    cprintf("%d\n", hidden(table)[sizeof(table) + 3]);
}

SEED
global_before(void)
{
    hidden(table)[-1] = 1;
}

SEED
global_memset(void)
{
    memset(hidden(name), 0, sizeof(name) + 1);
}

SEED
global_memcpy(void)
{
    memcpy(hidden(pad), hidden(table), sizeof(pad) + 1);
}

SEED
global_memmove(void)
{
    memmove(hidden(table), hidden(name), sizeof(name) + 4);
}

SEED
global_strlen(void)
{
    memset(name, 'x', sizeof(name));
    cprintf("%lu\n", strlen(hidden(name)));
}

SEED
global_strlcpy(void)
{
    strlcpy(hidden(name), "0123456789", 20);
}

SEED
string_literal(void)
{
    cprintf("%d\n", hidden((void *)(uintptr_t) "four")[5]);
}

/* ---- Pages ---- */

SEED
drop_page(char *page)
{
    kfree(page);
}

static __attribute__((noinline)) char *
take_page(void)
{
    return hidden(kalloc());
}

SEED
page_write(void)
{
    char *page = take_page();

    drop_page(page);
    page[100] = 1;
}

SEED
page_read(void)
{
    char *page = take_page();

    drop_page(page);
    cprintf("%lu\n", *(uint64_t *)(void *)(page + 4088));
}

SEED
page_twice(void)
{
    char *page = take_page();

    drop_page(page);
    drop_page(page);
}

SEED
page_wild(void)
{
    hidden(P2V(PHYSTOP / 2))[5] = 1;
}

#if LAB >= 3
SEED
block_read(void)
{
    uint64_t pa = pmm_alloc(2);

    if (pa != 0 && pmm_free(pa, 2) == 0)
        cprintf("%d\n", hidden(P2V(pa))[2 * PGSIZE + 7]);
}
#endif

/* ---- Objects ---- */

#if LAB >= 4
static __attribute__((noinline)) char *
make_object(size_t size)
{
    return hidden(kmalloc(size));
}

SEED
drop_object(void *p)
{
    kmfree(p);
}

SEED
heap_write(void)
{
    char *p = make_object(100);

    p[100] = 1;
    drop_object(p);
}

SEED
heap_read(void)
{
    cprintf("%d\n", make_object(24)[24]);
}

SEED
heap_far(void)
{
    char *p = make_object(5000);

    p[5011] = 1;
    drop_object(p);
}

SEED
heap_before(void)
{
    char *p = make_object(100);

    p[-1] = 1;
    drop_object(p);
}

/* Over the next object's head. */
SEED
heap_through(void)
{
    char *p = make_object(70), *next = make_object(70);

    if (next < p)
        next = p;
    memset(next - 30, 0, 10);
    next[-47] = 1;
    drop_object(next);
}

SEED
heap_memset(void)
{
    char *p = make_object(33);

    memset(p, 0, 34);
    drop_object(p);
}

SEED
heap_memcpy(void)
{
    char *p = make_object(10);

    memcpy(p, hidden(table), 20);
    drop_object(p);
}

SEED
heap_stale_read(void)
{
    char *p = make_object(100);

    drop_object(p);
    cprintf("%d\n", p[16]);
}

/* Seen when the object leaves the queue. */
SEED
heap_stale_write(void)
{
    char *p = make_object(100);

    drop_object(p);
    p[99] = 1;
    for (int i = 0; i < 2000; i++)
        drop_object(make_object(1000));
}

SEED
heap_twice(void)
{
    char *p = make_object(100);

    drop_object(p);
    drop_object(p);
}

/* After the object has left the queue. */
SEED
heap_twice_late(void)
{
    char *p = make_object(100), *large = make_object(0x200000);

    drop_object(p);
    drop_object(large);
    drop_object(p);
}

SEED
heap_inside(void)
{
    drop_object(make_object(100) + 32);
}

SEED
heap_foreign(void)
{
    drop_object(name);
}

SEED
heap_large(void)
{
    char *p = hidden(kzalloc(0x100000));

    p[0x100000] = 1;
    drop_object(p);
}

SEED
cache_write(void)
{
    struct slab *cache = slab_create("tries", 40, 0);
    char *p = hidden(slab_alloc(cache));

    p[40] = 1;
    slab_free(cache, p);
}

SEED
cache_stale_read(void)
{
    struct slab *cache = slab_create("tries", 40, 64);
    char *p = hidden(slab_alloc(cache));

    slab_free(cache, p);
    cprintf("%d\n", p[0]);
}

SEED
cache_twice(void)
{
    struct slab *cache = slab_create("tries", 40, 64);
    char *p = hidden(slab_alloc(cache));

    slab_free(cache, p);
    slab_free(cache, p);
}

SEED
leak(void)
{
    for (int i = 0; i < 7; i++)
        (void)make_object(300);
    (void)hidden(kzalloc(50));
    drop_object(make_object(1000));
    leaks("");
}

/* More than there is: the queue has to give its memory back. */
SEED
exhaust(void)
{
    char *p, *all = NULL;
    size_t n[2] = {0, 0};

    for (int round = 0; round < 2; round++) {
        while ((p = make_object(40000))) {
            *(char **)(void *)p = all;
            all = p;
            n[round]++;
        }
        for (; all; all = p) {
            p = *(char **)(void *)all;
            drop_object(all);
        }
    }
    cprintf("%lu, %lu\n", n[0], n[1]);
    if (n[0] == n[1] && n[0] > 100)
        cprintf("as many again\n");
}

static void
construct(void *p)
{
    *(uint64_t *)p = 0x5ca1ab1e;
}

SEED
objects_right(void)
{
    static const size_t sizes[] = {1, 7, 8, 16, 100, 2048, 5000, 0x3fff00, 0x400000};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char *p = make_object(sizes[i]);
        memset(p, 1, sizes[i]);
        if (kmalloc_size(p) < sizes[i] || (uint64_t)p % 16 != 0)
            panic("%p has %lu bytes", p, kmalloc_size(p));
        drop_object(p);
    }
    drop_object(NULL);
    if (kmalloc(0) || kmalloc(0x400001) || kmalloc(SIZE_MAX) || kmalloc(SIZE_MAX - 15))
        panic("kmalloc gave what it cannot give");

    static const size_t aligns[] = {0, 16, 64, 512, 4096};
    for (size_t i = 0; i < ARRAY_SIZE(aligns); i++) {
        struct slab *cache = slab_create("tries", 200, aligns[i]);
        char *p[50];
        for (size_t k = 0; k < ARRAY_SIZE(p); k++) {
            p[k] = hidden(slab_alloc(cache));
            memset(p[k], 1, 200);
            if (aligns[i] > 0 && (uint64_t)p[k] % aligns[i] != 0)
                panic("%p is no multiple of %lu", p[k], aligns[i]);
        }
        for (size_t k = 0; k < ARRAY_SIZE(p); k++)
            slab_free(cache, p[k]);
        slab_destroy(cache);
    }
    struct slab *cache = slab_create("constructed", 24, 0);
    cache->construct = construct;
    uint64_t *p = slab_alloc(cache);
    if (*p != 0x5ca1ab1e)
        panic("the constructor's work is lost");
    kmfree(p);
    slab_destroy(cache);
}
#endif

/* ---- All of it done right ---- */

SEED
nothing_wrong(void)
{
    char *page = take_page();

    memset(page, 1, PGSIZE);
    memset(name, 'x', sizeof(name));
    hidden(name)[sizeof(name) - 1] = 0;
    hidden(table)[sizeof(table) - 1] = 1;
    memcpy(hidden(table), name, strlen(name) + 1);
    drop_page(page);
    page = take_page();
    page[PGSIZE - 1] = 1;
    drop_page(page);
}

#define TRY(name)   \
    {               \
#name, name \
    }

static const struct {
    const char *name;
    void (*run)(void);
} tries[] = {
    TRY(global_write),     TRY(global_read),    TRY(global_before),   TRY(global_memset),
    TRY(global_memcpy),    TRY(global_memmove), TRY(global_strlen),   TRY(global_strlcpy),
    TRY(string_literal),   TRY(page_write),     TRY(page_read),       TRY(page_twice),
    TRY(page_wild),
#if LAB >= 3
    TRY(block_read),
#endif
#if LAB >= 4
    TRY(heap_write),       TRY(heap_read),      TRY(heap_far),        TRY(heap_before),
    TRY(heap_through),     TRY(heap_memset),    TRY(heap_memcpy),     TRY(heap_stale_read),
    TRY(heap_stale_write), TRY(heap_twice),     TRY(heap_twice_late), TRY(heap_inside),
    TRY(heap_foreign),     TRY(heap_large),     TRY(cache_write),     TRY(cache_stale_read),
    TRY(cache_twice),      TRY(leak),           TRY(exhaust),         TRY(objects_right),
#endif
    TRY(nothing_wrong),
};

void
scratch(void)
{
    char wanted[40];

    if (!bootarg("try", wanted, sizeof(wanted)))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
        if (strcmp(tries[i].name, wanted) == 0) {
            cprintf("try: %s\n", wanted);
            tries[i].run();
            cprintf("try: nothing happened\n");
            return;
        }
    }
    cprintf("try: there is no %s\n", wanted);
}
