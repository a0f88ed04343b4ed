#include "attack.h"

/* On a board: BUS. QEMU does not look whether SP is aligned (nor does Linux in it). */
ATTACK(sp_odd, "reads from a stack pointer that is not aligned", 0)
{
    __asm__ volatile("mov x9, sp\n\tsub sp, sp, #8\n\tldr x10, [sp]\n\tmov sp, x9"
                     :
                     :
                     : "x9", "x10");
}
