/*
 * kern/vm.c against model.c: every reachable state of a tiny memory, every allocation that can fail, and the cases
 * that a tiny memory has no room for.
 */
#include "lib.h"

#include "kalloc.h"
#include "model.h"
#include "vm.h"

#define TINY_PAGES 11

/* With bits above 47 and below 12, and what map_region adds itself left out. */
#define PERM_DEVICE (PTE_DEVICE | PTE_KERNEL | PTE_RW | PTE_PXN | PTE_UXN | (1UL << 55))
#define PERM_USER   (PTE_NORMAL | PTE_USER | PTE_RO | PTE_NG | PTE_PXN)
#define LAST_PAGE   0xfffffffffffff000u

static struct model m;

/* ---- Every state of a tiny memory ---- */

/*
 * The places where something is mapped. The first three lie side by side, with the border of a level 3 table
 * between the second and the third; so do the next two, on the border of level 1 tables. The last page
 * of the address space is alone.
 *
 * A state is what the model knows, less the identity of pages: which of the tables that these
 * places need exist, what each place maps (nothing, a device page, a page of the allocator's), which of
 * two entries holds a block, and how many pages the caller has. It fits in 64 bits. That pages are all
 * alike, so that it does not matter which of them is which and in what order the free list has them, is
 * an assumption about the code; to give it a chance to show itself wrong, a state is set
 * up with other pages every time.
 */
static const uint64_t places[] = {0x1fe000,     0x1ff000,     0x200000,
                                  0x7ffffff000, 0x8000000000, LAST_PAGE};
#define PLACES ARRAY_SIZE(places)

/* Blocks: 2 MiB at the third place, 1 GiB at the fourth. */
static const struct {
    int level;
    uint64_t va;
} blocks[] = {{2, 0x200000}, {1, 0x7ffffff000}};
#define BLOCK_DESC (0x40000000 | PTE_NORMAL | PTE_AF | PTE_SH | PTE_BLOCK)
#define HELD_MAX   3

/* All tables that the places need, the root first. */
static struct {
    int level;
    uint64_t va;
} tables[4 * PLACES];
static size_t ntables;

static void
list_tables(void)
{
    ntables = 0;
    for (int level = 0; level <= 3; level++) {
        for (size_t i = 0; i < PLACES; i++) {
            uint64_t va = (places[i] & VA48) / table_span(level) * table_span(level);
            bool known = false;
            for (size_t j = 0; j < ntables; j++) {
                known = known || (tables[j].level == level && tables[j].va == va);
            }
            if (!known) {
                tables[ntables].level = level;
                tables[ntables++].va = va;
            }
        }
    }
}

/* The device page that a place is mapped to: pages of places side by side are side by side. */
static uint64_t
device(uint64_t va)
{
    return 0x3f000000 + va % 0x1000000;
}

static uint64_t *
model_entry(int level, uint64_t va)
{
    struct model_table *t = model_find(&m, level, va);
    return t ? &t->entry[(va & VA48) / entry_span(level) % NPTE] : NULL;
}

static uint64_t
state_of_model(void)
{
    uint64_t key = 0;
    size_t known = 0, entries = 0, found = 0;

    for (size_t i = 0; i < ntables; i++) {
        bool there = m.root && model_find(&m, tables[i].level, tables[i].va);
        key = key << 1 | there;
        known += there;
    }
    for (size_t i = 0; i < PLACES; i++) {
        uint64_t *entry = model_entry(3, places[i]);
        uint64_t what = !entry || *entry == 0 ? 0 : page_owned(PTE_ADDR(*entry)) ? 2 : 1;
        key = key << 2 | what;
        entries += what != 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        uint64_t *entry = model_entry(blocks[i].level, blocks[i].va);
        bool there = entry && *entry != 0;
        key = key << 1 | there;
        entries += there;
    }
    /* Nothing in the model is outside of what the key tells. */
    for (size_t i = 0; i < m.ntables; i++) {
        for (size_t j = 0; (j = tables_differ(m.table[i].entry, empty_table, j)) < NPTE; j++) {
            found++;
        }
    }
    if (known != m.ntables || entries != found) {
        broken("the model has %zu tables and %zu entries, of which the state shows %zu and %zu",
               m.ntables, found, known, entries);
    }
    return key << 2 | m.nheld;
}

