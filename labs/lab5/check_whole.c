/*
 * All of lab 5 at work: programs from user/ run, alone and several at the same time, while a kernel thread looks at
 * the tables of all of them (audit.h) every few milliseconds.
 */
#include "../lab4/lab4.h"
#include "console.h"
#include "irq.h"
#include "lab5.h"
#include "printf.h"
#include "proc.h"
#include "string.h"
#include "syscall.h"
#include "sysreg.h"
#include "uapi/signal.h"

#define MILLION 1000000UL
#define SECONDS 20 /* that programs may take by the clock, ... */
#ifdef DEBUG
#define AT_MOST 4000 /* every switch looks at all tables */
#else
#define AT_MOST 400 /* ... or million instructions, where these can be counted */
#endif

#define ILL  (128 + SIGILL)
#define TRAP (128 + SIGTRAP)
#define BUS  (128 + SIGBUS)
#define SEGV (128 + SIGSEGV)

/* A program, the status that it must end with, and what became of it. */
struct job {
    int status;
    int pid; /* 0: it has been waited for */
    const char *argv[5];
};

/* ---- Time ---- */

/*
 * Under -icount the PMU counts instructions (event 8, INST_RETIRED; ARM ARM D7.10.3), else it does not, and the
 * clock has to do.
 */
static uint32_t
instructions(void)
{
    return (uint32_t)read_sysreg(pmevcntr0_el0);
}

static void
count_instructions(bool on)
{
    write_sysreg(pmevtyper0_el0, 8);
    if (on)
        write_sysreg(pmcntenset_el0, 1);
    else
        write_sysreg(pmcntenclr_el0, 1);
    write_sysreg(pmcr_el0, read_sysreg(pmcr_el0) | 1);
    __asm__ volatile("isb"); /* from here on it counts */
}

/* ---- Programs ---- */

static const char *
line_of(const struct job *job)
{
    static char line[64];
    int n = 0;

    line[0] = '\0';
    for (const char *const *arg = job->argv; *arg && n < (int)sizeof(line); arg++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%s", n ? " " : "", *arg);
    return line;
}

static const char *
signal_of(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {{ILL, " (SIGILL)"},
                 {TRAP, " (SIGTRAP)"},
                 {BUS, " (SIGBUS)"},
                 {SEGV, " (SIGSEGV)"}};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].status == status)
            return names[i].name;
    return "";
}

static void
start(struct job *job)
{
    check_doing("starting %s", line_of(job));
    job->pid = proc_spawn(job->argv, (const char *const[]){"HOME=/", NULL});
    EXPECT(job->pid > 0, "expected a pid, found %s", error_name(job->pid));
}

/* Take what is left of it, if it has ended. Has it? */
static bool
ended(struct job *job)
{
    if (job->pid == 0)
        return true;
    const struct proc *p = proc_find(job->pid);
    EXPECT(p, "process %d is gone, and nobody has waited for it", job->pid);
    if (p->state != PROC_ZOMBIE)
        return false;
    int status = proc_wait(job->pid);
    job->pid = 0;
#if LAB >= 6
    if (pages_held() > 0 && status == 128 + SIGKILL)
        return true; /* pages are given when they are used: now who finds none is killed */
#endif
    EXPECT(status == job->status, "expected it to end with status %d%s, found %d%s", job->status,
           signal_of(job->status), status, signal_of(status));
    return true;
}

#define JOBS_MAX 24

static struct job jobs[JOBS_MAX]; /* at work now */
static size_t njobs;

/* Until all of them have ended. */
static void
finish(void)
{
    uint64_t until = clock_count() + clock_counts(SECONDS * 1000 * MILLION);
    uint32_t from = instructions();
    size_t running = njobs;

    while (running > 0) {
        bool late = clock_count() > until || instructions() - from > AT_MOST * MILLION;
        running = 0;
        for (size_t i = 0; i < njobs; i++) {
            check_doing("%s", line_of(&jobs[i]));
            bool over = ended(&jobs[i]);
            EXPECT(over || !late, "expected it to end with status %d, it has not ended yet",
                   jobs[i].status);
            running += !over;
        }
        check_doing("running programs");
        auditor_expect();
        if (running > 0)
            sleep_ms(1);
    }
}

static void
run_together(const struct job *list, size_t n)
{
    assert(n <= JOBS_MAX);
    memcpy(jobs, list, n * sizeof(*list));
    njobs = n;
    for (size_t i = n; i > 1; i--) {
        size_t other = check_random_below(i);
        struct job job = jobs[i - 1];
        jobs[i - 1] = jobs[other];
        jobs[other] = job;
    }
    for (size_t i = 0; i < n; i++)
        start(&jobs[i]);
    finish();
}

