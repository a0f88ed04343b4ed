/*
 * Who runs next: threads that can run wait in one queue, and each has its turn until it sleeps, yields, or the
 * timer's next tick.
 */
#include "sched.h"
#include "proc.h"
#include "sysreg.h"
#ifdef DEBUG
#include "audit.h"
#include "console.h"
#include "string.h"
#endif

static struct waitq ready;
bool sched_wanted;

static void
append(struct waitq *q, struct proc *p)
{
    p->next = NULL;
    if (q->head)
        q->tail->next = p;
    else
        q->head = p;
    q->tail = p;
}

static struct proc *
take_first(struct waitq *q)
{
    struct proc *p = q->head;

    if (p)
        q->head = p->next;
    return p;
}

static void
take_out(struct waitq *q, struct proc *p)
{
    struct proc *before = NULL;

    for (struct proc *at = q->head; at && at != p; at = at->next)
        before = at;
    if (before)
        before->next = p->next;
    else
        q->head = p->next;
    if (q->tail == p)
        q->tail = before;
}

#ifdef DEBUG
static char first_error[128];

static void
keep_first(const char *line)
{
    if (!first_error[0])
        strlcpy(first_error, line, sizeof(first_error));
}

/* make DEBUG=1: what is wrong with a page table is found at the next switch. */
static void
look_at_tables(void)
{
    first_error[0] = '\0';
    if (audit(keep_first) > 0)
        panic("%s", first_error);
}
#else
#define look_at_tables() ((void)0)
#endif

/* The core goes on with `next`; returns when the running thread has its turn again. */
static void
switch_to(struct proc *next)
{
    struct proc *p = current();

    look_at_tables();
    sched_wanted = false;
    next->state = PROC_RUNNING;
    if (next == p)
        return;
    fpu_leave();
    aspace_use(next->as.root ? &next->as : NULL);
    write_sysreg(tpidr_el1, next);
    context_switch(&p->context, &next->context);
}

/* The running thread cannot go on: the next one does, or the idle one. */
static void
switch_away(void)
{
    struct proc *next = take_first(&ready);

    switch_to(next ? next : proc_idle);
}

void
sched_yield(void)
{
    struct proc *p = current(), *next = take_first(&ready);

    sched_wanted = false;
    if (!next)
        return;
    p->state = PROC_RUNNABLE;
    if (p != proc_idle) /* it runs when nobody else can */
        append(&ready, p);
    switch_to(next);
}

void
sleep_on(struct waitq *q)
{
    struct proc *p = current();

    p->state = PROC_SLEEPING;
    p->waits = q;
    append(q, p);
    switch_away();
}

void
sched_wake(struct proc *p)
{
    take_out(p->waits, p);
    p->waits = NULL;
    sched_start(p);
}

void
wake_up(struct waitq *q)
{
    while (q->head)
        sched_wake(q->head);
}

void
sched_start(struct proc *p)
{
    p->state = PROC_RUNNABLE;
    append(&ready, p);
    if (current() == proc_idle)
        sched_wanted = true;
}

void
sched_end(void)
{
    switch_away();
    __builtin_unreachable(); /* nobody has it on a queue */
}

void
sched_forget(struct proc *p)
{
    if (p->state == PROC_SLEEPING)
        take_out(p->waits, p);
    else if (p->state == PROC_RUNNABLE && p != proc_idle)
        take_out(&ready, p);
    p->waits = NULL;
}
