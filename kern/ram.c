/*
 * The map of physical memory: the banks that the firmware reports, less what is in use. Everything
 * that hands out memory starts from here.
 */
#include "ram.h"
#include "console.h"
#include "kvm.h"
#include "memlayout.h"

#define BANKS_MAX    16
#define RESERVED_MAX 160

uint64_t phystop;

static struct range banks[BANKS_MAX], reserved[RESERVED_MAX];
struct range usable_ranges[BANKS_MAX + RESERVED_MAX + 1]; /* an empty one at the end */
static size_t nbanks, nreserved, nusable;
static uint64_t limit = DEVICES_PA; /* nothing above is RAM on this machine */

/*
 * Insert r into a sorted list of disjoint ranges, merging what touches. Returns the new length, or
 * max + 1 when there is no room.
 */
static size_t
insert(struct range list[], size_t n, size_t max, struct range r)
{
    size_t from = 0, to;

    while (from < n && list[from].end < r.start)
        from++;
    for (to = from; to < n && list[to].start <= r.end; to++) {
        r.start = MIN(r.start, list[to].start);
        r.end = MAX(r.end, list[to].end);
    }
    /* list[from .. to) becomes r alone. */
    size_t left = n - (to - from) + 1;
    if (left > max)
        return max + 1;
    if (to == from)
        for (size_t i = n; i > from; i--)
            list[i] = list[i - 1];
    else
        for (size_t i = to; i < n; i++)
            list[from + 1 + i - to] = list[i];
    list[from] = r;
    return left;
}

void
ram_add(uint64_t start, uint64_t stop)
{
    if (start >= stop)
        return;
    size_t n = insert(banks, nbanks, BANKS_MAX, (struct range){start, stop});
    if (n > BANKS_MAX)
        cprintf("Memory: more than %d banks; not using %lx-%lx\n", BANKS_MAX, start, stop);
    else
        nbanks = n;
}

void
ram_reserve(uint64_t start, uint64_t stop)
{
    if (start >= stop)
        return;
    /* Whole pages, and without wrapping at the top. */
    struct range r = {ROUNDDOWN(start, PGSIZE), stop};
    if (stop <= UINT64_MAX - PGSIZE)
        r.end = ROUNDUP(stop, PGSIZE);
    size_t n = insert(reserved, nreserved, RESERVED_MAX, r);
    if (n > RESERVED_MAX)
        panic("more than %d memory reservations: raise RESERVED_MAX", RESERVED_MAX);
    nreserved = n;
}

void
ram_limit(uint64_t new_limit)
{
    limit = MIN(limit, ROUNDDOWN(new_limit, PGSIZE));
}

/* Clip the banks to whole pages below the limit, and put what of them is mapped into the linear map. */
static void
map_banks(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < nbanks; i++) {
        struct range bank = {ROUNDUP(banks[i].start, PGSIZE), ROUNDDOWN(banks[i].end, PGSIZE)};
        if (bank.end > limit) {
            cprintf("Memory: not using %lx-%lx\n", MAX(bank.start, limit), bank.end);
            bank.end = limit;
        }
        if (bank.start >= bank.end)
            continue;
        uint64_t mapped = kvm_map_ram(bank.start, bank.end);
        if (mapped < bank.end) {
            cprintf("Memory: not using %lx-%lx, no page tables left\n", mapped, bank.end);
            bank.end = mapped;
        }
        if (bank.start >= bank.end)
            continue;
        phystop = MAX(phystop, bank.end);
        banks[kept++] = bank;
    }
    nbanks = kept;
}

/* usable = banks less reserved; both are sorted. */
static void
find_usable(void)
{
    for (size_t i = 0; i < nbanks; i++) {
        uint64_t at = banks[i].start;
        for (size_t j = 0; j < nreserved && at < banks[i].end; j++) {
            if (reserved[j].end <= at)
                continue;
            if (reserved[j].start >= banks[i].end)
                break;
            if (reserved[j].start > at)
                usable_ranges[nusable++] = (struct range){at, reserved[j].start};
            at = reserved[j].end;
        }
        if (at < banks[i].end)
            usable_ranges[nusable++] = (struct range){at, banks[i].end};
    }
}

void
ram_init(void)
{
    uint64_t total = 0, pages = 0;

    ram_reserve(0, V2P(end)); /* spin table, ATAGs and the image */
    map_banks();
    find_usable();
    for (size_t i = 0; i < nbanks; i++)
        total += banks[i].end - banks[i].start;
    for (size_t i = 0; i < nusable; i++)
        pages += (usable_ranges[i].end - usable_ranges[i].start) / PGSIZE;
    cprintf("Memory: %lu MiB, %lu pages usable, up to %lx\n", total >> 20, pages, phystop);
}

bool
ram_holds(uint64_t pa, uint64_t n)
{
    for (size_t i = 0; i < nbanks; i++)
        if (pa >= banks[i].start && pa < banks[i].end && n <= banks[i].end - pa)
            return true;
    return pa < V2P(end) && n <= V2P(end) - pa; /* the image, whatever the firmware says */
}

#if LAB >= 3
const struct range *
ram_banks(size_t *n)
{
    *n = nbanks;
    return banks;
}
#endif

void
ram_withdraw(uint64_t start, uint64_t stop)
{
    ram_reserve(start, stop);
    nusable = 0;
    find_usable();
    usable_ranges[nusable] = (struct range){0, 0};
}

const struct range *
ram_usable(size_t *n)
{
    *n = nusable;
    return usable_ranges;
}
