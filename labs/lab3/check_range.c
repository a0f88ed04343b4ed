/*
 * Lab 3's checks of pmm_free_range, on imaginary machines.
 */
#include "check.h"
#include "errno.h"
#include "lab3.h"
#include "pmm.h"
#include "sysreg.h"

void
need_pmm_free_range(void)
{
    machine_new(1);
    machine_bank(5, 900);
    machine_put(16, 2, FRAME_USED);
    machine_start();
    machine_doing("pmm_free_range(0x%lx, 4)", machine_pa(16));
    int result = pmm_free_range(machine_pa(16), 4);
    EXPECT(result == 0,
           "expected 0, as these are the 4 pages of a block in use, found %s: write "
           "pmm_free_range in kern/pmm.c",
           error_text(result));
}

/* The model's side: what is left of blocks that were cut is in use still. */
static void
model_range(size_t first, size_t n)
{
    unsigned order;
    size_t before = machine_block(first, &order);
    size_t after = machine_block(first + n - 1, &order);

    after += 1UL << order;
    machine_put_used(before, first - before);
    machine_put_used(first + n, after - (first + n));
    machine_put_free(first, n);
}

static void
give_range(size_t first, size_t n)
{
    machine_doing("pmm_free_range(0x%lx, %lu)", machine_pa(first), n);
    int result = pmm_free_range(machine_pa(first), n);
    EXPECT(result == 0, "expected 0, as all these pages are in use, found %s", error_text(result));
    model_range(first, n);
    machine_check();
}

/* A random part of the pages in use in a row that frame i is one of. */
static void
give_around(size_t i)
{
    size_t first = i, stop = i;

    while (first > 0 && (machine_is(first - 1) < PMM_ORDERS || machine_is(first - 1) == IS_INSIDE))
        first--;
    while (machine_is(stop) < PMM_ORDERS || machine_is(stop) == IS_INSIDE)
        stop++;
    first += check_random_below(i - first + 1);
    give_range(first, 1 + check_random_below(stop - first));
}

/* What is left, as the blocks that the contract says it consists of; by order or by range. */
static void
give_rest(void)
{
    for (size_t i; machine_pick_used(&i);) {
        unsigned order = FRAME_ORDER(machine_is(i));
        if (check_random() % 2) {
            give_range(i, 1UL << order);
            continue;
        }
        machine_doing("pmm_free(0x%lx, %u), of what pmm_free_range has left", machine_pa(i), order);
        int result = pmm_free(machine_pa(i), order);
        EXPECT(result == 0, "expected 0, found %s", error_text(result));
        machine_put(i, order, IS_FREE);
        machine_check();
    }
}

/* One block with others beside it, all in use; pages `from` to `from` + n - 1 of it are freed. */
static void
give_part(unsigned order, size_t from, size_t n)
{
    size_t i = 1UL << order;

    machine_new(2);
    machine_bank(1, 2 * BLOCK_FRAMES - 1);
    machine_put(i, order, FRAME_USED);
    if (order < 9)
        machine_put(i << 1, order, FRAME_USED);
    machine_start();
    give_range(i + from, n);
    give_rest();
}

/* Blocks in use everywhere, in odd banks. */
static void
used_machine(unsigned max)
{
    size_t at = check_random_below(40), n = 30 + check_random_below(130);

    machine_new(1);
    machine_bank(at, n);
    at += n + 1 + check_random_below(40);
    machine_bank(at, 40 + check_random_below(130));
    for (size_t bank = 0; bank < 2; bank++)
        machine_random(bank, max, 8, 2);
    machine_start();
}

/* ---- how long it takes ---- */

static uint64_t
now(void)
{
    __asm__ volatile("isb"
                     :
                     :
                     : "memory"); /* what came before is done, or the count is read early */
    return read_sysreg(cntpct_el0);
}

#define SPEED_TRIES 8

