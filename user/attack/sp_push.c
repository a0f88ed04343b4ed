#include "attack.h"

ATTACK(sp_push, "pushes onto a stack in the kernel", SEGV)
{
    __asm__ volatile("mov sp, %0\n\tstp x0, x1, [sp, #-16]!" : : "r"(KERNEL));
}
