/* System calls about processes, by their names. */
#include "libc.h"

long
fork(void)
{
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

long
wait4(int pid, int *status, int options, struct rusage *usage)
{
    return syscall(SYS_wait4, pid, status, options, usage);
}

long
execve(const char *path, char *const argv[], char *const envp[])
{
    return syscall(SYS_execve, path, argv, envp);
}
