/*
 * The table of processes and threads: made, found, ended, and waited for.
 */
#include "proc.h"
#include "check.h"
#include "console.h"
#include "errno.h"
#include "exec.h"
#include "irq.h"
#include "kmalloc.h"
#include "string.h"
#include "sysreg.h"
#include "uapi/signal.h"
#include "vma.h"
#include "vmalloc.h"
#if LAB >= 6
#include "fork.h"
#include "pager.h"
#include "wait.h"
#endif

static struct proc boot_thread; /* number 0: what main has been since the machine was switched on */
static struct proc *procs[NPROC]; /* by pid modulo NPROC */
static int last_pid;
static const char *trouble = "proc_init has not run";
static bool tried; /* trouble is what proc_try found */
bool proc_stopped;
struct proc *proc_idle;

void kthread_entry(void); /* thread.S */
#if LAB < 6
void process_entry(void);
#endif

void
proc_init(void)
{
    boot_thread.state = PROC_RUNNING;
    strlcpy(boot_thread.name, "boot", sizeof(boot_thread.name));
    procs[0] = &boot_thread;
    write_sysreg(tpidr_el1, &boot_thread);
}

struct proc *
proc_find(int pid)
{
    struct proc *p = pid >= 0 ? procs[pid % NPROC] : NULL;

    return p && p->pid == pid ? p : NULL;
}

struct proc *
proc_after(int pid)
{
    struct proc *best = NULL;

    for (int i = 1; i <= NPROC; i++) {
        struct proc *p = procs[(pid + i) % NPROC];
        if (p && p->pid == pid + i)
            return p; /* as all do whose pids are close to each other */
        if (p && p->pid > pid && (!best || p->pid < best->pid))
            best = p;
    }
    return best;
}

/* The next pid whose place in the table is free; pids come again only after all others. 0: none is. */
static int
free_pid(void)
{
    for (int i = 0; i < NPROC; i++) {
        last_pid = last_pid % PID_MAX + 1;
        if (!procs[last_pid % NPROC])
            return last_pid;
    }
    return 0;
}

static void
disown(struct proc *child)
{
    struct proc *parent = proc_find(child->ppid);
    struct proc **link = parent ? &parent->children : NULL;

    while (link && *link && *link != child)
        link = &(*link)->sibling;
    if (link && *link)
        *link = child->sibling;
}

void
proc_adopt(struct proc *parent, struct proc *child)
{
    disown(child);
    child->ppid = parent->pid;
    child->sibling = parent->children;
    parent->children = child;
}

void
proc_free(struct proc *p)
{
    disown(p);
    procs[p->pid % NPROC] = NULL;
    vfree(p->kstack);
    kmfree(p);
}

/* A thread that does not run yet, with a stack and all zero otherwise. 0, or -EAGAIN, -ENOMEM. */
static int
new_proc(const char *name, struct proc **made)
{
    struct proc *p = kzalloc(sizeof(*p));
    int pid = free_pid();

    if (!p)
        return -ENOMEM;
    p->kstack = vmalloc_aligned(STACK_SIZE, 2UL * STACK_SIZE);
    if (!p->kstack || pid == 0) {
        vfree(p->kstack);
        kmfree(p);
        return pid == 0 ? -EAGAIN : -ENOMEM;
    }
    p->pid = pid;
    proc_adopt(current(), p);
    p->state = PROC_NEW;
    p->context.sp = (uint64_t)p->kstack + STACK_SIZE;
    strlcpy(p->name, name, sizeof(p->name));
    procs[pid % NPROC] = p;
    *made = p;
    return 0;
}

static int
new_kthread(void (*fn)(void *), void *arg, const char *name, struct proc **made)
{
    int error = new_proc(name, made);

    if (error)
        return error;
    (*made)->context.lr = (uint64_t)kthread_entry;
    (*made)->context.x19 = (uint64_t)fn;
    (*made)->context.x20 = (uint64_t)arg;
    return (*made)->pid;
}

/* A child of the running thread that has ended; NULL: none has. */
static struct proc *
ended_child(void)
{
    struct proc *child = current()->children;

    while (child && child->state != PROC_ZOMBIE)
        child = child->sibling;
    return child;
}

/* Thread 1: frees what is left of those that nobody waits for. */
static void
reap(void *unused)
{
    (void)unused;
    irq_mask();
    for (;;) {
        for (struct proc *child; (child = ended_child()) != NULL;)
            proc_free(child);
        sleep_on(&current()->child_ended);
    }
}

