/*
 * What processes cost, counted by themselves: `bench NAME` prints one of bench.py's rows. The bench kernel lets EL0
 * read the counter of instructions (PMUSERENR_EL0), which counts those of the kernel as well.
 */
#include "libc.h"

#define ROUNDS 1000
#define PAGES  256

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
    else
        fail("there is no such measurement: %s\n", what);
    return 0;
}
