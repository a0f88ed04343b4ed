/* System calls by their names. */
#include "libc.h"

long
read(int fd, void *buf, size_t n)
{
    return syscall(SYS_read, fd, buf, n);
}

long
write(int fd, const void *buf, size_t n)
{
    return syscall(SYS_write, fd, buf, n);
}

long
writev(int fd, const struct iovec *pieces, int n)
{
    return syscall(SYS_writev, fd, pieces, n);
}

void
exit(int status)
{
    syscall(SYS_exit_group, status);
    __builtin_trap(); /* a kernel that does not know how to end a process ends it for this */
}

long
getpid(void)
{
    return syscall(SYS_getpid);
}

long
getppid(void)
{
    return syscall(SYS_getppid);
}

long
kill(int pid, int signal)
{
    return syscall(SYS_kill, pid, signal);
}

long
uname(struct utsname *name)
{
    return syscall(SYS_uname, name);
}

long
sched_yield(void)
{
    return syscall(SYS_sched_yield);
}

long
nanosleep(const struct timespec *wanted, struct timespec *left)
{
    return syscall(SYS_nanosleep, wanted, left);
}

long
clock_gettime(int clock, struct timespec *now)
{
    return syscall(SYS_clock_gettime, clock, now);
}

void *
mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
{
    return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
}

long
munmap(void *addr, size_t length)
{
    return syscall(SYS_munmap, addr, length);
}

long
mprotect(void *addr, size_t length, int prot)
{
    return syscall(SYS_mprotect, addr, length, prot);
}

void *
brk(void *addr)
{
    return (void *)syscall(SYS_brk, addr);
}
