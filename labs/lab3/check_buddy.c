/*
 * Lab 3's checks of pmm_alloc and pmm_free, on imaginary machines. What the functions find there has been
 * put there by the check: each is checked without the other.
 */
#include "check.h"
#include "errno.h"
#include "lab3.h"
#include "pmm.h"

/* Three banks, each of them odd in every way: of some frames, of dozens, of hundreds. */
static void
odd_machine(void)
{
    static const size_t most[] = {9, 120, 700};
    size_t at = check_random_below(70), turn = check_random_below(3);

    machine_new(2);
    for (size_t bank = 0; bank < 3; bank++) {
        size_t size = most[(bank + turn) % 3];
        size_t n =
            size < 10 ? 1 + check_random_below(size) : size / 2 + check_random_below(size / 2);
        machine_bank(at, n);
        at += n + 1 + check_random_below(300);
    }
}

/* ---- pmm_alloc ---- */

void
need_pmm_alloc(void)
{
    machine_new(1);
    machine_bank(5, 900);
    machine_put_free(5, 900);
    machine_start();
    machine_doing("pmm_alloc(0)");
    EXPECT(pmm_alloc(0) != 0, "found 0 with 900 pages free: write pmm_alloc in kern/pmm.c");
}

/* The first zone that has a block of this order or more (nzones: none), and its smallest such. */
static size_t
zone_for(unsigned order, unsigned *smallest)
{
    for (size_t zone = 0; zone < nzones; zone++)
        for (*smallest = order; *smallest < PMM_ORDERS; (*smallest)++)
            if (machine_free_blocks(zone, *smallest) > 0)
                return zone;
    return nzones;
}

static const char *
what_is(size_t i)
{
    switch (machine_is(i)) {
    case IS_HOLE:
        return "no RAM";
    case IS_RESERVED:
        return "reserved";
    default:
        return "in use";
    }
}

/* pmm_alloc has returned pa. */
static void
check_block(uint64_t pa, unsigned order)
{
    uint64_t size = (uint64_t)PGSIZE << order;
    size_t i = (pa - machine_pa(0)) / PGSIZE, in_zone;
    unsigned have, smallest = 0;

    EXPECT(pa < KERNBASE, "found the kernel address 0x%lx: expected a physical one", pa);
    EXPECT(pa % size == 0, "found 0x%lx: expected a multiple of the block's size, 0x%lx", pa, size);
    for (size_t j = i; j < i + (1UL << order); j++)
        EXPECT(machine_is(j) == IS_FREE, "found 0x%lx: the page 0x%lx of this block is %s", pa,
               machine_pa(j), what_is(j));
    size_t wanted = zone_for(order, &smallest), zone = (size_t)(zone_of(pa, &in_zone) - zones);
    size_t head = machine_block(i, &have);
    EXPECT(zone == wanted,
           "found 0x%lx, of zones[%lu]: expected one of zones[%lu], the first that "
           "has one",
           pa, zone, wanted);
    EXPECT(have == smallest,
           "found 0x%lx, out of a free block of order %u: expected the smallest that is large "
           "enough to be split, which has order %u",
           pa, have, smallest);
    EXPECT(i == head, "found 0x%lx: expected the lower end, 0x%lx, of the free block", pa,
           machine_pa(head));
}

/* Take a block and check everything. Returns false when there is none. */
static bool
take(unsigned order)
{
    machine_doing("pmm_alloc(%u)", order);
    uint64_t pa = pmm_alloc(order);
    if (pa == 0) {
        unsigned have = 0;
        size_t zone = zone_for(order, &have);
        EXPECT(zone == nzones,
               "expected a block, found 0, although zones[%lu] has a free block of order %u", zone,
               have);
        machine_check();
        return false;
    }
    EXPECT(order < PMM_ORDERS, "expected 0, as no block has that order, found 0x%lx", pa);
    check_block(pa, order);
    machine_put((pa - machine_pa(0)) / PGSIZE, order, FRAME_USED);
    machine_check();
    return true;
}

