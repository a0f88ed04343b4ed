#include "attack.h"

ATTACK(below_stack, "reads far below its stack", SEGV)
{
    uint64_t sp = (uint64_t)__builtin_frame_address(0);

    peek(sp - 0x1000000);
}
