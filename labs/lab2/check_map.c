/*
 * Lab 2's checks of map_region. What is ordinary and what is a corner stand apart: a check of the
 * one does not need the other.
 */
#include "check.h"
#include "kalloc.h"
#include "lab2.h"
#include "mmu.h"
#include "printf.h"
#include "sysreg.h"
#include "vm.h"

#define PA_LIMIT (1UL << 48)

/* Attributes that map_region adds; only check_map_attributes looks whether it does. */
#define ADDED (PTE_AF | PTE_SH)

static uint64_t *pgdir;
static char where[64]; /* what is special about the call, for messages */

/* A random page-aligned physical address with room for n pages behind it; no page of anybody's. */
static uint64_t
any_pa(size_t n)
{
    return PGSIZE * check_random_below(PA_LIMIT / PGSIZE - n);
}

int
map(uint64_t va, uint64_t size, uint64_t pa, uint64_t perm)
{
    check_doing("map_region(pgdir, va 0x%lx, size 0x%lx, pa 0x%lx, perm 0x%lx)%s", va, size, pa,
                perm, where);
    check_table.va = va;
    return map_region(pgdir, (void *)va, size, pa, (int64_t)perm);
}

void
map_ok(uint64_t va, uint64_t size, uint64_t pa, uint64_t perm)
{
    int result = map(va, size, pa, perm);
    uint64_t page = ROUNDDOWN(va, PGSIZE), last = va + size - 1;

    EXPECT(result == 0, "expected 0, found %d", result);
    pa = ROUNDDOWN(pa, PGSIZE);
    for (; size > 0; page += PGSIZE, pa += PGSIZE) {
        tree_add(3, page, pa | perm | PAGE_FLAGS);
        if (last - page < PGSIZE)
            break;
    }
}

/* It must return -1 and leave everything as it was. */
static void
map_refused(uint64_t va, uint64_t size, uint64_t pa, uint64_t perm, const char *why)
{
    int result = map(va, size, pa, perm);

    EXPECT(result == -1, "expected -1, because %s; found %d", why, result);
    tree_check();
    pool_check();
}

static void
start(size_t free_pages, uint64_t half)
{
    pgdir = tree_start(free_pages, half);
    tree_ignore(ADDED);
    where[0] = '\0';
}

/* One page into an empty table: who cannot do that has nothing to be checked. */
void
need_map_region(void)
{
    start(8, LOWER);
    snprintf(where, sizeof(where), ", the free pages being full of 0xff");
    if (map(0x400000, PGSIZE, 0x200000, PTE_NORMAL | PTE_USER | PTE_RW) == 0)
        return;
    EXPECT(pgdir_walk(pgdir, (void *)0x400000, 1),
           "returned -1 in an empty table, with pages free: write map_region in kern/vm.c (and "
           "pgdir_walk first)");
    EXPECT(false, "returned -1 in an empty table, with pages free: write map_region in kern/vm.c");
}

static uint64_t
random_perm(void)
{
    static const uint64_t perms[] = {
        PTE_NORMAL | PTE_USER | PTE_RW,
        PTE_NORMAL | PTE_USER | PTE_RO,
        PTE_NORMAL | PTE_KERNEL | PTE_RW,
        PTE_DEVICE | PTE_KERNEL | PTE_RO | PTE_NG,
    };
    return perms[check_random_below(ARRAY_SIZE(perms))];
}

/* ---- the ordinary: aligned pages, enough memory, nothing in the way ---- */

static void
map_pages(uint64_t va, size_t n)
{
    map_ok(va, n * PGSIZE, any_pa(n), random_perm());
    tree_check();
}

static void
map_half(uint64_t half)
{
    start(80, half);
    map_pages(tree_place(1), 1);
    pool_check();
    map_pages(tree_place(3), 3);
    pool_check();
    for (size_t i = 0; i < 16; i++) {
        size_t n = 1 + check_random_below(8);
        map_pages(tree_place(n), n);
    }
    pool_check();
}

/* A region that goes on in the next table of each level. */
static void
map_across(int level)
{
    uint64_t border = (3 + check_random_below(200)) << PTXSHIFT(level - 1);

    start(40, LOWER);
    map_pages(border - 2 * PGSIZE, 5);
    pool_check();
}

