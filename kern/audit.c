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

static void (*say_line)(const char *line);
static size_t errors;
static struct frame_use *seen;   /* by frame_index */
static const struct proc *whose; /* the process whose tables are looked at */

/* The frame at pa; a number >= frames.n if the allocator knows none. */
static size_t
frame_at(uint64_t pa)
{
    return frame_index(P2V(pa));
}

/* Something is wrong at va, with the page at pa. */
static void __attribute__((format(printf, 3, 4)))
error(uint64_t va, uint64_t pa, const char *fmt, ...)
{
    if (frame_at(pa) < frames.n)
        seen[frame_at(pa)].kind |= USE_WRONG;
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
    struct frame_use *use = &seen[frame_at(pa)];

    if (use->mapped < USE_MANY)
        use->mapped++;
    use->pid = (uint16_t)whose->pid;
}

/* Can it be one, so that there is sense in what it holds? */
static bool
see_table(const uint64_t *table, int level, uint64_t va)
{
    size_t i = frame_at(V2P(table));
    const char *what = not_users(V2P(table));

    if (what) {
        error(va, V2P(table), "no place for a level %d table: %s", level, what);
        return false;
    }
    if (seen[i].kind & USE_KERNEL)
        error(va, V2P(table), "no place for a level %d table: kernel allocated page", level);
    if (seen[i].kind & USE_TABLE)
        error(va, V2P(table), "level %d table belongs to another place, too", level);
    seen[i].kind |= USE_TABLE;
    seen[i].pid = (uint16_t)whose->pid;
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
        error(it->va, pa, "block of %lx bytes mapped for user", vmiter_size(it));
        return;
    }
    const char *what = not_users(pa);
    if (what)
        error(it->va, pa, "%s mapped for user", what);
    else
        count(pa);
    if (it->va < USER_MIN)
        error(it->va, pa, "page 0 is mapped");
    if (!vma)
        error(it->va, pa, "mapped, but in no range");
    if (!(pte & PTE_RO) && !(pte & PTE_UXN))
        error(it->va, pa, "writable and executable");
    if (!(pte & PTE_NG))
        error(it->va, pa, "mapped for all processes");
    if (!(pte & PTE_PXN))
        error(it->va, pa, "executable by the kernel");
    if (vma && !has_rights(pte, vma->prot))
        error(it->va, pa, "entry %lx has not the rights of its range", pte);
#if LAB >= 6
    if (!(pte & PTE_RO) && page_refs(pa) > 1)
        error(it->va, pa, "page %lx can be written, but others use it, too", pa);
#endif
}

/* A page is mapped as often as it has references, and neither tables nor kernel stacks are mapped. */
static void
compare_counts(const struct vmiter *it)
{
    uint64_t pa = PTE_ADDR(*it->pte);

    if (it->level != 3 || not_users(pa))
        return;
    const struct frame_use *use = &seen[frame_at(pa)];
    unsigned refs = page_refs(pa);
    if (use->kind & USE_TABLE)
        error(it->va, pa, "page table mapped for user");
    else if (use->kind & USE_KERNEL)
        error(it->va, pa, "kernel allocated page mapped for user");
    else if (use->mapped != MIN(refs, USE_MANY))
        error(it->va, pa, "page %lx is mapped %u times, but has %u references", pa, use->mapped,
              refs);
}

static void
see_kernel_table(uint64_t *table, int level, uint64_t va, void *unused)
{
    size_t i = frame_at(V2P(table));

    (void)unused;
    if (i < frames.n) {
        if (seen[i].kind || seen[i].mapped)
            error(va, V2P(table),
                  "level %d table of the kernel's half is used for something else, too", level);
        seen[i].kind |= USE_TABLE;
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
        uint64_t va = it.va | KERNBASE, pa = PTE_ADDR(*it.pte);
        if (*it.pte & PTE_USER || !(*it.pte & PTE_UXN))
            error(va, pa, "kernel's half open to user");
        if (!(*it.pte & PTE_RO) && !(*it.pte & PTE_PXN))
            error(va, pa, "kernel's half writable and executable");
        if (va >= VMALLOC_START && frame_at(pa) < frames.n)
            seen[frame_at(pa)].kind |= USE_KERNEL;
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
audit_frames(struct frame_use *use, void (*say)(const char *line))
{
    say_line = say;
    errors = 0;
    seen = use;
    whose = proc_find(0);
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
    return errors;
}

size_t
audit(void (*say)(const char *line))
{
    size_t size = frames.n * sizeof(struct frame_use);
    unsigned order = 0;

    while (((size_t)PGSIZE << order) < size)
        order++;
    uint64_t pa = pmm_alloc(order);
    if (pa == 0) {
        say("there is no memory to count pages in");
        return 0;
    }
    struct frame_use *use = P2V(pa);
    memset(use, 0, size);
    for (size_t i = 0; i < 1UL << order; i++)
        use[frame_at(pa) + i].kind =
            USE_KERNEL; /* was free, and may be mapped somewhere all the same */
    size_t n = audit_frames(use, say);
    (void)pmm_free(pa, order);
    return n;
}
