#include "attack.h"

ATTACK(vmalloc_read, "reads the kernel's vmalloc memory", SEGV)
{
    peek(VMALLOC);
}
