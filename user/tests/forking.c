/* fork, and how processes end. */
#include "tests.h"

TEST(fork_returns, "fork returns 0 in the child, and the child's number in the parent")
{
    int parent = (int)getpid(), pid = (int)fork();

    must(pid >= 0 && pid != parent);
    if (pid == 0) {
        must(getppid() == parent && getpid() != parent);
        exit((int)getpid() & 0x7f);
    }
    must(getpid() == parent);
    must(status_of(pid) == EXITED(pid & 0x7f));
}

TEST(fork_numbers, "those who live at the same time have different numbers")
{
    int pid[20], n = 0;

    while (n < 20)
        pid[n++] = sleeper();
    for (int i = 0; i < n; i++) {
        must(pid[i] > 0 && pid[i] != getpid() && pid[i] != getppid());
        for (int j = 0; j < i; j++)
            must(pid[i] != pid[j]);
    }
    while (n > 0)
        open_gate(pid[--n]);
}

/* Calls itself, keeps something in each call's frame, and forks at the bottom. */
static int
deep(int depth, int *forked)
{
    volatile int frame[16], below;

    for (int i = 0; i < 16; i++)
        frame[i] = depth * 16 + i;
    if (depth > 0)
        below = deep(depth - 1, forked);
    else
        below = *forked = begin();
    for (int i = 0; i < 16; i++)
        must(frame[i] == depth * 16 + i);
    return below;
}

TEST(fork_deep, "both return through the thousand calls that led to fork")
{
    int forked = -1, pid = deep(1000, &forked);

    must(pid == forked);
    if (pid == 0)
        exit(7);
    must(status_of(pid) == EXITED(7));
}

/* A child, which has a child, and so on. How many. */
static int
generations(int left)
{
    int pid;

    if (left == 0)
        return 0;
    CHILD(pid)
        exit(generations(left - 1));
    int status = status_of(pid);
    must((status & 0xff) == 0);
    return 1 + (status >> 8);
}

TEST(fork_chain, "thirty generations, each the child of the one before")
{
    must(generations(30) == 30);
}

TEST(fork_one_by_one, "a hundred children, one after the other")
{
    for (int i = 0; i < 100; i++) {
        int pid;
        CHILD(pid)
            exit(i & 0x7f);
        must(status_of(pid) == EXITED(i & 0x7f));
    }
}

TEST(fork_many, "a hundred children at the same time")
{
    int pid[100], gate = sleeper();

    for (int i = 0; i < 100; i++)
        CHILD(pid[i]) {
            until_gone(gate);
            exit(i);
        }
    open_gate(gate);
    for (int i = 0; i < 100; i++)
        must(status_of(pid[i]) == EXITED(i));
}

/* Everybody has four children, three generations deep, all at the same time. The number of processes. */
static int
family(int depth)
{
    int pid[4], n = 1;

    if (depth == 0)
        return 1;
    for (int i = 0; i < 4; i++)
        CHILD(pid[i])
            exit(family(depth - 1));
    for (int i = 0; i < 4; i++) {
        int status = status_of(pid[i]);
        must((status & 0xff) == 0);
        n += status >> 8;
    }
    return n;
}

TEST(fork_together, "children that fork while their parents do")
{
    must(family(3) == 1 + 4 + 16 + 64);
}

TEST(fork_flags, "clone refuses flags that contradict each other")
{
    must(syscall(SYS_clone, SIGCHLD | 0x10000, 0, 0, 0, 0) == -EINVAL); /* CLONE_THREAD alone */
    must(syscall(SYS_clone, SIGCHLD | 0x800, 0, 0, 0, 0) == -EINVAL);   /* CLONE_SIGHAND alone */
}

TEST_HERE(fork_no_threads, "clone refuses all flags: nothing can be shared", "Linux has threads")
{
    for (int bit = 0; bit < 64; bit++)
        must(syscall(SYS_clone, SIGCHLD ^ 1UL << bit, 0, 0, 0, 0) == -EINVAL);
    must(syscall(SYS_clone, 0, 0, 0, 0, 0) == -EINVAL);
}

TEST(fork_fails_late, "what does not concern clone, it does not look at")
{
    long pid = syscall(SYS_clone, SIGCHLD, 0, KERNEL, HOLE, 1);

    must(pid >= 0);
    if (pid == 0)
        exit(3);
    must(status_of((int)pid) == EXITED(3));
}

/* ---- Ends ---- */

TEST(exit_codes, "each exit status from 0 to 255 arrives")
{
    for (int code = 0; code < 256; code++) {
        int pid;
        CHILD(pid)
            exit(code);
        must(status_of(pid) == EXITED(code));
    }
}

