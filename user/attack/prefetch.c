#include "attack.h"

ATTACK(prefetch, "asks for a prefetch from everywhere", 0)
{
    static const uint64_t addr[] = {0, KERNEL, UART, UART_PA, HOLE, LAST};

    for (size_t i = 0; i < ARRAY_SIZE(addr); i++)
        __asm__ volatile("prfm pstl1keep, [%0]\n\tprfm plil1keep, [%0]" : : "r"(addr[i]));
}
