#include "attack.h"

ATTACK(odd_pointers, "hands the kernel pointers that are not aligned: allowed", 0)
{
    static char bytes[sizeof(struct utsname) + 16];

    for (uint64_t i = 1; i < 8; i++) {
        require(clock_gettime(CLOCK_MONOTONIC, (void *)(bytes + i)) == 0);
        memset(bytes, 0, sizeof(bytes));
        require(writev(1, (void *)(bytes + i), 1) == 0
                && nanosleep((void *)(bytes + i), NULL) == 0);
        require(uname((void *)(bytes + i)) == 0);
    }
}
