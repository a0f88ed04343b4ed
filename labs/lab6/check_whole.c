/*
 * All of lab 6 at work: programs fork, write, exit and wait, several at the same time, while a kernel thread looks at
 * all tables (audit.h); with all the memory there is, with little, and with an allocation that fails on purpose.
 */
#include "../lab4/lab4.h"
#include "../lab5/lab5.h"
#include "console.h"
#include "errno.h"
#include "exec.h"
#include "failnth.h"
#include "fork.h"
#include "irq.h"
#include "kalloc.h"
#include "page.h"
#include "pagefault.h"
#include "printf.h"
#include "string.h"
#include "sysreg.h"
#include "uapi/signal.h"
#include "vmalloc.h"
#include "wait.h"

#define MILLION 1000000UL
#define HOST_MS 20000 /* that programs may take by the clock, ... */
#ifdef DEBUG
#define GUEST_MS 4000 /* every switch looks at all tables */
#else
#define GUEST_MS \
    600 /* ... or where it goes by instructions (a million in each), whatever the host does */
#endif
#define FAILURES 16 /* allocations that are tried */

#define ANY       (-1) /* status: 0, or what a program says that has no memory */
#define NO_MEMORY 255  /* forks, if there was no memory for all of it */

/* A program, the status that it must end with, and what became of it. */
struct job {
    const char *argv[5];
    int status;
    int pid; /* 0: it has been waited for */
};

/* ---- What each exercise must do before anything can run ---- */

#define VA 0x400000UL

static const struct vma range = {VA, VA + 4 * PGSIZE, PROT_READ | PROT_WRITE, VMA_ANON, NULL};

static void
need_result(int result, const char *what)
{
    EXPECT(result == 0, "%s returns %s, with memory free: write %s first", what, error_name(result),
           what);
}

/* A new address space with two pages, each from a page fault. */
static void
touch_pages(struct aspace *as)
{
    EXPECT(aspace_create(as) == 0, "there is no memory for an address space");
    EXPECT(vma_add(as, range.start, range.end, range.prot, range.kind) == 0,
           "there is no memory for a range");
    need_result(fault_absent(as, as->vmas, VA, PROT_READ), "fault_absent in kern/pagefault.c");
    need_result(fault_cow(as, as->vmas, VA), "fault_cow in kern/pagefault.c");
    need_result(page_fault(as, VA + PGSIZE, PROT_WRITE), "page_fault in kern/pagefault.c");
}

static void
empty(struct aspace *as)
{
    vma_clear(as);
    aspace_destroy(as);
}

void
need_faults(void)
{
    struct aspace as = {.root = NULL};

    touch_pages(&as);
    empty(&as);
}

/* Page faults, and a copy of an address space. */
static void
need_memory(void)
{
    struct aspace from = {.root = NULL}, to = {.root = NULL};
    bool same;

    touch_pages(&from);
    EXPECT(aspace_create(&to) == 0, "there is no memory for a second address space");
    need_result(aspace_copy(&to, &from), "aspace_copy in kern/fork.c");
    same = to.pages == from.pages && to.vmas;
    EXPECT(same, "aspace_copy makes no copy: write aspace_copy in kern/fork.c first");
    empty(&to);
    empty(&from);
}

static void
need_fork_registers(void)
{
    static struct proc child;
    static char stack[STACK_SIZE] __attribute__((aligned(16)));
    const struct trap_frame frame = {.elr = VA, .spsr = SPSR_EL0};

    child = (struct proc){.kstack = stack};
    memset(stack, 0, sizeof(stack));
    fork_registers(&child, &frame, 0);
    EXPECT(child.context.lr && child.context.sp,
           "fork_registers leaves the child without a place to begin: write fork_registers in "
           "kern/fork.c first");
}

static void
do_nothing(void *unused)
{
    (void)unused;
}

static void
need_wait(void)
{
    const struct proc killed = {.status = 137, .killed = SIGKILL};
    int a = kthread_create(do_nothing, NULL, "parent"),
        b = kthread_create(do_nothing, NULL, "child"), status;

    EXPECT(wait_status(&killed) != 0,
           "wait_status of who was killed is 0: write wait_status in kern/wait.c first");
    EXPECT(a > 0 && b > 0, "expected two threads, found %s and %s", error_name(a), error_name(b));
    struct proc *parent = proc_find(a), *child = proc_find(b);
    proc_adopt(parent, child);
    exit_children(parent);
    EXPECT(
        child->ppid == 1,
        "after exit_children(p), the parent of p's child is %d, expected 1: write exit_children in "
        "kern/wait.c first",
        child->ppid);
    proc_adopt(current(), child);
    sched_forget(child);
    child->state = PROC_ZOMBIE;
    int64_t pid = wait_child(b, WNOHANG, &status);
    EXPECT(pid == b,
           "wait_child(%d, WNOHANG, &status) of a child that has ended returns %s: write "
           "wait_child in "
           "kern/wait.c first",
           b, error_name((int)pid));
}

