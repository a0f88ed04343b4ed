/*
 * Imaginary machines: whose each frame should be.
 */
#include "check.h"
#include "machine.h"
#include "string.h"

struct model model;

/* From now on the n frames from i on are this, and have this state. */
static void
put(size_t i, size_t n, uint8_t is, uint8_t state)
{
    memset(&model.is[i], is, n);
    memset(&model.state[i], state, n);
    for (size_t block = i / BLOCK_FRAMES; n > 0 && block <= (i + n - 1) / BLOCK_FRAMES; block++)
        model.changed[block] = true;
}

void
model_begin(uint64_t base, size_t blocks)
{
    model.base = base;
    model.n = blocks * BLOCK_FRAMES;
    model.nbanks = model.nshared = 0;
    put(0, model.n, IS_HOLE, FRAME_NONE);
}

void
machine_bank(size_t first, size_t n)
{
    struct bank *bank = &model.bank[model.nbanks++];

    EXPECT(model.nbanks <= BANKS_MAX && first + n <= model.n,
           "a mistake in the check itself: bank");
    *bank = (struct bank){.first = first, .n = n, .base = ROUNDDOWN(first, BLOCK_FRAMES)};
    put(first, n, IS_RESERVED, FRAME_NONE);
}

/* A shared block begins at frame i: its users will be looked at. */
static void
remember_shared(size_t i)
{
    for (size_t n = 0; n < model.nshared; n++)
        if (model.shared[n] == i)
            return;
    EXPECT(model.nshared < SHARED_MAX, "a mistake in the check itself: SHARED_MAX is too small");
    model.shared[model.nshared++] = i;
}

void
machine_put(size_t i, unsigned order, uint8_t kind)
{
    size_t n = 1UL << order;

    if (kind == IS_FREE || kind == IS_RESERVED) {
        put(i, n, kind, FRAME_NONE);
        return;
    }
    put(i, n, IS_INSIDE, FRAME_NONE);
    model.is[i] = model.state[i] = (uint8_t)(kind + order);
    model.users[i] = 2;
    if (kind == FRAME_SHARED)
        remember_shared(i);
}

void
machine_put_users(size_t i, unsigned users)
{
    model.users[i] = users;
}

unsigned
machine_users(size_t i)
{
    return model.users[i];
}

/* The order of the largest block that can begin at frame i and ends before or at `stop`. */
UNCHECKED static inline unsigned
largest(size_t i, size_t stop)
{
    unsigned aligned = (unsigned)__builtin_ctzl(i | BLOCK_FRAMES);
    unsigned room = 63 - (unsigned)__builtin_clzl(stop - i);

    return MIN(aligned, room);
}

void
machine_put_free(size_t i, size_t n)
{
    put(i, n, IS_FREE, FRAME_NONE);
}

void
machine_put_used(size_t i, size_t n)
{
    for (size_t stop = i + n; i < stop;) {
        unsigned order = largest(i, stop);
        machine_put(i, order, FRAME_USED);
        i += 1UL << order;
    }
}

void
machine_random(size_t which, unsigned max, unsigned free, unsigned reserved)
{
    const struct bank *bank = &model.bank[which];
    size_t stop = bank->first + bank->n;

    for (size_t i = bank->first; i < stop;) {
        unsigned order = (unsigned)check_random_below(max + 1), most = largest(i, stop);
        order = MIN(order, most);
        uint64_t percent = check_random_below(100);
        machine_put(i, order,
                    percent < free              ? IS_FREE
                    : percent < free + reserved ? IS_RESERVED
                                                : FRAME_USED);
        i += 1UL << order;
    }
}

/* ---- what the model says ---- */

uint8_t
machine_is(size_t i)
{
    return i < model.n ? model.is[i] : IS_HOLE;
}

size_t
machine_frames(void)
{
    return model.n;
}

uint64_t
machine_pa(size_t i)
{
    return model.base + i * PGSIZE;
}

/* Does a block that is in use, or cached, begin at frame i? */
static bool
begins(size_t i)
{
    return model.is[i] != IS_FREE && model.is[i] < IS_HOLE;
}

