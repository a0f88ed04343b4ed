/*
 * Lab 5's checks of syscall and user_trap: frames that are made up, on the thread that runs the checks. What a
 * function of the table does, and what user_fault does, is known by calling them without the student's code.
 */
#include "check.h"
#include "fpu.h"
#include "irq.h"
#include "proc.h"
#include "registers.h"
#include "string.h"
#include "syscall.h"
#include "sysreg.h"
#include "uapi/mman.h"
#include "vma.h"

/* What of the thread the functions tell, or change. */
static struct {
    int pid, ppid, killed;
    uint64_t brk_start, brk;
    struct fpu fpu;
    uint64_t timer;
} kept;

static void
keep(void)
{
    struct proc *p = current();

    kept.pid = p->pid;
    kept.ppid = p->ppid;
    kept.killed = p->killed;
    kept.brk_start = p->as.brk_start;
    kept.brk = p->as.brk;
    kept.fpu = p->fpu;
    kept.timer = read_sysreg(cntv_ctl_el0);
}

static void
put_back(void)
{
    struct proc *p = current();

    p->pid = kept.pid;
    p->ppid = kept.ppid;
    p->killed = kept.killed;
    p->as.brk_start = kept.brk_start;
    p->as.brk = kept.brk;
    fpu_drop();
    p->fpu = kept.fpu;
    if (kept.timer & 1)
        timer_init(); /* it goes on */
    sched_wanted = false;
}

/* Numbers that nobody can guess; and the program break is wider than 32 bits. */
static void
new_numbers(void)
{
    struct proc *p = current();

    p->pid = (int)check_random_below(1UL << 31);
    p->ppid = (int)check_random_below(1UL << 31);
    p->as.brk_start = USER_TOP; /* so brk never moves it */
    p->as.brk = check_random();
}

/* An argument: often one that means something. */
static uint64_t
some_argument(void)
{
    switch (check_random_below(4)) {
    case 0:
        return check_random_below(4);
    case 1:
        return check_random_below(4096);
    case 2:
        return check_random_below(1UL << 32);
    default:
        return check_random();
    }
}

/*
 * Arguments with which the call changes nothing, does not wait, and has nothing to do with an address space, as this
 * thread has none. False: there are none, or nobody knows them here.
 */
static bool
harmless(uint64_t number, uint64_t arg[6])
{
    switch (number) {
    case SYS_ioctl:
    case SYS_set_tid_address:
    case SYS_nanosleep:
    case SYS_clock_gettime:
    case SYS_uname:
    case SYS_getpid:
    case SYS_getppid:
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getegid:
    case SYS_gettid:
    case SYS_brk:
        return true;
    case SYS_read:
    case SYS_write:
        arg[2] = 0;
        return true;
    case SYS_writev:
        arg[2] = arg[2] % 2 * 2000; /* none, or more than there may be */
        return true;
    case SYS_set_robust_list:
        arg[1] = 20 + arg[1] % 8;
        return true;
    case SYS_clock_getres:
        arg[1] = 0;
        return true;
    case SYS_kill:
        arg[0] = -(arg[0] % 1000);
        return true;
    case SYS_mmap:
        if (arg[5] % PGSIZE == 0)
            arg[2] = PROT_WRITE | PROT_EXEC;
        return true;
    case SYS_munmap:
    case SYS_mprotect:
        arg[0] |= 1;
        return true;
    default:
        return false;
    }
}

static struct trap_frame frame, wanted; /* what syscall gets, and what it should make of it */

/* A program's state, about to make this call; for a number that the table does not have, with arguments for `as`. */
static bool
prepare(uint64_t number, uint64_t as)
{
    fill_random(&frame, sizeof(frame) / 8);
    for (int i = 0; i < 6; i++)
        frame.x[i] = some_argument();
    frame.x[8] = number;
    return harmless(as, frame.x);
}

