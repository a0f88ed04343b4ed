/*
 * regs [N] [SEED]: N system calls, of several kinds, with random values in all registers. Each call must give the
 * right result, and leave memory and all registers but x0 as they were, whatever others do in between.
 */
#include "libc.h"
#include "registers.h"

#define WORDS (sizeof(struct registers) / 8)

static struct registers in, out __attribute__((aligned(16)));
static uint64_t memory[8192];
static uint64_t state;

static uint64_t
random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* New values everywhere; registers that have few bits get those. */
static void
shuffle(void)
{
    uint64_t *word = (uint64_t *)&in, value = random();

    for (size_t i = 0; i < WORDS; i++)
        word[i] = value += 0x9e3779b97f4a7c15;
    in.sp = (uint64_t)&out;
    in.nzcv &= 0xf0000000;
    in.fpcr &= 0x03c00000; /* DN, FZ, rounding mode (ARM ARM C5.2.7) */
    in.fpsr &= 0x0800009f; /* QC, IDC, IXC, UFC, OFC, DZC, IOC (C5.2.8) */
    in.x[17] = value % 256 ? 0 : 20000;
}

static const char *
name_of(size_t word)
{
    static char name[16];

    if (word < 31)
        snprintf(name, sizeof(name), "x%zu", word);
    else if (word < 36)
        snprintf(name, sizeof(name), "%.5s", "sp   nzcv tpidrfpcr fpsr " + 5 * (word - 31));
    else
        snprintf(name, sizeof(name), "v%zu", (word - 36) / 2);
    return name;
}

int
main(int argc, char *argv[])
{
    uint64_t n = argc > 1 ? number(argv[1]) : 1000;
    static struct {
        uint64_t number, argument;
        long result;
    } call[] = {
        {SYS_getpid, 0, 0}, {SYS_sched_yield, 0, 0},  {SYS_gettid, 0, 0},
        {SYS_brk, 0, 0},    {SYS_munmap, 1, -EINVAL}, {5000, 0, -ENOSYS},
    };

    uint64_t seed = argc > 2 ? number(argv[2]) : 0;
    state = seed + 1;
    call[0].result = call[2].result = getpid();
    call[3].result = (long)brk(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(memory); i++)
        memory[i] = seed + i;
    for (uint64_t i = 0; i < n; i++) {
        size_t c = i % ARRAY_SIZE(call);
        shuffle();
        in.x[8] = call[c].number;
        in.x[0] = call[c].argument;
        registers_try(&in, &out);
        if ((long)out.x[0] != call[c].result)
            fail("system call %lu (number %lu) returned %ld\n", i, in.x[8], (long)out.x[0]);
        in.x[0] = out.x[0];
        in.x[17] = 0;
        for (size_t w = 0; w < WORDS; w++)
            if (((uint64_t *)&in)[w] != ((uint64_t *)&out)[w])
                fail("system call %lu (number %lu): %s was %lx, is %lx\n", i, in.x[8], name_of(w),
                     ((uint64_t *)&in)[w], ((uint64_t *)&out)[w]);
        size_t m = i % ARRAY_SIZE(memory);
        if (memory[m] != seed + m)
            fail("system call %lu: memory[%zu] is %lx\n", i, m, memory[m]);
    }
    printf("%lu system calls, all registers kept\n", n);
    return 0;
}
