/*
 * Lab 2's checks: kfree and pgdir_walk. The others are in check_map.c, check_vm_free.c and
 * check_whole.c.
 */
#include "check.h"
#include "kalloc.h"
#include "lab2.h"
#include "mmu.h"
#include "page.h"
#include "string.h"
#include "vm.h"

/* ---- kfree ---- */

/* The only free page. */
static char *
only_page(void)
{
    char *page = kalloc();

    EXPECT(page, "kalloc() returned NULL: expected the page that was freed just before");
    return page;
}

/* Free a page full of the byte; mark in kept[] each byte that kfree left as it was. */
static char *
free_filled(int byte, bool kept[PGSIZE])
{
    char *page = only_page();

    memset(page, byte, PGSIZE);
    check_doing("kfree(%p)", (void *)page);
    kfree(page);
    for (size_t i = 0; i < PGSIZE; i++)
        kept[i] &= page[i] == (char)byte;
    return page;
}

CHECK(kfree_junk)
{
    static bool kept[PGSIZE];
    int byte = (int)check_random_below(256);
    bool zero = true;

    pool_start(1);
    memset(kept, true, sizeof(kept));
    free_filled(byte, kept);
    const char *page = free_filled(byte ^ 0xff, kept);
    for (size_t i = sizeof(struct run); i < PGSIZE; i++) {
        EXPECT(!kept[i],
               "expected the whole page to be filled with junk, found byte %lu of it unchanged", i);
        zero = zero && page[i] == 0;
    }
    EXPECT(!zero, "expected junk in the freed page, found zeroes: a table that nobody clears, or a "
                  "pointer into the page, would go unnoticed");
    pool_check();

    /* Junk stays within its page. */
    uint64_t *other[32];
    for (size_t i = 0; i < ARRAY_SIZE(other); i++)
        other[i] = page_take(i + 0x5eed);
    pool_set(200);
    for (size_t i = 0; i < ARRAY_SIZE(other); i++)
        for (size_t word = 0; word < NPTE; word++)
            EXPECT(other[i][word] == i + 0x5eed,
                   "kfree changed the page %p, which is in use: expected it to write its own page "
                   "only",
                   (void *)other[i]);
}

static void
call_kfree(void *page)
{
    kfree(page);
}

static void
expect_refused(void *page, const char *why)
{
    check_doing("kfree(%p)", page);
    const char *message = check_panics(call_kfree, page);
    EXPECT(message, "it returned: expected a panic, because this %s", why);
    EXPECT(strncmp(message, "fault", 5) != 0,
           "it touched the page before it looked at the address (%s): expected a panic, because "
           "this %s",
           message, why);
    pool_check();
}

CHECK(kfree_bad)
{
    pool_start(3);
    char *page = (char *)page_take(0);

    expect_refused(page + 8, "is not page-aligned");
    expect_refused(page + 1 + check_random_below(PGSIZE - 1), "is not page-aligned");
    expect_refused(NULL, "is no page at all");
    expect_refused((void *)V2P(page), "is a physical address");
    expect_refused(ROUNDDOWN(image_start, PGSIZE), "is a page of the kernel's image");
    expect_refused(P2V(V2P(etext) - PGSIZE), "is a page of the kernel's image");
    expect_refused(P2V(ROUNDDOWN(V2P(end) - 1, PGSIZE)), "is a page of the kernel's image");
    expect_refused(P2V(0), "lies below the kernel's image");
    expect_refused(P2V(PHYSTOP), "lies at PHYSTOP, behind the last page");
    expect_refused(P2V(DEVICES_PA + 0x200000), "is a device");
    expect_refused(P2V(1UL << 40), "lies far behind the last page");
    for (size_t i = 0; i < PGSIZE; i++)
        EXPECT(page[i] == 0, "a kfree that panicked had changed the page already, at %p",
               (void *)&page[i]);
}

/* ---- pgdir_walk ---- */

static uint64_t *pgdir;
static const char *where = ""; /* what is special about the call, for messages */

static uint64_t *
walk(uint64_t va, int64_t alloc)
{
    check_doing("pgdir_walk(pgdir, 0x%lx, %ld)%s", va, alloc, where);
    check_table.va = va;
    return pgdir_walk(pgdir, (const void *)va, alloc);
}

void
need_pgdir_walk(void)
{
    where = "";
    pgdir = tree_start(8, LOWER);
    EXPECT(walk(0x400000, 1), "returned NULL with pages free: write pgdir_walk in kern/vm.c");
}

