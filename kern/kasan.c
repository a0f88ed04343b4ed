/*
 * The runtime of `make SAN=1`. GCC's -fsanitize=kernel-address calls __asan_load4_noabort(address) and
 * its like before each access, and __asan_register_globals at boot with a list of each file's variables,
 * between which it has left gaps. The names, and the layout of that list, are libsanitizer's
 * (asan_interface_internal.h). This file itself is not watched.
 */
#include "kasan.h"
#include "backtrace.h"
#include "console.h"
#include "memlayout.h"
#include "mistake.h"
#include "page.h"
#include "printf.h"
#include "ram.h"
#include "string.h"

#define GRAIN 8 /* bytes that one byte of shadow speaks for */

static uint8_t *shadow;  /* of physical address 0 */
static uint64_t covered; /* physical addresses below have one; 0: it is not set up yet */

/* ---- The shadow ---- */

/* How many of the n bytes at p have a shadow. */
static size_t
covered_bytes(const void *p, size_t n)
{
    return V2P(p) < covered ? MIN(n, covered - V2P(p)) : 0;
}

void
kasan_poison(const void *p, size_t n, enum poison why)
{
    n = covered_bytes(p, n);
    if (n > 0)
        memset(&shadow[V2P(p) / GRAIN], (int)why, n / GRAIN);
}

void
kasan_unpoison(const void *p, size_t n)
{
    n = covered_bytes(p, n);
    if (n > 0)
        memset(&shadow[V2P(p) / GRAIN], 0, n / GRAIN);
    if (n % GRAIN != 0)
        shadow[(V2P(p) + n) / GRAIN] = n % GRAIN;
}

bool
kasan_is(const void *p, enum poison why)
{
    return covered_bytes(p, 1) == 1 && shadow[V2P(p) / GRAIN] == why;
}

/* How many bytes of a grain may be touched, from its beginning. */
static uint64_t
good_bytes(uint8_t grain)
{
    return grain == 0 ? GRAIN : grain < GRAIN ? grain : 0;
}

/*
 * The first of the n bytes at addr that nobody may touch; 0: there is none. Outside of RAM (devices,
 * vmalloc) whatever is mapped may be.
 */
static inline uint64_t
first_bad(uint64_t addr, size_t n)
{
    uint64_t at = V2P(addr), stop = at + covered_bytes((const void *)addr, n);

    for (uint64_t grain = at / GRAIN; at < stop && grain * GRAIN < stop; grain++) {
        if (shadow[grain] == 0)
            continue;
        uint64_t bad = MAX(at, grain * GRAIN + good_bytes(shadow[grain]));
        if (bad < MIN(stop, (grain + 1) * GRAIN))
            return bad + KERNBASE;
    }
    return 0;
}

/* ---- Global variables ---- */

/* What GCC says of a variable (struct __asan_global). */
struct global {
    uint64_t start, size, size_with_gap;
    const char *name, *file;
    uint64_t has_constructor;
    const void *place;
    uint64_t odr_indicator;
};

static struct {
    const struct global *first;
    size_t n;
} files[256];
static size_t nfiles;

void __asan_register_globals(const struct global *globals, size_t n);
void __asan_unregister_globals(const struct global *globals, size_t n);

void
__asan_register_globals(const struct global *globals, size_t n)
{
    for (const struct global *g = globals; g < globals + n; g++) {
        uint64_t gap = ROUNDUP(g->start + g->size, GRAIN);
        kasan_poison((const void *)gap, g->start + g->size_with_gap - gap, POISON_GLOBAL);
        if (g->size % GRAIN != 0)
            kasan_unpoison((const void *)g->start, g->size);
    }
    if (nfiles < ARRAY_SIZE(files)) {
        files[nfiles].first = globals;
        files[nfiles++].n = n;
    }
}

/* At the end of a program, which a kernel does not have. */
void
__asan_unregister_globals(const struct global *globals, size_t n)
{
    (void)globals, (void)n;
}

/* The variable that is next to addr. */
static void
describe_global(uint64_t addr, char *text, size_t size)
{
    const struct global *nearest = NULL;
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < nfiles; i++) {
        for (const struct global *g = files[i].first; g < files[i].first + files[i].n; g++) {
            uint64_t away = addr < g->start ? g->start - addr : addr - (g->start + g->size);
            if (away < least) {
                least = away;
                nearest = g;
            }
        }
    }
    if (!nearest)
        return;
    size_t n = distance_text(addr, nearest->start, nearest->size, text, size);
    if (nearest->name[0] == '*') /* the compiler's own: *.LC0 */
        snprintf(text + n, size - n, " a string of %lu bytes, of %s", nearest->size, nearest->file);
    else
        snprintf(text + n, size - n, " the variable %s of %lu bytes, of %s", nearest->name,
                 nearest->size, nearest->file);
}

/* ---- The report ---- */

/* Why the byte at addr, which is bad, is bad. */
static uint8_t
reason(uint64_t addr)
{
    const uint8_t *grain = &shadow[V2P(addr) / GRAIN];

    return *grain < GRAIN ? grain[1] : *grain; /* behind an object's last bytes: as what follows */
}

