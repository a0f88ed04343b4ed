/*
 * What all memory is used for: who has which page frame, and what the chosen process has mapped.
 */
#include "boot.h"
#include "bootinfo.h"
#include "console.h"
#include "memlayout.h"
#include "memview.h"
#include "pmm.h"
#include "ram.h"
#include "string.h"
#include "zone.h"
#if LAB >= 4
#include "heap.h"
#include "slab.h"
#endif
#if LAB >= 5
#include "audit.h"
#include "proc.h"
#include "vm.h"
#include "vma.h"
#include "vmiter.h"
#endif

const char view_letters[CELLS + 1] = " RK.COTSL!0123456789";
const char view_user_letters[USER_PAGES + 1] = " .-rxcw";

struct view view;
static uint64_t memory; /* for view.cell, and what audit counts: a block of pmm's */
static unsigned memory_order;

/* ---- Page frames ---- */

enum cell
view_sum(const struct view *v, size_t first, size_t count)
{
    unsigned n[CELLS] = {0};
    enum cell most = CELL_NONE;

    if (count == 1)
        return first < v->n ? v->cell[first] : CELL_NONE;
    for (size_t i = first; i < MIN(first + count, v->n); i++)
        n[v->cell[i]]++;
    for (enum cell c = 0; c < CELLS; c++)
        if (n[c] > n[most])
            most = c;
    return n[CELL_WRONG] ? CELL_WRONG : n[CELL_LEAKED] ? CELL_LEAKED : most;
}

/* All frames that [start, stop) touches. */
static void
set(uint64_t start, uint64_t stop, enum cell cell)
{
    size_t first = (MAX(start, view.pa) - view.pa) / PGSIZE;
    size_t last = MIN((ROUNDUP(stop, PGSIZE) - view.pa) / PGSIZE, view.n);

    if (first < last)
        memset(view.cell + first, cell, last - first);
}

static void
set_kernels(const void *start, size_t size)
{
    set(V2P(start), V2P(start) + size, CELL_KERNEL);
}

/* Frames of the block that begins at one of this state. */
static size_t
block_size(uint8_t state)
{
    bool alone = state == FRAME_NONE || state == FRAME_CACHED;
#if LAB >= 4
    alone = alone || state == FRAME_SLAB;
#endif
    return alone ? 1 : 1UL << FRAME_ORDER(state);
}

#if LAB >= 5
static struct frame_use *uses; /* behind view.drawn */

static void
first_error(const char *line)
{
    if (view.error[0] == '\0')
        strlcpy(view.error, line, sizeof(view.error));
}

static void
is_kernels(const void *start, size_t size)
{
    for (size_t i = frame_index((const void *)ROUNDDOWN(start, PGSIZE)), n = 0; n < size;
         n += PGSIZE, i++)
        if (i < frames.n)
            uses[i].kind |= USE_KERNEL;
}

/* What the kernel has in single blocks, and knows of by pointers only. */
static void
find_kernels(void)
{
    is_kernels(P2V(memory), (size_t)PGSIZE << memory_order);
    for (const struct region *r = heap.regions; r; r = r->next)
        is_kernels(r, r->size);
    for (const struct zone *z = zones; z < zones + nzones; z++)
        for (size_t i = 0; i < z->n; i += block_size(z->state[i]))
            if (z->state[i] == FRAME_SLAB) /* the records of its spans */
                is_kernels(chunk_in(z, P2V(z->base + i * PGSIZE)), 1);
}

/* A block in use, of n frames. */
static enum cell
in_use(size_t i, size_t n)
{
    const struct frame_use *use = &uses[i];

    if (use->kind & USE_TABLE)
        return CELL_TABLE;
    if (use->kind & USE_KERNEL)
        return CELL_KERNEL;
    if (use->mapped == 0 || n > 1)
        return CELL_LEAKED;
    if (use->mapped > 1)
        return CELL_SHARED;
    return use->pid == 0 ? CELL_KERNEL : CELL_PROCESS + use->pid % 10;
}

static void
look_at_tables(void)
{
    memset(uses, 0, frames.n * sizeof(*uses));
    find_kernels();
    view.error[0] = '\0';
    view.errors = audit_frames(uses, first_error);
}

static void
mark_errors(void)
{
    for (size_t i = 0; view.errors > 0 && i < view.n; i++)
        if (uses[i].kind & USE_WRONG)
            view.cell[i] = CELL_WRONG;
}
#else
static enum cell
in_use(size_t i, size_t n)
{
    (void)i, (void)n;
    return CELL_KERNEL;
}

static void
look_at_tables(void)
{
}

static void
mark_errors(void)
{
}
#endif

/* What a block is, by the state of its first frame, i. Returns how many frames it has. */
static size_t
look_at_block(size_t i)
{
    uint8_t state = frames.state[i];
    size_t n = block_size(state);
    enum cell cell;

    if (state == FRAME_NONE)
        return n;
    switch (FRAME_KIND(state)) {
    case FRAME_FREE:
        cell = CELL_FREE;
        break;
    case FRAME_CACHED:
        cell = CELL_CACHED;
        break;
#if LAB >= 4
    case FRAME_SLAB:
    case FRAME_LARGE:
        cell = CELL_OBJECTS;
        break;
#endif
    default:
        cell = in_use(i, n);
        break;
    }
    memset(view.cell + i, cell, MIN(n, view.n - i));
    view.total[cell] += n;
    return n;
}

