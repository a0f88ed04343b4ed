/* QEMU keeps such pages. */
#include "attack.h"

ATTACK_HERE(stale_brk, "reads a page of its heap that it has given back", SEGV)
{
    char *end = (char *)ROUNDUP(brk(NULL), PAGE_SIZE);

    require(brk(end + PAGE_SIZE) == end + PAGE_SIZE);
    end[0] = 1;
    require(brk(end) == end);
    peek((uint64_t)end);
}
