/* Output and names: write and writev in pieces of all sizes, read, uname, the identity of the process. */
#include "libc.h"

static char text[3000];

static void
try_write(void)
{
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i % 61 == 60 ? '\n' : 'a' + (char)(i % 26));
    require(write(1, text, 61 * 5) == 61 * 5);
    require(write(2, "to file 2\n", 10) == 10);

    /* The end of a page, and the beginning of the next, in one piece. */
    char *pages =
        mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(error_of(pages) == 0);
    memcpy(pages + PAGE_SIZE - 7, "over the edge\n", 14);
    require(write(1, pages + PAGE_SIZE - 7, 14) == 14);
}

static void
try_writev(void)
{
    static struct iovec piece[UIO_MAXIOV];
    char letters[] = "pieces\n";

    for (size_t i = 0; i < UIO_MAXIOV; i++)
        piece[i] = (struct iovec){letters + i % 6, i % 2};
    piece[UIO_MAXIOV - 1] = (struct iovec){letters + 6, 1};
    require(writev(1, piece, UIO_MAXIOV) == UIO_MAXIOV / 2);
    require(writev(1, piece, 0) == 0);
}

static void
try_names(void)
{
    struct utsname name;
    struct timespec resolution = {-1, -1};

    require(uname(&name) == 0);
    require(strcmp(name.machine, "aarch64") == 0 && strnlen(name.release, 65) < 65);
    require(name.release[0] >= '3');
    require(getpid() > 0 && syscall(SYS_gettid) == getpid() && getppid() != getpid());
    require(syscall(SYS_set_tid_address, 0L) == getpid());
    require(syscall(SYS_geteuid) == syscall(SYS_getuid));
    require(syscall(SYS_getegid) == syscall(SYS_getgid));
    require(syscall(SYS_clock_getres, CLOCK_MONOTONIC, &resolution) == 0);
    require(resolution.tv_sec == 0 && resolution.tv_nsec > 0);
    puts("names");
}

int
main(void)
{
    try_write();
    try_writev();
    try_names();
    return 0;
}
