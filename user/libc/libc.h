/*
 * The library that programs in user/ are linked with: system calls, output, memory. Strings: string.h; the
 * numbers and structures that programs share with the kernel: uapi/.
 *
 * What a system call says is handed on as it is: a number >= 0, or a negated number of uapi/errno.h. There is no
 * errno.
 */
#ifndef LIBC_H
#define LIBC_H

#include "printf.h"
#include "string.h"
#include "types.h"
#include "uapi/errno.h"
#include "uapi/mman.h"
#include "uapi/signal.h"
#include "uapi/syscall.h"
#include "uapi/time.h"
#include "uapi/uio.h"
#include "uapi/utsname.h"
#if LAB >= 6
#include "uapi/wait.h"
#endif

#define PAGE_SIZE 4096

/* ---- System calls (calls.c; syscall itself: crt0.S) ---- */

long syscall(long number, ...);

long read(int fd, void *buf, size_t n);
long write(int fd, const void *buf, size_t n);
long writev(int fd, const struct iovec *pieces, int n);

/* The process ends, at once. status: 0 to 255. */
_Noreturn void exit(int status);

long getpid(void);
long getppid(void);
long kill(int pid, int signal);
long uname(struct utsname *name);

/* Let others have the core first. 0. */
long sched_yield(void);
long nanosleep(const struct timespec *wanted, struct timespec *left);
long clock_gettime(int clock, struct timespec *now);

/*
 * Memory, in whole pages. An address, or a negated error number: error_of tells. There are no files: fd is
 * -1, offset 0, and flags have MAP_ANONYMOUS.
 */
void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset);
long munmap(void *addr, size_t length);
long mprotect(void *addr, size_t length, int prot);

/* The heap ends at addr, if that is possible. Where it ends now. */
void *brk(void *addr);

/* 0 for an address, else the negated error number that it is. */
static inline long
error_of(const void *addr)
{
    return (long)addr < 0 && (long)addr > -4096 ? (long)addr : 0;
}

#if LAB >= 6
/* Two processes return from this: 0 in the child, its pid in the parent (negative: there is no child). */
long fork(void);

/* Wait for a child, pid (-1: any), to end; *status (uapi/wait.h) tells how. Its pid. usage may be NULL. */
long wait4(int pid, int *status, int options, struct rusage *usage);

/* The process becomes another program. Comes back only with an error. */
long execve(const char *path, char *const argv[], char *const envp[]);

#endif
/* ---- Output, to file 1 (output.c): each call is one system call, if it fits into 256 bytes ---- */

int printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int puts(const char *s); /* and a newline */

/* Say so, and exit with status 1. */
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A test: something must be so. */
#define require(condition) \
    ((condition) ? (void)0 : fail("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition))

/* ---- Memory (malloc.c) ---- */

/* size bytes, aligned to 16, or NULL if there is no memory. Of size 0: NULL. */
void *malloc(size_t size);
void *calloc(size_t n, size_t size); /* n times size bytes, zeroed */
void *realloc(void *p, size_t size); /* the same contents in another size; NULL: p is as it was */
void free(void *p);

/* n bytes more of heap (less, if n is negative). Where the heap ended before, or NULL. */
void *sbrk(long n);

/* ---- The rest ---- */

extern char **environ; /* NAME=VALUE each, then NULL; behind it is the auxiliary vector */

/*
 * May the program read 16 bytes at p, may it write them? The kernel tries, and nobody dies. What can be read
 * must be 0; what can be written is 0 then. (probe.c)
 */
bool can_read(const void *p);
bool can_write(void *p);

/* An argument as a number; fails with a message if it is none. */
uint64_t number(const char *text);

#endif
