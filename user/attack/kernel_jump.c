#include "attack.h"

ATTACK(kernel_jump, "jumps to the kernel's first instruction", SEGV)
{
    jump(KERNEL);
}
