/*
 * What operations cost, in instructions that the core executed: `make bench` links this instead of kern/scratch.c.
 * Prints "bench: NAME TOTAL COUNT" for each measurement and switches the machine off; bench.py knows the targets.
 *
 * QEMU counts instructions exactly under -icount shift=0 with one core. Each measurement is a loop; the same loop
 * around nothing is measured as well and taken off.
 */
#include "console.h"
#include "heap.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "kvm.h"
#include "memmap.h"
#include "page.h"
#include "pmm.h"
#include "power.h"
#include "proc.h"
#include "scratch.h"
#include "slab.h"
#include "spinlock.h"
#include "string.h"
#include "sysreg.h"
#include "uart.h"
#include "vm.h"
#include "vmalloc.h"

#define ROUNDS 1000
#define PAGES  10000

#define NOT_OWNED \
    (1UL << 40) /* a physical address far from all memory: vm_free leaves such pages alone */

/* PMU event 8 is INST_RETIRED (ARM ARM D7.10.2); counter 0 counts it. */
static void
counter_start(void)
{
    write_sysreg(pmevtyper0_el0, 8);
    write_sysreg(pmccfiltr_el0, 0);
    write_sysreg(pmcntenset_el0, 0x80000001);
    write_sysreg(pmcr_el0, read_sysreg(pmcr_el0) | 0x41); /* on, cycle counter with 64 bits */
    __asm__ volatile("isb");                              /* the counter runs from here on */
}

/* The isb keeps the reading where it stands among the instructions. */
static inline uint64_t
counter(void)
{
    __asm__ volatile("isb" : : : "memory");
    return read_sysreg(pmevcntr0_el0);
}

/* Two readings count themselves: what lies between two of them, less this. 32 bits: it may wrap. */
static uint64_t
elapsed(uint64_t from, uint64_t to)
{
    uint64_t a = counter(), b = counter();

    return (uint32_t)(to - from) - (uint32_t)(b - a);
}

static void
print(const char *name, uint64_t total, uint64_t n)
{
    cprintf("bench: %s %lu %lu\n", name, total, n);
}

/* The instructions of `rounds` times `body`, the loop's own apart. */
#define MEASURE(rounds, body)                               \
    ({                                                      \
        uint64_t start_ = counter();                        \
        for (uint64_t i = 0; i < (rounds); i++) {           \
            __asm__ volatile("" : "+r"(i) : : "memory");    \
            body;                                           \
        }                                                   \
        uint64_t middle_ = counter();                       \
        for (uint64_t i = 0; i < (rounds); i++)             \
            __asm__ volatile("" : "+r"(i) : : "memory");    \
        uint64_t stop_ = counter();                         \
        elapsed(start_, middle_) - elapsed(middle_, stop_); \
    })

/* Functions of their own, so that a fill costs here what it costs within kfree. */
static __attribute__((noinline)) void
fill_page(char *page)
{
    page_fill(page, 1);
}

static __attribute__((noinline)) void
nothing(char *page)
{
    __asm__ volatile("" : : "r"(page));
}

/* The junk fill of a page, the call apart; and a zeroing, with its call. */
static uint64_t
fills(void)
{
    char *page = kalloc();
    uint64_t fill = MEASURE(ROUNDS, fill_page(page)) - MEASURE(ROUNDS, nothing(page));

    print("fill", fill, ROUNDS);
    print("zero", MEASURE(ROUNDS, page_zero(page)), ROUNDS);
    kfree(page);
    return (fill + ROUNDS / 2) / ROUNDS;
}

static char *list[PAGES];
static uint64_t seed = 1;

static uint64_t
random_below(uint64_t n)
{
    seed = seed * 6364136223846793005 + 1442695040888963407; /* Knuth's MMIX generator */
    return (seed >> 33) % n;
}

static void
shuffle(size_t n)
{
    for (size_t i = n - 1; i > 0; i--) {
        size_t j = random_below(i + 1);
        char *page = list[i];
        list[i] = list[j];
        list[j] = page;
    }
}

/* What a call of an empty function costs; it is taken off, as from the figures of the others. */
static uint64_t
call(void)
{
    return (MEASURE(ROUNDS, nothing(NULL)) + ROUNDS / 2) / ROUNDS;
}

