/* Linux has other ways to say no. */
#include "attack.h"

ATTACK_HERE(mmap_all, "takes all memory there is, and gives nothing back", 0)
{
    uint64_t n = 0;

    for (size_t size = 64 * PAGE_SIZE; size >= PAGE_SIZE; size /= 2) {
        void *p;
        while (error_of(p = mmap(NULL, size, RW, ANON, -1, 0)) == 0) {
            *(uint64_t *)p = n++;
        }
        require(error_of(p) == -ENOMEM);
    }
    require(n > 0 && getpid() > 0);
}
