#include "attack.h"

ATTACK(argv_end, "reads behind the upper end of its stack", SEGV)
{
    for (uint64_t p = (uint64_t)environ & ~7UL;; p += 8)
        peek(p);
}
