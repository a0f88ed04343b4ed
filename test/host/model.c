#include "model.h"

#include <sanitizer/asan_interface.h>
#include <string.h>

#include "kalloc.h"
#include "vm.h"

static size_t
slot(int level, uint64_t va)
{
    return va / entry_span(level) % NPTE;
}

/* The first address of the table that covers va. */
static uint64_t
table_base(int level, uint64_t va)
{
    return va & VA48 & ~(table_span(level) - 1);
}

/*
 * The first index >= i at which two tables differ, or NPTE. Without sanitizers, as most of the time is spent here;
 * the caller knows that both are tables.
 */
__attribute__((no_sanitize("address", "undefined"))) size_t
tables_differ(const uint64_t *a, const uint64_t *b, size_t i)
{
    for (; i < NPTE; i++) {
        while (i % 8 == 0 && i < NPTE
               && ((a[i] ^ b[i]) | (a[i + 1] ^ b[i + 1]) | (a[i + 2] ^ b[i + 2])
                   | (a[i + 3] ^ b[i + 3]) | (a[i + 4] ^ b[i + 4]) | (a[i + 5] ^ b[i + 5])
                   | (a[i + 6] ^ b[i + 6]) | (a[i + 7] ^ b[i + 7]))
                      == 0) {
            i += 8;
        }
        if (i == NPTE || a[i] != b[i]) {
            break;
        }
    }
    return i;
}

const uint64_t empty_table[NPTE];

void
model_clear(struct model *m)
{
    m->root = NULL;
    m->ntables = 0;
    m->nheld = 0;
}

struct model_table *
model_find(struct model *m, int level, uint64_t va)
{
    uint64_t base = table_base(level, va);

    for (struct model_table *t = m->table; t < m->table + m->ntables; t++) {
        if (t->level == level && t->base == base) {
            return t;
        }
    }
    return NULL;
}

struct model_table *
model_add(struct model *m, int level, uint64_t va)
{
    struct model_table *t = model_find(m, level, va);

    if (!t) {
        t = &m->table[m->ntables++];
        t->level = level;
        t->base = table_base(level, va);
        memset(t->entry, 0, sizeof(t->entry));
    }
    return t;
}

uint64_t *
real_entry(const struct model *m, int level, uint64_t va)
{
    uint64_t *table = m->root;

    for (int l = 0; l < level; l++) {
        table = P2V(PTE_ADDR(table[slot(l, va)]));
    }
    return &table[slot(level, va)];
}

/* ---- The whole state ---- */

enum use { NOBODY, TABLE, LEAF, HELD, FREE };
static enum use use[MACHINE_PAGES];

static void
claim(uint64_t pa, enum use by)
{
    size_t i = machine_index(P2V(pa));

    if (i == MACHINE_PAGES) {
        broken("%#lx is used as %s, but is no page of the allocator's", (unsigned long)pa,
               by == TABLE ? "a table" : "a free page");
    }
    if (by != FREE && machine_is_free(i)) {
        broken("page %zu is free, but used", i);
    }
    if (use[i] != NOBODY) {
        broken("page %zu has two uses: %d and %d", i, use[i], by);
    }
    use[i] = by;
}

/* A table of the machine at pa, where the model has one of this level and base. Returns the tables seen. */
static size_t
check_table(struct model *m, int level, uint64_t base, uint64_t pa)
{
    struct model_table *t = model_find(m, level, base);
    size_t seen = 1;

    claim(pa, TABLE);
    if (!t) {
        broken("a level %d table for %#lx, which should not be there", level, (unsigned long)base);
    }
    const uint64_t *real = P2V(pa);
    for (size_t i = 0; level == 3 && (i = tables_differ(t->entry, empty_table, i)) < NPTE; i++) {
        if (page_owned(PTE_ADDR(t->entry[i]))) {
            claim(PTE_ADDR(t->entry[i]), LEAF);
        }
    }
    for (size_t i = 0; (i = tables_differ(real, t->entry, i)) < NPTE; i++) {
        uint64_t va = base + i * entry_span(level);
        bool to_table = level < 3 && (real[i] & 3) == PTE_TABLE && PTE_FLAGS(real[i]) == PTE_TABLE;
        if (!to_table || t->entry[i] != 0) {
            broken("level %d entry %zu, for %#lx: %#lx instead of %#lx", level, i,
                   (unsigned long)va, (unsigned long)real[i], (unsigned long)t->entry[i]);
        }
        seen += check_table(m, level + 1, va, PTE_ADDR(real[i]));
    }
    return seen;
}

static void
check_uses(struct model *m)
{
    memset(use, 0, sizeof(use));
    size_t seen = m->root ? check_table(m, 0, 0, V2P(m->root)) : 0;
    if (seen != m->ntables) {
        broken("%zu tables instead of %zu", seen, m->ntables);
    }
    for (size_t i = 0; i < m->nheld; i++) {
        claim(V2P(m->held[i]), HELD);
    }
}

