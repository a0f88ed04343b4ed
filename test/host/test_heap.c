/*
 * kern/heap.c against a list of blocks: in every state that a few hundred bytes of a region can be in; at random,
 * while it grows and shrinks and memory runs out; and the header's clauses one by one. Behind it is the pmm itself.
 */
#include "lib.h"

#include "errno.h"
#include "heap.h"
#include "kmalloc.h"
#include "memmap.h"
#include "pmm.h"
#include "pool.h"

#define LARGEST (1UL << (PMM_ORDERS - 1))
/* What a host's global variables have for physical addresses is far below. */
#define FIRST_PA  (1UL << 47)
#define FIRST     (LARGEST + 7) /* of the frames that are the pmm's */
#define UNIT      HEAP_ALIGN
#define NBLOCKS   6000
#define NREGIONS  64
#define MIN_UNITS (BLOCK_MIN / UNIT)

/* For mem_has_space, which has kern/slabs.c to ask. */
bool
kmalloc_has_space(size_t size)
{
    return size > 0;
}

static unsigned long steps = 400000; /* of the random run; an argument gives another number */
static uint64_t seed;

/* ---- The model ---- */

static struct {
    size_t n, nregions;
    struct entry {
        uint64_t at;
        size_t size;
        bool used;
        uint64_t stamp; /* at both ends of what is in use */
    } block[NBLOCKS];   /* by address */
    struct {
        uint64_t at;
        size_t size;
    } region[NREGIONS];
    uint64_t first;
} model;

static size_t
region_of(uint64_t at)
{
    size_t r = 0;

    while (at - model.region[r].at >= model.region[r].size) {
        r++;
    }
    return r;
}

static struct entry *
add(size_t i, uint64_t at, size_t size, bool used)
{
    if (model.n == NBLOCKS) {
        broken("the test's model is full");
    }
    memmove(&model.block[i + 1], &model.block[i], (model.n++ - i) * sizeof(struct entry));
    model.block[i] = (struct entry){.at = at, .size = size, .used = used};
    return &model.block[i];
}

static void
drop(size_t i)
{
    memmove(&model.block[i], &model.block[i + 1], (--model.n - i) * sizeof(struct entry));
}

static uint64_t *
end_of(const struct entry *b, size_t which)
{
    return (uint64_t *)(b->at + (which ? b->size : BLOCK_HEADER + sizeof(uint64_t))) - 1;
}

static void
stamp(struct entry *b)
{
    b->stamp = random_below(&seed, UINT64_MAX);
    *end_of(b, 0) = *end_of(b, 1) = b->stamp;
}

static void
new_model(uint64_t start, size_t size)
{
    model.n = model.nregions = 0;
    model.first = size > 0 ? start : 0;
    if (size > 0) {
        model.region[model.nregions].at = start;
        model.region[model.nregions++].size = size;
        add(0, start + sizeof(struct region), size - sizeof(struct region), false);
    }
}

static void
check_regions(void)
{
    size_t n = 0;

    for (const struct region *r = heap.regions; r; r = r->next, n++) {
        size_t i = 0;
        while (i < model.nregions && model.region[i].at != (uint64_t)r) {
            i++;
        }
        if (i == model.nregions || n > i + model.nregions || r->size != model.region[i].size) {
            broken("the region %p is not one of the heap's, or its size %#zx is wrong",
                   (const void *)r, r->size);
        }
    }
    if (n != model.nregions || (uint64_t)heap.first != model.first) {
        broken("%zu regions, expected %zu; the first is %p", n, model.nregions, (void *)heap.first);
    }
}

