/* Copy-on-write: what one of two writes the other does not see, whatever kind of memory it is. */
#include "tests.h"

#define FEW 12 /* pages */

static uint64_t in_data[2 * WORDS] = {1}, in_bss[FEW * WORDS];

/* The parent writes first, then the child; the child writes first, then the parent; both with others in between. */
static void
both_ways(void *p, size_t n)
{
    int pid, gate = sleeper();

    mark(p, n, 1);
    CHILD(pid) {
        until_gone(gate);
        must(marked(p, n, 1)); /* not what the parent has written meanwhile */
        mark(p, n, 3);
        sched_yield();
        must(marked(p, n, 3));
    }
    mark(p, n, 2);
    open_gate(gate);
    must(marked(p, n, 2));
    must(ended_well(pid));
    must(marked(p, n, 2));

    CHILD(pid) {
        must(marked(p, n, 2));
        mark(p, n, 4);
        must(marked(p, n, 4));
    }
    must(ended_well(pid));
    must(marked(p, n, 2)); /* nor what the child has */
    mark(p, n, 5);
    must(marked(p, n, 5));
}

TEST(cow_data, "data is each one's own")
{
    both_ways(in_data, 2);
}

TEST(cow_bss, "so is bss")
{
    both_ways(in_bss, FEW);
}

TEST(cow_stack, "so is the stack")
{
    /* Below all calls that are to come. */
    both_ways((void *)hidden(((uint64_t)__builtin_frame_address(0) & ~15UL) - 2 * FEW * PAGE_SIZE),
              FEW);
}

TEST(cow_heap, "so is the heap")
{
    char *p = brk(NULL);

    must(brk(p + FEW * PAGE_SIZE) == p + FEW * PAGE_SIZE);
    both_ways(p, FEW);
}

TEST(cow_mmap, "so is what mmap gave")
{
    both_ways(pages(FEW, RW), FEW);
}

TEST(cow_many, "two thousand pages")
{
    both_ways(pages(2000, RW), 2000);
}

TEST(cow_scattered, "pages that are gigabytes apart")
{
    for (uint64_t va = 0x100000000; va < 0x800000000000; va *= 8) {
        void *p = mmap((void *)va, 2 * PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
        if (error_of(p) == -EEXIST)
            continue; /* Linux has put something there */
        must(p == (void *)va);
        both_ways(p, 2);
    }
}

TEST(cow_untouched, "pages that nobody had touched before")
{
    char *p = pages(FEW, RW);
    int pid;

    CHILD(pid) {
        must(all_bytes(p, FEW * PAGE_SIZE, 0));
        memset(p, 'c', FEW * PAGE_SIZE);
        must(all_bytes(p, FEW * PAGE_SIZE, 'c'));
    }
    must(ended_well(pid));
    must(all_bytes(p, FEW * PAGE_SIZE, 0));
    CHILD(pid)
        must(all_bytes(p, FEW * PAGE_SIZE, 0));
    memset(p, 'p', FEW * PAGE_SIZE);
    must(ended_well(pid));
    must(all_bytes(p, FEW * PAGE_SIZE, 'p'));
}

TEST(cow_one_byte, "of a page in which one byte is written all others are the same")
{
    uint8_t *p = pages(1, RW);
    int pid;

    for (int i = 0; i < PAGE_SIZE; i++)
        p[i] = (uint8_t)(i * 7 + i / 256);
    for (int at = 0; at < PAGE_SIZE; at += 273) {
        CHILD(pid) {
            p[at] ^= 0xff;
            for (int i = 0; i < PAGE_SIZE; i++)
                must(p[i] == (uint8_t)((i * 7 + i / 256) ^ (i == at ? 0xff : 0)));
        }
        must(ended_well(pid));
    }
}

TEST(cow_over_edges, "one write into two pages")
{
    char *p = pages(2, RW);
    uint64_t edge = (uint64_t)p + PAGE_SIZE - 3;
    int pid;

    memset(p, 'a', 2 * PAGE_SIZE);
    CHILD(pid) {
        poke(edge, 0x6262626262626262);
        must(peek(edge) == 0x6262626262626262);
        must(all_bytes(p, PAGE_SIZE - 3, 'a') && all_bytes(p + PAGE_SIZE + 5, PAGE_SIZE - 5, 'a'));
    }
    must(ended_well(pid));
    CHILD(pid) {
        __asm__ volatile("stp %1, %1, [%0]" : : "r"(p + PAGE_SIZE - 8), "r"(1UL) : "memory");
        must(peek((uint64_t)p + PAGE_SIZE - 8) == 1 && peek((uint64_t)p + PAGE_SIZE) == 1);
    }
    must(ended_well(pid));
    must(all_bytes(p, 2 * PAGE_SIZE, 'a'));
}

TEST(cow_atomic, "a pair of exclusive accesses comes through")
{
    uint64_t *p = pages(1, RW);
    int pid;

    *p = 10;
    for (int i = 0; i < 10; i++) {
        CHILD(pid)
            must(__atomic_add_fetch(p, 5, __ATOMIC_SEQ_CST) == 15 + (uint64_t)i);
        must(__atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST) == 11 + (uint64_t)i);
        must(ended_well(pid));
    }
}

