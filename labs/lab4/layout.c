/*
 * Heaps made up for a check, and the comparison with what heap.c makes of them.
 */
#include "layout.h"
#include "../lab3/lab3.h"
#include "lab4.h"
#include "string.h"

/* Not for UBSan: these loops are where the checks spend their time. */
#define UNCHECKED __attribute__((no_sanitize("undefined")))

struct layout layout;

static char pages[LAYOUT_PAGES][PGSIZE] __attribute__((aligned(PGSIZE)));

uint64_t
layout_page(size_t i)
{
    return V2P(pages[i]);
}

/* ---- making it up ---- */

static void
put_back(void)
{
    heap_restore();
    machine_end();
}

void
layout_new(void)
{
    heap_save();
    check_finally(put_back);
    layout.npieces = layout.nregions = 0;
    layout.first = NULL;
}

void
layout_alone(void)
{
    machine_new(1);
    machine_bank(5, 100);
    machine_start();
    layout_new();
}

void
layout_region(uint64_t pa, size_t npages)
{
    size_t n = layout.nregions++;

    layout.region[n].at = P2V(pa);
    layout.region[n].size = npages * PGSIZE;
    if (n == 0)
        layout.first = P2V(pa);
    /* Anything may be there, and free memory says nothing. */
    memset(P2V(pa), (int)check_random_below(256), npages * PGSIZE);
}

static char *
region_stop(size_t n)
{
    return (char *)layout.region[n].at + layout.region[n].size;
}

/* Where the next block of the last region begins. */
static char *
next_place(void)
{
    struct region *last = layout.region[layout.nregions - 1].at;

    if (layout.npieces > 0 && layout.piece[layout.npieces - 1].in == last)
        return (char *)layout.piece[layout.npieces - 1].at + layout.piece[layout.npieces - 1].size;
    return (char *)(last + 1);
}

size_t
layout_room(void)
{
    return (size_t)(region_stop(layout.nregions - 1) - next_place());
}

void
layout_block(size_t size, bool used)
{
    struct block *at = (struct block *)(void *)next_place();

    EXPECT(layout.npieces < PIECES_MAX && size >= BLOCK_MIN && size % HEAP_ALIGN == 0
               && size <= layout_room(),
           "a mistake in the check itself: layout_block(%lu)", size);
    layout.piece[layout.npieces++] = (struct piece){.at = at,
                                                    .size = size,
                                                    .used = used,
                                                    .in = layout.region[layout.nregions - 1].at};
}

void
layout_rest(bool used)
{
    if (layout_room() > 0)
        layout_block(layout_room(), used);
}

void
layout_random(size_t most, unsigned percent)
{
    bool was_free = false;

    while (layout_room() > 0 && layout.npieces < PIECES_MAX - 40) {
        size_t size = BLOCK_MIN + HEAP_ALIGN * check_random_below(most / HEAP_ALIGN);
        if (size + BLOCK_MIN > layout_room())
            size = layout_room();
        was_free = !was_free && check_random_below(100) < percent;
        layout_block(size, !was_free);
    }
    if (layout_room() > 0)
        layout_block(layout_room(), true);
}

/* The next word of a block's memory to look at: of large ones, the ends will do. */
#define ENDS 128 /* words */

UNCHECKED static inline uint64_t *
next_word(const struct piece *piece, uint64_t *word)
{
    uint64_t *start = (uint64_t *)(void *)((char *)piece->at + BLOCK_HEADER);
    uint64_t *stop = (uint64_t *)(void *)((char *)piece->at + piece->size);

    if (!word)
        return start;
    if (++word == start + ENDS && stop - word > ENDS)
        word = stop - ENDS;
    return word < stop ? word : NULL;
}

UNCHECKED static void
fill(const struct piece *piece)
{
    for (uint64_t *word = NULL; (word = next_word(piece, word));)
        *word = piece->word;
}

/* The first word that is no longer what fill() wrote; NULL: none. */
UNCHECKED static const uint64_t *
changed(const struct piece *piece)
{
    uint64_t *word = NULL;

    while ((word = next_word(piece, word)) && *word == piece->word)
        ;
    return word;
}

UNCHECKED static void
write_header(const struct piece *piece)
{
    piece->at->size = piece->size;
    piece->at->tag = block_tag(piece->at, piece->size, piece->used ? BLOCK_USED : BLOCK_FREE);
}

UNCHECKED void
layout_start(void)
{
    struct block **link = &heap.free_list;

    heap = (struct heap){0};
    for (size_t n = 0; n < layout.nregions; n++) {
        struct region *r = layout.region[n].at;
        *r = (struct region){.next = heap.regions, .size = layout.region[n].size};
        heap.regions = r;
    }
    heap.first = layout.first;
    for (size_t i = 0; i < layout.npieces; i++) {
        struct piece *piece = &layout.piece[i];
        write_header(piece);
        if (piece->used) {
            piece->word = check_random();
            fill(piece);
        } else {
            *link = piece->at;
            link = &piece->at->next;
        }
    }
    *link = NULL;
}

