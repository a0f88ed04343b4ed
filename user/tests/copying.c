/* What the kernel reads and writes for a program is read and written as by the program itself. */
#include "tests.h"

#define FILL 0x5a

/* The calls that write to an address: how many bytes. */
static size_t
write_time(void *to)
{
    must(clock_gettime(CLOCK_MONOTONIC, to) == 0);
    return sizeof(struct timespec);
}

static size_t
write_resolution(void *to)
{
    must(syscall(SYS_clock_getres, CLOCK_MONOTONIC, to) == 0);
    return sizeof(struct timespec);
}

static size_t
write_name(void *to)
{
    must(uname(to) == 0);
    return sizeof(struct utsname);
}

static size_t
write_status(void *to)
{
    int pid;

    CHILD(pid)
        exit(0x77);
    must(wait4(pid, to, 0, NULL) == pid && *(int *)to == 0x7700);
    return sizeof(int);
}

static size_t
write_usage(void *to)
{
    int pid;

    CHILD(pid)
        ;
    must(wait4(pid, NULL, 0, to) == pid);
    return sizeof(struct rusage);
}

static size_t (*const writers[])(void *) = {write_time, write_resolution, write_name, write_status,
                                            write_usage};

/* Something is written at p, in the middle of n bytes at `all` that are all like `fill`: all others stay so. */
static void
write_into(char *all, size_t n, char *p, size_t (*writer)(void *), int fill)
{
    size_t written = writer(p);

    must(all_bytes(all, (size_t)(p - all), fill));
    must(all_bytes(p + written, n - written - (size_t)(p - all), fill));
    must(!all_bytes(p, written, fill) || fill == 0);
}

TEST(kernel_writes_shared,
     "what the kernel writes for a child its parent does not see, nor the other way round")
{
    char *p = pages(2, RW);
    int pid;

    for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
        memset(p, FILL, 2 * PAGE_SIZE);
        CHILD(pid)
            write_into(p, 2 * PAGE_SIZE, p + 1000, writers[i], FILL);
        must(ended_well(pid));
        must(all_bytes(p, 2 * PAGE_SIZE, FILL));

        int gate = sleeper();
        CHILD(pid) {
            until_gone(gate);
            must(all_bytes(p, 2 * PAGE_SIZE, FILL));
        }
        write_into(p, 2 * PAGE_SIZE, p + 1000, writers[i], FILL);
        open_gate(gate);
        must(ended_well(pid));
    }
}

TEST(kernel_writes_edge, "the same over the edge between two pages")
{
    char *p = pages(2, RW);
    int pid;

    for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
        for (int before = 1; before < 64; before += 9) {
            memset(p, FILL, 2 * PAGE_SIZE);
            CHILD(pid)
                write_into(p, 2 * PAGE_SIZE, p + PAGE_SIZE - before, writers[i], FILL);
            must(ended_well(pid));
            must(all_bytes(p, 2 * PAGE_SIZE, FILL));
        }
}

TEST(kernel_writes_zero, "into memory that nobody has touched, or only read")
{
    char *p = pages(20, RW);

    for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
        write_into(p + i * PAGE_SIZE, PAGE_SIZE, p + i * PAGE_SIZE + 24, writers[i], 0);
    p += 10 * PAGE_SIZE;
    must(all_bytes(p, 10 * PAGE_SIZE, 0));
    for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
        write_into(p + i * PAGE_SIZE, PAGE_SIZE, p + i * PAGE_SIZE + 24, writers[i], 0);
    must(all_bytes(p + 5 * PAGE_SIZE, 5 * PAGE_SIZE, 0));
}

static char untouched[2 * PAGE_SIZE] = {FILL};
static char untouched_bss[3 * PAGE_SIZE];

TEST(kernel_writes_data, "into data that is still as it was in the program's file, and into bss")
{
    char *p = untouched + sizeof(untouched) - sizeof(struct timespec);

    must(untouched[0] == FILL);
    write_time(p);
    must(untouched[0] == FILL && untouched[1] == 0);
    write_into(untouched_bss, sizeof(untouched_bss), untouched_bss + PAGE_SIZE, write_name, 0);
}

TEST(kernel_writes_stack, "onto the stack, far below where it has been touched")
{
    char *here = __builtin_frame_address(0);
    int pid;

    CHILD(pid) {
        write_time((void *)hidden(((uint64_t)here - (3UL << 20)) & ~15UL));
        write_name((void *)hidden(((uint64_t)here - (6UL << 20)) & ~15UL));
    }
    must(ended_well(pid));
}

