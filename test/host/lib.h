/*
 * For the tests themselves: cmocka, the C library under its own names, and lib's functions as
 * lib_memset and so on (see rename.h).
 */
#ifndef LIB_H
#define LIB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rename.h"

#include "page.h"
#include "printf.h"
#include "string.h"

#undef memset
#undef memcpy
#undef memmove
#undef memcmp
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strlcpy
#undef strchr
#undef snprintf
#undef vsnprintf

/* A repeatable random number below n (splitmix64). */
static inline uint64_t
random_below(uint64_t *state, uint64_t n)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

#endif
