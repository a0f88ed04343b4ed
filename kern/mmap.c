/*
 * What is mapped where changes: the list of ranges and the page table, together. Pages are given at once.
 *
 * What can fail comes first: pages are taken before a range is entered, and a range is cut in two before a
 * page of it goes. So there is never more to undo than pages to give back, which cannot fail.
 */
#include "mmap.h"
#include "errno.h"
#include "kalloc.h"
#include "vm.h"

/* Below the stack, so that its end is noticed. Only who asks for just this page (MAP_FIXED) is given it. */
#define STACK_GUARD (USER_STACK_TOP - USER_STACK_SIZE - PGSIZE)

#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)
/* More rights that Linux knows, for mprotect: one that means nothing, and two for ranges that grow by themselves. */
#define PROT_SEM   0x8
#define PROT_GROWS 0x3000000
#define MAP_TYPE \
    0xf /* of flags: MAP_SHARED, MAP_PRIVATE, or Linux's MAP_SHARED_VALIDATE, which is 3 */

/* ---- Pages, without the list ---- */

/*
 * The entry of the first page in [*va, stop) for which there is a table, and *va its address; NULL: no other is mapped.
 * What a missing table would span is skipped at once: a program may name all of its 256 TiB.
 */
static const uint64_t *
next_entry(const struct aspace *as, uint64_t *va, uint64_t stop)
{
    while (*va < stop) {
        const uint64_t *table = as->root;
        int level = 0;
        for (; level < 3 && table[PTX(level, *va)] & PTE_P; level++)
            table = P2V(PTE_ADDR(table[PTX(level, *va)]));
        if (level == 3)
            return &table[PTX(level, *va)];
        *va = ROUNDDOWN(*va, 1UL << PTXSHIFT(level)) + (1UL << PTXSHIFT(level));
    }
    return NULL;
}

static void
free_pages(struct aspace *as, uint64_t start, uint64_t stop)
{
    for (uint64_t va = start; next_entry(as, &va, stop); va += PGSIZE)
        user_free(as, va); /* where there is no page, nothing happens */
}

#if LAB >= 6
/* A page comes when it is touched (pagefault.c). But what all memory could not fill is refused at once. */
static int
alloc_pages(struct aspace *as, uint64_t start, uint64_t stop, int prot)
{
    size_t n = 0;

    (void)as, (void)prot;
    for (size_t i = 0; i < nzones; i++)
        n += zones[i].pages;
    return (stop - start) / PGSIZE <= n ? 0 : -ENOMEM;
}

static int
rights_asked(int prot)
{
    return vma_rights(prot & PROT_ALL);
}

/* What a page that is mapped already may be, in a range with the rights prot: others may use it, too. */
static int
rights_of(uint64_t pa, int prot)
{
    return page_refs(pa) > 1 ? prot & ~PROT_WRITE : prot;
}
#else
#define FEW 64 /* pages: as many are simply tried for */

/*
 * Are there so many free pages? Only asked so that who wants far too much is told at once: with interrupts masked,
 * all memory is not to be taken first and then given back.
 */
static bool
may_have(size_t npages)
{
    if (npages <= FEW)
        return true;
    size_t n = count_free_pages();
    for (size_t i = 0; i < nzones; i++)
        n += zones[i].free;
    return npages <= n;
}

/* Pages for [start, stop), where none are; or an error, and none. */
static int
alloc_pages(struct aspace *as, uint64_t start, uint64_t stop, int prot)
{
    if (!may_have((stop - start) / PGSIZE))
        return -ENOMEM;
    for (uint64_t va = start; va < stop; va += PGSIZE) {
        int error = user_alloc(as, va, prot);
        if (error) {
            free_pages(as, start, va);
            return error;
        }
    }
    return 0;
}

static int
rights_asked(int prot)
{
    return prot & PROT_ALL;
}

static int
rights_of(uint64_t pa, int prot)
{
    (void)pa;
    return prot;
}
#endif

/* ---- Both ---- */

int
as_map(struct aspace *as, uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    int error = alloc_pages(as, start, stop, prot);

    if (!error && (error = vma_add(as, start, stop, prot, kind)) != 0)
        free_pages(as, start, stop);
    return error;
}

