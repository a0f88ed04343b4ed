/*
 * Lab 4's checks of vmalloc and vfree. A model knows which areas there are; the list of areas, and the
 * kernel's tables as the MMU reads them, are compared with it after each call.
 */
#include "check.h"
#include "heap.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "kvm.h"
#include "lab4.h"
#include "pmm.h"
#include "slab.h"
#include "string.h"
#include "tlb.h"
#include "vm.h"
#include "vmalloc.h"

#define PAGES_OF(size) (((size) + PGSIZE - 1) / PGSIZE)

/* ---- the model ---- */

#define AREAS_MAX 96
static struct is {
    uint64_t start;
    size_t npages;
    struct area *other; /* it was there before the check: its record; NULL: the check's */
} model[AREAS_MAX];     /* by address */
static size_t nmodel;

static uint64_t
stop_of(const struct is *m)
{
    return m->start + (m->npages + 1) * PGSIZE;
}

/* The lowest address for so many pages and the one behind them; 0: there is no room. */
static uint64_t
model_place(size_t npages, uint64_t align)
{
    uint64_t at = VMALLOC_START;

    for (size_t i = 0; i <= nmodel; i++) {
        uint64_t start = ROUNDUP(at, align), end_of_gap = VMALLOC_STOP;
        if (i < nmodel)
            end_of_gap = model[i].start;
        if (start >= at && start < end_of_gap && (end_of_gap - start) / PGSIZE > npages)
            return start;
        if (i < nmodel)
            at = stop_of(&model[i]);
    }
    return 0;
}

static void
model_add(uint64_t start, size_t npages, struct area *other)
{
    size_t i = nmodel;

    EXPECT(nmodel < AREAS_MAX, "a mistake in the check itself: AREAS_MAX is too small");
    for (; i > 0 && model[i - 1].start > start; i--)
        model[i] = model[i - 1];
    model[i] = (struct is){start, npages, other};
    nmodel++;
}

static void
model_remove(size_t i)
{
    nmodel--;
    memmove(&model[i], &model[i + 1], (nmodel - i) * sizeof(model[0]));
}

/* The area that va lies in, or in the page behind it. */
static const struct is *
model_at(uint64_t va)
{
    for (size_t i = 0; i < nmodel; i++)
        if (va >= model[i].start && va < stop_of(&model[i]))
            return &model[i];
    return NULL;
}

/* One of the check's own areas. */
static size_t
pick(void)
{
    for (;;) {
        size_t i = check_random_below(nmodel);
        if (!model[i].other)
            return i;
    }
}

static size_t
mine(void)
{
    size_t n = 0;

    for (size_t i = 0; i < nmodel; i++)
        n += !model[i].other;
    return n;
}

/* ---- the tables ---- */

static uint64_t *
root(void)
{
    return P2V(kvm_root());
}

/* The state of the frame at pa; FRAME_NONE: it is not even memory. */
static uint8_t
state_at(uint64_t pa)
{
    size_t i;
    const struct zone *z = zone_of(pa, &i);

    return z ? z->state[i] : FRAME_NONE;
}

/* Frames that a walk has met, as a table or in one. */
static uint64_t met[DEVICES_PA / PGSIZE / 64];
static size_t tables, pages; /* how many the last walk has met */
static size_t walked;        /* it is behind so many of the model's areas */

static void
meet(uint64_t va, uint64_t pa, const char *what)
{
    uint64_t frame = pa / PGSIZE;

    check_table.root = root();
    check_table.va = va;
    EXPECT(state_at(pa) == FRAME_USED,
           "the %s at 0x%lx for address 0x%lx: expected a single page in use, found that its state "
           "is 0x%x",
           what, pa, va, state_at(pa));
    EXPECT(!(met[frame / 64] >> frame % 64 & 1),
           "the %s for address 0x%lx is the page at 0x%lx, which has another place in the tables "
           "already",
           what, va, pa);
    met[frame / 64] |= 1UL << frame % 64;
}

