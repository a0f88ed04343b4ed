/* What the kernel says and hears: cprintf, line input, panic and assert. (console.c, panic.c) */
#ifndef INC_CONSOLE_H
#define INC_CONSOLE_H

#include "types.h"

void console_init(void);

/* Write one character; a '\n' goes out as "\r\n". */
void cputc(int c);

/* Formatted output to the console, with the conversions of printf.h. Returns the characters written. */
int cprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int vcprintf(const char *fmt, va_list args) __attribute__((format(printf, 1, 0)));

/*
 * Read a line into buf, at most size - 1 characters, NUL-terminated, without its end. Echoes what
 * is typed; backspace, Ctrl-U (all) and Ctrl-C (give up: an empty line) edit. Sleeps while it waits.
 */
void readline(char *buf, size_t size);

/*
 * Report that something is broken beyond repair, with the place that noticed, and a backtrace. Then
 * the monitor takes over, or in a graded run the machine is reset; a check that runs has failed.
 */
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void panic_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Panic unless the condition holds. Always compiled in. */
#define assert(condition)                              \
    do {                                               \
        if (!(condition))                              \
            panic("assertion failed: %s", #condition); \
    } while (0)

#endif
