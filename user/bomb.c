/*
 * bomb [N]: a process forks, and so does its child, and theirs, and each writes to some pages, so that sharing does not
 * help. Soon there is no memory, or no more processes may be. When the first process has been told so N times, all end.
 */
#include "libc.h"

#define PAGES 8

static volatile char own[PAGES * PAGE_SIZE];

/* A process that does nothing but be there, as long as its parent is. */
static long
start_fuse(void)
{
    long parent = getpid(), pid = fork();
    const struct timespec moment = {0, 10000000};

    require(pid >= 0);
    if (pid == 0) {
        while (getppid() == parent)
            nanosleep(&moment, NULL);
        exit(0);
    }
    return pid;
}

int
main(int argc, char *argv[])
{
    uint64_t wanted = argc > 1 ? number(argv[1]) : 100, failed = 0;
    long first = getpid(), fuse = start_fuse();

    while (failed < wanted && kill((int)fuse, 0) == 0) {
        long pid = fork();
        if (pid == 0) {
            for (size_t i = 0; i < PAGES; i++)
                own[i * PAGE_SIZE] = (char)i;
        } else if (pid < 0) {
            require(pid == -EAGAIN || pid == -ENOMEM);
            failed += getpid() == first;
            sched_yield();
        }
    }
    if (getpid() != first)
        exit(0); /* nobody waits for its children */
    kill((int)fuse, SIGKILL);
    while (wait4(-1, NULL, 0, NULL) > 0)
        ;
    puts("no more processes; but here I am");
    return 0;
}
