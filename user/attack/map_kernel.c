#include "attack.h"

ATTACK(map_kernel, "asks for memory at the kernel's addresses", 0)
{
    static const uint64_t addr[] = {KERNEL & ~0xfffUL, VMALLOC, UART, HOLE,
                                    HOLE - PAGE_SIZE,  -4096UL};

    for (size_t i = 0; i < ARRAY_SIZE(addr); i++) {
        void *p = mmap((void *)addr[i], 2 * PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0);
        require(error_of(p) == -ENOMEM);
        p = mmap((void *)addr[i], PAGE_SIZE, RW, ANON, -1, 0); /* a hint, not to be followed */
        require(error_of(p) == 0 && (uint64_t)p < HOLE);
        require(munmap(p, PAGE_SIZE) == 0);
    }
}
