/*
 * What is where in an address space: ranges of pages with the same rights, in a list by address. (vma.c)
 * Neighbours with the same rights and kind are one. mmap.c keeps this list and the page table in agreement.
 */
#ifndef INC_VMA_H
#define INC_VMA_H

#include "aspace.h"

/*
 * User addresses. A small program lies within 1 GiB: then its tables are five pages.
 *
 *   400000      text, rodata, data, BSS; then the heap (brk)
 *   ...         mmap's ranges, from the top downwards
 *   3ffef000    a page that is never mapped, below the stack
 *   3fff0000    the stack, USER_STACK_SIZE
 *   40000000    free, up to USER_TOP
 */
#define USER_MIN       PGSIZE      /* page 0 is never mapped: NULL faults */
#define USER_TOP       (1UL << 48) /* the end of TTBR0's half */
#define USER_STACK_TOP 0x40000000UL
#if LAB >= 6
#define USER_STACK_SIZE 0x800000UL
#else
#define USER_STACK_SIZE 0x10000UL
#endif
#define USER_MMAP_TOP (USER_STACK_TOP - USER_STACK_SIZE - PGSIZE)

/*
 * Ranges of one address space. They are a list, and the kernel follows it with interrupts masked; and from lab 6 on a
 * range costs no page. Who wants more is told -ENOMEM.
 */
#ifndef VMAS_MAX
#define VMAS_MAX 1024
#endif

enum vma_kind { VMA_FILE, VMA_HEAP, VMA_ANON, VMA_STACK }; /* program, brk, mmap, stack */

struct vma {
    uint64_t start, end; /* page-aligned, start < end */
    int prot;
    enum vma_kind kind;
    struct vma *next; /* the next one, by address */
};

#if LAB >= 6
/* The rights of a range that is to have prot: who may write or execute may read, too (uapi/mman.h). */
static inline int
vma_rights(int prot)
{
    return prot == PROT_NONE ? PROT_NONE : prot | PROT_READ;
}

#endif
/* The range that va lies in, or NULL. */
struct vma *vma_find(const struct aspace *as, uint64_t va);

/* Does any range have a page of [start, end)? */
bool vma_overlaps(const struct aspace *as, uint64_t start, uint64_t end);

/*
 * Is all of [start, end) in ranges, without a gap? (mprotect asks.)
 */
bool vma_covers(const struct aspace *as, uint64_t start, uint64_t end);

/* The highest place for size bytes (whole pages) that ends at or below top, free of ranges and at or above
 * USER_MIN; 0: there is none. */
uint64_t vma_gap(const struct aspace *as, uint64_t size, uint64_t top);

/*
 * Add [start, end), where nothing is; joins with neighbours of the same prot and kind. 0, or -ENOMEM with
 * nothing changed.
 */
int vma_add(struct aspace *as, uint64_t start, uint64_t end, int prot, enum vma_kind kind);

/* Take [start, end) out, from all ranges that have some of it. 0, or -ENOMEM (a range had to be cut in two)
 * with nothing changed. */
int vma_remove(struct aspace *as, uint64_t start, uint64_t end);

/* [start, end) becomes a range of its own, or part of one like it, whatever is there now. 0, or -ENOMEM with nothing
 * changed. */
int vma_replace(struct aspace *as, uint64_t start, uint64_t end, int prot, enum vma_kind kind);

/* Give all of [start, end), which is covered, the rights prot. 0, or -ENOMEM with nothing changed. */
int vma_protect(struct aspace *as, uint64_t start, uint64_t end, int prot);

/* Forget all ranges. */
void vma_clear(struct aspace *as);

#endif
