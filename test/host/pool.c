#include "pool.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "console.h"
#include "errno.h"
#include "kalloc.h"
#include "kvm.h"
#include "memmap.h"
#include "page.h"
#include "pmm.h"
#ifdef POOL_CACHES
#include "caches.h"
#include "heap.h"
#endif

/* Its state is made once in a kernel's life: a machine that starts over has to set it back. */
#include "../../kern/ram.c" // NOLINT(bugprone-suspicious-include)

#define LARGEST (1UL << (PMM_ORDERS - 1))

char end[1];
uint64_t machine_kernbase;

/* ---- Memory ---- */

static char *window;
static uint64_t window_start, window_size;
static bool guarded;  /* the window, */
static bool guarding; /* which is in use */

static void
allow(uint64_t pa, uint64_t n)
{
    if (guarding && pa - window_start < window_size) {
        ASAN_UNPOISON_MEMORY_REGION(P2V(pa), n);
    }
}

static void
guard(uint64_t pa, uint64_t n)
{
    if (guarding && pa - window_start < window_size) {
        ASAN_POISON_MEMORY_REGION(P2V(pa), n);
    }
}

/* Pages that have been touched stay as they are: nobody may rely on zeros. */
static void
open_window(uint64_t start, uint64_t size, bool guard_it)
{
    guarding = size > 0 && guard_it;
    if (size == 0) {
        machine_kernbase = 0xffff000000000000u; /* no program has memory there */
        return;
    }
    if (size != window_size || guard_it != guarded) {
        if (window) {
            ASAN_UNPOISON_MEMORY_REGION(window, window_size);
            munmap(window, window_size);
        }
        window = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (window == MAP_FAILED) {
            broken("no %lu MiB of address space", (unsigned long)size >> 20);
        }
        window_size = size;
        guarded = guard_it;
        if (guarded) {
            ASAN_POISON_MEMORY_REGION(window, size);
        }
    }
    window_start = start;
    machine_kernbase = (uint64_t)window - start;
}

/* ---- Starting over ---- */

/* Could this be the state of what the pmm has handed out, or kalloc has? */
static bool
in_use(uint8_t state)
{
    unsigned kind = FRAME_KIND(state);

#if LAB >= 4
    if (kind == FRAME_SLAB || kind == FRAME_LARGE) {
        return true;
    }
#endif
    return kind == FRAME_USED || kind == FRAME_SHARED || state == FRAME_CACHED;
}

static uint8_t *own_state;
static struct link *own_links[ZONES_MAX];
static struct range taken[200]; /* from the memmap */
static size_t ntaken;
static struct spinlock *held, *outer; /* outer: taken before held */
const struct spinlock *pool_outer;

void
pool_start(uint64_t start, uint64_t size, bool guard_it)
{
    /* What the last machine had unguarded. */
    if (guarding) {
        for (size_t i = 0; i < frames.n; i++) {
            if (in_use(frames.state[i])) {
                guard(pool_pa(i), (uint64_t)PGSIZE << FRAME_ORDER(frames.state[i]));
            }
        }
    }
    for (size_t i = 0; i < ntaken; i++) {
        guard(taken[i].start, taken[i].end - taken[i].start);
    }
    ntaken = 0;
    free(own_state);
    own_state = NULL;
    for (size_t i = 0; i < ZONES_MAX; i++) {
        free(own_links[i]);
        own_links[i] = NULL;
    }
    memset(&frames, 0, sizeof(frames));
    memset(zones, 0, sizeof(zones));
    nzones = 0;
    memset(&kmem, 0, sizeof(kmem));
#ifdef POOL_CACHES
    heap = (struct heap){0};
    caches_start_over();
#endif
    memset(banks, 0, sizeof(banks));
    memset(reserved, 0, sizeof(reserved));
    memset(usable_ranges, 0, sizeof(usable_ranges));
    nbanks = nreserved = nusable = 0;
    limit = UINT64_MAX;
    phystop = 0;
    held = outer = NULL;
    pool_outer = NULL;
    pool_locked = 0;
    pool_fail(0);
    pool_forged = 0;
    pool_no_memmap = false;
    pool_panics = 0;
    open_window(start, size, guard_it);
}

void
pool_bank(uint64_t start, uint64_t stop)
{
    ram_add(start, stop);
}

void
pool_reserve(uint64_t start, uint64_t stop)
{
    ram_reserve(start, stop);
}

/* ram_init, but for the kernel's image. */
void
pool_banks_done(void)
{
    map_banks();
    find_usable();
}

