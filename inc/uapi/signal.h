/*
 * Signals. There are no handlers: a signal that is not ignored ends the process, whose status is then
 * 128 + its number. The numbers are Linux's.
 */
#ifndef UAPI_SIGNAL_H
#define UAPI_SIGNAL_H

#define SIGHUP   1
#define SIGINT   2
#define SIGQUIT  3
#define SIGILL   4 /* an instruction that does not exist, or is not allowed at EL0 */
#define SIGTRAP  5 /* brk, and what a debugger would take */
#define SIGABRT  6
#define SIGBUS   7 /* SP or the program counter is not aligned */
#define SIGFPE   8
#define SIGKILL  9
#define SIGUSR1  10
#define SIGSEGV  11 /* an address that is not mapped, or not for this kind of access */
#define SIGUSR2  12
#define SIGPIPE  13
#define SIGALRM  14
#define SIGTERM  15
#define SIGCHLD  17 /* ignored */
#define SIGCONT  18 /* ignored */
#define SIGSTOP  19 /* nobody can be stopped here: 19 to 22 are refused with -EINVAL */
#define SIGTSTP  20
#define SIGTTIN  21
#define SIGTTOU  22
#define SIGURG   23 /* ignored */
#define SIGWINCH 28 /* ignored */

#define NSIG 64 /* signals are 1 to 64 */

#endif
