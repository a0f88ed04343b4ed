#include "attack.h"

ATTACK(edge_read, "reads a word half of which is not mapped", SEGV)
{
    char *p = pages(2);

    require(munmap(p + PAGE_SIZE, PAGE_SIZE) == 0);
    peek((uint64_t)p + PAGE_SIZE - 4);
}
