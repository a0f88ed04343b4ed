/*
 * kern/elf.c: files that are malformed in every way, each made of a good one, and the reason against it. With a word
 * as argument, the program writes a file for fuzz_elf to start from instead.
 */
#include "lib.h"

#include "elf_file.h"

#include "memlayout.h"

#define LIMIT 0x3ffef000u

/* What is changed in the good file: so many bytes of a field. */
struct change {
    size_t at, size;
    uint64_t value;
};

/* Of the file's header; of program header i. */
#define H(field, number)                                                         \
    {                                                                            \
        offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)NULL)->field), number \
    }
#define ID(i, number) \
    {                 \
        i, 1, number  \
    }
#define P(i, field, number)                                                          \
    {                                                                                \
        sizeof(Elf64_Ehdr) + (i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, field), \
            sizeof(((Elf64_Phdr *)NULL)->field), number                              \
    }

struct row {
    const char *what;
    struct change change[4];
    const char *why; /* NULL: it is still a good file */
};

#define IN_FILE  "a segment is not in the file"
#define IN_USER  "a segment is not in user memory"
#define PLACE    "a segment is not at the same place of a page in file and memory"
#define ALIGNED  "a segment is not aligned as it says"
#define OVERLAP  "segments overlap, share a page, or are not in order"
#define HEADERS  "the program headers are not in the file"
#define ENTRY    "it begins where nothing can be executed"
#define MORE     "a segment has more in the file than in memory"
#define VERSION  "of an unknown version"
#define NO_FLAGS 0