/* Bits that the MMU ignores. */
#define FOR_SOFTWARE (0xfUL << 55)
#define PAGE_FLAGS \
    (PTE_PAGE | PTE_AF | PTE_SH | PTE_NORMAL | PTE_KERNEL | PTE_RW | PTE_PXN | PTE_UXN)

static void
check_entry(uint64_t va, uint64_t entry)
{
    const struct is *m = NULL;

    while (walked < nmodel && stop_of(&model[walked]) <= va)
        walked++;
    if (walked < nmodel && model[walked].start <= va)
        m = &model[walked];
    check_table.root = root();
    check_table.va = va;
    EXPECT(m, "0x%lx is mapped, but there is no area: expected its entry to be 0, found 0x%lx", va,
           entry);
    EXPECT(va != stop_of(m) - PGSIZE,
           "0x%lx, right behind the %lu pages of the area at 0x%lx, is mapped: expected that no "
           "page is",
           va, m->npages, m->start);
    meet(va, PTE_ADDR(entry), "page");
    pages++;
    if (m->other)
        return;
    EXPECT(!(entry & PTE_USER), "user programs may access 0x%lx: expected PTE_KERNEL", va);
    EXPECT(!(entry & PTE_RO), "0x%lx is read-only: expected PTE_RW", va);
    EXPECT(entry & PTE_PXN && entry & PTE_UXN,
           "0x%lx can be executed: expected PTE_PXN and PTE_UXN", va);
    EXPECT(!(entry & PTE_NG),
           "0x%lx belongs to one process: expected no PTE_NG, as the kernel's memory is the same "
           "for all",
           va);
    EXPECT((PTE_FLAGS(entry) & ~FOR_SOFTWARE) == PAGE_FLAGS,
           "expected the flags of 0x%lx to be 0x%lx, found 0x%lx", va, PAGE_FLAGS,
           PTE_FLAGS(entry));
}

static void
walk(const uint64_t *table, int level, uint64_t va, void (*entry)(uint64_t, uint64_t))
{
    for (size_t i = 0; i < NPTE; i++) {
        uint64_t pte = table[i], here = va | i << PTXSHIFT(level);
        if (!(pte & PTE_P))
            continue;
        if (level == 3) {
            entry(here, pte);
            continue;
        }
        EXPECT((pte & PTE_TABLE) == PTE_TABLE, "at 0x%lx a block is mapped: expected single pages",
               here);
        meet(here, PTE_ADDR(pte), "table");
        tables++;
        walk(P2V(PTE_ADDR(pte)), level + 1, here, entry);
    }
}

/* All tables for VMALLOC_START, the first of level 1. */
static void
walk_all(void (*entry)(uint64_t, uint64_t))
{
    uint64_t pte = root()[PTX(0, VMALLOC_START)];

    memset(met, 0, PHYSTOP / PGSIZE / 8 + 1);
    tables = pages = walked = 0;
    if (!(pte & PTE_P))
        return;
    meet(VMALLOC_START, PTE_ADDR(pte), "table");
    tables++;
    walk(P2V(PTE_ADDR(pte)), 1, VMALLOC_START & ~((1UL << PTXSHIFT(0)) - 1), entry);
}

/* What the MMU finds for va; 0: nothing. */
static uint64_t
entry_of(uint64_t va)
{
    const uint64_t *table = root();

    for (int level = 0; level < 3; level++) {
        uint64_t pte = table[PTX(level, va)];
        if ((pte & PTE_TABLE) != PTE_TABLE)
            return 0;
        table = P2V(PTE_ADDR(pte));
    }
    return table[PTX(3, va)];
}

