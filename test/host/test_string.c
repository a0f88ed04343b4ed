/*
 * lib/string.c and lib/page.c against the C library, at every alignment. Buffers are allocated at
 * their exact size, so that AddressSanitizer sees a byte read or written too many.
 */
#include "lib.h"

#define ALIGNMENTS 16
#define SIZES      200 /* beyond two turns of the fast loops, from any alignment */

static int
sign(int n)
{
    return (n > 0) - (n < 0);
}

static void
fill_counting(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(i * 7 + 1);
    }
}

static void
memset_as_in_libc(void **state)
{
    (void)state;
    for (size_t offset = 0; offset < ALIGNMENTS; offset++) {
        for (size_t n = 0; n < SIZES; n++) {
            uint8_t *a = malloc(offset + n + 1), *b = malloc(offset + n + 1);
            fill_counting(a, offset + n + 1);
            fill_counting(b, offset + n + 1);
            assert_ptr_equal(lib_memset(a + offset, 0x1a5, n), a + offset);
            memset(b + offset, 0xa5, n);
            assert_memory_equal(a, b, offset + n + 1);
            free(a);
            free(b);
        }
    }
}

static void
memcpy_as_in_libc(void **state)
{
    (void)state;
    for (size_t to = 0; to < ALIGNMENTS; to++) {
        for (size_t from = 0; from < ALIGNMENTS; from++) {
            for (size_t n = 0; n < SIZES; n++) {
                uint8_t *src = malloc(from + n), *a = malloc(to + n + 1), *b = malloc(to + n + 1);
                fill_counting(src, from + n);
                memset(a, 0xee, to + n + 1);
                memset(b, 0xee, to + n + 1);
                assert_ptr_equal(lib_memcpy(a + to, src + from, n), a + to);
                memcpy(b + to, src + from, n);
                assert_memory_equal(a, b, to + n + 1);
                free(src);
                free(a);
                free(b);
            }
        }
    }
}

static void
memmove_with_every_overlap(void **state)
{
    enum { AREA = 160 };
    uint8_t a[AREA], b[AREA];

    (void)state;
    for (size_t to = 0; to < AREA; to++) {
        for (size_t from = 0; from < AREA; from++) {
            for (size_t n = 0; n <= AREA - (to > from ? to : from); n += 1 + n / 16) {
                fill_counting(a, AREA);
                fill_counting(b, AREA);
                assert_ptr_equal(lib_memmove(a + to, a + from, n), a + to);
                memmove(b + to, b + from, n);
                if (memcmp(a, b, AREA) != 0) {
                    fail_msg("memmove(%zu, %zu, %zu)", to, from, n);
                }
            }
        }
    }
}

static void
memcmp_as_in_libc(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t n = random_below(&seed, 20);
        uint8_t *a = malloc(n), *b = malloc(n);
        for (size_t i = 0; i < n; i++) {
            a[i] = (uint8_t)random_below(&seed, 256);
            b[i] = random_below(&seed, 8) > 0 ? a[i] : (uint8_t)random_below(&seed, 256);
        }
        assert_int_equal(sign(lib_memcmp(a, b, n)), n > 0 ? sign(memcmp(a, b, n)) : 0);
        free(a);
        free(b);
    }
}

/* A string of up to 12 characters out of few, so that equal ones and prefixes are common. */
static char *
random_string(uint64_t *seed)
{
    static const char alphabet[] = "ab\x80\xff";
    size_t n = random_below(seed, 13);
    char *s = malloc(n + 1);

    for (size_t i = 0; i < n; i++) {
        s[i] = alphabet[random_below(seed, sizeof(alphabet) - 1)];
    }
    s[n] = '\0';
    return s;
}

static void
strings_as_in_libc(void **state)
{
    static const char alphabet[] = "abc\xff";
    uint64_t seed = 2;

    (void)state;
    for (int round = 0; round < 50000; round++) {
        char *a = random_string(&seed), *b = random_string(&seed);
        size_t n = random_below(&seed, 14);
        int c = (uint8_t)alphabet[random_below(&seed, sizeof(alphabet))];

        assert_int_equal(lib_strlen(a), strlen(a));
        assert_int_equal(lib_strnlen(a, n), strnlen(a, n));
        assert_int_equal(sign(lib_strcmp(a, b)), sign(strcmp(a, b)));
        assert_int_equal(sign(lib_strncmp(a, b, n)), sign(strncmp(a, b, n)));
        assert_ptr_equal(lib_strchr(a, c), strchr(a, c));
        free(a);
        free(b);
    }
}