/* Walk, making tables; the entry must be the right one. */
static uint64_t *
walk_ok(uint64_t va)
{
    uint64_t *entry = walk(va, 1);

    EXPECT(entry, "returned NULL with pages free: expected the entry");
    if (tree_lacks(va, 1))
        tree_add(3, va, 0);
    tree_check();
    EXPECT(tree_entry(va, 3), "the tables that were made do not lead to level 3 for this address");
    EXPECT(entry == tree_entry(va, 3),
           "returned %p: expected %p, the address of entry %lu in the level 3 table", (void *)entry,
           (void *)tree_entry(va, 3), PTX(3, va));
    return entry;
}

/* The same page's entry however it is asked for; nothing is allocated for it. */
static void
walk_again(uint64_t va, const uint64_t *entry)
{
    for (int64_t alloc = 0; alloc <= 1; alloc++) {
        const uint64_t *again = walk(va + check_random_below(PGSIZE), alloc);
        EXPECT(again == entry, "returned %p: expected %p, as before: all tables are there",
               (const void *)again, (const void *)entry);
    }
    tree_check();
}

static void
walk_half(uint64_t half)
{
    pgdir = tree_start(64, half);
    for (size_t i = 0; i < 12; i++) {
        uint64_t va = tree_place(1);
        bool there = tree_tables_for(va, 1) == 0;
        const uint64_t *entry = walk(va, 0);
        EXPECT(there || !entry, "returned %p: expected NULL, as a table is missing",
               (const void *)entry);
        tree_check();
        pool_check();

        uint64_t *made = walk_ok(va);
        EXPECT(!there || entry == made, "returned %p: expected %p, as with alloc = 0", (void *)made,
               (const void *)entry);
        walk_again(va, made);
        pool_check();
        /* From now on the entry is in use: valid, or with bit 0 clear. It stays as it is. */
        *made = check_random() | 1;
        if (i % 3 == 0)
            *made &= ~1UL;
        tree_add(3, va, *made);
        walk_again(va, made);
    }
    /* The ends of the half: first and last index at each level. */
    walk_ok(half);
    walk_ok(half | 0x0000fffffffff000);
    pool_check();
}

CHECK(pgdir_walk)
{
    need_pgdir_walk();
    walk_half(LOWER);
    walk_half(UPPER);
}

/* With n pages free and three tables missing: NULL. */
static void
walk_with(size_t n)
{
    where = ", with too few pages free";
    pgdir = tree_start(n, n % 2 ? UPPER : LOWER);
    uint64_t va = tree_place(1);
    const uint64_t *entry = walk(va, 1);
    EXPECT(!entry, "returned %p with %lu pages free where 3 tables are missing: expected NULL",
           (const void *)entry, n);
    /* Tables made so far may stay, if they are whole and reachable. */
    for (int level = 1; level <= 3; level++)
        if (tree_entry(va, level))
            tree_add(level, va, 0);
    tree_check();
    pool_check();
}

static void
block_in_the_way(int level)
{
    where = "";
    pgdir = tree_start(32, LOWER);
    uint64_t va = tree_place(1), block = PTE_ADDR(check_random()) | PTE_AF | PTE_BLOCK;
    walk_ok(va ^ (1UL << PTXSHIFT(level))); /* makes the table that the block is in */
    uint64_t *entry = tree_entry(va, level);
    *entry = block;
    tree_add(level, va, block);
    where = ", with a block in the way";
    for (int64_t alloc = 0; alloc <= 1; alloc++) {
        const uint64_t *below = walk(va, alloc);
        EXPECT(!below, "returned %p: expected NULL, as the level %d entry 0x%lx is a block",
               (const void *)below, level, block);
        tree_check();
        pool_check();
    }
}

/* Bit 0 is clear: nothing is there, whatever the rest says. */
static void
invalid_in_the_way(int level)
{
    where = "";
    pgdir = tree_start(32, UPPER);
    uint64_t va = tree_place(1), decoy = page_decoy("an entry that is not valid");
    walk_ok(va ^ (1UL << PTXSHIFT(level)));
    uint64_t *entry = tree_entry(va, level);
    *entry = decoy | 0x742;
    where = ", with an entry on the way that is not valid";
    const uint64_t *below = walk(va, 0);
    EXPECT(!below,
           "returned %p: expected NULL, as the level %d entry 0x%lx is not valid (bit 0, PTE_P)",
           (const void *)below, level, *entry);
    walk_ok(va);
    pool_check();
}

CHECK(walk_corners)
{
    need_pgdir_walk();
    for (int level = 1; level <= 2; level++) {
        block_in_the_way(level);
        invalid_in_the_way(level);
    }
    invalid_in_the_way(0);
    for (size_t n = 0; n < 3; n++)
        walk_with(n);
}
