/* Mappings, heap and stack of parent and child; and memory that comes when it is touched. */
#include "tests.h"

TEST(unmap_in_child, "what a child unmaps its parent keeps")
{
    char *p = pages(5, RW);
    int pid;

    memset(p, 'x', 5 * PAGE_SIZE);
    CHILD(pid) {
        must(munmap(p + PAGE_SIZE, 3 * PAGE_SIZE) == 0);
        must(try_peek((uint64_t)p + PAGE_SIZE) == KILLED(SIGSEGV));
        must(all_bytes(p, PAGE_SIZE, 'x') && all_bytes(p + 4 * PAGE_SIZE, PAGE_SIZE, 'x'));
    }
    must(ended_well(pid));
    must(all_bytes(p, 5 * PAGE_SIZE, 'x'));
    memset(p, 'y', 5 * PAGE_SIZE);
}

TEST(unmap_in_parent, "what a parent unmaps its child keeps, and the other way round again")
{
    char *p = pages(5, RW);
    int pid, gate = sleeper();

    memset(p, 'x', 5 * PAGE_SIZE);
    CHILD(pid) {
        until_gone(gate);
        must(all_bytes(p, 5 * PAGE_SIZE, 'x'));
        memset(p, 'y', 5 * PAGE_SIZE);
        must(munmap(p + 4 * PAGE_SIZE, PAGE_SIZE) == 0);
        must(all_bytes(p, 4 * PAGE_SIZE, 'y'));
    }
    must(munmap(p, 4 * PAGE_SIZE) == 0);
    open_gate(gate);
    must(try_peek((uint64_t)p) == KILLED(SIGSEGV));
    must(ended_well(pid));
    must(all_bytes(p + 4 * PAGE_SIZE, PAGE_SIZE, 'x'));
}

TEST(map_over_shared, "MAP_FIXED over shared pages: zeroes for one, what was there for the other")
{
    char *p = pages(6, RW);
    int pid, gate = sleeper();

    memset(p, 'x', 6 * PAGE_SIZE);
    CHILD(pid) {
        until_gone(gate);
        must(all_bytes(p, 6 * PAGE_SIZE, 'x'));
        must(mmap(p + PAGE_SIZE, 2 * PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0) == p + PAGE_SIZE);
        must(all_bytes(p + PAGE_SIZE, 2 * PAGE_SIZE, 0));
        memset(p + PAGE_SIZE, 'c', 2 * PAGE_SIZE);
        must(all_bytes(p, PAGE_SIZE, 'x') && all_bytes(p + 3 * PAGE_SIZE, 3 * PAGE_SIZE, 'x'));
    }
    must(mmap(p + 2 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ, ANON | MAP_FIXED, -1, 0)
         == p + 2 * PAGE_SIZE);
    open_gate(gate);
    must(all_bytes(p + 2 * PAGE_SIZE, 2 * PAGE_SIZE, 0));
    must(ended_well(pid));
    must(all_bytes(p, 2 * PAGE_SIZE, 'x') && all_bytes(p + 2 * PAGE_SIZE, 2 * PAGE_SIZE, 0));
    must(all_bytes(p + 4 * PAGE_SIZE, 2 * PAGE_SIZE, 'x'));
    must(try_poke((uint64_t)p + 2 * PAGE_SIZE) == KILLED(SIGSEGV));
}

TEST(map_over_program, "MAP_FIXED over the program's own data: zeroes, and only there")
{
    static char mine[2 * PAGE_SIZE] = {'m', 'm'};
    char *page = (char *)(((uint64_t)mine + PAGE_SIZE - 1) & ~0xfffUL);
    int pid;

    memset(mine, 'm', sizeof(mine));
    CHILD(pid) {
        must(mmap(page, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0) == page);
        must(all_bytes(page, PAGE_SIZE, 0) && all_bytes(mine, (size_t)(page - mine), 'm'));
        page[1] = 'c';
        must(munmap(page, PAGE_SIZE) == 0 && try_peek((uint64_t)page) == KILLED(SIGSEGV));
    }
    must(ended_well(pid));
    must(all_bytes(mine, sizeof(mine), 'm'));
}

