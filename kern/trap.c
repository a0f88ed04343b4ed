/*
 * Exceptions. Those that nobody expects are reported in words, with the state they found, and end in a
 * panic.
 */
#include "trap.h"
#include "backtrace.h"
#include "check.h"
#include "console.h"
#include "memlayout.h"
#include "panic.h"
#include "printf.h"
#include "pt.h"
#include "sysreg.h"
#if LAB >= 3
#include "spinlock.h"
#endif
#if LAB >= 5
#include "irq.h"
#include "proc.h"
#include "syscall.h"
#include "uaccess.h"
#endif

#define ESR_WNR (1u << 6)  /* data aborts: a write */
#define ESR_FNV (1u << 10) /* aborts: FAR is not valid */

/* What an exception class means; NULL: one that the manual does not define, or not for this core. */
static const char *const class_names[64] = {
    [0x00] = "unknown instruction, or one not allowed at this exception level",
    [0x01] = "wfi or wfe trapped",
    [EC_FP] = "floating point used in the kernel (its access is trapped)",
    [0x0e] = "illegal execution state",
    [EC_SVC] = "system call (svc)",
    [0x16] = "hypervisor call (hvc)",
    [0x17] = "secure monitor call (smc)",
    [0x18] = "access to a system register not allowed",
    [EC_IABORT_LOW] = "instruction abort",
    [EC_IABORT] = "instruction abort",
    [EC_PC] = "the program counter is not 4-byte aligned",
    [EC_DABORT_LOW] = "data abort",
    [EC_DABORT] = "data abort",
    [EC_SP] = "the stack pointer is not 16-byte aligned",
    [0x2f] = "SError: an asynchronous external abort",
    [0x30] = "breakpoint",
    [0x31] = "breakpoint",
    [0x32] = "software step",
    [0x33] = "software step",
    [0x34] = "watchpoint",
    [0x35] = "watchpoint",
    [EC_BRK] = "brk instruction",
};

/*
 * What went wrong in an abort: bits 5:2 of its fault status code (ARM ARM D13.2.37, "ISS encoding
 * for an exception from a Data Abort"); bits 1:0 are mostly the level.
 */
static const char *const abort_names[16] = {
    [0x0] = "address size fault",
    [0x1] = "translation fault: nothing is mapped there",
    [0x2] = "access flag fault: the entry's AF bit is clear",
    [0x3] = "permission fault",
    [0x4] = "external abort: no memory or device answers there",
    [0x5] = "external abort on a table walk: a table entry points nowhere",
    [0x8] = "alignment fault",
};

static const char *
class_name(uint64_t class)
{
    return class_names[class] ? class_names[class] : "exception of an unexpected class";
}

static const char *
abort_name(uint64_t esr)
{
    const char *name = abort_names[(esr & 0x3f) >> 2];

    return name ? name : "memory fault";
}

static bool
is_abort(uint64_t class)
{
    return class == EC_IABORT_LOW || class == EC_IABORT || class == EC_DABORT_LOW
        || class == EC_DABORT;
}

static const char *
access_name(uint64_t class, uint64_t esr)
{
    if (class == EC_IABORT || class == EC_IABORT_LOW)
        return "executing";
    return esr & ESR_WNR ? "writing" : "reading";
}

/* The calls that led to the exception. A leaf function keeps its return address in x30 alone. */
static void
print_calls(const struct trap_frame *frame)
{
    uint64_t here, there;
    const char *function = symbol_name(frame->elr, &here);
    const char *caller = symbol_name(frame->x[30] - 4, &there);
    uint64_t next = 0;

    cprintf("  called from\n");
    print_code_address(frame->elr);
    backtrace(frame->x[29], &next, 1);
    if (caller && caller != function && frame->x[30] != next)
        print_code_address(frame->x[30] - 4);
    print_backtrace(frame->x[29]);
}

static void
print_registers(const struct trap_frame *frame)
{
    cprintf("  registers");
    for (int i = 0; i < 31; i++)
        cprintf("%s%sx%d=%016lx", i % 4 ? " " : "\n  ", i < 10 ? " " : "", i, frame->x[i]);
    cprintf("  sp=%016lx\n", frame->sp);
    cprintf("  elr=%016lx far=%016lx esr=%08lx spsr=%08lx\n", frame->elr, frame->far, frame->esr,
            frame->spsr);
}

static char text[256];

