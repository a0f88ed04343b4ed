#include "attack.h"

ATTACK(null_read, "reads address 0", SEGV)
{
    peek(0);
}
