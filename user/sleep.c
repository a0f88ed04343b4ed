/* sleep [MILLISECONDS]: sleeps, and looks at the clock whether it was that long. */
#include "libc.h"

static int64_t
now(void)
{
    struct timespec t;

    require(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    require(t.tv_sec >= 0 && t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

int
main(int argc, char *argv[])
{
    int64_t ms = argc > 1 ? (int64_t)number(argv[1]) : 20;
    struct timespec wanted = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    int64_t before = now();

    require(nanosleep(&wanted, NULL) == 0);
    int64_t slept = now() - before;
    if (slept < ms * 1000000)
        fail("slept %ld ns instead of %ld ms\n", slept, ms);
    printf("slept %ld ms\n", ms);
    return 0;
}
