/*
 * kern/ram.c against a bitmap: banks and reservations in any order, overlapping, touching, with odd ends, too many,
 * up to the devices, and at the very top of the address space.
 */
#include "lib.h"

#define IMAGE_PAGES 16
/* So that the image's end, wherever the host has it, counts as its last page's. */
#define KERNBASE ((uint64_t)end - (uint64_t)IMAGE_PAGES * PGSIZE)

#include "kvm.h"
#include "memlayout.h"
#include "ram.h"

/* Its state is made once in a kernel's life: a case has to set it back, and so needs its names. */
#include "../../kern/ram.c" // NOLINT(bugprone-suspicious-include)

#define CASES  6000
#define PAGES  192 /* that a case looks at, from `base` on */
#define GRAIN  512 /* all numbers are multiples of this: odd ends enough for a page */
#define GRAINS (PAGES * PGSIZE / GRAIN)

char end[1];

static uint64_t seed, base;
static bool is_ram[GRAINS], is_reserved[PAGES];
static uint64_t lowest_limit, tables_end; /* tables_end: there the linear map's tables run out */
static uint64_t pages_mapped;
static int complaints;
static bool panic_expected;
static jmp_buf after_panic;

uint64_t
kvm_map_ram(uint64_t from, uint64_t to)
{
    assert_true(from < to && from % PGSIZE == 0 && to % PGSIZE == 0);
    uint64_t stop = MAX(from, MIN(to, tables_end));
    pages_mapped += (stop - from) / PGSIZE;
    return stop;
}

int
cprintf(const char *format, ...)
{
    (void)format;
    complaints++;
    return 0;
}

_Noreturn void
panic_at(const char *file, int line, const char *format, ...)
{
    (void)format;
    if (!panic_expected) {
        fail_msg("panic at %s:%d", file, line);
    }
    longjmp(after_panic, 1);
}

static void
start(uint64_t from)
{
    base = from;
    nbanks = nreserved = nusable = 0;
    memset(usable_ranges, 0, sizeof(usable_ranges));
    limit = lowest_limit = DEVICES_PA;
    phystop = 0;
    tables_end = UINT64_MAX;
    pages_mapped = 0;
    complaints = 0;
    memset(is_ram, 0, sizeof(is_ram));
    memset(is_reserved, 0, sizeof(is_reserved));
}

/* Does a range of the model cover [at, at + n)? Empty ranges, and those that wrap, cover nothing. */
static bool
covers(uint64_t from, uint64_t to, uint64_t at, uint64_t n)
{
    return from < to && from <= at && to - 1 >= at + (n - 1);
}

static bool
overlaps(uint64_t from, uint64_t to, uint64_t at, uint64_t n)
{
    return from < to && from <= at + (n - 1) && to > at;
}

static void
add(uint64_t from, uint64_t to)
{
    int before = complaints;
    size_t runs = 0;
    bool with[GRAINS];

    for (size_t i = 0; i < GRAINS; i++) {
        with[i] = is_ram[i] || covers(from, to, base + i * GRAIN, GRAIN);
        runs += with[i] && (i == 0 || !with[i - 1]);
    }
    ram_add(from, to);
    /* It may be left out only where there is no room for it. */
    if (complaints != before) {
        assert_true(runs > BANKS_MAX);
    } else {
        memcpy(is_ram, with, sizeof(is_ram));
    }
}

static void
reserve(uint64_t from, uint64_t to)
{
    ram_reserve(from, to);
    for (size_t i = 0; i < PAGES; i++) {
        is_reserved[i] = is_reserved[i] || overlaps(from, to, base + i * PGSIZE, PGSIZE);
    }
}

static void
set_limit(uint64_t to)
{
    ram_limit(to);
    lowest_limit = MIN(lowest_limit, to);
}

/* Is page i RAM that the linear map reaches? */
static bool
bank_page(size_t i)
{
    uint64_t pa = base + i * PGSIZE;

    for (size_t j = 0; j < PGSIZE / GRAIN; j++) {
        if (!is_ram[i * (PGSIZE / GRAIN) + j]) {
            return false;
        }
    }
    return covers(0, lowest_limit, pa, PGSIZE) && covers(0, tables_end, pa, PGSIZE);
}

