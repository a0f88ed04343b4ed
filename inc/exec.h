/* A program becomes the contents of an address space. (exec.c) */
#ifndef INC_EXEC_H
#define INC_EXEC_H

#include "aspace.h"

#define ARG_MAX (32 * 1024) /* bytes that arguments and environment may take, with their pointers */

/* A program in the kernel's image: what stands in user/, linked in (obj/programs.S). */
struct program {
    const char *name;
    const char *start, *end; /* an ELF file */
};
extern const struct program programs[];
extern const size_t nprograms;

/* By name; NULL: there is none. */
const struct program *program_find(const char *name);

/* Where a new program begins: what goes into its registers. All others are 0. */
struct exec_start {
    uint64_t pc, sp;
};

/*
 * Fill as, which is empty but for its root, from the ELF file: segments, heap, stack. On the stack, from sp
 * (16-byte aligned) upwards, as Linux has it: argc, argv's pointers, NULL, envp's pointers, NULL, the
 * auxiliary vector (uapi/auxv.h); above it the strings. argv and envp end with NULL; argv has argv[0].
 * 0; -ENOEXEC, -ENOMEM, -E2BIG: as may have become part of what was asked for, and is to be destroyed.
 */
int exec_load(struct aspace *as, const void *file, size_t size, const char *const argv[],
              const char *const envp[], struct exec_start *start);

#endif
