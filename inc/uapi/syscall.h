/*
 * System calls, by Linux's numbers for AArch64 (include/uapi/asm-generic/unistd.h there). The number is in
 * x8, up to six arguments in x0 to x5; `svc #0` comes back with the result in x0, or a negated number of
 * errno.h. All other registers are as they were.
 */
#ifndef UAPI_SYSCALL_H
#define UAPI_SYSCALL_H

#define SYS_ioctl           29
#define SYS_read            63
#define SYS_write           64
#define SYS_writev          66
#define SYS_exit            93
#define SYS_exit_group      94
#define SYS_set_tid_address 96
#define SYS_set_robust_list 99
#define SYS_nanosleep       101
#define SYS_clock_gettime   113
#define SYS_clock_getres    114
#define SYS_sched_yield     124
#define SYS_kill            129
#define SYS_rt_sigaction    134
#define SYS_uname           160
#define SYS_getpid          172
#define SYS_getppid         173
#define SYS_getuid          174
#define SYS_geteuid         175
#define SYS_getgid          176
#define SYS_getegid         177
#define SYS_gettid          178
#define SYS_brk             214
#define SYS_munmap          215
#if LAB >= 6
#define SYS_clone  220
#define SYS_execve 221
#endif
#define SYS_mmap     222
#define SYS_mprotect 226
#if LAB >= 6
#define SYS_wait4 260
#endif

#endif
