#include "attack.h"

ATTACK(readonly_pointers, "lets the kernel write to text and constants", 0)
{
    static const char constants[sizeof(struct utsname) + 8] = {1};
    void *target[] = {(void *)(uintptr_t)constants, (void *)main};

    for (size_t i = 0; i < ARRAY_SIZE(target); i++) {
        require(uname(target[i]) == -EFAULT);
        require(clock_gettime(CLOCK_MONOTONIC, target[i]) == -EFAULT);
    }
    require(constants[0] == 1);
}
