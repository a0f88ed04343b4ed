/*
 * Formatted output: one formatter, which knows nothing about where the characters go, and snprintf
 * as one of its users (the console's cprintf is the other).
 */
#include "printf.h"
#include "string.h"

#define WIDTH_MAX 9999 /* a larger width or precision is taken as this */

/* Where the characters go. */
struct output {
    void (*put)(int c, void *arg);
    void *arg;
    int count;
};

/* One conversion: the part between the % and the final letter. */
struct spec {
    bool left;     /* '-': pad on the right */
    bool zero;     /* '0': pad with zeros, after the sign */
    int width;     /* at least so many characters */
    int precision; /* digits at least, or characters of a string at most; -1 = not given */
    int size;      /* bytes of an integer argument: 1, 2, 4 or 8 */
};

static void
emit(struct output *out, int c)
{
    out->put(c, out->arg);
    out->count++;
}

static void
emit_repeated(struct output *out, int c, int times)
{
    for (; times > 0; times--) {
        emit(out, c);
    }
}

static void
emit_text(struct output *out, const char *text, int length)
{
    for (int i = 0; i < length; i++) {
        emit(out, (uint8_t)text[i]);
    }
}

/* Print prefix (a sign, 0x or nothing), zeros and body, padded with blanks to the width. */
static void
emit_field(struct output *out, const struct spec *spec, const char *prefix, int zeros,
           const char *body, int length)
{
    int prefix_length = (int)strlen(prefix);
    int padding = spec->width - prefix_length - zeros - length;

    if (!spec->left) {
        emit_repeated(out, ' ', padding);
    }
    emit_text(out, prefix, prefix_length);
    emit_repeated(out, '0', zeros);
    emit_text(out, body, length);
    if (spec->left) {
        emit_repeated(out, ' ', padding);
    }
}

static void
emit_number(struct output *out, const struct spec *spec, const char *prefix, uint64_t value,
            unsigned base, const char *digits)
{
    char buf[20]; /* 2^64 has 20 decimal digits */
    char *end = buf + sizeof(buf);
    char *p = end;

    for (; value != 0; value /= base) {
        *--p = digits[value % base];
    }
    int length = (int)(end - p);

    /* Like C: a precision is the least number of digits (1 if none is given) and turns '0' off. */
    int least = spec->precision >= 0 ? spec->precision : 1;
    if (spec->precision < 0 && spec->zero && !spec->left) {
        least = MAX(least, spec->width - (int)strlen(prefix));
    }
    emit_field(out, spec, prefix, MAX(least - length, 0), p, length);
}

static void
emit_string(struct output *out, const struct spec *spec, const char *s)
{
    size_t max = spec->precision >= 0 ? (size_t)spec->precision : INT32_MAX;

    if (s == NULL) {
        s = "(null)";
    }
    emit_field(out, spec, "", 0, s, (int)strnlen(s, max));
}

/* Cut an integer argument to its size: the low bytes of what va_arg gave us. */
static int64_t
as_signed(int64_t value, int size)
{
    switch (size) {
    case 1:
        return (int8_t)value;
    case 2:
        return (int16_t)value;
    case 4:
        return (int32_t)value;
    default:
        return value;
    }
}

static uint64_t
as_unsigned(uint64_t value, int size)
{
    switch (size) {
    case 1:
        return (uint8_t)value;
    case 2:
        return (uint16_t)value;
    case 4:
        return (uint32_t)value;
    default:
        return value;
    }
}

/* Read decimal digits at *fmt and step over them. */
static int
parse_digits(const char **fmt)
{
    int n = 0;

    for (; **fmt >= '0' && **fmt <= '9'; (*fmt)++) {
        n = MIN(n * 10 + (**fmt - '0'), WIDTH_MAX);
    }
    return n;
}

/* A width or precision: digits, or * for the next argument (which may be negative). */
static int
parse_count(const char **fmt, va_list *args)
{
    if (**fmt != '*') {
        return parse_digits(fmt);
    }
    (*fmt)++;
    int n = va_arg(*args, int);
    return n < 0 ? MAX(n, -WIDTH_MAX) : MIN(n, WIDTH_MAX);
}

