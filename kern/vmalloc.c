/*
 * Areas of address space with pages of their own.
 */
#include "vmalloc.h"
#include "console.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "kvm.h"
#include "tlb.h"
#include "vm.h"

struct area *areas;
SPINLOCK(vmalloc_lock);

#if SOL >= 4
#define MAP_KERNEL (PTE_NORMAL | PTE_KERNEL | PTE_RW | PTE_PXN | PTE_UXN)

static uint64_t *
root(void)
{
    return P2V(kvm_root());
}

static uint64_t
area_stop(const struct area *a)
{
    return a->start + (a->npages + 1) * PGSIZE; /* with the page that is not mapped */
}

/* Give a its addresses, and its place on the list. false: there is no room. */
static bool
place(struct area *a, size_t align)
{
    struct area **link = &areas;
    uint64_t start = VMALLOC_START;

    for (; *link; link = &(*link)->next) {
        start = ROUNDUP(start, align);
        if (start < (*link)->start && (*link)->start - start > a->npages * PGSIZE)
            break;
        start = area_stop(*link);
    }
    start = ROUNDUP(start, align);
    if (start < VMALLOC_START || start >= VMALLOC_STOP
        || VMALLOC_STOP - start <= a->npages * PGSIZE)
        return false;
    a->start = start;
    a->next = *link;
    *link = a;
    return true;
}

static void
remove_area(const struct area *a)
{
    struct area **link = &areas;

    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
}

static bool
map_page(uint64_t va)
{
    char *page = kalloc();
    if (!page)
        return false;

    uint64_t flags = spin_lock(&vmalloc_lock);
    int error = map_region(root(), (void *)va, PGSIZE, V2P(page), MAP_KERNEL);
    spin_unlock(&vmalloc_lock, flags);
    if (error)
        kfree(page);
    return !error;
}

static void
unmap_page(uint64_t va)
{
    uint64_t flags = spin_lock(&vmalloc_lock);
    uint64_t *entry = pgdir_walk(root(), (const void *)va, 0), pa = PTE_ADDR(*entry);
    *entry = 0;
    spin_unlock(&vmalloc_lock, flags);
    tlb_flush_page((const void *)va); /* of all cores: until then they may still use the page */
    kfree(P2V(pa));
}

/* The first n pages of the area are there, and it shall be no more. */
static void
release(struct area *a, size_t n)
{
    while (n > 0)
        unmap_page(a->start + --n * PGSIZE);
    uint64_t flags = spin_lock(&vmalloc_lock);
    remove_area(a); /* from here on its addresses can be had again */
    spin_unlock(&vmalloc_lock, flags);
    kmfree(a);
}
#endif

void *
vmalloc_aligned(size_t size, size_t align)
{
#if SOL >= 4
    if (size == 0 || size > VMALLOC_STOP - VMALLOC_START)
        return NULL;
    if (align < PGSIZE || (align & (align - 1)) != 0)
        return NULL;
    struct area *a = kmalloc(sizeof(*a));
    if (!a)
        return NULL;
    a->npages = ROUNDUP(size, PGSIZE) / PGSIZE;

    uint64_t flags = spin_lock(&vmalloc_lock);
    bool placed = place(a, align);
    spin_unlock(&vmalloc_lock, flags);
    if (!placed) {
        kmfree(a);
        return NULL;
    }
    for (size_t i = 0; i < a->npages; i++)
        if (!map_page(a->start + i * PGSIZE)) {
            release(a, i);
            return NULL;
        }
    return (void *)a->start;
#else
    /* Lab 4: your code here. */
    (void)size, (void)align;
    return NULL;
#endif
}

void *
vmalloc(size_t size)
{
    return vmalloc_aligned(size, PGSIZE);
}

void
vfree(void *p)
{
#if SOL >= 4
    struct area *a;

    if (!p)
        return;
    uint64_t flags = spin_lock(&vmalloc_lock);
    for (a = areas; a && a->start != (uint64_t)p; a = a->next)
        ;
    spin_unlock(&vmalloc_lock, flags);
    if (!a)
        panic("vfree(%p): no area begins there", p);
    release(a, a->npages);
#else
    /* Lab 4: your code here. */
    (void)p;
#endif
}