/* Each has its own mark, and a child that has another one. */
static void
descend(void *p, uint64_t generation)
{
    int pid;

    must(marked(p, FEW, generation));
    if (generation == 8)
        return;
    CHILD(pid) {
        mark(p, FEW, generation + 1);
        descend(p, generation + 1);
        must(marked(p, FEW, generation + 1));
    }
    must(ended_well(pid));
    must(marked(p, FEW, generation));
}

TEST(cow_generations, "eight generations, each with a mark of its own")
{
    void *p = pages(FEW, RW);

    mark(p, FEW, 0);
    descend(p, 0);
}

TEST(cow_again, "the second child sees what has been written since the first")
{
    void *p = pages(FEW, RW);

    for (uint64_t i = 0; i < 20; i++) {
        int pid;
        mark(p, FEW, i);
        CHILD(pid) {
            must(marked(p, FEW, i));
            mark(p, FEW, 100 + i);
        }
        if (i % 2)
            mark(p, FEW, 200 + i); /* before or after */
        must(ended_well(pid));
        must(marked(p, FEW, i % 2 ? 200 + i : i));
    }
}

TEST(cow_first_to_end, "who is left has its pages, whoever ended first")
{
    void *p = pages(FEW, RW);
    int pid, gate = sleeper(), sign = sleeper();

    mark(p, FEW, 1);
    CHILD(pid) { /* a parent that ends first */
        int child;
        CHILD(child) {
            until_gone(gate);
            must(marked(p, FEW, 1));
            mark(p, FEW, 2);
            must(marked(p, FEW, 2));
            call(sign);
        }
    }
    must(ended_well(pid));
    mark(p, FEW, 3);
    open_gate(gate);
    must(came(sign));
    must(marked(p, FEW, 3));
}

TEST(cow_sharers, "three hundred processes have a page in common, and then each its own")
{
    enum { SHARERS = 300 };
    static int pid[SHARERS];
    uint64_t *p = pages(2, RW);
    int gate = sleeper();

    p[0] = p[WORDS] = 1000;
    for (int i = 0; i < SHARERS; i++)
        CHILD(pid[i]) {
            until_gone(gate);
            must(p[0] == 1000 && p[WORDS] == 1000);
            p[0] = (uint64_t)i;
            sched_yield();
            must(p[0] == (uint64_t)i && p[WORDS] == 1000);
        }
    p[0] = 2000;
    open_gate(gate);
    for (int i = 0; i < SHARERS; i++)
        must(ended_well(pid[i]));
    must(p[0] == 2000 && p[WORDS] == 1000);
}

/* A chain: each has a child, the last one knows that all are there. */
static void
chain(uint64_t *p, int left)
{
    int pid;

    if (left > 0) {
        CHILD(pid)
            chain(p, left - 1);
        must(ended_well(pid));
    }
    must(*p == 77);
    *p = (uint64_t)left;
    must(*p == (uint64_t)left);
}

TEST(cow_chain, "sixty generations live at the same time, with a page in common")
{
    uint64_t *p = pages(1, RW);

    *p = 77;
    chain(p, 60);
}

TEST(cow_zero, "what was only read is zero for all, until somebody writes")
{
    enum { N = 400 };
    uint64_t *p = pages(N, RW);
    int pid;

    for (size_t i = 0; i < N; i++)
        must(p[i * WORDS] == 0);
    CHILD(pid) {
        for (size_t i = 0; i < N; i += 2)
            p[i * WORDS] = i + 1;
        for (size_t i = 0; i < N; i++)
            must(p[i * WORDS] == (i % 2 ? 0 : i + 1) && p[i * WORDS + 1] == 0);
    }
    for (size_t i = 1; i < N; i += 2)
        p[i * WORDS] = i + 1;
    must(ended_well(pid));
    for (size_t i = 0; i < N; i++)
        must(p[i * WORDS] == (i % 2 ? i + 1 : 0) && p[i * WORDS + 1] == 0);
}
