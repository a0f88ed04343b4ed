/*
 * heap [ROUNDS]: allocates and frees blocks of random sizes in a random order. Every block must keep its
 * contents, and at the end all memory must be one block again.
 */
#include "libc.h"

#define BLOCKS 200

static struct {
    uint8_t *p;
    size_t size;
    uint8_t mark;
} block[BLOCKS];

static uint64_t state = 1;

static uint64_t
random(uint64_t below)
{
    state = state * 6364136223846793005 + 1442695040888963407;
    return (state >> 33) % below;
}

static void
check(unsigned i)
{
    for (size_t at = 0; at < block[i].size; at++)
        require(block[i].p[at] == block[i].mark);
}

static void
fill(unsigned i, size_t from)
{
    require((uintptr_t)block[i].p % 16 == 0);
    memset(block[i].p + from, block[i].mark, block[i].size - from);
}

static void
change(unsigned i)
{
    uint8_t *p = block[i].p;
    size_t old = block[i].size, size = 1 + random(random(10) ? 200 : 20000);

    check(i);
    if (p && random(2)) {
        free(p);
        block[i].p = NULL;
        block[i].size = 0;
        return;
    }
    if (p) {
        block[i].p = realloc(p, size);
    } else {
        block[i].p = malloc(size);
        block[i].mark = (uint8_t)random(256);
    }
    require(block[i].p);
    block[i].size = size;
    fill(i, MIN(old, size));
    check(i);
}

int
main(int argc, char *argv[])
{
    uint64_t rounds = argc > 1 ? number(argv[1]) : 3000;
    char *start = sbrk(0);

    char *impossible[] = {malloc(0), malloc(1UL << 47), malloc(SIZE_MAX),
                          calloc(1UL << 33, 1UL << 33)};
    for (size_t i = 0; i < ARRAY_SIZE(impossible); i++)
        require(!impossible[i]);
    free(NULL);

    char *zeroes = calloc(10, 100);
    for (int i = 0; i < 1000; i++)
        require(zeroes[i] == 0);
    free(zeroes);

    for (uint64_t i = 0; i < rounds; i++)
        change((unsigned)random(BLOCKS));
    for (unsigned i = 0; i < BLOCKS; i++) {
        check(i);
        free(block[i].p);
    }
    size_t size = (size_t)((char *)sbrk(0) - start);
    char *all = malloc(size - 16); /* less the header */
    require(all == start + 16 && sbrk(0) == start + size);
    printf("%lu rounds, %zu bytes of heap, and all of it is one block again\n", rounds, size);
    return 0;
}