uint64_t
kvm_map_ram(uint64_t from, uint64_t to)
{
    (void)from;
    return to;
}

bool
pool_fill_memmap(void)
{
    if (nbanks == 0 || memmap_init(banks[0].start, phystop) < 0) {
        return false;
    }
    uint64_t at = banks[0].start;
    for (const struct range *r = usable_ranges; r->end != 0; r++) {
        memmap_reserve(at, r->start);
        at = r->end;
    }
    memmap_reserve(at, phystop);
    return true;
}

/* By the C library, which fills faster than lib/page.c under a sanitizer. */
void
page_fill(void *page, int byte)
{
    memset(page, byte, PGSIZE);
}

/* What the host's allocator gives is guarded on both sides, and no link of it is a good one. */
static void *
host_table(size_t size)
{
    void *table = malloc(size);

    if (!table) {
        broken("no %zu bytes for a table", size);
    }
    return memset(table, 0x6b, size);
}

void
pool_table(uint64_t first, size_t n)
{
    n = ROUNDUP(n, LARGEST);
    own_state = host_table(n);
    frames_set(first, n, own_state);
}

void
pool_zone(size_t first, size_t n)
{
    uint64_t start = pool_pa(first), stop = start + n * PGSIZE;

    own_links[nzones] = host_table(zone_links(start, stop) * sizeof(struct link));
    zone_add(start, stop, own_links[nzones]);
}

uint64_t
pool_pa(size_t i)
{
    return V2P(frames.first) + i * PGSIZE;
}

size_t
pool_base(size_t zone)
{
    return (zones[zone].base - V2P(frames.first)) / PGSIZE;
}

size_t
pool_zone_of(size_t i)
{
    for (size_t z = 0; z < nzones; z++) {
        if (i >= pool_base(z) && i - pool_base(z) < zones[z].n) {
            return z;
        }
    }
    return ZONES_MAX;
}

struct link *
pool_link(size_t i)
{
    size_t z = pool_zone_of(i);

    return &zones[z].link[i - pool_base(z)];
}

/* ---- Locks ---- */

/* The interrupt mask that spin_lock has returned for the lock that is held, and for one around it. */
static uint64_t mask, outer_mask, next_mask;

/* What each lock contains between two calls, as nobody else is to write to it: tickets, as in a real one. */
static struct {
    const struct spinlock *lock;
    uint32_t word;
} known[8];

size_t pool_locked;

static uint32_t *
word_of(const struct spinlock *lock)
{
    size_t i = 0;

    while (i < ARRAY_SIZE(known) - 1 && known[i].lock && known[i].lock != lock) {
        i++;
    }
    if (!known[i].lock) {
        known[i].lock = lock;
        known[i].word = lock->word;
    }
    return &known[i].word;
}

void (*pool_meanwhile)(void);
void (*pool_on_lock)(const struct spinlock *lock, bool taken);

uint64_t
spin_lock(struct spinlock *lock)
{
    if (pool_meanwhile) {
        void (*other_core)(void) = pool_meanwhile;
        pool_meanwhile = NULL;
        other_core();
    }
    if (held == lock || outer == lock) {
        broken("%s is taken twice", lock->name);
    }
    if (held && (held != pool_outer || (lock != &kmem_lock && lock != &pmm_lock))) {
        broken("%s is taken with %s held", lock->name, held->name);
    }
    if (lock->word != *word_of(lock)) {
        broken("%s has been written to", lock->name);
    }
    outer = held;
    outer_mask = mask;
    held = lock;
    lock->next++;
    pool_locked++;
    next_mask = next_mask * 0x5851f42d4c957f2du + 0x14057b7ef767814fu; /* any, another every time */
    mask = next_mask;
    if (pool_on_lock) {
        pool_on_lock(lock, true);
    }
    return mask;
}

void
spin_unlock(struct spinlock *lock, uint64_t flags)
{
    if (held != lock) {
        broken("%s is released, which is not held", lock->name);
    }
    if (flags != mask) {
        broken("%s is released with an interrupt mask that is not spin_lock's", lock->name);
    }
    if (pool_on_lock) {
        pool_on_lock(lock, false);
    }
    lock->serving++;
    *word_of(lock) = lock->word;
    held = outer;
    mask = outer_mask;
    outer = NULL;
}

size_t
spinlocks_reset(const char **name)
{
    if (!held) {
        return 0;
    }
    *name = held->name;
    held->serving = held->next;
    *word_of(held) = held->word;
    held = NULL;
    return 1;
}

