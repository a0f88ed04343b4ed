/*
 * Imaginary machines: frames and zones made up for a check, and whose each frame should be.
 */
#include "check.h"
#include "kalloc.h"
#include "lab3.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"

#define BANKS_MAX 6
#define GUARD     64   /* bytes around the state table */
#define POISON    0xa5 /* in links that nobody has written */

/* What the machine is described by: the kernel's tables, with something around each that nobody may touch. */
static uint8_t table[GUARD + MACHINE_FRAMES + GUARD];
static struct link links[MACHINE_FRAMES + BANKS_MAX * (BLOCK_FRAMES + PMM_ORDERS + 1) + 1];

/* The model. */
static struct {
    uint64_t base;    /* physical address of frame 0 */
    size_t n, nbanks; /* frames; banks */
    uint8_t is[MACHINE_FRAMES];
    uint32_t users[MACHINE_FRAMES]; /* where a shared block begins */
    struct bank {
        size_t first, n, pages, free;
        size_t base; /* the zone's frame 0 */
        struct link *link;
        size_t blocks[PMM_ORDERS]; /* free ones */
    } bank[BANKS_MAX];
} model;

/* The kernel's own, as long as it has to make way. */
static struct {
    bool saved;
    struct frames frames;
    struct zone zones[ARRAY_SIZE(zones)];
    size_t nzones;
    struct kmem kmem;
    uint64_t phystop;
    uint64_t block; /* borrowed from the kernel; 0: none */
    unsigned order;
} real;

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

static void
begin(uint64_t base, size_t blocks)
{
    take_away();
    model.base = base;
    model.n = blocks * BLOCK_FRAMES;
    model.nbanks = 0;
    memset(model.is, IS_HOLE, model.n);
}

void
machine_new(size_t blocks)
{
    /* Above 4 GiB, where the linear map has nothing. */
    begin((0x400 + check_random_below(0x1000)) * BLOCK_FRAMES * PGSIZE, blocks);
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
    begin(ROUNDDOWN(block, BLOCK_FRAMES * PGSIZE), 1);
    *n = 1UL << real.order;
    return (block - model.base) / PGSIZE;
}

void
machine_bank(size_t first, size_t n)
{
    struct bank *bank = &model.bank[model.nbanks++];

    EXPECT(model.nbanks <= BANKS_MAX && first + n <= model.n,
           "a mistake in the check itself: bank");
    *bank = (struct bank){.first = first, .n = n, .base = ROUNDDOWN(first, BLOCK_FRAMES)};
    memset(&model.is[first], IS_RESERVED, n);
}

void
machine_put(size_t i, unsigned order, uint8_t kind)
{
    size_t n = 1UL << order;

    if (kind == IS_FREE || kind == IS_RESERVED) {
        memset(&model.is[i], kind, n);
        return;
    }
    memset(&model.is[i], IS_INSIDE, n);
    model.is[i] = (uint8_t)(kind + order);
    model.users[i] = 2;
}

void
machine_put_users(size_t i, unsigned users)
{
    model.users[i] = users;
}

unsigned
machine_users(size_t i)
{
    return model.users[i];
}

/* The order of the largest block that can begin at frame i and ends before or at `stop`. */
static unsigned
largest(size_t i, size_t stop)
{
    unsigned order = 0;

    while (order < PMM_ORDERS - 1 && i % (2UL << order) == 0 && i + (2UL << order) <= stop)
        order++;
    return order;
}

void
machine_put_free(size_t i, size_t n)
{
    memset(&model.is[i], IS_FREE, n);
}

void
machine_put_used(size_t i, size_t n)
{
    for (size_t stop = i + n; i < stop;) {
        unsigned order = largest(i, stop);
        machine_put(i, order, FRAME_USED);
        i += 1UL << order;
    }
}

