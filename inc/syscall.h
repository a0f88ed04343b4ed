/* System calls, on the kernel's side. (syscall.c, sys_*.c; numbers: uapi/syscall.h) */
#ifndef INC_SYSCALL_H
#define INC_SYSCALL_H

#include "trap.h"
#include "uapi/errno.h"
#include "uapi/syscall.h"

/* arg: the six arguments, x0 to x5 of the caller. The result, or -errno, for its x0. */
typedef int64_t syscall_fn(const uint64_t arg[6]);

#define NSYSCALLS 512 /* numbers 0 to 511 */
extern syscall_fn *const
    syscall_table[NSYSCALLS]; /* by number; NULL: there is no such system call (systable.c) */

/*
 * ---- Lab 5's exercises, in syscall.c ----
 */

/*
 * The process's system call: frame is its state as `svc` left it. Call the function of syscall_table that x8
 * (all 64 bits of it) names, with the arguments in the frame, and put the result into the frame's x0. -ENOSYS
 * if there is none. Nothing else in the frame changes.
 */
void syscall(struct trap_frame *frame);

/*
 * An exception came from EL0; frame is the process's state, vector which of two entries was taken (trap.h). What it
 * is, vector and ESR say, and nothing else does:
 *
 *   VECTOR_USER_IRQ                                 irq_handle()
 *   VECTOR_USER_SYNC, class EC_SVC                  syscall(frame)
 *   VECTOR_USER_SYNC, class EC_FP                   fpu_use()
 *   VECTOR_USER_SYNC, every other class             user_fault(frame)
 *
 * Exactly one of these, once, and true: it has been dealt with. (False stands for: nobody has.)
 */
bool user_trap(struct trap_frame *frame, uint64_t vector);

/* ---- Given ---- */

/* Ends the running process with the signal that its fault means (uapi/signal.h). (fault.c) */
void user_fault(struct trap_frame *frame);
#if LAB >= 6

/*
 * The abort of frame, at EL0 or of an LDTR or STTR (uaccess.h): has its page come? 0: it will not happen again; -EFAULT;
 * -ENOMEM.
 */
int fault_resolve(const struct trap_frame *frame);
#endif

#endif
