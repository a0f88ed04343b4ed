/*
 * From a program into the kernel, and back.
 */
#include "trap.h"

.text

/*
 * A program's exception: vectors.S comes here from each of EL0's vectors. Interrupts are masked. SP is the
 * process's kernel stack, less TF_SIZE: there struct trap_frame (trap.h) has its place, and x0 and x1 have been
 * put into it already. x1 is the vector's number. All else still is as the program left it.
 *
 * Put the rest of the program's state into the frame: x2 to x30, its stack pointer (SP_EL0), and ELR, SPSR,
 * ESR and FAR of EL1. Call trap(frame, vector), which may change the frame. Then go on with trap_return.
 */
.global trap_entry
trap_entry:
#if SOL >= 5
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, sp_el0
    stp     x30, x2, [sp, #240]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [sp, #TF_ELR]
    mrs     x2, esr_el1
    mrs     x3, far_el1
    stp     x2, x3, [sp, #TF_ELR + 16]
    mov     x29, xzr                /* the kernel's calls begin here: a backtrace ends */
    mov     x0, sp
    bl      trap
    b       trap_return
#else
    /* Lab 5: your code here. */
    b       trap_entry_missing
#endif

/*
 * Into the program: a new one, or back to where it was. Interrupts are masked, and SP is at a trap frame, at the top of the
 * process's kernel stack. The program's state becomes what the frame says: x0 to x30, SP_EL0; and by eret, its
 * place (elr) and its processor state (spsr). What is above the frame is the top of the stack: there SP is to be when
 * the next exception comes.
 */
.global trap_return
trap_return:
#if SOL >= 5
    ldp     x0, x1, [sp, #TF_ELR]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x30, x0, [sp, #240]
    msr     sp_el0, x0
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    add     sp, sp, #TF_SIZE
    eret
#else
    /* Lab 5: your code here. */
    b       trap_return_missing
#endif
