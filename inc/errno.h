/* Why a call failed: functions return these negated. The numbers are Linux's. */
#ifndef INC_ERRNO_H
#define INC_ERRNO_H

#if LAB >= 5
#include "uapi/errno.h"
#else
#define ENOMEM 12 /* out of memory */
#define EBUSY  16 /* in use by others */
#define EINVAL 22 /* an argument makes no sense */
#endif

#endif