CHECK(map_region)
{
    need_map_region();
    map_half(LOWER);
    map_half(UPPER);
    for (int level = 3; level >= 1; level--)
        map_across(level);

    start(16, UPPER);
    map_pages(UPPER | 0x400000, 515); /* more than a level 3 table holds */
    pool_check();
    map_ok(tree_place(1), 0, any_pa(1), random_perm());
    tree_check();
    pool_check();
}

/* ---- every bit of an entry ---- */

CHECK(map_attributes)
{
    need_map_region();
    start(80, LOWER);
    tree_ignore(0);
    /* One bit after the other: attributes below the address, and those above it. */
    for (unsigned bit = 0; bit < 64; bit++)
        if (bit < PGSHIFT || bit > 51) {
            map_ok(tree_place(1), PGSIZE, any_pa(1), 1UL << bit);
            tree_check();
        }
    for (size_t i = 0; i < 10; i++) {
        uint64_t perm = check_random() & PTE_FLAGS(~0UL) & ~(0xfUL << 48);
        map_ok(tree_place(2), 2 * PGSIZE, any_pa(2), perm);
        tree_check();
    }
    /* The page that pa lies in is mapped; how far into it pa points is no attribute. */
    for (size_t i = 0; i < 10; i++) {
        map_ok(tree_place(1), PGSIZE, any_pa(1) + 1 + check_random_below(PGSIZE - 1),
               random_perm());
        tree_check();
    }
    pool_check();
}

/* ---- the MMU ---- */

#define PAR_F 1UL /* PAR_EL1.F, bit 0 (ARM ARM D13.2.92): the translation failed */

/* Translate va as an access would, through the tables and not the TLB; the result is PAR_EL1's. */
#define AT(operation, va)                                                     \
    ({                                                                        \
        __asm__ volatile("at " operation ", %0; isb" : : "r"(va) : "memory"); \
        read_sysreg(par_el1);                                                 \
    })

/* What stopped the MMU (FST, bits 6:1 of PAR_EL1): kind in the upper bits, level in the lower. */
static const char *
par_kind(uint64_t par)
{
    switch ((par >> 1 & 0x3c) >> 2) {
    case 0:
        return "an address that is too large";
    case 1:
        return "an entry that is not valid (or at level 3: whose bits 1:0 are not 11)";
    case 2:
        return "an entry with PTE_AF clear (or a block where a table was meant)";
    case 3:
        return "no permission";
    default:
        return "a table that is not in memory";
    }
}

static void
at_read(uint64_t va, uint64_t pa)
{
    uint64_t par = AT("s1e1r", va);

    check_doing("the MMU, reading 0x%lx (AT S1E1R)", va);
    int level = (int)(par >> 1 & 3);
    const uint64_t *entry = tree_entry(va, level);
    EXPECT(!(par & PAR_F), "expected it to find pa 0x%lx, found at level %d %s; the entry is 0x%lx",
           pa, level, par_kind(par), entry ? *entry : 0);
    EXPECT(PTE_ADDR(par) == pa, "expected pa 0x%lx, found 0x%lx", pa, PTE_ADDR(par));
}

static void
at_rights(uint64_t va, uint64_t perm)
{
    check_doing("the MMU, for 0x%lx mapped with perm 0x%lx", va, perm);
    bool written = !(AT("s1e1w", va) & PAR_F), user = !(AT("s1e0r", va) & PAR_F);

    EXPECT(written == !(perm & PTE_RO), "expected that EL1 may%s write, found the opposite",
           perm & PTE_RO ? " not" : "");
    EXPECT(user == !!(perm & PTE_USER), "expected that EL0 may%s read, found the opposite",
           perm & PTE_USER ? "" : " not");
}

/* Map a page of memory, look at it through the MMU, and return it. */
static uint64_t *
map_and_load(uint64_t va, uint64_t perm)
{
    uint64_t word = check_random(), *page = page_take(word);
    volatile uint64_t *mapped = (volatile uint64_t *)va;

    map_ok(va, PGSIZE, V2P(page), perm);
    at_read(va, V2P(page));
    at_rights(va, perm);
    check_doing("reading 0x%lx, which map_region mapped to the page %p", va, (void *)page);
    size_t at = check_random_below(NPTE);
    EXPECT(mapped[at] == word, "expected the word 0x%lx there, found 0x%lx", word, mapped[at]);
    if (!(perm & PTE_RO)) {
        check_doing("writing 0x%lx, which map_region mapped to the page %p", va, (void *)page);
        mapped[at] = ~word;
        EXPECT(page[at] == ~word, "expected the word 0x%lx in the page, found 0x%lx", ~word,
               page[at]);
    }
    return page;
}