static void
check(void)
{
    uint64_t listed = (uint64_t)heap.free_list;

    pool_check_locks("after the call");
    check_regions();
    for (size_t i = 0; i < model.n; i++) {
        const struct entry *e = &model.block[i];
        const struct block *b = (const struct block *)e->at;
        if (b->size != e->size
            || b->tag != block_tag(b, b->size, e->used ? BLOCK_USED : BLOCK_FREE)) {
            broken("the block %p: expected size %#zx, %s; found size %#zx, tag %#lx",
                   (const void *)b, e->size, e->used ? "in use" : "free", b->size,
                   (unsigned long)b->tag);
        }
        if (!e->used) {
            if (listed != e->at) {
                broken("expected the free block %p on the list, found %#lx", (const void *)b,
                       (unsigned long)listed);
            }
            listed = (uint64_t)b->next;
        } else if (*end_of(e, 0) != e->stamp || *end_of(e, 1) != e->stamp) {
            broken("the memory of block %p has changed", (const void *)b);
        }
    }
    if (listed != 0) {
        broken("%#lx is on the list, expected its end", (unsigned long)listed);
    }
}

/* ---- Calls ---- */

static size_t
fit(size_t need)
{
    size_t i = 0;

    while (i < model.n && (model.block[i].used || model.block[i].size < need)) {
        i++;
    }
    return i;
}

static size_t
need_of(size_t size)
{
    return ROUNDUP(size + BLOCK_HEADER, UNIT);
}

/* The order by which the heap can grow for this block; PMM_ORDERS: by none. */
static unsigned
can_grow(size_t need)
{
    struct pmm_stats stats;
    unsigned needed = 0, largest = PMM_ORDERS, order;

    while (((size_t)PGSIZE << needed) < need + sizeof(struct region)) {
        needed++;
    }
    order = MAX(needed, (unsigned)HEAP_ORDER);
    pmm_stats(&stats);
    for (unsigned o = 0; o < PMM_ORDERS; o++) {
        if (stats.blocks[o] > 0) {
            largest = o;
        }
    }
    if (largest < PMM_ORDERS && largest >= order && pool_will_succeed() > 0) {
        return order;
    }
    return largest < PMM_ORDERS && largest >= needed && pool_will_succeed() > 1 ? needed
                                                                                : PMM_ORDERS;
}

/* The region of this order that has come. Returns its block's place in the model. */
static size_t
came(unsigned order)
{
    uint64_t at = (uint64_t)heap.regions;
    size_t frame = frame_index((void *)at), i = 0;

    for (size_t r = 0; r < model.nregions; r++) {
        if (at == model.region[r].at) {
            broken("no new region is the first on the list");
        }
    }
    if (frame >= frames.n || frames.state[frame] != FRAME_USED + order) {
        broken("the new region %#lx is no block of order %u", (unsigned long)at, order);
    }
    model.region[model.nregions].at = at;
    model.region[model.nregions++].size = (size_t)PGSIZE << order;
    while (i < model.n && model.block[i].at < at) {
        i++;
    }
    add(i, at + sizeof(struct region), ((size_t)PGSIZE << order) - sizeof(struct region), false);
    return i;
}

/* heap_alloc. Returns the place of its block in the model; model.n: there is none. */
static size_t
alloc(size_t size)
{
    bool sound = size > 0 && size <= HEAP_MAX;
    size_t need = need_of(size), i = sound ? fit(need) : model.n;
    unsigned order = sound && i == model.n ? can_grow(need) : PMM_ORDERS;

    char *p = heap_alloc(size);
    if (order < PMM_ORDERS) {
        i = came(order);
    }
    if (i == model.n) {
        assert_null(p);
        check();
        return i;
    }
    struct entry *b = &model.block[i];
    if ((uint64_t)p != b->at + BLOCK_HEADER) {
        broken("heap_alloc(%zu): expected %#lx, found %p", size,
               (unsigned long)(b->at + BLOCK_HEADER), (void *)p);
    }
    if (b->size - need >= BLOCK_MIN) {
        add(i + 1, b->at + need, b->size - need, false);
        b->size = need;
    }
    b->used = true;
    stamp(b);
    check();
    if (heap_size(p) != b->size - BLOCK_HEADER || heap_size(p) < size) {
        broken("heap_size(%p): found %zu", (void *)p, heap_size(p));
    }
    return i;
}

