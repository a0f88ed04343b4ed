/* What becomes of registers when a process becomes two. */
#include "tests.h"
#include "registers.h"

#define REGISTERS (sizeof(struct registers) / 8)

static struct registers in, out[2] __attribute__((aligned(16)));
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
    uint64_t *word = (uint64_t *)&in;

    for (size_t i = 0; i < REGISTERS; i++)
        word[i] = random();
    in.nzcv &= 0xf0000000;
    in.fpcr &= 0x03c00000;               /* DN, FZ, rounding mode (ARM ARM C5.2.7) */
    in.fpsr &= 0x0800009f;               /* QC, IDC, IXC, UFC, OFC, DZC, IOC (C5.2.8) */
    in.x[17] = random() % 8 ? 0 : 20000; /* sometimes others run before, too */
}

/* All that went in has come out, but x0; and sp is where it should be. */
static void
compare(const struct registers *got)
{
    in.x[0] = got->x[0];
    in.x[17] = 0;
    in.sp = (uint64_t)got;
    for (size_t i = 0; i < REGISTERS; i++)
        must(((uint64_t *)&in)[i] == ((const uint64_t *)got)[i]);
}

/* fork, with these values; the child on another stack if own is true. */
static void
fork_with(uint64_t seed, bool own)
{
    state = seed * 0x9e3779b97f4a7c15;
    shuffle();
    in.x[8] = SYS_clone;
    in.x[0] = SIGCHLD;
    in.x[1] = own ? (uint64_t)&out[1] : 0;
    out[0].x[0] = out[1].x[0] = -1UL;
    registers_try(&in, out);
    if (out[own].x[0] == 0) {
        compare(&out[own]);
        must(!own || out[0].x[0] == -1UL);
        exit(0);
    }
    must((int64_t)out[0].x[0] > 0);
    must(out[1].x[0] == -1UL);
    compare(out);
    must(ended_well((int)out[0].x[0]));
}

TEST(registers, "parent and child have all registers as they were, but x0")
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        fork_with(seed, false);
}

TEST(registers_stack, "the same when the child begins on another stack")
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        fork_with(seed, true);
}

TEST(registers_bad_stack, "a stack that is none: the child ends when it uses it, and only then")
{
    static const uint64_t bad[] = {KERNEL, HOLE, 0x10, 0xffff00003f201000};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        state = i + 1;
        shuffle();
        in.x[8] = SYS_clone;
        in.x[0] = SIGCHLD;
        in.x[1] = bad[i];
        registers_try(&in, out);
        must((int64_t)out[0].x[0] > 0);
        must(status_of((int)out[0].x[0]) == KILLED(SIGSEGV));
    }
}

static uint64_t
tpidr(void)
{
    uint64_t value;

    __asm__ volatile("mrs %0, tpidr_el0" : "=r"(value));
    return value;
}

static void
set_tpidr(uint64_t value)
{
    __asm__ volatile("msr tpidr_el0, %0" : : "r"(value));
}

TEST(registers_thread, "TPIDR_EL0 is the parent's at first, and then each has its own")
{
    int pid;

    set_tpidr(0x123456789);
    CHILD(pid) {
        must(tpidr() == 0x123456789);
        set_tpidr(0x987654321);
        for (int i = 0; i < 10; i++) {
            sched_yield();
            must(tpidr() == 0x987654321);
        }
    }
    for (int i = 0; i < 10; i++) {
        sched_yield();
        must(tpidr() == 0x123456789);
    }
    must(ended_well(pid) && tpidr() == 0x123456789);
}

/* A sum in this rounding mode, which others may interrupt. */
static uint64_t
sum(uint64_t mode)
{
    double s = 0;
    uint64_t bits;

    __asm__ volatile("msr fpcr, %0" : : "r"(mode << 22));
    for (int i = 1; i < 2000; i++) {
        s += 1.0 / i;
        if (i % 32 == 0)
            sched_yield();
    }
    memcpy(&bits, &s, sizeof(bits));
    return bits;
}

TEST(registers_rounding, "each goes on in its own rounding mode, with its own numbers")
{
    uint64_t right[4];
    int pid[8];

    for (uint64_t mode = 0; mode < 4; mode++)
        right[mode] = sum(mode);
    must(right[1] != right[2]);
    for (uint64_t i = 0; i < 8; i++)
        CHILD(pid[i])
            must(sum(i % 4) == right[i % 4]);
    must(sum(1) == right[1]);
    for (int i = 0; i < 8; i++)
        must(ended_well(pid[i]));
}

TEST(registers_first_use, "who uses vector registers first after fork changes nobody's but its own")
{
    int pid;

    for (int i = 0; i < 20; i++) {
        uint64_t v8, v31;
        long forked;
        /* Loaded, fork, stored: nothing is between these that the compiler could use them for. */
        __asm__ volatile("dup v8.2d, %3\n dup v31.2d, %3\n"
                         "mov x8, %4\n mov x0, %5\n mov x1, #0\n svc #0\n"
                         "cbnz x0, 1f\n"
                         "movi v8.2d, #0\n movi v31.2d, #0\n"
                         "b 2f\n"
                         "1: mov x9, x0\n mov x8, %6\n svc #0\n svc #0\n svc #0\n mov x0, x9\n"
                         "2: mov %0, x0\n umov %1, v8.d[1]\n umov %2, v31.d[0]\n"
                         : "=&r"(forked), "=&r"(v8), "=&r"(v31)
                         : "r"(0x1111111100000000 + (uint64_t)i), "i"(SYS_clone), "i"(SIGCHLD),
                           "i"(SYS_sched_yield)
                         : "x0", "x1", "x8", "x9", "v8", "v31", "memory");
        must(forked >= 0);
        if (forked == 0)
            exit(v8 == 0 && v31 == 0 ? 0 : 1);
        pid = (int)forked;
        must(v8 == 0x1111111100000000 + (uint64_t)i && v31 == v8);
        must(ended_well(pid));
    }
}

TEST(registers_failed_exec, "an execve that fails leaves all registers as they were, but x0")
{
    for (uint64_t i = 1; i <= 20; i++) {
        state = i;
        shuffle();
        in.x[8] = SYS_execve;
        in.x[0] = i % 2 ? (uint64_t) "/nothing/of/that/name" : KERNEL;
        in.x[1] = in.x[2] = 0;
        registers_try(&in, out);
        must((int64_t)out[0].x[0] == (i % 2 ? -ENOENT : -EFAULT));
        compare(out);
    }
}
