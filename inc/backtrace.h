/* Who called whom. (backtrace.c, symbols.c) */
#ifndef INC_BACKTRACE_H
#define INC_BACKTRACE_H

#include "types.h"

/*
 * What every function built with -fno-omit-frame-pointer keeps at its frame pointer x29: the frame
 * record (AAPCS64 §6.4.6). The caller's record lies above, towards the stack's base.
 */
struct frame {
    uint64_t fp; /* the caller's frame record; 0 at the outermost call */
    uint64_t lr; /* where this function returns to */
};

/*
 * Follow the frame records from fp and store the return address of each in pcs[0], pcs[1], ..., the
 * innermost call first, at most max of them. Stops before a record that is not valid: fp is 0, not
 * 16-byte aligned, not wholly on a kernel stack (stack_holds), or not above the one before; nothing
 * is read from such a place. Returns how many were stored.
 */
size_t backtrace(uint64_t fp, uint64_t pcs[], size_t max);

/* Do the n bytes at va lie on the boot stack or on the emergency stack? (panic.c) */
bool stack_holds(uint64_t va, size_t n);

/*
 * The function that holds the code address pc: its name, and in *offset how far pc is into it. NULL
 * when pc is not in the kernel's text. (symbols.c; the table is made by the Makefile with nm)
 */
const char *symbol_name(uint64_t pc, uint64_t *offset);

#endif
