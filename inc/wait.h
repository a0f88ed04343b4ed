/* Parents and children: what becomes of who has ended. (wait.c) */
#ifndef INC_WAIT_H
#define INC_WAIT_H

#include "proc.h"
#include "uapi/wait.h"

/*
 * ---- Lab 6's exercises, in wait.c ----
 */

/*
 * How p, which has ended, tells it to who waits: bits 15:8 are its exit status (p->status, 0 to 255), all others 0; or if a
 * signal has ended it (p->killed is not 0), bits 6:0 are the signal, all others 0.
 */
int wait_status(const struct proc *p);

/*
 * p is about to end: its children become those of process 1 (proc_adopt), which is woken (child_ended) if one of them has ended already.
 */
void exit_children(struct proc *p);

/*
 * The running process waits for a child: for pid, if pid is greater than 0; for any, if it is 0 or -1. Sleeps (on its
 * child_ended) until one of those has ended; then *status is its wait_status, and what is left of it goes (proc_free).
 * Its pid; 0: none has ended, and options has WNOHANG; -ECHILD: there is no such child (nor for any other pid);
 * -EINTR: the process is to end itself (killed).
 */
int64_t wait_child(int pid, int options, int *status);

#endif
