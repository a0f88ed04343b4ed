/*
 * Exceptions. The kernel expects none yet: each is reported in words, with the state it found, and
 * ends in a panic.
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

/* ESR_EL1 (ARM ARM D13.2.37): exception class in bits 31:26, class-specific syndrome in 24:0. */
#define ESR_CLASS(esr) (((esr) >> 26) & 0x3f)
#define EC_IABORT_LOW  0x20
#define EC_IABORT      0x21
#define EC_DABORT_LOW  0x24
#define EC_DABORT      0x25
#define EC_BRK         0x3c
#define ESR_WNR        (1u << 6)  /* data aborts: a write */
#define ESR_FNV        (1u << 10) /* aborts: FAR is not valid */

/* What an exception class means; NULL: one that the manual does not define, or not for this core. */
static const char *const class_names[64] = {
    [0x00] = "unknown instruction, or one not allowed at this exception level",
    [0x01] = "wfi or wfe trapped",
    [0x07] = "floating point used in the kernel (its access is trapped)",
    [0x0e] = "illegal execution state",
    [0x15] = "system call (svc)",
    [0x16] = "hypervisor call (hvc)",
    [0x17] = "secure monitor call (smc)",
    [0x18] = "access to a system register not allowed",
    [EC_IABORT_LOW] = "instruction abort",
    [EC_IABORT] = "instruction abort",
    [0x22] = "the program counter is not 4-byte aligned",
    [EC_DABORT_LOW] = "data abort",
    [EC_DABORT] = "data abort",
    [0x26] = "the stack pointer is not 16-byte aligned",
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

void
trap(struct trap_frame *frame, uint64_t vector)
{
    describe(frame, vector);
    report(frame, true);
}

void
trap_bad_stack(struct trap_frame *frame, uint64_t vector)
{
    uint64_t offset = 0;
    const char *function = symbol_name(frame->elr, &offset);
    uint64_t bottom = (uint64_t)boot_stack;

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