static void
run_alone(const struct job *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        run_together(&list[i], 1);
}

/* ---- The check ---- */

static void
put_back(void)
{
    count_instructions(false);
    auditor_reset();
    hold_none();
    proc_reset(); /* threads 1 and 2 too: after the last check all pages are free */
    pages_back();
}

/* Nothing can be said of the rest before this works. */
static void
need_exit(void)
{
    struct trap_frame frame = {.x[8] = NSYSCALLS};
    static const struct job job = {7, 0, {"exit", "7"}};

    check_doing("syscall(frame), of a system call that there is not");
    syscall(&frame);
    EXPECT((int64_t)frame.x[0] == -ENOSYS,
           "found %ld as its result, expected -ENOSYS: write syscall in kern/syscall.c first",
           (int64_t)frame.x[0]);
    run_alone(&job, 1);
}

static void
change_mappings(void)
{
    /* Each alone: a switch to another process would empty QEMU's TLB. */
    static const struct job ways[] = {
        {SEGV, 0, {"tlb", "unmapped"}},
        {SEGV, 0, {"tlb", "shrunk"}},
        {SEGV, 0, {"tlb", "hidden"}},
        {SEGV, 0, {"tlb", "readonly"}},
        {SEGV, 0, {"tlb", "noexec"}},
        {SEGV, 0, {"tlb", "readonly-over"}},
        {0, 0, {"tlb"}},
    };

    run_alone(ways, ARRAY_SIZE(ways));
}

static char numbers[6][24]; /* arguments that are numbers */

static void
choose_numbers(void)
{
    for (int i = 0; i < 4; i++)
        snprintf(numbers[i], sizeof(numbers[i]), "%lu", check_random_below(1UL << 40));
    for (int i = 4; i < 6; i++)
        snprintf(numbers[i], sizeof(numbers[i]), "%lu", 20 + check_random_below(60));
}

static void
run_many(void)
{
    static const struct job many[] = {
        {0, 0, {"regs", "300", numbers[0]}},
        {0, 0, {"regs", "300", numbers[1]}},
        {0, 0, {"alloc", "one", numbers[4]}},
        {0, 0, {"alloc", "two", numbers[5]}},
        {0, 0, {"memory"}},
        {0, 0, {"errors"}},
        {0, 0, {"heap", "200"}},
        {0, 0, {"sleep", "4"}},
        {200, 0, {"exit", "200"}},
        {128 + SIGTERM, 0, {"exit", "-15"}},
        {SEGV, 0, {"attack", "null_write"}},
        {SEGV, 0, {"attack", "kernel_write"}},
        {SEGV, 0, {"attack", "text_write"}},
        {SEGV, 0, {"attack", "stack_jump"}},
        {SEGV, 0, {"attack", "own_stack_unmap"}},
        {ILL, 0, {"attack", "daifset"}},
        {ILL, 0, {"attack", "msr_ttbr0_el1"}},
        {BUS, 0, {"attack", "odd_jump"}},
        {TRAP, 0, {"attack", "breakpoint"}},
        {0, 0, {"attack", "kernel_pointers"}},
        {0, 0, {"attack", "scatter"}},
        {0, 0, {"attack", "no_such_call"}},
    };

    run_together(many, ARRAY_SIZE(many));
}

static void
run_out_of_memory(void)
{
    static const struct job racers[] = {
        {0, 0, {"alloc", "one"}},           {0, 0, {"alloc", "two"}},
        {0, 0, {"alloc", "three"}},         {0, 0, {"regs", "200", numbers[2]}},
        {SEGV, 0, {"attack", "recursion"}},
    };
    static const struct job takers[] = {
        {0, 0, {"attack", "mmap_all"}},
#if LAB < 6 /* it asks for pages and uses none of them */
        {0, 0, {"attack", "cut_all"}},
#endif
    };

    hold_all_but(500 + check_random_below(300));
    run_together(racers, ARRAY_SIZE(racers));
    run_alone(takers, ARRAY_SIZE(takers));
    hold_none();
}

CHECK(programs)
{
    need_threads();
    need_user_pte();
    need_aspace_create();
    need_user_map();
    need_user_alloc();
    need_user_free();
    need_user_protect();
    need_aspace_destroy();
    check_finally(put_back);
    irq_mask();
#if LAB >= 6
    need_faults();
#endif
    auditor_reset();
    count_instructions(true);
    need_exit(); /* also: the areas' tables are there now */

    objects_note();
    pages_note();
    auditor_start();
    choose_numbers();
    change_mappings();
    run_many();
    run_out_of_memory();

    check_doing("%s", "");
    auditor_stop();
    objects_expect("all programs have ended");
    pages_expect("all programs have ended");
}
