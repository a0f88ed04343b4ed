/*
 * Programs as files: ELF64 for AArch64, linked statically to fixed addresses. (elf.c; the format: "ELF-64
 * Object File Format" 1.5, and "ELF for the Arm 64-bit Architecture")
 */
#ifndef INC_ELF_H
#define INC_ELF_H

#include "types.h"

#define ELF_SEGMENTS 8  /* that a program may have loaded */
#define ELF_PHENT    56 /* bytes of a program header */

struct elf_segment {
    uint64_t va, filesz, memsz; /* bytes; va need not be page-aligned; filesz <= memsz, memsz > 0 */
    uint64_t offset;            /* of its contents, in the file */
    int prot;                   /* PROT_READ, PROT_WRITE, PROT_EXEC; never the last two together */
};

struct elf {
    uint64_t entry; /* lies in an executable segment, 4-byte aligned */
    uint64_t end;   /* behind the last segment: the heap begins at the next page */
    uint64_t phdr,
        phnum; /* the program headers, where they are in memory (0: in no segment), and how many */
    size_t nsegments;
    struct elf_segment segment[ELF_SEGMENTS]; /* by address; no two have a page in common */
};

/*
 * Look at the file of size bytes: is every field that matters there, and sound? Nothing outside of the file
 * is ever looked at, whatever is in it. All segments lie within [USER_MIN, limit). 0 and *elf, or -ENOEXEC. *why
 * (if not NULL) is a few words about what is wrong.
 */
int elf_read(const void *file, size_t size, uint64_t limit, struct elf *elf, const char **why);

#endif
