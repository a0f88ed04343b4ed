/*
 * One process becomes two: the address space, without copying a page, and the registers.
 */
#include "fork.h"
#include "errno.h"
#include "kalloc.h"
#include "page.h"
#include "pmm.h"
#include "sysreg.h"
#include "tlb.h"
#include "vm.h"

#if SOL >= 6
/* What `from` has mapped of [va, stop), which one last table spans. */
static int
copy_pages(struct aspace *to, const struct aspace *from, uint64_t va, uint64_t stop)
{
    uint64_t *entry = pgdir_walk(from->root, (const void *)va, 0), *copy = NULL;

    if (!entry)
        return 0;
    for (uint64_t i = 0; i < (stop - va) / PGSIZE; i++) {
        uint64_t pte = entry[i];
        if (!(pte & PTE_P))
            continue;
        if (!copy && !(copy = pgdir_walk(to->root, (const void *)va, 1)))
            return -ENOMEM;
        if (page_share(PTE_ADDR(pte)) < 0)
            return -ENOMEM;
        if (!(pte & PTE_RO))
            entry[i] = pte |= PTE_RO;
        copy[i] = pte;
        to->pages++;
    }
    return 0;
}

static int
copy_range(struct aspace *to, const struct aspace *from, const struct vma *v)
{
    int error = vma_add(to, v->start, v->end, v->prot, v->kind);

    for (uint64_t va = v->start, stop; !error && va < v->end; va = stop) {
        stop = MIN(ROUNDDOWN(va, BLOCK2M) + BLOCK2M, v->end);
        error = copy_pages(to, from, va, stop);
    }
    return error;
}

/* All below the root goes, and the users that its pages had here. */
static void
empty(struct aspace *as)
{
    vma_clear(as);
    for (size_t i = 0; i < NPTE; i++)
        if (as->root[i] & PTE_P) {
            uint64_t *table = P2V(PTE_ADDR(as->root[i]));
            as->root[i] = 0;
            vm_free(table, 1);
        }
    as->pages = 0;
}
#endif

int
aspace_copy(struct aspace *to, struct aspace *from)
{
#if SOL >= 6
    int error = 0;

    for (const struct vma *v = from->vmas; !error && v; v = v->next)
        error = copy_range(to, from, v);
    to->brk_start = from->brk_start;
    to->brk = from->brk;
    aspace_flush(from); /* before anybody runs: no page is writable any more that two have */
    if (error)
        empty(to);
    return error;
#else
    /* Lab 6: your code here. */
    (void)to, (void)from;
    return -ENOMEM;
#endif
}

void
fork_registers(struct proc *child, const struct trap_frame *frame, uint64_t sp)
{
#if SOL >= 6
    struct trap_frame *own = proc_frame(child);

    *own = *frame;
    own->x[0] = 0;
    if (sp != 0)
        own->sp = sp;
    fpu_leave();
    child->fpu = current()->fpu;
    child->context.tpidr = read_sysreg(tpidr_el0);
    child->context.sp = (uint64_t)own;
    child->context.lr = (uint64_t)process_entry;
#else
    /* Lab 6: your code here. */
    (void)child, (void)frame, (void)sp;
#endif
}