/* How many tables are missing before all of these pages can be mapped? */
static size_t
missing_tables(uint64_t start, size_t npages)
{
    size_t n = 0;

    for (int level = 1; level <= 3; level++) {
        uint64_t last = 0;
        for (uint64_t va = start; va < start + npages * PGSIZE; va += PGSIZE) {
            const uint64_t *table = root();
            int l = 0;
            for (; l < level && table; l++) {
                uint64_t pte = table[PTX(l, va)];
                table = pte & PTE_P ? P2V(PTE_ADDR(pte)) : NULL;
            }
            uint64_t one = va >> PTXSHIFT(level - 1);
            n += !table && one != last;
            last = one;
        }
    }
    return n;
}

/* ---- comparing ---- */

static void
check_list(void)
{
    const struct area *a = areas;

    for (size_t i = 0; i < nmodel; i++, a = a->next) {
        const struct is *m = &model[i];
        EXPECT(a,
               "areas: expected %lu areas on the list, found %lu: that of %lu pages at 0x%lx is "
               "not on it",
               nmodel, i, m->npages, m->start);
        EXPECT((uint64_t)a % 8 == 0 && V2P(a) < PHYSTOP,
               "areas: entry %lu of the list is at %p, where no kmalloc has memory", i,
               (const void *)a);
        EXPECT(a->start == m->start && a->npages == m->npages,
               "areas: expected %lu pages at 0x%lx as number %lu of the list, by address, found "
               "%lu pages at 0x%lx",
               m->npages, m->start, i, a->npages, a->start);
    }
    EXPECT(!a, "areas: expected %lu areas on the list, found more: %lu pages at 0x%lx", nmodel,
           a->npages, a->start);
}

/* The list and the tables are what the model says. */
static void
check_areas(void)
{
    size_t expected = 0;

    check_list();
    walk_all(check_entry);
    for (size_t i = 0; i < nmodel; i++)
        expected += model[i].npages;
    for (size_t i = 0; i < nmodel && pages != expected; i++)
        for (size_t k = 0; k < model[i].npages; k++) {
            uint64_t va = model[i].start + k * PGSIZE;
            check_table.root = root();
            check_table.va = va;
            EXPECT(entry_of(va) & PTE_P,
                   "page %lu of the %lu of the area at 0x%lx is not mapped: expected all to be", k,
                   model[i].npages, model[i].start);
        }
    check_table.root = NULL;
}

/* How much kmalloc has handed out: objects of all caches, or bytes of the heap. */
static size_t
kmalloc_used(void)
{
    const struct slab *before = NULL;
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(slab_by_size); i++) {
        const struct slab *slab = slab_by_size[i];
        if (slab != before) {
            n += (size_t)slab->chunks * slab->objects;
            for (const struct span *s = slab->head.next; s != &slab->head; s = s->next)
                for (uint64_t free = s->free; free; free &= free - 1)
                    n--;
        }
        before = slab;
    }
#if KMALLOC_HEAP
    for (const struct region *r = heap.regions; r; r = r->next)
        n += r->size;
    for (const struct block *b = heap.free_list; b; b = b->next)
        n -= b->size;
#endif
    return n;
}

/* ---- using an area ---- */

static void
load(void *va)
{
    uint64_t word;

    __asm__ volatile("ldr %0, [%1]" : "=r"(word) : "r"(va) : "memory");
}

static bool
can_read(uint64_t va)
{
    return check_panics(load, (void *)va) == NULL;
}

/* Another word for each place in an area. */
static uint64_t
word_for(uint64_t va, uint64_t key)
{
    return (va ^ key) * 0x9e3779b97f4a7c15;
}

/* What is written to the area is in its pages, each of its own. */
static void
write_area(uint64_t start, size_t npages)
{
    uint64_t key = check_random();

    for (size_t k = 0; k < npages; k++) {
        volatile uint64_t *word = (volatile uint64_t *)(start + k * PGSIZE);
        word[0] = word_for((uint64_t)word, key);
        word[PGSIZE / 8 - 1] = ~word[0];
    }
    for (size_t k = 0; k < npages; k++) {
        uint64_t va = start + k * PGSIZE, expected = word_for(va, key);
        const uint64_t *page = P2V(PTE_ADDR(entry_of(va)));
        EXPECT(page[0] == expected && page[PGSIZE / 8 - 1] == ~expected,
               "what was written at 0x%lx is not in the page that is mapped there, at 0x%lx: an "
               "old translation is in the TLB (tlb_flush_page when a page is unmapped)",
               va, V2P(page));
    }
}

