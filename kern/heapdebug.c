/*
 * Objects of kmalloc's and of caches, watched: for `make DEBUG=1` and `make SAN=1`.
 *
 * Each has a head in front, which says who allocated it, and a red zone behind, whose bytes are known. A
 * freed object is filled with known bytes too, and waits in a queue before it really goes back. What
 * somebody has written where nothing was his is found when the object is freed, and when it leaves the
 * queue. With SAN=1 the shadow says the same, and any access is found at once.
 */
#include "heapdebug.h"
#include "console.h"
#include "mistake.h"
#include "printf.h"
#include "ram.h"
#include "string.h"
#ifdef SAN
#include "kasan.h"
#endif

#define RED   0xbb /* the red zone */
#define FRESH 0xcd /* memory that was just allocated */
#define FREED 0xdd /* memory that was freed */

#define RED_MIN   16
#define RED_FILL  1024     /* so much of the red zone has known bytes, if it is so large */
#define QUEUE_MAX 0x100000 /* bytes that wait */

/* ---- Heads ---- */

struct head {
    struct head *next, *prev; /* on one of the rings below */
    struct slab *slab;        /* where it is from; NULL: from kmalloc */
    uint32_t size, room;      /* bytes asked for, and those with head and red zone */
    code_place taken, freed;
    uint32_t before; /* bytes from the beginning of it all to the object */
    uint32_t state;  /* state_of(): anything else, and this is no head (any more) */
};

enum kind { LIVE = 0x4c697665, WAITING = 0x57616974, GONE = 0x476f6e65 };

static struct ring {
    struct head *next, *prev;
} live = {(struct head *)&live, (struct head *)&live},
  queue = {(struct head *)&queue, (struct head *)&queue};
static size_t waiting;         /* bytes in the queue */
static SPINLOCK(watched_lock); /* for the rings; no other lock is held with it */

static uint32_t
state_of(const struct head *h, enum kind kind)
{
    return (uint32_t)(uint64_t)h ^ (uint32_t)kind;
}

static uint8_t *
object_of(const struct head *h)
{
    return (uint8_t *)(uint64_t)(h + 1);
}

static uint8_t *
beginning_of(const struct head *h)
{
    return object_of(h) - h->before;
}

/* The head of an object at p, if there is one; NULL: there cannot be. */
static struct head *
head_at(const void *p)
{
    struct head *h = (struct head *)((uint64_t)p - sizeof(*h));

    return (uint64_t)p % _Alignof(struct head) == 0 && ram_holds(V2P(h), sizeof(*h)) ? h : NULL;
}

static bool
is_head(const struct head *h, enum kind kind)
{
    return h && h->state == state_of(h, kind);
}

/* On a ring, with its neighbours? Or else somebody has written over it. */
static bool
is_on_ring(const struct head *h)
{
    return ram_holds(V2P(h->next), sizeof(*h)) && ram_holds(V2P(h->prev), sizeof(*h))
        && h->next->prev == h && h->prev->next == h;
}

static void
append(struct ring *ring, struct head *h)
{
    h->next = (struct head *)ring;
    h->prev = ring->prev;
    ring->prev->next = h;
    ring->prev = h;
}

static void
take_off(const struct head *h)
{
    h->next->prev = h->prev;
    h->prev->next = h->next;
}

/* ---- Mistakes ---- */

/* "right behind the 100 bytes that ... allocated": where addr lies, seen from this object. */
static void
describe(const struct head *h, uint64_t addr, char *text, size_t size)
{
    char taken[PLACE_SIZE], freed[PLACE_SIZE];
    size_t n = distance_text(addr, (uint64_t)object_of(h), h->size, text, size);

    n += (size_t)snprintf(text + n, size - n, " the %u bytes that %s allocated", h->size,
                          place_text(h->taken, taken));
    if (h->freed)
        snprintf(text + n, size - n, " and %s freed", place_text(h->freed, freed));
}

/* The object on one of the rings that addr lies in, or in its head or red zone; NULL: there is none. */
static const struct head *
object_around(uint64_t addr)
{
    const struct ring *rings[] = {&live, &queue};

    for (size_t i = 0; i < ARRAY_SIZE(rings); i++)
        for (const struct head *h = rings[i]->next;
             h != (const struct head *)rings[i] && is_on_ring(h); h = h->next)
            if (addr - (uint64_t)beginning_of(h) < h->room)
                return h;
    return NULL;
}

/* p is to be freed, and is no object that could be. Returns if nothing is known of it here. */
static void
refuse(const void *p, const struct head *h, const void *frame)
{
    bool gone = is_head(h, GONE), twice = gone || is_head(h, WAITING);
    const struct head *around = gone ? h : object_around((uint64_t)p);
    char text[200];

    if (!around)
        return;
    describe(around, (uint64_t)p, text, sizeof(text));
    if (around == h && !twice)
        mistake((uint64_t)frame, "heap: kmfree(%p): somebody has written right before it; it is %s",
                p, text);
    mistake((uint64_t)frame, "heap: kmfree(%p): %s: it is %s", p,
            twice ? "double free" : "not what was allocated", text);
}

