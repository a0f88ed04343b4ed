/*
 * Is the memory of all processes in order? (audit.c) From the page tables themselves and what the allocators
 * say of each page; nothing is believed of the other.
 */
#ifndef INC_AUDIT_H
#define INC_AUDIT_H

#include "types.h"

/*
 * Look at every process's tables. Returns how many errors there are; `say` is called with a line for each (at most
 * AUDIT_LINES), such as
 *
 *     PAGE TABLE ERROR: 5f000: kernel allocated page mapped for user (pid 2)
 *
 * No page of the kernel, of a device, reserved, free, or somebody else's can be reached from EL0; a page is mapped as
 * often as it has references; each table belongs to one process; nothing is writable and executable;
 * the kernel's half is not reachable; user pages are not global, never executable by the kernel, and the ranges (vma.h)
 * and the tables agree. Interrupts are masked.
 */
#define AUDIT_LINES 16
size_t audit(void (*say)(const char *line));

/* Who uses a page frame, as far as page tables tell. */
struct frame_use {
    uint16_t mapped; /* by programs, so many times; USE_MANY: or more */
    uint16_t pid;    /* one of them, or whose table it is; 0: the kernel's */
    uint16_t kind;   /* USE_ */
};
#define USE_MANY   0xffffu
#define USE_TABLE  1u /* a page table */
#define USE_KERNEL 2u /* mapped by vmalloc */
#define USE_WRONG  4u /* an error concerns it */

/* The same as audit, and *use (all zero before) is that of all frames, by frame_index. */
size_t audit_frames(struct frame_use use[], void (*say)(const char *line));

#endif
