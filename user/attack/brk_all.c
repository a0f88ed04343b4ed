/* The same. */
#include "attack.h"

ATTACK_HERE(brk_all, "makes its heap as large as it can be", 0)
{
    char *end = (char *)ROUNDUP(brk(NULL), PAGE_SIZE), *start = end;

    for (size_t size = 64 * PAGE_SIZE; size >= PAGE_SIZE; size /= 2)
        for (; brk(end + size) == end + size; end += size)
            end[0] = end[size - 1] = 1;
    require(end > start && end[-1] == 1);
}