/* ---- calling ---- */

/* Not even the smallest: whose fault is it? */
static void
explain_nothing(void)
{
    char *page = kalloc();
    EXPECT(page, "found NULL, and kalloc() gives NULL as well: write kalloc in kern/kalloc.c first "
                 "(lab 2, 3)");
    uint64_t va = VMALLOC_STOP - PGSIZE;
    int error = map_region(root(), (void *)va, PGSIZE, V2P(page), PTE_NORMAL | PTE_PXN | PTE_UXN);
    if (error == 0)
        *pgdir_walk(root(), (void *)va, 0) = 0;
    tlb_flush_all();
    kfree(page);
    EXPECT(error == 0,
           "found NULL, and map_region fails as well: write pgdir_walk and map_region in "
           "kern/vm.c first (lab 2)");
    void *p = kmalloc(sizeof(struct area));
    kmfree(p);
    EXPECT(p, "expected an address, found NULL: write kmalloc in kern/slab.c, then vmalloc_aligned "
              "in kern/vmalloc.c");
    EXPECT(false, "expected an address, found NULL: write vmalloc_aligned in kern/vmalloc.c");
}

static uint64_t
call(size_t size, uint64_t align)
{
    if (align == PGSIZE && check_random() % 2) {
        check_doing("vmalloc(0x%lx), areas there are: %lu", size, nmodel);
        return (uint64_t)vmalloc(size);
    }
    check_doing("vmalloc_aligned(0x%lx, 0x%lx), areas there are: %lu", size, align, nmodel);
    return (uint64_t)vmalloc_aligned(size, align);
}

/* It must succeed. Returns where it is. */
static uint64_t
take(size_t size, uint64_t align)
{
    uint64_t expected = model_place(PAGES_OF(size), align), start = call(size, align);

    if (start == 0 && nmodel == 0)
        explain_nothing();
    EXPECT(start == expected,
           "expected 0x%lx, the lowest address with room for %lu pages and one more that is not "
           "mapped, found 0x%lx",
           expected, PAGES_OF(size), start);
    model_add(start, PAGES_OF(size), NULL);
    check_areas();
    write_area(start, PAGES_OF(size));
    return start;
}

/* It must fail, and the list and kmalloc are as before; why says what is wrong. */
static void
refused_at_once(size_t size, uint64_t align, const char *why)
{
    size_t used = kmalloc_used();

    uint64_t start = call(size, align);
    EXPECT(start == 0, "expected NULL, as %s, found 0x%lx", why, start);
    check_list();
    EXPECT(kmalloc_used() == used,
           "it failed, as it should: expected it to give back what it has from kmalloc");
}

/* And so are the tables and the pages, since check_areas. */
static void
refused(size_t size, uint64_t align, const char *why)
{
    size_t held = pages_free() + tables;

    refused_at_once(size, align, why);
    check_areas();
    size_t now = pages_free() + tables;
    EXPECT(now == held,
           "it failed, as it should, but %ld pages are lost: expected all of them back",
           (long)(held - now));
}

static void
free_area(size_t i)
{
    uint64_t start = model[i].start;
    size_t npages = model[i].npages, n = 0;
    static uint64_t was[64];

    for (; n < MIN(npages, ARRAY_SIZE(was)); n++)
        was[n] = PTE_ADDR(entry_of(start + n * PGSIZE));
    check_doing("vfree(0x%lx), of %lu pages", start, npages);
    vfree((void *)start);
    model_remove(i);
    check_areas();
    for (size_t k = 0; k < n; k++) {
        uint8_t state = state_at(was[k]);
        EXPECT(FRAME_KIND(state) == FRAME_FREE || state == FRAME_CACHED || state == FRAME_NONE,
               "page %lu, at 0x%lx, was not freed: expected kfree, found that its state is 0x%x", k,
               was[k], state);
    }
}

