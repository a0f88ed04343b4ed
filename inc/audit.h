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

#endif
