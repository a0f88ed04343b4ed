/*
 * Imaginary machines: frames and zones made up for a check, and whose each frame should be.
 */
#include "check.h"
#include "kalloc.h"
#include "lab3.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"

#define BANKS_MAX  6
#define SHARED_MAX 64
#define GUARD      16                            /* bytes around the state table */
#define POISON     0xa5                          /* in links that nobody has written */
#define BEYOND     (FRAME_FREE + PMM_ORDERS - 1) /* around the state table: a buddy that is not there */

/* What the machine is described by: the kernel's tables, with something around each that nobody may touch. */
static uint8_t table[GUARD + MACHINE_FRAMES + GUARD] __attribute__((aligned(8)));
static struct link links[MACHINE_FRAMES + BANKS_MAX * (BLOCK_FRAMES + PMM_ORDERS + 1) + 1];

/*
 * The checks spend their time in a few loops over tables that nobody but they themselves gives a length:
 * UBSan would only make them slower.
 */
#define UNCHECKED __attribute__((no_sanitize("undefined")))

/* The model. */
static struct {
    uint64_t base;    /* physical address of frame 0 */
    size_t n, nbanks; /* frames; banks */
    uint8_t is[MACHINE_FRAMES] __attribute__((aligned(8)));
    uint32_t users[MACHINE_FRAMES]; /* where a shared block begins */
    size_t shared[SHARED_MAX];      /* where one begins, or once did */
    size_t nshared;
    struct bank {
        size_t first, n, pages, free;
        size_t base; /* the zone's frame 0 */
        struct link *link;
        size_t blocks[PMM_ORDERS]; /* free ones */
    } bank[BANKS_MAX];
    /*
     * The states that the model comes to. Those of blocks in use are kept at once; where the free ones
     * begin is found out when it is needed, for the stretches of BLOCK_FRAMES in which something changed.
     */
    uint8_t state[MACHINE_FRAMES] __attribute__((aligned(8)));
    bool changed[MACHINE_BLOCKS + 1];
    uint16_t blocks[MACHINE_BLOCKS][BANKS_MAX][PMM_ORDERS]; /* free ones, in each stretch */
} model;

/* The kernel's own, as long as it has to make way. */
static struct {
    bool saved;
    struct frames frames;
    struct zone zones[ARRAY_SIZE(zones)];
    size_t nzones;
    struct kmem kmem;
    uint64_t phystop;
    uint64_t block; /* borrowed from the kernel; 0: none */
    unsigned order;
} real;

void
machine_end(void)
{
    if (real.saved) {
        frames = real.frames;
        memcpy(zones, real.zones, sizeof(zones));
        nzones = real.nzones;
        kmem = real.kmem;
        phystop = real.phystop;
        real.saved = false;
    }
    if (real.block != 0) {
        uint64_t block = real.block;
        real.block = 0;
        check_doing("pmm_free(0x%lx, %u) after the check, of a block from pmm_alloc", block,
                    real.order);
        int result = pmm_free(block, real.order);
        EXPECT(result == 0, "expected 0, found %s", error_text(result));
    }
}

static void
take_away(void)
{
    check_finally(machine_end);
    if (real.saved)
        return;
    real.frames = frames;
    memcpy(real.zones, zones, sizeof(zones));
    real.nzones = nzones;
    real.kmem = kmem;
    real.phystop = phystop;
    real.saved = true;
}

/* From now on the n frames from i on are this, and have this state. */
static void
put(size_t i, size_t n, uint8_t is, uint8_t state)
{
    memset(&model.is[i], is, n);
    memset(&model.state[i], state, n);
    for (size_t block = i / BLOCK_FRAMES; n > 0 && block <= (i + n - 1) / BLOCK_FRAMES; block++)
        model.changed[block] = true;
}

static void
begin(uint64_t base, size_t blocks)
{
    take_away();
    model.base = base;
    model.n = blocks * BLOCK_FRAMES;
    model.nbanks = model.nshared = 0;
    put(0, model.n, IS_HOLE, FRAME_NONE);
}

void
machine_new(size_t blocks)
{
    /* Above 4 GiB, where the linear map has nothing. */
    begin((0x400 + check_random_below(0x1000)) * BLOCK_FRAMES * PGSIZE, blocks);
}

/* A block of the kernel's own free memory, of this order or one less. */
static void
borrow(unsigned order)
{
    check_finally(machine_end);
    check_doing("pmm_alloc(%u), of the kernel's own memory", order);
    uint64_t pa = pmm_alloc(order);
    if (pa == 0)
        pa = pmm_alloc(--order);
    EXPECT(pa != 0,
           "found 0: expected a block of order %u or %u (should the first failed check be "
           "one of lab 2, which keep all pages: run this one alone)",
           order + 1, order);
    size_t i = frame_index(P2V(pa));
    EXPECT(i < frames.n && frames.state[i] == FRAME_USED + order,
           "found 0x%lx, and the state of the page there is not FRAME_USED + %u", pa, order);
    for (uint64_t page = pa; page < pa + ((uint64_t)PGSIZE << order); page += PGSIZE)
        EXPECT(page_owned(page), "found 0x%lx: the page 0x%lx in it is not usable", pa, page);
    real.block = pa;
    real.order = order;
}

