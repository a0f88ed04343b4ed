#include "machine.h"

#include <sanitizer/asan_interface.h>
#include <string.h>

#include "kalloc.h"
#include "page.h"
#include "types.h"

/*
 * Owned pages lie in one array, poisoned for AddressSanitizer wherever the code under test has no business: around
 * and between the owned ranges, and in every free page. So a read of a page after its kfree is found at once.
 */
static char memory[(2 * MACHINE_PAGES + 2) * PGSIZE] __attribute__((aligned(PGSIZE)));

static struct {
    char *address;
    bool free;
    bool taken; /* since machine_call */
} pages[MACHINE_PAGES];
static size_t npages, nfree;
static size_t
    index_at[sizeof(memory) / PGSIZE]; /* of each page of `memory`; MACHINE_PAGES: not owned */

struct range usable_ranges[MACHINE_PAGES + 1]; /* for page_owned */
static size_t nranges;

static size_t asked, fail_at;
static bool in_vm_free, flushed;

uint64_t machine_kernbase, phystop;
void (*machine_on_sync)(void);

/* ---- Memory ---- */

static size_t
index_of(uint64_t pa)
{
    size_t i = (pa - MACHINE_PA) / PGSIZE;

    return pa >= MACHINE_PA && i < ARRAY_SIZE(index_at) ? index_at[i] : MACHINE_PAGES;
}

void
machine_start(size_t n, size_t range)
{
    machine_kernbase = (uint64_t)memory - MACHINE_PA;
    phystop = MACHINE_PA + sizeof(memory);
    ASAN_UNPOISON_MEMORY_REGION(memory, sizeof(memory));
    for (size_t i = 0; i < ARRAY_SIZE(index_at); i++) {
        index_at[i] = MACHINE_PAGES;
    }
    nranges = 0;
    memset(usable_ranges, 0, sizeof(usable_ranges));
    npages = n;
    size_t at = 1;
    for (size_t i = 0; i < n; i++, at++) {
        if (range != 0 && i % range == 0) {
            at++;
        }
        if (range != 0 ? i % range == 0 : i == 0) {
            usable_ranges[nranges++].start = MACHINE_PA + at * PGSIZE;
        }
        usable_ranges[nranges - 1].end = MACHINE_PA + (at + 1) * PGSIZE;
        index_at[at] = i;
        pages[i].address = memory + at * PGSIZE;
        memset(pages[i].address, 0xff, PGSIZE);
    }
    kmem.free_list = NULL;
    fail_at = 0;
    machine_call(false);
    ASAN_POISON_MEMORY_REGION(memory, sizeof(memory));
    for (size_t i = 0; i < n; i++) {
        ASAN_UNPOISON_MEMORY_REGION(pages[i].address, PGSIZE);
    }
    alloc_init();
    machine_adopt();
    if (nfree != n) {
        broken("alloc_init made %zu pages of %zu free", nfree, n);
    }
}

size_t
machine_pages(void)
{
    return npages;
}

size_t
machine_index(const void *page)
{
    return (uint64_t)page % PGSIZE == 0 ? index_of(V2P(page)) : MACHINE_PAGES;
}

void *
machine_page(size_t index)
{
    return pages[index].address;
}

bool
machine_is_free(size_t index)
{
    return pages[index].free;
}

void
machine_take_all(void)
{
    kmem.free_list = NULL;
    nfree = 0;
    for (size_t i = 0; i < npages; i++) {
        pages[i].free = false;
        ASAN_UNPOISON_MEMORY_REGION(pages[i].address, PGSIZE);
    }
}

/* Filled with ones, so that a table that nobody zeroed is full of valid entries. */
void
machine_put(size_t index)
{
    struct run *page = (struct run *)(void *)pages[index].address;

    memset(page, 0xff, PGSIZE);
    page->next = kmem.free_list;
    kmem.free_list = page;
    pages[index].free = true;
    nfree++;
    ASAN_POISON_MEMORY_REGION(page, PGSIZE);
}

