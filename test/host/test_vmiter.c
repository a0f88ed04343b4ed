/*
 * kern/vmiter.c on trees of every shape: what it finds, from everywhere, against a list that is made by looking at
 * each entry of each table.
 */
#include "lib.h"

#include "types.h"
#include "vmiter.h"

#define TABLES 60
#define LEAVES (TABLES * 512)

static uint64_t table[TABLES][NPTE] __attribute__((aligned(PGSIZE)));
static size_t ntables;
static uint64_t seed;

static struct leaf {
    uint64_t va, size, *pte;
} leaf[LEAVES];
static size_t nleaves;

static struct place {
    const uint64_t *table;
    int level;
    uint64_t va;
} place[TABLES], visited[TABLES];
static size_t nplaces, nvisited;

static uint64_t
span(int level)
{
    return 1UL << (39 - 9 * level);
}

/* A new table in *entry. */
static uint64_t *
new_table(uint64_t *entry)
{
    uint64_t *t = table[ntables++];

    memset(t, 0, PGSIZE);
    *entry = (uint64_t)t | PTE_TABLE | 1UL << 59; /* a bit that tables may have */
    return t;
}

/* The entry for va at this level, with the tables that it needs; NULL: no table left, or a block is in the way. */
static uint64_t *
entry_for(uint64_t va, int level)
{
    uint64_t *t = table[0];

    for (int l = 0; l < level; l++) {
        uint64_t *entry = &t[va / span(l) % NPTE];
        if (*entry == 0) {
            if (ntables == TABLES) {
                return NULL;
            }
            t = new_table(entry);
        } else if ((*entry & 3) == 3) {
            t = (uint64_t *)PTE_ADDR(*entry);
        } else {
            return NULL;
        }
    }
    return &t[va / span(level) % NPTE];
}

static void
start(void)
{
    ntables = 1;
    memset(table[0], 0, PGSIZE);
}

/* A page or a block; not in place of a table. */
static void
map(uint64_t va, int level)
{
    uint64_t *entry = entry_for(va, level);

    if (entry && (level == 3 || (*entry & 3) != 3)) {
        *entry = (va & 0xfffff000) | 1UL << 54 | PTE_AF | (level == 3 ? PTE_PAGE : PTE_BLOCK);
    }
}

/* ---- What should be found ---- */

static void
list(uint64_t *t, int level, uint64_t va)
{
    place[nplaces++] = (struct place){t, level, va};
    for (size_t i = 0; i < NPTE; i++) {
        uint64_t at = va + i * span(level);
        if (!(t[i] & 1)) {
            continue;
        }
        if (level < 3 && t[i] & 2) {
            list((uint64_t *)PTE_ADDR(t[i]), level + 1, at);
        } else {
            leaf[nleaves++] = (struct leaf){at, span(level), &t[i]};
        }
    }
}

static void
compare(struct vmiter it, size_t from, size_t most)
{
    for (size_t i = from; i < nleaves && i < from + most; i++, vmiter_next(&it)) {
        assert_true(vmiter_ok(&it));
        assert_int_equal(it.va, leaf[i].va);
        assert_ptr_equal(it.pte, leaf[i].pte);
        assert_int_equal(vmiter_size(&it), leaf[i].size);
        assert_int_equal(span(it.level), leaf[i].size);
        for (int level = 0; level <= it.level; level++) {
            bool known = false;
            for (size_t j = 0; j < nplaces; j++) {
                known = known
                     || (place[j].table == it.tables[level] && place[j].level == level
                         && it.va >= place[j].va && it.va - place[j].va < 512 * span(level));
            }
            assert_true(known);
        }
    }
    if (nleaves < from + most) {
        assert_false(vmiter_ok(&it));
        assert_null(it.pte);
    }
}

static void
visit(uint64_t *t, int level, uint64_t va, void *arg)
{
    assert_ptr_equal(arg, &seed);
    assert_true(nvisited < TABLES);
    visited[nvisited++] = (struct place){t, level, va};
}

