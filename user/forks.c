/*
 * forks [DEPTH [leave]]: a tree of processes, each with a mark of its own in pages that were its parent's. Ends with
 * status 255 if there was no memory for all of it: that is nobody's mistake. With `leave`, nobody waits: some children
 * have ended before their parents, and some have not.
 */
#include "libc.h"

#define PAGES     16
#define NO_MEMORY 255

static uint64_t marks[PAGES][PAGE_SIZE / 8];
static bool leave;
static bool no_memory; /* for this process, or one below it */

/* Every page is as the parent left it; then each gets this process's own mark, which stays. */
static void
node(int depth, uint64_t mark)
{
    for (int i = 0; i < PAGES; i++)
        require(marks[i][i] == mark);
    if (depth == 0)
        return;
    int children = 0;
    for (uint64_t child = 1; child <= 2; child++) {
        long pid = fork();
        if (pid == -ENOMEM || pid == -EAGAIN) {
            no_memory = true;
            continue;
        }
        require(pid >= 0);
        children++;
        if (pid == 0) {
            for (int i = 0; i < PAGES; i++) {
                require(marks[i][i] == mark);
                marks[i][i] = 2 * mark + child;
            }
            sched_yield();
            node(depth - 1, 2 * mark + child);
            exit(no_memory ? NO_MEMORY : (int)((2 * mark + child) & 0x7f));
        }
        for (int i = 0; i < PAGES; i++)
            require(marks[i][i] == mark);
    }
    if (leave) {
        for (int i = 0; i < 2 * depth; i++)
            sched_yield();
        return;
    }
    for (int n = 0; n < children; n++) {
        int status;
        require(wait4(-1, &status, 0, NULL) > 0);
        if (status == SIGKILL || status == NO_MEMORY << 8) {
            no_memory = true;
            continue;
        }
        require(WIFEXITED(status));
        uint64_t code = (uint64_t)WEXITSTATUS(status);
        require(code == ((2 * mark + 1) & 0x7f) || code == ((2 * mark + 2) & 0x7f));
    }
    int status;
    require(wait4(-1, &status, 0, NULL) == -ECHILD);
    for (int i = 0; i < PAGES; i++)
        require(marks[i][i] == mark);
}

int
main(int argc, char *argv[])
{
    int depth = argc > 1 ? (int)number(argv[1]) : 4;

    leave = argc > 2;
    for (int i = 0; i < PAGES; i++)
        marks[i][i] = 1;
    node(depth, 1);
    if (no_memory)
        return NO_MEMORY;
    printf("a tree of depth %d: every mark is in place\n", depth);
    return 0;
}