static void
release(size_t i)
{
    size_t r = region_of(model.block[i].at);

    heap_free((void *)(model.block[i].at + BLOCK_HEADER));
    model.block[i].used = false;
    if (i + 1 < model.n && !model.block[i + 1].used && region_of(model.block[i + 1].at) == r) {
        model.block[i].size += model.block[i + 1].size;
        drop(i + 1);
    }
    if (i > 0 && !model.block[i - 1].used && region_of(model.block[i - 1].at) == r) {
        model.block[i - 1].size += model.block[i].size;
        drop(i--);
    }
    if (model.region[r].at != model.first
        && model.block[i].size == model.region[r].size - sizeof(struct region)) {
        size_t frame = frame_index((void *)model.region[r].at);
        if (FRAME_KIND(frames.state[frame]) == FRAME_USED) {
            broken("the region %#lx has not gone back", (unsigned long)model.region[r].at);
        }
        model.region[r] = model.region[--model.nregions];
        drop(i);
    }
    check();
}

static void
call_free(void *p)
{
    heap_free(p);
}

/* heap_free(p) panics; the message has the address, and nothing has changed. */
static void
refuse(uint64_t p)
{
    char digits[20];
    const char *lock;
    const char *message = machine_panics(call_free, (void *)p);

    if (!message) {
        broken("heap_free(%#lx) returned", (unsigned long)p);
    }
    if (spinlocks_reset(&lock) > 0) {
        broken("%s is held in a panic", lock);
    }
    (snprintf)(digits, sizeof(digits), "%lx", (unsigned long)p);
    if (p != 0 && !strstr(message, digits)) {
        broken("the panic says \"%s\", not which address", message);
    }
    check();
}

/* ---- Machines ---- */

/* n frames for the pmm, from frame FIRST on; pages in front of these for mem_init. */
static void
start(size_t n, size_t region_pages)
{
    uint64_t at = FIRST_PA + LARGEST * PGSIZE - region_pages * PGSIZE;

    pool_start(FIRST_PA, ROUNDUP(FIRST + n, LARGEST) * PGSIZE, false);
    pool_table(FIRST_PA, FIRST + n);
    pool_zone(FIRST, n);
    for (size_t i = FIRST; i < FIRST + n; i++) {
        frames.state[i] = FRAME_USED;
        if (pmm_free(pool_pa(i), 0) != 0) {
            broken("frame %zu cannot be freed", i);
        }
    }
    memset(P2V(FIRST_PA), 0x6b, ROUNDUP(FIRST + n, LARGEST) * PGSIZE);
    mem_init(at, at + region_pages * PGSIZE);
    new_model((uint64_t)P2V(at), region_pages * PGSIZE);
    check();
}

static size_t
free_pages(void)
{
    struct pmm_stats stats;

    pmm_stats(&stats);
    return stats.free;
}

/* ---- Every state of a few units ---- */

#define FEW 13

static size_t states, calls;

/* Lay out what the model says, in the first region. */
static void
lay_out(void)
{
    struct block **link = &heap.free_list;

    memset((void *)model.block[0].at, 0x6b, PGSIZE - sizeof(struct region)); /* no old header */
    for (size_t i = 0; i < model.n; i++) {
        struct entry *e = &model.block[i];
        struct block *b = (struct block *)e->at;
        b->size = e->size;
        b->tag = block_tag(b, b->size, e->used ? BLOCK_USED : BLOCK_FREE);
        if (e->used) {
            stamp(e);
        } else {
            *link = b;
            link = &b->next;
        }
    }
    *link = NULL;
}

/* Make each call there is in this state. */
static void
every_call(void)
{
    static struct entry saved[NBLOCKS];
    size_t n = model.n;

    states++;
    memcpy(saved, model.block, n * sizeof(struct entry));
    for (size_t units = MIN_UNITS; units <= FEW + 1; units++, calls++) {
        lay_out();
        check();
        alloc(units * UNIT - BLOCK_HEADER - random_below(&seed, UNIT));
        memcpy(model.block, saved, n * sizeof(struct entry));
        model.n = n;
    }
    for (size_t i = 0; i < n; i++) {
        lay_out();
        for (uint64_t p = saved[i].at + 8; p <= saved[i].at + saved[i].size; p += 8) {
            if (p != saved[i].at + BLOCK_HEADER || !saved[i].used) {
                if (p < saved[i].at + FEW * UNIT) { /* one of them is long */
                    refuse(p);
                    calls++;
                }
            }
        }
        if (saved[i].used) {
            release(i);
            refuse(saved[i].at + BLOCK_HEADER);
            memcpy(model.block, saved, n * sizeof(struct entry));
            model.n = n;
            calls += 2;
        }
    }
}

