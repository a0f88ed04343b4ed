/*
 * kern/pmm.c, kern/kcache.c and kern/kalloc.c in every reachable state of a few pages: in each of them, every
 * call with every argument, right or wrong. pages.c judges.
 *
 * A state is what pages.c knows. In what order the free blocks are on their lists, and the pages on kalloc's, is not
 * part of it: every free block has its turn as the one that pmm_alloc takes, and otherwise the order is
 * another one every time.
 */
#include "lib.h"

#include "errno.h"
#include "kalloc.h"
#include "pages.h"

#define FIRST_PA   0x12340000000u /* of the table: a multiple of the largest block */
#define LARGEST    (1UL << (PMM_ORDERS - 1))
#define MANAGED    12 /* pages, at most */
#define FRAMES_MAX 16

/*
 * Banks, pages of them that are reserved, and where the search ends: states with more users than
 * the blocks in use have at least, or with more pages in the cache, are judged but not gone on from.
 */
static const struct layout {
    const char *name;
    struct {
        size_t first, n;
    } zone[3];
    size_t reserved[3]; /* frames; 0: none */
    unsigned more_users, cached;
} layouts[] = {
    {"a bank of twelve pages", {{0, 12}}, {0}, 0, 0},
    {"a bank with odd ends", {{3, 10}}, {0}, 1, 0},
    {"two banks, and a reserved page", {{1, 6}, {8, 5}}, {3}, 1, 0},
    {"three banks, and reserved pages", {{0, 5}, {8, 2}, {11, 5}}, {3, 13}, 1, 0},
    {"eight pages, and kalloc", {{2, 8}}, {0}, 1, KCACHE_MAX - 1},
    {"two banks, and kalloc", {{0, 4}, {9, 3}}, {0}, 0, KCACHE_MAX - 1},
};

static const struct layout *layout;
static unsigned further_users; /* for a longer run */
static size_t managed[MANAGED], nmanaged, nframes;

/* ---- States as numbers ---- */

/* What a page is, in 5 bits: free, cached, inside of a block, or where one in use begins. */
enum { CODE_FREE, CODE_CACHED, CODE_INSIDE, CODE_USED };
#define USERS_SEEN 4

static uint64_t
state_of_model(void)
{
    uint64_t key = 0;

    for (size_t j = 0; j < nmanaged; j++) {
        size_t i = managed[j];
        uint64_t code = CODE_FREE;
        if (pages.kind[i] == PAGE_CACHED) {
            code = CODE_CACHED;
        } else if (pages.kind[i] == PAGE_USED && pages.head[i] != i) {
            code = CODE_INSIDE;
        } else if (pages.kind[i] == PAGE_USED) {
            code = CODE_USED + pages.order[i] * USERS_SEEN + pages.users[i] - 1;
        } else if (pages.kind[i] == PAGE_NONE) {
            broken("frame %zu is lost", i);
        }
        key |= code << 5 * j;
    }
    return key;
}

static uint64_t shuffle_seed = 5;

static void
swap(size_t list[], size_t i, size_t j)
{
    size_t old = list[i];

    list[i] = list[j];
    list[j] = old;
}

