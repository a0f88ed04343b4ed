/*
 * tests NAME: one test; its files are the others in this folder, tests.h says how one is written.
 *
 *   tests           their names, and what each shows
 *   tests all       all those that Linux passes, too, one after the other
 *   tests here      all others
 */
#include "tests.h"

#define PATIENCE 120 /* seconds that a test may take */

/* The linker's, for the section of that name. */
extern const struct test __start_tests[], __stop_tests[];

void
failed(const char *file, int line)
{
    fail("%s:%d: it is not so\n", file, line);
}

/* ---- Children ---- */

int
begin(void)
{
    int pid = (int)fork();

    if (pid < 0)
        fail("fork: %d\n", pid);
    return pid;
}

int
status_of(int pid)
{
    int status = -1;

    must(wait4(pid, &status, 0, NULL) == pid);
    return status & ~0x80;
}

int
sleeper(void)
{
    int parent = (int)getpid(), pid;
    const struct timespec moment = {0, 20000000};

    CHILD(pid) {
        while (getppid() == parent)
            nanosleep(&moment, NULL);
    }
    return pid;
}

void
call(int pid)
{
    must(kill(pid, SIGUSR1) == 0);
}

bool
came(int pid)
{
    return status_of(pid) == KILLED(SIGUSR1);
}

void
until_gone(int pid)
{
    const struct timespec moment = {0, 2000000};

    for (int turns = 0; kill(pid, 0) == 0; turns++)
        if (turns < 10)
            sched_yield();
        else
            nanosleep(&moment, NULL);
}

void
open_gate(int pid)
{
    call(pid);
    must(came(pid));
}

void
let_run(int turns)
{
    const struct timespec moment = {0, 1000000};

    while (turns-- > 0)
        sched_yield();
    nanosleep(&moment, NULL);
}

void
spin(void)
{
    for (volatile uint64_t i = 0; i < 10000000000; i++)
        ;
}

/* ---- Memory ---- */

void *
pages(size_t n, int prot)
{
    void *p = mmap(NULL, n * PAGE_SIZE, prot, ANON, -1, 0);

    must(error_of(p) == 0);
    return p;
}

/* Where in page i its mark is. */
static volatile uint64_t *
place(const void *start, size_t i)
{
    return (volatile uint64_t *)(uintptr_t)start + i * WORDS + i * 37 % WORDS;
}

void
mark(void *start, size_t n, uint64_t value)
{
    for (size_t i = 0; i < n; i++)
        *place(start, i) = (value << 32) + i + 1;
}

bool
marked(const void *start, size_t n, uint64_t value)
{
    for (size_t i = 0; i < n; i++)
        if (*place(start, i) != (value << 32) + i + 1)
            return false;
    return true;
}

bool
all_bytes(const void *start, size_t n, int value)
{
    const volatile char *p = start;

    for (size_t i = 0; i < n; i++)
        if (p[i] != (char)value)
            return false;
    return true;
}

int
try_peek(uint64_t addr)
{
    int pid;

    CHILD(pid)
        peek(addr);
    return status_of(pid);
}

int
try_poke(uint64_t addr)
{
    int pid;

    CHILD(pid)
        poke(addr, 1);
    return status_of(pid);
}

int
try_jump(uint64_t addr)
{
    int pid;

    CHILD(pid)
        jump(addr);
    return status_of(pid);
}

/* ---- Tests ---- */

static void
body(const struct test *t)
{
    int status;

    t->run();
    must(wait4(-1, &status, 0, NULL) == -ECHILD); /* it has waited for all of its children */
}

/* Its status, as status_of has it; -1: it came to no end. */
static int
wait_patiently(int pid)
{
    const struct timespec moment = {0, 1000000};
    struct timespec start, now;
    int status = -1;

    must(clock_gettime(CLOCK_MONOTONIC, &start) == 0);
    while (wait4(pid, &status, WNOHANG, NULL) == 0) {
        must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
        if (now.tv_sec - start.tv_sec > PATIENCE) {
            kill(pid, SIGKILL);
            status_of(pid);
            return -1;
        }
        nanosleep(&moment, NULL);
    }
    return status & ~0x80;
}

/* Run it, and say what came of it. */
static bool
passes(const struct test *t)
{
    int pid;

    CHILD(pid)
        body(t);
    int status = wait_patiently(pid);
    if (status == 0)
        printf("%s: ok\n", t->name);
    else if (status == -1)
        printf("%s: NO END\n", t->name);
    else
        printf("%s: FAILED, status %x\n", t->name, status);
    return status == 0;
}

int
main(int argc, char *argv[])
{
    size_t run = 0, wrong = 0;
    bool all = argc > 1 && strcmp(argv[1], "all") == 0,
         here = argc > 1 && strcmp(argv[1], "here") == 0;

    executed(argc, argv);
    for (const struct test *t = __start_tests; t < __stop_tests; t++) {
        if (argc < 2)
            printf("%-20s %s%s%s\n", t->name, t->what, t->why_here ? "; only here: " : "",
                   t->why_here ? t->why_here : "");
        else if ((all && !t->why_here) || (here && t->why_here) || strcmp(argv[1], t->name) == 0)
            run++, wrong += !passes(t);
    }
    if (all || here)
        printf("%zu tests, %zu failed\n", run, wrong);
    if (argc > 1 && run == 0)
        fail("there is no test %s\n", argv[1]);
    return wrong != 0;
}
