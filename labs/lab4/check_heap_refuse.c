/*
 * Lab 4's check of what heap_free refuses.
 */
#include "check.h"
#include "lab4.h"
#include "layout.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"

static void
call_heap_free(void *p)
{
    heap_free(p);
}

static void
refused(void *p, const char *why)
{
    uint64_t before = layout_sum();

    check_doing("heap_free(%p)", p);
    expect_panic(call_heap_free, p, why);
    EXPECT(layout_sum() == before, "it panicked, but has changed the heap before");
}

/* Is the number in the text, in hexadecimal? */
static bool
says(const char *text, const void *number)
{
    char digits[20];
    int n = snprintf(digits, sizeof(digits), "%lx", (uint64_t)number);

    for (; *text; text++)
        if (strncmp(text, digits, (size_t)n) == 0)
            return true;
    return false;
}

/* Free a block that has these neighbours; then again. */
static void
refuse_twice(bool used_before, bool used_behind)
{
    layout_new();
    layout_region(layout_page(1), 1);
    layout_block(64, true);
    layout_block(48 + HEAP_ALIGN * check_random_below(9), used_before);
    layout_block(48 + HEAP_ALIGN * check_random_below(9), true);
    layout_block(48 + HEAP_ALIGN * check_random_below(9), used_behind);
    layout_rest(true);
    layout_start();
    char *p = layout_memory(2), *next = layout_memory(3);
    layout_free(2);
    refused(p, "has been freed just before");
    if (!used_behind)
        refused(next, "has been free before, and is part of a larger block now");
    if (used_before) { /* now the one before it, so that it is no longer a block's beginning */
        layout_free(1);
        refused(p, "has been freed before, and is part of a larger block now");
    }
    layout_free(0);
    refused(p, "has been freed before, and is part of a larger block now");
    check_doing("heap_alloc(40)");
    if (heap_alloc(40) != p) /* the memory is used again */
        refused(p, "has been freed before, and not been handed out again");
}

/* The block's header is overwritten, in one of many ways; heap_free(p) panics. */
static void
refuse_smashed(size_t i)
{
    struct block *at = layout.piece[i].at, *other = layout.piece[i > 0 ? i - 1 : i + 1].at;
    const uint64_t size = at->size, tag = at->tag;
    const uint64_t smashed[][2] = {
        {size, 0},
        {size, tag ^ 1},
        {size, tag ^ 1UL << check_random_below(64)},
        {size, block_tag(at, size + HEAP_ALIGN, BLOCK_USED)},
        {size, block_tag(at + 1, size, BLOCK_USED)},
        {size, block_tag(at, size, BLOCK_FREE)},
        {size, BLOCK_USED},
        {size + HEAP_ALIGN, tag},
        {size - HEAP_ALIGN, tag},
        {0, tag},
        {size | 1UL << 63, tag},
        {size + (1UL << 32), tag},
        {0, 0},
        {UINT64_MAX, UINT64_MAX},
        {check_random(), check_random()},
        {other->size, other->tag},
        {0x4141414141414141, 0x4141414141414141},
    };

    for (size_t k = 0; k < ARRAY_SIZE(smashed); k++) {
        at->size = smashed[k][0];
        at->tag = smashed[k][1];
        refused(layout_memory(i), "has a header that was overwritten");
        at->size = size;
        at->tag = tag;
    }
}

/* What looks like a block, but is in no region of the heap. */
static void
refuse_forged(uint64_t pa, const char *where)
{
    struct block *forged = P2V(pa);

    forged[0].size = forged[2].size = 2 * sizeof(*forged);
    forged[0].tag = block_tag(&forged[0], forged[0].size, BLOCK_USED);
    forged[2].tag = block_tag(&forged[2], forged[2].size, BLOCK_USED);
    refused((char *)forged + BLOCK_HEADER, where);
}

static void
refuse_foreign(uint64_t nobodys)
{
    char on_stack[64];

    refused(NULL, "is NULL");
    refused((void *)8, "is no memory of the kernel's");
    refused((void *)BLOCK_HEADER, "is no memory of the kernel's");
    refused((void *)UINT64_MAX, "is no memory of the kernel's");
    refused((void *)(KERNBASE + (1UL << 40)), "is far behind all memory");
    refused((void *)V2P(layout_memory(0)), "is a physical address");
    refused(P2V(PHYSTOP + 0x1000), "is behind all memory");
    refused(on_stack + 32, "is on the stack");
    refused((void *)&layout, "is a variable");
    refused((void *)(uint64_t)call_heap_free, "is code");
    refused(layout.first, "is a region's header");
    refused(layout.first + 1, "is a region's first header");
    refused(P2V(layout_page(3)), "is the end of a region");
    refused((char *)P2V(layout_page(3)) + BLOCK_HEADER, "is behind the end of a region");
    refused(P2V(layout_page(1)), "is the beginning of a region");
    refuse_forged(layout_page(1) - 96,
                  "lies before the heap's first region, though it looks like a block");
    refuse_forged(layout_page(3) + 64, "lies between regions, though it looks like a block");
    refuse_forged(layout_page(7), "lies behind the heap's regions, though it looks like a block");
    if (nobodys)
        refuse_forged(nobodys + 32, "lies in no region of the heap, though it looks like a block");
}

static void
refuse_inside(void)
{
    for (size_t i = 0; i < layout.npieces; i++) {
        const struct piece *piece = &layout.piece[i];
        char *p = layout_memory(i);
        if (!piece->used) {
            refused(p, "is free");
            if (piece->size > BLOCK_MIN)
                refused(p + 16, "is in the middle of a free block");
            continue;
        }
        refused(p - 16, "is a block's header, not its memory");
        refused(p + 1 + check_random_below(15), "is not aligned: it is in the middle of a block");
        refused(p + 8, "is in the middle of a block");
        if (piece->size > BLOCK_MIN)
            refused(p + HEAP_ALIGN * (1 + check_random_below(piece->size / HEAP_ALIGN - 2)),
                    "is in the middle of a block");
    }
}

CHECK(heap_refuse)
{
    /* A page that nobody has from now on, as nobody else runs. */
    uint64_t nobodys = pmm_alloc(0);
    if (nobodys)
        pmm_free(nobodys, 0);
    need_heap_alloc();
    need_heap_free();
    layout_new();
    layout_region(layout_page(0), 1);
    layout_block(64, true);
    layout_rest(true);
    layout_start();
    char *p = layout_memory(0);
    layout_free(0);
    check_doing("heap_free(%p) a second time", (void *)p);
    const char *message = check_panics(call_heap_free, p);
    EXPECT(message, "it returned: expected a panic, as %p has been freed just before", (void *)p);
    EXPECT(says(message, p) || says(message, p - BLOCK_HEADER),
           "the panic says '%s': expected the address %p in it", message, (void *)p);

    for (int i = 0; i < 4; i++)
        refuse_twice(i % 2, i / 2);

    layout_new();
    memset(P2V(layout_page(0)), 0, 10 * PGSIZE);
    layout_region(layout_page(1), 2);
    layout_random(900, 40);
    layout_region(layout_page(4), 1);
    layout_random(900, 40);
    layout_start();
    refuse_foreign(nobodys);
    refuse_inside();
    for (size_t n = 0; n < 3; n++)
        refuse_smashed(layout_pick(true));
    refuse_smashed(0);
    refuse_smashed(layout.npieces - 1);
}