TEST(map_in_child, "what a child maps its parent does not have")
{
    char *p = pages(2, RW);
    int pid;

    must(munmap(p, 2 * PAGE_SIZE) == 0);
    CHILD(pid) {
        must(mmap(p, PAGE_SIZE, RW, ANON | MAP_FIXED, -1, 0) == p);
        p[0] = 1;
    }
    must(ended_well(pid));
    must(try_peek((uint64_t)p) == KILLED(SIGSEGV));
    CHILD(pid)
        must(mmap(p, PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p && p[0] == 0);
    must(ended_well(pid));
}

TEST(map_ranges, "two hundred ranges with different rights are all the same in a child")
{
    enum { N = 200 };
    static const int rights[] = {RW, PROT_READ, PROT_NONE};
    char *p = pages(N, RW);
    int pid;

    for (int i = 0; i < N; i++) {
        if (i % 4 == 3)
            must(munmap(p + i * PAGE_SIZE, PAGE_SIZE) == 0);
        else
            must(mprotect(p + i * PAGE_SIZE, PAGE_SIZE, rights[i % 4]) == 0);
    }
    CHILD(pid) {
        for (int i = 0; i < N; i++) {
            must(can_read(p + i * PAGE_SIZE) == (i % 4 <= 1));
            must(can_write(p + i * PAGE_SIZE) == (i % 4 == 0));
        }
        must(mprotect(p, N * PAGE_SIZE, RW) == -ENOMEM);
    }
    must(ended_well(pid));
}

TEST(map_sparse, "of 900 MB a few pages are touched; then a child touches others")
{
    size_t n = (900UL << 20) / PAGE_SIZE;
    uint64_t *p;
    int pid;

    /* Where there is less memory than that, as much as there may be. */
    while (error_of(p = mmap(NULL, n * PAGE_SIZE, RW, ANON, -1, 0)) == -ENOMEM)
        n /= 2;
    must(error_of(p) == 0 && n >= 1000);
    for (size_t i = 0; i < n; i += n / 50)
        p[i * WORDS] = i + 1;
    CHILD(pid) {
        for (size_t i = 0; i < n; i += n / 100)
            must(p[i * WORDS] == (i % (n / 50) ? 0 : i + 1));
        for (size_t i = 3; i < n; i += n / 50)
            p[i * WORDS] = 7;
        for (size_t i = 0; i < n; i += n / 50)
            must(p[i * WORDS] == i + 1);
    }
    must(ended_well(pid));
    for (size_t i = 3; i < n; i += n / 50)
        must(p[i * WORDS] == 0);
    must(munmap(p, n * PAGE_SIZE) == 0);
    must(try_peek((uint64_t)p) == KILLED(SIGSEGV));
}

TEST(map_zeroes, "memory is zero each time, whatever was in the pages before")
{
    for (int i = 0; i < 30; i++) {
        int pid;
        CHILD(pid) {
            char *p = pages(30, RW);
            must(all_bytes(p, 30 * PAGE_SIZE, 0));
            memset(p, 0xaa, 30 * PAGE_SIZE);
            must(munmap(p, 30 * PAGE_SIZE) == 0);
            must(all_bytes(pages(30, RW), 30 * PAGE_SIZE, 0));
        }
        must(ended_well(pid));
    }
}

TEST(map_too_much,
     "more than there are addresses is refused, in a child, too, and nothing has changed")
{
    char *p = pages(2, RW);
    int pid;

    *p = 1;
    CHILD(pid) {
        must(error_of(mmap(NULL, 1UL << 48, RW, ANON, -1, 0)) == -ENOMEM);
        must(error_of(mmap(NULL, -4096UL, RW, ANON, -1, 0)) == -ENOMEM);
        must(error_of(mmap(NULL, 0, RW, ANON, -1, 0)) == -EINVAL);
        must(*p == 1);
    }
    must(ended_well(pid));
}

/* ---- Heap ---- */

TEST(heap_apart, "parent and child have a break each")
{
    char *start = brk(NULL);
    int pid;

    must(brk(start + 4 * PAGE_SIZE) == start + 4 * PAGE_SIZE);
    memset(start, 'h', 4 * PAGE_SIZE);
    CHILD(pid) {
        must(brk(NULL) == start + 4 * PAGE_SIZE && all_bytes(start, 4 * PAGE_SIZE, 'h'));
        must(brk(start + 9 * PAGE_SIZE) == start + 9 * PAGE_SIZE);
        memset(start, 'c', 9 * PAGE_SIZE);
        must(brk(start + PAGE_SIZE) == start + PAGE_SIZE && all_bytes(start, PAGE_SIZE, 'c'));
    }
    must(ended_well(pid));
    must(brk(NULL) == start + 4 * PAGE_SIZE && all_bytes(start, 4 * PAGE_SIZE, 'h'));
    CHILD(pid)
        must(brk(start) == start);
    must(ended_well(pid));
    must(all_bytes(start, 4 * PAGE_SIZE, 'h'));
}

TEST(heap_zeroes, "a heap that has become smaller is zero when it grows again")
{
    char *start = brk(NULL);
    int pid;

    must(brk(start + 6 * PAGE_SIZE) == start + 6 * PAGE_SIZE);
    memset(start, 'h', 6 * PAGE_SIZE);
    for (int i = 0; i < 3; i++) {
        CHILD(pid) {
            must(brk(start + 2 * PAGE_SIZE) == start + 2 * PAGE_SIZE);
            must(brk(start + 6 * PAGE_SIZE) == start + 6 * PAGE_SIZE);
            must(all_bytes(start, 2 * PAGE_SIZE, 'h'));
            must(all_bytes(start + 2 * PAGE_SIZE, 4 * PAGE_SIZE, 0));
            memset(start, 'c', 6 * PAGE_SIZE);
        }
        must(ended_well(pid));
    }
    must(all_bytes(start, 6 * PAGE_SIZE, 'h'));
}

TEST(heap_malloc, "malloc goes on in both")
{
    enum { N = 200 };
    static char *block[N];
    int pid[3];

    for (int i = 0; i < N; i++)
        memset(block[i] = malloc(100 + (size_t)i), i, 100 + (size_t)i);
    for (int k = 0; k < 3; k++)
        CHILD(pid[k]) {
            for (int i = k; i < N; i += 3)
                free(block[i]);
            for (int i = k; i < N; i += 3)
                memset(block[i] = malloc(300 + (size_t)i), k, 300 + (size_t)i);
            for (int i = 0; i < N; i++)
                must(all_bytes(block[i], 100 + (size_t)i, i % 3 == k ? k : i));
        }
    for (int k = 0; k < 3; k++)
        must(ended_well(pid[k]));
    for (int i = 0; i < N; i++)
        must(all_bytes(block[i], 100 + (size_t)i, i));
}

/* ---- Stack ---- */

/* Touch the stack down to `bytes` below here, page by page; or only the last page of it. */
static void
touch_stack(size_t bytes, bool all)
{
    uint64_t here = (uint64_t)__builtin_frame_address(0);

    for (size_t at = all ? PAGE_SIZE : bytes; at <= bytes; at += PAGE_SIZE)
        poke((here - at) & ~7UL, at);
    if (all)
        for (size_t at = PAGE_SIZE; at <= bytes; at += PAGE_SIZE)
            must(peek((here - at) & ~7UL) == at);
}

TEST(stack_grows, "the stack grows when it is touched, to nearly 8 MiB")
{
    int pid;

    CHILD(pid)
        touch_stack(7900UL << 10, true);
    must(ended_well(pid));
    touch_stack(1UL << 20, true);
    CHILD(pid)
        touch_stack(7900UL << 10, true);
    must(ended_well(pid));
}

TEST(stack_leaps, "in leaps, too")
{
    int pid;

    for (size_t size = 1UL << 16; size < 7UL << 20; size *= 2) {
        CHILD(pid)
            touch_stack(size, false);
        must(ended_well(pid));
    }
}

TEST(stack_ends, "and no further than 8 MiB")
{
    int pid;

    for (int i = 0; i < 3; i++) {
        CHILD(pid)
            touch_stack(8200UL << 10, true);
        must(status_of(pid) == KILLED(SIGSEGV));
    }
}

static uint64_t
recurse(uint64_t n)
{
    volatile uint64_t here[8] = {n};

    return n == UINT64_MAX ? 0 : recurse(n + 1) + here[0];
}

TEST(stack_overflows, "endless recursion of a child, and of its child")
{
    int pid, child;

    CHILD(pid) {
        CHILD(child)
            recurse(0);
        must(status_of(child) == KILLED(SIGSEGV));
        recurse(0);
    }
    must(status_of(pid) == KILLED(SIGSEGV));
}
