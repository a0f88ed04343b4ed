#include "attack.h"

ATTACK(odd_kernel_jump, "jumps to an odd address of the kernel", BUS)
{
    jump(KERNEL + 1);
}
