/* When there is no more of something. */
#include "tests.h"

#define WHY "Linux has more of it than one should take"

TEST_HERE(limit_processes,
          "fork says when there can be no more processes, and works again when some have ended",
          WHY)
{
    static int pid[1000];

    for (int round = 0; round < 2; round++) {
        int gate = sleeper(), n = 0, error = 0;
        while (n < 1000) {
            pid[n] = (int)fork();
            if (pid[n] == 0) {
                until_gone(gate);
                exit(0);
            }
            if (pid[n] < 0) {
                error = pid[n];
                break;
            }
            n++;
        }
        must(error == -EAGAIN || error == -ENOMEM);
        must(n >= 100 && fork() == error);
        open_gate(gate);
        while (n > 0)
            must(ended_well(pid[--n]));
    }
}

/* Write to more and more pages, until the kernel ends this. */
static void
eat(void)
{
    for (;;) {
        char *p = mmap(NULL, 256 * PAGE_SIZE, RW, ANON, -1, 0);
        if (error_of(p) == 0)
            mark(p, 256, 1);
    }
}

TEST_HERE(limit_memory,
          "who writes to more memory than there is ends, alone, and all of it comes back", WHY)
{
    char *mine = pages(100, RW);

    mark(mine, 100, 5);
    for (int i = 0; i < 3; i++) {
        int pid;
        CHILD(pid)
            eat();
        must(status_of(pid) == KILLED(SIGKILL));
        must(marked(mine, 100, 5));
        mark(mine, 100, 5);
    }
}

TEST_HERE(limit_copies, "the same when it is copies that memory is needed for", WHY)
{
    size_t n = 0;
    int pid;

    /* As much as mmap gives is about all that there is; six tenths of it can be had once, but not twice. */
    for (size_t step = 1UL << 20; step > 0; step /= 2) {
        void *p = mmap(NULL, (n + step) * PAGE_SIZE, RW, ANON, -1, 0);
        if (error_of(p) == 0) {
            must(munmap(p, (n + step) * PAGE_SIZE) == 0);
            n += step;
        }
    }
    n = n / 10 * 6;
    uint64_t *p = pages(n, RW);
    mark(p, n, 1);
    for (int i = 0; i < 2; i++) {
        CHILD(pid)
            mark(p, n, 2);
        must(status_of(pid) == KILLED(SIGKILL));
        must(marked(p, n, 1));
    }
}

TEST_HERE(limit_tables, "the same when it is tables", WHY)
{
    uint64_t size = 1UL << 29;
    int pid;

    /* There is an end to the number of ranges: so each has several tables, as many as it may. */
    while (error_of(mmap((void *)(1UL << 32), size, RW, ANON | MAP_FIXED, -1, 0)) != 0)
        size /= 2;
    CHILD(pid)
        for (uint64_t va = 1UL << 32; va < 1UL << 47; va += 1UL << 30) {
            void *p = mmap((void *)va, size, RW, ANON | MAP_FIXED, -1, 0);
            for (uint64_t at = va; at < va + size && error_of(p) == 0; at += 1UL << 21)
                poke(at, 1);
        }
    must(status_of(pid) == KILLED(SIGKILL));
}