TEST(kernel_does_not_write,
     "where a child may not write the kernel does not, and all stays as it was")
{
    static const char readonly[1024] = {FILL, FILL};
    char *read = pages(2, RW), *none = pages(1, RW);
    struct timespec *edge = (struct timespec *)(void *)(read + PAGE_SIZE - 8);
    int pid;

    memset(read, FILL, 2 * PAGE_SIZE);
    must(mprotect(none, PAGE_SIZE, PROT_NONE) == 0);
    must(mprotect(read + PAGE_SIZE, PAGE_SIZE, PROT_READ) == 0);
    CHILD(pid) {
        must(clock_gettime(CLOCK_MONOTONIC, (void *)hidden((uint64_t)readonly)) == -EFAULT);
        must(uname((void *)hidden((uint64_t)readonly)) == -EFAULT);
        must(clock_gettime(CLOCK_MONOTONIC, (void *)hidden((uint64_t)main)) == -EFAULT);
        must(clock_gettime(CLOCK_MONOTONIC, (void *)none) == -EFAULT);
        must(clock_gettime(CLOCK_MONOTONIC, (void *)(read + PAGE_SIZE)) == -EFAULT);
        must(clock_gettime(CLOCK_MONOTONIC, edge) == -EFAULT);
        must(all_bytes(read + PAGE_SIZE, PAGE_SIZE, FILL) && hidden((uint64_t)readonly[1]) == FILL);
    }
    must(ended_well(pid));
    must(all_bytes(read, 2 * PAGE_SIZE, FILL));
}

TEST(kernel_reads, "what the kernel reads may be shared, untouched, or in two pages")
{
    char *p = pages(4, RW), *zero = pages(4, RW);
    struct iovec *piece = (struct iovec *)(void *)(p + PAGE_SIZE - 8);
    int pid;

    *piece = (struct iovec){p, 0};
    CHILD(pid) {
        must(writev(1, piece, 1) == 0);
        /* A piece that is empty, as it is all zeroes. */
        must(writev(1, (struct iovec *)(void *)(zero + 16), 1) == 0);
        must(writev(1, (struct iovec *)(void *)(zero + 2 * PAGE_SIZE - 8), 1) == 0);
        must(nanosleep((struct timespec *)(void *)(zero + 3 * PAGE_SIZE), NULL) == 0);
        must(munmap(p + PAGE_SIZE, PAGE_SIZE) == 0 && writev(1, piece, 1) == -EFAULT);
    }
    must(ended_well(pid));
    must(writev(1, piece, 1) == 0);
}

/* An address that is bad, for every call that takes one and every argument that is one. */
static void
every_pointer(uint64_t bad)
{
    struct iovec piece = {(void *)bad, 8};
    void *p = (void *)bad;
    int pid;

    must(write(1, p, 8) == -EFAULT);
    must(writev(1, p, 1) == -EFAULT && writev(1, &piece, 1) == -EFAULT);
    must(clock_gettime(CLOCK_REALTIME, p) == -EFAULT
         && clock_gettime(CLOCK_MONOTONIC, p) == -EFAULT);
    must(uname(p) == -EFAULT);
    must(execve(p, NULL, NULL) == -EFAULT);
    if (bad != 0) {
        CHILD(pid)
            ;
        must(wait4(pid, p, 0, NULL) == -EFAULT && wait4(pid, NULL, 0, NULL) == -ECHILD);
        CHILD(pid)
            ;
        must(wait4(pid, NULL, 0, p) == -EFAULT && wait4(pid, NULL, 0, NULL) == -ECHILD);
        must(execve("/bin/echo", p, NULL) == -EFAULT);
    }
}

TEST(pointers, "bad addresses in every system call, of a child and of its parent")
{
    char *none = pages(1, PROT_NONE);
    const uint64_t bad[] = {0,
                            8,
                            KERNEL,
                            HOLE,
                            HOLE - 4,
                            -8UL,
                            0x8000000000000000,
                            0xffff800000000000,
                            0xffff00003f201000,
                            UNMAPPED,
                            (uint64_t)none};
    int pid;

    CHILD(pid)
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
            every_pointer(bad[i]);
    must(ended_well(pid));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        every_pointer(bad[i]);
}

TEST_HERE(pointers_time, "times that cannot be read or written",
          "QEMU does not look whether it could")
{
    static const uint64_t bad[] = {8, KERNEL, HOLE, UNMAPPED};
    int pid;

    CHILD(pid)
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
            must(nanosleep((void *)bad[i], NULL) == -EFAULT);
            must(syscall(SYS_clock_getres, CLOCK_MONOTONIC, bad[i]) == -EFAULT);
        }
    must(ended_well(pid) && nanosleep(NULL, NULL) == -EFAULT);
}

TEST(addresses, "what a child must not touch, after fork as before")
{
    const uint64_t bad[] = {
        0, 0x80000, 0x3f201000, KERNEL, 0xffff00003f201000, 0xffff800000000000, HOLE, -8UL};
    int pid;

    CHILD(pid)
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
            must(try_peek(bad[i]) == KILLED(SIGSEGV));
            must(try_poke(bad[i]) == KILLED(SIGSEGV));
            must(try_jump(bad[i]) == KILLED(SIGSEGV));
        }
    must(ended_well(pid));
}
