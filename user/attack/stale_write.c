#include "attack.h"

ATTACK(stale_write, "writes to a page that has become read-only", SEGV)
{
    char *p = pages(1);

    p[0] = 1;
    require(mprotect(p, PAGE_SIZE, PROT_READ) == 0 && p[0] == 1);
    p[0] = 2;
}
