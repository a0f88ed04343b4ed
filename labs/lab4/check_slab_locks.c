/*
 * Lab 4's check of the locks: each function takes the one that its data has, gives it back on every path,
 * with the interrupt mask as it was, and has none when it panics.
 */
#include "cache.h"
#include "check.h"
#include "heap.h"
#include "kmalloc.h"
#include "lab4.h"
#include "pmm.h"
#include "spinlock.h"
#include "string.h"
#include "sysreg.h"
#include "vmalloc.h"

/* Bits of DAIF: IRQs and FIQs are masked (ARM ARM C5.2.2). */
#define MASK_I 0x80UL
#define MASK_F 0x40UL

struct call {
    const char *name;
    void (*call)(void *p);
    void **p;              /* what it is called with */
    struct spinlock *lock; /* must be taken; NULL: need not be */
};

/* What there is before each call: see the functions that begin with start_. */
static uint64_t region __attribute__((section(".data")));
static struct slab *slab;
static void *in_use, *last, *is_free, *damaged;                        /* of the heap */
static void *ready, *fresh, *of_full, *of_other, *spare, *behind;      /* of caches */
static void *small, *large, *small_free, *small_inside, *large_inside; /* of kmalloc's */
static void *area, *area_inside, *made;                                /* of vmalloc's */

static char foreign[64] __attribute__((aligned(16)));
static void *nobodys = foreign;

static void
locks_end(void)
{
    const char *name;

    spinlocks_reset(&name);
    cache_end();
    heap_restore();
    if (region != 0)
        pmm_free(region, HEAP_ORDER);
    region = 0;
    pages_back();
}

/* ---- the heap: 16 pages of its own ---- */

static void
call_mem_init(void *p)
{
    (void)p;
    mem_init(region, region + HEAP_PAGES * PGSIZE);
}

static void
call_mem_init_empty(void *p)
{
    (void)p;
    mem_init(region, region);
}

static void
call_heap_alloc(void *p)
{
    (void)p;
    heap_alloc(300);
}

/* The heap grows for it, and shrinks again. */
static void
call_heap_grow(void *p)
{
    p = heap_alloc(HEAP_PAGES * PGSIZE);
    if (p)
        heap_free(p);
}

static void
call_heap_alloc_none(void *p)
{
    (void)p;
    memory_take();
    heap_alloc(HEAP_PAGES * PGSIZE);
    memory_give();
}

static void
call_heap_alloc_huge(void *p)
{
    (void)p;
    heap_alloc(HEAP_MAX + 1);
}

static void
call_heap_alloc_0(void *p)
{
    (void)p;
    heap_alloc(0);
}

static void
call_heap_size(void *p)
{
    heap_size(p);
}

static void
start_heap(void)
{
    mem_init(region, region + HEAP_PAGES * PGSIZE);
    damaged = heap_alloc(100);
    is_free = heap_alloc(100);
    in_use = heap_alloc(100);
    last = heap_alloc(100);
    heap_free(is_free);
    ((struct block *)(void *)((char *)damaged - BLOCK_HEADER))->tag ^= 1;
}

/* The first free block has lost its header. */
static void
call_heap_alloc_damaged(void *p)
{
    ((struct block *)(void *)((char *)p - BLOCK_HEADER))->tag ^= 1;
    heap_alloc(50);
}

static void
stop_heap(void)
{
}

static const struct call heap_calls[] = {
    {"mem_init", call_mem_init, &nobodys, &heap_lock},
    {"mem_init of an empty heap", call_mem_init_empty, &nobodys, NULL},
    {"heap_alloc(300)", call_heap_alloc, &nobodys, &heap_lock},
    {"heap_alloc(65536), for which the heap grows", call_heap_grow, &nobodys, &heap_lock},
    {"heap_alloc(65536) without memory", call_heap_alloc_none, &nobodys, &heap_lock},
    {"heap_alloc of more than HEAP_MAX", call_heap_alloc_huge, &nobodys, NULL},
    {"heap_alloc(0)", call_heap_alloc_0, &nobodys, NULL},
    {"heap_size", call_heap_size, &in_use, NULL},
    {"heap_free", heap_free, &in_use, &heap_lock},
    {"heap_free of the last block", heap_free, &last, &heap_lock},
};

