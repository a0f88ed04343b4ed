#include "attack.h"

ATTACK(stale_page, "looks for another's data in new pages", 0)
{
    for (int i = 0; i < 100; i++) {
        uint64_t *p = (uint64_t *)(void *)pages(1);
        for (size_t w = 0; w < PAGE_SIZE / 8; w++)
            require(p[w] == 0);
        memset(p, 0xee, PAGE_SIZE);
        require(munmap(p, PAGE_SIZE) == 0);
    }
}