static void
expect_wanted(void)
{
    const uint64_t *is = (const uint64_t *)&frame, *should = (const uint64_t *)&wanted;

    EXPECT(frame.x[0] == wanted.x[0], "expected the result 0x%lx (%ld) in x0, found 0x%lx (%ld)",
           wanted.x[0], (int64_t)wanted.x[0], frame.x[0], (int64_t)frame.x[0]);
    for (size_t i = 1; i < sizeof(frame) / 8; i++)
        EXPECT(is[i] == should[i],
               "expected only x0 of the frame to change, found 0x%lx in place of 0x%lx in its word "
               "%lu "
               "(x0 to x30, sp, elr, spsr, esr, far)",
               is[i], should[i], i);
}

/* A call that there is. */
static void
call(uint64_t number)
{
    if (!prepare(number, number))
        return;
    new_numbers();
    wanted = frame;
    wanted.x[0] = (uint64_t)syscall_table[number](wanted.x);
    check_doing("syscall(frame), x8 = %lu, x0 to x5 = 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx 0x%lx", number,
                frame.x[0], frame.x[1], frame.x[2], frame.x[3], frame.x[4], frame.x[5]);
    syscall(&frame);
    expect_wanted();
}

/* One that there is not. */
static void
no_call(uint64_t number, uint64_t as)
{
    if (!prepare(number, as))
        return;
    new_numbers();
    wanted = frame;
    wanted.x[0] = (uint64_t)-ENOSYS;
    check_doing("syscall(frame), x8 = 0x%lx, which is no system call", number);
    syscall(&frame);
    expect_wanted();
}

/* A number that is none, though some of its bits are. */
static uint64_t
disguised(uint64_t number)
{
    switch (check_random_below(6)) {
    case 0:
        return number + NSYSCALLS * (1 + check_random_below(8));
    case 1:
        return number + ((1 + check_random_below(8)) << 32);
    case 2:
        return number | 1UL << (9 + check_random_below(55));
    case 3:
        return -number;
    case 4:
        return ~number;
    default:
        return number + (check_random() | 1) * NSYSCALLS;
    }
}

static bool
syscall_works(void)
{
    prepare(SYS_getpid, SYS_getpid);
    new_numbers();
    syscall(&frame);
    return frame.x[0] == (uint64_t)current()->pid;
}

CHECK(syscall)
{
    check_finally(put_back);
    keep();
    check_doing("syscall(frame), x8 = %d, getpid", SYS_getpid);
    prepare(SYS_getpid, SYS_getpid);
    new_numbers();
    uint64_t before = frame.x[0];
    syscall(&frame);
    EXPECT(frame.x[0] != before, "expected the pid in x0, found that nothing has changed there: "
                                 "write syscall in kern/syscall.c");
    for (int i = 0; i < 4; i++)
        for (uint64_t number = 0; number < NSYSCALLS; number++)
            if (syscall_table[number])
                call(number);
            else if (i == 0)
                no_call(number, SYS_getpid);
    no_call(NSYSCALLS, SYS_getpid);
    no_call(UINT64_MAX, SYS_getpid);
    for (int i = 0; i < 30; i++)
        for (uint64_t number = 1; number < NSYSCALLS; number++)
            if (syscall_table[number])
                no_call(disguised(number), number);
}

/* ---- user_trap ---- */

/* What can be seen of its work. */
static struct {
    bool result, interrupts, floating_point;
    int killed;
} seen;

static void
call_user_trap(void *vector)
{
    seen.result = user_trap(&frame, *(const uint64_t *)vector);
}

static void
call_user_fault(void *unused)
{
    static struct trap_frame copy;

    (void)unused;
    copy = frame;
    user_fault(&copy);
}

/*
 * Call it with the frame as it is. pending: the timer asks for an interrupt meanwhile. A compare value of 0 has long
 * been reached, and irq_handle sets another one.
 */
