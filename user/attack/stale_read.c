#include "attack.h"

ATTACK(stale_read, "reads a page that it has given back", SEGV)
{
    char *p = pages(1);

    p[0] = 1;
    require(munmap(p, PAGE_SIZE) == 0);
    peek((uint64_t)p);
}
