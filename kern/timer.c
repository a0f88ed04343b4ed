/*
 * Time: the core's virtual timer (CNTV; ARM ARM D11.2), which ticks HZ times a second and wakes who sleeps
 * for a time. Its clock never stops and never jumps.
 */
#include "bcm2837.h"
#include "bootinfo.h"
#include "irq.h"
#include "proc.h"
#include "sysreg.h"

#define NSEC_PER_SEC 1000000000UL
#define HZ_MAX       1000000UL
#define CTL_ENABLE   1 /* CNTV_CTL_EL0 (D13.8.23): on, its interrupt not masked */

static uint64_t frequency, interval; /* counts a second, and from tick to tick */
static uint64_t next_tick, ticks;
static struct waitq sleepers;

uint64_t
clock_count(void)
{
    __asm__ volatile("isb" : : : "memory"); /* the counter is read here, not earlier */
    return read_sysreg(cntvct_el0);
}

uint64_t
clock_ns(uint64_t count)
{
    uint64_t hz = read_sysreg(cntfrq_el0); /* 62,500,000 in QEMU, 19,200,000 on the board */

    return count / hz * NSEC_PER_SEC + count % hz * NSEC_PER_SEC / hz;
}

uint64_t
clock_counts(uint64_t ns)
{
    uint64_t hz = read_sysreg(cntfrq_el0);

    /* At most 2^64 / 10^9 seconds of less than 10^9 counts each: it fits. */
    return ns / NSEC_PER_SEC * hz + (ns % NSEC_PER_SEC * hz + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
}

/* The next interrupt: at the tick, or when the first sleeper wants to wake up. */
static void
set_compare(void)
{
    uint64_t at = next_tick;

    for (const struct proc *p = sleepers.head; p; p = p->next)
        at = MIN(at, p->wake_at);
    write_sysreg(cntv_cval_el0, at);
}

void
timer_init(void)
{
    uint64_t hz;

    if (!bootarg_number("hz", &hz) || hz == 0)
        hz = HZ;
    frequency = read_sysreg(cntfrq_el0);
    interval = frequency / MIN(hz, HZ_MAX);
    next_tick = clock_count() + interval;
    set_compare();
    write_sysreg(cntv_ctl_el0, CTL_ENABLE);
    mmio_write(CORE0_TIMERS_PA, SOURCE_CNTV);
}

void
timer_stop(void)
{
    write_sysreg(cntv_ctl_el0, 0);
}

uint64_t
timer_ticks(void)
{
    return ticks;
}

void
timer_interrupt(void)
{
    uint64_t now = clock_count();

    while (now >= next_tick) { /* several, if interrupts were masked for long */
        next_tick += interval;
        ticks++;
        sched_wanted = true;
    }
    for (struct proc *p = sleepers.head, *next; p; p = next) {
        next = p->next;
        if (p->wake_at <= now)
            sched_wake(p);
    }
    set_compare(); /* the interrupt is gone when the compare value lies ahead */
}

void
timer_sleep(uint64_t count)
{
    struct proc *p = current();

    p->wake_at = count;
    while (!p->killed && clock_count() < count) {
        if (count < read_sysreg(cntv_cval_el0))
            write_sysreg(cntv_cval_el0, count);
        sleep_on(&sleepers);
    }
}