/* n pages are taken, and freed in random order, `rounds` times. */
static void
kalloc_random(const char *alloc_name, const char *free_name, size_t n, int rounds, uint64_t fill)
{
    uint64_t load = MEASURE(n, (void)*(char *volatile *)&list[i]);
    uint64_t store = MEASURE(n, *(char *volatile *)&list[i] = NULL);
    uint64_t alloc = 0, free = 0;

    for (int round = 0; round < rounds; round++) {
        alloc += MEASURE(n, *(char *volatile *)&list[i] = kalloc()) - store - n * call();
        shuffle(n);
        free += MEASURE(n, kfree(*(char *volatile *)&list[i])) - load - n * (call() + fill);
    }
    print(alloc_name, alloc, n * (size_t)rounds);
    print(free_name, free, n * (size_t)rounds);
}

/* kalloc and kfree; kfree's junk fill apart. */
static void
pages(uint64_t fill)
{
    print("pair", MEASURE(ROUNDS, kfree(kalloc())) - ROUNDS * (2 * call() + fill), ROUNDS);
    kcache_drain(KCACHE_MAX);
    kcache_refill();
    kalloc_random("alloc", "free", KCACHE_BATCH, 30, fill);
    kalloc_random("alloc_all", "free_all", PAGES, 1, fill);
}

/* ---- the pmm ---- */

static void
pmm_single(void)
{
    kcache_drain(KCACHE_MAX);
    uint64_t block = pmm_alloc(0);
    uint64_t buddy = pmm_alloc(0);

    if ((block ^ buddy) != PGSIZE)
        panic("two pages in a row are no buddies");
    pmm_free(block, 0);
    print("pmm_pair", MEASURE(ROUNDS, pmm_free(pmm_alloc(0), 0)) - ROUNDS * 2 * call(), ROUNDS);
    pmm_free(buddy, 0);
    print("pmm_whole", MEASURE(ROUNDS, pmm_free(pmm_alloc(0), 0)) - ROUNDS * 2 * call(), ROUNDS);

    uint64_t load = MEASURE(PAGES, (void)*(char *volatile *)&list[i]);
    uint64_t store = MEASURE(PAGES, *(char *volatile *)&list[i] = NULL);
    for (int round = 0; round < 2; round++) {
        uint64_t alloc = MEASURE(PAGES, *(char *volatile *)&list[i] = (char *)pmm_alloc(0)) - store;
        shuffle(PAGES);
        uint64_t free = MEASURE(PAGES, pmm_free((uint64_t) * (char *volatile *)&list[i], 0)) - load;
        if (round == 1) {
            print("pmm_alloc", alloc - PAGES * call(), PAGES);
            print("pmm_free", free - PAGES * call(), PAGES);
        }
    }
}

/*
 * What it costs to free the block at *pa and take another in its place. A function of its own, so that
 * nothing but the calls lies between the readings: nothing has to be fetched from memory or saved there.
 */
static __attribute__((noinline)) uint64_t
exchange(uint64_t *pa, unsigned order, unsigned wanted)
{
    uint64_t block = *pa, start = counter();

    pmm_free(block, order);
    block = pmm_alloc(wanted);
    uint64_t stop = counter();
    *pa = block;
    return elapsed(start, stop);
}

/* Blocks of random orders 0 to 9, half of memory taken: each turn frees one and takes another. */
static void
pmm_mixed(void)
{
    static uint8_t orders[PAGES];
    struct pmm_stats stats;
    uint64_t cost = 0, n = 0, taken = 0;

    pmm_stats(&stats);
    for (; n < PAGES && taken < stats.pages / 2; n++) {
        orders[n] = (uint8_t)random_below(10);
        list[n] = (char *)pmm_alloc(orders[n]);
        taken += 1UL << orders[n];
    }
    if (n == 0)
        panic("there is no block at all");
    for (uint64_t turn = 0; turn < 2 * PAGES; turn++) {
        uint64_t k = random_below(n);
        unsigned order = (unsigned)random_below(10);
        uint64_t pa = (uint64_t)list[k];
        cost += exchange(&pa, orders[k], order) - 2 * call();
        if (pa == 0)
            panic("no block of order %u at half occupancy", order);
        list[k] = (char *)pa;
        orders[k] = (uint8_t)order;
    }
    print("pmm_mixed", cost, 2 * 2 * PAGES);
    pmm_stats(&stats);
    print("whole", 100 - stats.fragmented, 1);
    while (n-- > 0)
        pmm_free((uint64_t)list[n], orders[n]);
}