int
as_unmap(struct aspace *as, uint64_t start, uint64_t stop)
{
    const struct vma *v = vma_find(as, start);

    if (v && stop < v->end) {
        /* One range, which may have to be cut in two. */
        int error = vma_remove(as, start, stop);
        if (!error)
            free_pages(as, start, stop);
        return error;
    }
    free_pages(as, start, stop);
    return vma_remove(as, start, stop); /* at the end of a range or more: that needs no memory */
}

int
as_protect(struct aspace *as, uint64_t start, uint64_t stop, int prot)
{
    if (!vma_covers(as, start, stop))
        return -ENOMEM;
    int error = vma_protect(as, start, stop, prot);
    if (error)
        return error;
    const uint64_t *entry;
    for (uint64_t va = start; !error && (entry = next_entry(as, &va, stop)) != NULL; va += PGSIZE)
        if (*entry & PTE_P)
            error = user_protect(as, va, rights_of(PTE_ADDR(*entry), prot));
    return error;
}

/* ---- In place of what is there ---- */

#if LAB >= 6
static int
map_over(struct aspace *as, uint64_t start, uint64_t stop, int prot)
{
    int error = alloc_pages(as, start, stop, prot);

    if (!error)
        error = vma_replace(as, start, stop, prot, VMA_ANON);
    if (!error)
        free_pages(as, start, stop);
    return error;
}
#else
/* How many of the pages in [start, stop) will be free when they are unmapped, as nobody else uses them? */
static size_t
count_own(const struct aspace *as, uint64_t start, uint64_t stop)
{
    size_t n = 0;

    for (const struct vma *v = as->vmas; v && v->start < stop; v = v->next)
        for (uint64_t va = MAX(v->start, start); va < MIN(v->end, stop); va += PGSIZE) {
            const uint64_t *entry = pgdir_walk(as->root, (const void *)va, 0);
            n += entry && page_refs(PTE_ADDR(*entry)) == 1;
        }
    return n;
}

/* See that there are tables for all pages in [start, stop). */
static bool
make_tables(struct aspace *as, uint64_t start, uint64_t stop)
{
    for (uint64_t va = ROUNDDOWN(start, BLOCK2M); va < stop; va += BLOCK2M)
        if (!pgdir_walk(as->root, (const void *)va, 1))
            return false;
    return true;
}

static void
release(struct run *reserve)
{
    while (reserve) {
        struct run *next = reserve->next;
        kfree((char *)reserve);
        reserve = next;
    }
}

static bool
take(struct run **reserve, size_t n)
{
    *reserve = NULL;
    for (; n > 0; n--) {
        struct run *page = (struct run *)kalloc();
        if (!page) {
            release(*reserve);
            return false;
        }
        page->next = *reserve;
        *reserve = page;
    }
    return true;
}

/*
 * as_map, where something may be. All memory that it will need is seen to before the first page goes, so that
 * what was there is not lost for an -ENOMEM. Interrupts are masked: nobody takes that memory in between.
 */
static int
map_over(struct aspace *as, uint64_t start, uint64_t stop, int prot)
{
    size_t more = (stop - start) / PGSIZE - count_own(as, start, stop);
    struct run *reserve;

    if (!may_have(more) || !make_tables(as, start, stop) || !take(&reserve, more))
        return -ENOMEM;
    int error = vma_replace(as, start, stop, prot, VMA_ANON);
    if (!error)
        free_pages(as, start, stop);
    release(reserve);
    if (error)
        return error;
    error = alloc_pages(as, start, stop, prot);
    if (error)
        vma_remove(as, start, stop);
    return error;
}

#endif

/* ---- System calls ---- */

static bool
write_and_exec(int prot)
{
    return (prot & (PROT_WRITE | PROT_EXEC)) == (PROT_WRITE | PROT_EXEC);
}

/* Could the kernel choose this place? */
static bool
is_free(const struct aspace *as, uint64_t start, uint64_t stop)
{
    return !vma_overlaps(as, start, stop) && (stop <= STACK_GUARD || start > STACK_GUARD);
}

