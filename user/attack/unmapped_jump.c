#include "attack.h"

ATTACK(unmapped_jump, "jumps to where nothing is", SEGV)
{
    jump(UNMAPPED);
}