static void
look_at_frames(void)
{
    size_t nbanks, nusable;
    const struct range *bank = ram_banks(&nbanks), *usable = ram_usable(&nusable);

    look_at_tables();
    memset(view.total, 0, sizeof(view.total));
    memset(view.cell, CELL_NONE, view.n);
    for (size_t i = 0; i < nbanks; i++)
        set(bank[i].start, bank[i].end, CELL_RESERVED);
    for (size_t i = 0; i < nusable; i++) /* what the pmm does not know in it, it has for itself */
        set(usable[i].start, usable[i].end, CELL_KERNEL);
    set_kernels(image_start, (size_t)(end - image_start));
    set_kernels(frames.state, frames.n);
    for (const struct zone *z = zones; z < zones + nzones; z++)
        set_kernels(z->link, (z->n + PMM_ORDERS) * sizeof(z->link[0]));
#if LAB >= 4
    for (const struct region *r = heap.regions; r; r = r->next)
        set_kernels(r, r->size); /* one of them has never been the pmm's */
#endif
    for (size_t i = 0; i < view.n;)
        i += look_at_block(i);
    mark_errors();
}

/* ---- An address space ---- */

#if LAB >= 5
static enum user_page
look_at_page(const struct aspace *as, uint64_t va)
{
    const struct vma *v = vma_find(as, va);

    if (!v)
        return USER_NONE;
    const uint64_t *entry = pgdir_walk(as->root, (const void *)va, 0);
    if (!entry || !(*entry & PTE_P))
        return USER_UNTOUCHED;
    if (!(*entry & PTE_USER))
        return USER_HIDDEN;
    if (!(*entry & PTE_RO))
        return USER_WRITE;
    if (!(*entry & PTE_UXN))
        return USER_EXEC;
    return v->prot & PROT_WRITE ? USER_COW : USER_READ;
}

/* The rows that have a page. */
static void
look_at_process(const struct aspace *as)
{
    uint64_t row = VIEW_ROW * PGSIZE;

    for (struct vmiter it = vmiter_at(as->root, 0); vmiter_ok(&it);
         it = vmiter_at(as->root, ROUNDDOWN(it.va, row) + row)) {
        if (view.nrows++ >= VIEW_ROWS)
            continue;
        struct view_row *r = &view.row[view.nrows - 1];
        r->va = ROUNDDOWN(it.va, row);
        for (size_t i = 0; i < VIEW_ROW; i++)
            r->page[i] = (uint8_t)look_at_page(as, r->va + i * PGSIZE);
    }
}

static const struct proc *
process_after(int pid)
{
    for (int round = 0; round < 2; round++, pid = 0)
        for (const struct proc *p = proc_after(pid); p; p = proc_after(p->pid))
            if (p->as.root)
                return p;
    return NULL;
}

static const struct proc *
process_before(int pid)
{
    const struct proc *before = NULL, *last = NULL;

    for (const struct proc *p = proc_after(0); p; p = proc_after(p->pid))
        if (p->as.root) {
            before = p->pid < pid ? p : before;
            last = p;
        }
    return before ? before : last;
}

static void
choose(const struct proc *p)
{
    view.pid = p ? p->pid : 0;
}

void
view_choose_next(void)
{
    choose(process_after(view.pid));
}

void
view_choose_previous(void)
{
    choose(process_before(view.pid));
}

static void
look_at_chosen(void)
{
    const struct proc *p = view.pid ? proc_find(view.pid) : NULL;

    if (!p || !p->as.root)
        p = process_after(view.pid);
    choose(p);
    view.nrows = 0;
    view.name[0] = '\0';
    if (p) {
        strlcpy(view.name, p->name, sizeof(view.name));
        look_at_process(&p->as);
    }
}
#else
static void
look_at_chosen(void)
{
}
#endif

/* ---- All together ---- */

bool
view_begin(void)
{
    size_t nbanks, size, all;
    const struct range *bank = ram_banks(&nbanks);

    view = (struct view){.pa = V2P(frames.first), .note = "(a, f, e play, arrows zoom, q ends it)"};
    if (frames.n == 0 || nbanks == 0) {
        cprintf("memview shows what the pmm knows (lab 3), and there is none.\n");
        return false;
    }
    view.n = MIN(frames.n, (bank[nbanks - 1].end - view.pa) / PGSIZE);
    view.window = VIEW_ROW;
    while (view.window < view.n)
        view.window *= 2;
    size = ROUNDUP(view.n, 8);
    all = size + view.n * sizeof(view.drawn[0]);
#if LAB >= 5
    all += frames.n * sizeof(*uses);
    (void)proc_trouble(); /* if there can be threads, there are from here on */
#endif
    for (memory_order = 0; ((size_t)PGSIZE << memory_order) < all;)
        memory_order++;
    memory = pmm_alloc(memory_order);
    if (memory == 0) {
        cprintf("memview has no memory: it needs %lu KiB in a row.\n", all / 1024);
        return false;
    }
    view.cell = P2V(memory);
    view.drawn = (uint16_t *)(void *)(view.cell + size);
#if LAB >= 5
    uses = (struct frame_use *)(void *)(view.drawn + view.n);
#endif
    return true;
}

void
view_end(void)
{
    (void)pmm_free(memory, memory_order);
}

void
view_look(void)
{
    look_at_frames();
    look_at_chosen();
    view.number++;
}