static const struct call heap_panics[] = {
    {"heap_free of what is free", heap_free, &is_free, NULL},
    {"heap_free of what has lost its header", heap_free, &damaged, NULL},
    {"heap_free of what is not in the heap", heap_free, &nobodys, NULL},
    {"heap_alloc, when the first free block has lost its header", call_heap_alloc_damaged, &is_free,
     NULL},
};

/* ---- caches ---- */

static void
call_create_none(void *p)
{
    EXPECT(!slab_create(p, 0, 0), "expected NULL");
}

static void
call_slab_alloc(void *p)
{
    slab_alloc(p);
}

static void
call_slab_alloc_none(void *p)
{
    memory_take();
    slab_alloc(p);
    memory_give();
}

static void
call_slab_free(void *p)
{
    slab_free(slab, p);
}

/* Two objects of one chunk, and one of another: that chunk or this goes back. */
static void
call_slab_free_all(void *p)
{
    slab_free(slab, p);
    slab_free(slab, (char *)p + slab->size);
    slab_free(slab, of_other);
}

static void
call_slab_destroy(void *p)
{
    slab_destroy(p);
}

/* From its beginning to its end. */
static void
call_create_destroy(void *p)
{
    struct slab *new = slab_create(p, 100, 0);

    if (new) {
        slab_free(new, slab_alloc(new));
        slab_destroy(new);
    }
}

/* Two objects to a chunk: one chunk is full, of another one object is in use. */
static void
start_slab(void)
{
    struct cache *c = cache_new(2048, 0), *none = cache_new(2048, 0), *rest = cache_new(48, 0);

    slab = c->slab;
    ready = slab;
    fresh = none->slab;
    of_full = cache_alloc(c);
    spare = cache_alloc(c);
    if (of_full > spare)
        of_full = spare;
    of_other = cache_alloc(c);
    spare = (void *)((uint64_t)of_other ^ 2048);
    behind = cache_alloc(rest);
    behind = rest->chunks[0].base + rest->slab->objects * rest->slab->size;
}

static void
stop_slab(void)
{
    cache_end();
}

static const struct call slab_calls[] = {
    {"slab_create and slab_destroy", call_create_destroy, &nobodys, &slab_lock},
    {"slab_create of what cannot be", call_create_none, &nobodys, NULL},
    {"slab_alloc", call_slab_alloc, &ready, &slab_lock},
    {"slab_alloc with a new chunk", call_slab_alloc, &fresh, &slab_lock},
    {"slab_alloc without memory", call_slab_alloc_none, &fresh, &slab_lock},
    {"slab_free of an object of a chunk that is full", call_slab_free, &of_full, &slab_lock},
    {"slab_free of a chunk's last object", call_slab_free, &of_other, &slab_lock},
    {"slab_free of all objects of two chunks", call_slab_free_all, &of_full, &slab_lock},
};

static const struct call slab_panics[] = {
    {"slab_free of what is free", call_slab_free, &spare, NULL},
    {"slab_free of what is behind the last object of another cache", call_slab_free, &behind, NULL},
    {"kmfree of what is behind the last object", kmfree, &behind, NULL},
    {"slab_free of what is nobody's", call_slab_free, &nobodys, NULL},
    {"slab_destroy while an object is in use", call_slab_destroy, &ready, NULL},
};

/* ---- kmalloc ---- */

static void
call_kmalloc(void *p)
{
    made = p;
    made = kmalloc(100);
}

static void
call_kmalloc_large(void *p)
{
    made = p;
    made = kmalloc(HEAP_MAX + 1);
}

static void
call_kmalloc_0(void *p)
{
    made = p;
    made = kmalloc(0);
}

static void
call_kmalloc_huge(void *p)
{
    made = p;
    made = kmalloc(-100UL);
}

static void
call_kmalloc_none(void *p)
{
    memory_take();
    made = p;
    made = kmalloc(3 * PGSIZE);
    memory_give();
}

static void
call_kzalloc(void *p)
{
    made = p;
    made = kzalloc(100);
}

static void
call_kmalloc_size(void *p)
{
    kmalloc_size(p);
}