/* ---- before and after ---- */

#define TABLES_MAX 64
static uint64_t kept[TABLES_MAX]; /* tables that there were before the check */
static size_t nkept;
static size_t used_before, free_before;

/* Memory that the check has taken so that nobody else gets it: linked through its pages. */
static struct eaten {
    struct eaten *next;
    unsigned order;
} * eaten;

static void
give_back(void)
{
    while (eaten) {
        struct eaten *e = eaten;
        eaten = e->next;
        pmm_free(V2P(e), e->order);
    }
}

static bool
was_kept(uint64_t pa)
{
    for (size_t i = 0; i < nkept; i++)
        if (kept[i] == pa)
            return true;
    return false;
}

/* Clear what the check has left in this table. Returns whether it is empty now. */
static bool
clear(uint64_t *table, int level, uint64_t va)
{
    bool empty = true;

    for (size_t i = 0; i < NPTE; i++) {
        uint64_t pte = table[i], here = va | i << PTXSHIFT(level), pa = PTE_ADDR(pte);
        if (!(pte & PTE_P))
            continue;
        const struct is *m = model_at(here);
        bool gone = level == 3 ? !m || !m->other : clear(P2V(pa), level + 1, here) && !was_kept(pa);
        if (gone) {
            table[i] = 0;
            tlb_flush_all();
            pmm_free(pa, 0); /* unless nobody has it any more */
        } else {
            empty = false;
        }
    }
    return empty;
}

/* Objects of kmalloc's that the check has taken, linked through themselves. */
struct object {
    struct object *next;
};
static struct object *objects;
static size_t nobjects;

static bool
take_object(void)
{
    struct object *o = kmalloc(sizeof(struct area));

    if (!o)
        return false;
    o->next = objects;
    objects = o;
    nobjects++;
    return true;
}

/* All but n of them. */
static void
give_objects_back(size_t n)
{
    while (nobjects > n) {
        struct object *o = objects;
        objects = o->next;
        nobjects--;
        kmfree(o);
    }
}

static void
forget_areas(void *unused)
{
    (void)unused;
    for (struct area *a = areas; a;) {
        struct area *next = a->next;
        const struct is *m = model_at(a->start);
        if (!m || !m->other)
            kmfree(a);
        a = next;
    }
}

/* Only what was there before. */
static void
put_back(void)
{
    struct area **link = &areas;

    give_back();
    check_panics(forget_areas, NULL); /* who knows what is on the list */
    for (size_t i = 0; i < nmodel; i++) {
        if (model[i].other) {
            *link = model[i].other;
            link = &model[i].other->next;
        }
    }
    *link = NULL;
    uint64_t *entry = &root()[PTX(0, VMALLOC_START)];
    if (*entry & PTE_P)
        clear(P2V(PTE_ADDR(*entry)), 1, VMALLOC_START & ~((1UL << PTXSHIFT(0)) - 1));
    give_objects_back(0);
    pages_back();
}

static void
keep_tables(uint64_t *table, int level)
{
    for (size_t i = 0; i < NPTE && level < 3; i++)
        if (table[i] & PTE_P) {
            EXPECT(nkept < TABLES_MAX, "a mistake in the check itself: TABLES_MAX is too small");
            kept[nkept++] = PTE_ADDR(table[i]);
            keep_tables(P2V(PTE_ADDR(table[i])), level + 1);
        }
}

