/*
 * libFuzzer on memmap, pmm and kalloc: the input is a set of banks and reservations, a sequence of calls before
 * the pmm takes over, and one after it; arguments are values at which something may happen. bitmap.c and
 * pages.c judge.
 */
#include <string.h>

#include "bitmap.h"
#include "frames.h"
#include "kalloc.h"
#include "pages.h"

#define WINDOW    1024 /* pages in which the banks are: more than the memmap has room for */
#define LARGEST   (1UL << (PMM_ORDERS - 1))
#define CALLS_MAX 100

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const uint8_t *input, *input_end;
static uint64_t base;

static uint8_t
byte(void)
{
    return input < input_end ? *input++ : 0;
}

static uint64_t
any_number(void)
{
    uint64_t n = 0;

    for (int i = 0; i < 8; i++) {
        n = n << 8 | byte();
    }
    return n;
}

/* An address in the window, mostly a frame's; now and then any number, or an edge of all there are. */
static uint64_t
address(void)
{
    static const uint64_t edges[] = {
        0, 1, PGSIZE, UINT64_MAX, UINT64_MAX - PGSIZE + 1, 1UL << 52, 1UL << 63};
    uint8_t how = byte();

    if (how >= 250) {
        return any_number();
    }
    if (how >= 240) {
        return edges[how % ARRAY_SIZE(edges)];
    }
    uint64_t pa = base + (byte() | (how & 3u) << 8) * PGSIZE;
    return how >= 220 ? pa + (uint64_t)byte() * 17 - PGSIZE / 2 : pa;
}

/* A number of pages. */
static size_t
count(void)
{
    static const size_t edges[] = {SIZE_MAX, SIZE_MAX / PGSIZE, SIZE_MAX / PGSIZE + 1, 1UL << 63};
    uint8_t how = byte();

    if (how >= 250) {
        return any_number();
    }
    return how >= 240 ? edges[how % ARRAY_SIZE(edges)] : how >= 200 ? how * 5u : how / 4;
}

/* An order, right or nearly so. */
static unsigned
order(void)
{
    uint8_t how = byte();

    return how >= 250 ? (unsigned)any_number() : how % (PMM_ORDERS + 1);
}

static void
banks(void)
{
    static const uint64_t bases[] = {0, 0x40000000, 0x40000000 - 7 * PGSIZE, 0xfff8000000};

    base = bases[byte() % ARRAY_SIZE(bases)];
    pool_start(base, WINDOW * PGSIZE, true);
    for (int n = byte() % 20; n > 0; n--) {
        uint64_t start = base + (byte() | (byte() & 3u) << 8) * PGSIZE + byte() % 4 * 1111;
        uint64_t size = byte() % 8 ? byte() * PGSIZE / 4 : byte() * 16UL * PGSIZE;
        pool_bank(start, MIN(start + size, base + WINDOW * PGSIZE));
    }
    for (int n = byte() % 24; n > 0; n--) {
        uint64_t start = base + (byte() | (byte() & 3u) << 8) * PGSIZE + byte() % 4 * 1111;
        pool_reserve(start, start + byte() % 32 * (PGSIZE / 2));
    }
    pool_banks_done();
}

/* The memmap, as kern/frames.c makes it; then calls of it. False: there is no RAM. */
static bool
early_calls(void)
{
    size_t n;
    const struct range *bank = ram_banks(&n);

    if (n == 0 || !bitmap_init(bank[0].start, phystop)) {
        return false;
    }
    uint64_t at = bank[0].start;
    for (const struct range *r = usable_ranges; r->end != 0; r++) {
        bitmap_reserve(at, r->start);
        at = r->end;
    }
    bitmap_reserve(at, phystop);
    bitmap_check();
    for (int i = byte() % 40; i > 0; i--) {
        switch (byte() % 6) {
        case 0:
            bitmap_alloc(1, true);
            break;
        case 1:
            bitmap_alloc(count(), false);
            break;
        case 2: {
            uint64_t start = address();
            bitmap_reserve(start, byte() % 2 ? address() : start + byte() % 20 * (PGSIZE / 2));
            break;
        }
        case 3: /* a map that is no map changes nothing */
            at = address();
            bitmap_init(at, at - at % PGSIZE + byte() % 2);
            break;
        default:
            bitmap_free(address());
            break;
        }
    }
    bitmap_check();
    return true;
}

