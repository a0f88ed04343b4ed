/*
 * Lab 5's check of context_switch: threads that are nothing but a set of registers and a stack, all made up. The
 * model knows in which state each was left, and that is how it has to be found again.
 */
#include "check.h"
#include "memlayout.h"
#include "proc.h"
#include "registers.h"
#include "sched.h"
#include "string.h"
#include "sysreg.h"

#define THREADS 12
#define WORDS   128 /* of each thread's stack; what is left of check_stack lies below them all */
#define GUARD   4   /* words */

/* A context is the check's only way into a thread, and there may be anything around it. */
static struct thread {
    uint64_t below[GUARD];
    struct context context;
    uint64_t above[GUARD + 1]; /* an odd number: every other context lies at 8 modulo 16 */
} threads[THREADS], threads_before[THREADS];

/* The model. */
static struct {
    struct registers left; /* in which state */
    int pad;               /* where it goes on */
} model[THREADS];
static uint64_t stacks_before[THREADS][WORDS];
static size_t running;

static uint64_t *
stack_of(size_t i)
{
    return (uint64_t *)(void *)(check_stack + STACK_SIZE) - (i + 1) * WORDS;
}

/* Somewhere on its stack, with room below for what context_switch may want to put there. */
static uint64_t
some_sp(size_t i)
{
    return (uint64_t)(stack_of(i) + WORDS / 2) + 16 * check_random_below(WORDS / 4 + 1);
}

/* Where it goes on: no other thread does there. */
static int
some_pad(size_t i)
{
    return (int)(i + THREADS * check_random_below(PADS / THREADS));
}

/* Threads that have never run: as if they had been left with these registers. */
static void
make_threads(void)
{
    fill_random(threads, sizeof(threads) / 8);
    fill_random(check_stack, STACK_SIZE / 8);
    for (size_t i = 0; i < THREADS; i++) {
        struct registers *r = &model[i].left;
        registers_random(r);
        r->sp = some_sp(i);
        model[i].pad = some_pad(i);
        r->x[30] = PAD(model[i].pad);
        struct context *c = &threads[i].context;
        memcpy(&c->x19, &r->x[19], 11 * sizeof(uint64_t));
        c->lr = r->x[30];
        c->sp = r->sp;
        c->tpidr = r->tpidr_el0;
    }
    running = 0;
}

static bool
words_differ(const uint64_t *a, const uint64_t *b, size_t n)
{
    return memcmp(a, b, n * sizeof(*a)) != 0;
}

/* A sleeping thread's stack is its own; of who left, and of who came, what is below SP is free. */
static void
expect_stacks(size_t from, size_t to)
{
    for (size_t i = 0; i < THREADS; i++) {
        const uint64_t *now = stack_of(i);
        size_t first = 0;
        if (i == from || i == to)
            first = (model[i].left.sp - (uint64_t)now) / 8;
        EXPECT(!words_differ(now + first, stacks_before[i] + first, WORDS - first),
               "expected nothing to change on thread %lu's stack%s, found that something has", i,
               first ? " from SP on" : "");
    }
}

static void
expect_contexts(size_t from)
{
    for (size_t i = 0; i < THREADS; i++) {
        const struct thread *now = &threads[i], *before = &threads_before[i];
        EXPECT(
            !words_differ(now->below, before->below, GUARD)
                && !words_differ(now->above, before->above, GUARD + 1),
            "expected memory around thread %lu's struct context to stay as it is, found it changed",
            i);
        EXPECT(i == from || memcmp(&now->context, &before->context, sizeof(now->context)) == 0,
               "expected only *from to be written, found thread %lu's struct context changed", i);
    }
}

static void
expect_left(const struct registers *found, size_t to)
{
    const struct registers *left = &model[to].left;

    expect_x(found, left->x, 19, 30, ", as that thread had left it");
    EXPECT(found->sp == left->sp, "SP: expected 0x%lx, as that thread had left it, found 0x%lx",
           left->sp, found->sp);
    EXPECT(found->tpidr_el0 == left->tpidr_el0,
           "TPIDR_EL0: expected 0x%lx, as that thread had left it, found 0x%lx", left->tpidr_el0,
           found->tpidr_el0);
}

/* The running thread, in a new state, calls context_switch. */
static void
switch_to(size_t to)
{
    static struct registers in, out;
    size_t from = running;
    uint64_t daif = read_sysreg(daif);

    check_doing("context_switch(thread %lu's, thread %lu's)", from, to);
    registers_random(&in);
    in.sp = some_sp(from);
    in.x[0] = (uint64_t)&threads[from].context;
    in.x[1] = (uint64_t)&threads[to].context;
    model[from].pad = some_pad(from);
    in.x[30] = PAD(model[from].pad);
    model[from].left = in;
    memcpy(threads_before, threads, sizeof(threads));
    for (size_t i = 0; i < THREADS; i++)
        memcpy(stacks_before[i], stack_of(i), sizeof(stacks_before[i]));

    int pad = go_context_switch(&in, &out);

    EXPECT(to == from || pad != model[from].pad,
           "expected it to return where thread %lu had left, found that it has returned to its "
           "caller: "
           "write context_switch in kern/switch.S",
           to);
    EXPECT(
        pad == model[to].pad,
        "expected it to return to 0x%lx, where thread %lu had left, found that it has returned to "
        "0x%lx",
        PAD(model[to].pad), to, PAD(pad));
    expect_left(&out, to);
    EXPECT(out.daif == daif,
           "expected interrupts to stay masked as they are (DAIF 0x%lx), found 0x%lx", daif,
           out.daif);
    EXPECT(out.tpidr_el1 == (uint64_t)current(),
           "expected TPIDR_EL1 to stay as it is, 0x%lx, found 0x%lx", (uint64_t)current(),
           out.tpidr_el1);
    expect_contexts(from);
    expect_stacks(from, to);
    running = to;
}

CHECK(context_switch)
{
    make_threads();
    switch_to(1);                   /* a thread that has never run */
    switch_to(1);                   /* from == to: what it leaves is what it finds */
    switch_to(0);                   /* and back */
    for (size_t i = 0; i < 24; i++) /* three that take turns */
        switch_to((running + 1) % 3);
    for (size_t i = 1; i < THREADS; i++) /* a chain of all */
        switch_to(i);
    for (size_t i = THREADS - 1; i-- > 0;)
        switch_to(i);
    for (size_t i = 0; i < 100; i++)
        switch_to(check_random_below(THREADS));
}
