/* wait4: whom it waits for, what it says, and what it refuses. */
#include "tests.h"

/* Three children end in this order, and are found in it. */
static void
end_in_order(const int order[3])
{
    int gate[3], pid[3], status;

    for (int i = 0; i < 3; i++)
        gate[i] = sleeper();
    for (int i = 0; i < 3; i++)
        CHILD(pid[i]) {
            until_gone(gate[i]);
            exit(10 + i);
        }
    for (int k = 0; k < 3; k++) {
        int i = order[k];
        open_gate(gate[i]);
        must(wait4(-1, &status, 0, NULL) == pid[i]);
        must(status == EXITED(10 + i));
    }
    must(wait4(-1, &status, 0, NULL) == -ECHILD);
}

TEST(wait_reverse, "three children that end in reverse order are found in that order")
{
    end_in_order((const int[3]){2, 1, 0});
}

TEST(wait_order, "so they are in every other order")
{
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}};

    for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
        end_in_order(orders[i]);
}

TEST(wait_for_one, "who waits for one of five children gets that one, and the others later")
{
    static const int order[] = {2, 4, 0, 1, 3};
    int pid[5], status;

    for (int i = 0; i < 5; i++)
        CHILD(pid[i])
            exit(20 + i);
    for (int k = 0; k < 5; k++) {
        int i = order[k];
        must(wait4(pid[i], &status, 0, NULL) == pid[i] && status == EXITED(20 + i));
        must(wait4(pid[i], &status, 0, NULL) == -ECHILD);
    }
}

TEST(wait_not_the_other,
     "who waits for a child that runs is not content with another that has ended")
{
    int runs = sleeper(), gate = sleeper(), ended, killer, status = 0x5555;

    CHILD(ended)
        exit(1);
    CHILD(killer) {
        until_gone(gate);
        call(runs);
    }
    let_run(20);
    must(wait4(runs, &status, WNOHANG, NULL) == 0 && status == 0x5555);
    open_gate(gate);
    must(wait4(runs, &status, 0, NULL) == runs && status == KILLED(SIGUSR1));
    must(wait4(ended, &status, 0, NULL) == ended && status == EXITED(1));
    must(ended_well(killer));
}

TEST(wait_any, "who waits for any child gets each once")
{
    bool seen[30] = {false};
    int pid[30], status;

    for (int i = 0; i < 30; i++)
        CHILD(pid[i])
            exit(i);
    for (int n = 0; n < 30; n++) {
        int ended = (int)wait4(n % 2 ? -1 : 0, &status, 0, NULL), i = status >> 8;
        must((status & 0xff) == 0 && i >= 0 && i < 30 && ended == pid[i] && !seen[i]);
        seen[i] = true;
    }
}

TEST(wait_nohang,
     "with WNOHANG nobody waits: 0 while the child runs, then the child, then no child")
{
    int pid = sleeper(), status = 0x1234567;

    for (int i = 0; i < 10; i++) {
        must(wait4(pid, &status, WNOHANG, NULL) == 0 && wait4(-1, &status, WNOHANG, NULL) == 0);
        must(status == 0x1234567);
    }
    call(pid);
    while (wait4(pid, &status, WNOHANG, NULL) == 0)
        sched_yield();
    must(status == KILLED(SIGUSR1));
    must(wait4(pid, &status, WNOHANG, NULL) == -ECHILD && status == KILLED(SIGUSR1));
}

