#include "attack.h"

ATTACK(own_text_unmap, "unmaps its own text", SEGV)
{
    munmap((void *)((uint64_t)main & ~0xfffUL), PAGE_SIZE);
    main(0, NULL);
}
