/*
 * Lab 1's checks. Two of its exercises have done their work when the first line of C runs, and one
 * has an effect that the kernel cannot see: of el, bss and uart, the grader looks at the rest from
 * outside.
 */
#include "check.h"
#include "backtrace.h"
#include "bcm2837.h"
#include "memlayout.h"
#include "string.h"
#include "sysreg.h"
#include "uart.h"

#define DAIF_MASKED 0x3c0 /* D, A, I and F (ARM ARM C5.2.2) */

CHECK(el)
{
    uint64_t el = read_sysreg(CurrentEL), spsel = read_sysreg(SPSel), daif = read_sysreg(daif);

    EXPECT(el == CURRENTEL(1),
           "expected to run at EL1, found EL%lu: see el2_to_el1 in kern/entry.S", el >> 2);
    EXPECT(spsel == 1, "expected EL1 to use its own stack pointer (EL1h), found SP_EL0 (EL1t): see "
                       "SPSR_EL2 in el2_to_el1");
    EXPECT(daif == DAIF_MASKED,
           "expected D, A, I and F masked (0x3c0), found DAIF = 0x%lx: see SPSR_EL2 "
           "in el2_to_el1",
           daif);
}

static uint64_t zeroes[512];                                         /* in the BSS */
static uint64_t values[] = {0x0123456789abcdef, 0xfedcba9876543210}; /* not in the BSS */

CHECK(bss)
{
    const volatile uint64_t *zero = zeroes, *value = values; /* look; do not believe the compiler */

    for (size_t i = 0; i < ARRAY_SIZE(zeroes); i++)
        EXPECT(zero[i] == 0,
               "expected 0 in a variable without a value, found 0x%lx at %p: see clear_bss "
               "in kern/entry.S",
               zero[i], (void *)&zeroes[i]);
    EXPECT(value[0] == 0x0123456789abcdef && value[1] == 0xfedcba9876543210,
           "expected a variable with a value to keep it, found 0x%lx 0x%lx: clear_bss starts at "
           "bss_start",
           value[0], value[1]);
}

CHECK(uart)
{
    static const char text[] = "Every character of this line went through uart_putc.\r\n";
    uint32_t enabled = mmio_read(AUX_PA + AUX_MU_IER);

    for (const char *c = text; *c; c++)
        uart_putc(*c);
    uart_drain();
    EXPECT(mmio_read(AUX_PA + AUX_MU_IER) == enabled,
           "expected uart_putc to write AUX_MU_IO only, found AUX_MU_IER changed");
}

/* ---- backtrace ---- */

#define RECORDS 12
#define GUARD   0x6e6f74796f757273UL /* what pcs[] holds where nothing was stored */

static uint64_t pcs[RECORDS + 4];

/* Call backtrace; it must store these return addresses, and nothing behind them. */
static void
expect_trace(uint64_t fp, size_t max, const uint64_t *wanted, size_t n, const char *what)
{
    for (size_t i = 0; i < ARRAY_SIZE(pcs); i++)
        pcs[i] = GUARD;
    check_doing("backtrace(0x%lx, pcs, %lu), %s", fp, max, what);
    size_t found = backtrace(fp, pcs, max);
    EXPECT(found == n, "expected it to return %lu, found %lu", n, found);
    for (size_t i = 0; i < n; i++)
        EXPECT(pcs[i] == wanted[i], "expected 0x%lx (the record's lr) in pcs[%lu], found 0x%lx",
               wanted[i], i, pcs[i]);
    for (size_t i = n; i < ARRAY_SIZE(pcs); i++)
        EXPECT(pcs[i] == GUARD, "expected pcs[%lu] and beyond to be left alone, found 0x%lx", i,
               pcs[i]);
}

/* Lay out n frame records in stack[], at random distances, the last of which leads to `last`. */
static struct frame *
make_chain(struct frame stack[], size_t n, uint64_t last, uint64_t lrs[])
{
    struct frame *record = NULL, *next = stack;

    for (size_t i = 0; i < n; i++) {
        next += check_random_below(3);
        if (record)
            record->fp = (uint64_t)next;
        record = next++;
        record->fp = last;
        record->lr = lrs[i] = check_random();
    }
    return record;
}

static __attribute__((noinline)) uint64_t
first_of(const struct frame stack[])
{
    /* The first record is the first that make_chain wrote to: the rest of stack[] is zero. */
    while (stack->lr == 0)
        stack++;
    return (uint64_t)stack;
}