TEST(wait_no_child, "nobody can wait for who is not its child")
{
    int me = (int)getpid(), pid, status = 77;

    must(wait4(-1, &status, 0, NULL) == -ECHILD && wait4(0, &status, 0, NULL) == -ECHILD);
    must(wait4(me, &status, 0, NULL) == -ECHILD);             /* itself */
    must(wait4((int)getppid(), &status, 0, NULL) == -ECHILD); /* its parent */
    must(wait4(0x3fffffff, &status, 0, NULL) == -ECHILD);     /* nobody */
    must(wait4(-0x3fffffff, &status, 0, NULL) == -ECHILD);    /* a group of that number */
    int sister = sleeper();
    CHILD(pid) {
        must(wait4(sister, &status, 0, NULL) == -ECHILD && wait4(-1, &status, 0, NULL) == -ECHILD);
        must(wait4(me, &status, WNOHANG, NULL) == -ECHILD);
    }
    must(ended_well(pid) && status == 77);
    open_gate(sister);
}

TEST(wait_grandchild, "a grandchild is no child")
{
    int pid, gate = sleeper(), hers = sleeper();

    CHILD(pid) {
        int child;
        CHILD(child) {
            must(kill(hers, SIGKILL) == 0); /* a sign that it is there */
            until_gone(gate);
        }
        must(ended_well(child));
    }
    must(status_of(hers) == KILLED(SIGKILL));
    must(wait4(-1, NULL, WNOHANG, NULL) == 0);
    open_gate(gate);
    must(wait4(-1, NULL, 0, NULL) == pid && wait4(-1, NULL, 0, NULL) == -ECHILD);
}

TEST(wait_options, "options that do not exist are refused, those that mean nothing here are not")
{
    int pid;

    for (int bit = 0; bit < 32; bit++) {
        unsigned option = 1u << bit;
        if (option & (WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE))
            must(wait4(-1, NULL, (int)option, NULL) == -ECHILD);
        else
            must(wait4(-1, NULL, (int)option, NULL) == -EINVAL);
    }
    CHILD(pid)
        ;
    must(wait4(pid, NULL, -1, NULL) == -EINVAL);
    must(wait4(pid, NULL, WNOHANG | 4, NULL) == -EINVAL);
    must(wait4(pid, NULL, WUNTRACED | WCONTINUED | __WALL | __WNOTHREAD, NULL) == pid);
}

TEST(wait_other_kind, "__WCLONE asks for children that fork does not make")
{
    int pid, status = 5;

    CHILD(pid)
        exit(3);
    must(wait4(pid, &status, (int)__WCLONE, NULL) == -ECHILD && status == 5);
    must(wait4(-1, &status, (int)(__WCLONE | WNOHANG), NULL) == -ECHILD && status == 5);
    must(wait4(pid, &status, (int)(__WCLONE | __WALL), NULL) == pid && status == EXITED(3));
}

TEST(wait_least_pid, "the number that has no positive counterpart is nobody's")
{
    must(wait4(INT32_MIN, NULL, 0, NULL) == -ESRCH);
}

TEST(wait_null, "who does not want to know the status says NULL")
{
    int pid;

    CHILD(pid)
        exit(1);
    must(wait4(pid, NULL, 0, NULL) == pid);
}

TEST(wait_bad_status, "a status that cannot be written: the child is gone all the same")
{
    static const int readonly = 3;
    uint64_t bad[] = {1, KERNEL, HOLE, UNMAPPED, (uint64_t)&readonly, (uint64_t)main, -4UL};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int pid;
        CHILD(pid)
            exit(1);
        must(syscall(SYS_wait4, pid, bad[i], 0, 0) == -EFAULT);
        must(wait4(pid, NULL, 0, NULL) == -ECHILD);
    }
    must(hidden((uint64_t)readonly) == 3);
}

TEST(wait_bad_usage, "the same for a usage that cannot be written")
{
    int pid, status = -1;

    CHILD(pid)
        exit(1);
    must(syscall(SYS_wait4, pid, &status, 0, KERNEL) == -EFAULT);
    must(wait4(pid, NULL, 0, NULL) == -ECHILD);
}

