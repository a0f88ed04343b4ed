/*
 * What a page table should hold, entry by entry, and the comparison with what it does hold.
 */
#include "lab2.h"
#include "check.h"
#include "kalloc.h"
#include "mmu.h"
#include "printf.h"

#define ITEMS_MAX 1024
#define VA_MASK   0x0000ffffffffffffUL

/* An entry that is no table's. In the model value 0 stands for a table with nothing there. */
struct item {
    uint64_t va; /* bits 47:0 */
    uint64_t value;
    const uint64_t *at;
    int level;
};

struct items {
    struct item item[ITEMS_MAX]; /* in order of va */
    size_t n;
    size_t tables[4]; /* found: how many of each level */
};

static uint64_t *root;
static uint64_t half, ignored;
static struct items model, found;

uint64_t *
tree_start(size_t free_pages, uint64_t which_half)
{
    pool_start(free_pages);
    root = page_take(0);
    check_table.root = root;
    half = which_half;
    ignored = 0;
    model.n = 0;
    return root;
}

void
tree_ignore(uint64_t bits)
{
    ignored = bits;
}

/* The first item of the model at or behind va. */
static size_t
model_find(uint64_t va)
{
    size_t i = 0;

    while (i < model.n && model.item[i].va < (va & VA_MASK))
        i++;
    return i;
}

void
tree_add(int level, uint64_t va, uint64_t entry)
{
    struct item new = {ROUNDDOWN(va & VA_MASK, 1UL << PTXSHIFT(level)), entry, NULL, level};
    size_t at = model_find(new.va);

    if (at < model.n && model.item[at].va == new.va) {
        model.item[at] = new;
        return;
    }
    EXPECT(model.n < ITEMS_MAX, "a mistake in the check itself: ITEMS_MAX is too small");
    for (size_t i = model.n++; i > at; i--)
        model.item[i] = model.item[i - 1];
    model.item[at] = new;
}

bool
tree_lacks(uint64_t va, size_t n)
{
    uint64_t first = va & VA_MASK, after = first + n * PGSIZE;

    for (size_t i = 0; i < model.n; i++) {
        const struct item *item = &model.item[i];
        uint64_t stop = item->va + (1UL << PTXSHIFT(item->level));
        if (item->va < after && stop > first && (item->value != 0 || item->level < 3))
            return false;
    }
    return true;
}

/* Does one table of this level (1 to 3) serve both addresses? */
static bool
same_table(int level, uint64_t a, uint64_t b)
{
    return (a & VA_MASK) >> PTXSHIFT(level - 1) == (b & VA_MASK) >> PTXSHIFT(level - 1);
}

/* How many tables of a level the model has. */
static size_t
model_tables(int level)
{
    size_t n = 0;
    const struct item *last = NULL;

    for (size_t i = 0; i < model.n; i++) {
        const struct item *item = &model.item[i];
        if (item->level < level)
            continue;
        if (!last || !same_table(level, last->va, item->va))
            n++;
        last = item;
    }
    return n;
}

static bool
model_has_table(int level, uint64_t va)
{
    for (size_t i = 0; i < model.n; i++)
        if (model.item[i].level >= level && same_table(level, model.item[i].va, va))
            return true;
    return false;
}

size_t
tree_tables_for(uint64_t va, size_t n)
{
    size_t missing = 0;

    for (int level = 1; level <= 3; level++)
        for (size_t i = 0; i < n; i++) {
            uint64_t page = va + i * PGSIZE;
            if ((i == 0 || !same_table(level, page, page - PGSIZE))
                && !model_has_table(level, page))
                missing++;
        }
    return missing;
}

uint64_t
tree_place(size_t n)
{
    for (;;) {
        /* Few choices at each level, so that tables are shared; near a table's end every other time. */
        uint64_t va = half | (2 + 160 * check_random_below(3)) << PTXSHIFT(0)
                    | (511 * check_random_below(2)) << PTXSHIFT(1)
                    | (510 + check_random_below(2)) << PTXSHIFT(2);
        uint64_t index =
            check_random() % 2 ? 508 + check_random_below(4) : check_random_below(NPTE);
        va |= index << PTXSHIFT(3);
        if (tree_lacks(va, n))
            return va;
    }
}

/* ---- reading a table ---- */

static void
found_add(uint64_t va, int level, const uint64_t *at)
{
    EXPECT(found.n < ITEMS_MAX,
           "pgdir holds more than %d entries that are not tables, the last at 0x%lx: expected %lu",
           ITEMS_MAX, half | va, model.n);
    found.item[found.n++] = (struct item){va, *at, at, level};
}

/* Is this the descriptor of a table, as the MMU sees it? */
static bool
is_table(uint64_t entry, int level)
{
    return level < 3 && (entry & PTE_TABLE) == PTE_TABLE;
}

static void
check_descriptor(uint64_t entry, int level, uint64_t va)
{
    check_table.va = half | va;
    EXPECT(entry != UINT64_MAX,
           "the level %d entry for 0x%lx is 0x%lx, what the free page had held: expected 0: a new "
           "table "
           "must be zeroed, all of it",
           level, half | va, entry);
    EXPECT(
        entry >> 48 != 0xffff,
        "the level %d entry for 0x%lx is 0x%lx: expected the table's physical address in it (V2P), "
        "found a kernel address",
        level, half | va, entry);
    EXPECT(
        entry >> 48 == 0,
        "the level %d entry for 0x%lx is 0x%lx: expected bits 63:48 of a table's entry to be 0%s",
        level, half | va, entry,
        entry >> 48 == 1 ? " (was V2P applied to an address that is physical already?)" : "");
    const char *wrong = page_to_table(PTE_ADDR(entry));
    EXPECT(
        !wrong,
        "the level %d entry for 0x%lx is 0x%lx: expected a page from kalloc() as table, found %s",
        level, half | va, entry, wrong);
}

