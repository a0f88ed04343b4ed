/* All registers that a program has, seen at one moment. (registers.S) */
#ifndef REGISTERS_H
#define REGISTERS_H

#include "types.h"

struct registers {
    uint64_t x[31], sp, nzcv, tpidr, fpcr, fpsr;
    uint64_t v[32][2];
};

/* Where a program can begin, instead of _start: keeps in first_registers what the kernel left there. */
void start_keeping(void);
extern struct registers first_registers;

/*
 * Load all registers from *in but sp, which becomes out; count x17 down to 0; svc #0; and store all registers to
 * *out. So the kernel is entered at least once, and by interrupts too if x17 is large. *out is 16-byte aligned.
 */
void registers_try(const struct registers *in, struct registers *out);

#endif