void
machine_random(size_t which, unsigned max, unsigned free, unsigned reserved)
{
    const struct bank *bank = &model.bank[which];
    size_t stop = bank->first + bank->n;

    for (size_t i = bank->first; i < stop;) {
        unsigned order = (unsigned)check_random_below(max + 1), most = largest(i, stop);
        order = MIN(order, most);
        uint64_t percent = check_random_below(100);
        machine_put(i, order,
                    percent < free              ? IS_FREE
                    : percent < free + reserved ? IS_RESERVED
                                                : FRAME_USED);
        i += 1UL << order;
    }
}

/* ---- what the model says ---- */

uint8_t
machine_is(size_t i)
{
    return i < model.n ? model.is[i] : IS_HOLE;
}

size_t
machine_frames(void)
{
    return model.n;
}

uint64_t
machine_pa(size_t i)
{
    return model.base + i * PGSIZE;
}

/* Does a block that is in use, or cached, begin at frame i? */
static bool
begins(size_t i)
{
    return model.is[i] != IS_FREE && model.is[i] < IS_HOLE;
}

size_t
machine_block(size_t i, unsigned *order)
{
    size_t first = i, stop = i;

    if (model.is[i] != IS_FREE) {
        while (!begins(first))
            first--;
        *order = FRAME_ORDER(model.is[first]);
        return first;
    }
    while (first > 0 && model.is[first - 1] == IS_FREE)
        first--;
    while (stop < model.n && model.is[stop] == IS_FREE)
        stop++;
    while (first + (1UL << (*order = largest(first, stop))) <= i)
        first += 1UL << *order;
    return first;
}

size_t
machine_free(void)
{
    size_t n = 0;

    for (size_t i = 0; i < model.nbanks; i++)
        n += model.bank[i].free;
    return n;
}

size_t
machine_free_blocks(size_t zone, unsigned order)
{
    return model.bank[zone].blocks[order];
}

static bool
pick(bool (*fits)(size_t, uint8_t), uint8_t is, size_t *found)
{
    size_t from = check_random_below(model.n);

    for (size_t n = 0; n < model.n; n++) {
        size_t i = (from + n) % model.n;
        if (fits(i, is)) {
            *found = i;
            return true;
        }
    }
    return false;
}

static bool
fits_exactly(size_t i, uint8_t is)
{
    return model.is[i] == is;
}

static bool
fits_used(size_t i, uint8_t is)
{
    (void)is;
    return model.is[i] < FRAME_USED + PMM_ORDERS;
}

bool
machine_pick(uint8_t is, size_t *i)
{
    return pick(fits_exactly, is, i);
}

bool
machine_pick_used(size_t *i)
{
    return pick(fits_used, 0, i);
}

/* ---- making it so ---- */

/* Half of the free blocks are put on the lists in ascending order, then the others. */
static void
start_bank(struct zone *z, struct bank *bank, uint64_t choice, unsigned turn)
{
    size_t i = bank->first, stop = bank->first + bank->n;

    while (i < stop) {
        size_t after = i;
        while (after < stop && model.is[after] == IS_FREE)
            after++;
        if (after == i) {
            i++;
            continue;
        }
        while (i < after) {
            unsigned order = largest(i, after);
            if ((choice >> i % 61 & 1) == turn) {
                zone_push(z, i - bank->base, order);
                z->free += 1UL << order;
                bank->blocks[order]++;
            }
            i += 1UL << order;
        }
    }
}

void
machine_start(void)
{
    struct link *link = links + 1;

    memset(table, FRAME_FREE + PMM_ORDERS - 1, sizeof(table)); /* a buddy that is not there */
    memset(links, POISON, sizeof(links));
    memset(zones, 0, sizeof(zones));
    nzones = 0;
    frames_set(model.base, model.n, table + GUARD);
    for (size_t i = 0; i < model.n; i++)
        if (model.is[i] != IS_FREE && model.is[i] < IS_HOLE)
            frames.state[i] = model.is[i];
    for (struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++) {
        uint64_t start = machine_pa(bank->first), stop = machine_pa(bank->first + bank->n);
        struct zone *z = zone_add(start, stop, link);
        bank->link = link;
        link += zone_links(start, stop) + 1;
        bank->pages = bank->n;
        memset(bank->blocks, 0, sizeof(bank->blocks));
        for (size_t i = 0; i < bank->n; i++) {
            uint8_t is = model.is[bank->first + i];
            bank->pages -= is == IS_RESERVED;
            if (FRAME_KIND(is) == FRAME_SHARED)
                bank->link[bank->first + i - bank->base].users = model.users[bank->first + i];
        }
        z->pages = bank->pages;
        uint64_t choice = check_random();
        for (unsigned turn = 0; turn < 2; turn++)
            start_bank(z, bank, choice, turn);
        bank->free = z->free;
    }
    kmem = (struct kmem){0};
    phystop = MAX(real.phystop, machine_pa(model.n));
    machine_check();
}

