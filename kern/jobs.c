/*
 * Programs at the prompt: started, listed, looked at and ended.
 */
#include "jobs.h"
#include "audit.h"
#include "bootinfo.h"
#include "console.h"
#include "errno.h"
#include "exec.h"
#include "input.h"
#include "irq.h"
#if LAB >= 6
#include "failnth.h"
#endif
#include "kmalloc.h"
#include "memview.h"
#include "proc.h"
#include "pt.h"
#include "string.h"
#include "uapi/signal.h"
#include "vma.h"
#include "vmiter.h"

#define ARGS_MAX 16
#define JOBS_MAX 16 /* programs of one run= */
#define LINE_MAX 128

/* A command line, cut into words. */
struct words {
    char text[LINE_MAX];
    const char *argv[ARGS_MAX + 1];
};

static void
split(struct words *w, const char *line, char between)
{
    size_t n = 0;
    char *at = w->text;

    strlcpy(w->text, line, sizeof(w->text));
    while (*at && n < ARGS_MAX) {
        w->argv[n++] = at;
        at = strchr(at, between);
        if (!at)
            break;
        while (*at == between)
            *at++ = '\0';
    }
    w->argv[n] = NULL;
}

static void
say_why(const char *name, int error)
{
    const char *why = "the program cannot be loaded";

    switch (error) {
    case -ENOENT:
        why = "there is no such program; run without a name lists them";
        break;
    case -ENOSYS:
        why = proc_trouble();
        break;
    case -ENOMEM:
        why = "out of memory, or an exercise of lab 5 (aspace.c) or before is missing";
        break;
    case -EAGAIN:
        why = "there are too many processes";
        break;
    default:
        break;
    }
    cprintf("%s: %s\n", name, why ? why : "?");
}

static int
start(const struct words *w)
{
    static const char *const environment[] = {"HOME=/", NULL};
    int pid = proc_spawn(w->argv, environment);

    if (pid < 0)
        say_why(w->argv[0], pid);
    return pid;
}

static void
finish(const char *name, int pid)
{
    int status = proc_wait(pid);

    if (status != 0)
        cprintf("%s (pid %d): status %d\n", name, pid, status);
}

bool
jobs_boot(void)
{
    static struct words jobs[JOBS_MAX];
    char line[LINE_MAX * 2];
    int pids[JOBS_MAX], n = 0;

    if (!bootarg("run", line, sizeof(line)))
        return false;
#if LAB >= 6
    uint64_t failing;
    if (bootarg_number("failnth", &failing)
        && !proc_trouble()) /* the kernel's own threads are there before */
        failnth_set(failing);
#endif
    for (char *at = line; at && n < JOBS_MAX; n++) {
        char *rest = strchr(at, '+');
        if (rest)
            *rest++ = '\0';
        split(&jobs[n], at, ',');
        at = rest;
        pids[n] = jobs[n].argv[0] ? start(&jobs[n]) : -1;
    }
    if (memview_boot()) /* it waits for them */
        return true;
    for (int i = 0; i < n; i++)
        if (pids[i] > 0)
            finish(jobs[i].argv[0], pids[i]);
    return true;
}

/* A kernel thread for each program in the background: it waits for it. */
static void
in_background(void *words)
{
    struct words *w = words;
    int pid = start(w);

    if (pid > 0) {
        cprintf("%s (pid %d) runs\n", w->argv[0], pid);
        finish(w->argv[0], pid);
    }
    kmfree(w);
}

static void
list_programs(void)
{
    cprintf("run NAME [ARGUMENT ...] [&]. The programs are:");
    for (size_t i = 0; i < nprograms; i++)
        cprintf(" %s", programs[i].name);
    cprintf("\nCtrl-C ends one; with & at the end it runs while you go on.\n");
}

