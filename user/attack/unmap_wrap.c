/* QEMU 7.2 ends with a failed assertion. */
#include "attack.h"

ATTACK_HERE(unmap_wrap, "unmaps the kernel, and sizes that wrap", 0)
{
    static const uint64_t size[] = {1UL << 48, 1UL << 63, -4096UL, -0x400000UL};

    for (size_t i = 0; i < ARRAY_SIZE(size); i++)
        require(munmap((void *)0x400000, size[i]) == -EINVAL);
    require(munmap((void *)(KERNEL & ~0xfffUL), PAGE_SIZE) == -EINVAL);
    require(munmap((void *)VMALLOC, PAGE_SIZE) == -EINVAL);
    require(munmap((void *)HOLE, PAGE_SIZE) == -EINVAL);
}
