/*
 * Lab 3's check of the locks: each function takes the one that its data has, and gives it back on every
 * path, with the interrupt mask as it was.
 */
#include "check.h"
#include "errno.h"
#include "lab3.h"
#include "memmap.h"
#include "pmm.h"
#include "sysreg.h"

/* Bits of DAIF: IRQs and FIQs are masked (ARM ARM C5.2.2). */
#define MASK_I 0x80UL
#define MASK_F 0x40UL

/* Where in the imaginary machine a block of order 1 is in use, or shared; and where pages are free. */
static size_t used, shared, unused;

struct call {
    const char *name;
    void (*call)(void);
    struct spinlock *lock; /* must be taken; NULL: need not be */
};

/* ---- the memmap: frames 100 to 299; frame 0 of the map is in use, frame 1 reserved ---- */

static void
call_init(void)
{
    memmap_init(100 * PGSIZE, 300 * PGSIZE);
}

static void
call_init_nothing(void)
{
    memmap_init(100 * PGSIZE, 100 * PGSIZE);
}

static void
call_reserve(void)
{
    memmap_reserve(110 * PGSIZE, 112 * PGSIZE);
}

static void
call_reserve_nothing(void)
{
    memmap_reserve(112 * PGSIZE, 110 * PGSIZE);
}

static void
call_reserve_outside(void)
{
    memmap_reserve(10 * PGSIZE, 20 * PGSIZE);
}

static void
call_alloc_frame(void)
{
    alloc_frame();
}

static void
call_alloc_frames(void)
{
    alloc_frames(5);
}

static void
call_alloc_frames_none(void)
{
    alloc_frames(0);
}

static void
call_alloc_frames_too_many(void)
{
    alloc_frames(201);
}

static void
call_alloc_frames_huge(void)
{
    alloc_frames(UINT64_MAX);
}

static void
call_free_frame(void)
{
    free_frame(100 * PGSIZE);
}

static void
call_free_reserved(void)
{
    free_frame(101 * PGSIZE);
}

static void
call_free_free(void)
{
    free_frame(250 * PGSIZE);
}

static void
call_free_outside(void)
{
    free_frame(300 * PGSIZE);
}

static void
call_free_unaligned(void)
{
    free_frame(100 * PGSIZE + 8);
}

static const struct call map_calls[] = {
    {"memmap_init of 200 frames", call_init, &memmap_lock},
    {"memmap_init of nothing", call_init_nothing, NULL},
    {"memmap_reserve", call_reserve, &memmap_lock},
    {"memmap_reserve of nothing", call_reserve_nothing, NULL},
    {"memmap_reserve outside the map", call_reserve_outside, NULL},
    {"alloc_frame", call_alloc_frame, &memmap_lock},
    {"alloc_frames(5)", call_alloc_frames, &memmap_lock},
    {"alloc_frames(0)", call_alloc_frames_none, NULL},
    {"alloc_frames of too many", call_alloc_frames_too_many, NULL},
    {"alloc_frames of 2^64 - 1", call_alloc_frames_huge, NULL},
    {"free_frame", call_free_frame, &memmap_lock},
    {"free_frame of a reserved frame", call_free_reserved, NULL},
    {"free_frame of a free frame", call_free_free, NULL},
    {"free_frame outside the map", call_free_outside, NULL},
    {"free_frame of no frame's address", call_free_unaligned, NULL},
};

static const struct call map_calls_full[] = {
    {"alloc_frame with no frame free", call_alloc_frame, NULL},
    {"alloc_frames with no frame free", call_alloc_frames, NULL},
};

/* ---- the pmm ---- */

static void
call_alloc(void)
{
    pmm_alloc(1);
}

static void
call_alloc_huge(void)
{
    pmm_alloc(10);
}

static void
call_alloc_no_order(void)
{
    pmm_alloc(PMM_ORDERS);
}

static void
call_free(void)
{
    pmm_free(machine_pa(used), 1);
}

static void
call_free_no_order(void)
{
    pmm_free(machine_pa(used), PMM_ORDERS);
}

static void
call_free_wrong(void)
{
    pmm_free(machine_pa(unused), 1);
}

static void
call_free_shared(void)
{
    pmm_free(machine_pa(shared), 1);
}

static void
call_free_foreign(void)
{
    pmm_free(machine_pa(machine_frames()), 0);
}

static void
call_range(void)
{
    pmm_free_range(machine_pa(used), 2);
}

static void
call_range_part(void)
{
    pmm_free_range(machine_pa(used), 1);
}

static void
call_range_none(void)
{
    pmm_free_range(machine_pa(used), 0);
}

static void
call_range_unused(void)
{
    pmm_free_range(machine_pa(unused), 2);
}

static void
call_range_too_long(void)
{
    pmm_free_range(machine_pa(used), 500);
}

static void
call_range_shared(void)
{
    pmm_free_range(machine_pa(shared), 1);
}

static void
call_range_foreign(void)
{
    pmm_free_range(machine_pa(machine_frames()), 1);
}

