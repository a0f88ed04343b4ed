/*
 * A program has done what it may not: it ends, with the signal that Linux would send it.
 */
#include "check.h"
#include "console.h"
#include "proc.h"
#include "syscall.h"
#include "uapi/signal.h"

#define ABORT_STATUS(esr) ((esr) & 0x3f) /* fault status code (ARM ARM D13.2.37) */
#define ABORT_ALIGNMENT   0x21
#define ABORT_EXTERNAL    0x10

static int
signal_for(uint64_t esr)
{
    uint64_t class = ESR_CLASS(esr);

    switch (class) {
    case EC_IABORT_LOW:
    case EC_DABORT_LOW:
        return ABORT_STATUS(esr) == ABORT_ALIGNMENT || ABORT_STATUS(esr) == ABORT_EXTERNAL
                   ? SIGBUS
                   : SIGSEGV;
    case EC_PC:
    case EC_SP:
        return SIGBUS;
    case EC_BRK:
        return SIGTRAP;
    case EC_FP_TRAPPED:
        return SIGFPE;
    default:
        return class >= EC_BREAK_LOW && class <= EC_WATCH ? SIGTRAP : SIGILL;
    }
}

void
user_fault(struct trap_frame *frame)
{
    struct proc *p = current();
    char what[128];

    trap_describe(what, sizeof(what), frame);
    p->killed = signal_for(frame->esr); /* trap.c ends it */
    if (!check_expects_panic())
        cprintf("%s (pid %d): signal %d: %s, pc %lx\n", p->name, p->pid, p->killed, what,
                frame->elr);
}

/* Exercises of lab 5 that are not written: what trapframe.S has in their place comes here. */
_Noreturn void trap_entry_missing(void);
_Noreturn void trap_return_missing(void);

void
trap_entry_missing(void)
{
    panic("an exception of a program's: write trap_entry in kern/trapframe.S");
}

void
trap_return_missing(void)
{
    panic("on the way to a program: write trap_return in kern/trapframe.S");
}
