/* The functions that serve system calls, for systable.c. Named and numbered as Linux's. (sys_*.c) */
#ifndef INC_SYS_H
#define INC_SYS_H

#include "syscall.h"

syscall_fn sys_ioctl, sys_read, sys_write, sys_writev;  /* sys_io.c */
syscall_fn sys_brk, sys_mmap, sys_munmap, sys_mprotect; /* sys_mem.c */
syscall_fn sys_exit, sys_getpid, sys_getppid, sys_zero; /* sys_proc.c */
syscall_fn sys_sched_yield, sys_kill, sys_nanosleep, sys_uname;
syscall_fn sys_clock_gettime, sys_clock_getres, sys_set_robust_list;
#if LAB >= 6
syscall_fn sys_clone, sys_execve, sys_wait4; /* sys_fork.c */
#endif

#endif