static __attribute__((noinline)) void
found(uint64_t bad, uint64_t addr, size_t n, bool write, const struct frame *frame)
{
    static char where[256];
    char who[PLACE_SIZE], which[48] = "";
    const char *what = "out of bounds";

    if (mistake_under_way)
        return;
    mistake_under_way = true;
    switch (reason(bad)) {
#if LAB >= 4
    case POISON_FREED:
        what = "use after free";
        kasan_describe_object(bad, where, sizeof(where));
        break;
    case POISON_HEAP:
        kasan_describe_object(bad, where, sizeof(where));
        break;
#endif
#if LAB >= 2
    case POISON_PAGE:
        what = "use of a free page";
        kasan_describe_page(bad, where, sizeof(where));
        break;
#endif
    default:
        describe_global(bad, where, sizeof(where));
    }
    if (bad != addr)
        snprintf(which, sizeof(which), "of which the one at %lx is ", bad);
    mistake((uint64_t)frame, "kasan: %s: %s %s %lu byte%s at %lx, %s%s", what,
            place_text(place_of((const void *)frame->lr), who), write ? "writes" : "reads", n,
            n == 1 ? "" : "s", addr, which, where);
}

/* ---- What the compiler calls ---- */

/* The n bytes at addr will be accessed by who has called the function whose frame record this is. */
static inline __attribute__((always_inline)) void
look_at(uint64_t addr, size_t n, bool write, const void *frame)
{
    uint64_t bad = first_bad(addr, n);
    if (__builtin_expect(bad != 0, 0))
        found(bad, addr, n, write, frame);
}

#define ACCESS(name, n, write)                               \
    void __asan_##name##_noabort(uint64_t addr);             \
    void __asan_##name##_noabort(uint64_t addr)              \
    {                                                        \
        look_at(addr, n, write, __builtin_frame_address(0)); \
    }

ACCESS(load1, 1, false)
ACCESS(load2, 2, false)
ACCESS(load4, 4, false)
ACCESS(load8, 8, false)
ACCESS(load16, 16, false)
ACCESS(store1, 1, true)
ACCESS(store2, 2, true)
ACCESS(store4, 4, true)
ACCESS(store8, 8, true)
ACCESS(store16, 16, true)

void __asan_loadN_noabort(uint64_t addr, size_t n);
void __asan_storeN_noabort(uint64_t addr, size_t n);
void __asan_handle_no_return(void);

void
__asan_loadN_noabort(uint64_t addr, size_t n)
{
    look_at(addr, n, false, __builtin_frame_address(0));
}

void
__asan_storeN_noabort(uint64_t addr, size_t n)
{
    look_at(addr, n, true, __builtin_frame_address(0));
}

/* Before a call that does not come back. Of interest to who watches the stack; we do not. */
void
__asan_handle_no_return(void)
{
}

/* ---- What watched files call by name ---- */

void *
kasan_memset(void *dst, int byte, size_t n)
{
    look_at((uint64_t)dst, n, true, __builtin_frame_address(0));
    return memset(dst, byte, n);
}

void *
kasan_memcpy(void *dst, const void *src, size_t n)
{
    look_at((uint64_t)src, n, false, __builtin_frame_address(0));
    look_at((uint64_t)dst, n, true, __builtin_frame_address(0));
    return memcpy(dst, src, n);
}

void *
kasan_memmove(void *dst, const void *src, size_t n)
{
    look_at((uint64_t)src, n, false, __builtin_frame_address(0));
    look_at((uint64_t)dst, n, true, __builtin_frame_address(0));
    return memmove(dst, src, n);
}

void
kasan_page_zero(void *page)
{
    look_at((uint64_t)page, PGSIZE, true, __builtin_frame_address(0));
    page_zero(page);
}

void
kasan_page_fill(void *page, int byte)
{
    look_at((uint64_t)page, PGSIZE, true, __builtin_frame_address(0));
    page_fill(page, byte);
}

/* ---- Setting up ---- */

void *
kasan_take_memory(uint64_t n)
{
    size_t i;
    const struct range *usable = ram_usable(&i);

    n = ROUNDUP(n, PGSIZE);
    while (i-- > 0) {
        uint64_t start = usable[i].start, stop = usable[i].end;
        if (stop - start <= n)
            continue;
        ram_withdraw(stop - n, stop);
        memset(P2V(stop - n), 0, n);
        return P2V(stop - n);
    }
    return NULL;
}

extern void (*const constructors_start[])(void), (*const constructors_end[])(void); /* linker.ld */

void
kasan_init(void)
{
    uint64_t top = MAX(PHYSTOP, V2P(end));
    uint8_t *room = kasan_take_memory(top / GRAIN);

    if (!room) {
        cprintf("kasan: no room for the shadow; memory is not watched.\n");
        return;
    }
    covered = top;
    shadow = room;
#if LAB >= 2
    kasan_page_init();
#endif
    for (void (*const *constructor)(void) = constructors_start; constructor < constructors_end;
         constructor++)
        (*constructor)(); /* they call __asan_register_globals */
    cprintf("kasan: memory is watched.\n");
}
