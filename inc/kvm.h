/* The kernel's half of the address space. (kvm.c) */
#ifndef INC_KVM_H
#define INC_KVM_H

#include "types.h"

/*
 * Build the tables that the kernel starts on: the image, page by page with its rights; the devices;
 * and 4 MiB around `firmware` (a physical address, or 0), so that what lies there can be read. Runs
 * at the physical address with the MMU off, on a zeroed BSS.
 */
void kvm_boot(uint64_t firmware);

/* Physical addresses of the root tables for TTBR1, and for TTBR0 while no process runs. */
uint64_t kvm_root(void);
uint64_t kvm_empty_root(void);

/*
 * Add the RAM at [from, to) to the linear map: read-write, never executable, 2 MiB blocks where
 * they fit, 4 KiB pages at ragged ends. What is mapped already stays as it is. Rounds inward to
 * pages. Returns where it stopped: to, or less when the page tables kept for this ran out.
 */
uint64_t kvm_map_ram(uint64_t from, uint64_t to);

/* Add memory that a device writes to or reads, as device memory, in whole 2 MiB blocks. Nothing of it is RAM of ours. */
uint64_t kvm_map_device(uint64_t from, uint64_t to);

#endif
