/*
 * scenario NAME: a little of everything that needs memory, while one of the kernel's allocations fails (the monitor's
 * failnth). A call may have no memory then, or a process be killed as it has none; but nothing else may go wrong, and
 * what could not be done has changed nothing.
 *
 *   scenario        their names
 *   scenario exit   for exec, which becomes this: ends with status 4
 */
#include "libc.h"

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define FEW  6 /* pages */

#define WORDS (PAGE_SIZE / sizeof(uint64_t))

static uint64_t in_data[FEW * WORDS] = {1}, in_bss[FEW * WORDS];

/* Has the call been done? If not, there was no memory: there is no other excuse. */
static bool
done(long result)
{
    if (result < 0 && result != -ENOMEM)
        fail("a call has returned %ld\n", result);
    return result >= 0;
}

/* A mapping of n pages; NULL: there was no memory. */
static char *
pages(size_t n, int prot)
{
    char *p = mmap(NULL, n * PAGE_SIZE, prot, ANON, -1, 0);

    return done(error_of(p)) ? p : NULL;
}

static void
mark(volatile uint64_t *p, uint64_t value)
{
    for (size_t i = 0; i < FEW; i++)
        p[i * WORDS + i] = value + i;
}

static bool
marked(const volatile uint64_t *p, uint64_t value)
{
    for (size_t i = 0; i < FEW; i++)
        if (p[i * WORDS + i] != value + i)
            return false;
    return true;
}

static bool
all(const volatile char *p, size_t n, char value)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value)
            return false;
    return true;
}

/* The child ends with this status, or as there is no memory for it. */
static void
expect(long pid, int code)
{
    int status = -1;

    require(wait4((int)pid, &status, 0, NULL) == pid);
    if (status != code << 8 && status != SIGKILL)
        fail("a child has ended with %x instead of %x\n", status, code << 8);
}

/* ---- The scenarios ---- */

static void
children(void)
{
    mark(in_data, 1);
    mark(in_bss, 2);
    for (int i = 0; i < 2; i++) {
        long pid = fork();
        if (pid == 0) {
            require(marked(in_data, 1) && marked(in_bss, 2));
            mark(in_data, 3);
            long child = fork();
            if (child == 0) {
                require(marked(in_data, 3) && marked(in_bss, 2));
                mark(in_bss, 4);
                exit(6);
            }
            if (done(child))
                expect(child, 6);
            require(marked(in_data, 3) && marked(in_bss, 2));
            exit(5);
        }
        if (done(pid)) {
            mark(in_bss, 2);
            expect(pid, 5);
        }
        require(marked(in_data, 1) && marked(in_bss, 2));
    }
}

static void
programs(void)
{
    char name[] = "scenario", exits[] = "exit", variable[] = "A=1";
    char *const argv[] = {name, exits, NULL}, *const envp[] = {variable, NULL};
    long pid = fork();

    if (!done(pid))
        return;
    if (pid > 0) {
        expect(pid, 4);
        return;
    }
    mark(in_data, 1);
    mark(in_bss, 2);
    if (!done(execve(name, argv, envp))) {
        require(marked(in_data, 1) && marked(in_bss, 2));
        mark(in_data, 3);
        require(marked(in_data, 3));
        exit(4);
    }
}

static void
mappings(void)
{
    char *p = pages(8, RW);

    if (!p)
        return;
    memset(p, 'x', 8 * PAGE_SIZE);
    if (done(munmap(p + 2 * PAGE_SIZE, PAGE_SIZE))) {
        require(!can_read(p + 2 * PAGE_SIZE));
        if (done(error_of(mmap(p + 2 * PAGE_SIZE, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0))))
            require(all(p + 2 * PAGE_SIZE, PAGE_SIZE, 0));
        else
            require(!can_read(p + 2 * PAGE_SIZE));
    } else {
        require(all(p + 2 * PAGE_SIZE, PAGE_SIZE, 'x'));
    }
    bool readonly = done(mprotect(p + 4 * PAGE_SIZE, PAGE_SIZE, PROT_READ));
    require(all(p + 3 * PAGE_SIZE, 5 * PAGE_SIZE, 'x')
            && can_write(p + 4 * PAGE_SIZE) == !readonly);
    p[3 * PAGE_SIZE] = p[5 * PAGE_SIZE] = 'y';
}

