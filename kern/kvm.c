/*
 * The kernel's page tables (TTBR1). They are built once and hold the linear map: RAM in 2 MiB
 * blocks, the image in pages with the rights that its sections need, and the devices. No page is
 * writable and executable at once, and no stack lacks a hole below it.
 *
 * This does not use map_region: the kernel has to stand before the first exercise of lab 2 is tried.
 */
#include "kvm.h"
#include "memlayout.h"
#include "mmu.h"
#include "tlb.h"

#define KERNEL_RAM (PTE_NORMAL | PTE_SH | PTE_AF | PTE_KERNEL | PTE_UXN)
#define MAP_TEXT   (KERNEL_RAM | PTE_RO)
#define MAP_RODATA (KERNEL_RAM | PTE_RO | PTE_PXN)
#define MAP_DATA   (KERNEL_RAM | PTE_RW | PTE_PXN)
#define MAP_DEVICE (PTE_DEVICE | PTE_AF | PTE_KERNEL | PTE_RW | PTE_PXN | PTE_UXN)

typedef uint64_t table[NPTE] __attribute__((aligned(PGSIZE)));

/* One root, one table for 512 GiB, and a pool for the rest: level 2 for each GiB in use, level 3 for
 * the image's 2 MiB pieces and for each ragged end of a bank. */
static table root, level1, empty_root;
static table pool[32];
static unsigned pool_used;

/* Physical address of one of the above, whether the MMU is on (upper half) or off. */
static uint64_t
pa_of(const void *p)
{
    return (uint64_t)p & (BLOCK1G - 1);
}

/* The table at pa, as this code reaches it now: next to its own tables. */
static uint64_t *
table_at(uint64_t pa)
{
    return (uint64_t *)((uint64_t)root - pa_of(root) + pa);
}

/* The table below *entry, from the pool if there is none yet. NULL: the pool is empty. */
static uint64_t *
table_below(uint64_t *entry)
{
    if (!(*entry & PTE_P)) {
        if (pool_used == sizeof(pool) / sizeof(pool[0]))
            return NULL;
        *entry = pa_of(pool[pool_used++]) | PTE_TABLE;
    }
    return table_at(PTE_ADDR(*entry));
}

/*
 * Map [from, to), both page-aligned, to themselves in the linear map. Returns where it stopped.
 * An entry is written only where none was: the walker may use the tables meanwhile.
 */
static uint64_t
linear_map(uint64_t from, uint64_t to, uint64_t attr)
{
    uint64_t pa = from;

    root[0] = pa_of(level1) | PTE_TABLE;
    while (pa < to) {
        uint64_t *level2 = table_below(&level1[PTX(1, pa)]);
        if (!level2)
            break;
        uint64_t *entry = &level2[PTX(2, pa)];

        if (pa % BLOCK2M == 0 && to - pa >= BLOCK2M) {
            /* As many whole blocks as this table holds. */
            uint64_t n = MIN((to - pa) / BLOCK2M, NPTE - PTX(2, pa));
            uint64_t desc = pa | attr | PTE_BLOCK;
            pa += n * BLOCK2M;
#pragma GCC unroll 4
            for (uint64_t *last = entry + n; entry < last; entry++, desc += BLOCK2M)
                if (!(*entry & PTE_P))
                    *entry = desc;
            continue;
        }

        /* A piece of a block: page by page, unless a block is there already. */
        uint64_t stop = MIN(to, ROUNDDOWN(pa, BLOCK2M) + BLOCK2M);
        if ((*entry & PTE_TABLE) == PTE_BLOCK) {
            pa = stop;
            continue;
        }
        uint64_t *level3 = table_below(entry);
        if (!level3)
            break;
        for (; pa < stop; pa += PGSIZE)
            if (!(level3[PTX(3, pa)] & PTE_P))
                level3[PTX(3, pa)] = pa | attr | PTE_PAGE;
    }
    return pa;
}

void
kvm_boot(uint64_t firmware)
{
    uint64_t text = pa_of(image_start);
    uint64_t stack = pa_of(boot_stack), emergency = pa_of(emergency_stack);

    linear_map(0, text, MAP_DATA);
    linear_map(text, pa_of(etext), MAP_TEXT);
    linear_map(pa_of(etext), pa_of(data), MAP_RODATA);
    linear_map(pa_of(data), stack - PGSIZE, MAP_DATA);
    linear_map(stack, emergency - PGSIZE, MAP_DATA);
    linear_map(emergency, ROUNDUP(pa_of(end), BLOCK2M), MAP_DATA);

    linear_map(DEVICES_PA, DEVICES_END_PA, MAP_DEVICE);
    linear_map(LOCAL_PA, LOCAL_END_PA, MAP_DEVICE);

    /* Two blocks, so that 2 MiB of device tree can be read wherever they begin. */
    if (firmware >= ROUNDUP(pa_of(end), BLOCK2M) && firmware < DEVICES_PA) {
        uint64_t block = ROUNDDOWN(firmware, BLOCK2M);
        linear_map(block, MIN(block + 2 * BLOCK2M, DEVICES_PA), MAP_DATA);
    }
}

uint64_t
kvm_root(void)
{
    return pa_of(root);
}

uint64_t
kvm_empty_root(void)
{
    return pa_of(empty_root);
}

uint64_t
kvm_map_ram(uint64_t from, uint64_t to)
{
    /* The image and what lies below it have been there since kvm_boot. */
    uint64_t first = MAX(ROUNDUP(from, PGSIZE), ROUNDUP(pa_of(end), BLOCK2M));
    uint64_t last = ROUNDDOWN(to, PGSIZE);

    if (first >= last)
        return last;
    uint64_t mapped = linear_map(first, last, MAP_DATA);
    pte_sync(); /* the entries, before anyone uses the addresses */
    return mapped;
}

uint64_t
kvm_map_device(uint64_t from, uint64_t to)
{
    uint64_t mapped = linear_map(ROUNDDOWN(from, BLOCK2M), ROUNDUP(to, BLOCK2M), MAP_DEVICE);

    pte_sync();
    return mapped;
}
