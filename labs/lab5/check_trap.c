/*
 * Lab 5's checks of trap_entry and trap_return, without a program: what it would have in its registers is made up,
 * and so are frames. The grader's judges do the same with real ones.
 */
#include "check.h"
#include "memlayout.h"
#include "printf.h"
#include "proc.h"
#include "registers.h"
#include "string.h"
#include "sysreg.h"
#include "trap.h"

#define ROUNDS 40
#define WORDS  (STACK_SIZE / 8)
#define ABOVE  32 /* words above the frame, at the least */

static struct registers in, out;
static uint64_t before[WORDS]; /* what was on check_stack */
static uint64_t vector;
static int landed; /* on which pad */
static uint64_t timer;
static struct proc *who; /* runs */

/* The timer stands still: no interrupt is pending, and nobody else wants to run. */
static void
begin(void)
{
    who = current();
    timer = read_sysreg(cntv_ctl_el0);
    write_sysreg(cntv_ctl_el0, 0);
    sched_wanted = false;
}

static void
put_back(void)
{
    write_sysreg(cntv_ctl_el0, timer);
}

static uint64_t *
stack_words(void)
{
    return (uint64_t *)(void *)check_stack;
}

/* A frame somewhere near the top of the stack, with junk in it and all around. */
static struct trap_frame *
some_frame(void)
{
    uint64_t *top = stack_words() + WORDS - ABOVE - 2 * check_random_below(32);

    fill_random(check_stack, WORDS);
    return (struct trap_frame *)(void *)top - 1;
}

static void
expect_above(const struct trap_frame *frame)
{
    size_t top = (size_t)((const uint64_t *)(const void *)(frame + 1) - stack_words());

    for (size_t i = top; i < WORDS; i++)
        EXPECT(
            stack_words()[i] == before[i],
            "expected nothing above the frame to change, found 0x%lx in place of 0x%lx, %lu bytes "
            "above its end",
            stack_words()[i], before[i], (i - top) * 8);
}

/* Their names, for messages: what follows x[30] in a frame. */
static const char *const names[] = {"sp (SP_EL0)", "elr", "spsr", "esr", "far"};

/* Registers that lack bits: what can be read back is what counts. */
static void
write_and_read_back(struct registers *r)
{
    write_sysreg(sp_el0, r->sp_el0);
    write_sysreg(elr_el1, r->elr);
    write_sysreg(spsr_el1, r->spsr);
    write_sysreg(esr_el1, r->esr);
    write_sysreg(far_el1, r->far);
    r->sp_el0 = read_sysreg(sp_el0);
    r->elr = read_sysreg(elr_el1);
    r->spsr = read_sysreg(spsr_el1);
    r->esr = read_sysreg(esr_el1);
    r->far = read_sysreg(far_el1);
}

/* ---- trap_return ---- */

static void
go_back(void *frame)
{
    registers_random(&in);
    in.sp = (uint64_t)frame;
    memcpy(before, check_stack, sizeof(before));
    landed = go_trap_return(&in, &out);
}

/* Not to EL0, but to one of the pads, with any flags. */
static int
some_way_back(uint64_t *elr, uint64_t *spsr)
{
    int pad = (int)check_random_below(PADS);

    *elr = PAD(pad);
    *spsr = SPSR_EL1H_MASKED | (check_random() & 0xf0000000);
    return pad;
}

/* On the pad there is what the frame has. wanted: a copy of the frame from before. */
static void
expect_state(const struct trap_frame *frame, const struct trap_frame *wanted, int pad)
{
    EXPECT(landed == pad, "expected eret to the frame's elr, 0x%lx, found that it went to 0x%lx",
           wanted->elr, PAD(landed));
    expect_x(&out, wanted->x, 0, 30, ", as in the frame");
    EXPECT(out.sp_el0 == wanted->sp, "SP_EL0: expected 0x%lx, sp of the frame, found 0x%lx",
           wanted->sp, out.sp_el0);
    EXPECT(out.nzcv == (wanted->spsr & 0xf0000000) && out.daif == (wanted->spsr & 0x3c0),
           "expected flags 0x%lx and DAIF 0x%lx, from spsr of the frame, found 0x%lx and 0x%lx",
           wanted->spsr & 0xf0000000, wanted->spsr & 0x3c0, out.nzcv, out.daif);
    EXPECT(out.sp == (uint64_t)(frame + 1),
           "SP: expected it at the frame's end, 0x%lx, for the next exception, found 0x%lx",
           (uint64_t)(frame + 1), out.sp);
    EXPECT(out.tpidr_el1 == (uint64_t)who,
           "TPIDR_EL1: expected 0x%lx, which says who runs, found 0x%lx", (uint64_t)who,
           out.tpidr_el1);
    expect_above(frame);
}

static void
return_to_pad(void)
{
    static struct trap_frame wanted;
    struct trap_frame *frame = some_frame();
    int pad = some_way_back(&frame->elr, &frame->spsr);

    wanted = *frame;
    check_doing("trap_return, frame at 0x%lx", (uint64_t)frame);
    const char *message = check_panics(go_back, frame);
    EXPECT(!message || strncmp(message, "kern/fault.c", 12) != 0, "%s", message); /* "write ..." */
    EXPECT(!message, "expected eret to the frame's elr, 0x%lx, found %s", wanted.elr, message);
    expect_state(frame, &wanted, pad);
    EXPECT(out.tpidr_el0 == in.tpidr_el0,
           "expected TPIDR_EL0 to stay the program's, 0x%lx, found 0x%lx", in.tpidr_el0,
           out.tpidr_el0);
}

