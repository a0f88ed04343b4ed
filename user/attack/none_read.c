#include "attack.h"

ATTACK(none_read, "reads a page with no rights", SEGV)
{
    char *p = pages(1);

    p[0] = 1;
    require(mprotect(p, PAGE_SIZE, PROT_NONE) == 0);
    peek((uint64_t)p);
}
