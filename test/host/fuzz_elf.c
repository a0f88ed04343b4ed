/*
 * libFuzzer on kern/elf.c and kern/exec.c: the input is a file, exactly as long as libFuzzer says. elf_file.c judges
 * whether it is a program, and program.c what comes of it.
 */
#include "elf_file.h"
#include "program.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

const struct program programs[1];
const size_t nprograms;

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const argv[] = {"fuzz", "me", NULL}, *const envp[] = {"A=B", NULL};

    elf_check_read(bytes, size, 1UL << 48);
    program_load(bytes, size, argv, envp, SPACE_NO_LIMIT, SPACE_NO_LIMIT);
    return 0;
}
