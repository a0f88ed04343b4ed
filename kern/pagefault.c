/*
 * What is to become of a page when it is touched: it comes, or it is copied.
 */
#include "pagefault.h"
#include "errno.h"
#include "kalloc.h"
#include "page.h"
#include "pmm.h"
#include "tlb.h"
#include "vm.h"

int
page_fault(struct aspace *as, uint64_t va, int access)
{
#if SOL >= 6
    const struct vma *v = vma_find(as, va);

    if (!v || !(v->prot & access))
        return -EFAULT;
    va = ROUNDDOWN(va, PGSIZE);
    const uint64_t *entry = pgdir_walk(as->root, (const void *)va, 0);
    if (!entry || !(*entry & PTE_P))
        return fault_absent(as, v, va, access);
    if (access == PROT_WRITE && (*entry & PTE_RO))
        return fault_cow(as, v, va);
    return 0; /* somebody else was faster */
#else
    /* Lab 6: your code here. */
    (void)as, (void)va, (void)access;
    return -EFAULT;
#endif
}

int
fault_absent(struct aspace *as, const struct vma *v, uint64_t va, int access)
{
#if SOL >= 6
    uint64_t pa = 0;
    int error = 0;

    if (v->kind == VMA_FILE)
        error = pager_page(as->image, va, &pa);
    if (error)
        return error;
    if (pa == 0) {
        if (access == PROT_WRITE)
            return user_alloc(as, va, v->prot);
        pa = zero_page;
        if (page_share(pa) < 0)
            return -ENOMEM;
    }
    error = user_map(as, va, pa, v->prot & ~PROT_WRITE);
    if (error)
        kfree(P2V(pa)); /* the user that it would have been */
    else if (access == PROT_WRITE && (error = fault_cow(as, v, va)) != 0)
        user_free(as, va);
    return error;
#else
    /* Lab 6: your code here. */
    (void)as, (void)v, (void)va, (void)access;
    return -ENOMEM;
#endif
}

int
fault_cow(struct aspace *as, const struct vma *v, uint64_t va)
{
#if SOL >= 6
    uint64_t *entry = pgdir_walk(as->root, (const void *)va, 0);
    uint64_t pa = PTE_ADDR(*entry);

    if (page_refs(pa) == 1)
        return user_protect(as, va, v->prot);
    char *copy = kalloc();
    if (!copy)
        return -ENOMEM;
    page_copy(copy, P2V(pa));
    *entry = 0;
    aspace_flush_page(as, va); /* break before make; the others' page is out of reach now */
    *entry = V2P(copy) | user_pte(v->prot) | PTE_PAGE | PTE_AF | PTE_SH;
    pte_sync();
    kfree(P2V(pa)); /* one user less */
    return 0;
#else
    /* Lab 6: your code here. */
    (void)as, (void)v, (void)va;
    return -ENOMEM;
#endif
}
