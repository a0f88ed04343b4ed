/*
 * Processes and kernel threads: what there is of each, and how they come and go. (proc.c, thread.S) How they take
 * turns: sched.h.
 *
 * A kernel thread has no address space, and runs with interrupts open. A process is a thread that leaves the kernel
 * for a program; in the kernel, interrupts are masked while it is at work.
 */
#ifndef INC_PROC_H
#define INC_PROC_H

#include "aspace.h"
#include "fpu.h"
#include "memlayout.h"
#include "sched.h"
#include "trap.h"

#if LAB >= 6
#define NPROC 512 /* processes and threads at the same time */
#else
#define NPROC 256 /* processes and threads at the same time */
#endif
#define PID_MAX 32768

enum proc_state { PROC_NEW, PROC_RUNNABLE, PROC_RUNNING, PROC_SLEEPING, PROC_ZOMBIE };

/* All fields belong to whoever runs in the kernel with interrupts masked; there is one core. */
struct proc {
    struct context context; /* where it goes on, while it does not run; first, for switch.S */
    enum proc_state state;
    int pid, ppid;
    char name[16];

    struct proc *next;   /* on the run queue, or on a wait queue */
    struct waitq *waits; /* the queue that it sleeps on, or NULL */
    uint64_t wake_at;    /* timer.c's: when it wants to be woken, or 0 */

    char *kstack;     /* STACK_SIZE bytes; NULL: boot_stack */
    struct aspace as; /* as.root is NULL: a kernel thread */
    struct fpu fpu;   /* floating-point registers, while they are not in the core */

    int killed; /* the signal that ends it before it goes back to EL0; 0: none */
    int status; /* of a zombie: 0 to 255, or 128 + signal */

    struct proc *children;    /* those whose ppid is this pid, the last one first ... */
    struct proc *sibling;     /* ... and the parent's next child */
    struct waitq child_ended; /* it sleeps here until one of them ends */
};

/* The thread that this core runs. TPIDR_EL1 holds it. */
#ifdef __aarch64__
static inline struct proc *
current(void)
{
    struct proc *p;

    __asm__("mrs %0, tpidr_el1"
            : "=r"(p)); /* not volatile: it changes only where this thread sleeps */
    return p;
}
#else /* the host, where the tests run */
struct proc *current(void);
#endif

/* A process's registers at EL0, at the top of its kernel stack while it is in the kernel. */
static inline struct trap_frame *
proc_frame(const struct proc *p)
{
    return (struct trap_frame *)(void *)(p->kstack + STACK_SIZE) - 1;
}

/* The thread that runs when no other can; it is on no queue. NULL: there are no threads yet. */
extern struct proc *proc_idle;

/* The boot becomes thread 0. */
void proc_init(void);

/*
 * Can there be other threads? NULL if so, else what is missing. The first time, it tries context_switch, and makes
 * threads 1 and 2: one frees what is left of those that nobody waits for, and one idles. Then the timer starts.
 */
const char *proc_trouble(void);

/*
 * A new kernel thread, which runs fn(arg) and ends; nobody waits for it. Its pid; -EAGAIN: there are NPROC; -ENOMEM;
 * -ENOSYS: see proc_trouble.
 */
int kthread_create(void (*fn)(void *arg), void *arg, const char *name);

/*
 * A new process that runs the ELF file, or the program of that name (exec.h: argv, envp, and more errors). Its pid, or
 * -ENOENT, -EAGAIN, -ENOSYS (see proc_trouble). Its parent is the running thread.
 */
int proc_spawn_file(const void *file, size_t size, const char *name, const char *const argv[],
                    const char *const envp[]);
int proc_spawn(const char *const argv[], const char *const envp[]);

/*
 * Sleep until the process, a child of the running thread, has ended; what is left of it goes. Its status; -ECHILD:
 * there is no such child.
 */
int proc_wait(int pid);

/*
 * The running one ends. Its memory is free at once; the rest when its parent has waited for it. Children that it has
 * become those of thread 1.
 */
_Noreturn void proc_exit(int status);

/*
 * The process ends with the signal, as soon as it would go back to EL0; if it sleeps, it wakes up for that. A signal that
 * is ignored, or 0, does nothing, nor does any for who has ended. 0; -ESRCH; -EINVAL: no signal, or one that would
 * stop it; -EPERM: a kernel thread.
 */
int proc_kill(int pid, int signal);

/* The child, a new or an old one, has this parent from here on. */
void proc_adopt(struct proc *parent, struct proc *child);

/* What is left of p, which does not run any more, or has never done so. */
void proc_free(struct proc *p);

/* By pid; NULL: there is none. */
struct proc *proc_find(int pid);

/* The one with the next higher pid than `pid` that there is; NULL: none. To go through all: begin with -1. */
struct proc *proc_after(int pid);

#if LAB >= 6
/*
 * The running process goes on with another program, as proc_spawn would begin it, and keeps its pid, parent and
 * children. 0; -ENOEXEC, -ENOMEM, -E2BIG: then it goes on as it was.
 */
struct program;
int proc_exec(const struct program *program, const char *const argv[], const char *const envp[]);

#endif
/* A panic has come: no other thread runs any more, and none can be made. */
extern bool proc_stopped;

/*
 * A check has ended in the middle of something: whatever thread this was, it is the boot's again, and
 * all others are gone; threads 1 and 2 are made anew when they are wanted.
 */
void proc_reset(void);

#endif
