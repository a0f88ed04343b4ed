/*
 * Cores 1 to 3. One core runs the kernel for now; the others are taken off the firmware's spin table
 * and put to sleep, so that they burn no power (and QEMU no host CPU).
 */
#include "boot.h"
#include "memlayout.h"

/* The firmware's stub (armstub8) polls one entry address per core here, in page 0. */
#define SPIN_TABLE_PA 0xd8
#define NCORES        4

void
cores_collect(void)
{
    volatile uint64_t *spin = (volatile uint64_t *)P2V(SPIN_TABLE_PA);

    for (int core = 1; core < NCORES; core++) {
        spin[core] = V2P(secondary_start);
        /* The waiting core reads with its caches off: the line must reach memory. */
        __asm__ volatile("dc cvac, %0" : : "r"(&spin[core]) : "memory");
    }
    /* The addresses are in memory before the cores wake up. */
    __asm__ volatile("dsb sy; sev" : : : "memory");
}