void
pool_check_locks(const char *where)
{
    if (held && held != pool_outer) {
        broken("%s: %s is held", where, held->name);
    }
}

/* ---- Calls, on their way in and out ---- */

static size_t asked, fail_at;
uint64_t pool_forged;
bool pool_no_memmap;
int pool_panics;

void
pool_fail(size_t k)
{
    asked = 0;
    fail_at = k;
}

size_t
pool_will_succeed(void)
{
    return fail_at == 0 ? SIZE_MAX : fail_at - 1 > asked ? fail_at - 1 - asked : 0;
}

static size_t
call_begins(const char *name)
{
    pool_check_locks(name);
    return pool_locked;
}

/* Whoever has changed anything, or looked at it, has taken a lock for it. */
static void
call_ended(const char *name, bool done, size_t locked_before)
{
    pool_check_locks(name);
    if (done && pool_locked == locked_before) {
        broken("%s takes no lock", name);
    }
}

/*
 * The linker directs all calls between files here (--wrap). `done` says whether the result is that of a call that
 * did what it was asked for.
 */
#define WRAP(type, name, parameters, arguments, done)    \
    type __real_##name parameters;                       \
    type __wrap_##name parameters;                       \
    type __wrap_##name parameters                        \
    {                                                    \
        size_t before = call_begins(#name " is called"); \
        type result = __real_##name arguments;           \
        call_ended(#name, done, before);                 \
        return result;                                   \
    }

#define WRAP_VOID(name, parameters, arguments)           \
    void __real_##name parameters;                       \
    void __wrap_##name parameters;                       \
    void __wrap_##name parameters                        \
    {                                                    \
        size_t before = call_begins(#name " is called"); \
        __real_##name arguments;                         \
        call_ended(#name, true, before);                 \
    }

WRAP_VOID(memmap_reserve, (uint64_t start, uint64_t stop), (start, stop))
WRAP(uint64_t, alloc_frame, (void), (), true)
WRAP(int, free_frame, (uint64_t pa), (pa), result == 0)
WRAP(int, page_share, (uint64_t pa), (pa), result >= 0)
WRAP(unsigned, page_refs, (uint64_t pa), (pa), result > 0)
WRAP(bool, pmm_init, (void), (), result)
WRAP(bool, mem_has_space, (enum mem_type type, size_t size), (type, size), false)
WRAP(size_t, pmm_wanted, (enum watermark mark), (mark), true)
WRAP_VOID(pmm_stats, (struct pmm_stats * stats), (stats))
WRAP(size_t, kcache_refill, (void), (), result > 0)
WRAP(size_t, kcache_drain, (size_t n), (n), result > 0)
WRAP(char *, kalloc, (void), (), true)
WRAP_VOID(kfree, (char *v), (v))

/* The linker chose these names. */
// NOLINTBEGIN(bugprone-reserved-identifier)
uint64_t __real_pmm_alloc(unsigned order);
uint64_t __wrap_pmm_alloc(unsigned order);
int __real_pmm_free(uint64_t pa, unsigned order);
int __wrap_pmm_free(uint64_t pa, unsigned order);
int __real_pmm_free_range(uint64_t pa, size_t npages);
int __wrap_pmm_free_range(uint64_t pa, size_t npages);
int __real_page_unshare(uint64_t pa);
int __wrap_page_unshare(uint64_t pa);
int __real_memmap_init(uint64_t start, uint64_t stop);
int __wrap_memmap_init(uint64_t start, uint64_t stop);
uint64_t __real_alloc_frames(size_t n);
uint64_t __wrap_alloc_frames(size_t n);
// NOLINTEND(bugprone-reserved-identifier)

uint64_t
__wrap_pmm_alloc(unsigned order)
{
    size_t before = call_begins("pmm_alloc is called");
    if (fail_at != 0 && ++asked >= fail_at) {
        return 0;
    }
    if (pool_forged != 0) {
        return pool_forged;
    }
    uint64_t pa = __real_pmm_alloc(order);
    call_ended("pmm_alloc", pa != 0, before);
    if (pa != 0) {
        allow(pa, (uint64_t)PGSIZE << order);
    }
    return pa;
}

int
__wrap_pmm_free(uint64_t pa, unsigned order)
{
    size_t before = call_begins("pmm_free is called");
    int error = __real_pmm_free(pa, order);
    call_ended("pmm_free", error == 0, before);
    if (error == 0) {
        guard(pa, (uint64_t)PGSIZE << order);
    }
    return error;
}

int
__wrap_pmm_free_range(uint64_t pa, size_t npages)
{
    size_t before = call_begins("pmm_free_range is called");
    int error = __real_pmm_free_range(pa, npages);
    call_ended("pmm_free_range", error == 0, before);
    if (error == 0) {
        guard(pa, npages * PGSIZE);
    }
    return error;
}

int
__wrap_page_unshare(uint64_t pa)
{
    size_t before = call_begins("page_unshare is called");
    size_t i = frame_index(P2V(pa));
    unsigned order = i < frames.n ? FRAME_ORDER(frames.state[i]) : 0;
    int left = __real_page_unshare(pa);
    call_ended("page_unshare", left >= 0, before);
    if (left == 0) {
        guard(pa, (uint64_t)PGSIZE << order);
    }
    return left;
}

int
__wrap_memmap_init(uint64_t start, uint64_t stop)
{
    if (pool_no_memmap) {
        return -EINVAL;
    }
    if (pool_panics != 0) {
        if (pool_panics > 1) {
            spin_lock(&memmap_lock);
        }
        panic("memmap_init is wrong");
    }
    size_t before = call_begins("memmap_init is called");
    int error = __real_memmap_init(start, stop);
    call_ended("memmap_init", error == 0, before);
    return error;
}

/* Whoever takes frames of the memmap may use them: the pmm, for its tables. They are full of anything. */
uint64_t
__wrap_alloc_frames(size_t n)
{
    size_t before = call_begins("alloc_frames is called");
    uint64_t pa = __real_alloc_frames(n);
    call_ended("alloc_frames", pa != 0, before);
    if (pa != 0 && guarding && ntaken < ARRAY_SIZE(taken)) {
        taken[ntaken++] = (struct range){pa, pa + n * PGSIZE};
        allow(pa, n * PGSIZE);
        memset(P2V(pa), 0x6b, n * PGSIZE);
    }
    return pa;
}

/* ---- Nothing has changed? ---- */

static char *saved;
static size_t saved_size, saved_room;
static char *compared;
static bool differs;

static void
save(const void *from, size_t n)
{
    if (saved_size + n > saved_room) {
        saved_room = 2 * (saved_size + n);
        saved = realloc(saved, saved_room);
        if (!saved) {
            broken("no memory to save the state in");
        }
    }
    memcpy(saved + saved_size, from, n);
    saved_size += n;
}

static void
compare(const void *with, size_t n)
{
    differs = differs || memcmp(compared, with, n) != 0;
    compared += n;
}

#ifdef POOL_CACHES
/*
 * What is in all pages but the free ones (which are guarded), as one number: heap and caches keep in pages what
 * they remember, too. It reads what nobody else may.
 */
__attribute__((no_sanitize("address"))) static uint64_t
contents(void)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < frames.n; i++) {
        uint8_t state = frames.state[i];
        if (FRAME_KIND(state) == FRAME_FREE) {
            i += (1UL << FRAME_ORDER(state)) - 1;
        } else if (pool_pa(i) - window_start < window_size) {
            const uint64_t *word = P2V(pool_pa(i));
            for (size_t k = 0; k < PGSIZE / sizeof(*word); k++) {
                uint64_t mixed = (word[k] + i * PGSIZE + k) * 0x9e3779b97f4a7c15u;
                sum += (mixed ^ mixed >> 32) * 0x94d049bb133111ebu;
            }
        }
    }
    return sum;
}
#endif

static void
all_state(void (*fn)(const void *, size_t))
{
    const struct memmap *map = memmap_get();

#ifdef POOL_CACHES
    uint64_t sum = contents();
    fn(&sum, sizeof(sum));
    fn(&heap, sizeof(heap));
    caches_state(fn);
#endif
    fn(&frames, sizeof(frames));
    fn(zones, sizeof(zones[0]) * (nzones + 1));
    fn(&kmem, sizeof(kmem));
    if (frames.state) {
        fn(frames.state, frames.n);
    }
    for (size_t i = 0; i < nzones; i++) {
        fn(zones[i].link, (zones[i].n + PMM_ORDERS) * sizeof(struct link));
    }
    if (map->max_frames > 0) {
        fn(map, sizeof(*map));
        fn(map->bitmap, MEMMAP_FRAMES / 8);
        fn(map->reserved, MEMMAP_FRAMES / 8);
    }
}

void
pool_save(void)
{
    saved_size = 0;
    save(&nzones, sizeof(nzones));
    all_state(save);
}

bool
pool_changed(void)
{
    differs = false;
    compared = saved;
    compare(&nzones, sizeof(nzones));
    if (!differs) {
        all_state(compare);
    }
    return differs;
}
