/*
 * A program has done what it may not: it ends, with the signal that Linux would send it.
 */
#include "check.h"
#include "console.h"
#include "proc.h"
#include "syscall.h"
#include "uapi/signal.h"
#if LAB >= 6
#include "errno.h"
#include "pagefault.h"
#endif

#define ABORT_STATUS(esr) ((esr)&0x3f) /* fault status code (ARM ARM D13.2.37) */
#define ABORT_ALIGNMENT   0x21
#define ABORT_EXTERNAL    0x10
#if LAB >= 6
#define ABORT_TRANSLATION 0x1 /* bits 5:2: no entry ... */
#define ABORT_PERMISSION  0x3 /* ... or one that does not allow it */
#define ESR_WNR           (1u << 6)

/*
 * The abort of frame, at EL0 or of an LDTR or STTR: does it not happen again? 0; or -EFAULT, also for aborts that are
 * not about a page; or -ENOMEM: then the process ends before it goes back to EL0, as nothing that it did is wrong, and
 * no system call has an answer for it.
 */
int
fault_resolve(const struct trap_frame *frame)
{
    uint64_t kind = ABORT_STATUS(frame->esr) >> 2;
    int access = frame->esr & ESR_WNR ? PROT_WRITE : PROT_READ;
    struct proc *p = current();

    if ((kind != ABORT_TRANSLATION && kind != ABORT_PERMISSION) || frame->far >= USER_TOP)
        return -EFAULT;
    if (ESR_CLASS(frame->esr) == EC_IABORT_LOW)
        access = PROT_EXEC;
    int error = page_fault(&p->as, frame->far, access);
    if (error == -ENOMEM) {
        cprintf("%s (pid %d): killed: out of memory\n", p->name, p->pid);
        p->killed = SIGKILL;
    }
    return error;
}
#endif

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

#if LAB >= 6
    uint64_t class = ESR_CLASS(frame->esr);
    if (class == EC_IABORT_LOW || class == EC_DABORT_LOW) {
        if (fault_resolve(frame) != -EFAULT)
            return;
    }
#endif
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
