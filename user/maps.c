/*
 * maps: what this program consists of in memory, and what it may do there. With any argument it also says where
 * each part is.
 */
#include "libc.h"

extern char elf_start[], etext[], erodata[], data[], edata[], end[]; /* user.ld */

/* 64 bytes in each part that nobody needs. They begin with zeroes (can_read). */
static const char constant[64] = {[63] = 1};
static char variable[64] = {[63] = 1};
static char zeroes[64];
extern char code[];
__asm__(".section .text.code, \"ax\"\ncode: .skip 64\n.previous");

int
main(int argc, char *argv[])
{
    char local[64] = {[63] = 1};
    struct {
        const char *name;
        char *place;        /* its 64 bytes */
        char *start, *stop; /* where the part is, as far as a program can know */
    } part[] = {
        {"text", code, elf_start, etext}, {"rodata", (char *)(uintptr_t)constant, etext, erodata},
        {"data", variable, data, edata},  {"bss", zeroes, edata, end},
        {"heap", sbrk(64), NULL, NULL},   {"stack", local, NULL, (char *)environ},
    };
    bool ordered = true;

    (void)argv;
    part[4].start = part[4].place;
    part[4].stop = sbrk(0);
    part[5].start = local;
    for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
        bool r = can_read(part[i].place), w = can_write(part[i].place);
        printf("%-8s %c%c", part[i].name, r ? 'r' : '-', w ? 'w' : '-');
        if (argc > 1)
            printf("  %lx-%lx", (uint64_t)part[i].start, (uint64_t)part[i].stop);
        puts("");
        ordered &= part[i].start <= part[i].place && part[i].place < part[i].stop;
        ordered &= i == 0 || (uint64_t)part[i - 1].stop <= (uint64_t)part[i].start;
    }
    puts(ordered ? "in this order" : "in another order");
    return 0;
}
