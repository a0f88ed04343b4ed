/*
 * The address map, physical and virtual, in one place.
 *
 *   physical (Raspberry Pi 3, BCM2837 §1.2)          virtual
 *   0x00000000  spin table, ATAGs (page 0)           P2V(pa) = pa + KERNBASE
 *   0x00080000  the kernel image, then RAM           for everything at or below 4 GiB:
 *   PHYSTOP     end of the ARM's RAM                 RAM, and the two device windows
 *               VideoCore's memory
 *   0x3f000000  peripherals                          TTBR1 holds this upper half;
 *   0x40000000  per-core block (timers, mailboxes)   TTBR0 is the running process's
 */
#ifndef INC_MEMLAYOUT_H
#define INC_MEMLAYOUT_H

#define PGSIZE  4096
#define PGSHIFT 12

/* Where TTBR1's half of the address space begins with 48-bit addresses (TCR_EL1.T1SZ = 16). */
#ifndef KERNBASE
#define KERNBASE 0xffff000000000000
#endif

#define KERNEL_PA 0x80000 /* where firmware and QEMU load kernel8.img */

#define DEVICES_PA     0x3f000000 /* BCM2837 peripherals, 16 MiB */
#define DEVICES_END_PA 0x40000000
#define LOCAL_PA       0x40000000 /* BCM2836 per-core block, "QA7" §3.1 */
#define LOCAL_END_PA   0x40200000

/*
 * Kernel stacks are STACK_SIZE bytes and aligned to twice that, with an unmapped page below: the
 * vectors find an overflow by testing bit STACK_SHIFT of SP (vectors.S).
 */
#define STACK_SHIFT 14
#define STACK_SIZE  (1 << STACK_SHIFT)

#ifndef __ASSEMBLER__
#include "types.h"

/* Physical address <-> pointer into the linear map. */
#define P2V(pa) ((void *)((uint64_t)(pa) + KERNBASE))
/* Versions of clang-format differ over the minus sign. */
/* clang-format off */
#define V2P(va) ((uint64_t)(va) - KERNBASE)
/* clang-format on */

/* End of the RAM that the ARM may use, in bytes; read from the firmware at boot (kern/ram.c). */
#define PHYSTOP phystop
extern uint64_t phystop;

/* Set by linker.ld; only their addresses mean anything. */
extern char image_start[], etext[], data[], edata[], bss_start[], bss_end[], end[];
extern char boot_stack[], boot_stack_top[], emergency_stack[], emergency_stack_top[];
#endif

#endif