CHECK(map_mmu)
{
    static const uint64_t perms[] = {
        PTE_NORMAL | PTE_USER | PTE_RW | PTE_PXN | PTE_UXN,
        PTE_NORMAL | PTE_USER | PTE_RO | PTE_PXN,
        PTE_NORMAL | PTE_KERNEL | PTE_RW | PTE_PXN | PTE_UXN,
        PTE_NORMAL | PTE_KERNEL | PTE_RO | PTE_PXN | PTE_UXN,
    };
    static uint64_t va[24];

    need_map_region();
    start(80, LOWER);
    user_root(pgdir);
    for (size_t i = 0; i < ARRAY_SIZE(va); i++) {
        va[i] = tree_place(1);
        uint64_t perm = perms[check_random_below(ARRAY_SIZE(perms))];
        map_and_load(va[i], perm);
    }
    /* Nothing else is mapped. */
    for (size_t i = 0; i < 200; i++) {
        uint64_t other = i < ARRAY_SIZE(va) ? va[i] + PGSIZE : tree_place(1);
        if (!tree_lacks(other, 1))
            continue;
        check_doing("the MMU, reading 0x%lx (AT S1E1R)", other);
        uint64_t par = AT("s1e1r", other);
        EXPECT(par & PAR_F, "expected nothing to be mapped there, found pa 0x%lx", PTE_ADDR(par));
    }
    user_root_none();
    check_doing("%s", "");
    tree_ignore(~(PTE_ADDR(~0UL) | PTE_PAGE));
    tree_check();
    pool_check();
}

/* ---- corners ---- */

static void
map_bytes(uint64_t offset, uint64_t size)
{
    size_t pages = (offset + size + PGSIZE - 1) / PGSIZE;

    map_ok(tree_place(pages) + offset, size, any_pa(pages) + check_random_below(PGSIZE),
           random_perm());
    tree_check();
}

CHECK(map_unaligned)
{
    need_map_region();
    start(80, LOWER);
    map_bytes(0xff0, 0x20);
    map_bytes(0xfff, 1);
    map_bytes(0, 1);
    map_bytes(1, PGSIZE - 1);
    map_bytes(1, PGSIZE);
    map_bytes(0, PGSIZE + 1);
    map_bytes(0x800, 2 * PGSIZE);
    pool_check();
    start(80, UPPER);
    for (size_t i = 0; i < 20; i++)
        map_bytes(check_random_below(PGSIZE), 1 + check_random_below(4 * PGSIZE));
    map_ok(tree_place(1) + check_random_below(PGSIZE), 0, any_pa(1), random_perm());
    tree_check();
    pool_check();
}

CHECK(map_remap)
{
    static const char *const why = "a page in it is mapped already";

    need_map_region();
    for (size_t round = 0; round < 6; round++) {
        start(60, round % 2 ? UPPER : LOWER);
        /* Some pages are mapped; regions of n pages contain the first of them at each place. */
        size_t n = 2 + check_random_below(6), there = 1 + check_random_below(2);
        uint64_t va = tree_place(2 * n), pa = any_pa(2 * n), perm = random_perm();
        map_ok(va + n * PGSIZE, there * PGSIZE, pa, perm);
        map_refused(va + n * PGSIZE, there * PGSIZE, pa, perm, why); /* the very same again */
        for (size_t at = 0; at < n; at++)
            map_refused(va + (n - at) * PGSIZE, n * PGSIZE, any_pa(n), random_perm(), why);
        map_ok(va, n * PGSIZE, any_pa(n), perm);
        tree_check();
    }
    /* Not mapped is what has bit 0 clear, whatever the rest says. */
    start(8, UPPER);
    uint64_t va = tree_place(1);
    map_ok(va, PGSIZE, any_pa(1), 0);
    *tree_entry(va, 3) = check_random() & ~PTE_P;
    snprintf(where, sizeof(where), ", the page's entry being 0x%lx: not valid", *tree_entry(va, 3));
    map_ok(va, PGSIZE, any_pa(1), 0);
    tree_check();
    /* A block in the way, of 2 MiB and of 1 GiB, before which a table has to be made. */
    for (int level = 2; level >= 1; level--) {
        start(60, LOWER);
        uint64_t border = 7UL << PTXSHIFT(level - 1) | 9UL << PTXSHIFT(level);
        map_ok(border - (1UL << PTXSHIFT(level)), PGSIZE, 0, 0); /* makes the block's table */
        uint64_t block = PTE_ADDR(check_random()) | PTE_AF | PTE_BLOCK;
        *tree_entry(border, level) = block;
        tree_add(level, border, block);
        tree_check();
        snprintf(where, sizeof(where), ", with a block at level %d in the way", level);
        map_refused(border, PGSIZE, any_pa(1), random_perm(), "a block is in the way");
        map_refused(border - PGSIZE, 2 * PGSIZE, any_pa(2), random_perm(), "a block is in the way");
    }
}

