/*
 * Filling whole pages. The loops, here and in page.h, are in assembly so that they cost the same in every build (a
 * sanitizer would check each store), and their cost is known: see the counts at each.
 */
#include "page.h"
#include "string.h"

#define PAGE_BYTES 4096

_Static_assert(PAGE_BYTES % (8 * 64) == 0 && PAGE_BYTES % 128 == 0, "whole turns of both loops");

#ifdef __aarch64__

/*
 * The size of the block that `dc zva` zeroes, as DCZID_EL0[4:0] tells it: bit 4 set means that the
 * instruction is prohibited, and bits 3:0 are log2 of the size in 4-byte words. So 4 means that it
 * works, on 64 bytes, as on the Cortex-A53.
 */
#define DCZID_64_BYTES 4

void
page_zero(void *page)
{
    uint64_t dczid;

    __asm__("mrs %0, dczid_el0" : "=r"(dczid));
    if ((dczid & 0x1f) != DCZID_64_BYTES) {
        page_fill(page, 0);
        return;
    }

    /* 8 blocks a turn: 8 turns of 18 instructions, 144 in all. */
    char *p = page;
    char *end = p + PAGE_BYTES;
    __asm__ volatile("1:  dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    dc      zva, %0\n"
                     "    add     %0, %0, #64\n"
                     "    cmp     %0, %1\n"
                     "    b.ne    1b\n"
                     : "+&r"(p)
                     : "r"(end)
                     : "memory", "cc");
}

#if LAB >= 6
void
page_copy(void *to, const void *from)
{
    char *stop = (char *)to + PAGE_BYTES;

    /* 128 bytes a turn: 32 turns of 18 instructions, 576 in all. */
    __asm__ volatile("1:  ldp     x2, x3, [%1], #16\n"
                     "    ldp     x4, x5, [%1], #16\n"
                     "    ldp     x6, x7, [%1], #16\n"
                     "    ldp     x8, x9, [%1], #16\n"
                     "    stp     x2, x3, [%0], #16\n"
                     "    stp     x4, x5, [%0], #16\n"
                     "    stp     x6, x7, [%0], #16\n"
                     "    stp     x8, x9, [%0], #16\n"
                     "    ldp     x2, x3, [%1], #16\n"
                     "    ldp     x4, x5, [%1], #16\n"
                     "    ldp     x6, x7, [%1], #16\n"
                     "    ldp     x8, x9, [%1], #16\n"
                     "    stp     x2, x3, [%0], #16\n"
                     "    stp     x4, x5, [%0], #16\n"
                     "    stp     x6, x7, [%0], #16\n"
                     "    stp     x8, x9, [%0], #16\n"
                     "    cmp     %0, %2\n"
                     "    b.ne    1b\n"
                     : "+&r"(to), "+&r"(from)
                     : "r"(stop)
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "memory", "cc");
}
#endif

#else /* the host, where the tests run */

#if LAB >= 6
void
page_copy(void *to, const void *from)
{
    memcpy(to, from, PAGE_BYTES);
}
#endif

void
page_zero(void *page)
{
    page_fill(page, 0);
}

void
page_fill(void *page, int byte)
{
    memset(page, byte, PAGE_BYTES);
}

#endif
