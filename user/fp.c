/*
 * fp [MODE] [ROUNDS]: computes pi, in rounding mode MODE (0 to 3: nearest, up, down, to zero), while others that do
 * the same may have the core in between. The last bits tell whether registers and mode were kept.
 */
#include "libc.h"

int
main(int argc, char *argv[])
{
    uint64_t mode = argc > 1 ? number(argv[1]) % 4 : 0;
    uint64_t rounds = argc > 2 ? number(argv[2]) : 2000;
    double pi = 0, sign = 4;
    uint64_t bits;

    __asm__ volatile("msr fpcr, %0" : : "r"(mode << 22)); /* ARM ARM C5.2.7 */
    for (uint64_t i = 0; i < rounds; i++) {
        pi += sign / (double)(2 * i + 1);
        sign = -sign;
        if (i % 8 == 0)
            sched_yield();
    }
    memcpy(&bits, &pi, sizeof(bits));
    printf("mode %lu: pi is %lu.%06lu (%lx)\n", mode, (uint64_t)pi,
           (uint64_t)((pi - (double)(uint64_t)pi) * 1e6), bits);
    return 0;
}
