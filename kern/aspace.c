/*
 * The page table of a process: made and given back, page by page.
 */
#include "aspace.h"
#include "errno.h"
#include "kalloc.h"
#include "page.h"
#include "tlb.h"
#include "vm.h"

uint64_t
user_pte(int prot)
{
#if SOL >= 5
    uint64_t pte = PTE_NORMAL | PTE_NG | PTE_PXN;

    pte |= prot == PROT_NONE ? PTE_KERNEL : PTE_USER;
    pte |= prot & PROT_WRITE ? PTE_RW : PTE_RO;
    return prot & PROT_EXEC ? pte : pte | PTE_UXN;
#else
    /* Lab 5: your code here. */
    (void)prot;
    return 0;
#endif
}

int
aspace_create(struct aspace *as)
{
#if SOL >= 5
    char *root = kalloc();

    if (!root)
        return -ENOMEM;
    page_zero(root);
    pte_sync(); /* before TTBR0 ever points there, the walker sees the zeroes */
    as->root = (uint64_t *)(void *)root;
    return 0;
#else
    /* Lab 5: your code here. */
    (void)as;
    return -ENOMEM;
#endif
}

void
aspace_destroy(struct aspace *as)
{
#if SOL >= 5
    vm_free(as->root, 0);
    as->root = NULL;
    as->pages = 0;
#else
    /* Lab 5: your code here. */
    (void)as;
#endif
}

int
user_map(struct aspace *as, uint64_t va, uint64_t pa, int prot)
{
#if SOL >= 5
    const uint64_t *entry = pgdir_walk(as->root, (void *)va, 0);

    if (entry && *entry & PTE_P)
        return -EEXIST;
    if (prot & PROT_EXEC)
        icache_sync(P2V(pa));
    if (map_region(as->root, (void *)va, PGSIZE, pa, (int64_t)user_pte(prot)) < 0)
        return -ENOMEM;
    as->pages++;
    return 0;
#else
    /* Lab 5: your code here. */
    (void)as, (void)va, (void)pa, (void)prot;
    return -ENOMEM;
#endif
}

int
user_alloc(struct aspace *as, uint64_t va, int prot)
{
#if SOL >= 5
    char *page = kalloc();

    if (!page)
        return -ENOMEM;
    page_zero(page);
    int error = user_map(as, va, V2P(page), prot);
    if (error)
        kfree(page);
    return error;
#else
    /* Lab 5: your code here. */
    (void)as, (void)va, (void)prot;
    return -ENOMEM;
#endif
}

int
user_free(struct aspace *as, uint64_t va)
{
#if SOL >= 5
    uint64_t *entry = pgdir_walk(as->root, (void *)va, 0);

    if (!entry || !(*entry & PTE_P))
        return -ENOENT;
    char *page = P2V(PTE_ADDR(*entry));
    *entry = 0;
    aspace_flush_page(as, va);
    kfree(page);
    as->pages--;
    return 0;
#else
    /* Lab 5: your code here. */
    (void)as, (void)va;
    return -ENOENT;
#endif
}

int
user_protect(struct aspace *as, uint64_t va, int prot)
{
#if SOL >= 5
    uint64_t *entry = pgdir_walk(as->root, (void *)va, 0);

    if (!entry || !(*entry & PTE_P))
        return -ENOENT;
    uint64_t pa = PTE_ADDR(*entry);
    *entry = 0;
    aspace_flush_page(as, va);
    if (prot & PROT_EXEC)
        icache_sync(P2V(pa));
    *entry = pa | user_pte(prot) | PTE_PAGE | PTE_AF | PTE_SH;
    pte_sync();
    return 0;
#else
    /* Lab 5: your code here. */
    (void)as, (void)va, (void)prot;
    return -ENOENT;
#endif
}