/* The first of n bytes that is not this one; n: there is none. */
static size_t
first_other(const uint8_t *bytes, uint8_t byte, size_t n)
{
    size_t i = 0;

    while (i < n && bytes[i] == byte)
        i++;
    return i;
}

static size_t
red_size(const struct head *h)
{
    return MIN(h->room - h->before - h->size, (size_t)RED_FILL);
}

/* Nobody has written over the object's head, or behind it. */
static void
check_surroundings(const struct head *h, const void *frame)
{
    const uint8_t *red = object_of(h) + h->size;
    size_t i = first_other(red, RED, red_size(h));
    char text[200];

    if (!is_on_ring(h))
        mistake((uint64_t)frame, "heap: somebody has written over the %lu bytes before %p",
                sizeof(*h), (const void *)object_of(h));
    if (i == red_size(h))
        return;
    describe(h, (uint64_t)&red[i], text, sizeof(text));
    mistake((uint64_t)frame, "heap: out of bounds: the byte at %p was overwritten, %s", &red[i],
            text);
}

/* Nobody has written to the object since it was freed. */
static void
check_freed(const struct head *h, const void *frame)
{
    const uint8_t *object = object_of(h);
    size_t i = first_other(object, FREED, h->size);
    char text[200];

    if (i == h->size)
        return;
    describe(h, (uint64_t)&object[i], text, sizeof(text));
    mistake((uint64_t)frame, "heap: use after free: the byte at %p was overwritten, %s", &object[i],
            text);
}

#ifdef SAN
void
kasan_describe_object(uint64_t addr, char *text, size_t size)
{
    const struct head *h = object_around(addr);

    if (h)
        describe(h, addr, text, size);
    else
        strlcpy(text, "in memory of kmalloc's", size);
}
#endif

/* ---- The life of an object ---- */

/* There are so many bytes at p, from the cache or from kmalloc: make an object of them. */
static void *
watch(uint8_t *p, size_t room, size_t before, size_t size, struct slab *slab, const void *by)
{
    struct head *h = (struct head *)(void *)(p + before) - 1;

    *h = (struct head){.slab = slab,
                       .size = (uint32_t)size,
                       .room = (uint32_t)room,
                       .taken = place_of(by),
                       .before = (uint32_t)before};
    h->state = state_of(h, LIVE);
    memset(object_of(h), FRESH, size);
    memset(object_of(h) + size, RED, red_size(h));
#ifdef SAN
    kasan_poison(p, room, POISON_HEAP);
    kasan_unpoison(object_of(h), size);
#endif
    uint64_t flags = spin_lock(&watched_lock);
    append(&live, h);
    spin_unlock(&watched_lock, flags);
    return object_of(h);
}

/* An object that has waited goes back where it came from. */
static void
release(struct head *h, const void *frame)
{
    void *p = beginning_of(h);

    check_freed(h, frame);
    h->state = state_of(h, GONE);
#ifdef SAN
    kasan_unpoison(p, h->room);
#endif
    if (h->slab)
        slab_free(h->slab, p);
    else
        kmfree(p);
}

/* Let what has waited longest go, until no more than so many bytes wait. Returns whether any did. */
static bool
shorten_queue(size_t max, const void *frame)
{
    for (bool any = false;; any = true) {
        uint64_t flags = spin_lock(&watched_lock);
        struct head *h = waiting > max ? queue.next : NULL;
        if (h) {
            take_off(h);
            waiting -= h->room;
        }
        spin_unlock(&watched_lock, flags);
        if (!h)
            return any;
        release(h, frame);
    }
}

static void
retire(struct head *h, const void *by, const void *frame)
{
    check_surroundings(h, frame);
    memset(object_of(h), FREED, h->size);
#ifdef SAN
    kasan_poison(object_of(h), ROUNDUP(h->size, 8), POISON_FREED);
#endif
    uint64_t flags = spin_lock(&watched_lock);
    h->state = state_of(h, WAITING);
    h->freed = place_of(by);
    take_off(h);
    append(&queue, h);
    waiting += h->room;
    spin_unlock(&watched_lock, flags);
    shorten_queue(QUEUE_MAX, frame);
}

/* ---- In place of kmalloc ---- */

#define OVERHEAD (sizeof(struct head) + RED_MIN)

