/* Who runs next. (sched.c, switch.S) Everything here: with interrupts masked. */
#ifndef INC_SCHED_H
#define INC_SCHED_H

#include "types.h"

struct proc;

/* What of a thread's state a call of context_switch keeps, beside what the stack holds. Offsets: switch.S. */
struct context {
    uint64_t x19, x20, x21, x22, x23, x24, x25, x26, x27, x28;
    uint64_t fp; /* x29 */
    uint64_t lr; /* x30: where it goes on */
    uint64_t sp;
    uint64_t
        tpidr; /* TPIDR_EL0: the program's thread pointer; the kernel never touches it otherwise */
};

/*
 * ---- Lab 5's exercise, in switch.S ----
 *
 * Keep the running thread's state in *from, and go on with *to: returns to whoever last called
 * context_switch with `to` as its `from`, and as if that call returned. Everything that a function has to preserve
 * by the procedure call standard (AAPCS64 6.1.1: x19 to x29, SP), x30, and TPIDR_EL0. Interrupts are masked and stay so.
 */
void context_switch(struct context *from, const struct context *to);

/* Threads that wait for something, the first to come at the front. All zero: nobody. */
struct waitq {
    struct proc *head, *tail;
};

/* Let others run, if any can; the running thread goes on when its turn comes. */
void sched_yield(void);

/* The running thread waits on q until somebody wakes it. Whoever calls this looks again at what it waits for. */
void sleep_on(struct waitq *q);

/* Wake everybody who waits there. */
void wake_up(struct waitq *q);

/* p, which sleeps (on a queue or for the time), can run again. */
void sched_wake(struct proc *p);

/* p, a new thread, can run. */
void sched_start(struct proc *p);

/* The running thread never runs again. */
_Noreturn void sched_end(void);

/* p, which does not run, is taken off whatever queue it is on. */
void sched_forget(struct proc *p);

/* It is time for others: the thread that runs yields before it goes back to what was interrupted. */
extern bool sched_wanted;

#endif
