/* On Linux root may have it. */
#include "attack.h"

ATTACK_HERE(map_null, "asks for page 0", 0)
{
    void *p = mmap(NULL, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0);

    require(error_of(p) == -EPERM && !can_read(NULL));
}
