#include "attack.h"

ATTACK(hole_read, "reads between the two halves of the address space", SEGV)
{
    peek(HOLE);
}
