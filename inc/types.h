/*
 * Basic types and the few macros that every file needs. The fixed-width types are the compiler's
 * own (freestanding headers). uint64_t is an unsigned long here: print it with %lu or %lx.
 */
#ifndef TYPES_H
#define TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(sizeof(long) == 8 && sizeof(void *) == 8, "longs and pointers have 64 bits");

/* clang-format off */ /* it would take (n) - 1 for a cast */

/*
 * a (an integer or a pointer) rounded up or down to a multiple of n. n is a power of two and is
 * evaluated twice. The result has a's own type; an array counts as a pointer to its first element.
 * ROUNDUP wraps to 0 when there is no such multiple below 2^64.
 */
#define ROUNDDOWN(a, n) ((__typeof__((void)0, (a)))((uint64_t)(a) & ~((uint64_t)(n) - 1)))
#define ROUNDUP(a, n) \
    ((__typeof__((void)0, (a)))(((uint64_t)(a) + (uint64_t)(n) - 1) & ~((uint64_t)(n) - 1)))

/* The smaller and the larger of two values of the same type; each is evaluated twice. */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* How many elements an array has (a real array, not a pointer). */
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* The structure of the given type whose member is at ptr. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* clang-format on */

#endif
