#include "attack.h"

/* There must be something to read: `echo x | qemu-aarch64 ...`. */
ATTACK(read_pointers, "reads from file 0 to everywhere", 0)
{
    static const char constant[8] = {1};
    void *target[] = {NULL,           (void *)KERNEL,   (void *)UART, (void *)RAM_PA,
                      (void *)HOLE,   (void *)UNMAPPED, (void *)main, (void *)(uintptr_t)constant,
                      (void *)VMALLOC};
    char c = 0;

    for (size_t i = 0; i < ARRAY_SIZE(target); i++)
        require(read(0, target[i], 1) == -EFAULT);
    while (c != '\n')
        require(read(0, &c, 1) == 1); /* nothing of it is lost */
}
