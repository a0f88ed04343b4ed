/*
 * Locks for data that all cores and interrupt handlers use.
 *
 *     uint64_t flags = spin_lock(&kmem_lock);
 *     ...
 *     spin_unlock(&kmem_lock, flags);
 *
 * Interrupts of this core stay masked in between: a handler that wanted the same lock would wait for
 * ever. Hold a lock for a few instructions, never panic or return with it, and take no second one
 * unless its comment says in which order.
 */
#ifndef INC_SPINLOCK_H
#define INC_SPINLOCK_H

#include "types.h"

/*
 * A ticket lock: whoever wants it draws the next number and waits until it is served, so cores get
 * it in the order in which they came.
 */
struct spinlock {
    union {
        uint32_t word;
        struct {
            uint16_t serving, next; /* equal: nobody has it */
        };
    };
    const char *name;
};

/* Define a lock, free. All are in one section, so that checks can see what is still locked. */
#define SPINLOCK(id) struct spinlock id __attribute__((section(".locks"))) = {{0}, #id}

/* Wait for the ticket's turn; panics when that does not come. (spinlock.c) */
void spin_wait(struct spinlock *lock, uint32_t ticket) __attribute__((cold));

/* How many locks are held: names one in *name; and frees them all. For the checks. */
size_t spinlocks_reset(const char **name);

#ifdef __aarch64__
/* Take the lock. Returns what spin_unlock needs to put the interrupt mask back. */
static inline uint64_t
spin_lock(struct spinlock *lock)
{
    uint64_t flags;
    uint32_t ticket, next, failed;

    /* Acquire: what the lock protects is read after the lock is ours (ARM ARM B2.3.7). */
    __asm__ volatile("   mrs     %0, daif\n"
                     "   msr     daifset, #3\n" /* I and F */
                     "1: ldaxr   %w1, %4\n"
                     "   add     %w2, %w1, #0x10000\n" /* next + 1; it may wrap */
                     "   stxr    %w3, %w2, %4\n"
                     "   cbnz    %w3, 1b\n"
                     : "=&r"(flags), "=&r"(ticket), "=&r"(next), "=&r"(failed), "+Q"(lock->word)
                     :
                     : "memory");
    if ((ticket >> 16) != (ticket & 0xffff))
        spin_wait(lock, ticket >> 16);
    return flags;
}

static inline void
spin_unlock(struct spinlock *lock, uint64_t flags)
{
    /* Release: what was written under the lock is seen before the lock is free. */
    __asm__ volatile("   stlrh   %w1, %0\n"
                     "   msr     daif, %2\n"
                     : "=Q"(lock->serving)
                     : "r"(lock->serving + 1), "r"(flags)
                     : "memory");
}
#else /* the host, where the tests run on one core: taking a lock twice is a deadlock */
uint64_t spin_lock(struct spinlock *lock);
void spin_unlock(struct spinlock *lock, uint64_t flags);
#endif

#endif