static void
do_user_trap(uint64_t vector, bool pending)
{
    struct proc *p = current();

    p->killed = 0;
    fpu_drop();
    write_sysreg(esr_el1, frame.esr); /* where it comes from, after all */
    write_sysreg(cntv_cval_el0, 0);
    write_sysreg(cntv_ctl_el0, pending);
    /* In check_panics, user_fault prints nothing. */
    const char *message = check_panics(call_user_trap, &vector);
    write_sysreg(cntv_ctl_el0, 0);
    seen.interrupts = read_sysreg(cntv_cval_el0) != 0;
    seen.floating_point = read_sysreg(cpacr_el1) & CPACR_FPEN;
    seen.killed = p->killed;
    p->killed = 0;
    sched_wanted = false;
    EXPECT(!message, "expected it to return, found a panic: %s", message);
}

static void
expect_only(bool interrupts, bool floating_point, int killed)
{
    EXPECT(seen.result, "expected true, found false: write user_trap in kern/syscall.c");
    EXPECT(seen.interrupts == interrupts, "expected irq_handle %sto be called, found %s",
           interrupts ? "" : "not ", interrupts ? "that the timer still waits" : "that it was");
    EXPECT(seen.floating_point == floating_point,
           "expected fpu_use %sto be called, found that it was%s", floating_point ? "" : "not ",
           floating_point ? " not" : "");
    EXPECT(seen.killed == killed,
           "expected user_fault %sto be called (signal %d; 0: none), found signal %d",
           killed ? "" : "not ", killed, seen.killed);
    expect_wanted();
}

/* A frame of this class, whose x8 names a call that a second one would not answer in the same way. */
static void
prepare_trap(uint64_t class)
{
    prepare(SYS_ioctl, SYS_ioctl);
    frame.x[0] = check_random_below(3);
    frame.esr = class << 26 | check_random_below(1UL << 26);
    wanted = frame;
}

static void
interrupt(uint64_t class)
{
    prepare_trap(class);
    check_doing("user_trap(frame, %d), an interrupt; esr has 0x%lx from an exception before",
                VECTOR_USER_IRQ, frame.esr);
    do_user_trap(VECTOR_USER_IRQ, true);
    expect_only(true, false, 0);
}

static void
synchronous(uint64_t class, bool pending)
{
    int killed = 0;

    prepare_trap(class);
    if (class == EC_SVC)
        syscall(&wanted);
    check_doing("user_trap(frame, %d), esr 0x%lx (class 0x%lx), %s interrupt pending",
                VECTOR_USER_SYNC, frame.esr, class, pending ? "an" : "no");
    if (class != EC_SVC && class != EC_FP) {
        current()->killed = 0;
        check_panics(call_user_fault, NULL);
        killed = current()->killed;
    }
    fill_random(&current()->fpu, sizeof(struct fpu) / 8 - 2);
    do_user_trap(VECTOR_USER_SYNC, pending);
    expect_only(false, class == EC_FP, killed);
    if (class == EC_FP) {
        static struct fpu now;
        fpu_save(&now);
        EXPECT(
            memcmp(now.v, current()->fpu.v, sizeof(now.v)) == 0,
            "expected fpu_use to load the process's floating-point registers, found others in the "
            "core");
    }
}

CHECK(user_trap)
{
    check_finally(put_back);
    keep();
    current()->fpu = (struct fpu){0};
    timer_init();
    for (int i = 0; i < 8; i++) {
        interrupt(EC_SVC);
        interrupt(EC_FP);
        interrupt(EC_DABORT_LOW);
        interrupt(check_random_below(64));
    }
    EXPECT(syscall_works(),
           "expected getpid to give the pid: write syscall in kern/syscall.c first");
    for (int pending = 0; pending < 2; pending++) {
        for (int i = 0; i < 8; i++)
            synchronous(EC_SVC, pending);
        for (uint64_t class = 0; class < 64; class ++)
            synchronous(class, pending);
    }
}