/* The machine and the model in that state; the free block that begins at frame `chosen` is the first on its list. */
static void
set_up(uint64_t key, size_t chosen)
{
    size_t order[MANAGED] = {0};

    pages_start();
    for (size_t z = 0; z < nzones; z++) {
        for (size_t i = zones[z].n; i < zones[z].n + PMM_ORDERS; i++) {
            zones[z].link[i].next = zones[z].link[i].prev = (uint32_t)i;
        }
    }
    memset(frames.state, FRAME_NONE, frames.n);
    kmem.free_list = NULL;
    kmem.count = 0;
    for (size_t j = 0; j < nmanaged; j++) {
        size_t k = random_below(&shuffle_seed, j + 1);
        order[j] = j;
        swap(order, j, k);
    }
    for (size_t j = 0; j < nmanaged; j++) {
        if (managed[order[j]] == chosen) {
            swap(order, j, nmanaged - 1);
        }
    }
    for (size_t j = 0; j < nmanaged; j++) {
        size_t i = managed[order[j]];
        uint64_t code = key >> 5 * order[j] & 31;
        if (code == CODE_FREE) {
            pages_set_free(i, 1);
        } else if (code == CODE_CACHED) {
            struct run *page = P2V(pool_pa(i));
            pages_set_cached(i);
            frames.state[i] = FRAME_CACHED;
            page->next = kmem.free_list;
            kmem.free_list = page;
            kmem.count++;
        } else if (code >= CODE_USED) {
            unsigned block = (unsigned)(code - CODE_USED) / USERS_SEEN;
            uint32_t users = (uint32_t)(code - CODE_USED) % USERS_SEEN + 1;
            pages_set_used(i, block, users);
            frames.state[i] = (uint8_t)((users > 1 ? FRAME_SHARED : FRAME_USED) + block);
            pool_link(i)->users = users;
        }
    }
    for (size_t z = 0; z < nzones; z++) {
        zones[z].free = pages.free[z];
        zones[z].pages = pages.managed[z];
    }
    for (size_t j = 0; j < nmanaged; j++) {
        size_t i = managed[order[j]];
        if (pages.kind[i] == PAGE_FREE && i % (1UL << pages_free_order(i)) == 0) {
            zone_push(&zones[pool_zone_of(i)], i - pool_base(pool_zone_of(i)), pages_free_order(i));
        }
    }
}

/* ---- The states seen ---- */

/* A hash set, and the order in which they came, which is the queue of the search. */
#define STATES_MAX (1u << 19)
static uint64_t seen[2 * STATES_MAX], states[STATES_MAX];
static size_t nstates;

static bool
within_bounds(void)
{
    size_t more = 0;

    for (size_t j = 0; j < nmanaged; j++) {
        size_t i = managed[j];
        if (pages.kind[i] == PAGE_USED && pages.head[i] == i) {
            more += pages.users[i] - 1;
        }
    }
    return more <= layout->more_users + further_users && pages.ncached <= layout->cached;
}

static void
visit(void)
{
    if (!within_bounds()) {
        return;
    }
    uint64_t key = state_of_model(), seed = key;
    size_t at = random_below(&seed, ARRAY_SIZE(seen));

    for (; seen[at] != 0; at = (at + 1) % ARRAY_SIZE(seen)) {
        if (seen[at] == key + 1) {
            return;
        }
    }
    seen[at] = key + 1;
    assert_true(nstates < STATES_MAX);
    states[nstates++] = key;
}

/*
 * How many states there should be: count[u][c] of them have u more users than blocks and c pages in the
 * cache. A region of a block's size is two halves, each in any state, or else one block in use.
 */
struct counts {
    uint64_t n[4][KCACHE_MAX];
    bool whole; /* all of its pages are managed */
};

static struct counts
count_region(size_t first, unsigned order)
{
    struct counts all = {.whole = true};

    if (order == 0) {
        all.whole = false;
        for (size_t j = 0; j < nmanaged; j++) {
            all.whole = all.whole || managed[j] == first;
        }
        all.n[0][0] = 1;
        if (all.whole && KCACHE_MAX > 1) {
            all.n[0][1] = 1;
        }
    } else {
        struct counts low = count_region(first, order - 1);
        struct counts high = count_region(first + (1UL << (order - 1)), order - 1);
        all.whole = low.whole && high.whole;
        for (size_t u = 0; u < 4; u++) {
            for (size_t c = 0; c < KCACHE_MAX; c++) {
                for (size_t v = 0; v <= u; v++) {
                    for (size_t d = 0; d <= c; d++) {
                        all.n[u][c] += low.n[v][d] * high.n[u - v][c - d];
                    }
                }
            }
        }
    }
    if (all.whole && order < PMM_ORDERS) {
        for (size_t u = 0; u < 4; u++) {
            all.n[u][0]++;
        }
    }
    return all;
}

