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

/*
 * A lock is held for so few instructions that whoever has waited for 2^24 turns waits for ever: a
 * function returned without spin_unlock, or took the lock twice. Then the core stops at this brk, with
 * the lock's address in x16; trap.c says what that means.
 */
#define SPIN_PATIENCE 0x1000000
#define SPIN_BRK      0x10c

/* How many locks are held: names one in *name; and frees them all. For the checks. */
size_t spinlocks_reset(const char **name);

#ifdef __aarch64__
/* Take the lock. Returns what spin_unlock needs to put the interrupt mask back. */
static inline uint64_t
spin_lock(struct spinlock *lock)
{
    uint64_t flags;
    uint32_t ticket, serving, turns;

    /*
     * The ticket is lock->next, the upper half. ldaxr and ldarh acquire: what the lock protects is read
     * after the lock is ours (ARM ARM B2.3.7).
     */
    __asm__ volatile("    mrs     %0, daif\n"
                     "    msr     daifset, #3\n" /* I and F */
                     "1:  ldaxr   %w1, [%4]\n"
                     "    add     %w2, %w1, #0x10000\n" /* it may wrap */
                     "    stxr    %w3, %w2, [%4]\n"
                     "    cbnz    %w3, 1b\n"
                     "    eor     %w2, %w1, %w1, ror #16\n"
                     "    cbz     %w2, 3f\n" /* both halves are equal: it is our turn */
                     "    mov     %w3, %6\n"
                     "2:  ldarh   %w2, [%4]\n"
                     "    cmp     %w2, %w1, lsr #16\n"
                     "    b.eq    3f\n"
                     "    subs    %w3, %w3, #1\n"
                     "    b.ne    2b\n"
                     "    mov     x16, %4\n"
                     "    brk     %5\n"
                     "3:\n"
                     : "=&r"(flags), "=&r"(ticket), "=&r"(serving), "=&r"(turns)
                     : "r"(lock), "i"(SPIN_BRK), "i"(SPIN_PATIENCE)
                     : "x16", "cc", "memory");
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
