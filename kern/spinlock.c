/*
 * The slow side of spinlock.h: waiting for a lock that is taken.
 */
#include "spinlock.h"
#include "console.h"

/* Far longer than anybody may hold a lock. */
#define PATIENCE (1UL << 24)

extern struct spinlock locks_start[], locks_end[]; /* linker.ld */

void
spin_wait(struct spinlock *lock, uint32_t ticket)
{
    for (uint64_t turns = 0; turns < PATIENCE; turns++)
        /* Acquire, as in spin_lock: it is this load that finds the lock to be ours. */
        if (__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) == ticket)
            return;
    panic("%s is never released: a function returned without spin_unlock, or took it twice",
          lock->name);
}

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
