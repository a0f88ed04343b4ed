#include "attack.h"

ATTACK(null_write, "writes to address 0", SEGV)
{
    poke(0, 1);
}
