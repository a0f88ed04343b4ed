#include "attack.h"

/* Instructions that are not EL0's, or not this core's. */

#define RUNS(name, what, status, text) \
    ATTACK(name, what, status)         \
    {                                  \
        __asm__ volatile(text);        \
    }
#define RUNS_HERE(name, what, status, text) \
    ATTACK_HERE(name, what, status)         \
    {                                       \
        __asm__ volatile(text);             \
    }
#define ON_DATA(name, what, status, text)         \
    ATTACK(name, what, status)                    \
    {                                             \
        __asm__ volatile(text : : "r"(own_data)); \
    }
#define ON_DATA_HERE(name, what, status, text)    \
    ATTACK_HERE(name, what, status)               \
    {                                             \
        __asm__ volatile(text : : "r"(own_data)); \
    }

static char own_data[64] __attribute__((aligned(64)));

RUNS(undefined, "executes an instruction that does not exist", ILL, "udf #0")
RUNS(ptrue, "executes an instruction of later cores", ILL, ".inst 0x2518e3e0")
RUNS(ldadd, "executes an atomic addition of later cores", ILL, ".inst 0xf8200000")
RUNS(breakpoint, "executes brk #0", TRAP, "brk #0")
RUNS(breakpoint_any, "executes brk #0xffff", TRAP, "brk #0xffff")
RUNS(eret, "returns from an exception", ILL, "eret")
RUNS(hvc, "calls a hypervisor", ILL, "hvc #0")
RUNS(smc, "calls the secure monitor", ILL, "smc #0")
RUNS(hlt, "halts for a debugger", ILL, "hlt #1")
RUNS(dcps1, "enters EL1 as a debugger would", ILL, "dcps1")
RUNS(drps, "leaves debug state", ILL, "drps")
RUNS(daifset, "masks interrupts", ILL, "msr daifset, #15")
RUNS(daifclr, "opens interrupts", ILL, "msr daifclr, #15")
RUNS(spsel_1, "changes to the kernel's stack pointer", ILL, "msr spsel, #1")
RUNS(pan_0, "lets the kernel reach user memory", ILL, ".inst 0xd500409f") /* msr pan, #0 */
RUNS(tlbi_all, "empties the TLB", ILL, "tlbi vmalle1is")
RUNS(ic_all, "empties the instruction cache", ILL, "ic iallu")
ON_DATA(tlbi_page, "takes a page out of the TLB", ILL, "tlbi vaae1is, %0")
ON_DATA(dc_set, "invalidates a set of the data cache", ILL, "dc isw, %0")
ON_DATA(dc_invalidate, "invalidates a line of the data cache", ILL, "dc ivac, %0")
ON_DATA(at_kernel, "asks how the kernel's addresses are translated", ILL, "at s1e1r, %0")
RUNS(hints, "executes hints that are allowed", 0,
     "nop\n\tyield\n\tsev\n\tsevl\n\tisb\n\tdsb sy\n\tclrex")

/* On a board: ILL. To QEMU it is like a nop, and Linux allows it. */
RUNS(wfe, "stops the core until an event", 0, "sev\n\twfe")

/* Linux allows these. */
RUNS_HERE(wfi, "stops the core", ILL, "wfi")
ON_DATA_HERE(dc_zero, "zeroes a line", ILL, "dc zva, %0")
ON_DATA_HERE(dc_clean, "cleans a line of the data cache", ILL, "dc cvac, %0")
ON_DATA_HERE(dc_flush, "cleans and invalidates a line", ILL, "dc civac, %0")
ON_DATA_HERE(ic_line, "invalidates a line of the instruction cache", ILL, "ic ivau, %0")