void
model_check(struct model *m)
{
    check_uses(m);
    for (struct run *page = kmem.free_list; page;) {
        claim(V2P(page), FREE);
        ASAN_UNPOISON_MEMORY_REGION(page, sizeof(*page));
        struct run *next = page->next;
        ASAN_POISON_MEMORY_REGION(page, sizeof(*page));
        page = next;
    }
    for (size_t i = 0; i < machine_pages(); i++) {
        if (use[i] == NOBODY) {
            broken("page %zu is lost: not free, and used by nobody", i);
        }
    }
}

void
model_drain(struct model *m)
{
    char *page;

    machine_fail(0);
    check_uses(m);
    while ((page = kalloc()) != NULL) {
        claim(V2P(page), FREE);
        memset(page, 0xee, PGSIZE); /* nobody else's memory */
    }
    for (size_t i = 0; i < machine_pages(); i++) {
        if (use[i] == NOBODY) {
            broken("page %zu is lost: kalloc did not return it, and nobody uses it", i);
        }
    }
    check_uses(m); /* again, now that whatever was free has been written to */
}

/*
 * Barriers. A new table's zeroes have to be ordered before the entry that leads to it: at some pte_sync
 * the page was taken, all zero, and not linked yet.
 */
static struct model *current;
static bool synced[MACHINE_PAGES];

static bool
linked_below(const uint64_t *table, int level, uint64_t pa)
{
    for (size_t i = 0; level < 3 && (i = tables_differ(table, empty_table, i)) < NPTE; i++) {
        if ((table[i] & 3) == PTE_TABLE
            && (PTE_ADDR(table[i]) == pa || linked_below(P2V(PTE_ADDR(table[i])), level + 1, pa))) {
            return true;
        }
    }
    return false;
}

static void
on_sync(void)
{
    static const char zeroes[PGSIZE];

    for (size_t i = 0; i < machine_pages(); i++) {
        const char *page = machine_page(i);
        if (machine_taken(i) && !machine_is_free(i) && !synced[i]
            && memcmp(page, zeroes, PGSIZE) == 0 && !linked_below(current->root, 0, V2P(page))) {
            synced[i] = true;
        }
    }
}

static void
call_begins(struct model *m, bool vm_free)
{
    current = m;
    memset(synced, 0, sizeof(synced));
    machine_on_sync = on_sync;
    machine_call(vm_free);
}

static void
call_ended(struct model *m)
{
    machine_on_sync = NULL;
    model_check(m);
    for (size_t i = 0; i < machine_pages(); i++) {
        if (use[i] == TABLE && machine_taken(i) && !synced[i]) {
            broken("the table in page %zu was linked before its zeroes were ordered (pte_sync)", i);
        }
    }
    machine_call(false);
}

/* ---- Calls ---- */

bool
model_kalloc(struct model *m)
{
    size_t available = machine_available();
    char *page = kalloc();

    if ((page != NULL) != (available > 0)) {
        broken("kalloc returned %p with %zu pages to give", (void *)page, available);
    }
    if (page) {
        memset(page, 0xff, PGSIZE);
        m->held[m->nheld++] = page;
    }
    model_check(m);
    return page != NULL;
}

void
model_kfree(struct model *m, size_t held)
{
    char *page = m->held[held];

    m->held[held] = m->held[--m->nheld];
    kfree(page);
    model_check(m);
}

bool
model_new_root(struct model *m)
{
    if (!model_kalloc(m)) {
        return false;
    }
    m->root = (uint64_t *)(void *)m->held[--m->nheld];
    memset(m->root, 0, PGSIZE);
    model_add(m, 0, 0);
    model_check(m);
    return true;
}

/* How many tables of all levels are missing for [first, last] (48 bits each, pages). */
static uint64_t
missing(struct model *m, uint64_t first, uint64_t last)
{
    uint64_t n = 0;

    for (int level = 1; level <= 3; level++) {
        uint64_t from = first / table_span(level), to = last / table_span(level);
        n += to - from + 1;
        for (size_t i = 0; i < m->ntables; i++) {
            uint64_t number = m->table[i].base / table_span(level);
            if (m->table[i].level == level && number >= from && number <= to) {
                n--;
            }
        }
    }
    return n;
}

/* Does an entry of one of these levels map anything in [first, last]? */
static bool
mapped(struct model *m, int from_level, int to_level, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < m->ntables; i++) {
        const struct model_table *t = &m->table[i];
        if (t->level < from_level || t->level > to_level || t->base > last
            || t->base + table_span(t->level) <= first) {
            continue;
        }
        for (size_t j = 0; (j = tables_differ(t->entry, empty_table, j)) < NPTE; j++) {
            uint64_t va = t->base + j * entry_span(t->level);
            if (va <= last && va + entry_span(t->level) > first) {
                return true;
            }
        }
    }
    return false;
}

