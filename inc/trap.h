/* Exceptions. (vectors.S, trap.c) */
#ifndef INC_TRAP_H
#define INC_TRAP_H

/* The state that vectors.S saves, in this order. */
#define TF_SIZE 288 /* a multiple of 16, as SP has to be */
#define TF_SP   248
#define TF_ELR  256

/* ESR_EL1 (ARM ARM D13.2.37): exception class in bits 31:26, class-specific syndrome in 24:0. */
#define ESR_CLASS(esr) (((esr) >> 26) & 0x3f)
#define EC_FP          0x07 /* floating point, whose use is trapped */
#define EC_SVC         0x15 /* svc in AArch64 */
#define EC_IABORT_LOW  0x20
#define EC_IABORT      0x21
#define EC_PC          0x22 /* the program counter is not aligned */
#define EC_DABORT_LOW  0x24
#define EC_DABORT      0x25
#define EC_SP          0x26 /* SP is not aligned */
#define EC_FP_TRAPPED  0x2c /* a floating-point exception */
#define EC_BREAK_LOW   0x30 /* breakpoint, step, watchpoint: 0x30 to 0x35 */
#define EC_WATCH       0x35
#define EC_BRK         0x3c

#ifndef __ASSEMBLER__
#include "types.h"

struct trap_frame {
    uint64_t x[31];
    uint64_t sp;   /* before the exception */
    uint64_t elr;  /* where it happened */
    uint64_t spsr; /* processor state there */
    uint64_t esr;  /* why: exception syndrome (ARM ARM D13.2.37) */
    uint64_t far;  /* the address that faulted, for aborts */
};

_Static_assert(sizeof(struct trap_frame) == TF_SIZE, "vectors.S and struct trap_frame differ");

/*
 * Called by vectors.S. vector: which of the sixteen entries (ARM ARM D1.10.2): 4 * (0 current EL
 * with SP_EL0, 1 current EL, 2 lower EL in AArch64, 3 in AArch32) + (0 synchronous, 1 IRQ, 2 FIQ,
 * 3 SError).
 */
void trap(struct trap_frame *frame, uint64_t vector);
#if LAB >= 5

/* Some of the vectors. */
#define VECTOR_SYNC      4
#define VECTOR_IRQ       5
#define VECTOR_USER_SYNC 8
#define VECTOR_USER_IRQ  9

/*
 * A program's exceptions come through these two, which are exercises of lab 5 (trapframe.S). sp in the frame then is
 * SP_EL0.
 */
void trap_entry(void);
void trap_return(void);

/* What is wrong, in words. (trap.c) access: "reading address 1234: permission fault (data abort)" */
size_t trap_describe(char *buf, size_t size, const struct trap_frame *frame);
#endif

/* The same when SP pointed at no kernel stack; runs on the emergency stack. */
_Noreturn void trap_bad_stack(struct trap_frame *frame, uint64_t vector);
#endif

#endif