static uint64_t shuffle_seed = 7;

/* The machine and the model in that state, built with any pages. */
static void
set_up(uint64_t key)
{
    size_t order[TINY_PAGES], next = 0;

    for (size_t i = 0; i < TINY_PAGES; i++) {
        size_t j = random_below(&shuffle_seed, i + 1);
        order[i] = i;
        order[i] = order[j];
        order[j] = i;
    }
    machine_take_all();
    model_clear(&m);
    m.nheld = key & 3;
    key >>= 2;
    for (size_t i = 0; i < m.nheld; i++) {
        m.held[i] = machine_page(order[next++]);
    }
    uint64_t block_bits = key & 3, place_bits = key >> 2, table_bits = key >> (2 + 2 * PLACES);
    for (size_t i = 0; i < ntables; i++) {
        if (table_bits >> (ntables - 1 - i) & 1) {
            uint64_t *page = machine_page(order[next++]);
            memset(page, 0, PGSIZE);
            model_add(&m, tables[i].level, tables[i].va);
            if (tables[i].level == 0) {
                m.root = page;
            } else {
                *real_entry(&m, tables[i].level - 1, tables[i].va) = V2P(page) | PTE_TABLE;
            }
        }
    }
    for (size_t i = 0; i < PLACES; i++) {
        uint64_t what = place_bits >> 2 * (PLACES - 1 - i) & 3;
        if (what != 0) {
            uint64_t desc = what == 1 ? device(places[i]) | PERM_DEVICE
                                      : V2P(machine_page(order[next++])) | PERM_USER;
            desc |= PTE_PAGE | PTE_AF | PTE_SH;
            *model_entry(3, places[i]) = *real_entry(&m, 3, places[i]) = desc;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        if (block_bits >> (ARRAY_SIZE(blocks) - 1 - i) & 1) {
            *model_entry(blocks[i].level, blocks[i].va) = BLOCK_DESC;
            *real_entry(&m, blocks[i].level, blocks[i].va) = BLOCK_DESC;
        }
    }
    while (next < TINY_PAGES) {
        machine_put(order[next++]);
    }
}

/* Calls of map_region other than one aligned place: several, parts of pages, none, and what cannot be. */
static const struct {
    uint64_t va, size, pa;
} regions[] = {
    {0x1fe000, 0x2000, 0x3f1fe000},
    {0x1ff000, 0x2000, 0x3f1ff000},
    {0x1fe000, 0x3000, 0x3f1fe000},
    {0x7ffffff000, 0x2000, 0x3ffff000}, /* into the next 512 GiB */
    {0x1fefff, 2, 0x3f1fe001},
    {0x1ff001, 0x1000, 0x3f1ffabc},
    {0x1fe001, 0xffe, 0x3f1fefff},
    {0x1fe001, 0, 0x3f1fe000},
    {LAST_PAGE, 0x1001, 0x3ffff000}, /* wraps */
    {LAST_PAGE, UINT64_MAX, 0x3ffff000},
    {0xfffffffff000, 0x1001, 0},        /* into the hole between the halves */
    {0x1fe000, UINT64_MAX, 0x3f1fe000}, /* around to just below */
    {0x1fe000, 0x2000, 0xfffffffff000}, /* 48 bits for the first page only */
    {0x1feff0, 0x20, 0xfffffffff000},   /* the same: two pages for few bytes */
    {0x1fe000, 1, 0x1000000000000},
    {0x1fe000, 0x2000, 0xfffffffffffff000}, /* pa wraps */
};

/*
 * Operation number op on the state that is set up; names it when asked to. Returns 0 when it does not apply
 * here, and -1 when there are no more. The numbers run through all operations with all their arguments.
 */
static char doing[120];

#define OPERATION(count) (op < (n = (count)) ? true : (op -= n, false))

static int
operate(size_t op)
{
    size_t n;

    if (OPERATION(1)) {
        strcpy(doing, "kalloc");
        return m.nheld < HELD_MAX ? (model_kalloc(&m), 1) : 0;
    }
    if (OPERATION(1)) {
        strcpy(doing, "kfree");
        return m.nheld > 0 ? (model_kfree(&m, 0), 1) : 0;
    }
    if (!m.root) {
        strcpy(doing, "a new root");
        return OPERATION(1) ? (model_new_root(&m), 1) : -1;
    }
    if (OPERATION(2 * PLACES)) {
        sprintf(doing, "pgdir_walk(%#lx, %zu)", (unsigned long)places[op / 2], op % 2);
        model_walk(&m, places[op / 2] + op, (int64_t)(op % 2));
        return 1;
    }
    if (OPERATION(PLACES)) {
        sprintf(doing, "map_region(%#lx, one page)", (unsigned long)places[op]);
        model_map(&m, places[op], PGSIZE, device(places[op]), PERM_DEVICE);
        return 1;
    }
    if (OPERATION(PLACES)) {
        sprintf(doing, "map_region(%#lx, a page of the allocator's)", (unsigned long)places[op]);
        return m.nheld > 0 ? (model_map_held(&m, places[op] + op, op, 0, PERM_USER), 1) : 0;
    }
    if (OPERATION(ARRAY_SIZE(regions))) {
        sprintf(doing, "map_region(%#lx, size %#lx, pa %#lx)", (unsigned long)regions[op].va,
                (unsigned long)regions[op].size, (unsigned long)regions[op].pa);
        model_map(&m, regions[op].va, regions[op].size, regions[op].pa, PERM_DEVICE);
        return 1;
    }
    if (OPERATION(PLACES)) {
        sprintf(doing, "unmap %#lx", (unsigned long)places[op]);
        uint64_t *entry = model_entry(3, places[op]);
        return entry && *entry != 0 ? (model_unmap(&m, places[op]), 1) : 0;
    }
    if (OPERATION(ARRAY_SIZE(blocks))) {
        int level = blocks[op].level;
        uint64_t va = blocks[op].va, *entry = model_entry(level, va);
        sprintf(doing, "a level %d block", level);
        if (!entry || model_find(&m, level + 1, va)) {
            return 0;
        }
        model_set_block(&m, level, va, *entry == 0 ? BLOCK_DESC : 0);
        return 1;
    }
    if (OPERATION(ntables)) {
        sprintf(doing, "vm_free of the level %d table for %#lx", tables[op].level,
                (unsigned long)tables[op].va);
        bool there = model_find(&m, tables[op].level, tables[op].va);
        return there ? (model_vm_free(&m, tables[op].level, tables[op].va), 1) : 0;
    }
    return -1;
}

/* The states seen: a hash set, and the order in which they came, which is the queue of the search. */
#define STATES_MAX (1u << 20)
static uint64_t seen[2 * STATES_MAX], states[STATES_MAX];
static size_t nstates;

static void
visit(uint64_t key)
{
    uint64_t seed = key;
    size_t at = random_below(&seed, ARRAY_SIZE(seen));

    for (; seen[at] != 0; at = (at + 1) % ARRAY_SIZE(seen)) {
        if (seen[at] == key + 1) {
            return;
        }
    }
    seen[at] = key + 1;
    assert_true(nstates < STATES_MAX);
    states[nstates++] = key;
}

static uint64_t exploring;

static void
explain(void)
{
    fprintf(stderr, "in state %#lx, with %zu pages free: %s\n", (unsigned long)exploring,
            machine_available(), doing);
}

static void
every_state_of_a_tiny_memory(void **state)
{
    size_t calls = 0, failures = 0;

    (void)state;
    list_tables();
    machine_start(TINY_PAGES, 0);
    machine_explain = explain;
    model_clear(&m);
    visit(state_of_model());
    for (size_t i = 0; i < nstates; i++) {
        exploring = states[i];
        for (size_t op = 0;; op++) {
            set_up(exploring);
            size_t before = machine_available();
            int applies = operate(op);
            if (applies < 0) {
                break;
            }
            if (applies == 0) {
                continue;
            }
            uint64_t after = state_of_model();
            size_t left = machine_available();
            calls++;
            visit(after);
            model_drain(&m);

            /* The same with each of its allocations failing: nothing may have changed. */
            for (size_t k = 1; left < before && k <= before - left; k++) {
                set_up(exploring);
                machine_fail(k);
                operate(op);
                if (state_of_model() != exploring || machine_asked() > before) {
                    broken("a call whose allocation %zu failed has changed something", k);
                }
                failures++;
                model_drain(&m);
            }
        }
    }
    machine_explain = NULL;
    /* All that there can be with so many pages, counted by hand: no state is out of reach. */
    assert_int_equal(nstates, 16384);
    print_message(
        "[          ] %zu states of %d pages; %zu calls, %zu more with a failing allocation\n",
        nstates, TINY_PAGES, calls, failures);
}

/* ---- Larger calls, with their n-th allocation failing ---- */

#define ROOM 1150

static const struct {
    uint64_t va, size, pa;
    int64_t perm;
    size_t tables; /* that the call has to make, on a fresh root */
} large[] = {
    {0, 1, 0, 0, 3},
    {0, BLOCK2M, 0x3f000000, PERM_DEVICE, 3},
    {0xfff, BLOCK2M, 1, PERM_DEVICE, 4},
    {BLOCK2M - 1, BLOCK2M + 2, 0x3f000fff, PERM_USER, 5},
    {BLOCK1G - PGSIZE, 0x2000, 0, PERM_USER, 5},
    {(1UL << 39) - 1, 2, 0, PERM_USER, 6},
    {(1UL << 39) - BLOCK1G, 2 * BLOCK1G, 0, PERM_USER, 1028},
    {0xffff000000000000, BLOCK2M * 30 + 1, 0, PERM_DEVICE, 33},
    {0xffffffffffffffff, 1, 0xffffffffffff, PERM_DEVICE, 3},
    {0xffffffffffe00000, BLOCK2M, 0xffffffe00000, PERM_DEVICE, 3},
    {0xffffffffffe00000, BLOCK2M - 1, 0xffffffe00fff, PERM_DEVICE, 3},
    {0x0000fffffffff000, PGSIZE, 0, PERM_USER, 3},
    {0, BLOCK1G, 0, PERM_USER, 514},
};

/* What is there before the call: nothing; its last page, so that it must fail; or a page of the next 2 MiB. */
enum around { NOTHING, IN_THE_WAY, NEIGHBOUR };

static void
with_each_allocation_failing(size_t i, enum around around)
{
    uint64_t last = large[i].va + large[i].size - 1;
    int result = -1;

    machine_start(ROOM, 0);
    model_clear(&m);
    assert_true(model_new_root(&m));
    if (around != NOTHING) {
        uint64_t va = around == IN_THE_WAY ? last : last + BLOCK2M;
        assert_int_equal(model_map(&m, va, 1, 0x12345000, PERM_USER), 0);
    }
    for (size_t k = 1; result != 0 && k <= large[i].tables + 1; k++) {
        /* The first ones, the last ones, and some of the many in between. */
        if (k > 40 && k + 5 < large[i].tables && k % 97 != 0) {
            continue;
        }
        machine_fail(k);
        result = model_map(&m, large[i].va, large[i].size, large[i].pa, large[i].perm);
        assert_true(result != 0 || around == NEIGHBOUR || k == large[i].tables + 1);
    }
    machine_fail(0);
    assert_int_equal(result, around == IN_THE_WAY ? -1 : 0);
    assert_int_equal(model_map(&m, large[i].va, large[i].size, large[i].pa, large[i].perm), -1);
    model_vm_free(&m, 0, 0);
    model_drain(&m);
}

static void
every_allocation_fails_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
        with_each_allocation_failing(i, NOTHING);
        with_each_allocation_failing(i, IN_THE_WAY);
        with_each_allocation_failing(i, NEIGHBOUR);
    }
}

