/*
 * A million calls of kmalloc and kmfree at random, while memory runs out again and again: linked instead of
 * kern/scratch.c by test_heap_trace.py. The boot arguments calls= and seed= say how many, and which.
 */
#include "bootinfo.h"
#include "console.h"
#include "kmalloc.h"
#include "memlayout.h"
#include "pmm.h"
#include "scratch.h"
#include "slab.h"

#define SIZE_BITS  16 /* objects of up to 2^16 bytes */
#define SLOTS      2048
#define RAM        0x1000000 /* at most */
#define GRANULE    16
#define WORD_BYTES (GRANULE * 64UL)

static struct object {
    uint64_t *p;
    size_t size;  /* what was asked for */
    size_t bytes; /* what there is: kmalloc_size */
    uint64_t key; /* of what it contains */
} objects[SLOTS];
static size_t live;

static uint64_t owned[RAM / WORD_BYTES]; /* a bit for each 16 bytes of RAM: an object has them */
static uint64_t random_state;
static size_t calls, failures, refused_now;

static struct eaten {
    struct eaten *next;
    unsigned order;
} * eaten;

static uint64_t
random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t
below(size_t n)
{
    return (random() >> 16) % n;
}

/* The test stops here: all is free; all is in use by those who should have it; all is free again. */
void trace_begin(void);
void trace_look(void);
void trace_end(void);

__attribute__((noinline)) void
trace_begin(void)
{
    __asm__ volatile("" : : : "memory");
}

__attribute__((noinline)) void
trace_look(void)
{
    __asm__ volatile("" : : : "memory");
}

__attribute__((noinline)) void
trace_end(void)
{
    __asm__ volatile("" : : : "memory");
}

/* ---- whose memory is it? ---- */

/* The 16 bytes at each multiple of 16 in the object get an owner, or lose it; before, none had one, or all. */
static void
own(const struct object *o, bool now)
{
    uint64_t from = V2P(o->p), stop = from + ROUNDUP(o->bytes, GRANULE);

    if (from % GRANULE != 0 || stop > RAM)
        panic("kmalloc(%lu) = %p", o->size, (void *)o->p);
    while (from < stop) {
        uint64_t first = from / GRANULE % 64, n = MIN(64 - first, (stop - from) / GRANULE);
        uint64_t bits = (n == 64 ? ~0UL : (1UL << n) - 1) << first,
                 *word = &owned[from / WORD_BYTES];
        if ((*word & bits) != (now ? 0 : bits))
            panic("call %lu: the object of %lu bytes at %p overlaps another", calls, o->size,
                  (void *)o->p);
        *word ^= bits;
        from += n * GRANULE;
    }
}

/* Two words in turn, of which one is the other's complement, up to the last byte. */
__attribute__((no_sanitize("undefined"))) static void
fill(const struct object *o)
{
    uint64_t *w = o->p, *stop = w + o->size / 32 * 4, key = o->key;

    for (; w < stop; w += 4) {
        w[0] = w[2] = key;
        w[1] = w[3] = ~key;
    }
    for (char *c = (char *)w; c < (char *)o->p + o->size; c++)
        *c = (char)key;
}

__attribute__((no_sanitize("undefined"))) static void
check(const struct object *o)
{
    const uint64_t *w = o->p, *stop = w + o->size / 32 * 4;
    uint64_t key = o->key, wrong = 0;

    for (; w < stop; w += 4)
        wrong |= (w[0] ^ key) | (w[2] ^ key) | ~(w[1] ^ key) | ~(w[3] ^ key);
    for (const char *c = (const char *)w; c < (const char *)o->p + o->size; c++)
        wrong |= (uint64_t)(*c ^ (char)key);
    if (wrong)
        panic("call %lu: the object of %lu bytes at %p was overwritten", calls, o->size,
              (void *)o->p);
}

/* ---- the calls ---- */

static void
take_one(void)
{
    struct object *o = &objects[live];
    size_t bits = below(SIZE_BITS + 1), few = below(SIZE_BITS + 1); /* small ones more often */
    size_t size = 1 + below(1UL << MIN(bits, few));
    bool zero = random() % 16 == 0, ask = random() % 16 == 0;
    bool space = ask && mem_has_space(MEM_HEAP, size);

    calls++;
    *o = (struct object){.p = zero ? kzalloc(size) : kmalloc(size), .size = size, .key = random()};
    if (ask && space != (o->p != NULL))
        panic("call %lu: mem_has_space(MEM_HEAP, %lu) said %s", calls, size, space ? "yes" : "no");
    if (!o->p) {
        failures++;
        refused_now++;
        return;
    }
    o->bytes = kmalloc_size(o->p);
    if (o->bytes < size)
        panic("call %lu: kmalloc_size of %lu bytes is %lu", calls, size, o->bytes);
    own(o, true);
    for (size_t i = 0; zero && i < size; i++)
        if (((const char *)o->p)[i] != 0)
            panic("call %lu: kzalloc(%lu): byte %lu is not zero", calls, size, i);
    fill(o);
    live++;
}

static void
free_one(size_t i)
{
    struct object o = objects[i];

    calls++;
    check(&o);
    own(&o, false);
    kmfree(o.p);
    objects[i] = objects[--live];
}

/* ---- memory runs out ---- */

/* All of it, or some. */
static void
eat(void)
{
    size_t most = random() % 2 ? 100000 : below(200);

    for (unsigned order = (unsigned)below(PMM_ORDERS) + 1; order-- > 0;)
        for (uint64_t pa; most > 0 && (pa = pmm_alloc(order)) != 0; most--) {
            struct eaten *e = P2V(pa);
            *e = (struct eaten){eaten, order};
            eaten = e;
        }
}

static void
give_back(void)
{
    while (eaten) {
        struct eaten *e = eaten;
        eaten = e->next;
        if (pmm_free(V2P(e), e->order) < 0)
            panic("call %lu: a block that was taken meanwhile cannot be given back", calls);
    }
}

void
scratch(void)
{
    uint64_t wanted = 0;
    size_t most = 0, hungry = 0;

    if (!bootarg_number("calls", &wanted) || !bootarg_number("seed", &random_state))
        panic("calls= and seed= are missing");
    random_state = random_state * 2 + 1;
    slabs_trim();
    trace_begin();
    for (size_t more = 50, looks = 1; calls < wanted;) {
        if (random() % 1024 == 0)
            more = 20 + below(61); /* of 100 calls, so many take */
        if (random() % 4096 == 0) {
            eat();
            hungry++;
        }
        if (eaten && random() % 1024 == 0)
            give_back();
        if (live == 0 || (live < SLOTS && below(100) < more && refused_now < 64)) {
            take_one();
        } else {
            free_one(below(live));
            refused_now -= refused_now > 0;
        }
        most = MAX(most, live);
        if (calls >= looks * wanted / 8) {
            trace_look();
            looks++;
        }
    }
    cprintf("trace: %lu calls, %lu times no memory, taken away %lu times, at most %lu objects\n",
            calls, failures, hungry, most);
    while (live > 0)
        free_one(below(live));
    give_back();
    slabs_trim();
    trace_end();
}
