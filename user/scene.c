/*
 * scene alloc|fork|forkexit [SPEED [PAGES]]: programs to look at (memview), slow enough for people.
 *
 * alloc     takes a page now and then, until it has PAGES or there is none, and keeps them
 * fork      becomes four processes, and each is an allocator
 * forkexit  is fork, but now and then a process ends, and another one takes its place
 */
#include "libc.h"

#define STEP 20000000 /* nanoseconds, at speed 1 */

static int speed, pages;
static uint64_t state;

static uint64_t
below(uint64_t n)
{
    state = state * 6364136223846793005 + 1442695040888963407;
    return (state >> 33) % n;
}

static void
pause_a_moment(void)
{
    struct timespec moment = {0, (long)(STEP / 2 + below(STEP)) / speed};

    (void)nanosleep(&moment, NULL);
}

/* Up to so many pages, each written to. False: there was no memory. */
static bool
take(int n)
{
    int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;

    for (int i = 0; i < n; i++) {
        char *page = mmap(NULL, PAGE_SIZE, prot, flags, -1, 0);
        if (error_of(page) != 0)
            return false;
        *page = 1;
        pause_a_moment();
    }
    return true;
}

static void
allocate(void)
{
    struct timespec long_time = {1000, 0};

    (void)take(pages);
    for (;;)
        (void)nanosleep(&long_time, NULL);
}

#if LAB >= 6
/* One of four, and of four speeds. */
static void
divide(void)
{
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            speed += 1 << i;
            state += (uint64_t)getpid();
        }
}

static void
come_and_go(void)
{
    for (;;) {
        (void)take(1 + (int)below(40));
        long pid = below(2) == 0 ? fork() : 1;
        if (pid == 0)
            state += (uint64_t)getpid();
        else if (below(4) == 0)
            exit(0);
        while (wait4(-1, NULL, WNOHANG, NULL) > 0)
            ;
    }
}

/* Those who come and go may all have gone. */
static void
keep_going(void)
{
    for (;;) {
        if (fork() == 0) {
            divide();
            come_and_go();
        }
        while (wait4(-1, NULL, 0, NULL) > 0)
            ;
    }
}
#endif

int
main(int argc, char *argv[])
{
    const char *what = argc > 1 ? argv[1] : "alloc";

    speed = argc > 2 ? (int)number(argv[2]) : 1;
    pages = argc > 3 ? (int)number(argv[3]) : 256;
    require(speed > 0);
    state = (uint64_t)getpid();
    if (strcmp(what, "alloc") == 0)
        allocate();
#if LAB >= 6
    if (strcmp(what, "fork") == 0) {
        divide();
        allocate();
    }
    if (strcmp(what, "forkexit") == 0)
        keep_going();
#endif
    printf("scene alloc, fork or forkexit; a speed, a number of pages\n");
    return 2;
}
