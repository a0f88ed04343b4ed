/*
 * Lab 2's checks of vm_free. The tables are made here, entry by entry: whether map_region works does
 * not matter.
 */
#include "check.h"
#include "kalloc.h"
#include "lab2.h"
#include "mmu.h"
#include "vm.h"

/*
 * How many tables of each level, and owned pages, a tree has: no choice of some of these numbers has
 * the same sum as another.
 */
static const size_t count[] = {1, 2, 4, 8, 16};

struct table {
    uint64_t *entry;
    uint64_t va;
};
static struct table tables[4][16];

/* Attributes that a page may have; vm_free has to look through them. */
static uint64_t
any_attributes(void)
{
    return (check_random()
            & (PTE_NORMAL | PTE_USER | PTE_RO | PTE_NG | PTE_PXN | PTE_UXN | 7UL << 55))
         | PTE_AF | PTE_SH;
}

/* An empty entry of a random table of the level, often the first or the last; *va is what it maps. */
static uint64_t *
empty_entry(int level, uint64_t *va)
{
    for (;;) {
        const struct table *table = &tables[level][check_random_below(count[level])];
        uint64_t index = check_random_below(NPTE + 64);
        if (index >= NPTE)
            index = index % 2 ? 0 : NPTE - 1;
        if (table->entry[index] == 0) {
            *va = table->va | index << PTXSHIFT(level);
            return &table->entry[index];
        }
    }
}

/* Words that look like descriptors of page `decoy`: what a page of somebody's data may contain. */
static void
fill_with_descriptors(uint64_t *page, uint64_t decoy)
{
    static const uint64_t bits[] = {0x43, 0x743, 0x3, 0x703, 0x41};

    for (size_t i = 0; i < NPTE; i++)
        page[i] = decoy | bits[i % ARRAY_SIZE(bits)];
}

static void
add_pages(uint64_t decoy)
{
    uint64_t va;

    for (size_t i = 0; i < count[4]; i++) {
        uint64_t *entry = empty_entry(3, &va), *page = page_take(0);
        fill_with_descriptors(page, decoy);
        *entry = V2P(page) | any_attributes() | PTE_PAGE;
        pool_adopt(page, ROLE_LEAF, va);
    }
}

/* What is to be left alone: pages that the allocator does not own, blocks, invalid entries. */
static void
add_others(uint64_t decoy)
{
    const uint64_t foreign[] = {DEVICES_PA + 0x200000,           LOCAL_PA, V2P(image_start), 0,
                                ROUNDDOWN(V2P(end) - 1, PGSIZE), PHYSTOP,  1UL << 40};
    uint64_t va;

    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
        *empty_entry(3, &va) = foreign[i] | any_attributes() | PTE_PAGE;
    for (int level = 0; level <= 3; level++)
        for (size_t i = 0; i < 3; i++)
            *empty_entry(level, &va) = decoy | 0x742;
}

static void
add_blocks(void)
{
    uint64_t va, decoy = page_decoy("a word in a block"), block = page_decoy_2m("a block entry");

    if (block == 0)
        return;
    fill_with_descriptors(P2V(block), decoy);
    for (int level = 1; level <= 2; level++)
        *empty_entry(level, &va) = block | any_attributes() | PTE_BLOCK;
}

/* A tree of tables alone, each table but the root hanging in a random one of the level above. */
static uint64_t *
make_tables(void)
{
    tables[0][0] = (struct table){page_take(0), 0};
    for (int level = 1; level <= 3; level++)
        for (size_t i = 0; i < count[level]; i++) {
            uint64_t va, *entry = empty_entry(level - 1, &va), *table = page_take(0);
            *entry = V2P(table) | PTE_TABLE;
            tables[level][i] = (struct table){table, va};
        }
    return tables[0][0].entry;
}

static void
adopt_tables(int from)
{
    for (int level = from; level <= 3; level++)
        for (size_t i = 0; i < count[level]; i++)
            pool_adopt(tables[level][i].entry, (enum role)level, tables[level][i].va);
}

