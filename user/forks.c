/* forks [DEPTH]: a tree of processes, each with a mark of its own in pages that were its parent's. */
#include "libc.h"

#define PAGES 16

static uint64_t marks[PAGES][PAGE_SIZE / 8];

/* Every page is as the parent left it; then each gets this process's own mark, which stays. */
static void
node(int depth, uint64_t mark)
{
    for (int i = 0; i < PAGES; i++)
        require(marks[i][i] == mark);
    if (depth == 0)
        return;
    for (uint64_t child = 1; child <= 2; child++) {
        long pid = fork();
        require(pid >= 0);
        if (pid == 0) {
            for (int i = 0; i < PAGES; i++) {
                require(marks[i][i] == mark);
                marks[i][i] = 2 * mark + child;
            }
            sched_yield();
            node(depth - 1, 2 * mark + child);
            exit((int)((2 * mark + child) & 0x7f));
        }
        for (int i = 0; i < PAGES; i++)
            require(marks[i][i] == mark);
    }
    for (int n = 0; n < 2; n++) {
        int status;
        require(wait4(-1, &status, 0, NULL) > 0);
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

    for (int i = 0; i < PAGES; i++)
        marks[i][i] = 1;
    node(depth, 1);
    printf("a tree of depth %d: every mark is in place\n", depth);
    return 0;
}