/* ---- comparing ---- */

static void
check_regions(void)
{
    size_t n = 0;
    bool seen[ARRAY_SIZE(layout.region)] = {false};

    for (const struct region *r = heap.regions; r; r = r->next) {
        size_t i = 0;
        while (i < layout.nregions && layout.region[i].at != r)
            i++;
        EXPECT(i < layout.nregions,
               "heap.regions: %p is on the list, which is no region of the heap%s", (const void *)r,
               layout.nregions == 0 ? " (it has none)" : " (any more)");
        EXPECT(!seen[i], "heap.regions: %p is on the list twice", (const void *)r);
        EXPECT(r->size == layout.region[i].size, "size of the region %p: expected %lu, found %lu",
               (const void *)r, layout.region[i].size, r->size);
        seen[i] = true;
        n++;
    }
    EXPECT(n == layout.nregions, "heap.regions: expected %lu regions on the list, found %lu",
           layout.nregions, n);
}

/* What stands before and behind it, for messages. */
static const char *
kind_text(const struct piece *piece)
{
    return piece->used ? "in use" : "free";
}

static __attribute__((cold, noinline)) void
wrong_header(const struct piece *piece)
{
    const struct block *at = piece->at;
    uint64_t other = piece->used ? BLOCK_FREE : BLOCK_USED;

    EXPECT(at->size == piece->size, "the block at %p, which is %s: expected size %lu, found %lu",
           (const void *)at, kind_text(piece), piece->size, at->size);
    EXPECT(at->tag != block_tag(at, at->size, other),
           "the block at %p (size %lu): expected it to be %s, found the tag of one that is %s",
           (const void *)at, piece->size, kind_text(piece), piece->used ? "free" : "in use");
    EXPECT(false,
           "the block at %p (size %lu, %s): expected tag 0x%lx, as block_tag says, found 0x%lx",
           (const void *)at, piece->size, kind_text(piece),
           block_tag(at, piece->size, piece->used ? BLOCK_USED : BLOCK_FREE), at->tag);
}

UNCHECKED static void
check_list(void)
{
    const struct block *listed = heap.free_list, *last = NULL;

    for (size_t i = 0; i < layout.npieces; i++) {
        const struct piece *piece = &layout.piece[i];
        if (piece->used)
            continue;
        EXPECT(listed == piece->at,
               "the free list: expected the block at %p (size %lu) %s%p, found %p",
               (const void *)piece->at, piece->size,
               last ? "behind the one at " : "to be its first; heap.free_list is ",
               last ? (const void *)last : (const void *)listed, (const void *)listed);
        last = piece->at;
        listed = last->next;
    }
    EXPECT(!listed, "the free list: expected NULL behind %s%p, found %p",
           last ? "its last block, " : "nothing: no block is free; heap.free_list is ",
           last ? (const void *)last : (const void *)listed, (const void *)listed);
}

UNCHECKED void
layout_check(void)
{
    EXPECT(heap.first == layout.first, "heap.first: expected %p, found %p", (void *)layout.first,
           (void *)heap.first);
    check_regions();
    for (size_t i = 0; i < layout.npieces; i++) {
        const struct piece *piece = &layout.piece[i];
        const struct block *at = piece->at;
        if (at->size != piece->size
            || at->tag != block_tag(at, at->size, piece->used ? BLOCK_USED : BLOCK_FREE))
            wrong_header(piece);
    }
    check_list();
    for (size_t i = 0; i < layout.npieces; i++) {
        const struct piece *piece = &layout.piece[i];
        const uint64_t *word = piece->used ? changed(piece) : NULL;
        EXPECT(!word,
               "the memory at %p, in the block at %p, which is in use, has changed: "
               "expected 0x%lx as before, found 0x%lx",
               (const void *)word, (void *)piece->at, piece->word, *word);
    }
}

/* ---- calls ---- */

size_t
layout_need(size_t size)
{
    return ROUNDUP(size + BLOCK_HEADER, HEAP_ALIGN);
}

UNCHECKED size_t
layout_fit(size_t need)
{
    size_t i = 0;

    while (i < layout.npieces && (layout.piece[i].used || layout.piece[i].size < need))
        i++;
    return i;
}

/* A piece comes to be number i. */
static struct piece *
insert(size_t i)
{
    EXPECT(layout.npieces < PIECES_MAX, "a mistake in the check itself: PIECES_MAX");
    memmove(&layout.piece[i + 1], &layout.piece[i], (layout.npieces - i) * sizeof(struct piece));
    layout.npieces++;
    return &layout.piece[i];
}

static void
drop(size_t i)
{
    layout.npieces--;
    memmove(&layout.piece[i], &layout.piece[i + 1], (layout.npieces - i) * sizeof(struct piece));
}

