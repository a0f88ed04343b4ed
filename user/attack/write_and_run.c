/* Linux gives both. */
#include "attack.h"

ATTACK_HERE(write_and_run, "asks for memory that can be written and executed", 0)
{
    int rwx = RW | PROT_EXEC;

    require(error_of(mmap(NULL, PAGE_SIZE, rwx, ANON, -1, 0)) == -EACCES);
    char *p = pages(1);
    require(mprotect(p, PAGE_SIZE, rwx) == -EACCES);
    require(mprotect((void *)((uint64_t)main & ~0xfffUL), PAGE_SIZE, rwx) == -EACCES);
    p[0] = 1; /* all is as it was */
}
