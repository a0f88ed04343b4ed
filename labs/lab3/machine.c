/*
 * Imaginary machines: frames and zones made up for a check, in place of the kernel's own.
 */
#include "check.h"
#include "kalloc.h"
#include "machine.h"
#include "pmm.h"
#include "string.h"

uint8_t machine_table[GUARD + MACHINE_FRAMES + GUARD] __attribute__((aligned(8)));
static struct link links[MACHINE_FRAMES + BANKS_MAX * (BLOCK_FRAMES + PMM_ORDERS + 1) + 1];

/*
 * The kernel's own, as long as it has to make way. In .data, which lies before the tables: whoever
 * writes far beyond their end must not keep the next check from starting afresh.
 */
static struct {
    bool saved;
    struct frames frames;
    struct zone zones[ARRAY_SIZE(zones)];
    size_t nzones;
    struct kmem kmem;
    uint64_t phystop;
    uint64_t block; /* borrowed from the kernel; 0: none */
    unsigned order;
} real __attribute__((section(".data")));

void
machine_end(void)
{
    if (real.saved) {
        frames = real.frames;
        memcpy(zones, real.zones, sizeof(zones));
        nzones = real.nzones;
        kmem = real.kmem;
        phystop = real.phystop;
        real.saved = false;
    }
    if (real.block != 0) {
        uint64_t block = real.block;
        real.block = 0;
        check_doing("pmm_free(0x%lx, %u) after the check, of a block from pmm_alloc", block,
                    real.order);
        int result = pmm_free(block, real.order);
        EXPECT(result == 0, "expected 0, found %s", error_text(result));
    }
}

static void
take_away(void)
{
    check_finally(machine_end);
    if (real.saved)
        return;
    real.frames = frames;
    memcpy(real.zones, zones, sizeof(zones));
    real.nzones = nzones;
    real.kmem = kmem;
    real.phystop = phystop;
    real.saved = true;
}

void
machine_new(size_t blocks)
{
    /* Above 4 GiB, where the linear map has nothing. */
    take_away();
    model_begin((0x400 + check_random_below(0x1000)) * BLOCK_FRAMES * PGSIZE, blocks);
}

/* A block of the kernel's own free memory, of this order or one less. */
static void
borrow(unsigned order)
{
    check_finally(machine_end);
    check_doing("pmm_alloc(%u), of the kernel's own memory", order);
    uint64_t pa = pmm_alloc(order);
    if (pa == 0)
        pa = pmm_alloc(--order);
    EXPECT(pa != 0,
           "found 0: expected a block of order %u or %u (should the first failed check be "
           "one of lab 2, which keep all pages: run this one alone)",
           order + 1, order);
    size_t i = frame_index(P2V(pa));
    EXPECT(i < frames.n && frames.state[i] == FRAME_USED + order,
           "found 0x%lx, and the state of the page there is not FRAME_USED + %u", pa, order);
    for (uint64_t page = pa; page < pa + ((uint64_t)PGSIZE << order); page += PGSIZE)
        EXPECT(page_owned(page), "found 0x%lx: the page 0x%lx in it is not usable", pa, page);
    real.block = pa;
    real.order = order;
}

size_t
machine_real(size_t *n)
{
    uint64_t block = real.block;

    if (block == 0) {
        machine_end();
        EXPECT(nzones > 0, "the pmm has got no memory at boot: write memmap_init, memmap_reserve "
                           "and alloc_frames in kern/memmap.c first");
        borrow(8);
        block = real.block;
    }
    take_away();
    model_begin(ROUNDDOWN(block, BLOCK_FRAMES * PGSIZE), 1);
    *n = 1UL << real.order;
    return (block - model.base) / PGSIZE;
}

/* ---- making it so ---- */

/* Some of a bank's free blocks onto the lists: in two turns, so that they are in no particular order. */
UNCHECKED static void
push_free(struct zone *z, const struct bank *bank, uint64_t choice, unsigned turn)
{
    for (size_t i = bank->first; i < bank->first + bank->n; i++) {
        uint8_t state = model.state[i];
        if (FRAME_KIND(state) == FRAME_FREE && (choice >> i % 61 & 1) == turn)
            zone_push(z, i - bank->base, FRAME_ORDER(state));
    }
}

UNCHECKED static size_t
count_reserved(size_t i, size_t stop)
{
    size_t n = 0;

    for (; i < stop; i++)
        n += model.is[i] == IS_RESERVED;
    return n;
}

static void
start_bank(struct bank *bank, struct link *link)
{
    uint64_t start = machine_pa(bank->first), stop = machine_pa(bank->first + bank->n);
    uint64_t choice = check_random();
    struct zone *z = zone_add(start, stop, link);

    bank->link = link;
    bank->pages = bank->n - count_reserved(bank->first, bank->first + bank->n);
    z->pages = bank->pages;
    z->free = bank->free;
    for (unsigned turn = 0; turn < 2; turn++)
        push_free(z, bank, choice, turn);
}

struct link *
machine_link(size_t i)
{
    const struct bank *bank = model.bank;

    while (i >= bank->first + bank->n)
        bank++;
    return &bank->link[i - bank->base];
}

void
machine_start(void)
{
    struct link *link = links + 1;
    size_t nlinks = 1;

    model_update();
    for (const struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++)
        nlinks += bank->first + bank->n - bank->base + PMM_ORDERS + 1;
    memset(links, POISON, nlinks * sizeof(*links));
    memset(machine_table, BEYOND, GUARD);
    memset(machine_table + GUARD + model.n, BEYOND, GUARD);
    memset(zones, 0, sizeof(zones));
    nzones = 0;
    frames_set(model.base, model.n, machine_table + GUARD);
    for (struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++) {
        start_bank(bank, link);
        link += bank->first + bank->n - bank->base + PMM_ORDERS + 1;
    }
    memcpy(frames.state, model.state, model.n);
    for (size_t n = 0; n < model.nshared; n++)
        if (FRAME_KIND(model.is[model.shared[n]]) == FRAME_SHARED)
            machine_link(model.shared[n])->users = model.users[model.shared[n]];
    kmem = (struct kmem){0};
    phystop = MAX(real.phystop, machine_pa(model.n));
    machine_check();
}
