#include "attack.h"

ATTACK(own_stack_replace, "puts new memory in place of its stack, and returns", SEGV)
{
    uint64_t sp = (uint64_t)__builtin_frame_address(0) & ~(PAGE_SIZE - 1UL);

    mmap((void *)sp, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0);
    /* mmap itself came back, as its return address was in a register; ours is 0 now. */
}
