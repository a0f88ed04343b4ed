/*
 * exec_load under observation: a program is loaded into a new address space (space.h), all that comes of it is looked at,
 * and everything is given back.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "exec.h"
#include "space.h"

/* How much the program loaded last took, or would have taken: pages with all tables but the root, and records. */
extern size_t program_pages, program_records;

/* What AT_RANDOM led to. */
extern uint64_t program_random[2];

/*
 * Load the file, with so many pages and records to be had (SPACE_NO_LIMIT). The result is exec_load's, and the right
 * one. If it is 0: every byte that is mapped is the file's, an argument's, or what it should be; all else is zero; and
 * rights and ranges are those of the segments.
 */
int program_load(const void *file, size_t size, const char *const argv[], const char *const envp[],
                 size_t pages, size_t records);

#endif
