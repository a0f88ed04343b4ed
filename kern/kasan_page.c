/*
 * Who has which page, for `make SAN=1`: a page that nobody has taken may not be touched. The linker's
 * --wrap=kalloc leads every call of kalloc that comes from another file than its own to __wrap_kalloc,
 * which knows the original as __real_kalloc; and so on. What the allocators do among themselves does
 * not come by here.
 */
#include "kalloc.h"
#include "kasan.h"
#include "mistake.h"
#include "printf.h"
#if LAB >= 3
#include "memmap.h"
#endif

/* Of each page, who took it and who gave it back last. */
static struct owner {
    code_place taken, freed;
} * owners; /* of physical address 0 */

void
kasan_page_init(void)
{
    size_t n;
    const struct range *usable = ram_usable(&n);

    owners = kasan_take_memory(PHYSTOP / PGSIZE * sizeof(*owners));
    for (size_t i = 0; owners && i < n; i++)
        kasan_poison(P2V(usable[i].start), usable[i].end - usable[i].start, POISON_PAGE);
}

/* The pages at v are somebody's. A broken allocator may hand out anything: what is no RAM is left alone. */
static void
take(void *v, size_t npages, const void *by)
{
    if (!owners || !ram_holds(V2P(v), npages * PGSIZE))
        return;
    kasan_unpoison(v, npages * PGSIZE);
    for (size_t i = V2P(v) / PGSIZE; npages-- > 0; i++)
        owners[i] = (struct owner){.taken = place_of(by)};
}

/* The pages at v are nobody's. */
static void
give(void *v, size_t npages, const void *by)
{
    if (!owners || !ram_holds(V2P(v), npages * PGSIZE))
        return;
    kasan_poison(v, npages * PGSIZE, POISON_PAGE);
    for (size_t i = V2P(v) / PGSIZE; npages-- > 0; i++)
        owners[i].freed = place_of(by);
}

void
kasan_describe_page(uint64_t addr, char *text, size_t size)
{
    const struct owner *owner = &owners[V2P(addr) / PGSIZE];
    char taken[PLACE_SIZE], freed[PLACE_SIZE];

    size_t n = distance_text(addr, ROUNDDOWN(addr, PGSIZE), PGSIZE, text, size);

    if (owner->taken && owner->freed)
        snprintf(text + n, size - n, " a page that %s took and %s freed",
                 place_text(owner->taken, taken), place_text(owner->freed, freed));
    else
        snprintf(text + n, size - n, " a page that nobody has taken");
}

/* ---- In place of the allocators' functions ---- */

char *__real_kalloc(void);
char *__wrap_kalloc(void);

char *
__wrap_kalloc(void)
{
    char *v = __real_kalloc();

    if (v)
        take(v, 1, __builtin_return_address(0));
    return v;
}

void __real_kfree(char *v);
void __wrap_kfree(char *v);

void
__wrap_kfree(char *v)
{
    char text[160];

    if ((uint64_t)v % PGSIZE == 0 && kasan_is(v, POISON_PAGE)) {
        kasan_describe_page((uint64_t)v, text, sizeof(text));
        mistake((uint64_t)__builtin_frame_address(0), "kasan: double free: kfree(%p) %s", v, text);
    }
#if LAB >= 3
    if (page_refs(V2P(v)) > 1) { /* the other users keep it */
        __real_kfree(v);
        return;
    }
#endif
    __real_kfree(v);
    give(v, 1, __builtin_return_address(0));
}

void __real_free_range(void *vstart, void *vend);
void __wrap_free_range(void *vstart, void *vend);

void
__wrap_free_range(void *vstart, void *vend)
{
    char *first = ROUNDUP((char *)vstart, PGSIZE), *stop = ROUNDDOWN((char *)vend, PGSIZE);

    __real_free_range(vstart, vend);
    if (first < stop)
        give(first, (size_t)(stop - first) / PGSIZE, __builtin_return_address(0));
}

void __real_ram_withdraw(uint64_t start, uint64_t stop);
void __wrap_ram_withdraw(uint64_t start, uint64_t stop);

void
__wrap_ram_withdraw(uint64_t start, uint64_t stop)
{
    __real_ram_withdraw(start, stop);
    if (start < stop)
        take(P2V(start), (stop - start) / PGSIZE, __builtin_return_address(0));
}

#if LAB >= 3
/* Pages that went by pmm_free or in another way are not followed: they are watched again once taken. */

uint64_t __real_pmm_alloc(unsigned order);
uint64_t __wrap_pmm_alloc(unsigned order);

uint64_t
__wrap_pmm_alloc(unsigned order)
{
    uint64_t pa = __real_pmm_alloc(order);

    if (pa)
        take(P2V(pa), 1UL << order, __builtin_return_address(0));
    return pa;
}

int __real_pmm_free(uint64_t pa, unsigned order);
int __wrap_pmm_free(uint64_t pa, unsigned order);

int
__wrap_pmm_free(uint64_t pa, unsigned order)
{
    int error = __real_pmm_free(pa, order);

    if (error == 0)
        give(P2V(pa), 1UL << order, __builtin_return_address(0));
    return error;
}

uint64_t __real_alloc_frame(void);
uint64_t __wrap_alloc_frame(void);

uint64_t
__wrap_alloc_frame(void)
{
    uint64_t pa = __real_alloc_frame();

    if (pa)
        take(P2V(pa), 1, __builtin_return_address(0));
    return pa;
}

uint64_t __real_alloc_frames(size_t n);
uint64_t __wrap_alloc_frames(size_t n);

uint64_t
__wrap_alloc_frames(size_t n)
{
    uint64_t pa = __real_alloc_frames(n);

    if (pa)
        take(P2V(pa), n, __builtin_return_address(0));
    return pa;
}
#endif
