/* Linux lets programs use the top byte as they like. */
#include "attack.h"

ATTACK_HERE(tagged_read, "reads its own data, with a tag in the top byte of the address", SEGV)
{
    static uint64_t word;

    peek((uint64_t)&word | 0xaaUL << 56);
}