/* Does it do all of that? Without a word if not. */
static bool
trap_return_works(void)
{
    for (int i = 0; i < 4; i++) {
        struct trap_frame *frame = some_frame();
        int pad = some_way_back(&frame->elr, &frame->spsr);
        struct trap_frame wanted = *frame;
        const uint64_t *top = (const uint64_t *)(const void *)(frame + 1);

        if (check_panics(go_back, frame) || landed != pad || out.sp != (uint64_t)top
            || memcmp(out.x, wanted.x, sizeof(wanted.x)) != 0 || out.sp_el0 != wanted.sp
            || out.nzcv + out.daif != wanted.spsr - 5 || out.tpidr_el1 != (uint64_t)who
            || memcmp(top, before + (top - stack_words()), ABOVE * sizeof(*top)) != 0)
            return false;
    }
    return true;
}

/* ---- trap_entry ---- */

/* As vectors.S leaves it: the program's x0 and x1 are in the frame, and x1 is the vector's number. */
static void
enter(void *frame)
{
    static struct registers r;
    struct trap_frame *f = frame;

    r = in;
    f->x[0] = in.x[0];
    f->x[1] = in.x[1];
    r.x[1] = vector;
    r.sp = (uint64_t)frame;
    memcpy(before, check_stack, sizeof(before));
    landed = go_trap_entry(&r, &out);
}

static void
expect_frame(const struct trap_frame *frame)
{
    const uint64_t wanted[] = {in.sp_el0, in.elr, in.spsr, in.esr, in.far};
    const uint64_t *found = &frame->sp;

    for (int i = 0; i < 31; i++)
        EXPECT(frame->x[i] == in.x[i],
               "expected the program's x%d in the frame, 0x%lx, found 0x%lx", i, in.x[i],
               frame->x[i]);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        EXPECT(found[i] == wanted[i], "expected %s in the frame to be 0x%lx, found 0x%lx", names[i],
               wanted[i], found[i]);
}

/*
 * FIQ and SError: none of the kernel's devices makes one, so trap reports them, before it asks anybody else. What it
 * says shows what it has been called with.
 */
static void
enter_and_report(void)
{
    static const char *const kind[] = {"fast interrupt (FIQ)", "SError"};
    static char wanted[128];
    struct trap_frame *frame = some_frame();

    registers_random(&in);
    in.elr &= ~KERNBASE; /* no address of the kernel's: trap looks for the function there */
    write_and_read_back(&in);
    vector = 10 + check_random_below(2);
    check_doing("trap_entry, vector %lu, frame at 0x%lx", vector, (uint64_t)frame);

    const char *message = check_panics(enter, frame);
    uint64_t current_in_trap = read_sysreg(tpidr_el1);
    write_sysreg(tpidr_el1, who);
    EXPECT(message, "expected trap to be called, found that it was not");
    EXPECT(strncmp(message, "kern/fault.c", 12) != 0, "%s", message); /* "write ..." */
    snprintf(wanted, sizeof(wanted), "fault: unexpected %s, in ?+0x0 (pc %lx)", kind[vector - 10],
             in.elr);
    expect_frame(frame);
    EXPECT(strcmp(message, wanted) == 0,
           "expected trap(0x%lx, %lu), which reports \"%s\", found \"%s\"", (uint64_t)frame, vector,
           wanted, message);
    expect_above(frame);
    EXPECT(read_sysreg(tpidr_el0) == in.tpidr_el0,
           "expected TPIDR_EL0 to stay the program's, 0x%lx, found 0x%lx", in.tpidr_el0,
           read_sysreg(tpidr_el0));
    EXPECT(current_in_trap == (uint64_t)who,
           "expected TPIDR_EL1 to stay as it is, 0x%lx, found 0x%lx", (uint64_t)who,
           current_in_trap);
}

/*
 * An interrupt of the kernel's that nobody has asked for: trap comes back at once, and then it is trap_return's turn.
 */
static void
enter_and_return(void)
{
    static struct trap_frame wanted;
    struct trap_frame *frame = some_frame();

    registers_random(&in);
    int pad = some_way_back(&in.elr, &in.spsr);
    write_and_read_back(&in);
    memcpy(wanted.x, in.x, sizeof(wanted.x));
    wanted.sp = in.sp_el0;
    wanted.elr = in.elr;
    wanted.spsr = in.spsr;
    vector = VECTOR_IRQ;
    check_doing("trap_entry, frame at 0x%lx, when trap returns", (uint64_t)frame);

    const char *message = check_panics(enter, frame);
    EXPECT(!message, "expected it to go on with trap_return, found %s", message);
    expect_state(frame, &wanted, pad);
}

CHECK(trap_entry)
{
    check_finally(put_back);
    begin();
    for (int i = 0; i < ROUNDS; i++)
        enter_and_report();
    if (trap_return_works()) /* else that is another check's affair */
        for (int i = 0; i < ROUNDS; i++)
            enter_and_return();
}

CHECK(trap_return)
{
    check_finally(put_back);
    begin();
    for (int i = 0; i < ROUNDS; i++)
        return_to_pad();
}