/* All ways to go on with so many units more. */
static void
every_way(uint64_t at, size_t units)
{
    if (units == 0) {
        size_t n = model.n;
        uint64_t stop = model.region[0].at + PGSIZE;
        if (at < stop) { /* behind them, all is in use */
            add(n, at, stop - at, true);
        }
        every_call();
        model.n = n;
        return;
    }
    for (size_t size = MIN_UNITS; size <= units; size++) {
        if (units - size != 0 && units - size < MIN_UNITS) {
            continue;
        }
        for (size_t used = 0; used < 2; used++) {
            if (!used && !model.block[model.n - 1].used) {
                continue;
            }
            size_t n = model.n;
            add(n, at, size * UNIT, used);
            every_way(at + size * UNIT, units - size);
            model.n = n;
        }
    }
}

static void
every_state_of_a_few_units(void **state)
{
    (void)state;
    for (size_t at_end = 0; at_end < 2; at_end++) {
        start(1, 1);
        pool_fail(1);
        /* One block in use before them, one behind them or none. */
        size_t rest = PGSIZE - sizeof(struct region) - FEW * UNIT;
        uint64_t at = model.block[0].at;
        model.n = 0;
        add(0, at, rest, true);
        every_way(at + rest, FEW);
        start(1, 1);
        pool_fail(1);
        model.n = 0;
        add(0, at, BLOCK_MIN, at_end);
        every_way(at + BLOCK_MIN, FEW - 1);
    }
    print_message("[          ] %zu states, %zu calls\n", states, calls);
}

/* ---- At random ---- */

static size_t
some_used(void)
{
    size_t from = model.n ? random_below(&seed, model.n) : 0;

    for (size_t n = 0; n < model.n; n++) {
        size_t i = (from + n) % model.n;
        if (model.block[i].used) {
            return i;
        }
    }
    return model.n;
}

static void
something_wrong(void)
{
    size_t i = model.n ? random_below(&seed, model.n) : 0;
    const struct entry *e = &model.block[i];

    if (i == model.n) {
        refuse(random_below(&seed, UINT64_MAX));
    } else if (!e->used) {
        refuse(e->at + BLOCK_HEADER);
    } else if (random_below(&seed, 2)) {
        refuse(e->at + BLOCK_HEADER + 1 + random_below(&seed, e->size - BLOCK_HEADER));
    } else {
        struct block *b = (struct block *)e->at, was = *b;
        const char *message;
        if (random_below(&seed, 2)) {
            b->size ^= 1UL << random_below(&seed, 64);
        } else {
            b->tag ^= 1UL << random_below(&seed, 64);
        }
        message = machine_panics(call_free, (char *)b + BLOCK_HEADER);
        if (!message) {
            broken("heap_free took a block whose header had been overwritten");
        }
        b->size = was.size;
        b->tag = was.tag;
        check();
    }
}

static size_t
some_size(void)
{
    switch (random_below(&seed, 8)) {
    case 0:
        return random_below(&seed, 20 * PGSIZE);
    case 1:
        return random_below(&seed, 2 * PGSIZE);
    case 2:
        return 1 + random_below(&seed, 16);
    default:
        return random_below(&seed, 400);
    }
}

