/* Why a call failed: functions and system calls return these negated. The numbers are Linux's. */
#ifndef UAPI_ERRNO_H
#define UAPI_ERRNO_H

#define EPERM        1  /* not allowed */
#define ENOENT       2  /* there is nothing of that name */
#define ESRCH        3  /* no such process */
#define EINTR        4  /* interrupted before it was done */
#define EIO          5  /* a device failed */
#define E2BIG        7  /* arguments and environment are too long */
#define ENOEXEC      8  /* not a program that can be run */
#define EBADF        9  /* no such file is open */
#define ECHILD       10 /* there is no such child */
#define EAGAIN       11 /* too many processes; try again later */
#define ENOMEM       12 /* out of memory, or out of address space */
#define EACCES       13 /* rights that are never given */
#define EFAULT       14 /* an address that the program may not use in this way */
#define EBUSY        16 /* in use by others */
#define EEXIST       17 /* something is there already */
#define ENODEV       19 /* not possible with this file */
#define EINVAL       22 /* an argument makes no sense */
#define ENOTTY       25 /* not possible with this device */
#define ENAMETOOLONG 36 /* a name is too long */
#define ENOSYS       38 /* there is no such system call */

#endif
