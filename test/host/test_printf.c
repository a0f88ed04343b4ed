/*
 * lib/printf.c against the host's snprintf: every conversion with random flags, widths, precisions
 * and arguments, into buffers of random size.
 */
#include "lib.h"

/* The formats here are made at run time; this is what is tested. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"

#define ROUNDS  200000
#define ROOM    80 /* for one conversion's whole text, and then some */
#define SECTION 24 /* for one conversion's format */

/* Call both with the same arguments (evaluated twice), and compare texts and lengths. */
#define SAME(size, ...)                                                           \
    do {                                                                          \
        char *ours = malloc(size), theirs[ROOM];                                  \
        int length = lib_snprintf(ours, size, __VA_ARGS__);                       \
        int expected = snprintf(theirs, (size) > 0 ? (size) : 1, __VA_ARGS__);    \
        if (length != expected || ((size) > 0 && strcmp(ours, theirs) != 0)) {    \
            fail_msg("format \"%s\": \"%s\" (%d) instead of \"%s\" (%d)", format, \
                     (size) > 0 ? ours : "", length, theirs, expected);           \
        }                                                                         \
        free(ours);                                                               \
    } while (0)

/* Numbers at which something may happen, and random ones. */
static uint64_t
random_number(uint64_t *seed)
{
    static const uint64_t edges[] = {0, 1, 9, 10, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff};
    uint64_t n = edges[random_below(seed, sizeof(edges) / sizeof(edges[0]))];

    switch (random_below(seed, 6)) {
    case 0:
        return n;
    case 1:
        return 0 - n;
    case 2:
        return ((uint64_t)1 << random_below(seed, 64)) - 1;
    case 3:
        return (uint64_t)1 << random_below(seed, 64);
    default:
        return (random_below(seed, UINT64_MAX)) >> random_below(seed, 64);
    }
}

/* Write % and a random width and precision, with the flags allowed. Returns the end. */
static char *
random_spec(char *p, uint64_t *seed, const char *flags, bool precision)
{
    *p++ = '%';
    for (; *flags != '\0'; flags++) {
        if (random_below(seed, 3) == 0) {
            *p++ = *flags;
        }
    }
    if (random_below(seed, 2) == 0) {
        p += sprintf(p, "%d", 1 + (int)random_below(seed, 30));
    }
    if (precision && random_below(seed, 3) == 0) {
        *p++ = '.';
        if (random_below(seed, 4) > 0) {
            p += sprintf(p, "%d", (int)random_below(seed, 30));
        }
    }
    *p = '\0';
    return p;
}

static size_t
random_size(uint64_t *seed)
{
    return random_below(seed, 3) == 0 ? random_below(seed, 20) : ROOM;
}

/* glibc's own conversions decide, so only such format strings that C defines. */
static void
integers(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        static const char *const sizes[] = {"hh", "h", "", "l", "ll", "z"};
        size_t kind = random_below(&seed, 6);
        char format[SECTION];
        sprintf(random_spec(format, &seed, "-0", true), "%s%c", sizes[kind],
                "diuxX"[random_below(&seed, 5)]);

        uint64_t n = random_number(&seed);
        size_t size = random_size(&seed);
        switch (kind) {
        case 3:
            SAME(size, format, (long)n);
            break;
        case 4:
            SAME(size, format, (long long)n);
            break;
        case 5:
            SAME(size, format, (size_t)n);
            break;
        default:
            SAME(size, format, (int)n);
            break;
        }
    }
}

static void
strings_and_characters(void **state)
{
    static const char *const strings[] = {"", "a", "kernel", "with a % sign and more than thirty"};
    uint64_t seed = 4;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        char format[SECTION];
        size_t size = random_size(&seed);

        if (random_below(&seed, 4) == 0) {
            sprintf(random_spec(format, &seed, "-", false), "c");
            int c = 1 + (int)random_below(&seed, 255);
            SAME(size, format, c);
        } else {
            sprintf(random_spec(format, &seed, "-", true), "s");
            const char *s = strings[random_below(&seed, 4)];
            SAME(size, format, s);
        }
    }
}

static void
pointers(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        char format[SECTION];
        sprintf(random_spec(format, &seed, "-", false), "p");
        size_t size = random_size(&seed);
        void *p = (void *)(uintptr_t)(random_number(&seed) | 1); /* NULL is "(nil)" there */
        SAME(size, format, p);
    }
}

static void
widths_from_arguments(void **state)
{
    (void)state;
    for (int width = -9; width < 10; width++) {
        for (int precision = -3; precision < 10; precision++) {
            const char *format = "[%*.*s|%*d|%-*.*x]";
            SAME((size_t)ROOM, format, width, precision, "kernel", width, -42, width, precision,
                 0xbeefu);
        }
    }
}

/* A string without its NUL, of which only the precision's bytes may be looked at. */
static void
precision_limits_reading(void **state)
{
    static const char abc[] = {'a', 'b', 'c'};
    char text[16], *bytes = malloc(sizeof(abc));

    (void)state;
    memcpy(bytes, abc, sizeof(abc));
    assert_int_equal(lib_snprintf(text, sizeof(text), "%.3s.", bytes), 4);
    assert_string_equal(text, "abc.");
    free(bytes);
}

static void
prints(const char *expected, const char *format, ...)
{
    char text[ROOM];
    va_list args;

    va_start(args, format);
    int length = lib_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
}

static void
what_the_hosts_printf_does_otherwise(void **state)
{
    (void)state;
    prints("-9223372036854775808", "%ld", INT64_MIN);
    prints("-2147483648", "%d", INT32_MIN);
    prints("(null)", "%s", (char *)NULL);
    prints("  (null)", "%8s", (char *)NULL);
    prints("0x0", "%p", NULL);
    prints("0xffff000000080000", "%p", (void *)0xffff000000080000);
    prints("100%", "100%%");
    prints("100%", "100%");
    prints("%q and 5", "%q and %d", 5);
    prints("%-08.3lk and 5", "%-08.3lk and %d", 5);
    prints("%l", "%l");
    prints("%5", "%5");
    prints("%+d", "%+d", 5);
}

static int
length_of(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int length = lib_vsnprintf(NULL, 0, format, args);
    va_end(args);
    return length;
}

static void
a_huge_width_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(length_of("%99999999999999999999d", 1), 9999);
    assert_int_equal(length_of("%.99999999999999999999d", 1), 9999);
    assert_int_equal(length_of("%*d", INT32_MIN, 1), 9999);
    assert_int_equal(length_of("%*d", INT32_MAX, 1), 9999);
}

static void
collect(int c, void *arg)
{
    char **p = arg;
    *(*p)++ = (char)c;
}

static void
format_into(char *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int length = vprintfmt(collect, &text, format, args);
    *text = '\0';
    assert_int_equal(length, 7);
    /* The caller's list is still where it was: vprintfmt works on a copy. */
    assert_int_equal(va_arg(args, int), 12);
    va_end(args);
}

static void
characters_are_handed_to_put(void **state)
{
    char text[ROOM];

    (void)state;
    format_into(text, "%d, \xff%s\n", 12, "!");
    assert_string_equal(text, "12, \xff!\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(strings_and_characters),
        cmocka_unit_test(pointers),
        cmocka_unit_test(widths_from_arguments),
        cmocka_unit_test(precision_limits_reading),
        cmocka_unit_test(what_the_hosts_printf_does_otherwise),
        cmocka_unit_test(a_huge_width_is_bounded),
        cmocka_unit_test(characters_are_handed_to_put),
    };

    return cmocka_run_group_tests_name("printf", tests, NULL, NULL);
}