static void
begin(void)
{
    need_cache();
    nmodel = nkept = 0;
    eaten = NULL;
    nobjects = 0;
    for (struct area *a = areas; a; a = a->next)
        model_add(a->start, a->npages, a);
    uint64_t entry = root()[PTX(0, VMALLOC_START)];
    if (entry & PTE_P)
        keep_tables(P2V(PTE_ADDR(entry)), 1);
    check_finally(put_back);

    for (size_t i = 0; i < AREAS_MAX; i++)
        take_object();
    give_objects_back(1); /* so that kmalloc has a page for areas, whatever happens to memory */

    walk_all(check_entry);
    used_before = kmalloc_used();
    free_before = pages_free() + tables;
}

/* Nothing is in use any more but tables. */
static void
check_all_back(void)
{
    check_doing("after all areas were freed");
    check_areas();
    EXPECT(kmalloc_used() == used_before,
           "expected what records of areas have from kmalloc to be given back (kmfree), found that "
           "there is %s of it",
           kmalloc_used() > used_before ? "more" : "less");
    size_t now = pages_free() + tables;
    EXPECT(now == free_before,
           "%ld pages are lost: expected each to be free again, but for the tables",
           (long)(free_before - now));
}

static void
free_everything(void)
{
    while (mine() > 0)
        free_area(pick());
}

/* ---- little memory ---- */

#define SINGLES 64
static uint64_t singles[SINGLES]; /* pages in use, of which no two are buddies */
static size_t nsingles;

static void
eat(uint64_t pa, unsigned order)
{
    struct eaten *e = P2V(pa);

    *e = (struct eaten){eaten, order};
    eaten = e;
}

/* All memory is in use. */
static void
eat_all(void)
{
    check_doing("taking all memory");
    slabs_trim();
    kcache_drain(kmem.count); /* not every pmm_alloc does it */
    nsingles = 0;
    for (size_t i = 0; i < 2 * SINGLES; i++) {
        uint64_t pa = pmm_alloc(0);
        bool buddy = false;
        for (size_t k = 0; k < nsingles; k++)
            buddy |= (pa ^ singles[k]) == PGSIZE;
        if (pa && !buddy && nsingles < SINGLES)
            singles[nsingles++] = pa;
        else if (pa)
            eat(pa, 0);
    }
    for (unsigned order = PMM_ORDERS; order-- > 0;)
        for (uint64_t pa; (pa = pmm_alloc(order)) != 0;)
            eat(pa, order);
    for (size_t i = 0; i < nsingles; i++)
        eat(singles[i], 0);
    EXPECT(nsingles >= 24, "a mistake in the check itself: there are no %d single pages", SINGLES);
}

/* n of the single pages are free: none beside another. */
static void
let_have(size_t n)
{
    for (struct eaten **link = &eaten; *link && n > 0;) {
        struct eaten *e = *link;
        bool single = false;
        for (size_t i = 0; i < nsingles; i++)
            single |= singles[i] == V2P(e);
        if (single) {
            *link = e->next;
            pmm_free(V2P(e), 0);
            n--;
        } else {
            link = &e->next;
        }
    }
}

/* The same when there may be some free already. */
static void
leave(size_t n)
{
    slabs_trim(); /* or a chunk that is empty becomes free pages later */
    kcache_drain(kmem.count);
    for (uint64_t pa; (pa = pmm_alloc(0)) != 0;)
        eat(pa, 0);
    let_have(n);
}

/* As many pages, with so much alignment: with each number of free pages that is too small, and enough. */
static void
short_of_memory(size_t npages, uint64_t align)
{
    uint64_t start = model_place(npages, align);

    for (size_t n = 0;; n++) {
        size_t needed = npages + missing_tables(start, npages);
        if (n >= needed)
            break;
        leave(n);
        refused(npages * PGSIZE, align, "there are not so many pages");
    }
    leave(npages + missing_tables(start, npages) + 2);
    uint64_t found = call(npages * PGSIZE, align);
    EXPECT(found != 0, "expected an area, found NULL, with enough pages free, but no two in a row");
    EXPECT(found == start, "expected 0x%lx, found 0x%lx", start, found);
    model_add(start, npages, NULL);
    check_areas();
    write_area(start, npages);
}

