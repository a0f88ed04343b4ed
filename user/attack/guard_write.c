#include "attack.h"

ATTACK(guard_write, "writes to the page below its stack", SEGV)
{
    uint64_t sp = (uint64_t)__builtin_frame_address(0);

    for (;; sp -= PAGE_SIZE / 2)
        poke(sp, 0);
}