static void
take_all_of(unsigned order)
{
    while (take(order))
        ;
}

/* All of one zone's memory, then all of the next: orders for which only the last zone has a block. */
static void
take_from_last(void)
{
    machine_new(2);
    machine_bank(1, 63);
    machine_bank(70, 50);
    machine_bank(150, 800);
    machine_put_free(1, 63);
    machine_put_free(96, 5);
    machine_put_free(150, 800);
    machine_start();
    take(9);
    take(7);
    take(9);
    for (unsigned order = 5; order > 1; order--)
        take_all_of(order);
}

static void
take_too_large(void)
{
    static const unsigned order[] = {11, 12, 15,  16,  20,  31,  32,  33,   52,         63,
                                     64, 65, 255, 256, 128, 192, 235, 0x40, 0x80000000, UINT32_MAX};

    machine_new(4);
    machine_bank(0, MACHINE_FRAMES);
    machine_put_free(0, MACHINE_FRAMES);
    machine_start();
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        take(order[i]);
    take_all_of(10);
    take(0);
}

/* Enough free pages, but none of them next to each other. */
static void
take_from_scattered(void)
{
    machine_new(1);
    machine_bank(64, 64);
    for (size_t i = 64; i < 128; i++)
        machine_put(i, 0, i % 2 ? IS_FREE : i % 6 ? FRAME_USED : IS_RESERVED);
    machine_start();
    for (unsigned order = 10; order > 0; order--)
        take(order);
    take(0);
}

CHECK(pmm_alloc)
{
    need_pmm_alloc();
    for (unsigned order = 0; order < PMM_ORDERS; order++) {
        machine_new(2);
        machine_bank(0, 2 * BLOCK_FRAMES);
        machine_put_free(0, 2 * BLOCK_FRAMES);
        machine_start();
        take(order);
        take(order);
    }
    for (unsigned order = 0; order < PMM_ORDERS - 1; order++) {
        size_t at = 1 + check_random_below(30), n = MIN(45UL << order / 2, 990UL);
        machine_new(1);
        machine_bank(at, n);
        machine_put_free(at, n);
        machine_start();
        take_all_of(order);
    }
    for (size_t round = 0; round < 3; round++) {
        odd_machine();
        for (size_t bank = 0; bank < 3; bank++)
            machine_random(bank, 6, 50, 5);
        machine_start();
        for (size_t i = 0; i < 60; i++)
            take((unsigned)check_random_below(i % 8 == 0 ? PMM_ORDERS : 4));
    }
    take_from_last();
    take_from_scattered();
    take_too_large();
}

/* ---- pmm_free ---- */

void
need_pmm_free(void)
{
    machine_new(1);
    machine_bank(5, 900);
    machine_put(16, 2, FRAME_USED);
    machine_start();
    machine_doing("pmm_free(0x%lx, 2)", machine_pa(16));
    int result = pmm_free(machine_pa(16), 2);
    EXPECT(result == 0,
           "expected 0, as a block of order 2 in use begins there, found %s: write pmm_free in "
           "kern/pmm.c",
           error_text(result));
}

/* Free the block in use that begins at frame i. */
static void
give(size_t i)
{
    unsigned order = FRAME_ORDER(machine_is(i));

    machine_doing("pmm_free(0x%lx, %u)", machine_pa(i), order);
    int result = pmm_free(machine_pa(i), order);
    EXPECT(result == 0, "expected 0, as a block of order %u in use begins there, found %s", order,
           error_text(result));
    machine_put(i, order, IS_FREE);
    machine_check();
}

/* All blocks in use, in random order. */
static void
give_all(void)
{
    for (size_t i; machine_pick_used(&i);)
        give(i);
}

/* A single block is missing to whole ones. */
static void
give_last(unsigned order)
{
    size_t i = check_random_below(2 * BLOCK_FRAMES >> order) << order;

    machine_new(2);
    machine_bank(0, 2 * BLOCK_FRAMES);
    machine_put_free(0, 2 * BLOCK_FRAMES);
    machine_put(i, order, FRAME_USED);
    machine_start();
    give(i);
}