/* No page, and nothing of kmalloc's either. */
static void
no_record(void)
{
    slabs_trim();
    leave(0);
    check_doing("taking all that kmalloc has for records of areas");
    for (size_t i = 0; i < 10000 && take_object(); i++)
        ;
    refused(PGSIZE, PGSIZE, "there is no memory at all");
    give_objects_back(1);
}

/* ---- the checks ---- */

static uint64_t
any_align(void)
{
    return PGSIZE << (check_random() % 4 ? 0 : check_random_below(12));
}

static void
wrong_arguments(void)
{
    static const uint64_t aligns[] = {
        0,          1,          8,    PGSIZE / 2,         PGSIZE - 1, PGSIZE + 1,
        3 * PGSIZE, PGSIZE * 5, ~0UL, PGSIZE | 1UL << 63, ~4095UL};
    static const uint64_t sizes[] = {~0UL,
                                     ~0UL - PGSIZE,
                                     ~0UL - PGSIZE + 1,
                                     ~0UL - PGSIZE + 2,
                                     ~0UL - 2 * PGSIZE,
                                     1UL << 63,
                                     (1UL << 63) + 1,
                                     VMALLOC_STOP,
                                     VMALLOC_START,
                                     0 - VMALLOC_START,
                                     0 - VMALLOC_STOP,
                                     1UL << 48,
                                     (1UL << 44) + 1,
                                     1UL << 36,
                                     (1UL << 36) + 1,
                                     (1UL << 36) - 1,
                                     (1UL << 36) - PGSIZE};

    size_t held = pages_free() + tables;

    for (size_t i = 0; i < ARRAY_SIZE(aligns); i++)
        refused_at_once(PGSIZE, aligns[i],
                        "no alignment makes sense but a power of 2, PGSIZE or more");
    refused_at_once(0, PGSIZE, "the size is 0");
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        refused_at_once(sizes[i], PGSIZE, "there is no room for so much");
    for (unsigned shift = 37; shift < 64; shift++)
        if (model_place(1, 1UL << shift) == 0)
            refused_at_once(PGSIZE, 1UL << shift,
                            "there is no such address between VMALLOC_START and VMALLOC_STOP");
    check_doing("vmalloc with sizes and alignments that make no sense");
    check_areas();
    EXPECT(pages_free() + tables == held,
           "expected each page to be given back, found that some are lost");
}

CHECK(vmalloc)
{
    static const size_t sizes[] = {1,          PGSIZE - 1,     PGSIZE,         PGSIZE + 1,
                                   2 * PGSIZE, 3 * PGSIZE - 1, 5 * PGSIZE + 1, 70000};
    begin();
    uint64_t first = take(1, PGSIZE);
    EXPECT(
        !can_read(first + PGSIZE),
        "0x%lx, right behind the area, can be read: expected a fault, as no page is mapped there",
        first + PGSIZE);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        take(sizes[i], PGSIZE);
    wrong_arguments();
    for (unsigned shift = PGSHIFT; shift < 24; shift += 2)
        take(1 + check_random_below(3 * PGSIZE), 1UL << shift);
    take(1, 1UL << 30);
    take(2 * PGSIZE, 1UL << 35);
    for (size_t i = 0; i < 14; i++)
        take(1 + check_random_below(9 * PGSIZE), any_align());

    /* With as few pages as there can be: in tables that are there, and where two more are needed. */
    eat_all();
    no_record();
    short_of_memory(1, PGSIZE);
    short_of_memory(3 + check_random_below(5), PGSIZE);
    short_of_memory(1, 1UL << 30);
    short_of_memory(2 + check_random_below(3), 1UL << 31);
    give_back();

    /* More than a table of level 3 has entries for. */
    take((NPTE + check_random_below(20)) * PGSIZE - check_random_below(PGSIZE), PGSIZE);
    take(1, PGSIZE);
}

