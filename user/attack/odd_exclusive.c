#include "attack.h"

ATTACK(odd_exclusive, "loads a word exclusively at an odd address", BUS)
{
    static char bytes[32];
    uint64_t value;

    __asm__ volatile("ldxr %0, [%1]" : "=r"(value) : "r"(((uint64_t)bytes | 7)));
}
