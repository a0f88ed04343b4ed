#include "attack.h"

ATTACK(last_read, "reads the last word of the lower half", SEGV)
{
    peek(LAST);
}
