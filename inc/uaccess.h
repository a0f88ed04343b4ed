/*
 * The kernel's way to user memory. (uaccess.S) Loads and stores are unprivileged (LDTR, STTR): they may do
 * what the running process itself may do at EL0, and nothing more, whatever the address is. Where the process
 * would fault the copy ends with -EFAULT. Nothing else in the kernel follows a user's pointer.
 */
#ifndef INC_UACCESS_H
#define INC_UACCESS_H

#include "types.h"

/* Copy n bytes from, or to, the running process's memory. 0, or -EFAULT: some of them may have been copied. */
int64_t copy_from_user(void *to, uint64_t from, size_t n);
int64_t copy_to_user(uint64_t to, const void *from, size_t n);

/*
 * Copy the string at `from`, its NUL included, to `to`, which has room for size bytes. Its length without the
 * NUL; -EFAULT; -ENAMETOOLONG: there is no NUL within size bytes.
 */
int64_t string_from_user(char *to, uint64_t from, size_t size);

/* An instruction of uaccess.S that may fault, and where to go on if it does. */
struct fixup {
    uint64_t pc, go_on;
};

/* Where to go on after a fault at pc; 0: the instruction there may not fault. */
uint64_t fixup_for(uint64_t pc);

#endif
