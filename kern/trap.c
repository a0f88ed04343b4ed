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

/* ESR_EL1 (ARM ARM D13.2.37): exception class in bits 31:26, class-specific syndrome in 24:0. */
#define ESR_CLASS(esr) (((esr) >> 26) & 0x3f)
#define EC_ILLEGAL     0x0e
#define EC_IABORT_LOW  0x20
#define EC_IABORT      0x21
#define EC_PC_ALIGN    0x22
#define EC_DABORT_LOW  0x24
#define EC_DABORT      0x25
#define ESR_WNR        (1u << 6)  /* data aborts: a write */
#define ESR_FNV        (1u << 10) /* aborts: FAR is not valid */

static const char *
class_name(uint64_t class)
{
    switch (class) {
    case 0x00: return "unknown instruction, or one not allowed at this exception level";
    case 0x01: return "wfi or wfe trapped";
    case 0x07: return "floating point used in the kernel (its access is trapped)";
    case EC_ILLEGAL: return "illegal execution state";
    case 0x15: return "system call (svc)";
    case 0x16: return "hypervisor call (hvc)";
    case 0x17: return "secure monitor call (smc)";
    case 0x18: return "access to a system register not allowed";
    case EC_IABORT_LOW:
    case EC_IABORT: return "instruction abort";
    case EC_PC_ALIGN: return "the program counter is not 4-byte aligned";
    case EC_DABORT_LOW:
    case EC_DABORT: return "data abort";
    case 0x26: return "the stack pointer is not 16-byte aligned";
    case 0x2f: return "SError: an asynchronous external abort";
    case 0x30:
    case 0x31: return "breakpoint";
    case 0x32:
    case 0x33: return "software step";
    case 0x34:
    case 0x35: return "watchpoint";
    case 0x3c: return "brk instruction";
    default: return "exception of an unexpected class";
    }
}

/* Fault status code, ESR bits 5:0 of an abort (ARM ARM D13.2.37, "ISS encoding for a Data Abort"). */
static const char *
abort_name(uint64_t fsc)
{
    switch (fsc & 0x3c) {
    case 0x00: return "address size fault";
    case 0x04: return "translation fault: nothing is mapped there";
    case 0x08: return "access flag fault: the entry's AF bit is clear";
    case 0x0c: return "permission fault";
    case 0x10: return "external abort: no memory or device answers there";
    case 0x14: return "external abort on a table walk: a table entry points nowhere";
    case 0x20: return "alignment fault";
    default: return "memory fault";
    }
}

static bool
is_abort(uint64_t class)
{
    return class == EC_IABORT_LOW || class == EC_IABORT || class == EC_DABORT_LOW || class == EC_DABORT;
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
        n = snprintf(text, sizeof(text), "fault: %s address 0x%lx: %s (%s)", access_name(class, frame->esr),
                     frame->far, abort_name(frame->esr), class_name(class));
    else
        n = snprintf(text, sizeof(text), "fault: %s", class_name(class));
    snprintf(text + n, sizeof(text) - (size_t)n, ", in %s+0x%lx (pc %lx)", function ? function : "?",
             offset, frame->elr);
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
        snprintf(text, sizeof(text), "fault: stack overflow in %s+0x%lx: endless recursion? (sp %lx)",
                 function ? function : "?", offset, frame->sp);
    else
        snprintf(text, sizeof(text), "fault: the stack pointer is corrupt: sp %lx, in %s+0x%lx",
                 frame->sp, function ? function : "?", offset);
    report(frame, false);
}
