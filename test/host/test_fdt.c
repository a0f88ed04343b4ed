/*
 * lib/fdt.c on trees that dtc compiles here and now: what is in them is found, and cut, altered and
 * lying blobs do no harm. Each blob lies in a buffer of exactly its size, so that AddressSanitizer
 * sees a byte read too many.
 */
#include "lib.h"

#include "fdt_walk.h"

#define RANGES 16

struct blob {
    uint8_t *bytes;
    size_t size;
};

/* The offsets of the fields of a blob's header that are lied about. */
enum {
    TOTALSIZE = 4,
    STRUCTURE = 8,
    STRINGS = 12,
    RESERVATIONS = 16,
    VERSION = 20,
    COMPATIBLE = 24,
    STRINGS_SIZE = 32,
    STRUCTURE_SIZE = 36,
};

static const char *directory; /* where the .dts files are */

static struct blob
copy(const uint8_t *bytes, size_t size)
{
    struct blob blob = {malloc(size), size};

    memcpy(blob.bytes, bytes, size);
    return blob;
}

static struct blob
read_blob(const char *path)
{
    uint8_t bytes[65536];
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    assert_in_range(size, 1, sizeof(bytes) - 1);
    return copy(bytes, size);
}

/* Compile a tree. The input is the name of a file in the directory, or the text of a tree. */
static struct blob
compile(const char *input)
{
    char output[] = "/tmp/test_fdt.XXXXXX", command[300];
    int fd = mkstemp(output);
    bool is_text = strchr(input, '{') != NULL;

    assert_true(fd >= 0);
    fclose(fdopen(fd, "w"));
    snprintf(command, sizeof(command), "dtc -q -I dts -O dtb -o %s %s%s%s", output,
             is_text ? "-" : directory, is_text ? "" : "/", is_text ? "" : input);
    FILE *dtc = popen(command, "w");
    assert_non_null(dtc);
    if (is_text) {
        fprintf(dtc, "/dts-v1/;\n%s", input);
    }
    assert_int_equal(pclose(dtc), 0);
    struct blob blob = read_blob(output);
    remove(output);
    return blob;
}

