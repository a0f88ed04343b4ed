/* Linux has more of them. */
#include "attack.h"

ATTACK_HERE(no_such_call, "makes every system call that there is not", 0)
{
    static const uint16_t known[] = {
        SYS_ioctl,
        SYS_read,
        SYS_write,
        SYS_writev,
        SYS_exit,
        SYS_exit_group,
        SYS_set_tid_address,
        SYS_set_robust_list,
        SYS_nanosleep,
        SYS_clock_gettime,
        SYS_clock_getres,
        SYS_sched_yield,
        SYS_kill,
        SYS_uname,
        SYS_getpid,
        SYS_getppid,
        SYS_getuid,
        SYS_geteuid,
        SYS_getgid,
        SYS_getegid,
        SYS_gettid,
        SYS_brk,
        SYS_munmap,
#if LAB >= 6
        SYS_clone,
        SYS_execve,
#endif
        SYS_mmap,
        SYS_mprotect,
#if LAB >= 6
        SYS_wait4,
#endif
    };
    size_t next = 0;

    for (uint64_t i = 0; i < 1000; i++) {
        if (next < ARRAY_SIZE(known) && known[next] == i)
            next++;
        else
            require(syscall((long)i, 0L, 0L, 0L, 0L, 0L, 0L) == -ENOSYS);
    }
    require(next == ARRAY_SIZE(known));
    for (int bit = 10; bit < 64; bit++) {
        require(syscall((long)(1UL << bit)) == -ENOSYS);
        require(syscall((long)(1UL << bit | SYS_getpid)) == -ENOSYS);
        require(syscall(-(long)(1UL << bit)) == -ENOSYS);
    }
}
