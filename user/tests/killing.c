/* kill, of processes that are at anything. */
#include "tests.h"

TEST(kill_new, "a child that has not run yet")
{
    for (int i = 0; i < 20; i++) {
        int pid;
        CHILD(pid)
            spin();
        must(kill(pid, SIGKILL) == 0);
        must(status_of(pid) == KILLED(SIGKILL));
    }
}

TEST(kill_running, "a child that asks for nothing")
{
    int pid;

    CHILD(pid)
        spin();
    let_run(10);
    must(kill(pid, SIGKILL) == 0 && status_of(pid) == KILLED(SIGKILL));
}

TEST(kill_calling, "a child that makes system calls all the time")
{
    int parent = (int)getpid(), pid;

    CHILD(pid) {
        while (getppid() == parent)
            ;
    }
    let_run(10);
    must(kill(pid, SIGINT) == 0 && status_of(pid) == KILLED(SIGINT));
}

TEST(kill_sleeping, "a child that sleeps for a year")
{
    const struct timespec year = {31536000, 0};
    int pid;

    CHILD(pid)
        nanosleep(&year, NULL);
    let_run(10);
    must(kill(pid, SIGALRM) == 0 && status_of(pid) == KILLED(SIGALRM));
}

TEST(kill_waiting, "a child that waits for its own child")
{
    int pid, gate = sleeper(), sign = sleeper(), there = sleeper();

    CHILD(pid) {
        int child;
        CHILD(child) {
            call(there);
            until_gone(gate);
            call(sign);
        }
        status_of(child);
    }
    must(came(there));
    let_run(10);
    must(kill(pid, SIGHUP) == 0 && status_of(pid) == KILLED(SIGHUP));
    open_gate(gate); /* the grandchild goes on */
    must(came(sign));
}

TEST(kill_forking, "a child that forks all the time")
{
    int parent = (int)getpid(), pid;

    CHILD(pid) {
        while (getppid() == parent) {
            int child;
            CHILD(child)
                ;
            must(ended_well(child));
        }
    }
    let_run(30);
    must(kill(pid, SIGKILL) == 0 && status_of(pid) == KILLED(SIGKILL));
}

TEST(kill_mapping, "a child that maps, touches and unmaps all the time")
{
    int parent = (int)getpid(), pid;

    CHILD(pid) {
        while (getppid() == parent) {
            char *p = pages(20, RW);
            mark(p, 20, 1);
            must(munmap(p, 20 * PAGE_SIZE) == 0);
        }
    }
    let_run(30);
    must(kill(pid, SIGKILL) == 0 && status_of(pid) == KILLED(SIGKILL));
}

TEST(kill_ended,
     "a child that has ended is there until it is waited for, and what it is told changes nothing")
{
    int pid = sleeper();

    call(pid);
    let_run(10);
    must(kill(pid, SIGUSR1) == 0 && kill(pid, 0) == 0);
    must(status_of(pid) == KILLED(SIGUSR1));
    must(kill(pid, SIGKILL) == -ESRCH && kill(pid, 0) == -ESRCH);
}

TEST_HERE(kill_exited, "the status of a child that has exited stays what it was",
          "it may not have got so far there")
{
    int pid;

    CHILD(pid)
        exit(3);
    let_run(10);
    must(kill(pid, SIGKILL) == 0 && status_of(pid) == EXITED(3));
}

TEST(kill_sister, "a child kills another one")
{
    int one = sleeper(), other;

    CHILD(other)
        must(kill(one, SIGQUIT) == 0);
    must(status_of(one) == KILLED(SIGQUIT) && ended_well(other));
}

TEST(kill_self, "who kills itself does not come back from it")
{
    static volatile int after;
    int pid;

    CHILD(pid) {
        after = 1;
        kill((int)getpid(), SIGKILL);
        exit(after);
    }
    must(status_of(pid) == KILLED(SIGKILL));
}

TEST(kill_nobody, "no process, or no signal")
{
    int pid = sleeper();

    must(kill(0x3fffffff, SIGKILL) == -ESRCH && kill(0x3fffffff, 0) == -ESRCH);
    must(kill(pid, 65) == -EINVAL && kill(pid, -1) == -EINVAL && kill(pid, 1000) == -EINVAL);
    must(kill(pid, 0) == 0 && wait4(pid, NULL, WNOHANG, NULL) == 0);
    open_gate(pid);
    must(kill(pid, 0) == -ESRCH);
}

TEST(kill_not_inherited, "a signal is for one process, not for its children")
{
    int sign = sleeper(), gate = sleeper(), pid;

    CHILD(pid) {
        int child;
        CHILD(child) {
            until_gone(gate);
            call(sign);
        }
        kill((int)getpid(), SIGKILL);
    }
    must(status_of(pid) == KILLED(SIGKILL));
    open_gate(gate);
    must(came(sign));
}

TEST(kill_any_moment, "a hundred children, killed at a hundred different moments of their lives")
{
    int parent = (int)getpid();

    for (int i = 0; i < 100; i++) {
        int pid;
        CHILD(pid) {
            char *p = pages(4, RW);
            for (uint64_t n = 0; getppid() == parent; n++) {
                int child;
                CHILD(child)
                    mark(p, 4, n);
                mark(p, 4, ~n);
                must(ended_well(child));
            }
        }
        for (int k = 0; k < i % 40; k++)
            sched_yield();
        for (volatile int k = 0; k < i * 100; k++)
            ;
        must(kill(pid, SIGKILL) == 0 && status_of(pid) == KILLED(SIGKILL));
    }
}