TEST(exit_large, "of a larger exit status the low eight bits arrive")
{
    static const int codes[] = {256, 257, 511, 0x12345678, -1, -256, INT32_MIN};

    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        int pid;
        CHILD(pid)
            exit(codes[i]);
        must(status_of(pid) == EXITED(codes[i] & 0xff));
    }
}

TEST(exit_calls, "exit and exit_group are the same for a process of one thread")
{
    int pid;

    CHILD(pid)
        syscall(SYS_exit, 5);
    must(status_of(pid) == EXITED(5));
    CHILD(pid)
        syscall(SYS_exit_group, 6);
    must(status_of(pid) == EXITED(6));
}

TEST(exit_signals, "who is killed has the signal in its status, and nothing else")
{
    for (int signal = 1; signal < 32; signal++) {
        int pid;
        if (signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH
            || (signal >= SIGSTOP && signal <= SIGTTOU))
            continue;
        CHILD(pid) {
            kill((int)getpid(), signal);
            exit(99);
        }
        must(status_of(pid) == KILLED(signal));
    }
}

TEST(exit_not_ignored, "signals that are ignored end nobody")
{
    static const int ignored[] = {0, SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
    int pid;

    CHILD(pid) {
        for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
            must(kill((int)getpid(), ignored[i]) == 0);
        exit(4);
    }
    must(status_of(pid) == EXITED(4));
}

TEST(exit_128, "an exit status above 128 is no signal")
{
    int pid;

    CHILD(pid)
        exit(128 + SIGSEGV);
    int status = status_of(pid);
    must(WIFEXITED(status) && !WIFSIGNALED(status) && WEXITSTATUS(status) == 128 + SIGSEGV);
}

TEST(exit_faults, "what a child must not do ends it alone, with the right signal")
{
    int pid;

    must(try_peek(0) == KILLED(SIGSEGV) && try_poke(0) == KILLED(SIGSEGV)
         && try_jump(0) == KILLED(SIGSEGV));
    must(try_peek(UNMAPPED) == KILLED(SIGSEGV) && try_poke(UNMAPPED) == KILLED(SIGSEGV));
    CHILD(pid)
        __asm__ volatile("udf #0");
    must(status_of(pid) == KILLED(SIGILL));
    CHILD(pid)
        __asm__ volatile("brk #0");
    must(status_of(pid) == KILLED(SIGTRAP));
}

/* ---- Who is left ---- */

TEST(orphan, "whose parent ends goes on, and has another parent")
{
    int sign = sleeper(), pid;

    CHILD(pid) {
        int parent = (int)getpid(), child;
        CHILD(child) {
            while (getppid() == parent)
                sched_yield();
            call(sign);
        }
    }
    must(ended_well(pid));
    must(came(sign));
}

TEST(orphans, "ten children are left by their parent, in every state")
{
    int sign = sleeper(), pid;

    CHILD(pid) {
        int parent = (int)getpid(), child, last;
        const struct timespec moment = {0, 1000000};
        for (int i = 0; i < 3; i++)
            CHILD(child)
                exit(i); /* nobody waits for these */
        for (int i = 0; i < 3; i++)
            CHILD(child) {
                while (getppid() == parent)
                    nanosleep(&moment, NULL);
            }
        for (int i = 0; i < 3; i++)
            CHILD(child) {
                while (getppid() == parent)
                    ;
            }
        CHILD(last) {
            while (getppid() == parent)
                sched_yield();
            call(sign);
        }
        for (int i = 0; i < 5; i++)
            sched_yield();
    }
    must(ended_well(pid));
    must(came(sign));
}

TEST(orphan_waits, "whose parent ends while it waits for its own child still gets that")
{
    int sign = sleeper(), gate = sleeper(), pid;

    CHILD(pid) {
        int child;
        CHILD(child) {
            int grandchild;
            CHILD(grandchild) {
                until_gone(gate);
                exit(9);
            }
            must(status_of(grandchild) == EXITED(9)); /* it is in here when its parent ends */
            call(sign);
        }
        for (int i = 0; i < 10; i++)
            sched_yield();
    }
    must(ended_well(pid));
    open_gate(gate);
    must(came(sign));
}

TEST(orphan_kills, "who kills its parent is an orphan")
{
    int sign = sleeper(), first = (int)getpid(), parent;

    CHILD(parent) {
        int me = (int)getpid(), child;
        CHILD(child) {
            must(kill(me, SIGKILL) == 0);
            while (getppid() == me)
                sched_yield();
            call(sign);
        }
        while (getppid() == first)
            sched_yield();
    }
    must(status_of(parent) == KILLED(SIGKILL));
    must(came(sign));
}
