/*
 * Tests: what programs are promised about processes and memory, tried out. Each is a process of its own, which may
 * do to itself what it likes. They run on Linux, too, and must come out the same.
 */
#ifndef TESTS_H
#define TESTS_H

#include "libc.h"

/*
 * TEST(name, "what it shows") { ... }: the body comes to its end if all is as it should be. TEST_HERE(name, "what it
 * shows", "why"): the same, but not for Linux, or for QEMU in its place, and why that is so.
 */
#define TEST(name, what)           TEST_ENTRY(name, what, NULL)
#define TEST_HERE(name, what, why) TEST_ENTRY(name, what, why)

#define TEST_ENTRY(name, what, why)                                                \
    static void test_##name(void);                                                 \
    static const struct test entry_##name                                          \
        __attribute__((section("tests"), used)) = {#name, what, why, test_##name}; \
    static void test_##name(void)

struct test {
    const char *name, *what, *why_here;
    void (*run)(void);
};

/* Something must be so, or the test ends here. */
#define must(condition) ((condition) ? (void)0 : failed(__FILE__, __LINE__))
_Noreturn void failed(const char *file, int line);

/* ---- Children (main.c) ---- */

/* CHILD(pid) { ... }: what a child does before it ends, with status 0. For the parent pid, an int, is its number. */
#define CHILD(pid) for ((pid) = begin(); (pid) == 0; exit(0))
int begin(void);

/* How this child has ended, when it has: one of these. (Whether memory was written to a file is left out.) */
int status_of(int pid);
#define EXITED(code)   ((code) << 8)
#define KILLED(signal) (signal)

/* It has ended as CHILD does. */
#define ended_well(pid) (status_of(pid) == EXITED(0))

/* A child that does nothing until somebody kills it, or its parent has ended. */
int sleeper(void);

/* Somebody else's sleeper is killed, so that who waits for it (came) or looks for it (until_gone) knows of it. */
void call(int pid);
bool came(int pid);

/* Until the process is gone, and its parent knows of that. */
void until_gone(int pid);

/* One's own sleeper ends: those who are in until_gone go on. */
void open_gate(int pid);

/* The others run for a while. */
void let_run(int turns);

/* Does nothing and asks for nothing, for a minute or so. */
void spin(void);

/* ---- Memory ---- */

#define RW   (PROT_READ | PROT_WRITE)
#define RX   (PROT_READ | PROT_EXEC)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

#define WORDS (PAGE_SIZE / sizeof(uint64_t)) /* in a page */

#define KERNEL   0xffff000000080000UL /* addresses that are no program's */
#define HOLE     0x0001000000000000UL
#define UNMAPPED 0x20000000UL /* and one that could be one's own, but is not */

/* n pages, wherever there is room. */
void *pages(size_t n, int prot);

/* Each of the n pages has its own mark, which depends on value, in a word of its own; are they there? */
void mark(void *start, size_t n, uint64_t value);
bool marked(const void *start, size_t n, uint64_t value);

/* Are the bytes all like this one? */
bool all_bytes(const void *start, size_t n, int value);

/* The compiler is not to know what it is. */
static inline uint64_t
hidden(uint64_t value)
{
    __asm__("" : "+r"(value));
    return value;
}

static inline uint64_t
peek(uint64_t addr)
{
    return *(volatile uint64_t *)hidden(addr);
}

static inline void
poke(uint64_t addr, uint64_t value)
{
    *(volatile uint64_t *)hidden(addr) = value;
}

static inline void
jump(uint64_t addr)
{
    ((void (*)(void))hidden(addr))();
}

/* A child that touches addr in this way: how does it end? */
int try_peek(uint64_t addr);
int try_poke(uint64_t addr);
int try_jump(uint64_t addr);

#define RET 0xd65f03c0u /* `ret`, as data */

/* becoming.c: does what a test wants that has become this program, and ends. Comes back if there is no such test. */
void executed(int argc, char *argv[]);

int main(int argc, char *argv[]);

#endif
