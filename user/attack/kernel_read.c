#include "attack.h"

ATTACK(kernel_read, "reads the kernel's text", SEGV)
{
    peek(KERNEL);
}
