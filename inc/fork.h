/* One process becomes two. (fork.c) */
#ifndef INC_FORK_H
#define INC_FORK_H

#include "proc.h"
#include "vma.h"

/*
 * ---- Lab 6's exercises, in fork.c ----
 */

/*
 * Make `to`, which has nothing but an empty root, a copy of `from`, the running process's. The same ranges (vma_add)
 * and break. Each page that is mapped in from is mapped in to, at the same address, with one user more
 * (page_share): no page is copied now. Where the range may be written, both entries are read-only from then on, so that
 * whoever writes first gets a copy (page_fault); all else of an entry stays. Before anybody runs with a page that has
 * become read-only, the old translations of from have left the TLBs of all cores (aspace_flush).
 *
 * 0; or -ENOMEM: then to has nothing but an empty root again, and no page has a user more than before.
 * Entries of from may have become read-only even so.
 */
int aspace_copy(struct aspace *to, struct aspace *from);

/*
 * Give the child, which has not run yet, the registers of the running process, its parent, whose state at EL0 is
 * *frame: the same in the child's own trap frame (proc_frame), but x0 is 0, as the child's result of fork; and
 * SP_EL0 is sp, unless that is 0. TPIDR_EL0 and the floating-point registers (fpu_leave keeps them in the parent's
 * fpu) are the parent's, too. Its first turn begins at process_entry, with the kernel's SP at that frame.
 */
void fork_registers(struct proc *child, const struct trap_frame *frame, uint64_t sp);

/* ---- Given, in proc.c ---- */

/* The running process becomes two: the child's pid, or -EAGAIN, -ENOMEM. */
int proc_fork(const struct trap_frame *frame, uint64_t sp);

/* thread.S: the first that a process runs; goes on to trap_return. */
void process_entry(void);

#endif
