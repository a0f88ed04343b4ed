/*
 * libFuzzer on kern/vm.c: the input is a sequence of calls whose arguments are values at which something may
 * happen; model.c judges each. Addresses that belong to neither half of the address space are left out: the
 * contract says nothing of them.
 */
#include "kalloc.h"
#include "model.h"
#include "types.h"

#define PAGES     24
#define CALLS_MAX 48

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const uint8_t *input, *input_end;
static struct model m;

static uint8_t
byte(void)
{
    return input < input_end ? *input++ : 0;
}

/* An edge, or near one; now and then any number. */
static uint64_t
number(void)
{
    static const uint64_t edges[] = {
        0,
        PGSIZE,
        1UL << 21,
        1UL << 30,
        1UL << 39,
        1UL << 40,
        1UL << 47,
        1UL << 48,
        3UL << 21,
        3UL << 30,
        3UL << 39,
        0xffff000000000000u,
        0xffff800000000000u,
        UINT64_MAX - PGSIZE + 1,
    };
    static const uint64_t near[] = {0,          1,          PGSIZE,    PGSIZE - 1,
                                    PGSIZE + 1, 2 * PGSIZE, 1UL << 21, (1UL << 21) - PGSIZE};
    uint8_t which = byte();

    if (which >= 250) {
        uint64_t n = 0;
        for (int i = 0; i < 8; i++) {
            n = n << 8 | byte();
        }
        return n;
    }
    uint64_t delta = near[which / 2 / ARRAY_SIZE(edges) % ARRAY_SIZE(near)];
    return edges[which / 2 % ARRAY_SIZE(edges)] + (which % 2 ? delta : 0 - delta);
}

static uint64_t
address(void)
{
    uint64_t va = number();

    if (va >> 48 != 0 && va >> 48 != 0xffff) {
        va = va >> 63 ? va | 0xffff000000000000u : va & VA48;
    }
    return va;
}

static int64_t
permissions(void)
{
    return (int64_t)PTE_FLAGS((uint64_t)byte() << 2 | (uint64_t)byte() << 52
                              | (uint64_t)(byte() & 15) << 8);
}

/* The first leaf that the model has at or after a number from the input. */
static bool
some_leaf(uint64_t *va)
{
    size_t skip = byte();

    for (size_t i = 0; i < m.ntables; i++) {
        const struct model_table *t = &m.table[(i + skip) % m.ntables];
        size_t j = t->level == 3 ? tables_differ(t->entry, empty_table, 0) : NPTE;
        if (j < NPTE) {
            *va = t->base + j * PGSIZE;
            return true;
        }
    }
    return false;
}

static void
call(void)
{
    uint8_t what = byte();
    uint64_t va, pa, size;

    machine_fail(what >= 192 ? (size_t)byte() % 8 : 0);
    switch (what % 8) {
    case 0:
        model_walk(&m, address(), byte() % 2 ? number() % 2 ? -1 : 1 : 0);
        break;
    case 1:
        model_kalloc(&m);
        break;
    case 2:
        if (m.nheld > 0) {
            model_kfree(&m, byte() % m.nheld);
        }
        break;
    case 3:
        if (m.nheld > 0) {
            va = address();
            model_map_held(&m, va, number() % PGSIZE, byte() % m.nheld, permissions());
        }
        break;
    case 4:
        if (some_leaf(&va)) {
            machine_fail(0);
            model_unmap(&m, va);
        }
        break;
    case 5: {
        const struct model_table *t = &m.table[byte() % m.ntables];
        model_vm_free(&m, t->level, t->base);
        if (!m.root && !model_new_root(&m)) {
            machine_fail(0);
            while (m.nheld > 0) {
                model_kfree(&m, 0);
            }
            model_new_root(&m);
        }
        break;
    }
    case 6: {
        int level = 1 + byte() % 2;
        va = address();
        struct model_table *t = model_find(&m, level, va);
        if (t && !model_find(&m, level + 1, va)) {
            uint64_t old = t->entry[(va & VA48) / entry_span(level) % NPTE];
            model_set_block(&m, level, va,
                            old ? 0 : (number() & 0xffffc0000000u) | PTE_AF | PTE_BLOCK);
        }
        break;
    }
    default:
        va = address();
        size = number();
        pa = number();
        /* What the allocator owns is mapped by model_map_held alone. */
        if (pa - (MACHINE_PA - (1UL << 30)) > 1UL << 31) {
            model_map(&m, va, size, pa, permissions());
        }
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    input = bytes;
    input_end = bytes + size;
    machine_start(PAGES, 5);
    model_clear(&m);
    model_new_root(&m);
    for (int i = 0; i < CALLS_MAX && input < input_end; i++) {
        call();
    }
    machine_fail(0);
    while (m.nheld > 0) {
        model_kfree(&m, 0);
    }
    model_vm_free(&m, 0, 0);
    if (machine_available() != PAGES) {
        broken("%zu pages of %d are free at the end", machine_available(), PAGES);
    }
    model_drain(&m);
    return 0;
}