static void
need_exercises(void)
{
    need_threads();
    need_shared_pages();
    need_user_pte();
    need_aspace_create();
    need_user_map();
    need_user_alloc();
    need_user_free();
    need_user_protect();
    need_aspace_destroy();
    need_memory();
    need_fork_registers();
    need_wait();
}

/* ---- Time ---- */

/*
 * Under -icount the PMU counts instructions (event 8, INST_RETIRED; ARM ARM D7.10.3), and the clock goes by them;
 * else it does not count.
 */
static bool
clock_by_instructions(void)
{
    write_sysreg(pmevtyper0_el0, 8);
    write_sysreg(pmcntenset_el0, 1);
    write_sysreg(pmcr_el0, read_sysreg(pmcr_el0) | 1);
    __asm__ volatile("isb"); /* from here on it counts */
    uint64_t before = read_sysreg(pmevcntr0_el0);
    __asm__ volatile("isb");
    uint64_t after = read_sysreg(pmevcntr0_el0);
    write_sysreg(pmcntenclr_el0, 1);
    return after != before;
}

/* ---- What there is ---- */

static size_t procs_before;

static size_t
count_procs(void)
{
    size_t n = 0;

    for (const struct proc *p = proc_after(-1); p; p = proc_after(p->pid))
        n++;
    return n;
}

/* vmalloc's tables stay while there are areas: make them for more stacks than the programs ever have. */
#define STACKS_MAX 128

static void
note_all(void)
{
    char *stacks = vmalloc_aligned(STACKS_MAX * 2 * STACK_SIZE, 2 * STACK_SIZE);

    EXPECT(stacks, "vmalloc_aligned finds no memory for %d stacks (lab 4)", STACKS_MAX);
    vfree(stacks);
    objects_note();
    procs_before = count_procs();
    pages_note();
}

static void
expect_all(const char *after)
{
    EXPECT(count_procs() == procs_before,
           "after %s, there are %lu processes and threads, expected %lu, as before", after,
           count_procs(), procs_before);
    objects_expect(after);
    pages_expect(after);
}

/* ---- Programs ---- */

#define JOBS_MAX 16

static struct job jobs[JOBS_MAX]; /* at work now */
static size_t njobs;
static uint64_t failing; /* the allocation that is to fail; 0: none */

static const char *
line_of(const struct job *job)
{
    static char line[96];
    int n = 0;

    line[0] = '\0';
    for (const char *const *arg = job->argv; *arg && n < 64; arg++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%s", n ? " " : "", *arg);
    if (failing)
        snprintf(line + n, sizeof(line) - (size_t)n, ", allocation %lu fails", failing);
    return line;
}

/* It had no memory, and this is how such a program ends. */
static bool
says_no_memory(int status)
{
    return status == NO_MEMORY || status == 128 + SIGKILL;
}

static void
expect_status(const struct job *job, int status)
{
    if (job->status == ANY)
        EXPECT(
            status == 0 || says_no_memory(status),
            "expected it to end with status 0, or without memory with %d or %d (SIGKILL), found %d",
            NO_MEMORY, 128 + SIGKILL, status);
    else
        EXPECT(status == job->status, "expected it to end with status %d, found %d", job->status,
               status);
}

/* False: there is no memory for it. */
static bool
start(struct job *job)
{
    check_doing("starting %s", line_of(job));
    job->pid = proc_spawn(job->argv, (const char *const[]){"HOME=/", NULL});
    bool none = job->pid == -ENOMEM && job->status == ANY;
    EXPECT(job->pid > 0 || none, "expected a pid, found %s", error_name(job->pid));
    if (none)
        job->pid = 0;
    return !none;
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
    expect_status(job, status);
    return true;
}

/* The one of a family of programs that still runs, for the message; NULL: none does. */
static const struct proc *
somebody(void)
{
    for (const struct proc *p = proc_after(2); p; p = proc_after(p->pid))
        if (p->pid != auditor)
            return p;
    return NULL;
}

/* Until all of them have ended, and whom they have left. */
static void
finish(void)
{
    uint64_t ms = clock_by_instructions() ? GUEST_MS : HOST_MS,
             until = clock_count() + clock_counts(ms * MILLION);
    bool all = false;

    while (!all) {
        bool late = clock_count() > until;
        all = true;
        for (size_t i = 0; i < njobs; i++) {
            check_doing("%s", line_of(&jobs[i]));
            bool over = ended(&jobs[i]);
            EXPECT(over || !late, "expected it to end, it has not ended yet");
            all = all && over;
        }
        check_doing("%s", njobs == 1 ? line_of(&jobs[0]) : "running programs");
        auditor_expect();
        const struct proc *left = somebody();
        EXPECT(
            !all || !left || !late,
            "the programs have ended, but process %d (%s), a child of process %d, is still there",
            left->pid, left->name, left->ppid);
        all = all && !left;
        if (!all)
            sleep_ms(1);
    }
}

static void
begin(const struct job *list, size_t n)
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
}

