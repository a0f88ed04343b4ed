#include "attack.h"

ATTACK(null_field, "reads a field of a structure at 0", SEGV)
{
    peek(PAGE_SIZE - 8);
}