/*
 * The block at i, and next to it, where its buddy would be, smaller blocks of which not all are free; or
 * one that is not free at all.
 */
static void
give_beside(unsigned order, uint8_t kind, bool upper)
{
    size_t pair = (2 + check_random_below(4)) << (order + 1);
    size_t i = pair + (upper ? 1UL << order : 0), buddy = pair + (upper ? 0 : 1UL << order);

    machine_new(1);
    machine_bank(3, 900);
    machine_put(i, order, FRAME_USED);
    if (kind == IS_FREE) {
        size_t half = 1UL << (order - 1);
        bool first = check_random() % 2;
        machine_put(buddy, order - 1, first ? IS_FREE : FRAME_USED);
        machine_put(buddy + half, order - 1, first ? FRAME_USED : IS_FREE);
    } else {
        machine_put(buddy, order, kind);
    }
    machine_start();
    give(i);
    give_all();
}

CHECK(pmm_free)
{
    static const uint8_t beside[] = {IS_FREE, IS_RESERVED, FRAME_USED, FRAME_SHARED};

    need_pmm_free();
    for (unsigned order = 0; order < PMM_ORDERS; order++)
        give_last(order);
    for (unsigned order = 1; order < 7; order++)
        for (size_t i = 0; i < ARRAY_SIZE(beside); i++)
            give_beside(order, beside[i], (order + i) % 2);
    for (unsigned upper = 0; upper < 2; upper++) {
        give_beside(3, IS_FREE, upper);
        give_beside(0, IS_RESERVED, upper);
        give_beside(0, FRAME_CACHED, upper);
    }
    for (unsigned round = 0; round < 3; round++) {
        odd_machine();
        for (size_t bank = 0; bank < 3; bank++)
            machine_random(bank, 4 + 3 * round, 20, round % 2 ? 4 : 0);
        machine_start();
        give_all();
    }
    /* The largest blocks have no buddies. */
    machine_new(4);
    machine_bank(0, MACHINE_FRAMES);
    machine_put_used(0, MACHINE_FRAMES);
    machine_start();
    give_all();
}

/* ---- pmm_refuse ---- */

static void
refused(uint64_t pa, unsigned order, const char *why)
{
    machine_doing("pmm_free(0x%lx, %u)", pa, order);
    int result = pmm_free(pa, order);
    EXPECT(result == -EINVAL, "expected -EINVAL, as %s, found %s", why, error_text(result));
    machine_check();
}

static void
refused_shared(size_t i)
{
    unsigned order = FRAME_ORDER(machine_is(i));

    machine_doing("pmm_free(0x%lx, %u)", machine_pa(i), order);
    int result = pmm_free(machine_pa(i), order);
    EXPECT(result == -EBUSY, "expected -EBUSY, as the block is shared, found %s",
           error_text(result));
    machine_check();
    order = (order + 1) % PMM_ORDERS; /* neither shared nor there: either error will do */
    machine_doing("pmm_free(0x%lx, %u)", machine_pa(i), order);
    result = pmm_free(machine_pa(i), order);
    EXPECT(result == -EBUSY || result == -EINVAL,
           "expected -EINVAL, as no block of this order begins there, found %s",
           error_text(result));
    machine_check();
}

/* Blocks of all kinds, the shared and cached ones in place of some that are in use. */
static void
mixed_machine(void)
{
    size_t i;

    odd_machine();
    for (size_t bank = 0; bank < 3; bank++)
        machine_random(bank, 5, 30, 8);
    for (size_t n = 0; n < 8 && machine_pick_used(&i); n++)
        machine_put(i, FRAME_ORDER(machine_is(i)), FRAME_SHARED);
    for (size_t n = 0; n < 6 && machine_pick(FRAME_USED, &i); n++)
        machine_put(i, 0, FRAME_CACHED);
    machine_start();
}

