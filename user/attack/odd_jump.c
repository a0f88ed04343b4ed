#include "attack.h"

ATTACK(odd_jump, "jumps to half an instruction", BUS)
{
    jump((uint64_t)main + 2);
}