static uint32_t
get32(const struct blob *blob, size_t at)
{
    const uint8_t *p = blob->bytes + at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
set32(struct blob *blob, size_t at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        blob->bytes[at + (size_t)i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* Ranges that were reported, in that order. */
struct ranges {
    size_t count;
    struct {
        uint64_t base, size;
    } list[RANGES];
};

static void
take_range(void *arg, uint64_t base, uint64_t size)
{
    struct ranges *ranges = arg;

    assert_true(ranges->count < RANGES);
    ranges->list[ranges->count].base = base;
    ranges->list[ranges->count].size = size;
    ranges->count++;
}

static void
expect_range(const struct ranges *ranges, size_t i, uint64_t base, uint64_t size)
{
    assert_true(i < ranges->count);
    assert_int_equal(ranges->list[i].base, base);
    assert_int_equal(ranges->list[i].size, size);
}

static void
a_pi_is_understood(void **state)
{
    struct blob blob = compile("pi3.dts");
    struct ranges memory = {0}, reserved = {0};
    struct fdt_token token;
    uint64_t start, end;
    uint32_t value;
    struct fdt fdt;

    (void)state;
    assert_int_equal(fdt_check(&fdt, blob.bytes, blob.size), 0);
    assert_int_equal(fdt.size, blob.size);

    assert_int_equal(fdt_memory(&fdt, take_range, &memory), 0);
    assert_int_equal(memory.count, 1);
    expect_range(&memory, 0, 0, 0x3c000000);

    assert_int_equal(fdt_reserved(&fdt, take_range, &reserved), 0);
    assert_int_equal(reserved.count, 2);
    expect_range(&reserved, 0, 0, 0x1000);
    expect_range(&reserved, 1, 0x3b000000, 0x800000);

    assert_string_equal(fdt_bootargs(&fdt), "check=none seed=5 mem=16M");
    assert_int_equal(fdt_initrd(&fdt, &start, &end), 0);
    assert_int_equal(start, 0x8000000);
    assert_int_equal(end, 0x8100000);

    int serial = fdt_node(&fdt, "/soc/serial@7e215040");
    assert_true(serial > 0);
    assert_int_not_equal(fdt_node(&fdt, "/soc/serial"), serial); /* the first of them */
    assert_int_equal(fdt_node(&fdt, "/soc/serial@7e21504"), FDT_MISSING);
    assert_int_equal(fdt_node(&fdt, "/soc/seria"), FDT_MISSING);
    assert_int_equal(fdt_node(&fdt, "/serial@7e215040"), FDT_MISSING);
    assert_int_equal(fdt_node(&fdt, "/soc/serial/x"), FDT_MISSING);
    assert_string_equal(fdt_string(&fdt, serial, "status"), "okay");
    assert_int_equal(fdt_property(&fdt, serial, "reg", &token), 0);
    assert_int_equal(token.length, 8);
    assert_int_equal(fdt_u32(&fdt, serial, "reg", &value), FDT_VALUE);
    assert_int_equal(fdt_property(&fdt, serial, "re", &token), FDT_MISSING);
    assert_int_equal(fdt_property(&fdt, 4, "reg", &token), FDT_MISSING); /* no node is there */
    assert_int_equal(fdt_u32(&fdt, fdt_node(&fdt, "/"), "#address-cells", &value), 0);
    assert_int_equal(value, 1);
    assert_string_equal(fdt_string(&fdt, fdt_node(&fdt, "/"), "model"), "Raspberry Pi 3 Model B");
    free(blob.bytes);
}

static void
several_banks_with_holes(void **state)
{
    struct blob blob = compile("banks.dts");
    struct ranges memory = {0}, reserved = {0};
    uint64_t start, end;
    struct fdt fdt;

    (void)state;
    assert_int_equal(fdt_check(&fdt, blob.bytes, blob.size), 0);

    assert_int_equal(fdt_memory(&fdt, take_range, &memory), 0);
    assert_int_equal(memory.count, 3);
    expect_range(&memory, 0, 0x140000000, 0x10000000);
    expect_range(&memory, 1, 0, 0x8000000);
    expect_range(&memory, 2, 0x10000000, 0x1001);

    assert_int_equal(fdt_reserved(&fdt, take_range, &reserved), 0);
    assert_int_equal(reserved.count, 4);
    expect_range(&reserved, 0, 0x100000000, 0x10000);
    expect_range(&reserved, 1, 0x80000, 0x100000);
    expect_range(&reserved, 2, 0x1000, 0x1000);
    expect_range(&reserved, 3, 0x3000, 0x2000);

    assert_null(fdt_bootargs(&fdt));
    assert_int_equal(fdt_initrd(&fdt, &start, &end), 0);
    assert_int_equal(start, 0x148000000);
    assert_int_equal(end, 0x148000001);
    free(blob.bytes);
}

/* What fdt_memory, fdt_reserved and fdt_initrd return for a tree. */
struct lie {
    int memory;
    size_t banks; /* reported all the same */
    int reserved, initrd;
    const char *tree;
};

static void
trees_that_lie(void **state)
{
    static const struct lie lies[] = {
        /* nothing in it */
        {FDT_MISSING, 0, 0, FDT_MISSING, "/ { };"},
        {0, 0, 0, FDT_MISSING, "/ { memory@0 { device_type = \"memory\"; }; };"},
        /* the cells' usual numbers are 2 and 1 */
        {0, 1, 0, FDT_MISSING,
         "/ { memory@0 { device_type = \"memory\"; reg = <0 0 0x1000>; }; };"},
        /* cells of a number or size that cannot be */
        {FDT_VALUE, 0, 0, FDT_MISSING, "/ { #address-cells = <3>; memory { reg = <0 0 0 1>; }; };"},
        {FDT_VALUE, 0, 0, FDT_MISSING, "/ { #size-cells = <3>; memory { reg = <0 0 0 0 1>; }; };"},
        {FDT_VALUE, 0, 0, FDT_MISSING, "/ { #size-cells = <0>; memory { reg = <0 0>; }; };"},
        {FDT_VALUE, 0, 0, FDT_MISSING,
         "/ { #size-cells = <0xffffffff>; memory { reg = <0 0>; }; };"},
        {FDT_VALUE, 0, 0, FDT_MISSING, "/ { #size-cells = <1 2>; memory { reg = <0 0 1>; }; };"},
        /* half an entry */
        {FDT_VALUE, 1, 0, FDT_MISSING, "/ { memory { reg = <0 0 0x1000 0>; }; };"},
        {FDT_VALUE, 0, 0, FDT_MISSING, "/ { memory { reg = [00 00]; }; };"},
        /* a bank that wraps, or ends at 2^64; the others are still there */
        {FDT_VALUE, 1, 0, FDT_MISSING,
         "/ { #size-cells = <2>; memory { reg = <1 0 0xffffffff 0xffffffff>, <0 0 0 1>; }; };"},
        {FDT_VALUE, 1, 0, FDT_MISSING,
         "/ { #size-cells = <2>; memory { reg = <0xffffffff 0 1 0>, <0 0 0 1>; }; };"},
        {FDT_VALUE, 1, 0, FDT_MISSING,
         "/ { a { device_type = \"memory\"; reg = <1>; }; b { device_type = \"memory\"; "
         "reg = <0 0 1>; }; };"},
        /* not memory: another type; a type without its NUL; a name that is longer */
        {FDT_MISSING, 0, 0, FDT_MISSING,
         "/ { memory@0 { device_type = \"cpu\"; reg = <0 0 1>; }; };"},
        {FDT_MISSING, 0, 0, FDT_MISSING,
         "/ { x { device_type = [6d 65 6d 6f 72 79]; reg = <0 0 1>; }; };"},
        {FDT_MISSING, 0, 0, FDT_MISSING, "/ { memoryx@0 { reg = <0 0 1>; }; };"},
        /* a status without its NUL is not "okay" */
        {FDT_MISSING, 0, 0, FDT_MISSING, "/ { memory@0 { reg = <0 0 1>; status = [6f 6b]; }; };"},
        /* reservations */
        {FDT_MISSING, 0, FDT_VALUE, FDT_MISSING, "/memreserve/ 0xffffffffffffffff 2; / { };"},
        {FDT_MISSING, 0, FDT_VALUE, FDT_MISSING,
         "/ { reserved-memory { #address-cells = <0>; a { reg = <1>; }; }; };"},
        {FDT_MISSING, 0, FDT_VALUE, FDT_MISSING,
         "/ { reserved-memory { a { reg = <1>; }; b { }; }; };"},
        /* the initrd */
        {FDT_MISSING, 0, 0, FDT_MISSING, "/ { chosen { linux,initrd-start = <1>; }; };"},
        {FDT_MISSING, 0, 0, FDT_VALUE,
         "/ { chosen { linux,initrd-start = <2>; linux,initrd-end = <1>; }; };"},
        {FDT_MISSING, 0, 0, FDT_VALUE,
         "/ { chosen { linux,initrd-start = <0 0 2>; linux,initrd-end = <1>; }; };"},
        {FDT_MISSING, 0, 0, FDT_VALUE,
         "/ { chosen { linux,initrd-start = <2>; linux,initrd-end; }; };"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        const struct lie *lie = &lies[i];
        struct blob blob = compile(lie->tree);
        struct ranges memory = {0}, reserved = {0};
        uint64_t start, end;
        struct fdt fdt;

        assert_int_equal(fdt_check(&fdt, blob.bytes, blob.size), 0);
        if (fdt_memory(&fdt, take_range, &memory) != lie->memory || memory.count != lie->banks
            || fdt_reserved(&fdt, take_range, &reserved) != lie->reserved || reserved.count != 0
            || fdt_initrd(&fdt, &start, &end) != lie->initrd) {
            fail_msg("%s", lie->tree);
        }
        assert_int_equal(fdt_walk(blob.bytes, blob.size), 0);
        free(blob.bytes);
    }
}

/* Compile, put one number into the header, and see what fdt_check says. */
static void
header_lies(const char *what, size_t field, uint32_t value, int expected)
{
    struct blob blob = compile("pi3.dts");

    set32(&blob, field, value);
    int result = fdt_walk(blob.bytes, blob.size);
    if (result != expected) {
        fail_msg("%s: %d instead of %d", what, result, expected);
    }
    free(blob.bytes);
}

static void
headers_that_lie(void **state)
{
    struct blob good = compile("pi3.dts");
    uint32_t size = (uint32_t)good.size;
    struct fdt fdt;

    (void)state;
    header_lies("another magic number", 0, 0x54410001, FDT_MAGIC);
    header_lies("version 16", VERSION, 16, FDT_VERSION);
    header_lies("compatible with version 18 only", COMPATIBLE, 18, FDT_VERSION);
    header_lies("total size beyond the end", TOTALSIZE, size + 1, FDT_TRUNCATED);
    header_lies("a huge total size", TOTALSIZE, UINT32_MAX, FDT_TRUNCATED);
    header_lies("total size 0", TOTALSIZE, 0, FDT_HEADER);
    header_lies("total size less than the blocks", TOTALSIZE, 100, FDT_HEADER);
    header_lies("structure beyond the end", STRUCTURE, size + 4, FDT_HEADER);
    header_lies("structure at the end", STRUCTURE, ROUNDDOWN(size, 4), FDT_HEADER);
    header_lies("structure in the header", STRUCTURE, 36, FDT_HEADER);
    header_lies("structure not aligned", STRUCTURE, get32(&good, STRUCTURE) + 1, FDT_HEADER);
    header_lies("structure too large", STRUCTURE_SIZE, UINT32_MAX, FDT_HEADER);
    header_lies("structure that wraps", STRUCTURE_SIZE, 40 - get32(&good, STRUCTURE), FDT_HEADER);
    header_lies("structure of no bytes", STRUCTURE_SIZE, 0, FDT_TRUNCATED);
    header_lies("structure of three bytes", STRUCTURE_SIZE, 3, FDT_TRUNCATED);
    header_lies("structure one token short", STRUCTURE_SIZE, get32(&good, STRUCTURE_SIZE) - 4,
                FDT_TRUNCATED);
    header_lies("structure is the header", STRUCTURE, 40, FDT_STRUCTURE);
    header_lies("strings in the header", STRINGS, 0, FDT_HEADER);
    header_lies("strings beyond the end", STRINGS, UINT32_MAX, FDT_HEADER);
    header_lies("strings too large", STRINGS_SIZE, size, FDT_HEADER);
    header_lies("strings that wrap", STRINGS_SIZE, 40 - get32(&good, STRINGS), FDT_HEADER);
    header_lies("no strings", STRINGS_SIZE, 0, FDT_NAME);
    header_lies("the last string is cut", STRINGS_SIZE, get32(&good, STRINGS_SIZE) - 1, FDT_NAME);
    header_lies("reservations in the header", RESERVATIONS, 39, FDT_HEADER);
    header_lies("reservations beyond the end", RESERVATIONS, size + 1, FDT_HEADER);
    header_lies("reservations without an end", RESERVATIONS, size - 15, FDT_RESERVATION);
    header_lies("reservations that are cut off", RESERVATIONS, size - 7, FDT_RESERVATION);

    assert_int_equal(fdt_check(&fdt, NULL, 0), FDT_TRUNCATED);
    assert_int_equal(fdt_check(&fdt, NULL, 4096), FDT_MAGIC);
    free(good.bytes);
}

/* A blob made by hand: header, an empty list of reservations, these tokens, the string "a". */
static int
check_tokens(const uint32_t *tokens, size_t count)
{
    struct blob blob = {calloc(1, 56 + 4 * count + 2), 56 + 4 * count + 2};

    set32(&blob, 0, 0xd00dfeed);
    set32(&blob, TOTALSIZE, (uint32_t)blob.size);
    set32(&blob, STRUCTURE, 56);
    set32(&blob, STRUCTURE_SIZE, (uint32_t)(4 * count));
    set32(&blob, STRINGS, (uint32_t)blob.size - 2);
    set32(&blob, STRINGS_SIZE, 2);
    set32(&blob, RESERVATIONS, 40);
    set32(&blob, VERSION, 17);
    set32(&blob, COMPATIBLE, 16);
    for (size_t i = 0; i < count; i++) {
        set32(&blob, 56 + 4 * i, tokens[i]);
    }
    blob.bytes[blob.size - 2] = 'a';
    int result = fdt_walk(blob.bytes, blob.size);
    free(blob.bytes);
    return result;
}

#define CHECK_TOKENS(...) \
    check_tokens((const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4)

static void
structures_that_are_not_nested(void **state)
{
    (void)state;
    /* 1 name = begin a node, 2 = end it, 3 length name value = property, 4 = nop, 9 = end */
    assert_int_equal(CHECK_TOKENS(1, 0, 2, 9), 0);
    assert_int_equal(CHECK_TOKENS(4, 1, 0, 4, 2, 4, 9), 0);
    assert_int_equal(CHECK_TOKENS(1, 0, 3, 4, 0, 7, 1, 0x61000000, 3, 0, 0, 2, 3, 0, 0, 2, 9), 0);
    assert_int_equal(CHECK_TOKENS(9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(4, 4, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(2, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(1, 0, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(1, 0, 2, 2, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(1, 0, 2, 1, 0, 2, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(3, 0, 0, 1, 0, 2, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(1, 0, 2, 3, 0, 0, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(1, 0, 5, 2, 9), FDT_STRUCTURE);
    assert_int_equal(CHECK_TOKENS(1, 0, 2), FDT_TRUNCATED);
    assert_int_equal(CHECK_TOKENS(1, 0, 3, 0), FDT_TRUNCATED);
    assert_int_equal(CHECK_TOKENS(1, 0, 3, 1, 0), FDT_TRUNCATED);
    assert_int_equal(CHECK_TOKENS(1, 0, 3, 0xffffffff, 0, 2, 9), FDT_TRUNCATED);
    assert_int_equal(CHECK_TOKENS(1, 0, 3, 0xfffffff8, 0, 2, 9), FDT_TRUNCATED);
    assert_int_equal(CHECK_TOKENS(1, 0, 3, 0, 2, 2, 9), FDT_NAME);
    assert_int_equal(CHECK_TOKENS(1, 0, 3, 0, 0xffffffff, 2, 9), FDT_NAME);
    assert_int_equal(CHECK_TOKENS(1), FDT_NAME);
    assert_int_equal(CHECK_TOKENS(1, 0x61616161), FDT_NAME);
}

static void
depth_is_bounded(void **state)
{
    uint32_t tokens[3 * (FDT_DEPTH_MAX + 1) + 1];

    (void)state;
    for (size_t depth = FDT_DEPTH_MAX; depth <= FDT_DEPTH_MAX + 1; depth++) {
        size_t n = 0;
        for (size_t i = 0; i < depth; i++) {
            tokens[n++] = FDT_BEGIN_NODE;
            tokens[n++] = 0;
        }
        for (size_t i = 0; i < depth; i++) {
            tokens[n++] = FDT_END_NODE;
        }
        tokens[n++] = FDT_END;
        assert_int_equal(check_tokens(tokens, n), depth > FDT_DEPTH_MAX ? FDT_STRUCTURE : 0);
    }
}

static void
names_are_bounded(void **state)
{
    uint32_t tokens[4 + (FDT_NAME_MAX + 1) / 4];

    (void)state;
    for (size_t length = FDT_NAME_MAX - 3; length <= FDT_NAME_MAX + 1; length += 4) {
        size_t n = 0;
        tokens[n++] = FDT_BEGIN_NODE;
        for (size_t i = 0; i < length / 4; i++) {
            tokens[n++] = 0x61616161;
        }
        tokens[n++] = 0;
        tokens[n++] = FDT_END_NODE;
        tokens[n++] = FDT_END;
        assert_int_equal(check_tokens(tokens, n), length > FDT_NAME_MAX ? FDT_NAME : 0);
    }
}

/* The two trees that the next tests damage. */
static const char *const trees[] = {"pi3.dts", "banks.dts"};

static void
cut_at_every_length(void **state)
{
    (void)state;
    for (size_t t = 0; t < ARRAY_SIZE(trees); t++) {
        struct blob blob = compile(trees[t]);
        for (size_t size = 0; size < blob.size; size++) {
            struct blob cut = copy(blob.bytes, size);
            assert_int_equal(fdt_walk(cut.bytes, size), FDT_TRUNCATED);

            /* The same with a header that agrees to the cut. */
            if (size >= 40) {
                set32(&cut, TOTALSIZE, (uint32_t)size);
                assert_true(fdt_walk(cut.bytes, size) < 0);
                uint32_t strings = get32(&cut, STRINGS);
                if (strings <= size) {
                    set32(&cut, STRINGS_SIZE, (uint32_t)size - strings);
                    fdt_walk(cut.bytes, size);
                }
                uint32_t structure = get32(&cut, STRUCTURE);
                if (structure <= size) {
                    set32(&cut, STRINGS, (uint32_t)size);
                    set32(&cut, STRINGS_SIZE, 0);
                    set32(&cut, STRUCTURE_SIZE, (uint32_t)size - structure);
                    fdt_walk(cut.bytes, size);
                }
            }
            free(cut.bytes);
        }
        free(blob.bytes);
    }
}

static void
every_byte_altered(void **state)
{
    static const uint8_t flips[] = {0x01, 0x02, 0x08, 0x20, 0x80, 0xff};
    size_t accepted = 0, refused = 0;

    (void)state;
    for (size_t t = 0; t < ARRAY_SIZE(trees); t++) {
        struct blob blob = compile(trees[t]);
        for (size_t i = 0; i < blob.size; i++) {
            for (size_t f = 0; f < ARRAY_SIZE(flips); f++) {
                blob.bytes[i] ^= flips[f];
                *(fdt_walk(blob.bytes, blob.size) == 0 ? &accepted : &refused) += 1;
                blob.bytes[i] ^= flips[f];
            }
        }
        assert_int_equal(fdt_walk(blob.bytes, blob.size), 0);
        free(blob.bytes);
    }
    assert_true(accepted > 1000 && refused > 1000);
}

static void
every_word_replaced(void **state)
{
    static const uint32_t values[] = {0, 1, 2, 3, 4, 9, INT32_MAX, 1u << 31, ~3u, ~0u};

    (void)state;
    for (size_t t = 0; t < ARRAY_SIZE(trees); t++) {
        struct blob blob = compile(trees[t]);
        for (size_t i = 0; i + 4 <= blob.size; i += 4) {
            uint32_t old = get32(&blob, i);
            for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
                set32(&blob, i, values[v]);
                fdt_walk(blob.bytes, blob.size);
            }
            set32(&blob, i, old);
        }
        free(blob.bytes);
    }
}

static void
any_alignment_and_bytes_behind(void **state)
{
    struct blob blob = compile("banks.dts");

    (void)state;
    for (size_t offset = 0; offset < 16; offset++) {
        uint8_t *bytes = malloc(offset + blob.size + 5);
        memcpy(bytes + offset, blob.bytes, blob.size);
        assert_int_equal(fdt_walk(bytes + offset, blob.size + 5), 0);
        free(bytes);
    }
    free(blob.bytes);
}

static void
errors_have_words(void **state)
{
    (void)state;
    for (int error = FDT_TRUNCATED; error >= FDT_MISSING; error--) {
        assert_string_not_equal(fdt_error(error), fdt_error(0));
    }
    assert_string_equal(fdt_error(FDT_MISSING - 1), "no error");
    assert_string_equal(fdt_error(INT32_MIN), "no error");
    assert_string_equal(fdt_error(1), "no error");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pi_is_understood),
        cmocka_unit_test(several_banks_with_holes),
        cmocka_unit_test(trees_that_lie),
        cmocka_unit_test(headers_that_lie),
        cmocka_unit_test(structures_that_are_not_nested),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(cut_at_every_length),
        cmocka_unit_test(every_byte_altered),
        cmocka_unit_test(every_word_replaced),
        cmocka_unit_test(any_alignment_and_bytes_behind),
        cmocka_unit_test(errors_have_words),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: test_fdt DIRECTORY-OF-DTS-FILES\n");
        return 2;
    }
    directory = argv[1];
    return cmocka_run_group_tests_name("fdt", tests, NULL, NULL);
}
