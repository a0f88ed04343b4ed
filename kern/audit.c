/*
 * Is the memory of all processes in order? Every leaf of every table is looked at twice: by itself, and as one
 * of all mappings of its page frame, which are counted.
 */
#include "audit.h"
#include "kvm.h"
#if LAB >= 6
#include "pager.h"
#endif
#include "pmm.h"
#include "printf.h"
#include "proc.h"
#include "ram.h"
#include "string.h"
#include "vma.h"
#include "vmalloc.h"
#include "vmiter.h"

/* For each page frame: how often programs have it mapped, and whether it is a table, or a page of vmalloc's. */
#define IS_TABLE  0x8000u
#define IS_KERNEL 0x4000u
#define COUNT(c)  ((c)&0x3fffu)
#define COUNT_MAX 0x3fffu /* so often, or more often */

static void (*say_line)(const char *line);
static size_t errors;
static uint16_t *seen;           /* by frame_index */
static const struct proc *whose; /* the process whose tables are looked at */

static void __attribute__((format(printf, 2, 3))) error(uint64_t va, const char *fmt, ...)
{
    char line[128];
    va_list args;

    if (errors++ >= AUDIT_LINES)
        return;
    int n = snprintf(line, sizeof(line), "PAGE TABLE ERROR: %lx: ", va);
    va_start(args, fmt);
    n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, args);
    va_end(args);
    if ((size_t)n < sizeof(line))
        snprintf(line + n, sizeof(line) - (size_t)n, " (pid %d)", whose->pid);
    say_line(line);
}

/* The frame at pa; a number >= frames.n if the allocator knows none. */
static size_t
frame_at(uint64_t pa)
{
    return frame_index(P2V(pa));
}

/* The state of the block that the frame lies in. */
static uint8_t
block_state(size_t i)
{
    while (i > 0 && frames.state[i] == FRAME_NONE)
        i--;
    return frames.state[i];
}

/* What the page at pa is, if a program must not reach it; NULL: it may be a program's. */
static const char *
not_users(uint64_t pa)
{
    size_t i = frame_at(pa);

    if (pa >= DEVICES_PA && pa < LOCAL_END_PA)
        return "device";
    if (pa >= V2P(image_start) && pa < V2P(end))
        return "kernel's image";
    if (!ram_holds(pa, PGSIZE))
        return "address that is no RAM";
    if (!page_owned(pa) || i >= frames.n)
        return "reserved page";
    switch (block_state(i)) {
    case FRAME_USED: /* a single page */
    case FRAME_SHARED:
        return NULL;
    case FRAME_CACHED:
        return "free page";
    default:
        return FRAME_KIND(block_state(i)) == FRAME_FREE ? "free page" : "kernel allocated page";
    }
}

/* One more mapping of the page at pa, which is the allocator's. */
static void
count(uint64_t pa)
{
    uint16_t *n = &seen[frame_at(pa)];

    if (COUNT(*n) < COUNT_MAX)
        ++*n;
}

/* Can it be one, so that there is sense in what it holds? */
static bool
see_table(const uint64_t *table, int level, uint64_t va)
{
    size_t i = frame_at(V2P(table));
    const char *what = not_users(V2P(table));

    if (what) {
        error(va, "no place for a level %d table: %s", level, what);
        return false;
    }
    if (seen[i] & IS_KERNEL)
        error(va, "no place for a level %d table: kernel allocated page", level);
    if (seen[i] & IS_TABLE)
        error(va, "level %d table belongs to another place, too", level);
    seen[i] |= IS_TABLE;
    return true;
}

/* All tables from this one down; where there can be none, nobody looks further. Are there none such? */
static bool
see_tables(const uint64_t *table, int level, uint64_t va)
{
    bool good = see_table(table, level, va);

    for (size_t i = 0; i < NPTE && good && level < 3; i++)
        if ((table[i] & PTE_TABLE) == PTE_TABLE)
            good = see_tables(P2V(PTE_ADDR(table[i])), level + 1, va + (i << PTXSHIFT(level)));
    return good;
}

/* Is the entry what its range's rights make of it? */
static bool
has_rights(uint64_t pte, int prot)
{
    uint64_t rest = PTE_ADDR(pte) | PTE_PAGE | PTE_AF | PTE_SH;

#if LAB >= 6
    if (prot & PROT_WRITE && pte == (rest | user_pte(prot & ~PROT_WRITE)))
        return true; /* until it is written to */
#endif
    return pte == (rest | user_pte(prot));
}

