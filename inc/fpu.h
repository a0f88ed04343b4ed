/*
 * Floating-point and vector registers. The kernel uses none, so they stay in the core while a process is in it.
 * A process has them only after it has used one since its last turn; so who uses none pays nothing. (fpu.c, fpregs.S)
 */
#ifndef INC_FPU_H
#define INC_FPU_H

#include "types.h"

struct fpu {
    uint64_t v[64]; /* V0 to V31, 128 bits each */
    uint64_t fpcr, fpsr;
};

/* The running process has tried to use one: it gets its own, and may go on. */
void fpu_use(void);

/* The running process's turn is over: keep its registers, if it has used them. */
void fpu_leave(void);

/* They are nobody's any more: access traps again, and nothing is kept. */
void fpu_drop(void);

/* fpregs.S: from the core to *fpu, and back. */
void fpu_save(struct fpu *fpu);
void fpu_load(const struct fpu *fpu);

#endif
