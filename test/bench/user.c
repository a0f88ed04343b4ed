/*
 * What processes cost, counted by themselves: `bench NAME` prints one of bench.py's rows. The bench kernel lets EL0
 * read the counter of instructions (PMUSERENR_EL0), which counts those of the kernel as well.
 */
#include "libc.h"

#define ROUNDS 1000
#define PAGES  256
#define EMPTY  0x40000000UL /* nothing is there, up to the end of an address space: 2^48 */

static inline uint64_t
counter(void)
{
    uint64_t n;

    __asm__ volatile("isb; mrs %0, pmevcntr0_el0" : "=r"(n) : : "memory");
    return n;
}

/* Two readings count themselves; 32 bits, which may wrap. */
static uint64_t
elapsed(uint64_t from, uint64_t to)
{
    uint64_t a = counter(), b = counter();

    return (uint32_t)(to - from) - (uint32_t)(b - a);
}

/* A system call without arguments, and nothing around it but its number. */
static inline void
call(long number)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0");

    __asm__ volatile("svc #0" : "=r"(x0) : "r"(x8) : "memory");
}

#define MEASURE(rounds, body)                               \
    ({                                                      \
        uint64_t start_ = counter();                        \
        for (uint64_t i = 0; i < (rounds); i++) {           \
            __asm__ volatile("" : "+r"(i) : : "memory");    \
            body;                                           \
        }                                                   \
        uint64_t middle_ = counter();                       \
        for (uint64_t i = 0; i < (rounds); i++)             \
            __asm__ volatile("" : "+r"(i) : : "memory");    \
        uint64_t stop_ = counter();                         \
        elapsed(start_, middle_) - elapsed(middle_, stop_); \
    })

static void
print(const char *name, uint64_t total, uint64_t n)
{
    printf("bench: %s %lu %lu\n", name, total, n);
}

/* Of two processes that do nothing but yield, each turn of one is a turn of the other: two switches. */
static void
yielding(bool quiet)
{
    call(SYS_sched_yield); /* the other is there now */
    uint64_t total = MEASURE(ROUNDS, call(SYS_sched_yield));
    if (!quiet)
        print("switch", total, 2UL * ROUNDS);
}

static void
mapping(void)
{
    static char *pages[PAGES];
    int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;

    uint64_t total = MEASURE(PAGES, {
        pages[i] = mmap(NULL, PAGE_SIZE, prot, flags, -1, 0);
        *(volatile char *)pages[i] = 1;
    });
    print("mmap", total, PAGES);
    total = MEASURE(PAGES, munmap(pages[i], PAGE_SIZE));
    print("munmap", total, PAGES);
    total = MEASURE(1, munmap((void *)EMPTY, (1UL << 48) - EMPTY));
    print("munmap_empty", total, 1);
}

#define LONG 100 /* instructions: no turn of a small loop has so many, and each tick has more */

/* A loop of few instructions a turn sees a tick as a turn that took long. */
static void
ticking(void)
{
    uint64_t ticks = 0, total = 0, usual = 0, before = counter();

    while (ticks < 20) {
        uint64_t now = counter(), turn = (uint32_t)(now - before);
        before = now;
        if (turn > LONG) {
            total += turn - usual;
            ticks++;
        } else {
            usual = turn;
        }
    }
    print("tick", total, ticks);
}

#if LAB >= 6
#define MANY 1024 /* pages */

static long
do_fork(void)
{
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* fork, a child that ends at once, and wait for it. */
static void
fork_exit_wait(void)
{
    long pid = do_fork();

    if (pid == 0)
        call(SYS_exit_group);
    if (pid < 0 || wait4((int)pid, NULL, 0, NULL) != pid)
        fail("fork: %ld\n", pid);
}

/* The same, but the child becomes this program once more, which does nothing. */
static void
fork_exec_wait(void)
{
    static char *const argv[] = {"bench", "nothing", NULL}, *const envp[] = {NULL};
    long pid = do_fork();

    if (pid == 0) {
        (void)execve(argv[0], argv, envp);
        fail("execve failed\n");
    }
    if (pid < 0 || wait4((int)pid, NULL, 0, NULL) != pid)
        fail("fork: %ld\n", pid);
}

static volatile char *
new_pages(size_t n)
{
    return mmap(NULL, n * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void
forking(void)
{
    uint64_t few[3], rounds = 100;

    fork_exit_wait();
    few[0] = MEASURE(rounds, fork_exit_wait());
    print("fork", few[0], rounds);
    volatile char *pages = new_pages(MANY);
    print("zero_fault", MEASURE(MANY, pages[i * PAGE_SIZE] = 1), MANY);
    few[1] = MEASURE(rounds, fork_exit_wait());
    print("fork_page", few[1] - few[0], rounds * MANY);

    /* The child lives on until the parent has written to half of the pages. */
    long pid = do_fork();
    if (pid == 0) {
        struct timespec second = {1000, 0};
        (void)nanosleep(&second, NULL);
        exit(0);
    }
    call(SYS_sched_yield);
    print("cow_shared", MEASURE(MANY / 2, pages[i * PAGE_SIZE] = 2), MANY / 2);
    (void)kill((int)pid, SIGKILL);
    (void)wait4((int)pid, NULL, 0, NULL);
    print("cow_sole", MEASURE(MANY / 2, pages[(MANY / 2 + i) * PAGE_SIZE] = 2), MANY / 2);
    (void)munmap((void *)(uint64_t)pages, MANY * PAGE_SIZE);

    for (int i = 0; i < 800; i++)
        fork_exit_wait();
    few[2] = MEASURE(rounds, fork_exit_wait());
    print("fork_late", few[2], rounds);
    print("exec", MEASURE(rounds, fork_exec_wait()) - few[2], rounds);
}
#endif

int
main(int argc, char *argv[])
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "null") == 0)
        print("null", MEASURE(ROUNDS, call(SYS_getppid)), ROUNDS);
    else if (strcmp(what, "yield") == 0)
        yielding(argc > 2);
    else if (strcmp(what, "mmap") == 0)
        mapping();
    else if (strcmp(what, "tick") == 0)
        ticking();
#if LAB >= 6
    else if (strcmp(what, "fork") == 0)
        forking();
    else if (strcmp(what, "nothing") == 0)
        exit(0);
#endif
    else
        fail("there is no such measurement: %s\n", what);
    return 0;
}