static bool
usable_page(size_t i)
{
    return bank_page(i) && !is_reserved[i]
        && !overlaps(0, (uint64_t)IMAGE_PAGES * PGSIZE, base + i * PGSIZE, PGSIZE);
}

/* Are the usable ranges what the model says? */
static void
check_usable(void)
{
    static bool listed[PAGES];
    size_t n;
    const struct range *r = ram_usable(&n);

    memset(listed, 0, sizeof(listed));
    for (size_t i = 0; i < n; i++) {
        assert_true(r[i].start < r[i].end && r[i].start % PGSIZE == 0 && r[i].end % PGSIZE == 0);
        assert_true(i == 0 || r[i].start > r[i - 1].end);
        for (uint64_t pa = r[i].start; pa < r[i].end; pa += PGSIZE) {
            assert_true(pa >= base && (pa - base) / PGSIZE < PAGES);
            listed[(pa - base) / PGSIZE] = true;
        }
    }
    assert_ptr_equal(r, usable_ranges);
    assert_int_equal(usable_ranges[n].end, 0);
    for (size_t i = 0; i < PAGES; i++) {
        uint64_t pa = base + i * PGSIZE;
        assert_int_equal(listed[i], usable_page(i));
        assert_int_equal(page_owned(pa), listed[i]);
        assert_int_equal(page_owned(pa + PGSIZE - 1), listed[i]);
    }
}

/* Are the banks what the model says, less what is not mapped? */
static void
check_banks(void)
{
    size_t n, listed = 0, pages = 0;
    const struct range *r = ram_banks(&n);

    for (size_t i = 0; i < n; i++) {
        assert_true(r[i].start < r[i].end && r[i].start % PGSIZE == 0 && r[i].end % PGSIZE == 0);
        assert_true(i == 0 || r[i].start > r[i - 1].end);
        for (uint64_t pa = r[i].start; pa < r[i].end; pa += PGSIZE) {
            assert_true(pa >= base && (pa - base) / PGSIZE < PAGES);
            assert_true(bank_page((pa - base) / PGSIZE));
            listed++;
        }
    }
    for (size_t i = 0; i < PAGES; i++) {
        pages += bank_page(i);
    }
    assert_int_equal(listed, pages);
}

static uint64_t somewhere(void);

static void
check(void)
{
    uint64_t highest = 0, mapped = 0;

    ram_init();
    check_banks();
    check_usable();
    for (size_t i = 0; i < PAGES; i++) {
        mapped += bank_page(i);
        highest = bank_page(i) ? base + (i + 1) * PGSIZE : highest;
    }
    assert_int_equal(phystop, highest);
    assert_int_equal(pages_mapped, mapped);

    for (int i = 0; i < 50; i++) {
        uint64_t first = random_below(&seed, PAGES), length = random_below(&seed, 4) * GRAIN;
        uint64_t pa = base + first * PGSIZE + random_below(&seed, 8) * GRAIN;
        uint64_t last = pa + (length ? length - 1 : 0);
        bool holds = last / PGSIZE - base / PGSIZE < PAGES && bank_page(first)
                  && bank_page((last - base) / PGSIZE);
        bool image = covers(0, (uint64_t)IMAGE_PAGES * PGSIZE, pa, length ? length : 1);
        assert_int_equal(ram_holds(pa, length), holds || image);
    }

    /* What the kernel keeps for itself later: anything, even what is in use, or no RAM, or nothing. */
    for (uint64_t i = random_below(&seed, 4); i > 0; i--) {
        uint64_t from = somewhere(), to = from + random_below(&seed, 40) * GRAIN;
        ram_withdraw(from, to);
        for (size_t j = 0; j < PAGES; j++) {
            is_reserved[j] = is_reserved[j] || overlaps(from, to, base + j * PGSIZE, PGSIZE);
        }
        check_banks();
        check_usable();
    }
}

static uint64_t
somewhere(void)
{
    return base + random_below(&seed, GRAINS) * GRAIN;
}

