/* Output. Characters are collected in a buffer on the stack and written together. */
#include "libc.h"

struct line {
    char text[256];
    size_t length;
};

static void
flush(struct line *line)
{
    size_t done = 0;

    while (done < line->length) {
        long n = write(1, line->text + done, line->length - done);
        if (n <= 0)
            break; /* nobody is there to hear of it */
        done += (size_t)n;
    }
    line->length = 0;
}

static void
put(int c, void *arg)
{
    struct line *line = arg;

    if (line->length == sizeof(line->text))
        flush(line);
    line->text[line->length++] = (char)c;
}

__attribute__((format(printf, 1, 0))) static int
print(const char *fmt, va_list args)
{
    struct line line;

    line.length = 0;
    int n = vprintfmt(put, &line, fmt, args);
    flush(&line);
    return n;
}

int
printf(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = print(fmt, args);
    va_end(args);
    return n;
}

int
puts(const char *s)
{
    return printf("%s\n", s);
}

void
fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    print(fmt, args);
    va_end(args);
    exit(1);
}

uint64_t
number(const char *text)
{
    const char *end;
    uint64_t value;

    if (parse_u64(text, &end, 0, &value) < 0 || *end != '\0')
        fail("%s is not a number\n", text);
    return value;
}