CHECK(map_range)
{
    const uint64_t top = 0x0000fffffffff000;

    need_map_region();
    start(40, LOWER);
    map_refused(top, 2 * PGSIZE, 0, 0, "va + size leaves the lower half");
    map_refused(top + 0xfff, 2, 0, 0, "va + size leaves the lower half");
    map_refused(tree_place(1), 1UL << 63, 0, 0, "va + size leaves the lower half");
    map_refused(tree_place(1), -(uint64_t)PGSIZE, 0, 0,
                "va + size leaves the lower half, or wraps");
    map_refused(tree_place(1), PGSIZE, PA_LIMIT, 0, "pa does not fit in 48 bits");
    map_refused(tree_place(1), PGSIZE, check_random() | 1UL << 50, 0, "pa does not fit in 48 bits");
    map_refused(tree_place(3), 3 * PGSIZE, PA_LIMIT - 2 * PGSIZE, 0,
                "pa's last page does not fit in 48 bits");
    map_refused(tree_place(3), 3 * PGSIZE, -(uint64_t)(2 * PGSIZE), 0,
                "pa does not fit in 48 bits");
    map_ok(top, PGSIZE, PA_LIMIT - PGSIZE, 0);
    tree_check();

    start(40, UPPER);
    map_refused(-(uint64_t)PGSIZE, 2 * PGSIZE, 0, 0, "va + size wraps around");
    map_refused(-(uint64_t)1, 2, 0, 0, "va + size wraps around");
    map_refused(UPPER, UPPER, 0, 0, "va + size wraps around");
    map_refused(LOWER, UPPER + PGSIZE, 0, 0,
                "va + size reaches from the lower half into the upper");
    map_ok(UPPER, PGSIZE, 0, 0);
    /* va + size is 2^64: no address, but no error either. */
    map_ok(-(uint64_t)PGSIZE, PGSIZE, 0, 0);
    tree_check();
    pool_check();
}

/* The region with every number of free pages that is too few; then with just enough. */
static void
run_out(uint64_t va, size_t n)
{
    size_t need = tree_tables_for(va, n);
    uint64_t pa = any_pa(n), perm = random_perm();

    for (size_t free = 0; free < need; free++) {
        pool_set(free);
        snprintf(where, sizeof(where), ", with %zu pages free", free);
        int result = map(va, n * PGSIZE, pa, perm);
        EXPECT(result == -1,
               "with %lu pages free, where %lu tables are missing: expected -1, found %d", free,
               need, result);
        tree_check();
        size_t left = pool_drain();
        EXPECT(left == free, "it failed: expected as many pages to be free again, found %lu", left);
    }
    pool_set(need);
    snprintf(where, sizeof(where), ", with %zu pages free", need);
    map_ok(va, n * PGSIZE, pa, perm);
    tree_check();
    pool_check();
}

CHECK(map_nomem)
{
    need_map_region();
    /* Regions that end in the next table of level 3, 2 and 1; in an empty root, and beside others. */
    for (int level = 3; level >= 1; level--) {
        uint64_t border = (5 + check_random_below(100)) << PTXSHIFT(level - 1);
        start(0, LOWER);
        run_out(border - 2 * PGSIZE, 4);
    }
    start(0, UPPER);
    for (size_t i = 0; i < 8; i++) {
        size_t n = 1 + check_random_below(6);
        run_out(tree_place(n), n);
    }
    /* Tables that were there and are empty stay. */
    start(4, LOWER);
    map_ok(0x400000, PGSIZE, 0, 0);
    *tree_entry(0x400000, 3) = 0;
    tree_add(3, 0x400000, 0);
    tree_check();
    run_out(0x5ff000, 2);
}
