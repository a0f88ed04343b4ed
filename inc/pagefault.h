/*
 * Pages that come when they are needed, and copies that are made when they differ. (pagefault.c)
 */
#ifndef INC_PAGEFAULT_H
#define INC_PAGEFAULT_H

#include "pager.h"
#include "vma.h"

/* Calls of these stay calls, even where the compiler sees what is called: the grader follows them from outside. */
#ifdef __clang__
#define WATCHED __attribute__((noinline))
#else
#define WATCHED __attribute__((noipa))
#endif

/*
 * ---- Lab 6's exercises, in pagefault.c ----
 *
 * access is one of PROT_READ, PROT_WRITE, PROT_EXEC: what was tried. va is page-aligned but in page_fault.
 */

/*
 * An access to va, by a process that as belongs to, has faulted. If its range (vma.h) has the right to it, see that it does
 * not fault again: fault_absent if no page is mapped there, fault_cow if one is and cannot be written. 0: try again;
 * -EFAULT: it may not; -ENOMEM, with nothing changed.
 */
int page_fault(struct aspace *as, uint64_t va, int access) WATCHED;

/*
 * There is no page at va, in the range v. A page of the program's file (pager_page) is mapped without PROT_WRITE, as others use
 * it too; then, if it is to be written, fault_cow. Where the file has none (pager_page: 0), or in a range of another kind:
 * to be written, a new page of zeroes (user_alloc) with the range's rights; otherwise zero_page, which is shared (page_share),
 * without PROT_WRITE. 0, or -ENOMEM with nothing changed.
 */
int fault_absent(struct aspace *as, const struct vma *v, uint64_t va, int access) WATCHED;

/*
 * The page at va cannot be written, though its range v may be. If nobody else uses it (page_refs), it becomes writable as it
 * is. Otherwise the process gets a copy of its own, and the page has one user less: the entry leaves table and TLB
 * before the copy's is written (break before make). 0, or -ENOMEM with nothing changed.
 */
int fault_cow(struct aspace *as, const struct vma *v, uint64_t va) WATCHED;

#endif
