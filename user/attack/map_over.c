/* QEMU 7.2 does not know this flag. */
#include "attack.h"

ATTACK_HERE(map_over, "asks for a place that is taken, and only if it is not", 0)
{
    char *p = pages(1);

    p[0] = 1;
    require(error_of(mmap(p, PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0)) == -EEXIST);
    require(p[0] == 1 && munmap(p, PAGE_SIZE) == 0);
    require(mmap(p, PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p && p[0] == 0);
}
