/*
 * Lab 3's check of pages that several share, on imaginary machines.
 */
#include "check.h"
#include "errno.h"
#include "lab3.h"
#include "pmm.h"

#define USERS_MOST 0x7fffffff /* 2^31 - 1 */

void
need_page_share(void)
{
    machine_new(1);
    machine_bank(5, 900);
    machine_put(16, 2, FRAME_USED);
    machine_start();
    machine_doing("page_share(0x%lx)", machine_pa(16));
    int result = page_share(machine_pa(16));
    EXPECT(result != -EINVAL, "expected 2, found -EINVAL: write page_share in kern/pmm.c");
    EXPECT(result == 2, "expected 2, the users that there are now, found %s", error_text(result));
    machine_put(16, 2, FRAME_SHARED);
    machine_check();
    machine_doing("page_refs(0x%lx) of a shared block", machine_pa(16));
    unsigned refs = page_refs(machine_pa(16));
    EXPECT(refs != 0, "expected 2, found 0: write page_refs in kern/pmm.c");
    EXPECT(refs == 2, "expected 2, found %u", refs);
    machine_doing("page_unshare(0x%lx), users before: 2", machine_pa(16));
    result = page_unshare(machine_pa(16));
    EXPECT(result != -EINVAL, "expected 1, found -EINVAL: write page_unshare in kern/pmm.c");
    EXPECT(result == 1, "expected 1, the users that are left, found %s", error_text(result));
}

/* page_refs of the page at frame i, whatever it is; pa need not be aligned. */
static void
check_refs(size_t i)
{
    uint64_t pa = machine_pa(i) + (check_random() % 2 ? check_random_below(PGSIZE) : 0);
    unsigned wanted = 0, order;
    uint8_t is = machine_is(i);
    size_t head = i;

    if (is == IS_INSIDE) {
        head = machine_block(i, &order);
        is = machine_is(head);
    }
    if (is < PMM_ORDERS)
        wanted = 1;
    else if (FRAME_KIND(is) == FRAME_SHARED)
        wanted = machine_users(head);
    machine_doing("page_refs(0x%lx)", pa);
    unsigned found = page_refs(pa);
    EXPECT(found == wanted, "expected %u, as the page is %s, found %u", wanted,
           is == IS_HOLE                    ? "no RAM"
           : is == IS_RESERVED              ? "reserved"
           : is == IS_FREE                  ? "free"
           : is == FRAME_CACHED             ? "in kalloc's cache"
           : FRAME_KIND(is) == FRAME_SHARED ? "of a shared block"
                                            : "of a block with one user",
           found);
}

/* The head, the pages inside, and the neighbours of a block. */
static void
check_refs_around(size_t i)
{
    unsigned order;
    size_t first = machine_block(i, &order), n = 1UL << order;

    check_refs(first);
    check_refs(first + n - 1);
    check_refs(first + check_random_below(n));
    check_refs(first + n);
    if (first > 0)
        check_refs(first - 1);
}

/* One more user. */
static void
share(size_t i)
{
    unsigned order = FRAME_ORDER(machine_is(i)), users = 1;

    if (FRAME_KIND(machine_is(i)) == FRAME_SHARED)
        users = machine_users(i);
    machine_doing("page_share(0x%lx), users before: %u", machine_pa(i), users);
    int result = page_share(machine_pa(i));
    EXPECT(result == (int)users + 1, "expected %u, found %s", users + 1, error_text(result));
    machine_put(i, order, FRAME_SHARED);
    machine_put_users(i, users + 1);
}

/* One user less. */
static void
unshare(size_t i)
{
    unsigned order = FRAME_ORDER(machine_is(i)), users = 1;

    if (FRAME_KIND(machine_is(i)) == FRAME_SHARED)
        users = machine_users(i);
    machine_doing("page_unshare(0x%lx), users before: %u", machine_pa(i), users);
    int result = page_unshare(machine_pa(i));
    EXPECT(result == (int)users - 1, "expected %u, found %s", users - 1, error_text(result));
    machine_put(i, order, users > 2 ? FRAME_SHARED : users > 1 ? FRAME_USED : IS_FREE);
    if (users > 2)
        machine_put_users(i, users - 1);
}

static void
refused(uint64_t pa, int error, const char *why)
{
    for (unsigned turn = 0; turn < 2; turn++) {
        if (turn > 0 && error == -EBUSY)
            return;
        machine_doing("%s(0x%lx)", turn > 0 ? "page_unshare" : "page_share", pa);
        int result = turn > 0 ? page_unshare(pa) : page_share(pa);
        EXPECT(result == error, "expected %s, as %s, found %s", error_text(error), why,
               error_text(result));
        machine_check();
    }
}

/* Where no block in use begins. */
static void
refuse_frame(size_t i)
{
    uint64_t pa = machine_pa(i);
    uint8_t is = machine_is(i);

    if (is == IS_HOLE)
        refused(pa, -EINVAL, "there is no RAM");
    else if (is == IS_RESERVED)
        refused(pa, -EINVAL, "the page is reserved");
    else if (is == IS_FREE)
        refused(pa, -EINVAL, "the page is free");
    else if (is == IS_INSIDE)
        refused(pa, -EINVAL, "this is the middle of a block");
    else if (is == FRAME_CACHED)
        refused(pa, -EINVAL, "the page is in kalloc's cache");
    else
        refused(pa + 1 + check_random_below(PGSIZE - 1), -EINVAL, "it is no page's address");
    check_refs(i);
}