static void
late_call(void)
{
    uint64_t pa;

    switch (byte() % 16) {
    case 0:
    case 1:
    case 2:
        pages_alloc(order());
        break;
    case 3:
        pa = address();
        pages_free(pa, order());
        break;
    case 4: /* a block that there is */
        pa = address();
        if (frame_index(P2V(pa)) < pages.n && pages.kind[frame_index(P2V(pa))] == PAGE_USED) {
            size_t head = pages.head[frame_index(P2V(pa))];
            pages_free(pool_pa(head), pages.order[head] + (byte() == 255));
        }
        break;
    case 5:
    case 6:
        pa = address();
        pages_free_range(pa, count());
        break;
    case 7:
        pages_share(address());
        break;
    case 8:
        pages_unshare(address());
        break;
    case 9:
    case 10:
        pages_kalloc();
        break;
    case 11:
        /* Single pages that were not handed out as such may be freed as well. */
        pages_kfree((char *)P2V(address()));
        break;
    case 12:
        pool_fail(byte() % 5);
        pages_refill();
        pool_fail(0);
        break;
    case 13:
        pages_drain(byte());
        break;
    case 14:
        pages_has_space(byte() % 8 ? MEM_FRAMES : MEM_HEAP, (size_t)PGSIZE * count() - byte() % 2);
        break;
    default: /* all of it in use, as blocks of one order */
        pages_thorough = false;
        for (unsigned o = byte() % PMM_ORDERS; pages_alloc(o) != 0;) {}
        pages_thorough = true;
        break;
    }
}

static bool
is_usable(uint64_t pa)
{
    return pa != 0;
}

static void
boot(void *unused)
{
    (void)unused;
    frames_init();
}

/* Everything is handed out to the pmm, or to kalloc; false: there is no room for the tables. */
static bool
take_over(bool early)
{
    struct range before[400];
    size_t n, nzones_before = nzones;
    const struct range *usable = ram_usable(&n);

    memcpy(before, usable, (n + 1) * sizeof(before[0]));
    if (early) {
        bool done = pmm_init();
        if (!done) {
            if (nzones != nzones_before || frames.n != 0 || frames.state
                || memcmp(before, usable_ranges, (n + 1) * sizeof(before[0])) != 0) {
                broken("pmm_init has failed, and yet something has changed");
            }
            return false;
        }
        pages_booted(bitmap_is_free);
    } else {
        /* Without a pmm, kalloc of this lab has nothing to work with. */
        const char *message = machine_panics(boot, NULL);
        if (message || nzones == 0) {
            return false;
        }
        pages_booted(is_usable);
        if (pages_adopt_cache() == 0) {
            if (pages_free_count() > 0) {
                broken("frames_init has nothing for kalloc");
            }
            return false; /* the tables have it all */
        }
    }
    for (uint64_t i = 0; i < WINDOW; i++) {
        if (memmap_is_free(base + i * PGSIZE)) {
            broken("the memmap still has a free frame at %#lx", (unsigned long)(base + i * PGSIZE));
        }
    }
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    input = bytes;
    input_end = bytes + size;
    pages_thorough = true;
    machine_explain = bitmap_explain;
    banks();
    bool early = byte() % 2;
    if (early && !early_calls()) {
        return 0;
    }
    machine_explain = NULL;
    if (!take_over(early)) {
        return 0;
    }
    pages_check();
    for (int i = 0; i < CALLS_MAX && input < input_end; i++) {
        late_call();
    }
    pages_free_all();
    pages_take_all();
    return 0;
}
