/* The parts of a panic, for those who print a report of their own. (panic.c) */
#ifndef INC_PANIC_H
#define INC_PANIC_H

#include "types.h"

/*
 * A report is about to be printed; message says what happened and stays valid until panic_end. A
 * second call before that powers the machine off. Tells the host (see panicked).
 */
void panic_begin(const char *message);

/* The report is printed: fail the running check, reset a graded machine, or enter the monitor. */
_Noreturn void panic_end(const char *message);

/* Where the host sets its breakpoint; does nothing. */
void panicked(const char *message);

/* Print the calls whose frame records begin at fp, and one code address with its function's name. */
void print_backtrace(uint64_t fp);
void print_code_address(uint64_t pc);

#endif
