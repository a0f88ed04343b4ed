/*
 * System calls by number. What stands here twice is the same thing for a process of one thread.
 */
#include "sys.h"

syscall_fn *const syscall_table[NSYSCALLS] = {
    [SYS_ioctl] = sys_ioctl,
    [SYS_read] = sys_read,
    [SYS_write] = sys_write,
    [SYS_writev] = sys_writev,
    [SYS_exit] = sys_exit,
    [SYS_exit_group] = sys_exit,
    [SYS_set_tid_address] = sys_getpid, /* returns the thread's number */
    [SYS_set_robust_list] = sys_set_robust_list,
    [SYS_nanosleep] = sys_nanosleep,
    [SYS_clock_gettime] = sys_clock_gettime,
    [SYS_clock_getres] = sys_clock_getres,
    [SYS_sched_yield] = sys_sched_yield,
    [SYS_kill] = sys_kill,
    [SYS_uname] = sys_uname,
    [SYS_getpid] = sys_getpid,
    [SYS_getppid] = sys_getppid,
    [SYS_getuid] = sys_zero,
    [SYS_geteuid] = sys_zero,
    [SYS_getgid] = sys_zero,
    [SYS_getegid] = sys_zero,
    [SYS_gettid] = sys_getpid,
    [SYS_brk] = sys_brk,
    [SYS_munmap] = sys_munmap,
#if LAB >= 6
    [SYS_clone] = sys_clone,
    [SYS_execve] = sys_execve,
    [SYS_wait4] = sys_wait4,
#endif
    [SYS_mmap] = sys_mmap,
    [SYS_mprotect] = sys_mprotect,
};