/* A place for size bytes: hint, if it is free; 0: there is none. */
static uint64_t
find_place(const struct aspace *as, uint64_t hint, uint64_t size)
{
    hint = ROUNDDOWN(hint, PGSIZE);
    if (hint != 0 && hint <= USER_TOP - size && is_free(as, hint, hint + size))
        return hint;
    uint64_t place = vma_gap(as, size, USER_MMAP_TOP);
    return place != 0 ? place : vma_gap(as, size, USER_TOP);
}

/* Is addr a place for size bytes? 0, or an error. */
static int
check_fixed(const struct aspace *as, uint64_t addr, uint64_t size, int flags)
{
    if (addr > USER_TOP - size)
        return -ENOMEM;
    if (addr % PGSIZE != 0)
        return -EINVAL;
    if (addr < USER_MIN)
        return -EPERM;
    if ((flags & MAP_FIXED_NOREPLACE) && vma_overlaps(as, addr, addr + size))
        return -EEXIST;
    return 0;
}

/* What is to be mapped? 0: memory, for this process alone. */
static int
check_type(int flags)
{
    int type = flags & MAP_TYPE;

    if (type == 0 || type > (MAP_SHARED | MAP_PRIVATE))
        return -EINVAL;
    if (!(flags & MAP_ANONYMOUS))
        return -ENODEV;
    return type == MAP_PRIVATE ? 0 : -EINVAL;
}

int64_t
do_mmap(struct aspace *as, uint64_t addr, uint64_t len, int prot, int flags)
{
    bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
    uint64_t size = ROUNDUP(len, PGSIZE);
    int error;

    if (write_and_exec(prot))
        return -EACCES;
    if (len == 0)
        return -EINVAL;
    if (size == 0 || size > USER_TOP - USER_MIN)
        return -ENOMEM;
    if (fixed) {
        error = check_fixed(as, addr, size, flags);
    } else {
        addr = find_place(as, addr, size);
        error = addr == 0 ? -ENOMEM : 0;
    }
    if (!error)
        error = check_type(flags);
    if (error)
        return error;

    if (vma_overlaps(as, addr, addr + size))
        error = map_over(as, addr, addr + size, rights_asked(prot));
    else
        error = as_map(as, addr, addr + size, rights_asked(prot), VMA_ANON);
    return error ? error : (int64_t)addr;
}

int64_t
do_munmap(struct aspace *as, uint64_t addr, uint64_t len)
{
    if (addr % PGSIZE != 0 || addr > USER_TOP || len > USER_TOP - addr || len == 0)
        return -EINVAL;
    return as_unmap(as, addr, addr + ROUNDUP(len, PGSIZE));
}

int64_t
do_mprotect(struct aspace *as, uint64_t addr, uint64_t len, int prot)
{
    uint64_t stop = addr + ROUNDUP(len, PGSIZE);

    if ((prot & PROT_GROWS) == PROT_GROWS || addr % PGSIZE != 0)
        return -EINVAL;
    if (len == 0)
        return 0;
    if (stop <= addr)
        return -ENOMEM;
    if (prot & ~(PROT_ALL | PROT_SEM | PROT_GROWS))
        return -EINVAL;
    if (!vma_find(as, addr))
        return -ENOMEM;
    if (prot & PROT_GROWS)
        return -EINVAL;
    if (write_and_exec(prot))
        return -EACCES;
    return as_protect(as, addr, stop, rights_asked(prot));
}

uint64_t
do_brk(struct aspace *as, uint64_t addr)
{
    uint64_t stop = ROUNDUP(as->brk, PGSIZE), new_stop = ROUNDUP(addr, PGSIZE);
    int error = 0;

    if (addr < as->brk_start || addr >= USER_TOP - PGSIZE)
        return as->brk;
    if (new_stop > stop) {
        /* A page stays free between the heap and whatever is behind it. */
        if (!is_free(as, stop, new_stop + PGSIZE))
            return as->brk;
        error = as_map(as, stop, new_stop, PROT_READ | PROT_WRITE, VMA_HEAP);
    } else if (new_stop < stop) {
        error = as_unmap(as, new_stop, stop);
    }
    if (!error)
        as->brk = addr;
    return as->brk;
}
