/* A piece of memory, for writev. As on Linux. */
#ifndef UAPI_UIO_H
#define UAPI_UIO_H

#include "types.h"

#define UIO_MAXIOV 1024 /* pieces at most */

struct iovec {
    void *iov_base;
    size_t iov_len;
};

#endif