/*
 * Thread 2, when there is nothing to do. An interrupt that comes after sched_yield has found nobody
 * is still pending at the wfi, and ends it; it is taken in the gap after that.
 */
static void
idle(void *unused)
{
    (void)unused;
    irq_mask();
    for (;;) {
        sched_yield();
        __asm__ volatile("dsb sy; wfi; msr daifclr, #2; isb; msr daifset, #2" : : : "memory");
    }
}

/* There and back again: does context_switch do anything at all? */
static struct context here, there;
static bool arrived;

static void
arrive(void)
{
    arrived = true;
    context_switch(&there, &here);
    panic("context_switch(from, to) has come back to a thread that nobody switched to");
}

static void
go_there(void *stack)
{
    arrived = false;
    there.sp = (uint64_t)stack + STACK_SIZE;
    there.lr = (uint64_t)arrive;
    there.fp = 0;
    context_switch(&here, &there);
}

static const char *
try_threads(void)
{
    struct proc *reaper;
    char *stack = vmalloc_aligned(STACK_SIZE, 2UL * STACK_SIZE);

    if (!stack)
        return "there is no kernel stack: vmalloc_aligned (lab 4) returned NULL";
    const char *why = check_panics(go_there, stack);
    vfree(stack);
    if (why || !arrived)
        return "write context_switch in kern/switch.S";
    if (new_kthread(reap, NULL, "reaper", &reaper) < 0
        || new_kthread(idle, NULL, "idle", &proc_idle) < 0)
        return "there is no memory for the first threads (kzalloc, vmalloc_aligned: lab 4)";
#if LAB >= 6
    if (pager_init() < 0)
        return "there is no memory for the page of zeroes";
#endif
    proc_adopt(reaper, proc_idle);
    sched_start(reaper);
    timer_init();
    return NULL;
}

const char *
proc_trouble(void)
{
    if (proc_stopped)
        return "the kernel has panicked: no thread runs any more";
    if (!tried) {
        tried = true;
        trouble = try_threads();
    }
    return trouble;
}

int
kthread_create(void (*fn)(void *arg), void *arg, const char *name)
{
    struct proc *p;

    if (proc_trouble())
        return -ENOSYS;
    uint64_t flags = irq_mask();
    int pid = new_kthread(fn, arg, name, &p);
    if (pid > 0) {
        proc_adopt(proc_find(1), p);
        sched_start(p);
    }
    irq_restore(flags);
    return pid;
}

/* An address space, which nobody uses any more, goes with all that it has. */
static void
end_aspace(struct aspace *as)
{
    vma_clear(as);
    aspace_destroy(as);
#if LAB >= 6
    image_put(as->image);
    as->image = NULL;
#endif
}

/* The program goes into p's address space, and its first registers into p's trap frame. */
static int
load(struct proc *p, const void *file, size_t size, const char *const argv[],
     const char *const envp[])
{
    struct exec_start start;
    struct trap_frame *frame = proc_frame(p);
    int error = aspace_create(&p->as);

    if (error)
        return error;
    error = exec_load(&p->as, file, size, argv, envp, &start);
    if (error) {
        end_aspace(&p->as);
        return error;
    }
    *frame = (struct trap_frame){.elr = start.pc, .sp = start.sp, .spsr = SPSR_EL0};
    p->context.sp = (uint64_t)frame;
    p->context.lr = (uint64_t)process_entry;
    return 0;
}

int
proc_spawn_file(const void *file, size_t size, const char *name, const char *const argv[],
                const char *const envp[])
{
    struct proc *p;

    if (proc_trouble())
        return -ENOSYS;
    uint64_t flags = irq_mask();
    int error = new_proc(name, &p);
    if (!error) {
        error = load(p, file, size, argv, envp);
        if (error)
            proc_free(p);
        else
            sched_start(p);
    }
    irq_restore(flags);
    return error ? error : p->pid;
}

int
proc_spawn(const char *const argv[], const char *const envp[])
{
    const struct program *program = program_find(argv[0]);

    if (!program)
        return -ENOENT;
    return proc_spawn_file(program->start, (size_t)(program->end - program->start), argv[0], argv,
                           envp);
}