TEST(wait_status_size, "the status is four bytes, wherever they are")
{
    struct {
        uint32_t before;
        int status;
        uint32_t behind;
    } s = {0x11111111, 0x22222222, 0x33333333};
    char *p = pages(2, RW);
    int pid;

    CHILD(pid)
        exit(0xab);
    must(wait4(pid, &s.status, 0, NULL) == pid);
    must(s.before == 0x11111111 && s.status == 0xab00 && s.behind == 0x33333333);

    CHILD(pid)
        exit(0xcd);
    /* Over the edge of a page. */
    must(wait4(pid, (int *)(void *)(p + PAGE_SIZE - 1), 0, NULL) == pid);
    must(p[PAGE_SIZE - 1] == 0 && p[PAGE_SIZE] == (char)0xcd && p[PAGE_SIZE + 1] == 0);

    must(munmap(p + PAGE_SIZE, PAGE_SIZE) == 0);
    CHILD(pid)
        exit(1);
    must(wait4(pid, (int *)(void *)(p + PAGE_SIZE - 2), 0, NULL) == -EFAULT);
    must(wait4(-1, NULL, 0, NULL) == -ECHILD);
}

TEST(wait_usage, "rusage is written as a whole, and nothing behind it")
{
    struct {
        struct rusage r;
        uint64_t behind[4];
    } u;
    int pid, status;

    memset(&u, 0xee, sizeof(u));
    CHILD(pid)
        exit(2);
    must(wait4(pid, &status, 0, &u.r) == pid && status == EXITED(2));
    must(u.r.ru_utime.tv_sec >= 0 && u.r.ru_utime.tv_sec < 60);
    must(u.r.ru_utime.tv_usec >= 0 && u.r.ru_utime.tv_usec < 1000000);
    must(u.r.ru_stime.tv_sec >= 0 && u.r.ru_stime.tv_sec < 60);
    must(u.r.ru_stime.tv_usec >= 0 && u.r.ru_stime.tv_usec < 1000000);
    for (size_t i = 0; i < ARRAY_SIZE(u.r.ru_other); i++)
        must(u.r.ru_other[i] >= 0);
    must(all_bytes(u.behind, sizeof(u.behind), 0xee));

    memset(&u, 0xee, sizeof(u));
    must(wait4(-1, &status, 0, &u.r) == -ECHILD && all_bytes(&u, sizeof(u), 0xee));
}

TEST_HERE(wait_usage_none, "rusage stays as it was if nobody has ended",
          "QEMU writes something there")
{
    struct rusage usage;
    int pid = sleeper();

    memset(&usage, 0xee, sizeof(usage));
    must(wait4(pid, NULL, WNOHANG, &usage) == 0 && all_bytes(&usage, sizeof(usage), 0xee));
    open_gate(pid);
}

TEST(wait_halves, "process number and options are 32 bits, whatever is above them")
{
    int pid, status;

    CHILD(pid)
        exit(5);
    must(syscall(SYS_wait4, (uint64_t)pid | 0x7777UL << 32, &status, 1UL << 40, 0) == pid
         && status == EXITED(5));
    must(syscall(SYS_wait4, 0xffffffffUL, &status, 0, 0) == -ECHILD);
}

TEST(zombies, "a hundred who have ended stay until they are waited for")
{
    int pid[100], status;

    for (int i = 0; i < 100; i++)
        CHILD(pid[i])
            exit(100 + i);
    let_run(100);
    for (int i = 99; i >= 0; i--) {
        must(kill(pid[i], 0) == 0);
        must(wait4(pid[i], &status, 0, NULL) == pid[i] && status == EXITED(100 + i));
        must(kill(pid[i], 0) == -ESRCH);
    }
}

TEST(zombies_left, "who ends without waiting for those who have ended")
{
    for (int n = 0; n < 20; n++) {
        int pid;
        CHILD(pid) {
            int child;
            for (int i = 0; i < 5; i++)
                CHILD(child)
                    exit(i);
            for (int i = 0; i < n; i++)
                sched_yield();
        }
        must(ended_well(pid));
    }
}
