/* All registers at one moment: registers.h has the structure. */

#define SP    (31 * 8)
#define NZCV  (32 * 8)
#define FPCR  (34 * 8)
#define VREGS (36 * 8)

// x2 to x30, then those that are no general registers, to the structure at \base (x0 or sp). Uses x1, x2.
.macro store_all base
    stp     x2, x3, [\base, #16]
    stp     x4, x5, [\base, #32]
    stp     x6, x7, [\base, #48]
    stp     x8, x9, [\base, #64]
    stp     x10, x11, [\base, #80]
    stp     x12, x13, [\base, #96]
    stp     x14, x15, [\base, #112]
    stp     x16, x17, [\base, #128]
    stp     x18, x19, [\base, #144]
    stp     x20, x21, [\base, #160]
    stp     x22, x23, [\base, #176]
    stp     x24, x25, [\base, #192]
    stp     x26, x27, [\base, #208]
    stp     x28, x29, [\base, #224]
    mov     x1, sp
    stp     x30, x1, [\base, #240]
    mrs     x1, nzcv
    mrs     x2, tpidr_el0
    stp     x1, x2, [\base, #NZCV]
    mrs     x1, fpcr
    mrs     x2, fpsr
    stp     x1, x2, [\base, #FPCR]
    .irp    n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
    vector_pair stp, \n, \base
    .endr
.endm

.altmacro
.macro vector_pair what, n, base
    vector_pair_of \what, \n, %(\n + 1), \base
.endm
.macro vector_pair_of what, n, next, base
    \what   q\n, q\next, [\base, #VREGS + 16 * \n]
.endm

    .section .text.start_keeping, "ax"
    .global start_keeping
start_keeping:
    stp     x0, x1, [sp, #-16]!
    adrp    x0, first_registers
    add     x0, x0, :lo12:first_registers
    store_all x0
    ldp     x1, x2, [sp], #16
    stp     x1, x2, [x0]
    mov     x1, sp
    str     x1, [x0, #SP]
    b       start

    .section .text.registers_try, "ax"
    .global registers_try
registers_try:
    // What C wants to have back: x19 to x30, d8 to d15, fpcr, and the stack.
    stp     x29, x30, [sp, #-176]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    mrs     x2, fpcr
    mov     x3, sp
    str     x2, [sp, #160]
    adrp    x4, own_stack
    str     x3, [x4, :lo12:own_stack]

    mov     sp, x1
    .irp    n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
    vector_pair ldp, \n, x0
    .endr
    ldp     x1, x2, [x0, #FPCR]
    msr     fpcr, x1
    msr     fpsr, x2
    ldp     x1, x2, [x0, #NZCV]
    msr     nzcv, x1
    msr     tpidr_el0, x2
    ldr     x30, [x0, #240]
    ldp     x28, x29, [x0, #224]
    ldp     x26, x27, [x0, #208]
    ldp     x24, x25, [x0, #192]
    ldp     x22, x23, [x0, #176]
    ldp     x20, x21, [x0, #160]
    ldp     x18, x19, [x0, #144]
    ldp     x16, x17, [x0, #128]
    ldp     x14, x15, [x0, #112]
    ldp     x12, x13, [x0, #96]
    ldp     x10, x11, [x0, #80]
    ldp     x8, x9, [x0, #64]
    ldp     x6, x7, [x0, #48]
    ldp     x4, x5, [x0, #32]
    ldp     x2, x3, [x0, #16]
    ldp     x0, x1, [x0]

1:  cbz     x17, 2f                 // changes no flags
    sub     x17, x17, #1
    b       1b
2:  svc     #0

    stp     x0, x1, [sp]
    store_all sp

    adrp    x4, own_stack
    ldr     x3, [x4, :lo12:own_stack]
    mov     sp, x3
    ldr     x2, [sp, #160]
    msr     fpcr, x2
    ldp     d14, d15, [sp, #144]
    ldp     d12, d13, [sp, #128]
    ldp     d10, d11, [sp, #112]
    ldp     d8, d9, [sp, #96]
    ldp     x27, x28, [sp, #80]
    ldp     x25, x26, [sp, #64]
    ldp     x23, x24, [sp, #48]
    ldp     x21, x22, [sp, #32]
    ldp     x19, x20, [sp, #16]
    ldp     x29, x30, [sp], #176
    ret

    .section .bss.registers, "aw", %nobits
    .balign 16
    .global first_registers
first_registers:
    .skip   VREGS + 32 * 16
own_stack:
    .skip   8