/* Free the pages of a largest block but the first and the last: once as single pages, once as the block. */
static void
pmm_run(void)
{
    uint64_t n = 1UL << (PMM_ORDERS - 1), run = pmm_alloc(PMM_ORDERS - 1);
    size_t i;
    const struct zone *z = zone_of(run, &i);

    memset(&z->state[i], FRAME_USED, n);
    print("pmm_run", MEASURE(1, pmm_free_range(run + PGSIZE, n - 2)) - call(), n - 2);
    pmm_free(run, 0);
    pmm_free(run + (n - 1) * PGSIZE, 0);
    run = pmm_alloc(PMM_ORDERS - 1);
    print("pmm_part", MEASURE(1, pmm_free_range(run + PGSIZE, n - 2)) - call(), n - 2);
    pmm_free(run, 0);
    pmm_free(run + (n - 1) * PGSIZE, 0);
}

/* ---- the memmap ---- */

static void
frames_by_bitmap(void)
{
    uint64_t n = MEMMAP_FRAMES - 1;

    memmap_init(0, (uint64_t)MEMMAP_FRAMES * PGSIZE);
    print("frame_pair", MEASURE(ROUNDS, free_frame(alloc_frame())) - ROUNDS * 2 * call(), ROUNDS);
    print("frame_alloc", MEASURE(n, alloc_frame()) - n * call(), n);
    print("frame_free", MEASURE(n, free_frame((i + 1) * PGSIZE)) - n * call(), n);
    print("frames_64", MEASURE(ROUNDS, alloc_frames(64)) - ROUNDS * call(), ROUNDS);
    memmap_reserve(0, (uint64_t)MEMMAP_FRAMES * PGSIZE);
}

/* ---- heaps ---- */

/* All free pages: kalloc's and the pmm's. */
static size_t
free_pages(void)
{
    struct pmm_stats stats;

    pmm_stats(&stats);
    return stats.free + stats.cached;
}

/* What is compared: the caches behind kmalloc, and the first-fit heap. */
struct heap_calls {
    void *(*alloc)(size_t size);
    void (*free)(void *p);
};

static const struct heap_calls caches = {kmalloc, kmfree}, first_fit = {heap_alloc, heap_free};

/*
 * 10,000 objects of 8 to max bytes, at random: what it costs to give one back and to take another; then, how
 * many bytes more than theirs the pages have that are in use for them, in thousandths.
 */
static void
heap_mix(const struct heap_calls *heap, const char *name, const char *lost, size_t max)
{
    static uint16_t sizes[PAGES];
    void *(*alloc)(size_t size) = heap->alloc;
    void (*free)(void *p) = heap->free;
    uint64_t live = 0, cost = 0, taken = free_pages();

    for (size_t i = 0; i < PAGES; i++) {
        sizes[i] = (uint16_t)(8 + random_below(max - 7));
        list[i] = alloc(sizes[i]);
    }
    for (size_t turn = 0; turn < 2 * PAGES; turn++) {
        size_t k = random_below(PAGES), size = 8 + random_below(max - 7);
        char *p = list[k];
        uint64_t before = counter();
        free(p);
        p = alloc(size);
        uint64_t after = counter();
        cost += elapsed(before, after) - 2 * call();
        if (!p)
            panic("there are no %lu bytes", size);
        list[k] = p;
        sizes[k] = (uint16_t)size;
    }
    print(name, cost, 2 * 2 * PAGES);
    for (size_t i = 0; i < PAGES; i++)
        live += sizes[i];
    if (lost)
        print(lost, ((taken - free_pages()) * PGSIZE - live) * 1000, live);
    for (size_t i = 0; i < PAGES; i++)
        free(list[i]);
}