static void
replacements(void)
{
    char *p = pages(8, RW);

    if (!p)
        return;
    memset(p, 'x', 8 * PAGE_SIZE);
    bool replaced =
        done(error_of(mmap(p + PAGE_SIZE, 3 * PAGE_SIZE, PROT_READ, ANON | MAP_FIXED, -1, 0)));
    require(all(p + PAGE_SIZE, 3 * PAGE_SIZE, replaced ? 0 : 'x'));
    require(all(p, PAGE_SIZE, 'x') && all(p + 4 * PAGE_SIZE, 4 * PAGE_SIZE, 'x'));
    p[0] = p[4 * PAGE_SIZE] = 'y';
    require(can_write(p + 5 * PAGE_SIZE) && can_write(p + PAGE_SIZE) == !replaced);
    if (done(munmap(p, 8 * PAGE_SIZE)))
        require(!can_read(p) && !can_read(p + 7 * PAGE_SIZE));
}

static void
heap(void)
{
    char *start = brk(NULL), *end = start + 5 * PAGE_SIZE;

    if (brk(end) != end) {
        require(brk(NULL) == start && !can_read(start));
        return;
    }
    memset(start, 'h', 5 * PAGE_SIZE);
    end = brk(start + 2 * PAGE_SIZE);
    require(end == start + 2 * PAGE_SIZE); /* nothing is needed for less */
    end = brk(start + 7 * PAGE_SIZE);
    require(end == start + 7 * PAGE_SIZE || end == start + 2 * PAGE_SIZE);
    require(all(start, 2 * PAGE_SIZE, 'h'));
    require(all(start + 2 * PAGE_SIZE, (size_t)(end - start) - 2 * PAGE_SIZE, 0));
}

static void
faults(void)
{
    volatile char *p = (volatile char *)pages(6, RW);
    volatile char *stack = (volatile char *)__builtin_frame_address(0);

    if (!p)
        return;
    require(p[0] == 0 && p[PAGE_SIZE] == 0);
    p[PAGE_SIZE] = 1;
    p[2 * PAGE_SIZE] = 2;
    require(p[PAGE_SIZE] == 1 && p[PAGE_SIZE + 1] == 0 && p[2 * PAGE_SIZE] == 2 && p[0] == 0);
    stack[-(1 << 20)] = 3;
    stack[-(3 << 20)] = 4;
    require(stack[-(1 << 20)] == 3 && stack[-(3 << 20)] == 4);
    mark(in_data, 5);
    mark(in_bss, 6);
    require(marked(in_data, 5) && marked(in_bss, 6));
    p = mmap((void *)0x5000000000, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0);
    if (done(error_of((const void *)(uintptr_t)p)))
        p[5] = 5; /* three more tables */
}

static void
copies(void)
{
    char *p = pages(4, RW);

    if (!p)
        return;
    require(uname((void *)(p + PAGE_SIZE - 20)) == 0); /* into two pages that are not there yet */
    require(strcmp(p + PAGE_SIZE - 20 + 4 * 65, "aarch64") == 0);
    mark(in_bss, 1);
    long pid = fork();
    if (pid == 0) {
        require(clock_gettime(CLOCK_MONOTONIC, (void *)(in_bss + WORDS + 8)) == 0);
        require(clock_gettime(CLOCK_MONOTONIC, (void *)(p + 2 * PAGE_SIZE)) == 0);
        require(marked(in_bss, 1));
        exit(7);
    }
    if (done(pid))
        expect(pid, 7);
    require(marked(in_bss, 1) && in_bss[WORDS + 8] == 0
            && all(p + 2 * PAGE_SIZE, 2 * PAGE_SIZE, 0));
}

static void
waits(void)
{
    long pid[4];
    struct rusage *usage = (void *)pages(1, RW);
    int status;

    for (int i = 0; i < 4; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            if (i == 3 && fork() == 0) /* an orphan */
                sched_yield();
            exit(10 + i);
        }
        done(pid[i]);
    }
    for (int i = 3; i >= 0; i--)
        if (pid[i] > 0) {
            require(wait4((int)pid[i], &status, 0, usage) == pid[i]);
            require(status == SIGKILL || status == (10 + i) << 8);
        }
    require(wait4(-1, &status, 0, NULL) == -ECHILD);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"children", children}, {"programs", programs},
    {"mappings", mappings}, {"replacements", replacements},
    {"heap", heap},         {"faults", faults},
    {"copies", copies},     {"waits", waits},
};

int
main(int argc, char *argv[])
{
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 4;
    for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
        if (argc < 2) {
            puts(scenarios[i].name);
        } else if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            printf("%s: all as it should be\n", argv[1]);
            return 0;
        }
    }
    if (argc > 1)
        fail("there is no scenario %s\n", argv[1]);
    return 0;
}
