/*
 * The bitmap of page frames, for the time before the pmm.
 */
#include "memmap.h"
#include "errno.h"
#include "spinlock.h"
#include "string.h"

#define WORD 64 /* bits of the bitmaps that are looked at in one go */

static uint64_t used_bits[MEMMAP_FRAMES / WORD], reserved_bits[MEMMAP_FRAMES / WORD];
static struct memmap memmap = {.bitmap = (uint8_t *)used_bits,
                               .reserved = (uint8_t *)reserved_bits};
SPINLOCK(memmap_lock);

const struct memmap *
memmap_get(void)
{
    return &memmap;
}

bool
memmap_is_free(uint64_t pa)
{
    uint64_t i = pa / PGSIZE - memmap.start_frame;

    return i < memmap.max_frames && !(memmap.bitmap[i / 8] >> i % 8 & 1);
}

#if SOL >= 3
/* The bits [from, to) of one word, as a mask. Both lie in it, but to may be its end. */
static uint64_t
mask_of(uint64_t from, uint64_t to)
{
    return (to % WORD ? (1UL << to % WORD) - 1 : ~0UL) & ~0UL << from % WORD;
}

/* The end of the word that bit `from` is in, or `to` if that comes first. */
static uint64_t
word_end(uint64_t from, uint64_t to)
{
    return MIN(ROUNDDOWN(from, WORD) + WORD, to);
}

static void
set_bits(uint64_t *bits, uint64_t from, uint64_t to)
{
    for (uint64_t stop; from < to; from = stop) {
        stop = word_end(from, to);
        bits[from / WORD] |= mask_of(from, stop);
    }
}

/* The first bit in [from, to) that differs from those of `skip` (0 or ~0), or `to`. */
static uint64_t
find_bit(const uint64_t *bits, uint64_t from, uint64_t to, uint64_t skip)
{
    for (uint64_t stop; from < to; from = stop) {
        stop = word_end(from, to);
        uint64_t found = (bits[from / WORD] ^ skip) & mask_of(from, stop);
        if (found)
            return ROUNDDOWN(from, WORD) + (uint64_t)__builtin_ctzl(found);
    }
    return to;
}

/* The first run of n clear bits within [from, to), or `to`. */
static uint64_t
find_run(uint64_t from, uint64_t to, size_t n)
{
    while (n <= to - from) {
        uint64_t first = find_bit(used_bits, from, to, ~0UL);
        if (n > to - first)
            break;
        from = find_bit(used_bits, first, first + n, 0);
        if (from == first + n)
            return first;
    }
    return to;
}

static uint64_t
take_run(size_t n)
{
    uint64_t max = memmap.max_frames;
    uint64_t i = find_run(memmap.hint, max, n);

    if (i == max)
        i = find_run(0, max, n);
    if (i == max)
        return 0;
    set_bits(used_bits, i, i + n);
    memmap.hint = i + n;
    return (memmap.start_frame + i) * PGSIZE;
}
#endif

int
memmap_init(uint64_t start, uint64_t stop)
{
#if SOL >= 3
    uint64_t first = start / PGSIZE + (start % PGSIZE != 0), last = stop / PGSIZE;

    if (first >= last)
        return -EINVAL;
    uint64_t flags = spin_lock(&memmap_lock);
    uint64_t n = MIN(last - first, (uint64_t)MEMMAP_FRAMES);

    memmap.start_frame = first;
    memmap.max_frames = n;
    memmap.start_addr = first * PGSIZE;
    memmap.end_addr = (first + n) * PGSIZE;
    memmap.hint = 0;
    memset(used_bits, 0, sizeof(used_bits));
    set_bits(used_bits, n, MEMMAP_FRAMES);
    if (first == 0)
        used_bits[0] |= 1;
    memcpy(reserved_bits, used_bits, sizeof(used_bits));
    spin_unlock(&memmap_lock, flags);
    return 0;
#else
    /* Lab 3: your code here. */
    (void)start, (void)stop;
    return -EINVAL;
#endif
}

void
memmap_reserve(uint64_t start, uint64_t stop)
{
#if SOL >= 3
    uint64_t flags = spin_lock(&memmap_lock);
    uint64_t from = MAX(start, memmap.start_addr), to = MIN(stop, memmap.end_addr);

    if (start < stop && from < to) {
        from = from / PGSIZE - memmap.start_frame;
        to = to / PGSIZE + (to % PGSIZE != 0) - memmap.start_frame;
        set_bits(used_bits, from, to);
        set_bits(reserved_bits, from, to);
    }
    spin_unlock(&memmap_lock, flags);
#else
    /* Lab 3: your code here. */
    (void)start, (void)stop;
#endif
}

uint64_t
alloc_frame(void)
{
#if SOL >= 3
    return alloc_frames(1);
#else
    /* Lab 3: your code here. */
    return 0;
#endif
}

uint64_t
alloc_frames(size_t n)
{
#if SOL >= 3
    if (n == 0)
        return 0;
    uint64_t flags = spin_lock(&memmap_lock);
    uint64_t pa = take_run(n);
    spin_unlock(&memmap_lock, flags);
    return pa;
#else
    /* Lab 3: your code here. */
    (void)n;
    return 0;
#endif
}

int
free_frame(uint64_t pa)
{
#if SOL >= 3
    uint64_t i = pa / PGSIZE - memmap.start_frame, bit = 1UL << i % WORD;
    int error = -EINVAL;

    uint64_t flags = spin_lock(&memmap_lock);
    if (pa % PGSIZE == 0 && i < memmap.max_frames && (used_bits[i / WORD] & bit)
        && !(reserved_bits[i / WORD] & bit)) {
        used_bits[i / WORD] &= ~bit;
        error = 0;
    }
    spin_unlock(&memmap_lock, flags);
    return error;
#else
    /* Lab 3: your code here. */
    (void)pa;
    return -EINVAL;
#endif
}
