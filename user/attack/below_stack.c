/* Linux's stack is larger. */
#include "attack.h"

ATTACK_HERE(below_stack, "reads far below its stack", SEGV)
{
    uint64_t sp = (uint64_t)__builtin_frame_address(0);

    peek(sp - 0x100000);
}