size_t
machine_real(size_t *n)
{
    uint64_t block = real.block;

    if (block == 0) {
        machine_end();
        EXPECT(nzones > 0, "the pmm has got no memory at boot: write memmap_init, memmap_reserve "
                           "and alloc_frames in kern/memmap.c first");
        borrow(8);
        block = real.block;
    }
    begin(ROUNDDOWN(block, BLOCK_FRAMES * PGSIZE), 1);
    *n = 1UL << real.order;
    return (block - model.base) / PGSIZE;
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

/* Find out where the free blocks are, and how many. */
UNCHECKED static void
update(void)
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

/* ---- making it so ---- */

/* Some of a bank's free blocks onto the lists: in two turns, so that they are in no particular order. */
UNCHECKED static void
push_free(struct zone *z, const struct bank *bank, uint64_t choice, unsigned turn)
{
    size_t i = bank->first, stop = bank->first + bank->n;

    while ((i = skip(i, stop, false)) < stop) {
        unsigned order = FRAME_ORDER(model.state[i]);
        if ((choice >> i % 61 & 1) == turn)
            zone_push(z, i - bank->base, order);
        i += 1UL << order;
    }
}

UNCHECKED static size_t
count_reserved(size_t i, size_t stop)
{
    size_t n = 0;

    for (; i < stop; i++)
        n += model.is[i] == IS_RESERVED;
    return n;
}

static void
start_bank(struct bank *bank, struct link *link)
{
    uint64_t start = machine_pa(bank->first), stop = machine_pa(bank->first + bank->n);
    uint64_t choice = check_random();
    struct zone *z = zone_add(start, stop, link);

    bank->link = link;
    bank->pages = bank->n - count_reserved(bank->first, bank->first + bank->n);
    z->pages = bank->pages;
    z->free = bank->free;
    for (unsigned turn = 0; turn < 2; turn++)
        push_free(z, bank, choice, turn);
}

/* The link of frame i, which is in a bank. */
static struct link *
link_at(size_t i)
{
    const struct bank *bank = model.bank;

    while (i >= bank->first + bank->n)
        bank++;
    return &bank->link[i - bank->base];
}

void
machine_start(void)
{
    struct link *link = links + 1;
    size_t nlinks = 1;

    update();
    for (const struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++)
        nlinks += bank->first + bank->n - bank->base + PMM_ORDERS + 1;
    memset(links, POISON, nlinks * sizeof(*links));
    memset(table, BEYOND, GUARD);
    memset(table + GUARD + model.n, BEYOND, GUARD);
    memset(zones, 0, sizeof(zones));
    nzones = 0;
    frames_set(model.base, model.n, table + GUARD);
    for (struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++) {
        start_bank(bank, link);
        link += bank->first + bank->n - bank->base + PMM_ORDERS + 1;
    }
    memcpy(frames.state, model.state, model.n);
    for (size_t n = 0; n < model.nshared; n++)
        if (FRAME_KIND(model.is[model.shared[n]]) == FRAME_SHARED)
            link_at(model.shared[n])->users = model.users[model.shared[n]];
    kmem = (struct kmem){0};
    phystop = MAX(real.phystop, machine_pa(model.n));
    machine_check();
}

/* ---- comparing ---- */

static const char *
state_text(uint8_t state)
{
    static char text[2][32];
    static unsigned turn;
    char *out = text[turn++ % 2];
    const char *kind = FRAME_KIND(state) == FRAME_USED   ? "FRAME_USED"
                     : FRAME_KIND(state) == FRAME_SHARED ? "FRAME_SHARED"
                     : FRAME_KIND(state) == FRAME_FREE   ? "FRAME_FREE"
                                                         : NULL;

    if (state == FRAME_NONE)
        return "FRAME_NONE";
    if (state == FRAME_CACHED)
        return "FRAME_CACHED";
    if (kind && FRAME_ORDER(state) < PMM_ORDERS)
        snprintf(out, sizeof(text[0]), "%s + %u", kind, FRAME_ORDER(state));
    else
        snprintf(out, sizeof(text[0]), "0x%x", state);
    return out;
}

/* What may be behind a wrong state. */
static const char *
explain(size_t i, uint8_t wanted, uint8_t found)
{
    unsigned order;

    if (model.is[i] == IS_HOLE)
        return ": there is no RAM";
    if (model.is[i] == IS_RESERVED)
        return ": it is reserved";
    if (FRAME_KIND(wanted) == FRAME_FREE && FRAME_KIND(found) == FRAME_FREE && wanted != FRAME_NONE
        && found != FRAME_NONE)
        return found < wanted ? ": its buddy is as free as it is, so both are one block"
                              : ": what follows is not free, or no part of this block";
    if (wanted == FRAME_NONE)
        return machine_block(i, &order) < i && model.is[i] == IS_FREE
                 ? ": it lies inside a larger block that is free"
                 : ": it lies inside a block that is in use";
    return "";
}

static __attribute__((cold, noinline)) void
wrong_state(size_t i, uint8_t wanted, uint8_t found)
{
    EXPECT(false, "the state of page 0x%lx: expected %s, found %s%s", machine_pa(i),
           state_text(wanted), state_text(found), explain(i, wanted, found));
}

/* Compare all states, eight at a time. */
UNCHECKED static void
check_states(void)
{
    const uint64_t *wanted = (const uint64_t *)(const void *)model.state;
    const uint64_t *found = (const uint64_t *)(const void *)(table + GUARD);

    for (const uint64_t *stop = wanted + model.n / 8; wanted < stop; wanted++, found++)
        if (*wanted != *found) {
            size_t i = (size_t)((const uint8_t *)wanted - model.state);
            while (model.state[i] == table[GUARD + i])
                i++;
            wrong_state(i, model.state[i], table[GUARD + i]);
        }
}

/* The list for an order is a sound ring, and as long as it should be. */
UNCHECKED static void
check_list(const struct zone *z, unsigned order, size_t wanted)
{
    const struct link *link = z->link;
    uint32_t head = (uint32_t)(z->n + order), previous = head;
    size_t zone = (size_t)(z - zones), n = 0;

    for (uint32_t i = link[head].next; i != head; previous = i, i = link[i].next) {
        EXPECT(i < z->n,
               "zones[%lu], the list for order %u: expected the number of a frame (below %lu), or "
               "that of the list's head (%u), found %u",
               zone, order, z->n, head, i);
        EXPECT(link[i].prev == previous,
               "zones[%lu], the list for order %u: link[%u].prev: expected %u, found %u", zone,
               order, i, previous, link[i].prev);
        EXPECT(z->state[i] == FRAME_FREE + order,
               "zones[%lu], the list for order %u: page 0x%lx is on it, and has the state %s", zone,
               order, z->base + i * PGSIZE, state_text(z->state[i]));
        EXPECT(++n <= wanted, "zones[%lu], the list for order %u: expected %lu blocks, found more",
               zone, order, wanted);
    }
    EXPECT(link[head].prev == previous,
           "zones[%lu], the list for order %u: the head's prev: expected %u, found %u", zone, order,
           previous, link[head].prev);
    EXPECT(n == wanted, "zones[%lu], the list for order %u: expected %lu blocks, found %lu", zone,
           order, wanted, n);
    EXPECT((z->nonempty >> order & 1) == (n > 0),
           "zones[%lu].nonempty: expected bit %u to be %d, as %lu blocks are on that list", zone,
           order, n > 0, n);
}

/* Everything about a zone but the states of its frames. */
static void
check_zone(const struct zone *z, const struct bank *bank)
{
    size_t zone = (size_t)(z - zones);

    EXPECT(z->base == machine_pa(bank->base) && z->n == bank->first + bank->n - bank->base
               && z->link == bank->link && z->state == frames.state + bank->base
               && z->pages == bank->pages,
           "zones[%lu]: expected base, n, link, state and pages to stay as they are", zone);
    for (unsigned order = 0; order < PMM_ORDERS; order++)
        check_list(z, order, bank->blocks[order]);
    EXPECT(z->nonempty >> PMM_ORDERS == 0, "zones[%lu].nonempty: expected %d bits, found 0x%lx",
           zone, PMM_ORDERS, z->nonempty);
    EXPECT(z->free == bank->free, "zones[%lu].free: expected %lu, found %lu", zone, bank->free,
           z->free);
}

static void
check_users(void)
{
    for (size_t n = 0; n < model.nshared; n++) {
        size_t i = model.shared[n];
        if (FRAME_KIND(model.is[i]) != FRAME_SHARED)
            continue;
        uint32_t users = link_at(i)->users;
        EXPECT(users == model.users[i], "the users of the block at 0x%lx: expected %u, found %u",
               machine_pa(i), model.users[i], users);
    }
}

UNCHECKED static void
check_guards(void)
{
    for (size_t i = 0; i < GUARD; i++)
        EXPECT(table[i] == BEYOND && table[GUARD + model.n + i] == BEYOND,
               "a byte outside of frames.state has been written");
    for (const struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++)
        EXPECT(bank->link[-1].prev == POISON * 0x1010101u
                   && bank->link[bank->first + bank->n - bank->base + PMM_ORDERS].next
                          == POISON * 0x1010101u,
               "a link outside of those of a zone has been written");
}

void
machine_check(void)
{
    EXPECT(frames.n == model.n && frames.state == table + GUARD && V2P(frames.first) == model.base
               && nzones == model.nbanks,
           "expected frames and nzones to stay as they are");
    update();
    check_states();
    for (size_t i = 0; i < model.nbanks; i++)
        check_zone(&zones[i], &model.bank[i]);
    check_users();
    check_guards();
}