static void
see_leaf(const struct vmiter *it)
{
    uint64_t pte = *it->pte, pa = PTE_ADDR(pte);
    const struct vma *vma = vma_find(&whose->as, it->va);

    if (it->level != 3) {
        error(it->va, "block of %lx bytes mapped for user", vmiter_size(it));
        return;
    }
    const char *what = not_users(pa);
    if (what)
        error(it->va, "%s mapped for user", what);
    else
        count(pa);
    if (it->va < USER_MIN)
        error(it->va, "page 0 is mapped");
    if (!vma)
        error(it->va, "mapped, but in no range");
    if (!(pte & PTE_RO) && !(pte & PTE_UXN))
        error(it->va, "writable and executable");
    if (!(pte & PTE_NG))
        error(it->va, "mapped for all processes");
    if (!(pte & PTE_PXN))
        error(it->va, "executable by the kernel");
    if (vma && !has_rights(pte, vma->prot))
        error(it->va, "entry %lx has not the rights of its range", pte);
#if LAB >= 6
    if (!(pte & PTE_RO) && page_refs(pa) > 1)
        error(it->va, "page %lx can be written, but others use it, too", pa);
#endif
}

/* A page is mapped as often as it has references, and neither tables nor kernel stacks are mapped. */
static void
compare_counts(const struct vmiter *it)
{
    uint64_t pa = PTE_ADDR(*it->pte);

    if (it->level != 3 || not_users(pa))
        return;
    unsigned found = seen[frame_at(pa)], refs = page_refs(pa);
    if (found & IS_TABLE)
        error(it->va, "page table mapped for user");
    else if (found & IS_KERNEL)
        error(it->va, "kernel allocated page mapped for user");
    else if (COUNT(found) != MIN(refs, COUNT_MAX))
        error(it->va, "page %lx is mapped %u times, but has %u references", pa, COUNT(found), refs);
}

static void
see_kernel_table(uint64_t *table, int level, uint64_t va, void *unused)
{
    size_t i = frame_at(V2P(table));

    (void)unused;
    if (i < frames.n) {
        if (seen[i])
            error(va, "level %d table of the kernel's half is used for something else, too", level);
        seen[i] |= IS_TABLE;
    }
}

static void
each_leaf(void (*fn)(const struct vmiter *it))
{
    for (struct vmiter it = vmiter_at(whose->as.root, 0); vmiter_ok(&it); vmiter_next(&it))
        fn(&it);
}

/*
 * The kernel's half: nothing of it is open to EL0 (without UXN it can be executed there, even if not read), or
 * writable and executable. Takes note of vmalloc's pages.
 */
static void
see_kernel(void)
{
    whose = proc_find(0);
    for (struct vmiter it = vmiter_at(P2V(kvm_root()), 0); vmiter_ok(&it); vmiter_next(&it)) {
        uint64_t va = it.va | KERNBASE;
        if (*it.pte & PTE_USER || !(*it.pte & PTE_UXN))
            error(va, "kernel's half open to user");
        if (!(*it.pte & PTE_RO) && !(*it.pte & PTE_PXN))
            error(va, "kernel's half writable and executable");
        if (va >= VMALLOC_START && frame_at(PTE_ADDR(*it.pte)) < frames.n)
            seen[frame_at(PTE_ADDR(*it.pte))] |= IS_KERNEL;
    }
    vmiter_tables(P2V(kvm_root()), see_kernel_table, NULL);
}

#if LAB >= 6
/* The kernel itself is a user of this page. */
static void
see_shared(uint64_t pa)
{
    count(pa);
}
#endif

size_t
audit(void (*say)(const char *line))
{
    unsigned order = 0;

    say_line = say;
    errors = 0;
    while ((1UL << PGSHIFT << order) < frames.n * sizeof(*seen))
        order++;
    uint64_t pa = pmm_alloc(order);
    if (pa == 0) {
        say("there is no memory to count pages in");
        return 0;
    }
    seen = P2V(pa);
    memset(seen, 0, frames.n * sizeof(*seen));
    for (size_t i = 0; i < 1UL << order; i++)
        seen[frame_at(pa) + i] = IS_KERNEL; /* was free, and may be mapped somewhere all the same */

#if LAB >= 6
    pager_each(see_shared);
#endif
    see_kernel();
    bool good = true;
    for (whose = proc_after(-1); whose; whose = proc_after(whose->pid))
        if (whose->as.root)
            good = see_tables(whose->as.root, 0, 0) && good;
    for (whose = proc_after(-1); good && whose; whose = proc_after(whose->pid))
        if (whose->as.root)
            each_leaf(see_leaf);
    for (whose = proc_after(-1); good && whose; whose = proc_after(whose->pid))
        if (whose->as.root)
            each_leaf(compare_counts);
    (void)pmm_free(pa, order);
    return errors;
}
