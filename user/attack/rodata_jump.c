#include "attack.h"

ATTACK(rodata_jump, "jumps to its own constants", SEGV)
{
    static const volatile uint32_t code = RET;

    jump((uint64_t)&code);
}
