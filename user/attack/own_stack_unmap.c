#include "attack.h"

ATTACK(own_stack_unmap, "unmaps its own stack", SEGV)
{
    uint64_t sp = (uint64_t)__builtin_frame_address(0) & ~(PAGE_SIZE - 1UL);

    munmap((void *)(sp - 4 * PAGE_SIZE), 8 * PAGE_SIZE);
}