static void
at_random(void **state)
{
    (void)state;
    for (size_t round = 0; round < 5; round++) {
        start(round == 4 ? 1 : 40 + random_below(&seed, 300), round % 3);
        size_t before = free_pages(), most = 0;
        for (unsigned long step = 0; step < steps / 5; step++) {
            if (step % 100 == 0) {
                pool_fail(random_below(&seed, 3) == 0 ? 1 + random_below(&seed, 4) : 0);
            }
            uint64_t what = random_below(&seed, 100);
            size_t i = some_used();
            /* It fills and empties in turns. */
            bool fill = step / 2000 % 2 == 0;
            if (what < (fill ? 55 : 35) && model.nregions < NREGIONS - 1 && model.n < 300) {
                alloc(some_size());
            } else if (what < 98) {
                if (i < model.n) {
                    release(i);
                }
            } else {
                something_wrong();
            }
            most = MAX(most, model.nregions);
        }
        pool_fail(0);
        for (size_t i; (i = some_used()) < model.n;) {
            release(i);
        }
        assert_int_equal(free_pages(), before);
        assert_int_equal(model.nregions, round % 3 ? 1 : 0);
        print_message("[          ] up to %zu regions\n", most);
    }
}

/* ---- Clauses ---- */

static void
sizes_at_their_borders(void **state)
{
    static const size_t never[] = {0,
                                   HEAP_MAX + 1,
                                   HEAP_MAX + 16,
                                   SIZE_MAX,
                                   SIZE_MAX - 1,
                                   SIZE_MAX - 15,
                                   SIZE_MAX - 16,
                                   SIZE_MAX - 47,
                                   1UL << 63,
                                   (1UL << 32) + 5,
                                   PGSIZE << (PMM_ORDERS - 1)};

    (void)state;
    start(3 * LARGEST, 1);
    assert_true(mem_has_space(MEM_HEAP, 1) && mem_has_space(MEM_FRAMES, PGSIZE));
    size_t before = free_pages();
    for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
        assert_int_equal(alloc(never[i]), model.n);
    }
    assert_int_equal(free_pages(), before);
    for (unsigned order = 0; order < PMM_ORDERS; order++) {
        size_t most = ((size_t)PGSIZE << order) - sizeof(struct region) - BLOCK_HEADER;
        for (size_t more = 0; more < 2 && most + more <= HEAP_MAX; more++) {
            size_t i = alloc(most + more);
            assert_true(i < model.n);
            release(i);
        }
        for (size_t i; (i = some_used()) < model.n;) {
            release(i);
        }
        assert_int_equal(free_pages(), before);
    }
}

/* The pmm has less in a row than the heap grows by. */
static void
grows_by_what_there_is(void **state)
{
    uint64_t taken[300];
    size_t n = 0;

    (void)state;
    start(200, 0);
    while ((taken[n] = pmm_alloc(0)) != 0) {
        n++;
    }
    assert_int_equal(alloc(1), model.n);
    for (size_t i = 0; i < n; i++) { /* of each 8 pages, 4 or fewer in a row */
        if ((taken[i] / PGSIZE) % 8 < 4 && pmm_free(taken[i], 0) != 0) {
            broken("a page cannot be freed");
        }
    }
    size_t before = free_pages();
    assert_int_equal(alloc(4 * PGSIZE), model.n);
    for (size_t size = 100; size < 4 * PGSIZE - 64; size += 900) {
        assert_true(alloc(size) < model.n);
    }
    for (size_t i; (i = some_used()) < model.n;) {
        release(i);
    }
    assert_int_equal(free_pages(), before);
}

/* For each k: the k-th request of the pmm fails, and all later ones. */
static void
memory_runs_out(void **state)
{
    (void)state;
    for (size_t k = 1; k < 12; k++) {
        start(300, k % 2);
        size_t before = free_pages();
        pool_fail(k);
        for (size_t i = 0; i < 12; i++) {
            alloc(5 * PGSIZE * (1 + i % 3));
        }
        for (size_t i; (i = some_used()) < model.n;) {
            release(i);
        }
        assert_int_equal(free_pages(), before);
    }
}

static void
foreign_pointers(void **state)
{
    int on_stack;

    (void)state;
    start(100, 1);
    alloc(100);
    alloc(9000);
    refuse(0);
    refuse(8);
    refuse(BLOCK_HEADER);
    refuse(UINT64_MAX);
    refuse(UINT64_MAX - 15);
    refuse((uint64_t)&on_stack);
    refuse((uint64_t)&model);
    for (size_t r = 0; r < model.nregions; r++) {
        refuse(model.region[r].at);
        refuse(model.region[r].at + sizeof(struct region));
        refuse(model.region[r].at + model.region[r].size);
        refuse(model.region[r].at + model.region[r].size + BLOCK_HEADER);
        refuse(V2P(model.region[r].at) + 32);
    }
    mem_init(0, 0);
    new_model(0, 0);
    refuse((uint64_t)P2V(FIRST_PA) + 64);
}

