/* mmap, munmap, mprotect and brk: what they promise, tried out. */
#include "libc.h"

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* n pages wherever there is room. */
static char *
pages(size_t n, int prot)
{
    char *p = mmap(NULL, n * PAGE_SIZE, prot, ANON, -1, 0);

    require(error_of(p) == 0 && (uintptr_t)p % PAGE_SIZE == 0);
    return p;
}

static bool
all(const char *p, size_t n, char value)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value)
            return false;
    return true;
}

static void
try_mmap(void)
{
    char *p = pages(10, RW), *q = pages(1, RW);

    require(all(p, 10 * PAGE_SIZE, 0));
    require(q + PAGE_SIZE <= p || p + 10 * PAGE_SIZE <= q);
    memset(p, 'p', 10 * PAGE_SIZE);
    require(all(q, PAGE_SIZE, 0));

    /* In the middle of p: another page, which is new. Its neighbours are not touched. */
    require(mmap(p + 4 * PAGE_SIZE, 100, RW, ANON | MAP_FIXED, -1, 0) == p + 4 * PAGE_SIZE);
    require(all(p, 4 * PAGE_SIZE, 'p') && all(p + 4 * PAGE_SIZE, PAGE_SIZE, 0));
    require(all(p + 5 * PAGE_SIZE, 5 * PAGE_SIZE, 'p'));

    /* A hint is followed if there is nothing yet. */
    char *r = mmap(p, PAGE_SIZE, RW, ANON, -1, 0);
    require(error_of(r) == 0 && (r < p || r >= p + 10 * PAGE_SIZE));
    require(munmap(r, PAGE_SIZE) == 0 && !can_read(r));
    require(mmap(r, PAGE_SIZE, RW, ANON, -1, 0) == r);
    puts("mmap");
}

static void
try_munmap(void)
{
    char *p = pages(10, RW);

    require(munmap(p + 3 * PAGE_SIZE, 2 * PAGE_SIZE - 5) == 0); /* all pages that are touched */
    for (int i = 0; i < 10; i++)
        require(can_read(p + i * PAGE_SIZE) == (i != 3 && i != 4));
    require(munmap(p, 10 * PAGE_SIZE) == 0); /* what is not there is no error */
    require(munmap(p, 10 * PAGE_SIZE) == 0);
    for (int i = 0; i < 10; i++)
        require(!can_read(p + i * PAGE_SIZE));

    /* 16 bytes of which the second half is missing. */
    p = pages(2, RW);
    require(can_read(p + PAGE_SIZE - 8) && can_write(p + PAGE_SIZE - 8));
    require(munmap(p + PAGE_SIZE, 1) == 0);
    require(!can_read(p + PAGE_SIZE - 8) && !can_write(p + PAGE_SIZE - 8));
    memset(p + PAGE_SIZE - 8, 0, 8); /* half of the time may have come as far as here */
    require(can_read(p + PAGE_SIZE - 16) && can_write(p + PAGE_SIZE - 16));
    puts("munmap");
}

static void
try_mprotect(void)
{
    char *p = pages(4, RW);

    require(mprotect(p + PAGE_SIZE, PAGE_SIZE, PROT_READ) == 0);
    require(mprotect(p + 2 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_NONE) == 0);
    require(can_read(p) && can_write(p));
    require(can_read(p + PAGE_SIZE) && !can_write(p + PAGE_SIZE));
    require(!can_read(p + 2 * PAGE_SIZE) && !can_write(p + 3 * PAGE_SIZE));

    /* What was in a page stays. */
    p[100] = 'x';
    require(mprotect(p, PAGE_SIZE, PROT_NONE) == 0 && !can_read(p));
    require(mprotect(p, 4 * PAGE_SIZE, RW) == 0 && p[100] == 'x');
    for (int i = 0; i < 4; i++)
        require(can_write(p + i * PAGE_SIZE));

    /* A part of it is not mapped. */
    require(munmap(p + 2 * PAGE_SIZE, PAGE_SIZE) == 0);
    require(mprotect(p, 4 * PAGE_SIZE, RW) == -ENOMEM);
    require(mprotect(p + 2 * PAGE_SIZE, PAGE_SIZE, RW) == -ENOMEM);
    puts("mprotect");
}

/* Code that is written, then made executable, then written anew at the same place. */
static void
try_code(void)
{
    uint32_t *code = (uint32_t *)(void *)pages(1, RW);

    for (uint32_t i = 0; i < 3; i++) {
        int (*run)(void) = (int (*)(void))code;
        require(mprotect(code, PAGE_SIZE, RW) == 0);
        code[0] = 0x52800000 | i << 5; /* mov w0, #i */
        code[1] = 0xd65f03c0;          /* ret */
        require(mprotect(code, PAGE_SIZE, PROT_READ | PROT_EXEC) == 0);
        require(run() == (int)i);
    }
    puts("code");
}

static void
try_brk(void)
{
    char *start = brk(NULL);

    require(error_of(start) == 0 && brk(NULL) == start);
    require(brk(start + 3 * PAGE_SIZE) == start + 3 * PAGE_SIZE);
    require(all(start, 3 * PAGE_SIZE, 0));
    memset(start, 'h', 3 * PAGE_SIZE);

    require(brk(start + PAGE_SIZE) == start + PAGE_SIZE);         /* less */
    require(brk(start + 3 * PAGE_SIZE) == start + 3 * PAGE_SIZE); /* and more again */
    require(all(start, PAGE_SIZE, 'h') && all(start + PAGE_SIZE, 2 * PAGE_SIZE, 0));

    /* Impossible: it stays where it is. */
    require(brk(start - PAGE_SIZE) == start + 3 * PAGE_SIZE);
    require(brk((void *)0xffff000000080000) == start + 3 * PAGE_SIZE);
    require(brk((void *)-1) == start + 3 * PAGE_SIZE);

    /* Something is in the way. */
    char *wall = start + 100 * PAGE_SIZE;
    require(mmap(wall, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0) == wall);
    require(brk(wall + 1) == start + 3 * PAGE_SIZE);
    require(munmap(wall, PAGE_SIZE) == 0);
    require(brk(wall + 1) == wall + 1 && can_write(wall - PAGE_SIZE));

    require(brk(start) == start);
    puts("brk");
}

int
main(void)
{
    try_mmap();
    try_munmap();
    try_mprotect();
    try_code();
    try_brk();
    return 0;
}
