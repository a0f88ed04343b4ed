/*
 * Formatted output. The conversions are
 *     %d %i %u %x %X      int and unsigned; with hh, h, l, ll and z the corresponding types
 *     %p                  a pointer, as 0x and hexadecimal digits
 *     %s %c %%            a string (NULL prints "(null)"), a character, a percent sign
 * each with the flags - (pad on the right) and 0 (pad with zeros), a width and a precision (the
 * least number of digits; the most characters of a string), both possibly *. Anything else after a
 * % is printed as it stands and takes no argument. There is no floating point in the kernel.
 */
#ifndef PRINTF_H
#define PRINTF_H

#include "types.h"

/*
 * Format fmt and args, handing one character after the other to put(c, arg). Returns how many there
 * were. This is what all the other functions are made of; it keeps no state of its own, takes no
 * lock, and uses a few hundred bytes of stack.
 */
int vprintfmt(void (*put)(int c, void *arg), void *arg, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));

/*
 * Format into buf, which has room for size bytes. What does not fit is dropped, and the result is
 * always NUL-terminated (unless size is 0, when buf may be NULL). Returns the length that the whole
 * text has: >= size means that it was cut.
 */
int vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
int snprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
