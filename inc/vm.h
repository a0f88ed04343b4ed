/* Page tables. (vm.c) The format is in mmu.h; barriers and TLB maintenance in tlb.h. */
#ifndef INC_VM_H
#define INC_VM_H

#include "mmu.h"

/*
 * In all three, pgdir is a root table (level 0), as an address in the linear map. va belongs to
 * either half of the address space (callers never pass the hole between them): its bits 47:39,
 * 38:30, 29:21 and 20:12 select the entries.
 * Tables are pages from kalloc and belong to pgdir. Nothing here takes a lock: the caller keeps
 * others from changing pgdir.
 */

/*
 * The level 3 entry for va. If a table on the way is missing: with alloc = 0, NULL, and nothing is
 * allocated; otherwise it is made, all zero, and visible to the table walker before it is linked.
 * NULL also when memory runs out, or when a block entry is in the way. The entry itself is left as
 * it is, valid or not.
 */
uint64_t *pgdir_walk(uint64_t *pgdir, const void *va, int64_t alloc);

/*
 * Map every page that [va, va + size) touches, in order, to the pages from pa's on. va, pa and size
 * (bytes) need not be aligned. Each entry becomes: the page's address, perm (all of its bits, those
 * above bit 47 too), PTE_PAGE, PTE_AF and PTE_SH. size 0 maps nothing.
 *
 * Returns 0, or -1 when a page is mapped already (that mapping stays as it is), a block is in the
 * way, va + size wraps around or leaves its half of the address space, pa's pages do not all fit
 * in 48 bits, or memory runs out. After -1 everything is as it was before: what this call had mapped
 * is unmapped, and the tables that it had made are free again.
 */
int map_region(uint64_t *pgdir, void *va, uint64_t size, uint64_t pa, int64_t perm);

/*
 * Free the table pgdir of the given level (0 the root ... 3 the last), all tables below it, and each
 * page they map that the allocator owns (page_owned). Pages that it does not own, such as device
 * registers or the kernel's image, are left alone, and so are blocks. The caller has taken the table
 * out of use (no TTBR and no entry points to it); its translations leave the TLBs before the
 * first page is freed.
 */
void vm_free(uint64_t *pgdir, int level);

#endif
