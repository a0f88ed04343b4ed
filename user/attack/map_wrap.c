#include "attack.h"

ATTACK(map_wrap, "asks for memory of sizes that wrap", 0)
{
    static const uint64_t size[] = {1UL << 48, 1UL << 63, -1UL, -4095UL, -4096UL, -0x400000UL};

    for (size_t i = 0; i < ARRAY_SIZE(size); i++) {
        require(error_of(mmap(NULL, size[i], RW, ANON, -1, 0)) == -ENOMEM);
        require(error_of(mmap((void *)0x400000, size[i], RW, ANON | MAP_FIXED, -1, 0)) == -ENOMEM);
    }
}
