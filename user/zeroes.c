/* zeroes [N]: reads from N pages that nobody has written to, then waits until somebody ends it. */
#include "libc.h"

int
main(int argc, char *argv[])
{
    size_t n = argc > 1 ? number(argv[1]) : 50000;
    const struct timespec hour = {3600, 0};
    const volatile char *p =
        mmap(NULL, n * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(error_of((const void *)(uintptr_t)p) == 0);
    for (size_t i = 0; i < n; i++)
        require(p[i * PAGE_SIZE] == 0);
    printf("%zu pages are zero\n", n);
    nanosleep(&hour, NULL);
    return 0;
}
