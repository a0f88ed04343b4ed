/*
 * Allocations that fail on purpose, so that every way out of every function that allocates can be tried. The linker
 * sends the calls of the allocators here (--wrap, in labs/lab6/build.mk).
 */
#include "failnth.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "pmm.h"

static uint64_t wanted, calls;

void
failnth_set(uint64_t n)
{
    wanted = n;
    calls = 0;
}

uint64_t
failnth_calls(void)
{
    return calls;
}

bool
failnth_happened(void)
{
    return wanted != 0 && calls >= wanted;
}

#ifdef FAILNTH
static bool
fails(void)
{
    return ++calls == wanted;
}

#define WRAP(type, name, parameter, argument)         \
    type __real_##name(parameter);                    \
    type __wrap_##name(parameter);                    \
    type __wrap_##name(parameter)                     \
    {                                                 \
        return fails() ? 0 : __real_##name(argument); \
    }

WRAP(char *, kalloc, void, )
WRAP(void *, kmalloc, size_t size, size)
WRAP(void *, kzalloc, size_t size, size)
WRAP(uint64_t, pmm_alloc, unsigned order, order)
#endif
