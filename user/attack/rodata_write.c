#include "attack.h"

ATTACK(rodata_write, "writes to its own constants", SEGV)
{
    static const char text[16] = "constant";

    poke(((uint64_t)text + 7) & ~7UL, 0);
}