/* Within kern/kalloc.c, calls of kfree do not come by here. */
void
machine_adopt(void)
{
    nfree = 0;
    for (size_t i = 0; i < npages; i++) {
        pages[i].free = false;
    }
    for (struct run *page = kmem.free_list, *next; page; page = next) {
        next = page->next;
        pages[machine_index(page)].free = true;
        nfree++;
        ASAN_POISON_MEMORY_REGION(page, PGSIZE);
    }
}

size_t
machine_count_free(void)
{
    for (size_t i = 0; i < npages; i++) {
        ASAN_UNPOISON_MEMORY_REGION(pages[i].address, sizeof(struct run));
    }
    size_t n = count_free_pages();
    for (size_t i = 0; i < npages; i++) {
        if (pages[i].free) {
            ASAN_POISON_MEMORY_REGION(pages[i].address, sizeof(struct run));
        }
    }
    return n;
}

/* ---- What the code under test calls, and what it is called by ---- */

char *__real_kalloc(void);
char *__wrap_kalloc(void);
void __real_kfree(char *v);
void __wrap_kfree(char *v);

/* The linker directs calls of kalloc and kfree here (--wrap). */
char *
__wrap_kalloc(void)
{
    asked++;
    if (fail_at != 0 && asked >= fail_at) {
        return NULL;
    }
    if (kmem.free_list) {
        ASAN_UNPOISON_MEMORY_REGION(kmem.free_list, sizeof(struct run));
    }
    char *page = __real_kalloc();
    if (!page) {
        if (nfree != 0) {
            broken("kalloc returned NULL with %zu pages free", nfree);
        }
        return NULL;
    }
    size_t i = machine_index(page);
    if (i == MACHINE_PAGES) {
        broken("kalloc returned %p, which is no page of the allocator's", (void *)page);
    }
    if (!pages[i].free) {
        broken("kalloc returned page %zu, which is not free", i);
    }
    pages[i].free = false;
    pages[i].taken = true;
    nfree--;
    ASAN_UNPOISON_MEMORY_REGION(page, PGSIZE);
    return page;
}

void
__wrap_kfree(char *v)
{
    size_t i = machine_index(v);

    if (in_vm_free && !flushed) {
        broken("kfree before the TLBs are flushed");
    }
    if (i == MACHINE_PAGES) {
        __real_kfree(v); /* which panics */
        broken("kfree(%p) returned: that is no page of the allocator's", (void *)v);
    }
    if (pages[i].free) {
        broken("kfree of page %zu, which is free already", i);
    }
    __real_kfree(v);
    pages[i].free = true;
    nfree++;
    ASAN_POISON_MEMORY_REGION(v, PGSIZE);
}

void
machine_call(bool vm_free)
{
    asked = 0;
    in_vm_free = vm_free;
    flushed = false;
    for (size_t i = 0; i < npages; i++) {
        pages[i].taken = false;
    }
}

void
machine_fail(size_t k)
{
    asked = 0;
    fail_at = k;
}

size_t
machine_available(void)
{
    return fail_at != 0 && fail_at - 1 < nfree ? fail_at - 1 : nfree;
}

size_t
machine_asked(void)
{
    return asked;
}

bool
machine_taken(size_t index)
{
    return pages[index].taken;
}

void
pte_sync(void)
{
    if (machine_on_sync) {
        machine_on_sync();
    }
}

void
tlb_flush_all(void)
{
    flushed = true;
}

void
tlb_flush_page(const void *va)
{
    (void)va;
}

const struct range *
ram_usable(size_t *n)
{
    *n = nranges;
    return usable_ranges;
}

/* By the C library, which fills faster than lib/page.c under a sanitizer. */
void
page_zero(void *page)
{
    memset(page, 0, PGSIZE);
}

void
page_fill(void *page, int byte)
{
    memset(page, byte, PGSIZE);
}
