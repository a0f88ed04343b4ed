#include "attack.h"

ATTACK(any_svc, "calls the kernel with another immediate", 0)
{
    register uint64_t x8 __asm__("x8") = SYS_getpid;
    register long x0 __asm__("x0");

    __asm__ volatile("svc #0xffff" : "=r"(x0) : "r"(x8) : "memory");
    require(x0 == getpid());
}
