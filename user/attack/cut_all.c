/* Linux has more memory than fits into the test. */
#include "attack.h"

#define PAGES 8192

ATTACK_HERE(cut_all, "cuts its memory into as many pieces as there can be", 0)
{
    size_t n = PAGES, cuts = 0;
    char *p;

    while (error_of(p = mmap(NULL, n * PAGE_SIZE, RW, ANON, -1, 0)) == -ENOMEM)
        n /= 2;
    require(error_of(p) == 0);
#if LAB < 6
    while (error_of(mmap(NULL, PAGE_SIZE, RW, ANON, -1, 0)) == 0)
        continue;
#endif

    /*
     * Nothing is left for the kernel's own notes; or, where pages are given when they are used, it takes no more of them.
     * A page that cannot be cut out stays.
     */
    for (size_t i = 1; i < n; i += 2) {
        long error = munmap(p + i * PAGE_SIZE, PAGE_SIZE);
        require(error == 0 || error == -ENOMEM);
        require(can_read(p + i * PAGE_SIZE) == (error != 0) && can_read(p + (i - 1) * PAGE_SIZE));
        cuts += error == 0;
    }
    require(cuts > 0);
}