/* Chains of all lengths that end as the outermost call does, with 0. */
static void
good_chains(void)
{
    struct frame stack[3 * RECORDS] __attribute__((aligned(16)));
    uint64_t lrs[RECORDS];

    for (size_t n = 1; n <= RECORDS; n++) {
        memset(stack, 0, sizeof(stack));
        make_chain(stack, n, 0, lrs);
        uint64_t fp = first_of(stack);
        expect_trace(fp, n + 3, lrs, n, "records that end with fp = 0");
        expect_trace(fp, n, lrs, n, "as many records as there is room for");
        expect_trace(fp, n - 1, lrs, n - 1, "more records than there is room for");
        expect_trace(fp, 0, lrs, 0, "no room");
    }
    expect_trace(0, RECORDS, lrs, 0, "fp = 0");
}

/* Chains whose last record leads to a place where no record can be. */
static void
bad_chains(void)
{
    static struct frame elsewhere = {0, 0x1234}; /* not on a stack */
    struct frame stack[3 * RECORDS] __attribute__((aligned(16)));
    uint64_t lrs[RECORDS], bottom = (uint64_t)boot_stack, top = (uint64_t)boot_stack_top;
    struct frame *record = NULL;
    const struct {
        uint64_t fp;
        const char *what;
    } bad[] = {
        {(uint64_t)&stack[3 * RECORDS - 2] + 8, "the next record is not 16-byte aligned"},
        {(uint64_t)&stack[3 * RECORDS - 2] + 1, "the next record is not 16-byte aligned"},
        {bottom - 16, "the next record lies below the stack"},
        {top, "the next record lies above the stack"},
        {(uint64_t)emergency_stack_top, "the next record lies above the stack"},
        {(uint64_t)&elsewhere, "the next record does not lie on a stack"},
        {0x1000, "the next record lies where nothing is mapped"},
        {0x5a5a5a5a5a5a5a50, "the next record has an address that cannot be"},
        {(uint64_t)stack, "the next record lies below the one before"},
    };

    for (size_t i = 0; i <= ARRAY_SIZE(bad); i++) {
        size_t n = 1 + check_random_below(RECORDS - 2);
        memset(stack, 0, sizeof(stack));
        stack[0].lr =
            0; /* for the chain that leads back: a record, but the chain starts above it */
        record = make_chain(stack + 1, n, 0, lrs);
        uint64_t fp = first_of(stack);
        record->fp = i < ARRAY_SIZE(bad) ? bad[i].fp : (uint64_t)record;
        expect_trace(fp, n + 3, lrs, n,
                     i < ARRAY_SIZE(bad) ? bad[i].what : "a record leads to itself");
        if (i < ARRAY_SIZE(bad) - 1)
            expect_trace(bad[i].fp, 3, lrs, 0, "no record can be there");
    }
}

/* Real calls: each is nested in the next. */
static __attribute__((noinline)) size_t
nested(size_t calls)
{
    if (calls > 0)
        return nested(calls - 1) + 1;
    return backtrace((uint64_t)__builtin_frame_address(0), pcs, ARRAY_SIZE(pcs)) - calls;
}

static void
real_calls(void)
{
    size_t calls = 2 + check_random_below(6);
    uint64_t offset;

    check_doing("backtrace from %lu calls of a function in each other", calls + 1);
    size_t found = nested(calls) - calls;
    EXPECT(found > calls + 2 && found <= ARRAY_SIZE(pcs),
           "expected those and some around them, %lu at least, found %lu", calls + 3, found);
    for (size_t i = 0; i <= calls + 1; i++) {
        const char *name = symbol_name(pcs[i] - 4, &offset);
        const char *wanted = i < calls ? "nested" : i == calls ? "real_calls" : "check_backtrace";
        EXPECT(name && strcmp(name, wanted) == 0, "expected pcs[%lu] in %s, found 0x%lx in %s", i,
               wanted, pcs[i], name ? name : "no function");
    }
}

CHECK(backtrace)
{
    uint64_t none = backtrace((uint64_t)__builtin_frame_address(0), pcs, 1);

    EXPECT(none == 1,
           "backtrace of the frame that is running, with room for 1: expected it to return 1, "
           "found %lu: see backtrace in kern/backtrace.c",
           none);
    good_chains();
    bad_chains();
    real_calls();
}
