/*
 * All registers at once. (registers.h)
 */

/* struct registers */
#define SP_AT     248
#define SP_EL0    256 /* TPIDR_EL0 */
#define ELR       272 /* SPSR */
#define ESR       288 /* FAR */
#define NZCV      304
#define DAIF      312 /* TPIDR_EL1 */

/*
 * name(x0 = in, x1 = out). What C wants to find again goes onto its stack, and where that is, into memory: nothing else
 * is left of it while the registers are someone else's.
 */
.macro go name, target
.global \name
\name:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    adrp    x9, home
    add     x9, x9, :lo12:home
    mov     x10, sp
    mrs     x11, tpidr_el1
    stp     x10, x1, [x9]
    str     x11, [x9, #16]

    mov     x30, x0
    ldr     x9, [x30, #SP_AT]
    mov     sp, x9
    ldp     x9, x10, [x30, #SP_EL0]
    msr     sp_el0, x9
    msr     tpidr_el0, x10
    ldp     x9, x10, [x30, #ELR]
    msr     elr_el1, x9
    msr     spsr_el1, x10
    ldp     x9, x10, [x30, #ESR]
    msr     esr_el1, x9
    msr     far_el1, x10
    ldr     x9, [x30, #NZCV]
    msr     nzcv, x9
    ldp     x0, x1, [x30]
    ldp     x2, x3, [x30, #16]
    ldp     x4, x5, [x30, #32]
    ldp     x6, x7, [x30, #48]
    ldp     x8, x9, [x30, #64]
    ldp     x10, x11, [x30, #80]
    ldp     x12, x13, [x30, #96]
    ldp     x14, x15, [x30, #112]
    ldp     x16, x17, [x30, #128]
    ldp     x18, x19, [x30, #144]
    ldp     x20, x21, [x30, #160]
    ldp     x22, x23, [x30, #176]
    ldp     x24, x25, [x30, #192]
    ldp     x26, x27, [x30, #208]
    ldp     x28, x29, [x30, #224]
    ldr     x30, [x30, #240]
    b       \target
.endm

.text
go go_context_switch, context_switch
go go_trap_entry, trap_entry
go go_trap_return, trap_return

/* EL0's thread registers are nobody's while a check runs; TPIDRRO_EL0 holds x30 while x30 tells which pad it was. */
.balign 8
.global pads
pads:
.rept 32
    msr     tpidrro_el0, x30
    bl      landed
.endr

landed:
    msr     elr_el1, x30
    adrp    x30, home
    add     x30, x30, :lo12:home
    ldr     x30, [x30, #8]
    stp     x0, x1, [x30]
    stp     x2, x3, [x30, #16]
    stp     x4, x5, [x30, #32]
    stp     x6, x7, [x30, #48]
    stp     x8, x9, [x30, #64]
    stp     x10, x11, [x30, #80]
    stp     x12, x13, [x30, #96]
    stp     x14, x15, [x30, #112]
    stp     x16, x17, [x30, #128]
    stp     x18, x19, [x30, #144]
    stp     x20, x21, [x30, #160]
    stp     x22, x23, [x30, #176]
    stp     x24, x25, [x30, #192]
    stp     x26, x27, [x30, #208]
    stp     x28, x29, [x30, #224]
    mrs     x0, tpidrro_el0
    mov     x1, sp
    stp     x0, x1, [x30, #240]
    mrs     x0, sp_el0
    mrs     x1, tpidr_el0
    stp     x0, x1, [x30, #SP_EL0]
    mrs     x0, nzcv
    str     x0, [x30, #NZCV]
    mrs     x0, daif
    mrs     x1, tpidr_el1
    stp     x0, x1, [x30, #DAIF]

    adrp    x9, home
    add     x9, x9, :lo12:home
    ldr     x10, [x9]
    ldr     x11, [x9, #16]
    mov     sp, x10
    msr     tpidr_el1, x11
    mrs     x0, elr_el1             /* behind the pad, each of which has 8 bytes */
    adr     x1, pads + 8
    sub     x0, x0, x1
    lsr     x0, x0, #3
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

.bss
.balign 8
home:
    .skip   24                      /* SP, out, TPIDR_EL1 */