static const struct row rows[] = {
    {"nothing", {{0}}, NULL},

    {"first byte", {ID(0, 0x7e)}, "not an ELF file"},
    {"second byte", {ID(1, 'e')}, "not an ELF file"},
    {"third byte", {ID(2, 0)}, "not an ELF file"},
    {"fourth byte", {ID(3, 'G')}, "not an ELF file"},
    {"32 bits", {ID(EI_CLASS, ELFCLASS32)}, "not for 64 bits"},
    {"no class", {ID(EI_CLASS, 0)}, "not for 64 bits"},
    {"big-endian", {ID(EI_DATA, ELFDATA2MSB)}, "not little-endian"},
    {"ident's version", {ID(EI_VERSION, 2)}, VERSION},
    {"version", {H(e_version, 0)}, VERSION},
    {"version in another byte", {H(e_version, 0x101)}, VERSION},
    {"FreeBSD", {ID(EI_OSABI, ELFOSABI_FREEBSD)}, "for another system"},
    {"standalone", {ID(EI_OSABI, 255)}, "for another system"},
    {"Linux", {ID(EI_OSABI, ELFOSABI_LINUX)}, NULL},
    {"padding", {ID(EI_PAD, 1)}, NULL},
    {"x86", {H(e_machine, EM_X86_64)}, "not for AArch64"},
    {"AArch32", {H(e_machine, EM_ARM)}, "not for AArch64"},
    {"shared object",
     {H(e_type, ET_DYN)},
     "position-independent or a shared library: link it with -static -no-pie"},
    {"object file", {H(e_type, ET_REL)}, "not a program"},
    {"core dump", {H(e_type, ET_CORE)}, "not a program"},
    {"no type", {H(e_type, 0)}, "not a program"},
    {"header's size", {H(e_ehsize, 52)}, "its header has another size"},

    {"no program headers", {H(e_phnum, 0)}, "no program headers"},
    {"PN_XNUM", {H(e_phnum, PN_XNUM)}, "too many program headers"},
    {"almost PN_XNUM", {H(e_phnum, PN_XNUM - 1)}, HEADERS},
    {"smaller program headers", {H(e_phentsize, 32)}, "its program headers have another size"},
    {"larger ones", {H(e_phentsize, 57)}, "its program headers have another size"},
    {"headers at the end", {H(e_phoff, GOOD_SIZE)}, HEADERS},
    {"one byte too far", {H(e_phoff, GOOD_SIZE - 4 * 56 + 1)}, HEADERS},
    {"wraps", {H(e_phoff, UINT64_MAX)}, HEADERS},
    {"wraps by its size", {H(e_phoff, UINT64_MAX - 4 * 56 + 1)}, HEADERS},
    {"wraps to the right place", {H(e_phoff, UINT64_MAX - 63)}, HEADERS},
    {"as many as there can be", {H(e_phnum, (GOOD_SIZE - 64) / 56 + 1)}, HEADERS},
    {"program headers that are not aligned, of zeroes", {H(e_phoff, 65)}, "nothing to load"},

    {"an interpreter", {P(3, p_type, PT_INTERP)}, "linked dynamically: link it with -static"},
    {"one before all else", {P(0, p_type, PT_INTERP)}, "linked dynamically: link it with -static"},
    {"a note", {P(3, p_type, PT_NOTE)}, NULL},
    {"nothing to load",
     {P(0, p_type, PT_NULL), P(1, p_type, PT_NULL), P(2, p_type, PT_NULL)},
     "nothing to load"},
    {"nothing in memory", {H(e_phnum, 1), P(0, p_filesz, 0), P(0, p_memsz, 0)}, "nothing to load"},

    {"contents behind the end", {P(2, p_filesz, 0x101)}, IN_FILE},
    {"contents from the end on", {P(2, p_offset, 0x1240)}, IN_FILE},
    {"offset wraps", {P(2, p_offset, UINT64_MAX - 0xfff + 0x240)}, IN_FILE},
    {"size of all there is", {P(2, p_filesz, UINT64_MAX), P(2, p_memsz, UINT64_MAX)}, IN_FILE},
    {"no contents, from far away on", {P(2, p_filesz, 0), P(2, p_offset, 1UL << 60 | 0x240)}, NULL},
    {"more in the file than in memory", {P(2, p_memsz, 0xff)}, MORE},
    {"much more", {P(1, p_filesz, UINT64_MAX)}, MORE},
    {"nothing in memory, but in the file", {P(1, p_memsz, 0)}, MORE},
    {"an empty segment anywhere",
     {P(1, p_memsz, 0), P(1, p_filesz, 0), P(1, p_vaddr, UINT64_MAX)},
     NULL},

    {"page 0", {P(0, p_vaddr, 0), H(e_entry, 0x128)}, IN_USER},
    {"the first page", {P(0, p_vaddr, PGSIZE), H(e_entry, PGSIZE + 0x128)}, NULL},
    {"up to the limit", {P(2, p_memsz, LIMIT - 0x402240)}, NULL},
    {"beyond the limit", {P(2, p_memsz, LIMIT - 0x402240 + 1)}, IN_USER},
    {"at the limit", {P(2, p_vaddr, LIMIT + 0x240)}, IN_USER},
    {"the last page", {P(2, p_vaddr, LIMIT - PGSIZE + 0x240), P(2, p_memsz, PGSIZE - 0x240)}, NULL},
    {"the kernel's half", {P(2, p_vaddr, 0xffff000000080240u)}, IN_USER},
    {"memory wraps", {P(2, p_memsz, UINT64_MAX - 0x402240 + 1)}, IN_USER},
    {"wraps to its own page", {P(2, p_memsz, UINT64_MAX - 0x23f)}, IN_USER},
    {"the last bytes of all", {P(2, p_vaddr, UINT64_MAX - 0xfff + 0x240)}, IN_USER},

    {"another place in the page", {P(2, p_vaddr, 0x402241)}, PLACE},
    {"another place in the file", {P(1, p_offset, 0x181)}, PLACE},
    {"no alignment", {P(0, p_align, 0), P(1, p_align, 1)}, NULL},
    {"64 KiB", {P(0, p_align, 0x10000), P(1, p_align, 0x1000)}, NULL},
    {"64 KiB, but for one page", {P(1, p_align, 0x10000)}, ALIGNED},
    {"no power of two", {P(0, p_align, 0x3000)}, ALIGNED},
    {"the largest", {P(0, p_align, 1UL << 63)}, ALIGNED},
    {"all ones", {P(0, p_align, UINT64_MAX)}, ALIGNED},

    {"writable text", {P(0, p_flags, PF_R | PF_W | PF_X)}, "a segment can be written and executed"},
    {"executable data", {P(2, p_flags, PF_W | PF_X)}, "a segment can be written and executed"},
    {"an executable stack is not given", {P(3, p_flags, PF_R | PF_W | PF_X)}, NULL},
    {"no rights", {P(1, p_flags, NO_FLAGS)}, NULL},
    {"flags of a processor's own", {P(1, p_flags, PF_R | PF_MASKPROC)}, NULL},

    {"the same page", {P(1, p_vaddr, 0x400180)}, OVERLAP},
    {"the same page at the other end", {P(0, p_memsz, 0x1001)}, OVERLAP},
    {"up to it", {P(0, p_memsz, 0x1000)}, NULL},
    {"over it all", {P(0, p_memsz, 0x3000)}, OVERLAP},
    {"out of order", {P(0, p_vaddr, 0x410000), H(e_entry, 0x410128)}, OVERLAP},
    {"the same twice", {P(1, p_vaddr, 0x402180)}, OVERLAP},

    {"entry of 0", {H(e_entry, 0)}, ENTRY},
    {"entry in rodata", {H(e_entry, 0x401180)}, ENTRY},
    {"entry in data", {H(e_entry, 0x402240)}, ENTRY},
    {"entry before the text", {H(e_entry, 0x3ffffc)}, ENTRY},
    {"entry behind the text", {H(e_entry, 0x400180)}, ENTRY},
    {"the last instruction", {H(e_entry, 0x40017c)}, NULL},
    {"entry not aligned", {H(e_entry, GOOD_ENTRY + 2)}, ENTRY},
    {"entry in the kernel", {H(e_entry, 0xffff000000080000u)}, ENTRY},
    {"text that cannot be executed", {P(0, p_flags, PF_R)}, ENTRY},

    {"sections are no matter", {H(e_shoff, UINT64_MAX), H(e_shnum, 7), H(e_shstrndx, 9)}, NULL},
    {"flags, physical addresses", {H(e_flags, 5), P(0, p_paddr, 1), P(2, p_paddr, ~0UL)}, NULL},
};