uint64_t *
model_walk(struct model *m, uint64_t va, int64_t alloc)
{
    uint64_t page = (va & VA48) / PGSIZE * PGSIZE;
    uint64_t n = missing(m, page, page), available = machine_available();
    bool found = !mapped(m, 1, 2, page, page) && (n == 0 || (alloc && n <= available));

    call_begins(m, false);
    /* An odd address is as good as that of the page. */
    uint64_t *pte = pgdir_walk(m->root, (const void *)va, alloc);
    if (found) {
        for (int level = 1; level <= 3; level++) {
            model_add(m, level, page);
        }
    }
    if (!alloc && machine_asked() > 0) {
        broken("pgdir_walk(%#lx, 0) asked for memory", (unsigned long)va);
    }
    call_ended(m);
    if (pte != (found ? real_entry(m, 3, page) : NULL)) {
        broken("pgdir_walk(%#lx, %ld) returned %p, which is wrong", (unsigned long)va, (long)alloc,
               (void *)pte);
    }
    return pte;
}

/* The contract of map_region, sentence by sentence. 0: the model was changed. */
static int
map(struct model *m, uint64_t va, uint64_t size, uint64_t pa, int64_t perm, size_t available)
{
    typedef unsigned __int128 wide;
    wide stop = (wide)va + size, half = va >> 48 ? (wide)1 << 64 : (wide)1 << 48;

    if (size == 0) {
        return 0;
    }
    if (stop > half) {
        return -1;
    }
    uint64_t first = va / PGSIZE * PGSIZE, last = (uint64_t)(stop - 1) / PGSIZE * PGSIZE;
    uint64_t start = pa / PGSIZE * PGSIZE;
    if ((wide)start + (last - first) + PGSIZE > (wide)1 << 48) {
        return -1;
    }
    first &= VA48;
    last &= VA48;
    if (mapped(m, 1, 3, first, last) || missing(m, first, last) > available) {
        return -1;
    }
    for (uint64_t page = first; page <= last; page += PGSIZE, start += PGSIZE) {
        struct model_table *t = NULL;
        for (int level = 1; level <= 3; level++) {
            t = model_add(m, level, page);
        }
        t->entry[slot(3, page)] = start | (uint64_t)perm | PTE_PAGE | PTE_AF | PTE_SH;
    }
    return 0;
}

int
model_map(struct model *m, uint64_t va, uint64_t size, uint64_t pa, int64_t perm)
{
    size_t available = machine_available();

    call_begins(m, false);
    int got = map_region(m->root, (void *)va, size, pa, perm);
    int expected = map(m, va, size, pa, perm, available);
    if (got != expected) {
        broken("map_region(va %#lx, size %#lx, pa %#lx, perm %#lx) with %zu pages to take returned "
               "%d instead of %d",
               (unsigned long)va, (unsigned long)size, (unsigned long)pa, (unsigned long)perm,
               available, got, expected);
    }
    call_ended(m);
    return got;
}

int
model_map_held(struct model *m, uint64_t va, uint64_t offset, size_t held, int64_t perm)
{
    char *page = m->held[held];

    /* While the call runs the page is still the caller's: not free, and no table. */
    size_t available = machine_available();
    call_begins(m, false);
    int got = map_region(m->root, (void *)va, 1, V2P(page) + offset, perm);
    int expected = map(m, va, 1, V2P(page) + offset, perm, available);
    if (got != expected) {
        broken("map_region(va %#lx, size 1) returned %d instead of %d", (unsigned long)va, got,
               expected);
    }
    if (got == 0) {
        m->held[held] = m->held[--m->nheld];
    }
    call_ended(m);
    return got;
}

void
model_unmap(struct model *m, uint64_t va)
{
    struct model_table *t = model_find(m, 3, va);
    uint64_t *entry = &t->entry[slot(3, va)];
    uint64_t *pte = model_walk(m, va, 0), pa = PTE_ADDR(*entry);

    *entry = 0;
    *pte = 0;
    if (page_owned(pa)) {
        kfree(P2V(pa));
    }
    model_check(m);
}

void
model_set_block(struct model *m, int level, uint64_t va, uint64_t desc)
{
    struct model_table *t = model_find(m, level, va);

    t->entry[slot(level, va)] = desc;
    *real_entry(m, level, va) = desc;
    model_check(m);
}

void
model_vm_free(struct model *m, int level, uint64_t va)
{
    uint64_t base = table_base(level, va), *table = m->root;

    if (level == 0) {
        m->root = NULL;
    } else {
        uint64_t *entry = real_entry(m, level - 1, base);
        table = P2V(PTE_ADDR(*entry));
        *entry = 0;
    }
    for (size_t i = m->ntables; i-- > 0;) {
        const struct model_table *t = &m->table[i];
        if (t->level >= level && t->base - base < table_span(level)) {
            m->table[i] = m->table[--m->ntables];
        }
    }
    call_begins(m, true);
    vm_free(table, level);
    call_ended(m);
}
