/*
 * What the memmap should hold, bit by bit, and the comparison with what it does hold.
 */
#include "check.h"
#include "errno.h"
#include "lab3.h"
#include "memmap.h"
#include "printf.h"
#include "string.h"

#define WORD_BITS 64
#define WORDS     (MEMMAP_FRAMES / WORD_BITS)

static struct {
    uint64_t first;
    size_t n;
    uint64_t used[WORDS], reserved[WORDS];
} model;

const char *
error_text(int error)
{
    static char text[4][16];
    static unsigned turn;
    char *number = text[turn++ % 4];

    if (error == -EINVAL)
        return "-EINVAL";
    if (error == -EBUSY)
        return "-EBUSY";
    if (error == -ENOMEM)
        return "-ENOMEM";
    snprintf(number, sizeof(text[0]), "%d", error);
    return number;
}

uint64_t
map_any_frame(void)
{
    switch (check_random_below(4)) {
    case 0:
        return 1 + check_random_below(1000);
    case 1:
        return 0x40 * (1 + check_random_below(0x1000));
    case 2:
        return 1 + check_random_below(0x40000);
    default:
        return 1 + check_random_below(1UL << 40);
    }
}

size_t
map_any_length(void)
{
    static const size_t lengths[] = {1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129};
    uint64_t pick = check_random_below(ARRAY_SIZE(lengths) + 5);

    return pick < ARRAY_SIZE(lengths) ? lengths[pick] : 1 + check_random_below(400);
}

void
need_memmap_init(void)
{
    check_doing("memmap_init(0x400000, 0x480000)");
    int result = memmap_init(0x400000, 0x480000);
    EXPECT(result == 0, "expected 0, found %s: write memmap_init in kern/memmap.c",
           error_text(result));
    const struct memmap *map = memmap_get();
    EXPECT(map->bitmap && (uint64_t)map->bitmap % 8 == 0 && map->reserved
               && (uint64_t)map->reserved % 8 == 0,
           "expected bitmap and reserved at multiples of 8, found them at %p and %p",
           (void *)map->bitmap, (void *)map->reserved);
}

void
map_describe(uint64_t first, size_t n)
{
    model.first = first;
    model.n = MIN(n, (size_t)MEMMAP_FRAMES);
    memset(model.used, 0xff, sizeof(model.used));
    memset(model.used, 0, model.n / 8);
    if (model.n % WORD_BITS != 0)
        model.used[model.n / WORD_BITS] = UINT64_MAX << model.n % WORD_BITS;
    if (first == 0)
        model.used[0] |= 1;
    memcpy(model.reserved, model.used, sizeof(model.used));
}

void
map_start(uint64_t first, size_t n)
{
    uint64_t start = first * PGSIZE, stop = (first + n) * PGSIZE;

    check_doing("memmap_init(0x%lx, 0x%lx)", start, stop);
    int result = memmap_init(start, stop);
    EXPECT(result == 0, "expected 0, found %s", error_text(result));
    map_describe(first, n);
    map_check();
}

static void
put_bit(uint8_t *found, uint64_t *wanted, size_t i, bool value)
{
    uint8_t bit = (uint8_t)(1U << i % 8);
    uint64_t word = 1UL << i % WORD_BITS;

    if (value) {
        found[i / 8] |= bit;
        wanted[i / WORD_BITS] |= word;
    } else {
        found[i / 8] &= (uint8_t)~bit;
        wanted[i / WORD_BITS] &= ~word;
    }
}

void
map_put(size_t i, bool used, bool reserved)
{
    const struct memmap *map = memmap_get();

    put_bit(map->bitmap, model.used, i, used);
    put_bit(map->reserved, model.reserved, i, reserved);
}

void
map_random(unsigned percent)
{
    for (size_t i = 0; i < model.n; i++) {
        bool used = check_random_below(100) < percent;
        if (i > 0 || model.first > 0)
            map_put(i, used, used && check_random() % 4 == 0);
    }
}

void
map_take(size_t i, size_t n)
{
    if (i % 8 == 0) { /* whole bytes at once: it may be all of the map */
        memset((uint8_t *)model.used + i / 8, 0xff, n / 8);
        i += n - n % 8;
        n %= 8;
    }
    for (; n > 0; i++, n--)
        model.used[i / WORD_BITS] |= 1UL << i % WORD_BITS;
}

void
map_reserve(size_t i, size_t n)
{
    map_take(i, n);
    for (; n > 0; i++, n--)
        model.reserved[i / WORD_BITS] |= 1UL << i % WORD_BITS;
}

void
map_give(size_t i)
{
    model.used[i / WORD_BITS] &= ~(1UL << i % WORD_BITS);
}

bool
map_is_free(size_t i)
{
    return !(model.used[i / WORD_BITS] >> i % WORD_BITS & 1);
}

bool
map_is_reserved(size_t i)
{
    return model.reserved[i / WORD_BITS] >> i % WORD_BITS & 1;
}

size_t
map_frames(void)
{
    return model.n;
}

uint64_t
map_pa(size_t i)
{
    return (model.first + i) * PGSIZE;
}

/* ---- comparing ---- */

static void
wrong_bit(const char *name, size_t i, bool wanted)
{
    EXPECT(i < model.n,
           "%s: expected bit %lu, which lies behind the last frame, to be %d, found %d", name, i,
           wanted, !wanted);
    EXPECT(false, "%s: expected bit %lu, of the frame at 0x%lx, to be %d, found %d", name, i,
           map_pa(i), wanted, !wanted);
}

/* The first word that is not as it should be, or n. Not for UBSan, which would take most of the time. */
__attribute__((no_sanitize("undefined"))) static size_t
first_wrong(const uint64_t *found, const uint64_t *wanted, size_t n)
{
    size_t i = 0;

    while (i < n && found[i] == wanted[i])
        i++;
    return i;
}

static void
check_bits(const char *name, const void *bits, const uint64_t *wanted, size_t nwords)
{
    const uint64_t *found = bits;

    size_t i = first_wrong(found, wanted, nwords);

    if (i < nwords) {
        unsigned bit = (unsigned)__builtin_ctzl(found[i] ^ wanted[i]);
        wrong_bit(name, i * WORD_BITS + bit, wanted[i] >> bit & 1);
    }
}

static void
check_words(size_t nwords)
{
    const struct memmap *map = memmap_get();
    uint64_t start = map_pa(0), stop = map_pa(model.n);

    EXPECT(map->start_frame == model.first, "start_frame: expected 0x%lx, found 0x%lx", model.first,
           map->start_frame);
    EXPECT(map->max_frames == model.n, "max_frames: expected %lu, found %lu", model.n,
           map->max_frames);
    EXPECT(map->start_addr == start, "start_addr: expected 0x%lx, found 0x%lx", start,
           map->start_addr);
    EXPECT(map->end_addr == stop, "end_addr: expected 0x%lx, found 0x%lx", stop, map->end_addr);
    check_bits("bitmap", map->bitmap, model.used, nwords);
    check_bits("reserved", map->reserved, model.reserved, nwords);
}

void
map_check(void)
{
    check_words(MIN(model.n / WORD_BITS + 2, (size_t)WORDS));
}

void
map_check_all(void)
{
    check_words(WORDS);
}