/* A copy that ends where its memory ends, and begins at any address. */
static void *
exactly(const void *file, size_t size, size_t misaligned, char **base)
{
    *base = malloc(size + misaligned);
    assert_non_null(*base);
    return memcpy(*base + misaligned, file, size);
}

static const char *
read_copy(const void *file, size_t size, size_t misaligned)
{
    char *base;
    const void *copy = exactly(file, size, misaligned, &base);
    const char *why = elf_check_read(copy, size, LIMIT);

    free(base);
    return why;
}

static void
apply(uint8_t *file, const struct change *change)
{
    for (size_t i = 0; i < 4; i++) {
        memcpy(file + change[i].at, &change[i].value, change[i].size);
    }
}

static void
each_malformed_file_has_its_reason(void **state)
{
    size_t refused = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t file[GOOD_SIZE];
        elf_make_good(file);
        if (strstr(rows[i].what, "of zeroes")) {
            memset(file + 64, 0, GOOD_SIZE - 64);
        }
        apply(file, rows[i].change);
        for (size_t misaligned = 0; misaligned < 9; misaligned++) {
            const char *why = read_copy(file, sizeof(file), misaligned);
            if (!why != !rows[i].why || (why && strcmp(why, rows[i].why) != 0)) {
                fail_msg("%s: %s", rows[i].what, why ? why : "accepted");
            }
        }
        refused += rows[i].why != NULL;
    }
    print_message("[          ] %zu files, %zu of them malformed\n", ARRAY_SIZE(rows), refused);
    assert_true(refused >= 40);
}

static void
a_file_may_end_anywhere(void **state)
{
    uint8_t file[GOOD_SIZE];

    (void)state;
    elf_make_good(file);
    for (size_t size = 0; size < sizeof(file); size++) {
        const char *why = read_copy(file, size, size % 3);
        assert_non_null(why);
        assert_string_equal(why, size < 64            ? "shorter than its header"
                                 : size < 64 + 4 * 56 ? HEADERS
                                                      : IN_FILE);
    }
}

/* elf_check_read judges whether what comes of it is right. */
static void
every_byte_of_the_headers_is_any_other(void **state)
{
    uint8_t file[GOOD_SIZE];
    size_t good = 0;

    (void)state;
    elf_make_good(file);
    for (size_t at = 0; at < 64 + 4 * 56; at++) {
        uint8_t byte = file[at];
        for (unsigned value = 0; value < 256; value++) {
            file[at] = (uint8_t)value;
            good += elf_check_read(file, sizeof(file), LIMIT) == NULL;
        }
        file[at] = byte;
    }
    print_message("[          ] %zu of the files were good\n", good);
    assert_in_range(good, 10000, 60000);
}

