#include "attack.h"

ATTACK(protect_kernel, "changes the rights of the kernel's memory", 0)
{
    static const uint64_t addr[] = {KERNEL & ~0xfffUL, VMALLOC, UART, HOLE, UNMAPPED, 0};

    for (size_t i = 0; i < ARRAY_SIZE(addr); i++) {
        require(mprotect((void *)addr[i], PAGE_SIZE, RW) == -ENOMEM);
        require(mprotect((void *)addr[i], 1UL << 63, RW) == -ENOMEM);
    }
}
