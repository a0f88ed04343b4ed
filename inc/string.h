/*
 * Memory and strings: the C library's names and meanings, as far as the kernel needs them. The
 * compiler itself emits calls to memset, memcpy, memmove and memcmp, so these four must exist.
 */
#ifndef STRING_H
#define STRING_H

#include "types.h"

/* Set n bytes at dst to (unsigned char)byte. Returns dst. */
void *memset(void *dst, int byte, size_t n);

/* Copy n bytes. The areas must not overlap (memmove allows it). Returns dst. */
void *memcpy(void *dst, const void *src, size_t n);

/* Copy n bytes; the areas may overlap. Returns dst. */
void *memmove(void *dst, const void *src, size_t n);

/* Compare n bytes: < 0, 0 or > 0, as the first bytes that differ do, taken as unsigned. */
int memcmp(const void *a, const void *b, size_t n);

/* The length of a string without its NUL. */
size_t strlen(const char *s);

/* The same, but never looks beyond the first max bytes: max when there is no NUL in them. */
size_t strnlen(const char *s, size_t max);

/* Compare two strings: < 0, 0 or > 0; strncmp looks at the first n bytes at most. */
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/*
 * Copy src to dst, which has room for size bytes: what does not fit is cut off, and dst is always
 * NUL-terminated (unless size is 0). Returns the length of src: >= size means that it was cut.
 */
size_t strlcpy(char *dst, const char *src, size_t size);

/* The first c in s (c may be 0: the end of s), or NULL. */
char *strchr(const char *s, int c);

/*
 * Read an unsigned number at the start of s. base is 2 to 36, or 0: hexadecimal after 0x, else
 * decimal. No blanks and no sign are skipped. Returns 0, the number in *value and, unless end is
 * NULL, the place after its last digit in *end. Returns -1, with nothing written, when there is no
 * digit or the number does not fit in 64 bits.
 */
int parse_u64(const char *s, const char **end, unsigned base, uint64_t *value);

#if defined(SAN) && !defined(UNWATCHED)
#include "kasan.h"
#define memset  kasan_memset
#define memcpy  kasan_memcpy
#define memmove kasan_memmove
#endif

#endif
