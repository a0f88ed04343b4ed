/* Interrupts: which device wants something. (irq.c, timer.c) */
#ifndef INC_IRQ_H
#define INC_IRQ_H

#include "types.h"

#define HZ 100 /* ticks a second, unless the boot argument hz= says otherwise */

/* An interrupt has come: see to every device that asks for it. Interrupts are masked. */
void irq_handle(void);

/* Mask and unmask interrupts of this core. irq_mask returns what irq_restore puts back. */
static inline uint64_t
irq_mask(void)
{
    uint64_t flags;

    __asm__ volatile("mrs %0, daif; msr daifset, #2" : "=r"(flags) : : "memory");
    return flags;
}

static inline void
irq_restore(uint64_t flags)
{
    __asm__ volatile("msr daif, %0" : : "r"(flags) : "memory");
}

/* Between two pieces of long work: whoever wants to interrupt it may, and others run if it is their turn. */
static inline void
irq_window(void)
{
    __asm__ volatile("msr daifclr, #2; isb; msr daifset, #2" : : : "memory");
}

/* The timer of this core starts to tick; and stops. */
void timer_init(void);
void timer_stop(void);

/* Ticks since then. */
uint64_t timer_ticks(void);

/* The clock: counts of CNTVCT_EL0, and nanoseconds since the core was switched on. */
uint64_t clock_count(void);
uint64_t clock_ns(uint64_t count);
uint64_t clock_counts(uint64_t ns); /* rounded up */

/* timer.c's: the timer's interrupt has come. */
void timer_interrupt(void);

/* The running thread sleeps until the clock has come to `count`, or until it is killed. Interrupts are masked. */
void timer_sleep(uint64_t count);

#endif
