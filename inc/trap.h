/* Exceptions. (vectors.S, trap.c) */
#ifndef INC_TRAP_H
#define INC_TRAP_H

/* The state that vectors.S saves, in this order. */
#define TF_SIZE 288 /* a multiple of 16, as SP has to be */
#define TF_SP   248
#define TF_ELR  256

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

/* The same when SP pointed at no kernel stack; runs on the emergency stack. */
_Noreturn void trap_bad_stack(struct trap_frame *frame, uint64_t vector);
#endif

#endif
