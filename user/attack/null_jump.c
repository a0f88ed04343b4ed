#include "attack.h"

ATTACK(null_jump, "jumps to address 0", SEGV)
{
    jump(0);
}
