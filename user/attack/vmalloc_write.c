#include "attack.h"

ATTACK(vmalloc_write, "writes to the kernel's vmalloc memory", SEGV)
{
    poke(VMALLOC, 0);
}
