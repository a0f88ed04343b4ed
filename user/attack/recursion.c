#include "attack.h"

static uint64_t
deeper(uint64_t n)
{
    volatile uint64_t here[8] = {n};

    return n == UINT64_MAX ? 0 : deeper(n + 1) + here[0];
}

ATTACK(recursion, "calls itself until there is no stack left", SEGV)
{
    deeper(0);
}
