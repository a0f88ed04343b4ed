#include "attack.h"

ATTACK(heap_end, "reads behind the end of its heap", SEGV)
{
    char *end = brk(NULL);

    require(brk(end + 1) == end + 1);
    peek((uint64_t)end + PAGE_SIZE);
}