/* ---- comparing ---- */

static const char *
state_text(uint8_t state)
{
    static char text[2][32];
    static unsigned turn;
    char *out = text[turn++ % 2];
    const char *kind = FRAME_KIND(state) == FRAME_USED   ? "FRAME_USED"
                     : FRAME_KIND(state) == FRAME_SHARED ? "FRAME_SHARED"
                     : FRAME_KIND(state) == FRAME_FREE   ? "FRAME_FREE"
                                                         : NULL;

    if (state == FRAME_NONE)
        return "FRAME_NONE";
    if (state == FRAME_CACHED)
        return "FRAME_CACHED";
    if (kind && FRAME_ORDER(state) < PMM_ORDERS)
        snprintf(out, sizeof(text[0]), "%s + %u", kind, FRAME_ORDER(state));
    else
        snprintf(out, sizeof(text[0]), "0x%x", state);
    return out;
}

/* What may be behind a wrong state. */
static const char *
explain(size_t i, uint8_t wanted, uint8_t found)
{
    unsigned order;

    if (model.is[i] == IS_HOLE)
        return ": there is no RAM";
    if (model.is[i] == IS_RESERVED)
        return ": it is reserved";
    if (FRAME_KIND(wanted) == FRAME_FREE && FRAME_KIND(found) == FRAME_FREE && wanted != FRAME_NONE
        && found != FRAME_NONE)
        return found < wanted ? ": its buddy is as free as it is, so both are one block"
                              : ": what follows is not free, or no part of this block";
    if (wanted == FRAME_NONE)
        return machine_block(i, &order) < i && model.is[i] == IS_FREE
                 ? ": it lies inside a larger block that is free"
                 : ": it lies inside a block that is in use";
    return "";
}

static __attribute__((cold, noinline)) void
wrong_state(size_t i, uint8_t wanted, uint8_t found)
{
    EXPECT(false, "the state of page 0x%lx: expected %s, found %s%s", machine_pa(i),
           state_text(wanted), state_text(found), explain(i, wanted, found));
}

static inline void
check_state(size_t i, uint8_t wanted)
{
    uint8_t found = table[GUARD + i];

    if (found != wanted)
        wrong_state(i, wanted, found);
}

static void
check_none(size_t i, size_t stop)
{
    for (; i < stop; i++)
        check_state(i, FRAME_NONE);
}

/* All states of a bank. Counts its free blocks. */
static void
check_states(struct bank *bank)
{
    size_t i = bank->first, stop = bank->first + bank->n;

    bank->free = 0;
    memset(bank->blocks, 0, sizeof(bank->blocks));
    while (i < stop) {
        uint8_t is = model.is[i];
        size_t after = i;
        if (is != IS_FREE) {
            check_state(i, is < IS_HOLE ? is : FRAME_NONE);
            i++;
            continue;
        }
        while (after < stop && model.is[after] == IS_FREE)
            after++;
        while (i < after) {
            unsigned order = largest(i, after);
            check_state(i, (uint8_t)(FRAME_FREE + order));
            check_none(i + 1, i + (1UL << order));
            bank->blocks[order]++;
            bank->free += 1UL << order;
            i += 1UL << order;
        }
    }
}

