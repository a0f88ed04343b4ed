/*
 * alloc [NAME] [PAGES]: takes memory page by page, at addresses one behind the other, until there is none or it
 * has PAGES of them. Writes its mark into each; at the end all marks must still be there. Several of these at
 * the same time race for what memory there is, at the same addresses: each has an address space of its own.
 */
#include "libc.h"

#define FIRST 0x10000000UL
#define LAST  0x30000000UL

int
main(int argc, char *argv[])
{
    const char *name = argc > 1 ? argv[1] : "alloc";
    uint64_t max = argc > 2 ? number(argv[2]) : (LAST - FIRST) / PAGE_SIZE;
    uint64_t random = (uint64_t)getpid() * 0x9e3779b97f4a7c15, n;

    for (n = 0; n < max; n++) {
        uint64_t *page = (uint64_t *)(FIRST + n * PAGE_SIZE);
        void *got = mmap(page, PAGE_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (error_of(got) == -ENOMEM)
            break;
        require(got == page);
        for (size_t i = 0; i < PAGE_SIZE / 8; i++)
            require(page[i] == 0);
        page[0] = page[PAGE_SIZE / 8 - 1] = (uint64_t)getpid() << 32 | n;
        random = random * 6364136223846793005 + 1442695040888963407;
        if (random >> 62 == 0)
            sched_yield();
    }
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t *page = (const uint64_t *)(FIRST + i * PAGE_SIZE);
        uint64_t mark = (uint64_t)getpid() << 32 | i;
        if (page[0] != mark || page[PAGE_SIZE / 8 - 1] != mark)
            fail("%s: page %lu is not mine any more: %lx\n", name, i, page[0]);
    }
    printf("%s: %lu pages, all of them mine\n", name, n);
    return 0;
}
