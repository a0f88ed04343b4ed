/*
 * Registers at random, and compared. (registers.h)
 */
#include "registers.h"
#include "check.h"
#include "memlayout.h"
#include "sysreg.h"

_Static_assert(offsetof(struct registers, tpidr_el1) == 320, "registers.S has other offsets");

char check_stack[STACK_SIZE] __attribute__((aligned(2 * STACK_SIZE)));

void
fill_random(void *p, size_t words)
{
    for (uint64_t *at = p; at < (uint64_t *)p + words; at++)
        *at = check_random();
}

void
registers_random(struct registers *r)
{
    fill_random(r, sizeof(*r) / 8);
    r->sp &= ~15UL;
    r->nzcv &= 0xf0000000;
}

void
expect_x(const struct registers *found, const uint64_t *wanted, int first, int last,
         const char *why)
{
    for (int i = first; i <= last; i++)
        EXPECT(found->x[i] == wanted[i], "x%d: expected 0x%lx%s, found 0x%lx", i, wanted[i], why,
               found->x[i]);
}
