/*
 * Which locks there are, and whether one is held.
 */
#include "spinlock.h"

extern struct spinlock locks_start[], locks_end[]; /* linker.ld */

size_t
spinlocks_reset(const char **name)
{
    size_t held = 0;

    for (struct spinlock *lock = locks_start; lock < locks_end; lock++) {
        if (lock->serving == lock->next)
            continue;
        *name = lock->name;
        held++;
        lock->word = 0;
    }
    return held;
}