static void
call_kmfree(void *p)
{
    kmfree(p);
}

static void
start_kmalloc(void)
{
    made = NULL;
    small = kmalloc(100);
    small_free = kmalloc(100);
    large = kmalloc(5 * PGSIZE);
    EXPECT(small && small_free && large,
           "expected memory, found NULL: write kmalloc in kern/slab.c first");
    small_inside = (char *)small + 16;
    large_inside = (char *)large + PGSIZE;
    memset(small, 0, 100);
    memset(large, 0, 5 * PGSIZE);
    kmfree(small_free);
}

static void
stop_kmalloc(void)
{
    void *all[] = {small, large, made};
    const char *name;

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (all[i])
            check_panics(call_kmfree, all[i]); /* what has been freed panics */
    spinlocks_reset(&name);
}

#define KMALLOC_LOCK (KMALLOC_HEAP ? &heap_lock : &slab_lock)

static const struct call kmalloc_calls[] = {
    {"kmalloc(100)", call_kmalloc, &nobodys, KMALLOC_LOCK},
    {"kmalloc of HEAP_MAX + 1 bytes", call_kmalloc_large, &nobodys, NULL},
    {"kmalloc(0)", call_kmalloc_0, &nobodys, NULL},
    {"kmalloc(2^64 - 100)", call_kmalloc_huge, &nobodys, NULL},
    {"kmalloc without memory", call_kmalloc_none, &nobodys, NULL},
    {"kzalloc(100)", call_kzalloc, &nobodys, KMALLOC_LOCK},
    {"kmalloc_size of 100 bytes", call_kmalloc_size, &small, NULL},
    {"kmalloc_size of 5 pages", call_kmalloc_size, &large, NULL},
    {"kmfree of 100 bytes", call_kmfree, &small, KMALLOC_LOCK},
    {"kmfree of 5 pages", call_kmfree, &large, KMALLOC_HEAP ? &heap_lock : &pmm_lock},
};

static const struct call kmalloc_panics[] = {
    {"kmfree of what is free", call_kmfree, &small_free, NULL},
    {"kmfree of the middle of 100 bytes", call_kmfree, &small_inside, NULL},
    {"kmfree of the middle of 5 pages", call_kmfree, &large_inside, NULL},
    {"kmfree of what is nobody's", call_kmfree, &nobodys, NULL},
};

/* ---- vmalloc ---- */

static void
call_vmalloc(void *p)
{
    made = p;
    made = vmalloc(3 * PGSIZE);
}

static void
call_vmalloc_none(void *p)
{
    memory_take();
    made = p;
    made = vmalloc(3 * PGSIZE);
    memory_give();
}

static void
call_vmalloc_0(void *p)
{
    made = p;
    made = vmalloc(0);
}

static void
call_vmalloc_odd(void *p)
{
    made = p;
    made = vmalloc_aligned(PGSIZE, 3 * PGSIZE);
}

static void
call_vmalloc_huge(void *p)
{
    made = p;
    made = vmalloc(VMALLOC_STOP - VMALLOC_START);
}

static void
start_vmalloc(void)
{
    made = NULL;
    area = vmalloc(2 * PGSIZE);
    EXPECT(area, "expected an area, found NULL: write vmalloc_aligned in kern/vmalloc.c");
    area_inside = (char *)area + PGSIZE;
}

static void
stop_vmalloc(void)
{
    const char *name;

    if (made)
        check_panics(vfree, made);
    check_panics(vfree, area); /* it panics if that was done */
    spinlocks_reset(&name);
}

static const struct call vmalloc_calls[] = {
    {"vmalloc of 3 pages", call_vmalloc, &nobodys, &vmalloc_lock},
    {"vmalloc without memory", call_vmalloc_none, &nobodys, NULL},
    {"vmalloc(0)", call_vmalloc_0, &nobodys, NULL},
    {"vmalloc_aligned to 3 pages", call_vmalloc_odd, &nobodys, NULL},
    {"vmalloc of all there is room for, and a page", call_vmalloc_huge, &nobodys, NULL},
    {"vfree", vfree, &area, &vmalloc_lock},
};

static const struct call vmalloc_panics[] = {
    {"vfree of the middle of an area", vfree, &area_inside, NULL},
    {"vfree of what is no area", vfree, &nobodys, NULL},
};