static void
describe(const struct trap_frame *frame, uint64_t vector)
{
    static const char *const kind[] = {"", "interrupt (IRQ)", "fast interrupt (FIQ)", "SError"};
    uint64_t class = ESR_CLASS(frame->esr), offset = 0;
    const char *function = symbol_name(frame->elr, &offset);
    int n;

    if (vector % 4 != 0)
        n = snprintf(text, sizeof(text), "fault: unexpected %s", kind[vector % 4]);
    else if (is_abort(class))
        n = snprintf(text, sizeof(text), "fault: %s address 0x%lx: %s (%s)",
                     access_name(class, frame->esr), frame->far, abort_name(frame->esr),
                     class_name(class));
#if LAB >= 3
    else if (class == EC_BRK && (frame->esr & 0xffff) == SPIN_BRK) /* in spin_lock */
        n = snprintf(text, sizeof(text),
                     "fault: %s is never released: a return without spin_unlock, or taken twice",
                     ((const struct spinlock *)frame->x[16])->name);
#endif
    else
        n = snprintf(text, sizeof(text), "fault: %s", class_name(class));
    snprintf(text + n, sizeof(text) - (size_t)n, ", in %s+0x%lx (pc %lx)",
             function ? function : "?", offset, frame->elr);
}

static _Noreturn void
report(const struct trap_frame *frame, bool walk)
{
    panic_begin(text);
    if (!check_expects_panic()) {
        cprintf("\n%s\n", text);
        print_calls(frame);
        if (walk && is_abort(ESR_CLASS(frame->esr)) && !(frame->esr & ESR_FNV))
            pt_print_walk(frame->far);
        print_registers(frame);
    }
    panic_end(text);
}

#if LAB >= 5
size_t
trap_describe(char *buf, size_t size, const struct trap_frame *frame)
{
    uint64_t class = ESR_CLASS(frame->esr);

    if (is_abort(class))
        return (size_t)snprintf(buf, size, "%s address 0x%lx: %s", access_name(class, frame->esr),
                                frame->far, abort_name(frame->esr));
    return (size_t)snprintf(buf, size, "%s", class_name(class));
}

/* A program's exception: lab 5's exercises deal with it, then the program goes on, or others do first. */
static void
from_user(struct trap_frame *frame, uint64_t vector)
{
    if (vector != VECTOR_USER_SYNC && vector != VECTOR_USER_IRQ) {
        describe(frame, vector);
        report(frame, true);
    }
    if (!user_trap(frame, vector))
        panic("user_trap (kern/syscall.c) returned false for vector %lu, class 0x%lx", vector,
              ESR_CLASS(frame->esr));
    if (sched_wanted)
        sched_yield();
    if (current()->killed)
        proc_exit(128 + current()->killed);
}

/* An exception of the kernel's own that is no mistake: an interrupt, or a copy from or to a bad address. */
static bool
from_kernel(struct trap_frame *frame, uint64_t vector)
{
    if (vector == VECTOR_IRQ) {
        irq_handle();
        if (sched_wanted)
            sched_yield();
        return true;
    }
    if (vector == VECTOR_SYNC && ESR_CLASS(frame->esr) == EC_DABORT) {
        uint64_t go_on = fixup_for(frame->elr);
#if LAB >= 6
        if (go_on && fault_resolve(frame) == 0)
            return true; /* once more */
#endif
        if (go_on) {
            frame->elr = go_on;
            return true;
        }
    }
    return false;
}
#endif

void
trap(struct trap_frame *frame, uint64_t vector)
{
#if LAB >= 5
    if (vector >= VECTOR_USER_SYNC) {
        from_user(frame, vector);
        return;
    }
    if (from_kernel(frame, vector))
        return;
#endif
    describe(frame, vector);
    report(frame, true);
}

void
trap_bad_stack(struct trap_frame *frame, uint64_t vector)
{
    uint64_t offset = 0;
    const char *function = symbol_name(frame->elr, &offset);
    uint64_t bottom = (uint64_t)boot_stack;

#if LAB >= 5
    if (current() && current()->kstack)
        bottom = (uint64_t)current()->kstack;
#endif
    (void)vector;
    if (frame->sp <= bottom + TF_SIZE && frame->sp > bottom - STACK_SIZE)
        snprintf(text, sizeof(text),
                 "fault: stack overflow in %s+0x%lx: endless recursion? (sp %lx)",
                 function ? function : "?", offset, frame->sp);
    else
        snprintf(text, sizeof(text), "fault: the stack pointer is corrupt: sp %lx, in %s+0x%lx",
                 frame->sp, function ? function : "?", offset);
    report(frame, false);
}