static void
strnlen_and_strncmp_stop_at_n(void **state)
{
    static const char abc[] = {'a', 'b', 'c'}; /* no NUL; the byte behind is not ours */
    char *a = malloc(sizeof(abc)), *b = malloc(sizeof(abc));

    (void)state;
    memcpy(a, abc, sizeof(abc));
    memcpy(b, abc, sizeof(abc));
    assert_int_equal(lib_strnlen(a, 3), 3);
    assert_int_equal(lib_strncmp(a, b, 3), 0);
    free(a);
    free(b);
}

static void
strlcpy_cuts_and_terminates(void **state)
{
    (void)state;
    for (size_t size = 0; size < 8; size++) {
        char *dst = malloc(size);
        assert_int_equal(lib_strlcpy(dst, "hello", size), 5);
        if (size > 0) {
            size_t n = size - 1 < 5 ? size - 1 : 5;
            assert_int_equal(strlen(dst), n);
            assert_memory_equal(dst, "hello", n);
        }
        free(dst);
    }
}

struct number {
    const char *text;
    unsigned base;
    int result;
    uint64_t value;
    const char *rest;
};

static void
parse_u64_reads_numbers(void **state)
{
    static const struct number numbers[] = {
        {"0", 0, 0, 0, ""},
        {"5 seeds", 0, 0, 5, " seeds"},
        {"16M", 0, 0, 16, "M"},
        {"010", 0, 0, 10, ""},
        {"0x1F", 0, 0, 31, ""},
        {"0Xfg", 0, 0, 15, "g"},
        {"0x10", 10, 0, 0, "x10"},
        {"ff", 16, 0, 255, ""},
        {"zZ9", 36, 0, (35 * 36 + 35) * 36 + 9, ""},
        {"102", 2, 0, 2, "2"},
        {"18446744073709551615", 0, 0, UINT64_MAX, ""},
        {"0xffffffffffffffff", 0, 0, UINT64_MAX, ""},
        {"18446744073709551616", 0, -1, 0, ""},
        {"18446744073709551620", 0, -1, 0, ""},
        {"0x10000000000000000", 0, -1, 0, ""},
        {"", 0, -1, 0, ""},
        {"0x", 0, -1, 0, ""},
        {"x", 0, -1, 0, ""},
        {" 1", 0, -1, 0, ""},
        {"-1", 0, -1, 0, ""},
        {"2", 2, -1, 0, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct number *n = &numbers[i];
        uint64_t value = 42;
        const char *end = NULL;

        int result = parse_u64(n->text, &end, n->base, &value);
        bool right = n->result == 0 ? end != NULL && strcmp(end, n->rest) == 0 && value == n->value
                                    : end == NULL && value == 42;
        if (result != n->result || !right) {
            fail_msg("\"%s\", base %u: %d", n->text, n->base, result);
        }
        assert_int_equal(parse_u64(n->text, NULL, n->base, &value), n->result);
    }
}

static void
pages_are_filled(void **state)
{
    uint8_t *page = aligned_alloc(4096, 4096);

    (void)state;
    page_fill(page, 0x1c5);
    for (int i = 0; i < 4096; i++) {
        assert_int_equal(page[i], 0xc5);
    }
    page_zero(page);
    for (int i = 0; i < 4096; i++) {
        assert_int_equal(page[i], 0);
    }
    free(page);
}

static void
rounding_macros(void **state)
{
    static char array[64];
    const char *p = &array[1];

    (void)state;
    assert_int_equal(ROUNDUP(1, 4096), 4096);
    assert_int_equal(ROUNDUP(4096u, 4096), 4096);
    assert_int_equal(ROUNDUP(0, 8), 0);
    assert_int_equal(ROUNDUP(UINT64_MAX, 4096), 0);
    assert_int_equal(ROUNDDOWN(UINT64_MAX, 4096), UINT64_MAX - 4095);
    assert_int_equal(ROUNDDOWN((uint32_t)4097, 4096), 4096);
    assert_int_equal((uintptr_t)ROUNDUP(p, 8) % 8, 0);
    assert_true(ROUNDUP(p, 8) >= p && ROUNDUP(p, 8) < p + 8);
    assert_true(ROUNDDOWN(array, 1) == array);
    assert_int_equal(MIN(3, -4), -4);
    assert_int_equal(MAX(3, -4), 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memset_as_in_libc),
        cmocka_unit_test(memcpy_as_in_libc),
        cmocka_unit_test(memmove_with_every_overlap),
        cmocka_unit_test(memcmp_as_in_libc),
        cmocka_unit_test(strings_as_in_libc),
        cmocka_unit_test(strnlen_and_strncmp_stop_at_n),
        cmocka_unit_test(strlcpy_cuts_and_terminates),
        cmocka_unit_test(parse_u64_reads_numbers),
        cmocka_unit_test(pages_are_filled),
        cmocka_unit_test(rounding_macros),
    };

    return cmocka_run_group_tests_name("string", tests, NULL, NULL);
}