static void
call_range_unaligned(void)
{
    pmm_free_range(machine_pa(used) + 8, 1);
}

static void
call_share(void)
{
    page_share(machine_pa(used));
}

static void
call_share_again(void)
{
    page_share(machine_pa(shared));
}

static void
call_share_unused(void)
{
    page_share(machine_pa(unused));
}

static void
call_share_foreign(void)
{
    page_share(machine_pa(machine_frames()));
}

static void
call_unshare(void)
{
    page_unshare(machine_pa(shared));
}

static void
call_unshare_last(void)
{
    page_unshare(machine_pa(used));
}

static void
call_unshare_unused(void)
{
    page_unshare(machine_pa(unused));
}

static void
call_unshare_foreign(void)
{
    page_unshare(machine_pa(machine_frames()));
}

static void
call_refs(void)
{
    page_refs(machine_pa(used));
}

static void
call_refs_shared(void)
{
    page_refs(machine_pa(shared + 1));
}

static void
call_refs_unused(void)
{
    page_refs(machine_pa(unused));
}

static void
call_refs_foreign(void)
{
    page_refs(machine_pa(machine_frames()));
}

static const struct call pmm_calls[] = {
    {"pmm_alloc(1)", call_alloc, &pmm_lock},
    {"pmm_alloc(10) with no such block", call_alloc_huge, NULL},
    {"pmm_alloc(11)", call_alloc_no_order, NULL},
    {"pmm_free", call_free, &pmm_lock},
    {"pmm_free with order 11", call_free_no_order, NULL},
    {"pmm_free of a free block", call_free_wrong, NULL},
    {"pmm_free of a shared block", call_free_shared, NULL},
    {"pmm_free of what is no RAM", call_free_foreign, NULL},
    {"pmm_free_range of a block", call_range, &pmm_lock},
    {"pmm_free_range of half a block", call_range_part, &pmm_lock},
    {"pmm_free_range of 0 pages", call_range_none, NULL},
    {"pmm_free_range of free pages", call_range_unused, NULL},
    {"pmm_free_range of more than is in use", call_range_too_long, NULL},
    {"pmm_free_range of a shared page", call_range_shared, NULL},
    {"pmm_free_range of what is no RAM", call_range_foreign, NULL},
    {"pmm_free_range of no page's address", call_range_unaligned, NULL},
    {"page_share", call_share, &pmm_lock},
    {"page_share of a shared block", call_share_again, &pmm_lock},
    {"page_share of a free block", call_share_unused, NULL},
    {"page_share of what is no RAM", call_share_foreign, NULL},
    {"page_unshare of a shared block", call_unshare, &pmm_lock},
    {"page_unshare of a block with one user", call_unshare_last, &pmm_lock},
    {"page_unshare of a free block", call_unshare_unused, NULL},
    {"page_unshare of what is no RAM", call_unshare_foreign, NULL},
    {"page_refs", call_refs, &pmm_lock},
    {"page_refs of a shared block", call_refs_shared, &pmm_lock},
    {"page_refs of a free page", call_refs_unused, NULL},
    {"page_refs of what is no RAM", call_refs_foreign, NULL},
};

/* ---- calling them ---- */

/* One call. IRQs are masked all the time, as nobody takes them yet; of FIQs there are none. */
static void
check_call(const struct call *call, bool mask_fiq)
{
    uint64_t before = (read_sysreg(daif) & ~MASK_F) | MASK_I | (mask_fiq ? MASK_F : 0);
    uint16_t ticket = call->lock ? call->lock->next : 0;
    const char *name = "";

    check_doing("%s", call->name);
    write_sysreg(daif, before);
    call->call();
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

static void
start_map(void)
{
    map_start(100, 200);
    map_put(0, true, false);
    map_put(1, true, true);
}

static void
fill_map(void)
{
    map_start(100, 200);
    for (size_t i = 0; i < map_frames(); i++)
        map_put(i, true, false);
}

static void
start_pmm(void)
{
    used = 8;
    shared = 12;
    unused = 16;
    machine_new(1);
    machine_bank(3, 90);
    machine_put(used, 1, FRAME_USED);
    machine_put(shared, 1, FRAME_SHARED);
    machine_put_free(unused, 30);
    machine_start();
}

static void
check_calls(const struct call *calls, size_t n, void (*start)(void))
{
    for (size_t i = 0; i < n; i++)
        for (size_t turn = 0; turn < 2; turn++) {
            start();
            check_call(&calls[i], turn);
        }
}

CHECK(pmm_locks)
{
    need_memmap_init();
    check_doing("alloc_frame()");
    EXPECT(alloc_frame() != 0, "found 0 with 128 frames free: write alloc_frame in kern/memmap.c");
    check_calls(map_calls, ARRAY_SIZE(map_calls), start_map);
    check_calls(map_calls_full, ARRAY_SIZE(map_calls_full), fill_map);
    need_pmm_alloc();
    need_pmm_free();
    need_pmm_free_range();
    need_page_share();
    check_calls(pmm_calls, ARRAY_SIZE(pmm_calls), start_pmm);
}