static void
refuse_all_kinds(void)
{
    static const uint8_t kinds[] = {IS_HOLE, IS_RESERVED, IS_FREE, IS_INSIDE, FRAME_CACHED};
    size_t i;

    for (size_t n = 0; n < 3 * ARRAY_SIZE(kinds); n++)
        if (machine_pick(kinds[n % ARRAY_SIZE(kinds)], &i))
            refuse_frame(i);
    if (machine_pick_used(&i))
        refuse_frame(i);
    if (machine_pick(FRAME_SHARED, &i))
        refuse_frame(i);
    refused(0, -EINVAL, "0 is no page");
    refused(machine_pa(0) - PGSIZE, -EINVAL, "there is no RAM");
    refused(machine_pa(machine_frames()), -EINVAL, "there is no RAM");
    refused(UINT64_MAX, -EINVAL, "it is no page's address");
    if (machine_pick_used(&i))
        refused((uint64_t)P2V(machine_pa(i)), -EINVAL, "this is a kernel address");
    machine_doing("page_refs of what is no RAM");
    EXPECT(page_refs(0) == 0 && page_refs(machine_pa(0) - 1) == 0
               && page_refs(machine_pa(machine_frames())) == 0 && page_refs(UINT64_MAX) == 0,
           "expected 0");
}

/* Two banks with blocks of all kinds. */
static void
shared_machine(void)
{
    size_t i;

    machine_new(1);
    machine_bank(3 + check_random_below(40), 300 + check_random_below(100));
    machine_bank(450 + check_random_below(90), 480 - check_random_below(100));
    for (size_t bank = 0; bank < 2; bank++)
        machine_random(bank, 5, 30, 5);
    for (size_t n = 0; n < 5 && machine_pick(FRAME_USED, &i); n++)
        machine_put(i, 0, FRAME_CACHED);
    machine_start();
}

/* Many users, counted one by one; more, as the table says that there are. */
static void
share_with_many(size_t i)
{
    static const unsigned many[] = {254, 65534, 70000, 0x7ffffffd};

    machine_doing("page_share(0x%lx), again and again", machine_pa(i));
    for (int users = 2; users < 300; users++) {
        int result = page_share(machine_pa(i));
        EXPECT(result == users + 1, "expected %d, found %s", users + 1, error_text(result));
    }
    machine_put_users(i, 300);
    machine_check();
    check_refs_around(i);
    for (size_t n = 0; n < ARRAY_SIZE(many); n++) {
        machine_put_users(i, many[n]);
        machine_start();
        share(i);
        share(i);
        machine_check();
        check_refs_around(i);
        if (many[n] + 2 == USERS_MOST)
            refused(machine_pa(i), -EBUSY, "there are 2^31 - 1 users already");
        for (size_t turn = 0; turn < 3; turn++)
            unshare(i);
        machine_check();
        check_refs_around(i);
    }
    machine_put_users(i, 4);
    machine_start();
}

/* Down to none: the block is free, and merged. */
static void
unshare_to_none(size_t i)
{
    while (machine_is(i) != IS_FREE) {
        unshare(i);
        machine_check();
    }
    check_refs(i);
    refused(machine_pa(i), -EINVAL, "it has become free just before");
}

CHECK(page_share)
{
    size_t i, mine[6];

    need_page_share();
    for (size_t round = 0; round < 2; round++) {
        shared_machine();
        refuse_all_kinds();
        /* Several blocks, in turn. */
        for (size_t n = 0; n < ARRAY_SIZE(mine); n++) {
            EXPECT(machine_pick_used(&mine[n]), "a mistake in the check itself: no blocks");
            share(mine[n]);
            machine_check();
        }
        for (size_t n = 0; n < 20; n++) {
            i = mine[check_random_below(ARRAY_SIZE(mine))];
            share(i);
            if (check_random() % 2)
                unshare(i);
            machine_check();
            check_refs_around(i);
        }
        refuse_all_kinds();
        for (size_t n = 0; n < 30; n++)
            check_refs(check_random_below(machine_frames()));
        for (size_t n = 0; n < ARRAY_SIZE(mine); n++)
            unshare_to_none(mine[n]);
    }
    for (unsigned order = 0; order < PMM_ORDERS; order++) {
        machine_new(2);
        machine_bank(0, 2 * BLOCK_FRAMES);
        machine_put_free(0, 2 * BLOCK_FRAMES);
        i = (1 + check_random_below((2 * BLOCK_FRAMES >> order) - 1)) << order;
        machine_put(i, order, FRAME_USED);
        machine_start();
        share(i);
        share(i);
        machine_check();
        check_refs_around(i);
        unshare_to_none(i);
    }
    shared_machine();
    EXPECT(machine_pick_used(&i), "a mistake in the check itself: no blocks");
    share(i);
    share_with_many(i);
    unshare_to_none(i);
}