static void
free_tree(uint64_t *table, int level, const char *what)
{
    check_doing("vm_free(table, %d), the table being %s", level, what);
    vm_free(table, level);
    pool_check();
}

/* Only what belongs to `table` of this level goes; the same for every level. */
static void
free_part(int level)
{
    pool_start(5);
    make_tables();
    /* One table of the level, with all below it; the others stay. */
    const struct table *top = &tables[level][0];
    for (int l = level; l <= 3; l++)
        for (size_t i = 0; i < count[l]; i++)
            if (level == 0
                || tables[l][i].va >> PTXSHIFT(level - 1) == top->va >> PTXSHIFT(level - 1))
                pool_adopt(tables[l][i].entry, (enum role)l, tables[l][i].va);
    free_tree(top->entry, level, level ? "part of a tree" : "a root with 14 tables below it");
}

CHECK(vm_free)
{
    /* Tables alone: all of a tree, a part that begins at each level, and just one. */
    for (int level = 0; level <= 3; level++)
        free_part(level);
    pool_start(5);
    uint64_t *root = page_take(0);
    pool_adopt(root, ROLE_TABLE, 0);
    free_tree(root, 0, "an empty root");

    /* With pages of ours. */
    for (size_t round = 0; round < 3; round++) {
        pool_start(5);
        root = make_tables();
        adopt_tables(0);
        add_pages(page_decoy("a word in a page that is mapped (after level 3 come no tables)"));
        free_tree(root, 0, "a root with 14 tables and 16 pages below it");
    }
    /* With what is not ours. */
    for (size_t round = 0; round < 3; round++) {
        pool_start(5);
        root = make_tables();
        adopt_tables(0);
        add_blocks();
        add_others(page_decoy("an entry whose bit 0 (PTE_P) is clear"));
        free_tree(root, 0,
                  "a root with devices, kernel pages, blocks and invalid entries below it");
    }
}

/* ---- the TLB ---- */

#define TLB_PAGES 16
#define TLB_VA    0x5040000000UL

static void
load(void *va)
{
    (void)user_load((uint64_t)va);
}

/* A path of tables to a few entries for one page of the kernel's, which vm_free is to leave alone. */
static uint64_t *
make_tlb_tree(void)
{
    uint64_t *root = page_take(0), *table = root;

    pool_adopt(root, ROLE_TABLE, 0);
    for (int level = 0; level < 3; level++) {
        uint64_t *next = page_take(0);
        table[PTX(level, TLB_VA)] = V2P(next) | PTE_TABLE;
        pool_adopt(next, (enum role)(level + 1), TLB_VA);
        table = next;
    }
    for (size_t i = 0; i < TLB_PAGES; i++)
        table[PTX(3, TLB_VA) + i] =
            V2P(image_start) | PTE_NORMAL | PTE_USER | PTE_RO | PTE_PXN | PTE_UXN | PAGE_FLAGS;
    return root;
}

/*
 * Translations that were used before must be gone afterwards. QEMU keeps them until a TLBI, as the
 * core may.
 */
CHECK(vm_free_tlb)
{
    pool_start(5);
    uint64_t *root = make_tlb_tree();

    user_root(root);
    check_doing("reading the pages that vm_free will take away");
    for (size_t i = 0; i < TLB_PAGES; i++)
        load((void *)(TLB_VA + i * PGSIZE));
    user_root_stale();
    check_doing("vm_free(table, 0), the table being a root that was in use just before");
    vm_free(root, 0);
    uint64_t stale = 0;
    for (uint64_t va = TLB_VA; va < TLB_VA + TLB_PAGES * PGSIZE; va += PGSIZE)
        if (!check_panics(load, (void *)va))
            stale = va;
    /* Which pages it freed is check_vm_free's affair. */
    size_t n = 0;
    while (n <= 9 && kalloc())
        n++;
    EXPECT(n > 5, "nothing was freed: write vm_free in kern/vm.c");
    EXPECT(!stale,
           "expected 0x%lx to be gone, found that it can still be read: an old translation is in "
           "the TLB "
           "(tlb_flush_all, before the first page is freed)",
           stale);
}
