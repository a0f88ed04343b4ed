#include "attack.h"

ATTACK(stale_jump, "jumps to a page that was executable until now", SEGV)
{
    uint32_t *p = (uint32_t *)(void *)pages(1);

    *p = RET;
    require(mprotect(p, PAGE_SIZE, PROT_READ | PROT_EXEC) == 0);
    jump((uint64_t)p);
    require(mprotect(p, PAGE_SIZE, PROT_READ) == 0);
    jump((uint64_t)p);
}
