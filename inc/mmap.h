/*
 * Memory of a process, range by range: what brk, mmap, munmap and mprotect do, with Linux's arguments,
 * results and errors. (mmap.c) as is the running process's, or one that is being made.
 */
#ifndef INC_MMAP_H
#define INC_MMAP_H

#include "vma.h"

/*
 * Map zeroed pages at [start, end), page-aligned, within [USER_MIN, USER_TOP), where nothing is. 0, or
 * -ENOMEM with nothing changed.
 */
int as_map(struct aspace *as, uint64_t start, uint64_t end, int prot, enum vma_kind kind);

/* Unmap whatever is mapped in [start, end). 0, or -ENOMEM with nothing changed. */
int as_unmap(struct aspace *as, uint64_t start, uint64_t end);

/* Give all of [start, end) the rights prot. 0; -ENOMEM, with nothing changed: a part is not mapped, or no memory. */
int as_protect(struct aspace *as, uint64_t start, uint64_t end, int prot);

/*
 * The system calls. An address or -errno; brk: the program break, moved or not. The caller has looked at what
 * mmap is given besides: with no open file for a descriptor that is needed, -EBADF comes before all else.
 *
 * Not as on Linux: there is no shared memory (-EINVAL) and no file that can be mapped (-ENODEV); PROT_WRITE with
 * PROT_EXEC is -EACCES, in mmap before all else, in mprotect when there is a page at addr; mprotect over a gap
 * changes nothing at all; no range grows by itself; -ENOMEM comes with VMAS_MAX ranges, which are fewer.
 */
int64_t do_mmap(struct aspace *as, uint64_t addr, uint64_t len, int prot, int flags);
int64_t do_munmap(struct aspace *as, uint64_t addr, uint64_t len);
int64_t do_mprotect(struct aspace *as, uint64_t addr, uint64_t len, int prot);
uint64_t do_brk(struct aspace *as, uint64_t addr);

#endif
