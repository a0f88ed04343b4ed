/*
 * kern/exec.c: what a program finds in memory and on its stack, and that nothing is lost where memory runs out.
 */
#include "lib.h"

#include "elf_file.h"
#include "errno.h"
#include "program.h"
#include "types.h"
#include "vm.h"
#include "vma.h"
#if LAB >= 6
#include "pager.h"
#endif

static uint8_t good[GOOD_SIZE];
static const char *const no_strings[] = {NULL};
static const char *const one_string[] = {"program", NULL};

/* ---- Programs by name ---- */

static const char first_file[1], second_file[1];
const struct program programs[] = {
    {"first", first_file, first_file + 1},
    {"second", second_file, second_file + 1},
    {"sec", NULL, NULL},
};
const size_t nprograms = ARRAY_SIZE(programs);

static void
programs_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < nprograms; i++) {
        assert_ptr_equal(program_find(programs[i].name), &programs[i]);
    }
    assert_null(program_find("seco"));
    assert_null(program_find("third"));
    assert_null(program_find(""));
}

/* ---- The stack ---- */

static int
load_with(const char *const argv[], const char *const envp[])
{
    return program_load(good, sizeof(good), argv, envp, SPACE_NO_LIMIT, SPACE_NO_LIMIT);
}

static void
arguments_and_environment(void **state)
{
    static const char *const few[] = {"a", "bc", "", "def", NULL};
    static const char *const environment[] = {"HOME=/", "PATH=", "X", NULL};
    static const char *const one_empty[] = {"", NULL};

    (void)state;
    assert_int_equal(load_with(one_string, no_strings), 0);
    assert_int_equal(load_with(few, environment), 0);
    assert_int_equal(load_with(one_empty, one_empty), 0);
    assert_int_equal(load_with(one_string, environment), 0);
    /* Every length: so the stack begins at every distance from a multiple of 16, and of the page size. */
    static char text[3 * PGSIZE];
    for (size_t i = 0; i < sizeof(text) - 1; i += i < 70 ? 1 : 61) {
        const char *const argv[] = {text, "x", NULL};
        memset(text, 'y', i);
        text[i] = '\0';
        assert_int_equal(load_with(argv, i % 2 ? few : no_strings), 0);
    }
}

/* How many empty strings there may be, beside one of n characters; and what is left then. */
static int
load_many(size_t n, size_t nargs, size_t nenv)
{
    static const char *argv[ARG_MAX], *envp[ARG_MAX];
    static char text[2 * ARG_MAX];

    memset(text, 'z', n);
    text[n] = '\0';
    argv[0] = text;
    for (size_t i = 1; i <= nargs; i++) {
        argv[i] = i < nargs ? "" : NULL;
    }
    for (size_t i = 0; i <= nenv; i++) {
        envp[i] = i < nenv ? "" : NULL;
    }
    return load_with(argv, envp);
}

static void
as_many_as_there_can_be(void **state)
{
    (void)state;
    assert_int_equal(load_many(ARG_MAX - 9, 1, 0), 0);
    assert_int_equal(load_many(ARG_MAX - 8, 1, 0), -E2BIG);
    assert_int_equal(load_many(2 * ARG_MAX - 1, 1, 0), -E2BIG);
    /* 3640 of nine bytes each, and eight bytes */
    assert_int_equal(load_many(8, 3640, 0), 0);
    assert_int_equal(load_many(9, 3640, 0), -E2BIG);
    assert_int_equal(load_many(8, 1, 3639), 0);
    assert_int_equal(load_many(9, 1, 3639), -E2BIG);
    assert_int_equal(load_many(0, 3641, 0), -E2BIG);
    assert_int_equal(load_many(0, 1, 3640), -E2BIG);
    assert_int_equal(load_many(1000, 1000, 1000), 0);
    /* Of two mistakes this is the first. */
    good[0] = 0;
    assert_int_equal(load_many(ARG_MAX, 1, 0), -E2BIG);
    assert_int_equal(load_many(0, 1, 0), -ENOEXEC);
    elf_make_good(good);
}

static void
random_bytes_differ(void **state)
{
    uint64_t seen[100][2];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++) {
        assert_int_equal(load_with(one_string, no_strings), 0);
        memcpy(seen[i], program_random, sizeof(seen[i]));
        assert_int_not_equal(seen[i][0], seen[i][1]);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(seen[i][0], seen[j][0]);
            assert_int_not_equal(seen[i][1], seen[j][1]);
        }
    }
}

/* ---- Memory that runs out ---- */

static void
at_every_page_and_record(const void *file, size_t size)
{
    assert_int_equal(program_load(file, size, one_string, no_strings, SPACE_NO_LIMIT,
                                  SPACE_NO_LIMIT),
                     0);
    size_t pages = program_pages, records = program_records;
    for (size_t n = 0; n <= pages; n++) {
        int expected = n < pages ? -ENOMEM : 0;
        assert_int_equal(program_load(file, size, one_string, no_strings, n, SPACE_NO_LIMIT),
                         expected);
    }
    for (size_t n = 0; n <= records; n++) {
        int expected = n < records ? -ENOMEM : 0;
        assert_int_equal(program_load(file, size, one_string, no_strings, SPACE_NO_LIMIT, n),
                         expected);
    }
}

static void
every_page_and_record_fails(void **state)
{
    (void)state;
    at_every_page_and_record(good, sizeof(good));
}