static void
random_banks_and_reservations(void **state)
{
    static const uint64_t bases[] = {0, 0, DEVICES_PA - PAGES / 2 * PGSIZE, 0x10000000};

    (void)state;
    for (int i = 0; i < CASES; i++) {
        seed = (uint64_t)i;
        start(bases[random_below(&seed, ARRAY_SIZE(bases))]);
        uint64_t banks_wanted = random_below(&seed, 30), reservations = random_below(&seed, 40);
        uint64_t longest = 1 + random_below(&seed, random_below(&seed, 2) ? 40 : GRAINS);
        while (banks_wanted + reservations > 0) {
            uint64_t from = somewhere(), to = from + random_below(&seed, longest) * GRAIN;
            to = MIN(to, base + (uint64_t)PAGES * PGSIZE);
            if (random_below(&seed, banks_wanted + reservations) < banks_wanted) {
                banks_wanted--;
                add(from, to);
            } else {
                reservations--;
                reserve(from, to);
            }
        }
        if (random_below(&seed, 3) == 0) {
            set_limit(somewhere());
        }
        if (random_below(&seed, 3) == 0) {
            tables_end = somewhere() / PGSIZE * PGSIZE;
        }
        check();
    }
}

/* Numbers that no memory map should have, and some have. */
static void
ranges_that_make_no_sense(void **state)
{
    (void)state;
    start(0);
    add(0, 0x60000);
    add(0x50000, 0x40000);
    add(UINT64_MAX - 5, 3);
    add(0x60000, 0x60000);
    reserve(0x50000, 0x50000);
    reserve(0x50000, 0x40000);
    reserve(UINT64_MAX, 7);
    reserve(UINT64_MAX - 1, UINT64_MAX);
    check();

    start(0);
    add(0, 0x60000);
    reserve(0x30001, UINT64_MAX); /* to the very top: what is left ends at 0x30000 */
    check();

    start(0);
    add(0x1000, 0x60000);
    reserve(0x20fff, 0x21001); /* a byte of each of two pages */
    check();

    start(0);
    add(0x20001, 0x22fff); /* one whole page */
    is_ram[0x20000 / GRAIN] = is_ram[0x22e00 / GRAIN] = false;
    check();

    start(0);
    set_limit(0);
    add(0, 0x60000);
    check();

    start(DEVICES_PA - PAGES / 2 * PGSIZE);
    add(0, 0);
    add(DEVICES_PA - PGSIZE, UINT64_MAX); /* 16 EiB, of which the machine has a page */
    check();
}

/* One more is refused, and nothing is lost. */
static void
too_many_banks(void **state)
{
    (void)state;
    start(0x10000000);
    for (uint64_t i = 0; i < BANKS_MAX; i++) {
        add(base + (2 * i + 2) * PGSIZE, base + (2 * i + 3) * PGSIZE);
    }
    assert_int_equal(complaints, 0);
    add(base, base + PGSIZE);
    assert_int_equal(complaints, 1);
    add(base + 3 * PGSIZE, base + 4 * PGSIZE); /* joins two: now there is room */
    assert_int_equal(complaints, 1);
    add(base, base + PGSIZE);
    assert_int_equal(complaints, 1);
    check();
}

/* A reservation must not get lost: somebody's memory would be handed out. */
static void
too_many_reservations(void **state)
{
    (void)state;
    start(0x10000000);
    for (uint64_t i = 0; i < RESERVED_MAX; i++) {
        ram_reserve(base + 2 * i * PGSIZE, base + (2 * i + 1) * PGSIZE);
    }
    panic_expected = true;
    if (setjmp(after_panic) == 0) {
        ram_reserve(base - 2 * PGSIZE, base - PGSIZE);
        fail_msg("reservation %d was accepted", RESERVED_MAX + 1);
    }
    panic_expected = false;
    ram_reserve(base, base + 2 * PGSIZE); /* joins two */
    ram_reserve(base - 2 * PGSIZE, base - PGSIZE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_banks_and_reservations),
        cmocka_unit_test(ranges_that_make_no_sense),
        cmocka_unit_test(too_many_banks),
        cmocka_unit_test(too_many_reservations),
    };

    return cmocka_run_group_tests_name("ram", tests, NULL, NULL);
}
