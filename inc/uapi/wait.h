/* What wait4 takes and gives. As on Linux. */
#ifndef UAPI_WAIT_H
#define UAPI_WAIT_H

#include "types.h"

#define WNOHANG     1 /* do not wait: 0 if nobody has ended */
#define WUNTRACED   2 /* also who is stopped: nobody ever is */
#define WCONTINUED  8
#define __WNOTHREAD 0x20000000 /* of kinds of children there is only one */
#define __WALL      0x40000000
#define __WCLONE    0x80000000u

/* The status: 0 in bits 6:0 means that it called exit. */
#define WIFEXITED(status)   (((status)&0x7f) == 0)
#define WEXITSTATUS(status) ((status) >> 8 & 0xff)
#define WIFSIGNALED(status) (((status)&0x7f) != 0)
#define WTERMSIG(status)    ((status)&0x7f)

struct timeval {
    int64_t tv_sec, tv_usec;
};

/* What a process has used. Nothing is counted here: all zero. */
struct rusage {
    struct timeval ru_utime, ru_stime;
    int64_t ru_other[14];
};

#endif
