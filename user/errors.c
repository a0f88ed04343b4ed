/* Every system call with arguments that make no sense: the right error must come back. */
#include "libc.h"

#define KERNEL  0xffff000000080000UL
#define BAD_PTR 0x10UL
#define ANON    (MAP_PRIVATE | MAP_ANONYMOUS)
#define TCGETS  0x5401

static const struct timespec negative = {-1, 0}, too_many_ns = {0, 1000000000},
                             negative_ns = {0, -1};
static struct timespec t;
static struct iovec good = {(void *)1, 0}, unreadable = {(void *)BAD_PTR, 10},
                    huge = {&t, 1UL << 63};
static char buffer[16];
static char page[2 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

static const struct {
    const char *name;
    uint64_t number;
    uint64_t arg[6];
    long result;
} call[] = {
    {"write, no file", SYS_write, {5, (uint64_t)buffer, 1}, -EBADF},
    {"write, negative", SYS_write, {-1UL, (uint64_t)buffer, 1}, -EBADF},
    {"write, to 0 bytes", SYS_write, {1, (uint64_t)buffer, 0}, 0},
    {"write, bad address", SYS_write, {1, BAD_PTR, 1}, -EFAULT},
    {"write, kernel", SYS_write, {1, KERNEL, 1}, -EFAULT},
    {"read, no file", SYS_read, {5, (uint64_t)buffer, 1}, -EBADF},
    {"read, 0 bytes", SYS_read, {0, (uint64_t)buffer, 0}, 0},
    {"writev, no file", SYS_writev, {5, (uint64_t)&good, 1}, -EBADF},
    {"writev, no pieces", SYS_writev, {1, (uint64_t)&good, 0}, 0},
    {"writev, a piece of 0", SYS_writev, {1, (uint64_t)&good, 1}, 0},
    {"writev, too many", SYS_writev, {1, (uint64_t)&good, UIO_MAXIOV + 1}, -EINVAL},
    {"writev, negative", SYS_writev, {1, (uint64_t)&good, -1UL}, -EINVAL},
    {"writev, bad array", SYS_writev, {1, BAD_PTR, 1}, -EFAULT},
    {"writev, bad piece", SYS_writev, {1, (uint64_t)&unreadable, 1}, -EFAULT},
    {"writev, huge piece", SYS_writev, {1, (uint64_t)&huge, 1}, -EINVAL},
    {"ioctl, no file", SYS_ioctl, {5, TCGETS, (uint64_t)buffer}, -EBADF},
    {"nanosleep, negative", SYS_nanosleep, {(uint64_t)&negative, 0}, -EINVAL},
    {"nanosleep, 10^9 ns", SYS_nanosleep, {(uint64_t)&too_many_ns, 0}, -EINVAL},
    {"nanosleep, -1 ns", SYS_nanosleep, {(uint64_t)&negative_ns, 0}, -EINVAL},
    {"clock_gettime, no clock", SYS_clock_gettime, {1000, (uint64_t)&t}, -EINVAL},
    {"clock_gettime, bad address", SYS_clock_gettime, {CLOCK_MONOTONIC, BAD_PTR}, -EFAULT},
    {"clock_getres, no clock", SYS_clock_getres, {1000, (uint64_t)&t}, -EINVAL},
    {"clock_getres, NULL", SYS_clock_getres, {CLOCK_MONOTONIC, 0}, 0},
    {"kill, nobody", SYS_kill, {0x3fffffff, SIGTERM}, -ESRCH},
    {"kill, nobody, no signal", SYS_kill, {0x3fffffff, 0}, -ESRCH},
    {"uname, NULL", SYS_uname, {0}, -EFAULT},
    {"uname, kernel", SYS_uname, {KERNEL}, -EFAULT},
    {"mmap, no length", SYS_mmap, {0, 0, PROT_READ, ANON, -1UL, 0}, -EINVAL},
    {"mmap, no kind", SYS_mmap, {0, 1, PROT_READ, MAP_ANONYMOUS, -1UL, 0}, -EINVAL},
    {"mmap, odd offset", SYS_mmap, {0, 1, PROT_READ, ANON, -1UL, 1}, -EINVAL},
    {"mmap, odd address", SYS_mmap, {0x400001, 1, 1, ANON | MAP_FIXED, -1UL, 0}, -EINVAL},
    {"mmap, all", SYS_mmap, {0, 1UL << 48, PROT_READ, ANON, -1UL, 0}, -ENOMEM},
    {"mmap, more", SYS_mmap, {0, -1UL, PROT_READ, ANON, -1UL, 0}, -ENOMEM},
    {"mmap, kernel", SYS_mmap, {KERNEL, 1, 1, ANON | MAP_FIXED, -1UL, 0}, -ENOMEM},
    {"munmap, odd address", SYS_munmap, {(uint64_t)page + 1, PAGE_SIZE}, -EINVAL},
    {"munmap, no length", SYS_munmap, {(uint64_t)page, 0}, -EINVAL},
    {"munmap, wraps", SYS_munmap, {(uint64_t)page, -4096UL}, -EINVAL},
    {"munmap, kernel", SYS_munmap, {KERNEL, PAGE_SIZE}, -EINVAL},
    {"mprotect, odd address", SYS_mprotect, {(uint64_t)page + 1, PAGE_SIZE, 1}, -EINVAL},
    {"mprotect, wraps", SYS_mprotect, {(uint64_t)page, -4096UL, 1}, -ENOMEM},
    {"mprotect, kernel", SYS_mprotect, {KERNEL, PAGE_SIZE, 1}, -ENOMEM},
    {"mprotect, odd rights", SYS_mprotect, {(uint64_t)page, PAGE_SIZE, 0x100}, -EINVAL},
    {"number 0x7fffffff", 0x7fffffff, {0}, -ENOSYS},
    {"number -1", -1UL, {0}, -ENOSYS},
    {"number 10000", 10000, {0}, -ENOSYS},
};

int
main(void)
{
    int wrong = 0;

    for (size_t i = 0; i < ARRAY_SIZE(call); i++) {
        const uint64_t *a = call[i].arg;
        long result = syscall((long)call[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (result != call[i].result) {
            printf("%s: %ld instead of %ld\n", call[i].name, result, call[i].result);
            wrong++;
        }
    }
    require(kill((int)getpid(), NSIG + 1) == -EINVAL && kill((int)getpid(), -1) == -EINVAL);
    require(kill((int)getpid(), 0) == 0);
    printf("%zu system calls, %d of them wrong\n", ARRAY_SIZE(call), wrong);
    return wrong != 0;
}
