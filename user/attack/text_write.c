#include "attack.h"

ATTACK(text_write, "writes to its own text", SEGV)
{
    poke((uint64_t)main & ~7UL, 0);
}
