/*
 * Values of system registers, for C and assembly. ARM ARM = Arm Architecture Reference Manual
 * DDI 0487 (issue G.a), chapter D13; A53 TRM = Cortex-A53 Technical Reference Manual DDI 0500.
 */
#ifndef INC_SYSREG_H
#define INC_SYSREG_H

/* CurrentEL (C5.2.1): the exception level in bits 3:2. */
#define CURRENTEL(el) ((el) << 2)

/* SCR_EL3 (D13.2.117): RW (EL2 is AArch64), HCE (hvc works), NS, and the RES1 bits 5:4. */
#define SCR_EL3_VALUE 0x531

/* HCR_EL2 (D13.2.48): RW = EL1 is AArch64; nothing is trapped, stage 2 is off. */
#define HCR_EL2_RW (1 << 31)

/* CPTR_EL2 (D13.2.31): the RES1 bits; TFP and TCPAC clear, so floating point is not trapped to EL2. */
#define CPTR_EL2_VALUE 0x33ff

/* CNTHCTL_EL2 (D13.8.2): EL1PCTEN, EL1PCEN: EL1 may use the physical timer. */
#define CNTHCTL_EL2_EL1 0x3

/* SPSR (C5.2.18): return to EL1 with its own stack pointer; D, A, I and F masked. */
#define SPSR_EL1H_MASKED 0x3c5
#define SPSR_EL2H_MASKED 0x3c9
#if LAB >= 5
#define SPSR_EL0 0 /* to EL0 in AArch64, nothing masked, NZCV clear */
#endif

/* SCTLR_EL1 (D13.2.118). */
#define SCTLR_RES1 0x30d00800 /* MMU and caches off, little-endian */
#define SCTLR_M    (1 << 0)   /* MMU on */
#define SCTLR_C    (1 << 2)   /* data cache on */
#define SCTLR_SA   (1 << 3)   /* SP must be 16-byte aligned at EL1 ... */
#define SCTLR_SA0  (1 << 4)   /* ... and at EL0 */
#define SCTLR_I    (1 << 12)  /* instruction cache on */
/* UMA, DZE, UCT, nTWI, nTWE, UCI stay 0: EL0 may not mask interrupts, zero or clean lines, or idle. */
#define SCTLR_EL1_VALUE (SCTLR_RES1 | SCTLR_M | SCTLR_C | SCTLR_SA | SCTLR_SA0 | SCTLR_I)

/*
 * TCR_EL1 (D13.2.131), IPS aside: T0SZ = T1SZ = 16 (48-bit halves), both walked with write-back,
 * inner-shareable accesses, 4 KiB granule on both sides (TG0 = 0, TG1 = 2).
 */
#define TCR_WALK      ((1 << 0) | (1 << 2) | (3 << 4)) /* IRGN, ORGN, SH */
#define TCR_EL1_VALUE ((16 << 0) | (16 << 16) | (TCR_WALK << 8) | (TCR_WALK << 24) | (2 << 30))
#define TCR_IPS_SHIFT 32
#if LAB >= 5
#define TCR_AS_SHIFT 36 /* ASIDs have 16 bits, not 8 */
#endif

#if LAB >= 5
/* CPACR_EL1 (D13.2.30), FPEN: EL1 and EL0 may use floating-point registers. */
#define CPACR_FPEN (3 << 20)

#endif
/*
 * MAIR_EL1 (D13.2.97), a byte for each memory type of mmu.h: MT_NORMAL is write-back with read and
 * write allocation, MT_DEVICE is Device-nGnRE.
 */
#define MAIR_EL1_VALUE 0x04ff

/* CPUECTLR_EL1 (A53 TRM 4.3.82), S3_1_C15_C2_1: SMPEN, needed before caches go on. */
#define CPUECTLR_SMPEN (1 << 6)

/* The board's crystal; only for a boot at EL3, where no firmware has set CNTFRQ_EL0. */
#define BOARD_CNTFRQ 19200000

#ifndef __ASSEMBLER__
#include "types.h"

#define read_sysreg(reg)                                  \
    ({                                                    \
        uint64_t value_;                                  \
        __asm__ volatile("mrs %0, " #reg : "=r"(value_)); \
        value_;                                           \
    })
#define write_sysreg(reg, value) __asm__ volatile("msr " #reg ", %0" : : "r"((uint64_t)(value)))
#endif

#endif
