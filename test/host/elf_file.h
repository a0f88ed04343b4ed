/*
 * ELF files for the tests: a good one to begin with, and what inc/elf.h demands of one, written once more in the
 * plainest way, with the C library's names for everything.
 */
#ifndef ELF_FILE_H
#define ELF_FILE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the good file. Its program headers, three to load and one that is not, are behind the file's header. */
#define GOOD_SIZE  0x340
#define GOOD_ENTRY 0x400128u

/* Make it: text and headers at 0x400000, rodata at 0x401180, data and BSS at 0x402240 to 0x405010. */
void elf_make_good(uint8_t file[GOOD_SIZE]);

/* Could this file be run, with all segments below limit? */
bool elf_is_good(const void *file, size_t size, uint64_t limit);

/*
 * elf_read; abort if it disagrees with elf_is_good, or if what it says of the file is not so. NULL, or its reason
 * against the file.
 */
const char *elf_check_read(const void *file, size_t size, uint64_t limit);

#endif
