#include "attack.h"

ATTACK(null_read, "reads address 0", 128 + SIGSEGV)
{
    return *(volatile int *)NULL;
}
