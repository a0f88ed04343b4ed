/*
 * How a mistake with memory is told, by `make SAN=1` and `make DEBUG=1`: who, what, where, and whose memory
 * it is. (mistake.c)
 */
#ifndef INC_MISTAKE_H
#define INC_MISTAKE_H

#include "types.h"

/* A place in the kernel's code, in 4 bytes: its distance from image_start; 0: none. */
typedef uint32_t code_place;

/* Where the call is that returns to this address. */
code_place place_of(const void *return_address);

/* The same as name+0x12, into text, which is returned. */
#define PLACE_SIZE 64
const char *place_text(code_place place, char text[PLACE_SIZE]);

/*
 * "3 bytes behind" and the like: where addr lies, seen from the n bytes at start. Into text, of size bytes;
 * returns how long it is.
 */
size_t distance_text(uint64_t addr, uint64_t start, size_t n, char *text, size_t size);

/* Panic with this message, and show the calls that begin at the frame record fp. */
_Noreturn void mistake(uint64_t fp, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Is it being told? What that touches itself is no matter. */
extern bool mistake_under_way;

#endif