static void
heaps(void)
{
    heap_mix(&caches, "heap_mixed", "heap_lost", 2048);
    heap_mix(&caches, "heap_small", NULL, 128);
    print("heap_pair", MEASURE(ROUNDS, kmfree(kmalloc(64))) - 2 * ROUNDS * call(), ROUNDS);
    heap_mix(&first_fit, "fit_mixed", "fit_lost", 2048);
    heap_mix(&first_fit, "fit_small", NULL, 128);
    print("fit_pair", MEASURE(ROUNDS, heap_free(heap_alloc(64))) - 2 * ROUNDS * call(), ROUNDS);

    struct slab *slab = slab_create("bench", 64, 0);
    print("slab_pair", MEASURE(ROUNDS, slab_free(slab, slab_alloc(slab))) - 2 * ROUNDS * call(),
          ROUNDS);
    slab_destroy(slab);
    print("vmalloc", MEASURE(1, list[0] = vmalloc(256 * PGSIZE)), 256);
    print("vfree", MEASURE(1, vfree(list[0])), 256);
}

/* The lock that the measured code goes without. */
static void
locking(void)
{
    static SPINLOCK(lock);

    print("lock", MEASURE(ROUNDS, spin_unlock(&lock, spin_lock(&lock))), ROUNDS);
}

/* 1 GiB as 4K pages: into a fresh root, and once more where the tables stand already and are empty. */
static void
mapping(void)
{
    uint64_t *root = (uint64_t *)(void *)kalloc();
    char *va = (char *)BLOCK1G;
    uint64_t n = BLOCK1G / PGSIZE, tables = 512 + 2, zero = 0;

    page_zero(root);
    for (uint64_t i = 0; i < ROUNDS; i++) /* what a table costs that is taken and zeroed */
        zero += MEASURE(1, page_zero(root));
    uint64_t before = free_pages(), start = counter();
    int result = map_region(root, va, BLOCK1G, NOT_OWNED, PTE_NORMAL | PTE_USER);
    uint64_t stop = counter();
    if (result != 0 || before - free_pages() != tables)
        panic("map_region: %d, %lu tables", result, before - free_pages());
    print("map", elapsed(start, stop) - zero / ROUNDS * tables, n);

    for (uint64_t i = 0; i < n; i++)
        *pgdir_walk(root, va + i * PGSIZE, 0) = 0;
    start = counter();
    result = map_region(root, va, BLOCK1G, NOT_OWNED, PTE_NORMAL | PTE_USER);
    stop = counter();
    if (result != 0)
        panic("map_region over empty entries: %d", result);
    print("remap", elapsed(start, stop), n);
    start = counter();
    pgdir_walk(root, va, 0);
    stop = counter();
    print("walk", elapsed(start, stop), 1);
    start = counter();
    vm_free(root, 0);
    stop = counter();
    print("vm_free", elapsed(start, stop), n);
}

/* Programs (user.c) that measure themselves, one after the other; of two that yield, one keeps quiet. */
static void
processes(void)
{
    const char *const programs[][4] = {
        {"bench", "null", NULL},
        {"bench", "mmap", NULL},
        {"bench", "tick", NULL},
#if LAB >= 6
        {"bench", "fork", NULL},
#endif
    };
    const char *const yields[][4] = {{"bench", "yield", NULL}, {"bench", "yield", "quiet", NULL}};
    const char *const none[] = {NULL};

    write_sysreg(pmuserenr_el0, 1); /* EN: EL0 may read the counters (ARM ARM D13.4.16) */
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
        (void)proc_wait(proc_spawn(programs[i], none));
    int one = proc_spawn(yields[0], none), other = proc_spawn(yields[1], none);
    (void)proc_wait(one);
    (void)proc_wait(other);
}

/* kern/ram.c, compiled for this kernel, calls these instead of kvm_map_ram: the linear map as it is made at boot. */
uint64_t bench_map_ram(uint64_t from, uint64_t to);
static uint64_t linear, blocks;

uint64_t
bench_map_ram(uint64_t from, uint64_t to)
{
    counter_start();
    uint64_t start = counter(), mapped = kvm_map_ram(from, to), stop = counter();

    linear += elapsed(start, stop);
    blocks += to / BLOCK2M - ROUNDUP(MAX(from, V2P(end)), BLOCK2M) / BLOCK2M;
    return mapped;
}

void
scratch(void)
{
    counter_start();
    uint64_t fill = fills();
    pages(fill);
    pmm_single();
    pmm_run();
    pmm_mixed();
    heaps();
    frames_by_bitmap();
    locking();
    mapping();
    processes();
    print("linear", linear, blocks);
    uart_drain();
    power_off();
}