/* How long it takes to free four blocks of the largest order; *pagewise: to look at their 4096 pages. */
static uint64_t
time_of_four_blocks(uint64_t *pagewise)
{
    size_t used = 0;

    machine_new(4);
    machine_bank(0, MACHINE_FRAMES);
    machine_put_used(0, MACHINE_FRAMES);
    machine_start();
    uint64_t start = now();
    for (size_t i = 0; i < MACHINE_FRAMES; i++)
        used += frames.state[i] == FRAME_USED + PMM_ORDERS - 1;
    *pagewise = now() - start;
    EXPECT(used == MACHINE_BLOCKS, "a mistake in the check itself: blocks");
    machine_doing("pmm_free_range(0x%lx, %lu) of four blocks", machine_pa(0), MACHINE_FRAMES);
    start = now();
    int result = pmm_free_range(machine_pa(0), MACHINE_FRAMES);
    uint64_t time = now() - start;
    EXPECT(result == 0, "expected 0, as all these pages are in use, found %s", error_text(result));
    return time;
}

/* Under make qemu the clock is the host's, and whatever else the host does counts as well: try again. */
static void
check_time(void)
{
    uint64_t pagewise, time = time_of_four_blocks(&pagewise);

    for (size_t i = 1; i < SPEED_TRIES && time > 3 * pagewise; i++)
        time = time_of_four_blocks(&pagewise);
    EXPECT(time <= 3 * pagewise,
           "it takes %lu times as long as looking at the state of each page: expected a time that "
           "depends on how many blocks there are",
           time / pagewise);
}

CHECK(free_range)
{
    size_t i;

    need_pmm_free_range();
    for (unsigned order = 1; order < PMM_ORDERS; order++) {
        size_t size = 1UL << order, part = 1 + check_random_below(size - 1);
        give_part(order, 0, size);
        give_part(order, 0, part);
        give_part(order, size - part, part);
        give_part(order, check_random_below(size), 1);
        if (order > 1)
            give_part(order, 1, size - 2);
        if (order > 3)
            give_part(order, size / 4 + 1, 2 + check_random_below(size / 2));
    }
    /* Six pages, as a block of four and one of two: the second to the fifth. */
    machine_new(1);
    machine_bank(7, 90);
    machine_put_used(16, 6);
    machine_start();
    give_range(17, 4);
    give_rest();
    /* All that there is. */
    machine_new(4);
    machine_bank(3, MACHINE_FRAMES - 4);
    machine_put_used(3, MACHINE_FRAMES - 4);
    machine_start();
    give_range(3, MACHINE_FRAMES - 4);
    for (unsigned max = 0; max < 9; max += 2) {
        used_machine(max);
        for (size_t n = 0; n < 16 && machine_pick_used(&i); n++)
            give_around(i);
        give_rest();
    }
    check_time();
}

/* ---- range_refuse ---- */

static void
range_refused(uint64_t pa, size_t n, int error, const char *why)
{
    machine_doing("pmm_free_range(0x%lx, %lu)", pa, n);
    int result = pmm_free_range(pa, n);
    EXPECT(result == error, "expected %s, as %s, found %s", error_text(error), why,
           error_text(result));
    machine_check();
}

/* A range in which not every page is in use. Returns false when there is nothing wrong with it. */
static bool
wrong_range(size_t first, size_t n)
{
    bool shared = false, unused = false;
    size_t at = 0;
    unsigned order;

    for (size_t i = first; i < first + n; i++) {
        uint8_t is = machine_is(i);
        if (is == IS_INSIDE)
            is = machine_is(machine_block(i, &order));
        if (FRAME_KIND(is) == FRAME_SHARED) {
            shared = true;
        } else if (FRAME_KIND(is) != FRAME_USED && !unused) {
            unused = true;
            at = i;
        }
    }
    if (!shared && !unused)
        return false;
    if (!shared || !unused) {
        range_refused(machine_pa(first), n, shared ? -EBUSY : -EINVAL,
                      shared                             ? "one of the blocks is shared"
                      : machine_is(at) == IS_FREE        ? "one of the pages is free"
                      : machine_is(at) == IS_RESERVED    ? "one of the pages is reserved"
                      : machine_is(at) == (FRAME_CACHED) ? "one of the pages is in kalloc's cache"
                                                         : "it goes on where there is no RAM");
        return true;
    }
    machine_doing("pmm_free_range(0x%lx, %lu)", machine_pa(first), n);
    int result = pmm_free_range(machine_pa(first), n);
    EXPECT(result == -EBUSY || result == -EINVAL,
           "expected -EINVAL, as one of the pages is not in use, or -EBUSY, as one is shared, "
           "found %s",
           error_text(result));
    machine_check();
    return true;
}

