/*
 * The step into translated addresses, and the vectors until then.
 */
#include "memlayout.h"
#include "mmu.h"
#include "sysreg.h"

.section .text.boot, "ax"

/*
 * mmu_enable(x0 = root, x1 = empty root, x2 = firmware)
 *
 * The kernel's linear map has the same table indexes in both halves (KERNBASE is all ones above bit
 * 47), so for the few instructions around the switch one root serves both: TTBR1 for good, TTBR0 as
 * the identity map under our feet.
 */
.global mmu_enable
mmu_enable:
    /*
     * BSS, stack and tables were written with the data cache off, straight to memory. A line that
     * the firmware or a speculative fetch left in the cache must not hide them later: drop it.
     * (Nothing in this range has ever been written through the cache.)
     */
    mrs     x3, ctr_el0             /* DminLine, bits 19:16: log2 of the line in words */
    ubfx    x3, x3, #16, #4
    mov     x4, #4
    lsl     x4, x4, x3
    adrp    x5, bss_start           /* the line of bss_start may hold the end of .data: unmodified */
    add     x5, x5, :lo12:bss_start
    sub     x6, x4, #1
    bic     x5, x5, x6
    adrp    x6, end
    add     x6, x6, :lo12:end
1:  dc      ivac, x5
    add     x5, x5, x4
    cmp     x5, x6
    b.lo    1b

    ic      iallu                   /* instructions fetched before the image was loaded */
    tlbi    vmalle1                 /* translations left by an earlier stage */
    dsb     sy                      /* table writes and the three above, before the walker looks */
    isb

    ldr     x3, =MAIR_EL1_VALUE
    msr     mair_el1, x3
    ldr     x3, =TCR_EL1_VALUE
    mrs     x4, id_aa64mmfr0_el1    /* PARange: as many physical address bits as the core has */
    and     x4, x4, #0xf
    orr     x3, x3, x4, lsl #TCR_IPS_SHIFT
#if LAB >= 5
    mrs     x4, id_aa64mmfr0_el1    /* ASIDBits: 2 stands for 16 bits (asid.c) */
    ubfx    x4, x4, #5, #1
    orr     x3, x3, x4, lsl #TCR_AS_SHIFT
#endif
    msr     tcr_el1, x3
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x0
    msr     cpacr_el1, xzr          /* floating point is trapped: the kernel uses none */
    msr     mdscr_el1, xzr          /* no self-hosted debug exceptions, no EL0 access to them */
    msr     cntkctl_el1, xzr        /* EL0 may not read or set timers */
#if LAB >= 5
    msr     tpidr_el1, xzr          /* no thread yet (proc.h) */
#endif
    isb                             /* these registers before the switch */

    ldr     x3, =SCTLR_EL1_VALUE
    msr     sctlr_el1, x3
    isb                             /* from the next instruction on, addresses are translated */

    ldr     x3, =1f                 /* the linker's address of the next line: the upper half */
    br      x3
1:
    msr     ttbr0_el1, x1
    isb                             /* no walk through the identity map after this ... */
    tlbi    vmalle1                 /* ... and none of its (global) entries left */
    dsb     nsh
    isb

    ldr     x3, =vectors
    msr     vbar_el1, x3
    isb
    ldr     x3, =boot_stack_top
    mov     sp, x3
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x2
    b       main

/* Sixteen times the same: there is no MMU, no console and perhaps no stack yet. */
.balign 2048
.global boot_vectors
boot_vectors:
.rept 16
    adrp    x0, emergency_stack_top
    mov     sp, x0
    b       boot_exception
    .balign 128
.endr