/* One frame, whatever it is. */
static void
refuse_frame(size_t i)
{
    uint64_t pa = machine_pa(i);
    uint8_t is = machine_is(i);
    unsigned order = FRAME_ORDER(is);

    switch (is) {
    case IS_HOLE:
        refused(pa, (unsigned)check_random_below(3), "there is no RAM");
        return;
    case IS_RESERVED:
        refused(pa, (unsigned)check_random_below(3), "the page is reserved");
        return;
    case FRAME_CACHED:
        refused(pa, 0, "the page is in kalloc's cache");
        return;
    case IS_FREE:
        machine_block(i, &order);
        refused(pa, order, "it is free already");
        refused(pa, 0, "it is free already");
        return;
    case IS_INSIDE:
        refused(pa, (unsigned)check_random_below(2), "this is the middle of a block");
        machine_block(i, &order);
        refused(pa, order, "this is the middle of a block");
        return;
    default:
        break;
    }
    if (FRAME_KIND(is) == FRAME_SHARED) {
        refused_shared(i);
        return;
    }
    refused(pa, order + 1, "the block that begins there has another order");
    if (order > 0)
        refused(pa, (unsigned)check_random_below(order), "the block has another order");
    refused(pa + 1 + check_random_below(PGSIZE - 1), order, "it is no page's address");
}

static void
refuse_foreign(void)
{
    uint64_t first = machine_pa(0), stop = machine_pa(machine_frames());
    size_t i;

    refused(first - PGSIZE, 0, "there is no RAM");
    refused(stop, 0, "there is no RAM");
    refused(stop, 10, "there is no RAM");
    refused(stop + (1UL << 40), 0, "there is no RAM");
    refused(0, 0, "0 is no page");
    refused(PGSIZE, 0, "there is no RAM");
    refused(UINT64_MAX, 0, "there is no RAM");
    refused(ROUNDDOWN(UINT64_MAX, PGSIZE), 0, "there is no RAM");
    if (machine_pick_used(&i))
        refused((uint64_t)P2V(machine_pa(i)), FRAME_ORDER(machine_is(i)),
                "this is a kernel address");
}

/* Orders that are none, but make one if they are added to something, or cut short. */
static void
refuse_orders(void)
{
    static const unsigned none[] = {0x40, 0x80, 0xc0, 0x100, 0x10000, 0x80000000, UINT32_MAX};
    size_t i;

    for (size_t n = 0; n < ARRAY_SIZE(none); n++) {
        if (machine_pick_used(&i))
            refused(machine_pa(i), FRAME_ORDER(machine_is(i)) + none[n], "there is no such order");
        if (machine_pick(FRAME_SHARED, &i))
            refused(machine_pa(i), none[n], "there is no such order");
        if (machine_pick(FRAME_CACHED, &i))
            refused(machine_pa(i), none[n], "there is no such order");
    }
    for (unsigned order = PMM_ORDERS; order < 70; order += 7)
        if (machine_pick_used(&i))
            refused(machine_pa(i), order, "there is no such order");
}

/* The same block a second time, after it has become part of a larger one or not. */
static void
refuse_twice(void)
{
    size_t i;

    for (size_t n = 0; n < 12 && machine_pick_used(&i); n++) {
        unsigned order = FRAME_ORDER(machine_is(i));
        give(i);
        refused(machine_pa(i), order, "it was freed just before");
    }
}

CHECK(pmm_refuse)
{
    static const uint8_t kinds[] = {IS_HOLE,    IS_RESERVED,  FRAME_CACHED, IS_FREE,
                                    FRAME_USED, FRAME_SHARED, IS_INSIDE};
    size_t i;

    need_pmm_free();
    for (size_t round = 0; round < 2; round++) {
        mixed_machine();
        for (size_t n = 0; n < 3 * ARRAY_SIZE(kinds); n++)
            if (machine_pick(kinds[n % ARRAY_SIZE(kinds)], &i))
                refuse_frame(i);
        for (size_t n = 0; n < 20; n++)
            refuse_frame(check_random_below(machine_frames()));
        refuse_foreign();
        refuse_orders();
        refuse_twice();
    }
}