/* From the beginning, from around every leaf and table, and from anywhere. */
static void
check(void)
{
    nleaves = nplaces = nvisited = 0;
    list(table[0], 0, 0);
    compare(vmiter_at(table[0], 0), 0, LEAVES);
    for (size_t i = 0; i < nleaves; i++) {
        compare(vmiter_at(table[0], leaf[i].va), i, 3);
        compare(vmiter_at(table[0], leaf[i].va + leaf[i].size - 1), i, 3);
        compare(vmiter_at(table[0], leaf[i].va | 0xffffUL << 48), i, 3); /* the other half */
        uint64_t next = leaf[i].va + leaf[i].size;
        if (next >> 48 == 0) {
            compare(vmiter_at(table[0], next), i + 1, 3);
        }
    }
    for (size_t i = 0; i < 200; i++) {
        uint64_t va = i < nplaces ? place[i].va : random_below(&seed, 1UL << 48);
        size_t first = 0;
        while (first < nleaves && leaf[first].va + leaf[first].size - 1 < va) {
            first++;
        }
        compare(vmiter_at(table[0], va), first, 3);
    }
    vmiter_tables(table[0], visit, &seed);
    assert_int_equal(nvisited, nplaces);
    for (size_t i = 0; i < nplaces; i++) {
        assert_ptr_equal(visited[i].table, place[i].table);
        assert_int_equal(visited[i].level, place[i].level);
        assert_int_equal(visited[i].va, place[i].va);
    }
}

/* ---- Tests ---- */

static void
an_empty_tree(void **state)
{
    (void)state;
    start();
    check();
    table[0][7] = 0xfffffffffffff000u | 2; /* not valid, whatever else it says */
    check();
    entry_for(0x123456789000, 3); /* tables that map nothing */
    entry_for(0xfffffffff000, 2);
    check();
    assert_int_equal(nplaces, 6);
}

static void
at_the_ends_of_tables(void **state)
{
    static const uint64_t ends[] = {0,         1UL << 12, 1UL << 21, 1UL << 30,
                                    1UL << 39, 1UL << 47, 1UL << 48, (1UL << 39) + (1UL << 30),
                                    5UL << 21, 7UL << 30, 3UL << 39, (3UL << 39) + (511UL << 30)};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        for (int level = 1; level <= 3; level++) {
            start();
            if (ends[i] != 1UL << 48) {
                map(ends[i], level);
                check();
            }
            if (ends[i] != 0) {
                map(ends[i] - 1, level);
                check();
            }
        }
        start();
        map(ends[i] - 1, 3);
        map(ends[i], 1);
        check();
    }
}

/* The whole address space by few entries; and a level 0 entry that is no table, which no processor accepts. */
static void
full_tables(void **state)
{
    (void)state;
    start();
    for (uint64_t va = 0; va < 1UL << 48; va += 1UL << 39) {
        map(va, 0);
    }
    check();
    assert_int_equal(nleaves, 512);
    start();
    for (size_t i = 0; i < 512; i++) {
        map((1UL << 48) - (1UL << 39) + i * BLOCK1G, 1);
        map(i * PGSIZE, 3);
        map((1UL << 39) + i * BLOCK2M, 2);
    }
    check();
    assert_int_equal(nleaves, 3 * 512);
}

static void
trees_of_every_shape(void **state)
{
    (void)state;
    for (size_t round = 0; round < 150; round++) {
        uint64_t near = random_below(&seed, 1UL << 48);
        start();
        for (size_t i = random_below(&seed, 300); i > 0; i--) {
            size_t bits = 13 + random_below(&seed, 36);
            uint64_t va = random_below(&seed, 4) == 0 ? random_below(&seed, 1UL << 48)
                                                      : near ^ random_below(&seed, 1UL << bits);
            map(va, random_below(&seed, 3) == 0 ? (int)(1 + random_below(&seed, 3)) : 3);
        }
        check();
    }
}

/* Entries may be changed on the way, also to nothing. */
static void
entries_are_changed(void **state)
{
    size_t n = 0;

    (void)state;
    start();
    for (uint64_t va = 0; va < 64UL << 21; va += 3 * PGSIZE << 3) {
        map(va, 3);
    }
    check();
    for (struct vmiter it = vmiter_at(table[0], 0); vmiter_ok(&it); vmiter_next(&it)) {
        *it.pte = n % 2 ? 0 : *it.pte | PTE_RO;
        n++;
    }
    assert_int_equal(n, nleaves);
    check();
    assert_int_equal(nleaves, n - n / 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_tree),       cmocka_unit_test(at_the_ends_of_tables),
        cmocka_unit_test(full_tables),         cmocka_unit_test(trees_of_every_shape),
        cmocka_unit_test(entries_are_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