/* pgdir_walk makes up to three tables. */
static void
a_walk_fails_at_each_table(void **state)
{
    static const uint64_t vas[] = {0,           BLOCK1G, BLOCK2M, 0xffffffffffffffff, 0x7fffffffff,
                                   0x8000000000};

    (void)state;
    machine_start(ROOM, 0);
    model_clear(&m);
    assert_true(model_new_root(&m));
    for (size_t i = 0; i < ARRAY_SIZE(vas); i++) {
        for (size_t k = 1; k <= 4; k++) {
            machine_fail(k);
            if (model_walk(&m, vas[i], -1)) {
                break;
            }
        }
        machine_fail(0);
        assert_non_null(model_walk(&m, vas[i], 0));
    }
    model_vm_free(&m, 0, 0);
    model_drain(&m);
}

/* ---- What vm_free leaves alone ---- */

static void
vm_free_at_every_level(void **state)
{
    (void)state;
    for (int level = 0; level <= 3; level++) {
        machine_start(ROOM, 0);
        model_clear(&m);
        assert_true(model_new_root(&m));
        /* Full tables of pages of both kinds, also ones with all kinds of low and high bits. */
        for (size_t i = 0; i < 300; i++) {
            assert_true(model_kalloc(&m));
            assert_int_equal(model_map_held(&m, i * PGSIZE, i, m.nheld - 1,
                                            (int64_t)(i % 64 * 4 | (i % 512) << 55)),
                             0);
        }
        assert_int_equal(model_map(&m, 300UL * PGSIZE, 600UL * PGSIZE, 0x3f000040, PERM_DEVICE), 0);
        for (uint64_t va = BLOCK1G; va < BLOCK1G + 40 * BLOCK2M; va += BLOCK2M) {
            assert_true(model_kalloc(&m));
            assert_int_equal(model_map_held(&m, va, 0, m.nheld - 1, PERM_USER), 0);
        }
        assert_non_null(model_walk(&m, 1UL << 40, 1));
        /* Blocks, one of which maps the very page that its table lies in. */
        uint64_t table = PTE_ADDR(*real_entry(&m, 1, BLOCK1G));
        model_set_block(&m, 2, BLOCK1G + 50 * BLOCK2M,
                        (table & ~(BLOCK2M - 1)) | PTE_AF | PTE_BLOCK);
        model_set_block(&m, 1, 2 * BLOCK1G, 0x40000000 | PTE_AF | PTE_BLOCK);
        model_vm_free(&m, level, level == 2 ? BLOCK1G : 0);
        if (level > 0) {
            model_vm_free(&m, 0, 0);
        }
        model_drain(&m);
    }
}