/* A file of nothing but headers, for n segments of one page each. */
static size_t
make_many(uint8_t *file, size_t n, bool one_is_empty)
{
    Elf64_Phdr p = {PT_LOAD, PF_R | PF_X, 0, 0x10000, 0, 64, 64, 0};

    elf_make_good(file);
    apply(file, (const struct change[4]){H(e_phnum, n), H(e_entry, 0x10000)});
    for (size_t i = 0; i < n; i++, p.p_vaddr += PGSIZE) {
        p.p_filesz = p.p_memsz = one_is_empty && i == 3 ? 0 : 64;
        memcpy(file + 64 + i * sizeof(p), &p, sizeof(p));
    }
    return 64 + n * sizeof(p);
}

static void
as_many_segments_as_there_can_be(void **state)
{
    uint8_t file[GOOD_SIZE];

    (void)state;
    size_t size = make_many(file, 8, false);
    assert_null(read_copy(file, size, 0));
    apply(file, (const struct change[4]){H(e_entry, 0x20000)});
    assert_string_equal(read_copy(file, size, 0), ENTRY);
    assert_string_equal(read_copy(file, make_many(file, 9, false), 0), "too many segments");
    assert_null(read_copy(file, make_many(file, 9, true), 0)); /* an empty one is none */
}

/* The program headers, wherever they are, are in memory where a segment holds all of them; else nowhere. */
static void
where_the_program_headers_are(void **state)
{
    static const struct {
        uint64_t headers, offset, size;
    } parts[] = {{64, 0, 64 + 4 * 56},
                 {64, 0, 64 + 4 * 56 - 1},
                 {64, 64, 4 * 56},
                 {64, 65, 4 * 56},
                 {64, 0, 64},
                 {64, 0, 63},
                 {64, 64, 0},
                 {64, 0, 0},
                 {0x240, 0x240, 4 * 56},
                 {0x240, 0x238, 4 * 56 + 8},
                 {0x240, 0x238, 4 * 56 + 7},
                 {0x240, 0x248, 0xf0},
                 {0x200, 0x100, 0x240},
                 {0x200, 0x100, 0x1df},
                 {0x200, 0x80, 0x180}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        uint8_t file[GOOD_SIZE];
        elf_make_good(file);
        apply(file, (const struct change[4]){P(0, p_offset, parts[i].offset),
                                             P(0, p_vaddr, 0x400000 + parts[i].offset),
                                             P(0, p_filesz, parts[i].size), P(0, p_memsz, 0x300)});
        apply(file, (const struct change[4]){P(1, p_type, PT_NULL), P(2, p_type, PT_NULL),
                                             H(e_phoff, parts[i].headers), H(e_entry, 0x400280)});
        memmove(file + parts[i].headers, file + 64, 4 * 56);
        assert_null(read_copy(file, sizeof(file), 0));
    }
}

static const char *
limited(const void *file, uint64_t limit)
{
    return elf_check_read(file, GOOD_SIZE, limit);
}

static void
any_limit(void **state)
{
    uint8_t file[GOOD_SIZE];

    (void)state;
    elf_make_good(file);
    assert_null(limited(file, 0x406000));
    assert_string_equal(limited(file, 0x405000), IN_USER);
    assert_string_equal(limited(file, 0x1000), IN_USER);
    assert_string_equal(limited(file, 0), IN_USER);
    assert_null(limited(file, 1UL << 48));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_malformed_file_has_its_reason),
        cmocka_unit_test(a_file_may_end_anywhere),
        cmocka_unit_test(every_byte_of_the_headers_is_any_other),
        cmocka_unit_test(as_many_segments_as_there_can_be),
        cmocka_unit_test(where_the_program_headers_are),
        cmocka_unit_test(any_limit),
    };
    uint8_t file[GOOD_SIZE];

    if (argc > 1) {
        size_t size = strcmp(argv[1], "many") == 0 ? make_many(file, 8, false) : sizeof(file);
        if (strcmp(argv[1], "good") == 0) {
            elf_make_good(file);
        }
        return fwrite(file, size, 1, stdout) == 1 ? 0 : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
