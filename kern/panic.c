/*
 * The end of the road: panic, and the backtrace that goes with it.
 */
#include "backtrace.h"
#include "bootinfo.h"
#include "check.h"
#include "console.h"
#include "memlayout.h"
#include "monitor.h"
#include "panic.h"
#include "power.h"
#include "printf.h"
#include "uart.h"
#if LAB >= 3
#include "spinlock.h"
#endif
#if LAB >= 5
#include "proc.h"
#endif

#define DEPTH 16 /* calls that a backtrace shows */

static char text[256];
static int depth; /* reports under way: a panic inside a report ends the run */

/* The host stops the machine here (grade/). */
__attribute__((noinline)) void
panicked(const char *message)
{
    __asm__ volatile("" : : "r"(message) : "memory");
}

bool
stack_holds(uint64_t va, size_t n)
{
    uint64_t boot = (uint64_t)boot_stack, boot_top = (uint64_t)boot_stack_top;
    uint64_t emergency = (uint64_t)emergency_stack, emergency_top = (uint64_t)emergency_stack_top;

#if LAB >= 5
    uint64_t stack = current() ? (uint64_t)current()->kstack : 0;
    if (stack && va >= stack && va <= stack + STACK_SIZE - n)
        return true;
#endif
    return (va >= boot && va <= boot_top - n) || (va >= emergency && va <= emergency_top - n);
}

void
print_code_address(uint64_t pc)
{
    uint64_t offset;
    const char *name = symbol_name(pc, &offset);

    if (name)
        cprintf("    %016lx %s+0x%lx\n", pc, name, offset);
    else
        cprintf("    %016lx\n", pc);
}

void
print_backtrace(uint64_t fp)
{
    uint64_t pcs[DEPTH];
    size_t n = backtrace(fp, pcs, DEPTH);

    for (size_t i = 0; i < n && i < DEPTH; i++)
        if (pcs[i] != 0) /* the outermost record is entry.S's: nobody called it */
            print_code_address(pcs[i] - 4); /* the call, not what follows it */
    if (n == DEPTH)
        cprintf("    ...\n");
}

void
panic_begin(const char *message)
{
    panicked(message);
    depth++;
    if (depth == 2) {
        cprintf("\n%s\nThat happened while another problem was being reported: power off.\n",
                message);
        uart_drain();
    }
    if (depth > 1) /* from the third on, printing itself is what fails */
        power_off();
}

void
panic_end(const char *message)
{
    depth = 0;
    check_take_panic(message);
    if (graded()) {
        uart_drain();
        power_reset();
    }
#if LAB >= 3
    const char *held;
    if (spinlocks_reset(&held)
        > 0) /* whoever held it will not come back, and the monitor looks at things */
        cprintf("%s was locked.\n", held);
#endif
#if LAB >= 5
    proc_stopped = true; /* this thread looks at things, and no other runs any more */
#endif
    monitor();
}

void
panic_at(const char *file, int line, const char *fmt, ...)
{
    va_list args;

    __asm__ volatile("msr daifset, #2"); /* no interrupt into a broken kernel */
    int n = snprintf(text, sizeof(text), "%s:%d: ", file, line);
    va_start(args, fmt);
    vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, args);
    va_end(args);

    panic_begin(text);
    if (!check_expects_panic()) {
        cprintf("panic at %s\n  called from\n", text);
        print_backtrace((uint64_t)__builtin_frame_address(0));
    }
    panic_end(text);
}