#if LAB >= 6
int
proc_fork(const struct trap_frame *frame, uint64_t sp)
{
    struct proc *p = current(), *child;
    int error = new_proc(p->name, &child);

    if (error)
        return error;
    error = aspace_create(&child->as);
    if (!error && (error = aspace_copy(&child->as, &p->as)) != 0)
        aspace_destroy(&child->as);
    if (error) {
        proc_free(child);
        return error;
    }
    child->as.image = image_share(p->as.image);
    fork_registers(child, frame, sp);
    sched_start(child);
    return child->pid;
}

int
proc_exec(const struct program *program, const char *const argv[], const char *const envp[])
{
    struct proc *p = current();
    struct aspace old = p->as;

    p->as = (struct aspace){0};
    int error = load(p, program->start, (size_t)(program->end - program->start), argv, envp);
    if (error) {
        p->as = old;
        return error;
    }
    aspace_use(&p->as);
    end_aspace(&old);
    fpu_drop();
    memset(&p->fpu, 0, sizeof(p->fpu));
    write_sysreg(tpidr_el0, 0);
    strlcpy(p->name, program->name, sizeof(p->name));
    return 0;
}
#endif

int
proc_wait(int pid)
{
    uint64_t flags = irq_mask();
    struct proc *p = proc_find(pid);
    int status = -ECHILD;

    if (p && p->ppid == current()->pid && pid > 1) {
        while (p->state != PROC_ZOMBIE)
            sleep_on(&current()->child_ended);
        status = p->status;
        proc_free(p);
    }
    irq_restore(flags);
    return status;
}

void
proc_exit(int status)
{
    struct proc *p = current();

    irq_mask();
    fpu_drop();
    if (p->as.root) {
        struct aspace as = p->as;
        p->as = (struct aspace){.root = NULL};
        aspace_use(NULL);
        end_aspace(&as);
    }
#if LAB >= 6
    exit_children(p);
#else
    while (p->children) {
        if (p->children->state == PROC_ZOMBIE)
            wake_up(&proc_find(1)->child_ended);
        proc_adopt(proc_find(1), p->children);
    }
#endif
    p->status = status;
    p->state = PROC_ZOMBIE; /* its stack stays until another thread frees it */
    struct proc *parent = proc_find(p->ppid);
    if (!parent)
        panic("process %d has no parent: exit_children left it behind", p->pid);
    wake_up(&parent->child_ended);
    sched_end();
}

int
proc_kill(int pid, int signal)
{
    uint64_t flags = irq_mask();
    struct proc *p = proc_find(pid);
    int error = 0;

    if (!p) {
        error = -ESRCH;
    } else if (signal < 0 || signal > NSIG || (signal >= SIGSTOP && signal <= SIGTTOU)) {
        error = -EINVAL;
    } else if (p->state == PROC_ZOMBIE) {
        error = 0; /* it is there until somebody has waited for it */
    } else if (!p->as.root) {
        error = -EPERM;
    } else if (signal != 0 && signal != SIGCHLD && signal != SIGCONT && signal != SIGURG
               && signal != SIGWINCH && !p->killed) {
        p->killed = signal;
        if (p->state == PROC_SLEEPING)
            sched_wake(p);
    }
    irq_restore(flags);
    return error;
}

static void
destroy(void *arg)
{
    struct proc *p = arg;

    if (p->as.root)
        end_aspace(&p->as);
    else
        vma_clear(&p->as);
}

static void
discard(void *p)
{
    proc_free(p);
}

void
proc_reset(void)
{
    irq_mask();
    aspace_use(NULL);
    fpu_drop();
    if (boot_thread.state != PROC_RUNNING)
        sched_forget(&boot_thread);
    write_sysreg(tpidr_el1, &boot_thread);
    boot_thread.state = PROC_RUNNING;
    sched_wanted = false;
    for (size_t i = 0; i < NPROC; i++) {
        struct proc *p = procs[i];
        if (!p || p == &boot_thread)
            continue;
        if (p->state != PROC_RUNNING)
            sched_forget(p);
        /* It may be the exercises that do not work: then the memory is lost. */
        (void)check_panics(destroy, p);
        (void)check_panics(discard, p);
        procs[i] = NULL;
    }
    boot_thread.children = NULL;
    proc_idle = NULL;
    timer_stop();  /* nobody would take its interrupts */
    tried = false; /* threads 1 and 2 are made anew */
    last_pid = 0;
}
