#include "attack.h"

ATTACK(kernel_write, "writes to the kernel's text", SEGV)
{
    poke(KERNEL, 0);
}
