/* Time. As on Linux. */
#ifndef UAPI_TIME_H
#define UAPI_TIME_H

#include "types.h"

#define CLOCK_REALTIME  0 /* the machine has no clock that runs while it is off: since boot, too */
#define CLOCK_MONOTONIC 1 /* since boot */

struct timespec {
    int64_t tv_sec;
    int64_t tv_nsec; /* 0 to 999,999,999 */
};

#endif
