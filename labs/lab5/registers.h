/*
 * All registers at once: for the checks of what is written in assembly, and cannot be called like a function of C.
 * (registers.S, registers.c)
 */
#ifndef LABS_LAB5_REGISTERS_H
#define LABS_LAB5_REGISTERS_H

#include "types.h"

struct registers { /* offsets: registers.S */
    uint64_t x[31];
    uint64_t sp;
    uint64_t sp_el0, tpidr_el0;
    uint64_t elr, spsr, esr, far;
    uint64_t nzcv;
    uint64_t daif, tpidr_el1; /* only in what is found */
};

/*
 * Load all registers from *in, go to that piece of assembly, and come back here when somebody goes to one of the
 * pads: *out then is what the registers were there (elr to far are not filled in). Returns the pad's number. If it
 * never comes to one, this never returns: a panic does, and ends the check or check_panics.
 */
int go_context_switch(const struct registers *in, struct registers *out);
int go_trap_entry(const struct registers *in, struct registers *out);
int go_trap_return(const struct registers *in, struct registers *out);

#define PADS   32
#define PAD(n) ((uint64_t)pads + 8UL * (uint64_t)(n))
extern char pads[]; /* only the address means anything */

/* Fill all of them with random values, and nzcv with flags. sp has 16 bytes' alignment, and nothing else. */
void registers_random(struct registers *r);

/* Fail unless registers xFIRST to xLAST are found as they are wanted. why: "..., as the frame has it". */
void expect_x(const struct registers *found, const uint64_t *wanted, int first, int last,
              const char *why);

/*
 * A piece of memory that serves as a stack: aligned so that the vectors take it for one (memlayout.h). What
 * goes wrong on it needs some room, too.
 */
extern char check_stack[];

/* Fill n words with random values. */
void fill_random(void *p, size_t words);

#endif
