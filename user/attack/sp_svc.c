#include "attack.h"

/* The kernel must not care. */
ATTACK(sp_svc, "calls the kernel with nonsense for a stack pointer", 0)
{
    static const uint64_t sp[] = {0, 1, KERNEL, UART, UART_PA, HOLE, ~0UL};

    for (size_t i = 0; i < ARRAY_SIZE(sp); i++) {
        register uint64_t x8 __asm__("x8") = SYS_getpid;
        register uint64_t x0 __asm__("x0") = 0;
        __asm__ volatile("mov x9, sp\n\tmov sp, %2\n\tsvc #0\n\tmov sp, x9"
                         : "+r"(x0)
                         : "r"(x8), "r"(sp[i])
                         : "x9", "memory");
        require((long)x0 == getpid());
    }
}
