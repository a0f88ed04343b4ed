#include "attack.h"

ATTACK(odd_data, "reads and writes words at odd addresses: allowed", 0)
{
    static char bytes[32];

    for (uint64_t i = 0; i < 16; i++) {
        poke((uint64_t)bytes + i, i);
        require(peek((uint64_t)bytes + i) == i);
    }
}