static void
run_together(const struct job *list, size_t n)
{
    begin(list, n);
    finish();
}

/* ---- The check ---- */

static void
put_back(void)
{
    failnth_set(0);
    failing = 0;
    auditor_reset();
    hold_none();
    proc_reset(); /* threads 1 and 2 too */
    pages_back();
}

/* Several trees of processes, among programs of lab 5. */
static void
run_many(void)
{
    static const struct job many[] = {
        {{"forks", "4"}, 0, 0},
        {{"forks", "3"}, 0, 0},
        {{"forks", "2"}, 0, 0},
        {{"forks", "3", "leave"}, 0, 0},
        {{"alloc", "one", "60"}, 0, 0},
        {{"regs", "100", "77"}, 0, 0},
        {{"memory"}, 0, 0},
        {{"heap", "60"}, 0, 0},
        {{"exit", "200"}, 200, 0},
        {{"exit", "-15"}, 128 + SIGTERM, 0},
        {{"attack", "text_write"}, 128 + SIGSEGV, 0},
        {{"attack", "null_write"}, 128 + SIGSEGV, 0},
    };

    run_together(many, ARRAY_SIZE(many));
}

/* Some are killed, and their children have no parent any more. */
static void
run_killed(void)
{
    static const struct job trees[] = {{{"forks", "4"}, ANY, 0},
                                       {{"forks", "3"}, ANY, 0},
                                       {{"forks", "3"}, ANY, 0},
                                       {{"forks", "2"}, 0, 0}};

    begin(trees, ARRAY_SIZE(trees));
    for (int i = 0; i < 6; i++) {
        sleep_ms(1 + check_random_below(2));
        struct job *job = &jobs[check_random_below(ARRAY_SIZE(trees))];
        if (job->status == ANY && job->pid)
            (void)proc_kill(job->pid, SIGKILL);
    }
    finish();
}

/* There is memory for some of them only. */
static void
run_out_of_memory(void)
{
    static const struct job racers[] = {{{"forks", "4"}, ANY, 0},
                                        {{"forks", "4"}, ANY, 0},
                                        {{"alloc", "two"}, ANY, 0},
                                        {{"heap", "100"}, ANY, 0}};

    for (int i = 0; i < 2; i++) {
        hold_all_but(100 + check_random_below(200));
        run_together(racers, ARRAY_SIZE(racers));
        hold_none();
    }
}

/* One allocation fails, whichever it is. */
static void
run_failing(const struct job *job)
{
    struct job failed = *job;

    failnth_set(0);
    run_together(job, 1);
    uint64_t all = failnth_calls();
    expect_all("it has ended");
    if (all == 0)
        return; /* FAILNTH=0 */
    failed.status = ANY;
    for (int i = 0; i < FAILURES; i++) {
        failing = 1 + check_random_below(all);
        failnth_set(failing);
        run_together(&failed, 1);
        failnth_set(0);
        auditor_look();
        expect_all("it has ended");
    }
    failing = 0;
}

CHECK(forks)
{
    static const struct job one = {{"exit", "0"}, 0, 0}, tree = {{"forks", "2"}, 0, 0};
    static const struct job orphans = {{"forks", "1", "leave"}, 0, 0};

    check_finally(put_back);
    auditor_reset();
    irq_mask();
    need_exercises();
    run_together(&one, 1);
    check_doing("%s", "");
    note_all();

    run_together(&tree, 1);
    expect_all("it has ended");
    run_together(&orphans, 1);
    expect_all("it has ended");
    auditor_start();
    run_many();
    run_killed();
    run_out_of_memory();
    check_doing("%s", "");
    auditor_stop();
    expect_all("all programs have ended");
    run_failing(&tree);
    check_doing("%s", "");
}
