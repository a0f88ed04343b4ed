#include "attack.h"

ATTACK(ram_read, "reads memory by its physical address", SEGV)
{
    peek(RAM_PA);
}
