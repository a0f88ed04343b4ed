/*
 * Translation tables: VMSAv8-64, 4 KiB granule, 48-bit addresses, four levels (ARM ARM D5.2, D5.3).
 *
 * A 48-bit address is four 9-bit table indexes and a 12-bit offset; bits 63:48 say which half it
 * belongs to (all 0: TTBR0, all 1: TTBR1) and take no part in the walk.
 *
 *   47      39 38      30 29      21 20      12 11         0
 *   | level 0 | level 1  | level 2  | level 3  |  offset   |
 */
#ifndef INC_MMU_H
#define INC_MMU_H

#include "memlayout.h"

#define NPTE            512                           /* entries in a table of one page */
#define PTXSHIFT(level) (PGSHIFT + 9 * (3 - (level))) /* bits below a level's index */
#define PTX(level, va)  (((uint64_t)(va) >> PTXSHIFT(level)) & (NPTE - 1))
#define BLOCK2M         (1UL << PTXSHIFT(2)) /* what one level 2 entry spans */
#define BLOCK1G         (1UL << PTXSHIFT(1))

/* Descriptor type, bits 1:0 (ARM ARM D5.3.1). A clear bit 0 means: nothing here, ignore the rest. */
#define PTE_P     0x1UL /* valid */
#define PTE_BLOCK 0x1UL /* levels 1 and 2: maps 1 GiB or 2 MiB */
#define PTE_TABLE 0x3UL /* levels 0 to 2: points to the next level's table */
#define PTE_PAGE  0x3UL /* level 3: maps 4 KiB */

/* Attributes of a block or page (ARM ARM D5.3.3). */
#define PTE_NORMAL (MT_NORMAL << 2) /* AttrIndx, bits 4:2: RAM, write-back */
#define PTE_DEVICE (MT_DEVICE << 2) /* device registers, nGnRE */
#define PTE_KERNEL (0UL << 6)       /* AP[1]: no access from EL0 */
#define PTE_USER   (1UL << 6)       /* AP[1]: EL0 may access */
#define PTE_RW     (0UL << 7)       /* AP[2] */
#define PTE_RO     (1UL << 7)
#define PTE_SH     (3UL << 8)  /* inner shareable: coherent between the cores */
#define PTE_AF     (1UL << 10) /* access flag; clear: the first access faults */
#define PTE_NG     (1UL << 11) /* not global: the TLB entry belongs to an ASID */
#define PTE_PXN    (1UL << 53) /* EL1 never executes it */
#define PTE_UXN    (1UL << 54) /* EL0 never executes it */

/* Bits 47:12 are the output address, or the next table's. All others are flags, the upper ones too. */
#define PTE_ADDR_MASK  0x0000fffffffff000UL
#define PTE_ADDR(pte)  (PTE_ADDR_MASK & (uint64_t)(pte))
#define PTE_FLAGS(pte) (~PTE_ADDR_MASK & (uint64_t)(pte))

/* Memory types: which byte of MAIR_EL1 an entry's AttrIndx selects (sysreg.h says what is in it). */
#define MT_NORMAL 0UL
#define MT_DEVICE 1UL

#endif