void
job_run(const char *argument)
{
    struct words *w = kmalloc(sizeof(*w));
    size_t last = 0;

    if (!w) {
        cprintf("there is no memory (kmalloc, lab 4)\n");
        return;
    }
    split(w, argument, ' ');
    while (w->argv[last])
        last++;
    if (last == 0 || (last == 1 && strcmp(w->argv[0], "&") == 0)) {
        list_programs();
    } else if (strcmp(w->argv[last - 1], "&") == 0) {
        w->argv[last - 1] = NULL;
        int pid = kthread_create(in_background, w, w->argv[0]);
        if (pid > 0)
            return; /* w is the thread's now */
        say_why(w->argv[0], pid);
    } else {
        input_foreground = start(w);
        if (input_foreground > 0)
            finish(w->argv[0], input_foreground);
        input_foreground = 0;
    }
    kmfree(w);
}

/* The process whose number the argument begins with. *rest: what is behind it. */
static int
pid_of(const char *argument, const char **rest)
{
    uint64_t pid;

    if (parse_u64(argument, rest, 10, &pid) != 0 || pid > PID_MAX || !proc_find((int)pid)) {
        cprintf("There is no process %s; ps lists them.\n", *argument ? argument : "(which?)");
        return -1;
    }
    return (int)pid;
}

void
job_ps(const char *argument)
{
    static const char *const states[] = {"new", "ready", "running", "sleeping", "ended"};

    (void)argument;
    cprintf("  pid  ppid state    pages name\n");
    for (struct proc *p = proc_after(-1); p; p = proc_after(p->pid))
        cprintf("%5d %5d %-8s %5lu %s%s\n", p->pid, p->ppid, states[p->state], p->as.pages, p->name,
                p->as.root ? "" : " (kernel)");
}

void
job_kill(const char *argument)
{
    int pid = pid_of(argument, NULL);

    if (pid >= 0 && proc_kill(pid, SIGKILL) < 0)
        cprintf("%d is the kernel's own.\n", pid);
}

/* Do the two leaves continue each other, with the same rights? */
static bool
continues(const struct vmiter *it, uint64_t va, uint64_t flags)
{
    return vmiter_ok(it) && it->va == va && PTE_FLAGS(*it->pte) == flags;
}

void
job_vm(const char *argument)
{
    const char *rest;
    uint64_t va;
    int pid = pid_of(argument, &rest);

    if (pid < 0)
        return;
    const struct proc *p = proc_find(pid);
    if (!p->as.root) {
        cprintf("%s is a kernel thread: it has no memory of its own.\n", p->name);
        return;
    }
    while (*rest == ' ')
        rest++;
    if (parse_u64(rest, NULL, strncmp(rest, "0x", 2) == 0 ? 0 : 16, &va) == 0) {
        if (va < USER_TOP)
            pt_print_walk_in(V2P(p->as.root), va);
        else
            cprintf("Processes own what lies below %lx; pt shows the rest.\n", USER_TOP);
        return;
    }
    struct vmiter it = vmiter_at(p->as.root, 0);
    while (vmiter_ok(&it)) {
        uint64_t from = it.va, flags = PTE_FLAGS(*it.pte), to = from;
        while (continues(&it, to, flags)) {
            to += vmiter_size(&it);
            vmiter_next(&it);
        }
        cprintf("%12lx-%lx %5lu pages %s%s%s\n", from, to, (to - from) / PGSIZE,
                flags & PTE_USER ? "r" : "-", flags & PTE_RO ? "-" : "w",
                flags & PTE_UXN ? "-" : "x");
    }
    cprintf("root table at %lx, ASID %lu\n", V2P(p->as.root), p->as.asid & 0xffff);
}

static void
say(const char *line)
{
    cprintf("%s\n", line);
}

void
job_audit(const char *argument)
{
    (void)argument;
    size_t errors = audit(say);
    if (errors == 0)
        cprintf("The memory of all processes is in order.\n");
    else
        cprintf("%lu errors\n", errors);
}

#if LAB >= 6
void
job_failnth(const char *argument)
{
    const char *rest;
    uint64_t n;

    if (parse_u64(argument, &rest, 10, &n) != 0 || *rest != ' ') {
        cprintf("failnth wants a number and a program: failnth 7 forks 3\n");
        return;
    }
    while (*rest == ' ')
        rest++;
    failnth_set(n);
    job_run(rest);
    bool failed = failnth_happened();
    uint64_t calls = failnth_calls();
    failnth_set(0);
    cprintf("%lu allocations, %s failed\n", calls, failed ? "one" : "none");
}
#endif
