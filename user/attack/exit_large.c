#include "attack.h"

ATTACK(exit_large, "ends with a status that is too large", 42)
{
    exit(0x12300 + 42);
}