/* The list for an order is a sound ring, and as long as it should be. */
static void
check_list(const struct zone *z, unsigned order, size_t wanted)
{
    const struct link *link = z->link;
    uint32_t head = (uint32_t)(z->n + order), previous = head;
    size_t zone = (size_t)(z - zones), n = 0;

    for (uint32_t i = link[head].next; i != head; previous = i, i = link[i].next) {
        EXPECT(i < z->n,
               "zones[%lu], the list for order %u: expected the number of a frame (below %lu), or "
               "that of the list's head (%u), found %u",
               zone, order, z->n, head, i);
        EXPECT(link[i].prev == previous,
               "zones[%lu], the list for order %u: link[%u].prev: expected %u, found %u", zone,
               order, i, previous, link[i].prev);
        EXPECT(z->state[i] == FRAME_FREE + order,
               "zones[%lu], the list for order %u: page 0x%lx is on it, and has the state %s", zone,
               order, z->base + i * PGSIZE, state_text(z->state[i]));
        EXPECT(++n <= wanted, "zones[%lu], the list for order %u: expected %lu blocks, found more",
               zone, order, wanted);
    }
    EXPECT(link[head].prev == previous,
           "zones[%lu], the list for order %u: the head's prev: expected %u, found %u", zone, order,
           previous, link[head].prev);
    EXPECT(n == wanted, "zones[%lu], the list for order %u: expected %lu blocks, found %lu", zone,
           order, wanted, n);
    EXPECT((z->nonempty >> order & 1) == (n > 0),
           "zones[%lu].nonempty: expected bit %u to be %d, as %lu blocks are on that list", zone,
           order, n > 0, n);
}

/* Everything about a zone but the states of its frames. */
static void
check_zone(const struct zone *z, const struct bank *bank)
{
    size_t zone = (size_t)(z - zones);

    EXPECT(z->base == machine_pa(bank->base) && z->n == bank->first + bank->n - bank->base
               && z->link == bank->link && z->state == frames.state + bank->base
               && z->pages == bank->pages,
           "zones[%lu]: expected base, n, link, state and pages to stay as they are", zone);
    for (unsigned order = 0; order < PMM_ORDERS; order++)
        check_list(z, order, bank->blocks[order]);
    EXPECT(z->nonempty >> PMM_ORDERS == 0, "zones[%lu].nonempty: expected %d bits, found 0x%lx",
           zone, PMM_ORDERS, z->nonempty);
    EXPECT(z->free == bank->free, "zones[%lu].free: expected %lu, found %lu", zone, bank->free,
           z->free);
    for (size_t i = bank->first; i < bank->first + bank->n; i++) {
        if (FRAME_KIND(model.is[i]) != FRAME_SHARED)
            continue;
        uint32_t users = z->link[i - bank->base].users;
        EXPECT(users == model.users[i], "the users of the block at 0x%lx: expected %u, found %u",
               machine_pa(i), model.users[i], users);
    }
}

static void
check_guards(void)
{
    for (size_t i = 0; i < GUARD; i++)
        EXPECT(table[i] == FRAME_FREE + PMM_ORDERS - 1
                   && table[GUARD + model.n + i] == FRAME_FREE + PMM_ORDERS - 1,
               "a byte outside of frames.state has been written");
    for (const struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++)
        EXPECT(bank->link[-1].prev == POISON * 0x1010101u
                   && bank->link[bank->first + bank->n - bank->base + PMM_ORDERS].next
                          == POISON * 0x1010101u,
               "a link outside of those of a zone has been written");
}

void
machine_check(void)
{
    size_t behind = 0;

    EXPECT(frames.n == model.n && frames.state == table + GUARD && V2P(frames.first) == model.base
               && nzones == model.nbanks,
           "frames or nzones has changed: expected them to stay as they are");
    for (size_t i = 0; i < model.nbanks; i++) {
        check_none(behind, model.bank[i].first);
        check_states(&model.bank[i]);
        behind = model.bank[i].first + model.bank[i].n;
    }
    check_none(behind, model.n);
    for (size_t i = 0; i < model.nbanks; i++)
        check_zone(&zones[i], &model.bank[i]);
    check_guards();
}
