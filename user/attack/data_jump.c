#include "attack.h"

ATTACK(data_jump, "jumps to its own data", SEGV)
{
    static uint32_t code = RET;

    jump((uint64_t)&code);
}