static uint64_t
count_states(void)
{
    unsigned order = 0;
    uint64_t n = 0;

    while (1UL << order < nframes) {
        order++;
    }
    struct counts all = count_region(0, order);
    for (size_t u = 0; u <= layout->more_users + further_users; u++) {
        for (size_t c = 0; c <= layout->cached; c++) {
            n += all.n[u][c];
        }
    }
    return n;
}

/* ---- The search ---- */

static uint64_t exploring;
static const char *doing;
static long doing_with[2];
static size_t calls, refused;

static void
explain(void)
{
    fprintf(stderr, "%s, state %#lx: %s with %ld, %ld\n", layout->name, (unsigned long)exploring,
            doing, doing_with[0], doing_with[1]);
    for (size_t j = 0; j < nmanaged; j++) {
        fprintf(stderr, "%zu:%lu ", managed[j], (unsigned long)(exploring >> 5 * j & 31));
    }
    fputc('\n', stderr);
}

/* A call has been made. If it did something, look where that has led, and go back. */
static void
made(bool changed)
{
    calls++;
    refused += !changed;
    if (changed) {
        visit();
        set_up(exploring, frames.n);
    }
}

/* Frames from one before the table to one behind it. */
static uint64_t
address(size_t i)
{
    return FIRST_PA + (i - 1) * PGSIZE;
}

/* For explain(): the call that follows, its frame (-1: the one in front of the table), and what else there is. */
static void
about_to(const char *call, size_t frame, size_t other)
{
    doing = call;
    doing_with[0] = (long)frame;
    doing_with[1] = (long)other;
}

static void
allocate(void)
{
    for (unsigned order = PMM_ORDERS; order < 36; order += 4) {
        about_to("pmm_alloc of an order", order, 0);
        made(pages_alloc(order) != 0);
    }
    size_t chosen = 0;
    bool any = false;
    for (; chosen < frames.n; chosen++) {
        bool begins =
            frames.state[chosen] != FRAME_NONE && FRAME_KIND(frames.state[chosen]) == FRAME_FREE;
        for (unsigned order = 0; begins && order < PMM_ORDERS; order++) {
            about_to("pmm_alloc, this frame the first on its list, and order", chosen, order);
            set_up(exploring, chosen);
            made(pages_alloc(order) != 0);
            any = true;
        }
    }
    for (unsigned order = 0; !any && order < PMM_ORDERS; order++) {
        about_to("pmm_alloc, nothing free, of order", order, 0);
        size_t before = pages.ncached;
        made(pages_alloc(order) != 0 || pages.ncached != before);
    }
}

static void
free_blocks(void)
{
    for (size_t i = 0; i < nframes + 2; i++) {
        for (unsigned order = 0; order <= PMM_ORDERS; order++) {
            about_to("pmm_free", i - 1, order);
            made(pages_free(address(i), order) == 0);
        }
        about_to("pmm_free, unaligned", i - 1, i % 3);
        made(pages_free(address(i) + i + 1, (unsigned)i % 3) == 0);
    }
    about_to("pmm_free with orders of many bits", 2, 0);
    made(pages_free(address(3), 1u << 31) == 0);
    made(pages_free(address(3), FRAME_SHARED) == 0);
    made(pages_free(address(3), FRAME_FREE) == 0);
    made(pages_free(address(3), UINT32_MAX) == 0);
}

static void
free_ranges(void)
{
    static const size_t huge[] = {SIZE_MAX,  SIZE_MAX / PGSIZE, SIZE_MAX / PGSIZE + 1,
                                  1UL << 52, (1UL << 52) + 1,   1UL << 63};

    for (size_t i = 0; i < nframes + 2; i++) {
        for (size_t n = 0; n <= nframes + 2 - i; n++) {
            about_to("pmm_free_range", i - 1, n);
            made(pages_free_range(address(i), n) == 0);
        }
        about_to("pmm_free_range of too many", i - 1, 0);
        made(pages_free_range(address(i), huge[i % ARRAY_SIZE(huge)]) == 0);
        made(pages_free_range(address(i), SIZE_MAX - i + 2) == 0); /* ends in front of the table */
        about_to("pmm_free_range, unaligned", i - 1, 0);
        made(pages_free_range(address(i) + 1, 1) == 0);
        made(pages_free_range(address(i) + PGSIZE / 2, 2) == 0);
    }
}

