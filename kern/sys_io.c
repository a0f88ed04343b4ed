/*
 * System calls about files. The only file is the console: descriptors 0 to read, 1 and 2 to write.
 */
#include "console.h"
#include "irq.h"
#include "proc.h"
#include "string.h"
#include "sys.h"
#include "uaccess.h"
#include "uapi/uio.h"

#define CHUNK  128        /* bytes copied at once */
#define IO_MAX 0x7ffff000 /* bytes that one call moves at most, as on Linux */

static bool
is_output(uint64_t fd)
{
    return (uint32_t)fd == 1 || (uint32_t)fd == 2;
}

/* The bytes written; fewer than n if the process is to end; -EFAULT if not even the first chunk could be read. */
static int64_t
write_all(uint64_t from, uint64_t n)
{
    char chunk[CHUNK];
    uint64_t done = 0;

    while (done < n && !current()->killed) {
        size_t k = MIN(n - done, CHUNK);
        if (copy_from_user(chunk, from + done, k) < 0)
            return done ? (int64_t)done : -EFAULT;
        for (size_t i = 0; i < k; i++)
            cputc(chunk[i]);
        done += k;
        if (done < n)
            irq_window(); /* the console is slow */
    }
    return (int64_t)done;
}

int64_t
sys_write(const uint64_t arg[6])
{
    if (!is_output(arg[0]))
        return -EBADF;
    return write_all(arg[1], MIN(arg[2], IO_MAX));
}

int64_t
sys_writev(const uint64_t arg[6])
{
    uint64_t count = arg[2], done = 0;

    if (!is_output(arg[0]))
        return -EBADF;
    if (count > UIO_MAXIOV)
        return -EINVAL;
    for (uint64_t i = 0; i < count; i++) {
        struct iovec piece;
        if (copy_from_user(&piece, arg[1] + i * sizeof(piece), sizeof(piece)) < 0)
            return done ? (int64_t)done : -EFAULT;
        if ((int64_t)piece.iov_len < 0)
            return done ? (int64_t)done : -EINVAL;
        int64_t n = write_all((uint64_t)piece.iov_base, MIN(piece.iov_len, IO_MAX - done));
        if (n < 0)
            return done ? (int64_t)done : n;
        done += (uint64_t)n;
    }
    return (int64_t)done;
}

/* A line that was typed, with its '\n', as far as nobody has read it. */
static char line[128];
static size_t line_at, line_end;

/*
 * Up to n bytes of the line; waits until one has been typed. A copy that fails takes nothing of it away.
 */
int64_t
sys_read(const uint64_t arg[6])
{
    if ((uint32_t)arg[0] != 0)
        return -EBADF;
    if (arg[2] == 0)
        return 0;
    if (line_at == line_end) {
        readline(line, sizeof(line) - 1);
        if (current()->killed)
            return -EINTR;
        line_at = 0;
        line_end = strlen(line);
        line[line_end++] = '\n';
    }
    size_t n = MIN(arg[2], line_end - line_at);
    if (copy_to_user(arg[1], line + line_at, n) < 0)
        return -EFAULT;
    line_at += n;
    return (int64_t)n;
}

/* Nothing can be set; the answer tells a C library that this is no terminal. */
int64_t
sys_ioctl(const uint64_t arg[6])
{
    return (uint32_t)arg[0] > 2 ? -EBADF : -ENOTTY;
}
