#include "attack.h"

ATTACK(ram_write, "writes to memory by its physical address", SEGV)
{
    poke(RAM_PA, 0);
}