/* Not only what is freed: what is to be handed out may have lost its header too. */
static void
free_block_overwritten(void **state)
{
    const char *lock;

    (void)state;
    start(10, 1);
    heap.free_list->tag ^= 4;
    assert_non_null(machine_panics((void (*)(void *))(void (*)(void))heap_alloc, (void *)100));
    assert_int_equal(spinlocks_reset(&lock), 0);
    heap.free_list->tag ^= 4;
    check();
    /* Right behind the block that is freed. */
    size_t i = alloc(100);
    alloc(100);
    uint64_t *tag = &((struct block *)model.block[i + 1].at)->tag;
    *tag ^= 4;
    assert_non_null(machine_panics(call_free, (void *)(model.block[i].at + BLOCK_HEADER)));
    *tag ^= 4;
    check();
}

/* ---- The beginning ---- */

/* The bitmaps lie in the machine's memory; n frames behind them are free. */
static void
begins(uint64_t bitmap, uint64_t reserved, size_t n)
{
    struct memmap *map = (struct memmap *)(uintptr_t)memmap_get(), own;
    uint64_t behind = ROUNDUP(MAX(bitmap, reserved) + MEMMAP_FRAMES / 8, PGSIZE);

    pool_start(FIRST_PA, 4 * LARGEST * PGSIZE, false);
    assert_int_equal(memmap_init(FIRST_PA, FIRST_PA + 100 * PGSIZE), 0);
    memmap_reserve(FIRST_PA, behind);
    memmap_reserve(behind + n * PGSIZE, behind + (n + 1) * PGSIZE);
    own = *map;
    map->bitmap = memcpy(P2V(bitmap), own.bitmap, MEMMAP_FRAMES / 8);
    map->reserved = memcpy(P2V(reserved), own.reserved, MEMMAP_FRAMES / 8);
    memory_init();
    map->bitmap = own.bitmap;
    map->reserved = own.reserved;
    size_t wanted = MIN(n, HEAP_PAGES);
    new_model((uint64_t)P2V(behind), wanted * PGSIZE);
    check();
    for (size_t i = 0; i < 60; i++) {
        uint64_t pa = behind + i * PGSIZE;
        assert_int_equal(memmap_is_free(pa), i >= wanted && i != n);
        assert_int_equal(free_frame(pa), -EINVAL); /* what is in use here is reserved */
    }
}

static void
begins_behind_the_bitmaps(void **state)
{
    (void)state;
    for (size_t n = 0; n < 20; n++) {
        begins(FIRST_PA + 0x2008, FIRST_PA + 0x3008, n);
        begins(FIRST_PA + 0x3008, FIRST_PA + 0x2008, n);
        begins(FIRST_PA + 0x3000, FIRST_PA + 0x4000 - MEMMAP_FRAMES / 8, n);
    }
}

static void
mem_init_forgets(void **state)
{
    (void)state;
    start(100, 2);
    alloc(100);
    alloc(5 * PGSIZE);
    mem_init(FIRST_PA + PGSIZE, FIRST_PA + 4 * PGSIZE);
    new_model((uint64_t)P2V(FIRST_PA + PGSIZE), 3 * PGSIZE);
    check();
    alloc(2 * PGSIZE);
    mem_init(FIRST_PA + PGSIZE, FIRST_PA + PGSIZE);
    new_model(0, 0);
    check();
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        steps = strtoul(argv[1], NULL, 10);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_at_their_borders),
        cmocka_unit_test(grows_by_what_there_is),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(foreign_pointers),
        cmocka_unit_test(free_block_overwritten),
        cmocka_unit_test(begins_behind_the_bitmaps),
        cmocka_unit_test(mem_init_forgets),
        cmocka_unit_test(every_state_of_a_few_units),
        cmocka_unit_test(at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
