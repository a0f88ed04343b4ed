/*
 * Filling whole pages, as fast as the core can. Each takes a 4096-byte page, aligned to 4096.
 */
#ifndef PAGE_H
#define PAGE_H

#include "types.h"

/*
 * Zero a page. Normal memory with the MMU on only: it uses `dc zva`, which faults on device memory,
 * and with the MMU off all memory counts as device memory (ARM ARM D7.2.27 DCZID_EL0, B2.7.2).
 */
void page_zero(void *page);

/* Fill a page with (unsigned char)byte. Works on any memory, with the MMU on or off. */
#ifdef __aarch64__
static inline void
page_fill(void *page, int byte)
{
    uint64_t pattern = (uint8_t)byte * 0x0101010101010101u;
    char *p = page;
    char *stop = p + 4096;

    /* 128 bytes a turn: 32 turns of 10 instructions, 320 in all. Inline, as kfree's time goes here. */
    __asm__ volatile("1:  stp     %2, %2, [%0, #16]\n"
                     "    stp     %2, %2, [%0, #32]\n"
                     "    stp     %2, %2, [%0, #48]\n"
                     "    stp     %2, %2, [%0, #64]\n"
                     "    stp     %2, %2, [%0, #80]\n"
                     "    stp     %2, %2, [%0, #96]\n"
                     "    stp     %2, %2, [%0, #112]\n"
                     "    stp     %2, %2, [%0], #128\n"
                     "    cmp     %0, %1\n"
                     "    b.ne    1b\n"
                     : "+&r"(p)
                     : "r"(stop), "r"(pattern)
                     : "memory", "cc");
}
#else /* the host, where the tests run */
void page_fill(void *page, int byte);
#endif

#if LAB >= 6
/* Copy a page to another one. Works on any memory, as page_fill does. */
void page_copy(void *to, const void *from);

#endif
#if defined(SAN) && !defined(UNWATCHED)
#include "kasan.h"
#define page_zero kasan_page_zero
#define page_fill kasan_page_fill
#endif

#endif
