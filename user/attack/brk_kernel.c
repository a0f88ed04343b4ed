#include "attack.h"

ATTACK(brk_kernel, "moves the end of its heap to everywhere", 0)
{
    static const uint64_t addr[] = {1,    0x400000, KERNEL, VMALLOC, UART,
                                    HOLE, HOLE - 1, LAST,   -1UL,    -4096UL};
    void *end = brk(NULL);

    for (size_t i = 0; i < ARRAY_SIZE(addr); i++)
        require(brk((void *)addr[i]) == end);
}
