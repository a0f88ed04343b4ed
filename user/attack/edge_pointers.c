#include "attack.h"

/* What is needed lies across the end of what is mapped. */
ATTACK(edge_pointers, "hands the kernel pointers half of whose target is not mapped", 0)
{
    char *page = pages(2), *end = page + PAGE_SIZE;

    require(munmap(end, PAGE_SIZE) == 0);
    require(uname((void *)(end - sizeof(struct utsname) + 1)) == -EFAULT);
    require(clock_gettime(CLOCK_MONOTONIC, (void *)(end - 8)) == -EFAULT);
    require(writev(1, (void *)(end - 8), 1) == -EFAULT);
    require(write(1, end - 5, 100) == -EFAULT);

    require(uname((void *)(end - sizeof(struct utsname))) == 0);
    require(clock_gettime(CLOCK_MONOTONIC, (void *)(end - 16)) == 0);
}