void
layout_took(size_t i, size_t need)
{
    struct piece *piece = &layout.piece[i];

    if (piece->size - need >= BLOCK_MIN) {
        struct piece rest = *piece;
        rest.at = (struct block *)(void *)((char *)piece->at + need);
        rest.size -= need;
        piece->size = need;
        *insert(i + 1) = rest;
    }
    piece->used = true;
    piece->word = check_random();
    fill(piece);
}

void *
layout_take(size_t size, size_t i)
{
    size_t need = layout_need(size);
    struct piece *piece = &layout.piece[i];
    struct block *wanted = piece->at;

    check_doing("heap_alloc(%lu)", size);
    void *p = heap_alloc(size);
    EXPECT(p == (char *)wanted + BLOCK_HEADER,
           "expected %p, in the first free block that is large enough (size %lu; needed, with the "
           "header: %lu), found %p%s",
           (void *)((char *)wanted + BLOCK_HEADER), piece->size, need, p,
           p == wanted ? ", its header" : "");
    layout_took(i, need);
    layout_check();
    return p;
}

void *
layout_take_any(size_t size)
{
    size_t need = layout_need(size);

    check_doing("heap_alloc(%lu)", size);
    char *p = heap_alloc(size);
    EXPECT(p, "expected memory, as there is a free block that is large enough, found NULL");
    size_t i = layout_find((const struct block *)(void *)(p - BLOCK_HEADER));
    EXPECT(i < layout.npieces && !layout.piece[i].used && layout.piece[i].size >= need,
           "found %p: expected the memory of a free block that is large enough", (void *)p);
    layout_took(i, need);
    layout_check();
    return p;
}

void *
layout_alloc(size_t size)
{
    size_t i = layout.npieces;

    if (size > 0 && size <= HEAP_MAX)
        i = layout_fit(layout_need(size));
    if (i < layout.npieces)
        return layout_take(size, i);
    check_doing("heap_alloc(%lu)", size);
    void *p = heap_alloc(size);
    EXPECT(!p, "expected NULL, as %s, found %p",
           size == 0         ? "size is 0"
           : size > HEAP_MAX ? "size is more than HEAP_MAX"
                             : "no free block is large enough, and the pmm has no page",
           p);
    layout_check();
    return NULL;
}

size_t
layout_free(size_t i)
{
    struct piece *piece = &layout.piece[i];

    check_doing("heap_free(%p), size of the block: %lu", (void *)layout_memory(i), piece->size);
    heap_free(layout_memory(i));
    piece->used = false;
    if (i + 1 < layout.npieces && !piece[1].used && piece[1].in == piece->in) {
        piece->size += piece[1].size;
        drop(i + 1);
    }
    if (i > 0 && !piece[-1].used && piece[-1].in == piece->in) {
        piece[-1].size += piece->size;
        drop(i);
        i--;
    }
    return i;
}

UNCHECKED uint64_t
layout_sum(void)
{
    uint64_t sum = (uint64_t)heap.regions ^ (uint64_t)heap.first * 3 ^ (uint64_t)heap.free_list * 5;

    for (size_t n = 0; n < layout.nregions; n++) {
        const uint64_t *word = (const uint64_t *)(const void *)layout.region[n].at;
        const uint64_t *stop = word + layout.region[n].size / sizeof(*word);
        while (word < stop)
            sum = (sum ^ *word++) * 0x9e3779b97f4a7c15 + 1;
    }
    return sum;
}

char *
layout_memory(size_t i)
{
    return (char *)layout.piece[i].at + BLOCK_HEADER;
}

size_t
layout_pick(bool used)
{
    size_t from = layout.npieces ? check_random_below(layout.npieces) : 0;

    for (size_t n = 0; n < layout.npieces; n++) {
        size_t i = (from + n) % layout.npieces;
        if (layout.piece[i].used == used)
            return i;
    }
    return layout.npieces;
}

size_t
layout_find(const struct block *at)
{
    size_t i = 0;

    while (i < layout.npieces && layout.piece[i].at != at)
        i++;
    return i;
}

size_t
layout_came(struct region *at, size_t size)
{
    size_t i = 0;

    EXPECT(layout.nregions < ARRAY_SIZE(layout.region), "a mistake in the check itself: regions");
    layout.region[layout.nregions].at = at;
    layout.region[layout.nregions++].size = size;
    while (i < layout.npieces && (uint64_t)layout.piece[i].at < (uint64_t)at)
        i++;
    *insert(i) = (struct piece){.at = (struct block *)(void *)(at + 1),
                                .size = size - sizeof(*at),
                                .in = at};
    return i;
}

void
layout_went(struct region *at)
{
    size_t n = 0;

    while (layout.region[n].at != at)
        n++;
    layout.region[n] = layout.region[--layout.nregions];
    for (size_t i = layout.npieces; i > 0; i--)
        if (layout.piece[i - 1].in == at)
            drop(i - 1);
}