/* Read what stands between the % and the conversion letter. Returns the place of that letter. */
static const char *
parse_spec(struct spec *spec, const char *fmt, va_list *args)
{
    *spec = (struct spec){.precision = -1, .size = 4};

    for (; *fmt == '-' || *fmt == '0'; fmt++) {
        spec->left |= *fmt == '-';
        spec->zero |= *fmt == '0';
    }
    spec->width = parse_count(&fmt, args);
    if (spec->width < 0) {
        spec->left = true;
        spec->width = -spec->width;
    }
    if (*fmt == '.') {
        fmt++;
        spec->precision = parse_count(&fmt, args);
    }

    if (*fmt == 'h') {
        fmt++;
        spec->size = 2;
        if (*fmt == 'h') {
            fmt++;
            spec->size = 1;
        }
    } else if (*fmt == 'z') {
        fmt++;
        spec->size = 8;
    } else if (*fmt == 'l') {
        fmt++;
        spec->size = 8;
        if (*fmt == 'l') {
            fmt++;
        }
    }
    return fmt;
}

static void
emit_signed(struct output *out, const struct spec *spec, int64_t value)
{
    /* 0 - x in unsigned arithmetic: INT64_MIN has no positive counterpart. */
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    emit_number(out, spec, value < 0 ? "-" : "", magnitude, 10, "0123456789");
}

/* The next integer argument, sign-extended from its size. */
static int64_t
next_signed(const struct spec *spec, va_list *args)
{
    int64_t value = spec->size == 8 ? va_arg(*args, long) : va_arg(*args, int);

    return as_signed(value, spec->size);
}

static uint64_t
next_unsigned(const struct spec *spec, va_list *args)
{
    uint64_t value = spec->size == 8 ? va_arg(*args, unsigned long) : va_arg(*args, unsigned);

    return as_unsigned(value, spec->size);
}

/*
 * Print the next arguments as the conversion at fmt, just after its %, says. Returns the place
 * after it, or NULL when it is unknown, and has then printed nothing.
 */
static const char *
convert(struct output *out, const char *fmt, va_list *args)
{
    static const char lower[] = "0123456789abcdef";
    static const char upper[] = "0123456789ABCDEF";
    struct spec spec;
    char c;

    fmt = parse_spec(&spec, fmt, args);
    switch (*fmt++) {
    case 'd':
    case 'i':
        emit_signed(out, &spec, next_signed(&spec, args));
        break;
    case 'u':
        emit_number(out, &spec, "", next_unsigned(&spec, args), 10, lower);
        break;
    case 'x':
        emit_number(out, &spec, "", next_unsigned(&spec, args), 16, lower);
        break;
    case 'X':
        emit_number(out, &spec, "", next_unsigned(&spec, args), 16, upper);
        break;
    case 'p':
        emit_number(out, &spec, "0x", (uintptr_t)va_arg(*args, void *), 16, lower);
        break;
    case 's':
        emit_string(out, &spec, va_arg(*args, const char *));
        break;
    case 'c':
        c = (char)va_arg(*args, int);
        emit_field(out, &spec, "", 0, &c, 1);
        break;
    case '%':
        emit(out, '%');
        break;
    default:
        return NULL;
    }
    return fmt;
}

int
vprintfmt(void (*put)(int c, void *arg), void *arg, const char *fmt, va_list args)
{
    struct output out = {.put = put, .arg = arg};
    va_list rest;

    /* Handed on by its address: args itself may be a pointer, where a va_list is an array. */
    va_copy(rest, args);
    while (*fmt != '\0') {
        const char *next = *fmt == '%' ? convert(&out, fmt + 1, &rest) : NULL;
        if (next != NULL) {
            fmt = next;
        } else {
            emit(&out, (uint8_t)*fmt++);
        }
    }
    va_end(rest);
    return out.count;
}

/* A buffer being filled: p is the next place, and last the one kept for the NUL. */
struct buffer {
    char *p, *last;
};

static void
put_buffer(int c, void *arg)
{
    struct buffer *buffer = arg;

    if (buffer->p < buffer->last) {
        *buffer->p++ = (char)c;
    }
}

int
vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
{
    struct buffer buffer = {.p = buf, .last = size > 0 ? buf + size - 1 : buf};
    int length = vprintfmt(put_buffer, &buffer, fmt, args);

    if (size > 0) {
        *buffer.p = '\0';
    }
    return length;
}

int
snprintf(char *buf, size_t size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int length = vsnprintf(buf, size, fmt, args);
    va_end(args);
    return length;
}
