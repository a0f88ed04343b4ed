/*
 * Which instructions may fault (uaccess.S), and where to go on.
 */
#include "uaccess.h"

extern const struct fixup fixups_start[], fixups_end[]; /* linker.ld */

uint64_t
fixup_for(uint64_t pc)
{
    for (const struct fixup *f = fixups_start; f < fixups_end; f++)
        if (f->pc == pc)
            return f->go_on;
    return 0;
}
