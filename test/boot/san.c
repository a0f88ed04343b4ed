/*
 * Mistakes with memory, one for each boot of a kernel that is built with SAN=1 or DEBUG=1: linked instead of
 * kern/scratch.c by test_san.py, and chosen by the boot argument try=NAME. What is touched wrongly is reached
 * through a pointer that the compiler knows nothing about, or UBSan would notice first.
 */
#include "bootinfo.h"
#include "console.h"
#include "kalloc.h"
#include "memlayout.h"
#include "scratch.h"
#include "string.h"
#if LAB >= 4
#include "kmalloc.h"
#endif

/* The same pointer. */
static char *
hidden(void *p)
{
    __asm__("" : "+r"(p));
    return p;
}

#define SEED static __attribute__((noinline)) void

static char pad[8];
static char name[10] = "bramble";
static uint64_t table[5];

/* ---- Global variables ---- */

SEED
global_write(void)
{
    hidden(name)[sizeof(name)] = 1;
}

SEED
global_read(void)
{
    cprintf("%d\n", hidden(table)[sizeof(table) + 3]);
}

SEED
global_before(void)
{
    hidden(table)[-1] = 1;
}

SEED
global_memset(void)
{
    memset(hidden(name), 0, sizeof(name) + 1);
}

SEED
global_memcpy(void)
{
    memcpy(hidden(pad), hidden(table), sizeof(pad) + 1);
}

SEED
global_memmove(void)
{
    memmove(hidden(table), hidden(name), sizeof(name) + 4);
}

SEED
global_strlen(void)
{
    memset(name, 'x', sizeof(name));
    cprintf("%lu\n", strlen(hidden(name)));
}

SEED
global_strlcpy(void)
{
    strlcpy(hidden(name), "0123456789", 20);
}

SEED
string_literal(void)
{
    cprintf("%d\n", hidden((void *)(uintptr_t) "four")[5]);
}

/* ---- Pages ---- */

SEED
drop_page(char *page)
{
    kfree(page);
}

static __attribute__((noinline)) char *
take_page(void)
{
    return hidden(kalloc());
}

SEED
page_write(void)
{
    char *page = take_page();

    drop_page(page);
    page[100] = 1;
}

SEED
page_read(void)
{
    char *page = take_page();

    drop_page(page);
    cprintf("%lu\n", *(uint64_t *)(void *)(page + 4088));
}

SEED
page_twice(void)
{
    char *page = take_page();

    drop_page(page);
    drop_page(page);
}

SEED
page_wild(void)
{
    hidden(P2V(PHYSTOP / 2))[5] = 1;
}

#if LAB >= 3
SEED
block_read(void)
{
    uint64_t pa = pmm_alloc(2);

    if (pa != 0 && pmm_free(pa, 2) == 0)
        cprintf("%d\n", hidden(P2V(pa))[2 * PGSIZE + 7]);
}
#endif

/* ---- All of it done right ---- */

SEED
nothing_wrong(void)
{
    char *page = take_page();

    memset(page, 1, PGSIZE);
    memset(name, 'x', sizeof(name));
    hidden(name)[sizeof(name) - 1] = 0;
    hidden(table)[sizeof(table) - 1] = 1;
    memcpy(hidden(table), name, strlen(name) + 1);
    drop_page(page);
    page = take_page();
    page[PGSIZE - 1] = 1;
    drop_page(page);
}

#define TRY(name)   \
    {               \
#name, name \
    }

static const struct {
    const char *name;
    void (*run)(void);
} tries[] = {
    TRY(global_write),   TRY(global_read),    TRY(global_before), TRY(global_memset),
    TRY(global_memcpy),  TRY(global_memmove), TRY(global_strlen), TRY(global_strlcpy),
    TRY(string_literal), TRY(page_write),     TRY(page_read),     TRY(page_twice),
    TRY(page_wild),
#if LAB >= 3
    TRY(block_read),
#endif
    TRY(nothing_wrong),
};

void
scratch(void)
{
    char wanted[40];

    if (!bootarg("try", wanted, sizeof(wanted)))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
        if (strcmp(tries[i].name, wanted) == 0) {
            cprintf("try: %s\n", wanted);
            tries[i].run();
            cprintf("try: nothing happened\n");
            return;
        }
    }
    cprintf("try: there is no %s\n", wanted);
}
