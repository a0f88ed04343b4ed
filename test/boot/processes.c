/*
 * What processes and threads must survive: linked instead of kern/scratch.c by test_processes.py. The boot argument
 * try=NAME chooses one thing (all: everything here, one after the other; most: all but audit.c, which is of lab 5's kernel); what was right says so, and at the end the
 * machine is switched off.
 */
#include "processes.h"
#include "audit.h"
#include "bootinfo.h"
#include "check.h"
#include "errno.h"
#include "exec.h"
#include "irq.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "kvm.h"
#include "pmm.h"
#include "power.h"
#include "proc.h"
#include "scratch.h"
#include "slab.h"
#include "string.h"
#include "uapi/signal.h"
#include "uart.h"
#include "vma.h"
#include "vmiter.h"

/* ---- Helpers ---- */

int
spawn(const char *line)
{
    static const char *const environment[] = {"HOME=/", NULL};
    static char text[128];
    const char *argv[8];
    size_t n = 0;

    strlcpy(text, line, sizeof(text));
    char *at = text;
    do {
        argv[n++] = at;
        at = strchr(at, ' ');
        if (at)
            *at++ = '\0';
    } while (at && n < ARRAY_SIZE(argv) - 1);
    argv[n] = NULL;
    return proc_spawn(argv, environment);
}

struct proc *
spawned(const char *line)
{
    int pid = spawn(line);

    if (pid <= 0)
        panic("%s cannot be started: %d", line, pid);
    return proc_find(pid);
}

int
status_of(const char *line)
{
    int pid = spawn(line);

    return pid < 0 ? pid : proc_wait(pid);
}

void
wait_us(uint64_t us)
{
    timer_sleep(clock_count() + clock_counts(us * 1000));
}

size_t
pages_free(void)
{
    slabs_trim();
    size_t n = kmem.count;
    for (const struct zone *z = zones; z < zones + nzones; z++)
        n += z->free;
    return n;
}

size_t
objects_in_use(void)
{
    size_t n = 0;

    for (const struct slab *slab = slabs; slab; slab = slab->next)
        n += slab_in_use(slab);
    return n;
}

void
say_error(const char *line)
{
    cprintf("%s\n", line);
}

/* Until all threads but those that stay have gone. */
void
wait_for_threads(void)
{
    while (proc_after(2))
        wait_us(MS);
}

/* ---- Endings ---- */

static void
statuses(void)
{
    static const struct {
        const char *line;
        int status;
    } all[] = {
        {"exit", 0},
        {"exit 0", 0},
        {"exit 1", 1},
        {"exit 255", 255},
        {"exit 256", 0},
        {"exit 511", 255},
        {"exit 0xffffffffffffff03", 3},
        {"exit -0", 0},
        {"exit -1", 129},
        {"exit -9", 137},
        {"exit -15", 143},
        {"exit -64", 192},
        {"exit -65", 0},
        {"exit -17", 0},
        {"exit -18", 0},
        {"exit -19", 0},
        {"exit -23", 0},
        {"exit -28", 0},
        {"nothing", -ENOENT},
        {"", -ENOENT},
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        int status = status_of(all[i].line);
        if (status != all[i].status)
            panic("%s: %d instead of %d", all[i].line, status, all[i].status);
    }
    require(proc_wait(0) == -ECHILD && proc_wait(1) == -ECHILD && proc_wait(2) == -ECHILD);
    require(proc_wait(-1) == -ECHILD && proc_wait(30000) == -ECHILD
            && proc_wait(PID_MAX + 1) == -ECHILD);
}

void
kill_it(const struct proc *p, int signal)
{
    int pid = p->pid;

    require(proc_kill(pid, signal) == 0);
    require(proc_wait(pid) == 128 + signal);
    require(!proc_find(pid) && proc_kill(pid, signal) == -ESRCH && proc_wait(pid) == -ECHILD);
}

void
nothing(void *unused)
{
    (void)unused;
}

/* Killed in every state that a process can be in. (While it runs, only an interrupt could: see Ctrl-C.) */
static void
kill_everywhere(void)
{
    struct proc *p = spawned("spin");
    require(p->state == PROC_RUNNABLE);
    kill_it(p, SIGKILL); /* it has never run */

    p = spawned("spin");
    wait_us(30 * MS);
    require(p->state == PROC_RUNNABLE && p->as.asid);
    kill_it(p, SIGTERM);

    p = spawned("sleep 1000000");
    wait_us(MS);
    require(p->state == PROC_SLEEPING);
    kill_it(p, SIGINT);

    p = spawned("echo");
    struct proc *other = spawned("echo");
    wait_us(MS);
    require(p->state == PROC_SLEEPING && other->state == PROC_SLEEPING && p->waits == other->waits);
    kill_it(p, SIGHUP);
    require(other->state == PROC_SLEEPING);
    kill_it(other, SIGKILL);

    /* Two signals: the first one counts. Ignored ones do not, and one that does not exist is none. */
    p = spawned("spin");
    require(proc_kill(p->pid, SIGCHLD) == 0 && proc_kill(p->pid, 0) == 0);
    require(proc_kill(p->pid, NSIG + 1) == -EINVAL && proc_kill(p->pid, -1) == -EINVAL);
    require(proc_kill(p->pid, SIGSTOP) == -EINVAL && p->killed == 0);
    wait_us(MS);
    require(p->state == PROC_RUNNABLE);
    require(proc_kill(p->pid, SIGTERM) == 0 && proc_kill(p->pid, SIGKILL) == 0);
    int pid = p->pid;
    wait_us(MS);
    require(p->state == PROC_ZOMBIE && !p->as.root);
    require(proc_kill(pid, SIGKILL) == 0); /* too late, and no error, as on Linux */
    require(proc_wait(pid) == 128 + SIGTERM);

    pid = kthread_create(nothing, NULL, "thread");
    require(pid > 0 && proc_kill(pid, SIGKILL) == -EPERM && proc_kill(1, SIGKILL) == -EPERM);
    require(proc_kill(0, SIGKILL) == -EPERM && proc_wait(pid) == -ECHILD);
    wait_for_threads();
}

