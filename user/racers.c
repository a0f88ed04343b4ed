/*
 * racers [ROUNDS] [SEED] [N]: processes that take pages, mark them, give them back, fork and end, all at random, N at
 * a time and more. Whatever the others do, and whoever a page came from: each process finds in it what it last wrote
 * there.
 */
#include "libc.h"

#define PAGES      24 /* that one has at most; the first BSS_PAGES of them are always there */
#define BSS_PAGES  4
#define GENERATION 3 /* the last one that is born */
#define RW         (PROT_READ | PROT_WRITE)

#define WORDS (PAGE_SIZE / sizeof(uint64_t))

static uint64_t in_bss[BSS_PAGES][WORDS] __attribute__((aligned(PAGE_SIZE)));

/* The pages of this process: where, and what is in them. 0: it has not been written to. */
static struct {
    uint64_t *at; /* NULL: none */
    uint64_t mark;
} page[PAGES];

static uint64_t state, marks;
static int generation, children;
static uint64_t killed; /* children that there was no memory for */

static uint64_t
below(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

/* ---- Pages ---- */

static void
check(size_t i)
{
    const volatile uint64_t *at = page[i].at;

    for (size_t k = 0; at && k < WORDS; k += 73)
        if (at[k] != (page[i].mark == 0 ? 0 : page[i].mark + k))
            fail("page %zu has %lx at %zu, and should have %lx\n", i, at[k], k, page[i].mark + k);
}

static void
mark(size_t i)
{
    volatile uint64_t *at = page[i].at;

    check(i);
    page[i].mark = (uint64_t)getpid() << 40 | ++marks << 12;
    for (size_t k = 0; at && k < WORDS; k += 73)
        at[k] = page[i].mark + k;
}

static void
take(size_t i)
{
    void *at = mmap(NULL, PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(error_of(at) == 0 || error_of(at) == -ENOMEM);
    if (error_of(at) == 0) {
        page[i].at = at;
        page[i].mark = 0;
    }
}

static void
give_back(size_t i)
{
    check(i);
    long error = munmap(page[i].at, PAGE_SIZE);
    require(error == 0 || error == -ENOMEM);
    if (!error)
        page[i].at = NULL;
}

/* ---- Processes ---- */

/* One child has ended; or with WNOHANG perhaps none. */
static void
wait_for_one(int options)
{
    int status;
    long pid = wait4(-1, &status, options, NULL);

    require(pid >= 0);
    if (pid == 0)
        return;
    children--;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        killed++; /* by the kernel, which had no memory */
    else if (status != 0)
        fail("a child has ended with %x\n", status);
}

static void run(void);

static void
start_one(uint64_t seed)
{
    long pid = fork();

    require(pid >= 0 || pid == -ENOMEM || pid == -EAGAIN);
    if (pid == 0) {
        generation++;
        children = 0;
        state = seed;
        run();
        exit(0);
    }
    if (pid > 0)
        children++;
}

static void
step(void)
{
    size_t i = below(PAGES);

    switch (below(13)) {
    case 0:
    case 1:
    case 2:
        if (!page[i].at)
            take(i);
        break;
    case 3:
        if (page[i].at && i >= BSS_PAGES)
            give_back(i);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        mark(i);
        break;
    case 8:
        check(i);
        break;
    case 9:
    case 10:
        sched_yield(); /* so that many are alive */
        break;
    case 11:
        if (children > 0)
            wait_for_one(WNOHANG);
        break;
    default:
        if (generation > 0 && generation < GENERATION && children < 2)
            start_one(below(UINT64_MAX) | 1);
        break;
    }
}

/* A racer's life. Some do not wait for their children. */
static void
run(void)
{
    for (uint64_t left = 10 + below(60); left > 0; left--)
        step();
    for (size_t i = 0; i < PAGES; i++)
        check(i);
    if (below(4) != 0)
        while (children > 0)
            wait_for_one(0);
}

int
main(int argc, char *argv[])
{
    uint64_t rounds = argc > 1 ? number(argv[1]) : 100, seed = argc > 2 ? number(argv[2]) : 1;
    int at_a_time = argc > 3 ? (int)number(argv[3]) : 8; /* that are started and not waited for */

    state = seed * 0x9e3779b97f4a7c15 | 1;
    for (size_t i = 0; i < BSS_PAGES; i++)
        page[i].at = in_bss[i];
    for (uint64_t i = 0; i < rounds; i++) {
        for (uint64_t k = below(4); k > 0; k--)
            step();
        if (children >= at_a_time)
            wait_for_one(0);
        start_one((i + 1) * 0x9e3779b97f4a7c15 ^ seed);
    }
    while (children > 0)
        wait_for_one(0);
    for (size_t i = 0; i < PAGES; i++)
        check(i);
    if (killed > 0)
        printf("%lu had to end, as there was no memory\n", killed);
    printf("%lu rounds: every mark is in place\n", rounds);
    return 0;
}