/* ---- calling them ---- */

static uint64_t
mask_before(bool mask_fiq)
{
    return (read_sysreg(daif) & ~MASK_F) | MASK_I | (mask_fiq ? MASK_F : 0);
}

/* One call. IRQs are masked all the time, as nobody takes them yet; of FIQs there are none. */
static void
check_call(const struct call *call, bool mask_fiq)
{
    uint64_t before = mask_before(mask_fiq);
    uint16_t ticket = call->lock ? call->lock->next : 0;
    const char *name = "";

    check_doing("%s", call->name);
    write_sysreg(daif, before);
    call->call(*call->p);
    uint64_t after = read_sysreg(daif);
    write_sysreg(daif, before | MASK_F);
    size_t held = spinlocks_reset(&name);
    EXPECT(held == 0, "%s is %s", name,
           held > 1 ? "left in disorder, and another lock too: expected spin_lock and spin_unlock "
                      "of the same one"
                    : "still locked: expected spin_unlock before each return");
    EXPECT(after == before,
           "the interrupt mask (DAIF): expected 0x%lx as before, found 0x%lx: give spin_unlock "
           "what spin_lock returned",
           before, after);
    EXPECT(!call->lock || call->lock->next != ticket, "it never took %s: expected spin_lock(&%s)",
           call->lock->name, call->lock->name);
}

/* One that panics. heap_alloc may, when the block it comes to has lost its header, but need not. */
static void
check_panic(const struct call *call)
{
    uint64_t mask = read_sysreg(daif);
    const char *name = "";

    check_doing("%s", call->name);
    const char *message = check_panics(call->call, *call->p);
    size_t held = spinlocks_reset(&name);
    write_sysreg(daif, mask);
    EXPECT(message || call->call == call_heap_alloc_damaged, "it returned: expected a panic");
    EXPECT(held == 0, "it panicked while %s was locked: expected spin_unlock before", name);
}

static void
check_group(void (*start)(void), void (*stop)(void), const struct call *calls, size_t n,
            const struct call *panics, size_t npanics)
{
    for (size_t i = 0; i < n; i++)
        for (size_t turn = 0; turn < 2; turn++) {
            start();
            check_finally(locks_end);
            check_call(&calls[i], turn);
            stop();
        }
    for (size_t i = 0; i < npanics; i++) {
        start();
        check_finally(locks_end);
        check_panic(&panics[i]);
        stop();
    }
}

#define CHECK_GROUP(name)                                                                         \
    check_group(start_##name, stop_##name, name##_calls, ARRAY_SIZE(name##_calls), name##_panics, \
                ARRAY_SIZE(name##_panics))

/* All of them do something. */
static void
need_all(void)
{
    need_slab_free();
    check_finally(locks_end);
    region = pmm_alloc(HEAP_ORDER);
    EXPECT(region != 0, "pmm_alloc(%d): expected a block, found 0", HEAP_ORDER);
    heap_save();
    call_mem_init(NULL);
    check_doing("heap_alloc(100)");
    void *p = heap_alloc(100);
    EXPECT(p, "expected memory, found NULL: write mem_init and heap_alloc in kern/heap.c");
    check_doing("heap_free(%p)", p);
    size_t free = heap_free_bytes(heap.first);
    heap_free(p);
    EXPECT(heap_free_bytes(heap.first) > free,
           "the block is still in use: write heap_free in kern/heap.c");
    heap_restore();
    check_doing("kmalloc(100)");
    start_kmalloc();
    stop_kmalloc();
    need_cache();
    check_doing("vmalloc(2 * PGSIZE)");
    start_vmalloc();
    check_doing("vfree(%p)", area);
    vfree(area);
    const struct area *a = areas;
    while (a && a->start != (uint64_t)area)
        a = a->next;
    EXPECT(!a, "the area is still there: write vfree in kern/vmalloc.c");
}

CHECK(heap_locks)
{
    need_all();
    heap_save();
    CHECK_GROUP(heap);
    heap_restore();
    CHECK_GROUP(slab);
    CHECK_GROUP(kmalloc);
    CHECK_GROUP(vmalloc);
}