static void *
allocate(size_t size, const void *by, const void *frame)
{
    if (size == 0 || size > KMALLOC_MAX - OVERHEAD)
        return kmalloc(size); /* not watched */
    void *p = kmalloc(size + OVERHEAD);
    if (!p && shorten_queue(0, frame))
        p = kmalloc(size + OVERHEAD);
    if (!p)
        return NULL;
    size_t room = kmalloc_size(p), least = ROUNDUP(size + OVERHEAD, 16);
    room = MAX(room, least); /* who has not written kmalloc_size yet returns 0 */
    return watch(p, room, sizeof(struct head), size, NULL, by);
}

void *
watched_kmalloc(size_t size)
{
    return allocate(size, __builtin_return_address(0), __builtin_frame_address(0));
}

void *
watched_kzalloc(size_t size)
{
    void *p = allocate(size, __builtin_return_address(0), __builtin_frame_address(0));

    if (p)
        memset(p, 0, size);
    return p;
}

void
watched_kmfree(void *p)
{
    struct head *h = head_at(p);

    if (is_head(h, LIVE)) {
        retire(h, __builtin_return_address(0), __builtin_frame_address(0));
    } else {
        refuse(p, h, __builtin_frame_address(0));
        kmfree(p); /* not watched, NULL, or nobody's */
    }
}

size_t
watched_kmalloc_size(const void *p)
{
    const struct head *h = head_at(p);

    return is_head(h, LIVE) ? h->size : kmalloc_size(p);
}

/* ---- In place of caches ---- */

/* The caches whose objects have heads. */
static struct watched_slab {
    struct slab *slab;
    size_t size, before;
} caches[64];

static struct watched_slab *
entry_of(const struct slab *slab)
{
    for (struct watched_slab *w = caches; w < caches + ARRAY_SIZE(caches); w++)
        if (w->slab == slab)
            return w;
    return NULL;
}

struct slab *
watched_slab_create(const char *name, size_t size, size_t align)
{
    size_t before = ROUNDUP(sizeof(struct head), MAX(align, (size_t)SLAB_ALIGN));
    struct watched_slab *w = entry_of(NULL);

    if (!w || size == 0 || size > SLAB_MAX || align > SLAB_MAX
        || before + size + RED_MIN > SLAB_MAX)
        return slab_create(name, size, align);
    struct slab *slab = slab_create(name, before + size + RED_MIN, align);
    if (slab)
        *w = (struct watched_slab){slab, size, before};
    return slab;
}

void *
watched_slab_alloc(struct slab *slab)
{
    const struct watched_slab *w = entry_of(slab);
    void *p = slab_alloc(slab);

    if (!p && shorten_queue(0, __builtin_frame_address(0)))
        p = slab_alloc(slab);
    if (!p || !w || slab->construct)
        return p;
    return watch(p, slab->size, w->before, w->size, slab, __builtin_return_address(0));
}

void
watched_slab_free(struct slab *slab, void *p)
{
    struct head *h = head_at(p);

    if (is_head(h, LIVE) && h->slab == slab) {
        retire(h, __builtin_return_address(0), __builtin_frame_address(0));
    } else {
        if (entry_of(slab) && !slab->construct)
            refuse(p, h, __builtin_frame_address(0));
        slab_free(slab, p);
    }
}

void
watched_slab_destroy(struct slab *slab)
{
    struct watched_slab *w = entry_of(slab);

    shorten_queue(0, __builtin_frame_address(0));
    slab_destroy(slab);
    if (w)
        w->slab = NULL;
}

/* ---- Leaks ---- */

static struct site {
    code_place taken;
    size_t objects, bytes;
} sites[64];

/* Where in sites[0 .. n) this call site is; n: it is not there yet. */
static size_t
find_site(code_place taken, size_t n)
{
    size_t i = 0;

    while (i < n && sites[i].taken != taken)
        i++;
    return i;
}

/* Fill in sites. Returns how many there are; what finds no room counts to the last. */
static size_t
count_sites(void)
{
    size_t n = 0;

    uint64_t flags = spin_lock(&watched_lock);
    for (const struct head *h = live.next; h != (const struct head *)&live; h = h->next) {
        size_t i = MIN(find_site(h->taken, n), ARRAY_SIZE(sites) - 1);
        if (i == n)
            sites[n++] = (struct site){.taken = h->taken};
        sites[i].objects++;
        sites[i].bytes += h->size;
    }
    spin_unlock(&watched_lock, flags);
    return n;
}

void
leaks(const char *unused)
{
    size_t n = count_sites();
    char text[PLACE_SIZE];

    (void)unused;
    cprintf("  bytes objects allocated in\n");
    for (; n > 0; n--) {
        struct site *most = sites;
        for (struct site *site = sites; site < sites + n; site++)
            if (site->bytes > most->bytes)
                most = site;
        cprintf("%7lu %7lu %s\n", most->bytes, most->objects, place_text(most->taken, text));
        *most = sites[n - 1];
    }
}
