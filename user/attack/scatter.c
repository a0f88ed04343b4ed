#include "attack.h"

ATTACK(scatter, "takes single pages far from each other, each with tables of its own", 0)
{
    uint64_t n = 0;

    for (uint64_t addr = 0x700000000000; addr < 0x780000000000; addr += 1UL << 36, n++) {
        uint64_t *p = mmap((void *)addr, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0);
        require(p == (uint64_t *)addr);
        *p = addr;
    }
    for (uint64_t addr = 0x700000000000; addr < 0x780000000000; addr += 1UL << 36)
        require(peek(addr) == addr);
}
