/*
 * An attack: a program that does what it must not, and the status that it must end with. Each stands in a file of
 * its own, but for those that are one line each (pointers.c, sysregs.c, instructions.c).
 */
#ifndef ATTACK_H
#define ATTACK_H

#include "libc.h"

/*
 * ATTACK(name, "what it does", status) { ... }: status is 128 + the signal that ends it; or 0: it comes through,
 * and its body returns. ATTACK_HERE: the same, but Linux, or QEMU in its place, sees it in another way.
 */
#define ATTACK(name, what, status)      ATTACK_ENTRY(name, what, status, false)
#define ATTACK_HERE(name, what, status) ATTACK_ENTRY(name, what, status, true)

#define ATTACK_ENTRY(name, what, status, here)                                                   \
    static void attack_##name(void);                                                             \
    static const struct attack entry_##name                                                      \
        __attribute__((section(".attacks"), used)) = {#name, what, status, here, attack_##name}; \
    static void attack_##name(void)

struct attack {
    const char *name, *what;
    int status;
    bool here;
    void (*run)(void);
};

extern const struct attack attacks_start[], attacks_end[]; /* all of them: user.ld */
int main(int argc, char *argv[]);

#define ILL  (128 + SIGILL)
#define TRAP (128 + SIGTRAP)
#define BUS  (128 + SIGBUS)
#define SEGV (128 + SIGSEGV)

/* Addresses that are nobody's business. */
#define KERNEL   0xffff000000080000 /* the kernel's first instruction */
#define VMALLOC  0xffff800000000000 /* its memory from vmalloc */
#define UART     0xffff00003f201000 /* a device, as the kernel sees it */
#define UART_PA  0x3f201000         /* and where it really is */
#define RAM_PA   0x100000           /* memory, where it really is */
#define HOLE     0x0001000000000000 /* between the user's half and the kernel's */
#define LAST     0x0000fffffffffff8 /* the last word of the user's half */
#define UNMAPPED 0x20000000         /* nothing is there */

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* The compiler is not to know which address it is: it knows what must not be, too. */
static inline uint64_t
hidden(uint64_t addr)
{
    __asm__("" : "+r"(addr));
    return addr;
}

static inline uint64_t
peek(uint64_t addr)
{
    addr = hidden(addr);
    return *(volatile uint64_t *)addr;
}

static inline void
poke(uint64_t addr, uint64_t value)
{
    addr = hidden(addr);
    *(volatile uint64_t *)addr = value;
}

static inline void
jump(uint64_t addr)
{
    ((void (*)(void))hidden(addr))();
}

/* n pages that can be written, zeroed. */
static inline char *
pages(size_t n)
{
    char *p = mmap(NULL, n * PAGE_SIZE, RW, ANON, -1, 0);

    require(error_of(p) == 0);
    return p;
}

/* `ret`, as data. */
#define RET 0xd65f03c0u

#endif