size_t
machine_block(size_t i, unsigned *order)
{
    size_t first = i, stop = i;

    if (model.is[i] != IS_FREE) {
        while (!begins(first))
            first--;
        *order = FRAME_ORDER(model.is[first]);
        return first;
    }
    while (first > 0 && model.is[first - 1] == IS_FREE)
        first--;
    while (stop < model.n && model.is[stop] == IS_FREE)
        stop++;
    while (first + (1UL << (*order = largest(first, stop))) <= i)
        first += 1UL << *order;
    return first;
}

size_t
machine_free(void)
{
    size_t n = 0;

    for (size_t i = 0; i < model.nbanks; i++)
        n += model.bank[i].free;
    return n;
}

size_t
machine_free_blocks(size_t zone, unsigned order)
{
    return model.bank[zone].blocks[order];
}

/* The first frame from `from` on of which the model says one of the n things from `is` on, or `stop`. */
UNCHECKED static size_t
find(size_t from, size_t stop, unsigned is, unsigned n)
{
    while (from < stop && model.is[from] - is >= n)
        from++;
    return from;
}

static bool
pick(unsigned is, unsigned n, size_t *found)
{
    size_t from = check_random_below(model.n);

    *found = find(from, model.n, is, n);
    if (*found == model.n)
        *found = find(0, from, is, n);
    return model.is[*found] - is < n;
}

bool
machine_pick(uint8_t is, size_t *i)
{
    return pick(is, 1, i);
}

bool
machine_pick_used(size_t *i)
{
    return pick(FRAME_USED, PMM_ORDERS, i);
}

/* ---- the free blocks ---- */

#define EACH_BYTE 0x0101010101010101UL

/* Is none of eight frames free (all of them)? `eight` is what the model says of them. */
static inline bool
none_free(uint64_t eight)
{
    uint64_t zero = eight ^ IS_FREE * EACH_BYTE; /* a byte that is 0 is a free frame */

    return ((zero - EACH_BYTE) & ~zero & 0x80 * EACH_BYTE) == 0;
}

static inline bool
all_free(uint64_t eight)
{
    return eight == IS_FREE * EACH_BYTE;
}

/* The first frame from i on that is free (or is not), or `stop`. */
UNCHECKED static size_t
skip(size_t i, size_t stop, bool free)
{
    while (i < stop && (model.is[i] == IS_FREE) == free) {
        const uint64_t *eight = (const uint64_t *)(const void *)&model.is[i];
        if (i % 8 == 0 && i + 8 <= stop && (free ? all_free(*eight) : none_free(*eight)))
            i += 8;
        else
            i++;
    }
    return i;
}

/* The free blocks of a bank from frame i on, up to frame stop. */
UNCHECKED static void
find_free(size_t i, size_t stop, uint16_t blocks[PMM_ORDERS])
{
    while ((i = skip(i, stop, false)) < stop) {
        size_t after = skip(i, stop, true);
        memset(&model.state[i], FRAME_NONE, after - i);
        while (i < after) {
            unsigned order = largest(i, after);
            model.state[i] = (uint8_t)(FRAME_FREE + order);
            blocks[order]++;
            i += 1UL << order;
        }
    }
}

UNCHECKED void
model_update(void)
{
    for (size_t block = 0; block < model.n / BLOCK_FRAMES; block++) {
        size_t first = block * BLOCK_FRAMES;
        if (!model.changed[block])
            continue;
        model.changed[block] = false;
        memset(model.blocks[block], 0, sizeof(model.blocks[block]));
        for (size_t i = 0; i < model.nbanks; i++) {
            const struct bank *bank = &model.bank[i];
            find_free(MAX(first, bank->first), MIN(first + BLOCK_FRAMES, bank->first + bank->n),
                      model.blocks[block][i]);
        }
    }
    for (size_t i = 0; i < model.nbanks; i++) {
        struct bank *bank = &model.bank[i];
        bank->free = 0;
        for (unsigned order = 0; order < PMM_ORDERS; order++) {
            bank->blocks[order] = 0;
            for (size_t block = 0; block < model.n / BLOCK_FRAMES; block++)
                bank->blocks[order] += model.blocks[block][i][order];
            bank->free += bank->blocks[order] << order;
        }
    }
}