/* ---- Turns ---- */

static volatile uint64_t turns[2];
static volatile bool enough;

static void
count_up(void *counter)
{
    while (!enough)
        ++*(volatile uint64_t *)counter;
}

/* Neither of them ever asks for anything, nor does spin. */
static void
preempted(void)
{
    const struct proc *spin = spawned("spin");

    enough = false;
    require(kthread_create(count_up, (void *)(uint64_t)&turns[0], "up") > 0);
    require(kthread_create(count_up, (void *)(uint64_t)&turns[1], "up too") > 0);
    for (uint64_t first[2] = {0, 0}, round = 0; round < 3; round++) {
        wait_us(100 * MS);
        require(turns[0] > first[0] && turns[1] > first[1]);
        first[0] = turns[0];
        first[1] = turns[1];
    }
    enough = true;
    kill_it(spin, SIGKILL);
    wait_for_threads();
}

/* Never too early, and too late by no more than it takes to wake up, tick or no tick. */
static void
sleeps(void)
{
    static const uint64_t us[] = {1, 10, 100, 999, MS, 3333, 9999, 10 * MS, 10001, 25 * MS, 123456};

    for (size_t i = 0; i < ARRAY_SIZE(us); i++) {
        uint64_t from = clock_count();
        wait_us(us[i]);
        uint64_t slept = clock_ns(clock_count() - from);
        if (slept < us[i] * 1000 || slept > us[i] * 1000 + 30000)
            panic("%lu us became %lu ns", us[i], slept);
    }
    uint64_t from = clock_count();
    require(status_of("sleep 50") == 0);
    uint64_t slept = clock_ns(clock_count() - from);
    require(slept >= 50 * MILLION && slept < 51 * MILLION);
}

/* ---- A check that ends in the middle ---- */

static struct waitq gate;

static void
stand_at_gate(void *unused)
{
    (void)unused;
    irq_mask();
    for (;;)
        sleep_on(&gate);
}

static void
reset(void)
{
    size_t objects = 0, pages = 0;

    for (int turn = 0; turn < 3; turn++) {
        int zombie = spawn("exit"), killed = spawn("spin");
        spawned("sleep 1000000");
        spawned("echo");
        spawned("alloc a");
        spawned("regs 1000000000");
        require(kthread_create(stand_at_gate, NULL, "waiting") > 0);
        wait_us(30 * MS);
        require(proc_find(zombie)->state == PROC_ZOMBIE && proc_kill(killed, SIGKILL) == 0);
        spawned("spin"); /* this one has not run yet */
        proc_reset();
        require(!proc_after(0) && gate.head == NULL);
        if (turn == 0) {
            pages = pages_free();
            objects = objects_in_use();
        }
        require(pages_free() == pages && objects_in_use() == objects);
        require(status_of("exit 9") == 9 && audit(say_error) == 0);
    }
}

/* ---- The end of the stack ---- */

static volatile uint64_t depth = UINT64_MAX;

__attribute__((noipa)) static uint64_t
deeper(uint64_t n)
{
    volatile uint64_t here[16] = {n};

    return n == depth ? 0 : deeper(n + 1) + here[0];
}

static void
overflow(void *unused)
{
    (void)unused;
    deeper(0);
}

static void
stack_overflow(void)
{
    require(kthread_create(overflow, NULL, "deep") > 0);
    wait_us(100 * MS);
}

static const struct try processes_tries[] = {
    {"statuses", statuses}, {"kill", kill_everywhere}, {"preempted", preempted},
    {"sleeps", sleeps},     {"reset", reset},          {NULL, NULL},
};

/* These end in a panic. */
static const struct try last_tries[] = {
    {"stack_overflow", stack_overflow},
    {"at_switch", error_at_switch},
    {NULL, NULL},
};

static const struct try *const all_tries[] = {processes_tries, limits_tries, audit_tries};

static void
count_table(uint64_t *table, int level, uint64_t va, void *count)
{
    (void)table, (void)level, (void)va;
    ++*(size_t *)count;
}

/* Pages that are free, and the tables of the kernel's half: those for kernel stacks stay. */
static size_t
pages_free_or_tables(void)
{
    size_t n = pages_free();

    vmiter_tables(P2V(kvm_root()), count_table, &n);
    return n;
}

static void
run(const struct try *try)
{
    cprintf("try: %s\n", try->name);
    (void)status_of("exit"); /* threads 1 and 2 are there */
    size_t pages = pages_free_or_tables(), objects = objects_in_use();
    try->run();
    wait_for_threads();
    (void)status_of("exit");
    require(pages_free_or_tables() == pages && objects_in_use() == objects);
    cprintf("right: %s\n", try->name);
}

/* Those of that name; NULL: all of them. */
static void
run_some(const struct try *tries, const char *name)
{
    for (const struct try *try = tries; try->name; try++)
        if (!name || strcmp(try->name, name) == 0)
            run(try);
}

void
scratch(void)
{
    char name[40];

    if (!bootarg("try", name, sizeof(name)))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(all_tries); i++)
        if (all_tries[i] != audit_tries || strcmp(name, "most") != 0)
            run_some(all_tries[i],
                     strcmp(name, "all") == 0 || strcmp(name, "most") == 0 ? NULL : name);
    run_some(last_tries, name);
    uart_drain();
    power_off();
}
