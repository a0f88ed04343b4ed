#include "report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "console.h"

void (*machine_explain)(void);
unsigned machine_messages;
char machine_said[200];

static char message[200];
static jmp_buf *catcher;

void
broken(const char *format, ...)
{
    va_list args;

    if (machine_explain) {
        machine_explain();
    }
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

int
cprintf(const char *format, ...)
{
    va_list args;

    machine_messages++;
    va_start(args, format);
    int n = vsnprintf(machine_said, sizeof(machine_said), format, args);
    va_end(args);
    return n;
}

_Noreturn void
panic_at(const char *file, int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (!catcher) {
        broken("panic at %s:%d: %s", file, line, message);
    }
    longjmp(*catcher, 1);
}

const char *
machine_panics(void (*fn)(void *), void *arg)
{
    jmp_buf here, *outer = catcher;

    catcher = &here;
    bool panicked = setjmp(here) != 0;
    if (!panicked) {
        fn(arg);
    }
    catcher = outer;
    return panicked ? message : NULL;
}

/* What kern/check.c has for the kernel. */
const char *
check_panics(void (*fn)(void *), void *arg)
{
    return machine_panics(fn, arg);
}