/* A range around frame i, with something wrong at its front, in its middle, or at its end. */
static void
wrong_around(size_t i)
{
    size_t before = check_random_below(3) == 0 ? 0 : check_random_below(12);
    size_t behind = check_random_below(3) == 0 ? 0 : check_random_below(12);

    before = MIN(before, i);
    wrong_range(i - before, before + 1 + behind);
}

static void
wrong_numbers(size_t i)
{
    uint64_t pa = machine_pa(i), all = UINT64_MAX / PGSIZE + 1;
    static const uint64_t none[] = {1UL << 32, 1UL << 51, 1UL << 52, 1UL << 63};

    range_refused(pa, 0, -EINVAL, "it is no page at all");
    range_refused(pa + 1 + check_random_below(PGSIZE - 1), 1, -EINVAL, "it is no page's address");
    for (size_t n = 0; n < ARRAY_SIZE(none); n++)
        for (size_t more = 0; more < 2; more++)
            range_refused(pa, none[n] + more, -EINVAL, "there is not so much RAM");
    range_refused(pa, UINT64_MAX, -EINVAL, "there is not so much RAM");
    range_refused(pa, UINT64_MAX - i, -EINVAL, "there is not so much RAM");
    range_refused(pa, UINT64_MAX - i + 1, -EINVAL, "there is not so much RAM");
    range_refused(pa, UINT64_MAX - i + 2, -EINVAL, "there is not so much RAM");
    range_refused(pa, all - i, -EINVAL, "there is not so much RAM");
    range_refused(pa, machine_frames() - i + 1, -EINVAL, "there is not so much RAM");
    range_refused((uint64_t)P2V(pa), 1, -EINVAL, "this is a kernel address");
    range_refused(0, 1, -EINVAL, "0 is no page");
    range_refused(0, all, -EINVAL, "0 is no page");
    range_refused(machine_pa(0) - PGSIZE, 1, -EINVAL, "there is no RAM");
    range_refused(machine_pa(machine_frames()), 1, -EINVAL, "there is no RAM");
    range_refused(UINT64_MAX, 1, -EINVAL, "it is no page's address");
}

CHECK(range_refuse)
{
    static const uint8_t kinds[] = {IS_FREE, IS_RESERVED, FRAME_CACHED, IS_HOLE};
    size_t i = 0;

    need_pmm_free_range();
    for (unsigned round = 0; round < 4; round++) {
        used_machine(round);
        for (size_t n = 0; n < 3 && machine_pick_used(&i); n++)
            machine_put(i, FRAME_ORDER(machine_is(i)), FRAME_SHARED);
        for (size_t n = 0; n < 3 && machine_pick(FRAME_USED, &i); n++)
            machine_put(i, 0, FRAME_CACHED);
        machine_start();
        for (size_t n = 0; n < 24; n++)
            if (machine_pick(kinds[n % ARRAY_SIZE(kinds)], &i))
                wrong_around(i);
        for (unsigned order = 0; order <= round; order++)
            if (machine_pick((uint8_t)(FRAME_SHARED + order), &i)) {
                wrong_range(i + check_random_below(1UL << order), 1);
                wrong_around(i);
            }
    }
    /* Everything in use, up to the end of the RAM, of the table too. */
    machine_new(1);
    machine_bank(5, 100);
    machine_bank(106, BLOCK_FRAMES - 106);
    machine_put_used(5, 100);
    machine_put_used(106, BLOCK_FRAMES - 106);
    machine_start();
    wrong_range(4, 1);
    wrong_range(4, 2);
    wrong_range(100, 6);
    wrong_range(104, 3);
    wrong_range(105, 4);
    wrong_range(90, 300);
    wrong_numbers(10 + check_random_below(90));
    wrong_numbers(106 + check_random_below(BLOCK_FRAMES - 106));
}
