#include "attack.h"

ATTACK(stack_jump, "jumps to its stack", SEGV)
{
    volatile uint32_t code = RET;

    jump((uint64_t)&code);
}
