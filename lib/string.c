/*
 * Memory and strings. The memory functions work in 8-byte words, eight a turn, once the pointers are
 * aligned, and never make an unaligned access: it would fault on device memory, with the MMU off,
 * and with SCTLR_EL1.A set. They are compiled with -fno-tree-loop-distribute-patterns, or the
 * compiler would recognise memset's loop and make it a call of memset.
 */
#include "string.h"

/* A word that may overlay objects of any type. */
typedef uint64_t __attribute__((may_alias)) word;

#define WORD sizeof(word)
#define TURN (8 * WORD) /* bytes done in one turn of the fast loops */

/*
 * In the kernel UBSan leaves the loops alone that a page goes through: checking every access makes
 * them six times slower, and there is nothing to find in them that the host's tests do not see. With SAN=1 the areas are looked
 * at as a whole, by who calls (kasan.c).
 */
#ifdef __aarch64__
#define UNCHECKED __attribute__((no_sanitize("undefined", "kernel-address")))
#else
#define UNCHECKED
#endif

UNCHECKED void *
memset(void *dst, int byte, size_t n)
{
    uint8_t value = (uint8_t)byte;
    uint8_t *d = dst;

    for (; n > 0 && (uintptr_t)d % WORD != 0; n--) {
        *d++ = value;
    }

    word pattern = value * 0x0101010101010101u;
    word *w = (word *)(void *)d;
    for (; n >= TURN; n -= TURN, w += 8) {
        w[0] = w[1] = w[2] = w[3] = pattern;
        w[4] = w[5] = w[6] = w[7] = pattern;
    }
    for (; n >= WORD; n -= WORD) {
        *w++ = pattern;
    }

    for (d = (uint8_t *)w; n > 0; n--) {
        *d++ = value;
    }
    return dst;
}

/*
 * Copy from the lowest address to the highest. Every byte is read before a byte at a higher address
 * is written, so that dst may overlap src from below.
 */
UNCHECKED static void
copy_up(uint8_t *d, const uint8_t *s, size_t n)
{
    if ((uintptr_t)d % WORD == (uintptr_t)s % WORD) {
        for (; n > 0 && (uintptr_t)d % WORD != 0; n--) {
            *d++ = *s++;
        }

        word *dw = (word *)(void *)d;
        const word *sw = (const word *)(const void *)s;
        for (; n >= TURN; n -= TURN, dw += 8, sw += 8) {
            word a = sw[0], b = sw[1], c = sw[2], e = sw[3];
            word f = sw[4], g = sw[5], h = sw[6], i = sw[7];
            dw[0] = a, dw[1] = b, dw[2] = c, dw[3] = e;
            dw[4] = f, dw[5] = g, dw[6] = h, dw[7] = i;
        }
        for (; n >= WORD; n -= WORD) {
            *dw++ = *sw++;
        }
        d = (uint8_t *)dw;
        s = (const uint8_t *)sw;
    }

    for (; n > 0; n--) {
        *d++ = *s++;
    }
}

/* Copy from the highest address to the lowest: dst may overlap src from above. */
UNCHECKED static void
copy_down(uint8_t *d, const uint8_t *s, size_t n)
{
    d += n;
    s += n;
    if ((uintptr_t)d % WORD == (uintptr_t)s % WORD) {
        for (; n > 0 && (uintptr_t)d % WORD != 0; n--) {
            *--d = *--s;
        }

        word *dw = (word *)(void *)d;
        const word *sw = (const word *)(const void *)s;
        for (; n >= WORD; n -= WORD) {
            *--dw = *--sw;
        }
        d = (uint8_t *)dw;
        s = (const uint8_t *)sw;
    }

    for (; n > 0; n--) {
        *--d = *--s;
    }
}

UNCHECKED void *
memcpy(void *dst, const void *src, size_t n)
{
    copy_up(dst, src, n);
    return dst;
}

UNCHECKED void *
memmove(void *dst, const void *src, size_t n)
{
    /* The distance wraps to a huge number when dst is below src, where copying upwards is right. */
    if ((uintptr_t)dst - (uintptr_t)src >= n) {
        copy_up(dst, src, n);
    } else {
        copy_down(dst, src, n);
    }
    return dst;
}

int
memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a;
    const uint8_t *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            return x[i] - y[i];
        }
    }
    return 0;
}

size_t
strlen(const char *s)
{
    size_t n = 0;

    while (s[n] != '\0') {
        n++;
    }
    return n;
}

size_t
strnlen(const char *s, size_t max)
{
    size_t n = 0;

    while (n < max && s[n] != '\0') {
        n++;
    }
    return n;
}

int
strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

int
strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) {
            return (uint8_t)a[i] - (uint8_t)b[i];
        }
        if (a[i] == '\0') {
            break;
        }
    }
    return 0;
}

size_t
strlcpy(char *dst, const char *src, size_t size)
{
    size_t length = strlen(src);

    if (size > 0) {
        size_t n = MIN(length, size - 1);
        memcpy(dst, src, n);
        dst[n] = '\0';
    }
    return length;
}

char *
strchr(const char *s, int c)
{
    for (; *s != (char)c; s++) {
        if (*s == '\0') {
            return NULL;
        }
    }
    return (char *)(uintptr_t)s; /* C's own signature takes the const away */
}

/* The value of a digit in bases up to 36; 36 when c is none. */
static unsigned
digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return (unsigned)(c - '0');
    }
    if (c >= 'a' && c <= 'z') {
        return (unsigned)(c - 'a') + 10;
    }
    if (c >= 'A' && c <= 'Z') {
        return (unsigned)(c - 'A') + 10;
    }
    return 36;
}

int
parse_u64(const char *s, const char **end, unsigned base, uint64_t *value)
{
    if (base == 0) {
        base = 10;
        if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
            base = 16;
            s += 2;
        }
    }
    if (digit_value(*s) >= base) {
        return -1;
    }

    uint64_t sum = 0;
    for (; digit_value(*s) < base; s++) {
        if (__builtin_mul_overflow(sum, (uint64_t)base, &sum)
            || __builtin_add_overflow(sum, (uint64_t)digit_value(*s), &sum)) {
            return -1;
        }
    }
    *value = sum;
    if (end != NULL) {
        *end = s;
    }
    return 0;
}