/* An entry without bit 0 means nothing, whatever its other bits say. */
static void
invalid_entries_with_other_bits(void **state)
{
    (void)state;
    machine_start(64, 0);
    char *owned = kalloc();
    uint64_t *root = (uint64_t *)(void *)kalloc();
    memset(root, 0, PGSIZE);
    uint64_t junk = V2P(owned) | 0xffe;
    root[0] = root[511] = junk;
    assert_null(pgdir_walk(root, NULL, 0));
    uint64_t *pte = pgdir_walk(root, NULL, 1);
    assert_non_null(pte);
    *pte = junk;
    assert_int_equal(map_region(root, NULL, 1, 0x3f000000, 0), 0);
    assert_int_equal(*pte, 0x3f000000 | PTE_PAGE | PTE_AF | PTE_SH);
    assert_int_equal(map_region(root, (void *)LAST_PAGE, 1, 0x3f000000, 0), 0);
    pte[1] = junk;
    machine_call(true);
    vm_free(root, 0);
    machine_call(false);
    kfree(owned);
    assert_int_equal(machine_available(), 64);
    model_clear(&m);
    model_drain(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_of_a_tiny_memory),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(a_walk_fails_at_each_table),
        cmocka_unit_test(vm_free_at_every_level),
        cmocka_unit_test(invalid_entries_with_other_bits),
    };

    return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
