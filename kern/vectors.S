/*
 * The exception vectors (ARM ARM D1.10.2): sixteen entries of 128 bytes. Each saves the registers as
 * a struct trap_frame on the stack and calls trap(frame, vector).
 *
 * Before the first push SP has to be worth something, or the push itself would fault, for ever.
 * Kernel stacks are aligned to twice their size (memlayout.h), so bit STACK_SHIFT is 0 in every
 * address of a stack and 1 just below it. To test that bit without a free register, SP and x0 are
 * swapped by sums and differences.
 */
#include "memlayout.h"
#include "trap.h"

.macro entry vector
    .balign 128
    sub     sp, sp, #TF_SIZE
    add     sp, sp, x0              /* sp = s + x0 */
    sub     x0, sp, x0              /* x0 = s */
    tbnz    x0, #STACK_SHIFT, 1f
    sub     x0, sp, x0              /* x0 = its old value */
    sub     sp, sp, x0              /* sp = s */
    stp     x0, x1, [sp]
    mov     x1, #\vector
#if LAB >= 5
    .if \vector >= 8 && \vector < 12
    b       trap_entry              /* EL0's: trapframe.S */
    .endif
#endif
    b       save
1:
    /* The stack is gone, and with it whatever ran on it: EL0's thread registers are free to use. */
    msr     tpidr_el0, x0           /* s */
    sub     x0, sp, x0
    msr     tpidrro_el0, x0         /* x0 */
    adrp    x0, emergency_stack_top
    mov     sp, x0
    sub     sp, sp, #TF_SIZE
    mrs     x0, tpidrro_el0
    stp     x0, x1, [sp]
    mov     x1, #\vector
    b       save_bad
.endm

.macro save_registers
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
    str     x30, [sp, #240]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [sp, #TF_ELR]
    mrs     x2, esr_el1
    mrs     x3, far_el1
    stp     x2, x3, [sp, #TF_ELR + 16]
.endm

.text
.balign 2048
.global vectors
vectors:
.altmacro
.set n, 0
.rept 16
    entry   %n
    .set n, n + 1
.endr

.balign 128
save:
    save_registers
    add     x2, sp, #TF_SIZE
    str     x2, [sp, #TF_SP]
    mov     x0, sp
    bl      trap
#if LAB >= 5
    /*
     * It returns from an interrupt, and from a fault that has a fixup. x19 to x29 are as they were, as C has
     * kept them.
     */
    ldp     x0, x1, [sp, #TF_ELR]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldr     x18, [sp, #144]
    ldr     x30, [sp, #240]
    add     sp, sp, #TF_SIZE
    eret
#else
    b       .                       /* trap does not return before lab 5 */
#endif

save_bad:
    save_registers
    mrs     x2, tpidr_el0
    add     x2, x2, #TF_SIZE
    str     x2, [sp, #TF_SP]
    mov     x0, sp
    bl      trap_bad_stack