#if LAB < 6
/* A BSS of all user memory is refused before a page of it is taken. */
static void
a_program_larger_than_memory(void **state)
{
    uint64_t memsz = USER_MMAP_TOP - 0x402240;

    (void)state;
    memcpy(good + sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, p_memsz),
           &memsz, 8);
    assert_int_equal(load_with(one_string, no_strings), -ENOMEM);
    assert_true(space_asked < 20);
    elf_make_good(good);
}
#endif

/* ---- Programs of every shape ---- */

#define FILE_MAX (12 * PGSIZE)

static uint64_t seed;

/* Often at or beside a border of pages. */
static uint64_t
some_bytes(uint64_t most)
{
    uint64_t n = random_below(&seed, most), edge = random_below(&seed, 8);

    if (edge < 3) {
        n = ROUNDDOWN(n, PGSIZE) + edge - 1;
    }
    return n < most ? n : most;
}

static size_t
make_program(uint8_t *file)
{
    static const uint32_t flags[] = {0, PF_R, PF_R | PF_W, PF_W, PF_R | PF_X, PF_R, PF_R | PF_W};
    size_t n = 1 + random_below(&seed, 8), size = FILE_MAX - random_below(&seed, PGSIZE);
    uint64_t va = 0x1000 + random_below(&seed, 3000) * PGSIZE;
    Elf64_Ehdr header;

    elf_make_good(file);
    memcpy(&header, file, sizeof(header));
    for (size_t i = 0; i < size; i++) {
        file[i] = (uint8_t)(1 + random_below(&seed, 255));
    }
    header.e_phnum = (uint16_t)n;
    for (size_t i = 0; i < n; i++) {
        Elf64_Phdr p = {.p_type = PT_LOAD, .p_align = PGSIZE};
        p.p_vaddr = va + some_bytes(2 * PGSIZE);
        p.p_offset = random_below(&seed, 3) * PGSIZE + p.p_vaddr % PGSIZE;
        p.p_filesz = some_bytes(5 * PGSIZE);
        p.p_memsz = p.p_filesz + (random_below(&seed, 2) ? some_bytes(3 * PGSIZE) : 0);
        p.p_memsz += p.p_memsz == 0;
        p.p_flags = i == 0 ? PF_R | PF_X : flags[random_below(&seed, ARRAY_SIZE(flags))];
        va = ROUNDUP(p.p_vaddr + p.p_memsz, PGSIZE) + random_below(&seed, 2) * PGSIZE;
        header.e_entry = i == 0 ? ROUNDUP(p.p_vaddr, 4) : header.e_entry;
        p.p_memsz += i == 0 ? 4 : 0; /* room for an instruction */
        va += i == 0 ? PGSIZE : 0;
        memcpy(file + sizeof(header) + i * sizeof(p), &p, sizeof(p));
    }
    memcpy(file, &header, sizeof(header));
    return size;
}

static void
programs_of_every_shape(void **state)
{
    static uint8_t buffer[FILE_MAX + 8];

    (void)state;
    for (size_t round = 0; round < 1500; round++) {
        uint8_t *file = buffer + round % 8; /* the file may be anywhere */
        size_t size = make_program(file);
        assert_int_equal(program_load(file, size, one_string, one_string, SPACE_NO_LIMIT,
                                      SPACE_NO_LIMIT),
                         0);
        if (round % 100 == 0) {
            at_every_page_and_record(file, size);
        }
    }
}

/* ---- A user_alloc that is wrong ---- */

// NOLINTBEGIN(bugprone-reserved-identifier): the linker chose these names
int __real_user_alloc(struct aspace *as, uint64_t va, int prot);
int __wrap_user_alloc(struct aspace *as, uint64_t va, int prot);
// NOLINTEND(bugprone-reserved-identifier)

static enum { RIGHT, FORGETS_THE_TABLE, FORGETS_THE_ENTRY } user_alloc_is;

int
__wrap_user_alloc(struct aspace *as, uint64_t va, int prot)
{
    if (user_alloc_is == FORGETS_THE_ENTRY) {
        pgdir_walk(as->root, (const void *)va, 1);
    }
    return user_alloc_is == RIGHT ? __real_user_alloc(as, va, prot) : 0;
}

static void
load_somehow(void *as)
{
    struct exec_start start;

    exec_load(as, good, sizeof(good), one_string, no_strings, &start);
}

static void
pages_that_are_not_there(void **state)
{
    (void)state;
    for (user_alloc_is = FORGETS_THE_TABLE; user_alloc_is <= FORGETS_THE_ENTRY; user_alloc_is++) {
        struct aspace as = {0};
        space_start();
        assert_int_equal(aspace_create(&as), 0);
        assert_non_null(machine_panics(load_somehow, &as));
        vma_clear(&as);
        aspace_destroy(&as);
#if LAB >= 6
        image_put(as.image);
#endif
        assert_int_equal(space_pages(), 0);
    }
    user_alloc_is = RIGHT;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_by_name),
        cmocka_unit_test(arguments_and_environment),
        cmocka_unit_test(as_many_as_there_can_be),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(every_page_and_record_fails),
#if LAB < 6
        cmocka_unit_test(a_program_larger_than_memory),
#endif
        cmocka_unit_test(programs_of_every_shape),
        cmocka_unit_test(pages_that_are_not_there),
    };

    elf_make_good(good);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
