/* ping NAME [N]: says its name N times, and lets others have the core after each. */
#include "libc.h"

int
main(int argc, char *argv[])
{
    const char *name = argc > 1 ? argv[1] : "ping";
    uint64_t n = argc > 2 ? number(argv[2]) : 5;

    for (uint64_t i = 1; i <= n; i++) {
        printf("%s %lu\n", name, i);
        require(sched_yield() == 0);
    }
    return 0;
}
