/*
 * System calls about memory. What they do is in mmap.c.
 */
#include "mmap.h"
#include "proc.h"
#include "sys.h"

int64_t
sys_brk(const uint64_t arg[6])
{
    return (int64_t)do_brk(&current()->as, arg[0]);
}

/* Descriptor and offset, arguments 4 and 5, mean nothing for anonymous memory; only whole pages count as offset. */
int64_t
sys_mmap(const uint64_t arg[6])
{
    if (arg[5] % PGSIZE != 0)
        return -EINVAL;
    return do_mmap(&current()->as, arg[0], arg[1], (int)arg[2], (int)arg[3]);
}

int64_t
sys_munmap(const uint64_t arg[6])
{
    return do_munmap(&current()->as, arg[0], arg[1]);
}

int64_t
sys_mprotect(const uint64_t arg[6])
{
    return do_mprotect(&current()->as, arg[0], arg[1], (int)arg[2]);
}