static void
read_table(const uint64_t *table, int level, uint64_t va)
{
    const uint64_t *entry = table;

    found.tables[level]++;
    for (uint64_t i = 0; i < NPTE; i++, entry++) {
        if (*entry == 0)
            continue;
        uint64_t here = va | i << PTXSHIFT(level);
        if (!is_table(*entry, level)) {
            found_add(here, level, entry);
            continue;
        }
        check_descriptor(*entry, level, here);
        read_table(P2V(PTE_ADDR(*entry)), level + 1, here);
    }
}

uint64_t *
tree_entry(uint64_t va, int level)
{
    uint64_t *table = root;

    for (int l = 0; l < level; l++) {
        uint64_t entry = table[PTX(l, va)];
        if (!is_table(entry, l) || !page_owned(PTE_ADDR(entry)))
            return NULL;
        table = P2V(PTE_ADDR(entry));
    }
    return &table[PTX(level, va)];
}

/* ---- comparing ---- */

/* What is wrong with an entry, in words. */
static const char *
difference(uint64_t wanted, uint64_t is)
{
    static char text[96];
    uint64_t differs = (wanted ^ is) & ~ignored;

    if ((differs & PTE_TABLE) && wanted & PTE_P)
        return "bits 1:0 must be 11, PTE_PAGE";
    if (PTE_ADDR(differs) && is >> 48 == 0xffff)
        return "it holds a kernel address instead of a physical one";
    if (PTE_ADDR(differs))
        return "it maps the wrong page";
    if (differs >> 48 == 1 || differs >> 48 == 0xffff)
        return "bits 63:48 are wrong: P2V or V2P of what is a physical address already?";
    if (differs & PTE_AF)
        return "PTE_AF is missing: the first access would fault";
    if ((differs & PTE_SH) && (is & PTE_SH) == 0)
        return "PTE_SH is missing";
    snprintf(text, sizeof(text), "the bits 0x%lx are wrong: perm keeps all its bits, pa adds none",
             differs);
    return text;
}

static void
check_surplus(const struct item *item)
{
    check_table.va = half | item->va;
    if (item->level < 3 && item->value & PTE_P)
        EXPECT(false,
               "the level %d entry for 0x%lx is 0x%lx: expected 0 or a table (bits 1:0 = 11, "
               "PTE_TABLE)",
               item->level, half | item->va, item->value);
    EXPECT(
        item->value != 0x0101010101010101 && item->value != UINT64_MAX,
        "the entry for 0x%lx (level %d) is 0x%lx, what the free page had held: expected 0: a new "
        "table must be zeroed, all of it",
        half | item->va, item->level, item->value);
    EXPECT(item->level == 3 || item->value & PTE_P,
           "the level %d entry for 0x%lx is 0x%lx: expected 0 (is a new table zeroed?)",
           item->level, half | item->va, item->value);
    EXPECT(false, "the page at 0x%lx has an entry, 0x%lx: expected none there (0)", half | item->va,
           item->value);
}

static void
check_missing(const struct item *item)
{
    if (item->value == 0)
        return; /* just the table counts */
    check_table.va = half | item->va;
    const uint64_t *entry = tree_entry(item->va, item->level);
    EXPECT(entry,
           "the page at 0x%lx is not mapped: expected the entry 0x%lx, found no table for it",
           half | item->va, item->value);
    EXPECT(false, "the page at 0x%lx is not mapped: expected the entry 0x%lx, found 0x%lx",
           half | item->va, item->value, *entry);
}

static void
check_items(void)
{
    size_t f = 0;

    for (size_t m = 0; m < model.n; m++) {
        const struct item *wanted = &model.item[m], *is = &found.item[f];
        if (f < found.n && is->va < wanted->va)
            check_surplus(is);
        if (f == found.n || is->va > wanted->va) {
            check_missing(wanted);
            continue;
        }
        if (wanted->value == 0 || is->level != wanted->level)
            check_surplus(is);
        check_table.va = half | is->va;
        EXPECT(((wanted->value ^ is->value) & ~ignored) == 0,
               "the entry for 0x%lx is 0x%lx: expected 0x%lx: %s", half | is->va, is->value,
               wanted->value, difference(wanted->value, is->value));
        f++;
    }
    if (f < found.n)
        check_surplus(&found.item[f]);
}

void
tree_check(void)
{
    uint64_t called_with = check_table.va;

    page_forget_tables();
    found.n = 0;
    for (int level = 0; level <= 3; level++)
        found.tables[level] = 0;
    page_to_table(V2P(root));
    read_table(root, 0, 0);
    check_items();
    check_table.va = called_with;
    for (int level = 1; level <= 3; level++)
        EXPECT(found.tables[level] == model_tables(level),
               "expected %lu tables of level %d, found %lu", model_tables(level), level,
               found.tables[level]);
}
