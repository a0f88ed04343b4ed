/*
 * The boot, step by step. It begins in entry.S (to EL1), boot.c (page tables) and mmu.S (into the
 * upper half).
 */
#include "boot.h"
#include "bootinfo.h"
#include "check.h"
#include "console.h"
#include "monitor.h"
#include "power.h"
#include "scratch.h"
#include "uart.h"
#ifdef SAN
#include "kasan.h"
#endif
#if LAB >= 2
#include "kalloc.h"
#endif
#if LAB >= 3
#include "frames.h"
#include "memview.h"
#endif
#if LAB >= 5
#include "jobs.h"
#include "proc.h"
#endif

static _Noreturn void
halt(void)
{
    uart_drain();
    power_off();
}

void
main(uint64_t firmware)
{
    boot_milestone("main");
    console_init(); /* from here on there is cprintf */
    cprintf("\nBramble\n");
    bootinfo_init(firmware); /* memory and boot arguments; all RAM is mapped */
#ifdef SAN
    kasan_init(); /* each access is looked at from here on */
#endif
    cores_collect(); /* the other cores sleep */
#if LAB >= 3
    frames_init(); /* memmap and pmm; the page allocator gets its first pages */
#else
#if LAB >= 2
    alloc_init(); /* the page allocator gets its pages */
#endif
#endif
#if LAB >= 5
    proc_init();     /* all of this is thread 0 from here on */
    if (jobs_boot()) /* a program was asked for: that was all */
        halt();
#endif
#if LAB >= 3
    if (memview_boot()) /* a picture of memory was asked for: the same */
        halt();
#endif
    if (!checks_run()) /* or a single check */
        halt();
    scratch(); /* yours */
    monitor();
}
