/*
 * System calls about processes and time.
 */
#include "irq.h"
#include "proc.h"
#include "string.h"
#include "sys.h"
#include "uaccess.h"
#include "uapi/time.h"
#include "uapi/utsname.h"

#define NSEC_PER_SEC 1000000000

int64_t
sys_exit(const uint64_t arg[6])
{
    proc_exit((int)(arg[0] & 0xff));
}

int64_t
sys_getpid(const uint64_t arg[6])
{
    (void)arg;
    return current()->pid;
}

int64_t
sys_getppid(const uint64_t arg[6])
{
    (void)arg;
    return current()->ppid;
}

/* Everybody is user and group 0. */
int64_t
sys_zero(const uint64_t arg[6])
{
    (void)arg;
    return 0;
}

/* For locks between threads of a process; there are none. 24: the size of Linux's list head. */
int64_t
sys_set_robust_list(const uint64_t arg[6])
{
    return arg[1] == 24 ? 0 : -EINVAL;
}

int64_t
sys_sched_yield(const uint64_t arg[6])
{
    (void)arg;
    sched_yield();
    return 0;
}

int64_t
sys_kill(const uint64_t arg[6])
{
    int pid = (int)arg[0];

    if (pid <= 0) /* groups of processes, of which there are none */
        return -ESRCH;
    return proc_kill(pid, (int)arg[1]);
}

/*
 * Sleep for the time at arg[0]. If the process is to end before that, nobody sees the result; so the time that
 * remained, for arg[1], is never written.
 */
int64_t
sys_nanosleep(const uint64_t arg[6])
{
    struct timespec t;

    if (copy_from_user(&t, arg[0], sizeof(t)) < 0)
        return -EFAULT;
    if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= NSEC_PER_SEC)
        return -EINVAL;
    uint64_t ns = UINT64_MAX, now = clock_count();
    if ((uint64_t)t.tv_sec < UINT64_MAX / NSEC_PER_SEC)
        ns = (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
    timer_sleep(now + clock_counts(ns));
    return current()->killed ? -EINTR : 0;
}

static bool
is_clock(uint64_t id)
{
    return (uint32_t)id == CLOCK_REALTIME || (uint32_t)id == CLOCK_MONOTONIC;
}

static int64_t
give_time(uint64_t to, uint64_t ns)
{
    struct timespec t = {(int64_t)(ns / NSEC_PER_SEC), (int64_t)(ns % NSEC_PER_SEC)};

    return copy_to_user(to, &t, sizeof(t));
}

int64_t
sys_clock_gettime(const uint64_t arg[6])
{
    return is_clock(arg[0]) ? give_time(arg[1], clock_ns(clock_count())) : -EINVAL;
}

int64_t
sys_clock_getres(const uint64_t arg[6])
{
    if (!is_clock(arg[0]))
        return -EINVAL;
    return arg[1] == 0 ? 0 : give_time(arg[1], MAX(clock_ns(1), 1));
}

int64_t
sys_uname(const uint64_t arg[6])
{
    /* The release is that of a Linux whose interface this is: C libraries refuse those that are too old. */
    static const struct utsname name = {
        "Bramble", "bramble", "6.1.0", "#1", "aarch64", "(none)",
    };

    return copy_to_user(arg[0], &name, sizeof(name));
}
