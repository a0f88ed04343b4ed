/*
 * The first instructions of Bramble: from wherever the firmware left core 0 to EL1, with a stack and
 * a cleared BSS, and on into C (boot_start in boot.c).
 *
 * The MMU is off: addresses are physical, so everything here is found relative to the program
 * counter (adr, adrp). x0 holds the firmware's gift, the address of a device tree or of ATAGs; it
 * travels in x19.
 */
#include "sysreg.h"

.section .text.boot, "ax"

.global _start
_start:
    msr     daifset, #0xf           /* no interrupts until there is somebody to take them */
    mov     x19, x0

    mrs     x0, mpidr_el1           /* core number in bits 7:0; only core 0 boots */
    and     x0, x0, #0xff
    cbnz    x0, secondary_start

    mrs     x0, CurrentEL
    cmp     x0, #CURRENTEL(3)
    b.ne    1f
    bl      el3_to_el2
1:
    mrs     x0, CurrentEL
    cmp     x0, #CURRENTEL(2)
    b.ne    2f
    bl      el2_prepare
    bl      el2_to_el1
2:
    adrp    x0, boot_vectors        /* a fault from here on is reported, not looped on */
    add     x0, x0, :lo12:boot_vectors
    msr     vbar_el1, x0
    isb                             /* the new VBAR before anything that can fault */

    adrp    x0, boot_stack_top      /* page-aligned by linker.ld */
    mov     sp, x0
    bl      clear_bss

    mov     x0, x19
    mov     x29, xzr                /* the end of every backtrace */
    mov     x30, xzr
    b       boot_start

/*
 * Cores 1 to 3 wait here. The firmware's stub holds them on a spin table and main() sends them on
 * (cores_collect in cores.c); they arrive at EL2 with interrupts masked. Loaded as an ELF file, QEMU
 * starts them at _start instead.
 */
.global secondary_start
secondary_start:
    msr     daifset, #0xf
1:  wfi
    b       1b

/* EL3 to EL2, for a board whose firmware leaves us at EL3. Returns, at EL2, to its caller. */
el3_to_el2:
    mov     x0, #SCR_EL3_VALUE
    msr     scr_el3, x0
    mrs     x0, S3_1_C15_C2_1       /* CPUECTLR_EL1: take part in coherency before caches go on */
    orr     x0, x0, #CPUECTLR_SMPEN
    msr     S3_1_C15_C2_1, x0
    mrs     x0, cntfrq_el0
    cbnz    x0, 1f
    ldr     w0, =BOARD_CNTFRQ
    msr     cntfrq_el0, x0
1:
    mov     x0, #SPSR_EL2H_MASKED
    msr     spsr_el3, x0
    msr     elr_el3, x30
    eret

/* What EL2 controls on EL1's behalf, set to "do not interfere". Most of it is unknown at reset. */
el2_prepare:
    adrp    x0, boot_vectors
    add     x0, x0, :lo12:boot_vectors
    msr     vbar_el2, x0
    mrs     x0, cnthctl_el2         /* EL1 may use the physical timer and counter ... */
    orr     x0, x0, #CNTHCTL_EL2_EL1
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr        /* ... and the virtual counter shows the same time */
    mov     x0, #CPTR_EL2_VALUE     /* no trap on floating point */
    msr     cptr_el2, x0
    msr     hstr_el2, xzr           /* no trap on AArch32 coprocessors */
    msr     vttbr_el2, xzr          /* no stage 2 tables */
    msr     hcr_el2, xzr            /* no traps; QEMU has set RW already, a board may not have */
    mrs     x0, pmcr_el0            /* all event counters belong to EL1: MDCR_EL2.HPMN = PMCR.N */
    ubfx    x0, x0, #11, #5
    msr     mdcr_el2, x0
    mrs     x0, midr_el1            /* EL1 reads the core's true identity */
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    ldr     w0, =SCTLR_RES1         /* EL1 starts with MMU and caches off */
    msr     sctlr_el1, x0
    isb                             /* all of it before the drop */
    ret

/*
 * Drop from EL2 to EL1 and return to the caller there, in AArch64 state, on EL1's own stack pointer,
 * with D, A, I and F masked. No stack is set up yet.
 */
el2_to_el1:
#if SOL >= 1
    ldr     w0, =HCR_EL2_RW
    msr     hcr_el2, x0
    mov     x0, #SPSR_EL1H_MASKED
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret
#else
    /* Lab 1: your code here. */
    ret
#endif

/*
 * Set every byte of [bss_start, bss_end) to zero; both are 16-byte aligned. C relies on it, and a
 * board's RAM holds garbage at power-on. May use x0 to x18.
 */
clear_bss:
#if SOL >= 1
    adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, bss_end
    add     x1, x1, :lo12:bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  ret
#else
    /* Lab 1: your code here. */
    ret
#endif