static void
call_vfree(void *p)
{
    vfree(p);
}

static void
not_freed(uint64_t p, const char *why)
{
    size_t used = kmalloc_used(), before = pages_free();

    check_doing("vfree(0x%lx)", p);
    expect_panic(call_vfree, (void *)p, why);
    check_areas();
    EXPECT(pages_free() == before && kmalloc_used() == used,
           "it panicked, but has freed something before");
}

/* Areas are there, and all else is nobody's. */
static void
wrong_addresses(void)
{
    uint64_t one = take(3 * PGSIZE, PGSIZE), gone = take(1, PGSIZE);
    char *page = kalloc();

    for (size_t i = 0; i < nmodel; i++)
        if (model[i].start == gone) {
            free_area(i);
            break;
        }
    not_freed(gone, "was freed just before");
    not_freed(one + PGSIZE, "is in the middle of an area");
    not_freed(one + 2 * PGSIZE, "is the last page of an area");
    not_freed(one + 3 * PGSIZE, "is the page behind an area");
    not_freed(one + 1 + check_random_below(PGSIZE - 1), "is not where an area begins");
    not_freed(one - 8, "is before an area");
    not_freed(VMALLOC_STOP - PGSIZE, "is where no area is");
    not_freed(VMALLOC_STOP, "is where no area is");
    not_freed(one & 0xffffffffffff, "is where no area is");
    not_freed(1 + check_random_below(PGSIZE), "is where no area is");
    not_freed(~0UL, "is where no area is");
    not_freed((uint64_t)page, "is a page from kalloc");
    not_freed((uint64_t)P2V(PTE_ADDR(entry_of(one))),
              "is a page of an area, but not where the area is");
    kfree(page);
}

/* Translations that were in use are not any more, when vfree returns. */
static void
old_translations(void)
{
    size_t npages = 3 + check_random_below(6);
    uint64_t start = take(npages * PGSIZE, PGSIZE);
    size_t i = 0, stale = 0;
    uint64_t at = 0;

    while (model[i].start != start)
        i++;
    for (size_t k = 0; k < npages; k++)
        load((void *)(start + k * PGSIZE));
    free_area(i);
    for (size_t k = 0; k < npages; k++)
        if (can_read(start + k * PGSIZE)) {
            at = start + k * PGSIZE;
            stale++;
        }
    EXPECT(
        stale == 0,
        "%lu of the pages can still be read, such as that at 0x%lx: expected a fault, as nothing "
        "is mapped there; an old translation is in the TLB (tlb_flush_page)",
        stale, at);
}

CHECK(vfree)
{
    begin();
    check_doing("vfree(NULL)");
    vfree(NULL);
    check_areas();
    take(1, PGSIZE);
    uint64_t start = model[pick()].start;
    check_doing("vfree(0x%lx), of 1 page", start);
    vfree((void *)start);
    EXPECT(!(entry_of(start) & PTE_P),
           "expected its page to be unmapped, found that it is not: write vfree in kern/vmalloc.c");
    model_remove(pick());
    check_all_back();

    old_translations();
    wrong_addresses();
    old_translations();

    /* Areas come and go, and where one was there is room for others. */
    for (size_t i = 0; i < 90; i++) {
        size_t n = mine();
        if (n > 0 && (n > 24 || check_random() % 5 < 2))
            free_area(pick());
        else
            take(1 + check_random_below(check_random() % 3 ? 4 * PGSIZE : 12 * PGSIZE),
                 any_align());
    }
    while (mine() > 6)
        free_area(pick());

    /* It needs no memory. */
    eat_all();
    free_everything();
    give_back();
    take((NPTE + 9) * PGSIZE, PGSIZE);
    take(PGSIZE, 1UL << 32);
    free_everything();
    old_translations();
    check_all_back();
}
