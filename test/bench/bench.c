/*
 * What operations cost, in instructions that the core executed: `make bench` links this instead of kern/scratch.c.
 * Prints "bench: NAME TOTAL COUNT" for each measurement and switches the machine off; bench.py knows the targets.
 *
 * QEMU counts instructions exactly under -icount shift=0 with one core. Each measurement is a loop; the same loop
 * around nothing is measured as well and taken off.
 */
#include "console.h"
#include "kalloc.h"
#include "kvm.h"
#include "page.h"
#include "power.h"
#include "scratch.h"
#include "sysreg.h"
#include "uart.h"
#include "vm.h"

#define ROUNDS 1000
#define PAGES  10000

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
    return fill / ROUNDS;
}

/* kalloc and kfree, with their calls; kfree's junk fill apart. */
static void
pages(uint64_t fill)
{
    static char *list[PAGES];
    uint64_t seed = 1;

    print("pair", MEASURE(ROUNDS, kfree(kalloc())) - ROUNDS * fill, ROUNDS);

    for (int round = 0; round < 2; round++) {
        uint64_t load = MEASURE(PAGES, (void)*(char *volatile *)&list[i]);
        uint64_t store = MEASURE(PAGES, *(char *volatile *)&list[i] = NULL);
        uint64_t alloc = MEASURE(PAGES, *(char *volatile *)&list[i] = kalloc()) - store;
        for (uint64_t i = PAGES - 1; i > 0; i--) {
            seed = seed * 6364136223846793005 + 1442695040888963407; /* Knuth's MMIX generator */
            uint64_t j = (seed >> 33) % (i + 1);
            char *page = list[i];
            list[i] = list[j];
            list[j] = page;
        }
        uint64_t free = MEASURE(PAGES, kfree(*(char *volatile *)&list[i])) - load - PAGES * fill;
        if (round == 1) { /* the first one left the list in random order */
            print("alloc", alloc, PAGES);
            print("free", free, PAGES);
        }
    }
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
    uint64_t before = count_free_pages(), start = counter();
    int result = map_region(root, va, BLOCK1G, 0, PTE_NORMAL | PTE_USER);
    uint64_t stop = counter();
    if (result != 0 || before - count_free_pages() != tables)
        panic("map_region: %d, %lu tables", result, before - count_free_pages());
    print("map", elapsed(start, stop) - zero / ROUNDS * tables, n);

    for (uint64_t i = 0; i < n; i++)
        *pgdir_walk(root, va + i * PGSIZE, 0) = 0;
    start = counter();
    result = map_region(root, va, BLOCK1G, 0, PTE_NORMAL | PTE_USER);
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
    mapping();
    print("linear", linear, blocks);
    uart_drain();
    power_off();
}
