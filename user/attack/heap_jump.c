#include "attack.h"

ATTACK(heap_jump, "jumps to its heap", SEGV)
{
    uint32_t *code = malloc(4);

    *code = RET;
    jump((uint64_t)code);
}
