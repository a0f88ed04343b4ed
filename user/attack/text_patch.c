#include "attack.h"

ATTACK(text_patch, "makes its own text writable, and changes it", 0)
{
    void *page = (void *)((uint64_t)attacks_start & ~0xfffUL);

    require(mprotect(page, PAGE_SIZE, RW) == 0);
    poke((uint64_t)page, peek((uint64_t)page)); /* its own copy: no other program sees that */
    require(mprotect(page, PAGE_SIZE, PROT_READ) == 0);
}
