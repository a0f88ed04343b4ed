#include "attack.h"

ATTACK(ldtr_kernel, "reads the kernel with an unprivileged load", SEGV)
{
    uint64_t value;

    __asm__ volatile("ldtr %0, [%1]" : "=r"(value) : "r"(KERNEL));
}
