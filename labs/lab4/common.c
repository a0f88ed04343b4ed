/*
 * What the checks of lab 4 share.
 */
#include "heap.h"
#include "kalloc.h"
#include "kcache.h"
#include "kvm.h"
#include "lab4.h"
#include "mmu.h"
#include "pmm.h"
#include "slab.h"
#include "spinlock.h"
#include "string.h"
#include "sysreg.h"
#include "tlb.h"
#include "vmalloc.h"

void
need_pmm(void)
{
    EXPECT(nzones > 0, "the pmm has got no memory at boot: write memmap_init, memmap_reserve and "
                       "alloc_frames in kern/memmap.c first (lab 3)");
    check_doing("pmm_alloc(0)");
    uint64_t pa = pmm_alloc(0);
    EXPECT(pa != 0, "expected a page, found 0: write pmm_alloc in kern/pmm.c first (lab 3)");
    check_doing("pmm_free(0x%lx, 0), of the page that pmm_alloc(0) returned", pa);
    int result = pmm_free(pa, 0);
    EXPECT(result == 0, "expected 0, found %d: write pmm_free in kern/pmm.c first (lab 3)", result);
    check_doing("%s", "");
}

void
need_cache(void)
{
    need_pmm();
    EXPECT(kmem.count > 0 || !kmem.free_list,
           "kmem.count is 0 though there are pages on the list: extend kalloc and kfree in "
           "kern/kalloc.c first (lab 3)");
    check_doing("kalloc()");
    char *page = kalloc();
    EXPECT(page, "expected a page, found NULL: extend kalloc in kern/kalloc.c first (lab 3)");
    kfree(page);
    check_doing("%s", "");
}

static size_t
free_now(void)
{
    size_t n = kmem.count;

    for (const struct zone *z = zones; z < zones + nzones; z++)
        n += z->free;
    return n;
}

size_t
pages_free(void)
{
    slabs_trim();
    return free_now();
}

/* Blocks that the check has taken; each points to the next. */
static struct piece {
    struct piece *next;
    unsigned order;
} * held;
static size_t nheld;

static bool
hold(unsigned order)
{
    uint64_t pa = nheld < PHYSTOP / PGSIZE ? pmm_alloc(order) : 0;
    struct piece *b = P2V(pa);

    if (pa == 0)
        return false;
    *b = (struct piece){.next = held, .order = order};
    held = b;
    nheld++;
    return true;
}

static void
let_go(size_t i)
{
    struct piece **link = &held;

    while (i-- > 0)
        link = &(*link)->next;
    struct piece *b = *link;
    *link = b->next;
    nheld--;
    pmm_free(V2P(b), b->order);
}

void
hold_all_but(size_t leave)
{
    if (free_now() <= leave)
        return;
    while (hold(PMM_ORDERS - 1))
        ;
    while (nheld > 0 && free_now() < leave)
        let_go(check_random_below(nheld)); /* what is left may lie anywhere */
    for (unsigned order = PMM_ORDERS; order-- > 0;)
        while (free_now() >= leave + (1UL << order) && hold(order))
            ;
}

void
hold_none(void)
{
    while (nheld > 0)
        let_go(0);
}

size_t
pages_held(void)
{
    size_t n = 0;
    const struct piece *b = held;

    for (size_t i = 0; i < nheld; i++, b = b->next)
        n += 1UL << b->order;
    return n;
}

void
expect_panic(void (*fn)(void *), void *p, const char *why)
{
    uint64_t mask = read_sysreg(daif);
    const char *lock;

    const char *message = check_panics(fn, p);
    spinlocks_reset(&lock);
    write_sysreg(daif, mask);
    EXPECT(message, "it returned: expected a panic, as %p %s", p, why);
    EXPECT(strncmp(message, "fault", 5) != 0, "%s: expected a panic, as %p %s", message, p, why);
}

/* In .data, before all tables that a check may overwrite: the next check is to start afresh. */
static struct {
    bool saved;
    struct heap heap;
} real __attribute__((section(".data")));

void
heap_save(void)
{
    if (!real.saved)
        real.heap = heap;
    real.saved = true;
}

void
heap_restore(void)
{
    if (real.saved)
        heap = real.heap;
    real.saved = false;
}

static void
free_tables(uint64_t *table, int level)
{
    for (size_t i = 0; i < NPTE && level < 3; i++)
        if (table[i] & PTE_P)
            free_tables(P2V(PTE_ADDR(table[i])), level + 1);
    kfree((char *)table);
}

static void
free_all_tables(void *entry)
{
    uint64_t pte = *(uint64_t *)entry;

    *(uint64_t *)entry = 0;
    tlb_flush_all(); /* no walk goes through them any more */
    free_tables(P2V(PTE_ADDR(pte)), 1);
}

void
pages_back(void)
{
    uint64_t *root = P2V(kvm_root()), *entry = &root[PTX(0, VMALLOC_START)];

    if (!areas && *entry & PTE_P)
        check_panics(free_all_tables, entry); /* who knows what is in them */
    slabs_trim();
}