static void
share(void)
{
    for (size_t i = 0; i < nframes + 2; i++) {
        about_to("page_share", i - 1, 0);
        made(pages_share(address(i)) >= 0);
        made(pages_share(address(i) + 1 + i) >= 0);
        about_to("page_unshare", i - 1, 0);
        made(pages_unshare(address(i)) >= 0);
        made(pages_unshare(address(i) + 1 + i) >= 0);
    }
}

static void
use_cache(void)
{
    about_to("kalloc", 0, 0);
    made(pages_kalloc() != NULL);
    about_to("kcache_refill", 0, 0);
    made(pages_refill() > 0);
    for (size_t n = 0; n <= KCACHE_MAX + 1; n++) {
        about_to("kcache_drain", n, 0);
        made(pages_drain(n) > 0);
    }
    about_to("kcache_drain of all", 0, 0);
    made(pages_drain(SIZE_MAX) > 0);
    for (size_t i = 0; i < nframes + 2; i++) {
        about_to("kfree", i - 1, 0);
        made(pages_kfree(P2V(address(i))));
        made(pages_kfree((char *)P2V(address(i)) + 8));
    }
}

static void
start_layout(const struct layout *l)
{
    layout = l;
    nframes = nmanaged = 0;
    for (size_t z = 0; z < ARRAY_SIZE(l->zone) && l->zone[z].n > 0; z++) {
        nframes = ROUNDUP(l->zone[z].first + l->zone[z].n, LARGEST);
    }
    assert_true(nframes <= FRAMES_MAX);
    pool_start(FIRST_PA, FRAMES_MAX * PGSIZE, false);
    pool_table(FIRST_PA, nframes);
    for (size_t z = 0; z < ARRAY_SIZE(l->zone) && l->zone[z].n > 0; z++) {
        pool_zone(l->zone[z].first, l->zone[z].n);
        zones[z].watermark[WATERMARK_MIN] = 1;
        zones[z].watermark[WATERMARK_LOW] = 2 + z;
        zones[z].watermark[WATERMARK_HIGH] = 5;
        for (size_t i = l->zone[z].first; i < l->zone[z].first + l->zone[z].n; i++) {
            bool reserved = false;
            for (size_t j = 0; j < ARRAY_SIZE(l->reserved); j++) {
                reserved = reserved || (l->reserved[j] != 0 && l->reserved[j] == i);
            }
            if (!reserved) {
                assert_true(nmanaged < MANAGED);
                managed[nmanaged++] = i;
            }
        }
    }
}

static void
explore(const struct layout *l)
{
    start_layout(l);
    memset(seen, 0, sizeof(seen));
    nstates = calls = refused = 0;
    set_up(0, frames.n); /* all of it is free */
    visit();
    for (size_t n = 0; n < nstates; n++) {
        exploring = states[n];
        set_up(exploring, frames.n);
        pages_check();
        assert_int_equal(state_of_model(), exploring);
        allocate();
        set_up(exploring, frames.n);
        free_blocks();
        free_ranges();
        share();
        if (layout->cached > 0) {
            use_cache();
        }
    }
    print_message("[          ] %s: %zu states, %zu calls, %zu of them refused\n", l->name, nstates,
                  calls, refused);
    /* No state is out of reach, and there is none that should not be. */
    assert_int_equal(nstates, count_states());
}

static void
every_state_of_a_few_pages(void **state)
{
    (void)state;
    pages_thorough = true;
    machine_explain = explain;
    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
        explore(&layouts[i]);
    }
    machine_explain = NULL;
}

int
main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_of_a_few_pages),
    };

    if (argc > 1) {
        further_users = (unsigned)MIN(strtoul(argv[1], NULL, 10), 2UL);
    }
    print_message("[          ] blocks of up to %lu pages\n", LARGEST);
    return cmocka_run_group_tests_name("states", tests, NULL, NULL);
}
