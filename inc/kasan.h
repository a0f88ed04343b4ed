/*
 * Who may touch which byte of memory: what `make SAN=1` adds to the kernel. The compiler calls the
 * runtime before each load and store of a watched file; it looks the address up in the shadow, one byte
 * for every 8 bytes of RAM. (kasan.c)
 *
 * Not watched are the allocators and the checks, which read and write free memory on purpose, and what
 * runs before the MMU is on: the Makefile's UNWATCHED.
 */
#ifndef INC_KASAN_H
#define INC_KASAN_H

#include "types.h"

/*
 * A byte of shadow: 0: all of the 8 bytes may be touched; 1 to 7: only so many at the beginning; or why
 * none of them may be.
 */
enum poison {
    POISON_GLOBAL = 0xf9, /* between two global variables */
    POISON_HEAP = 0xfa,   /* around an object of kmalloc's */
    POISON_FREED = 0xfd,  /* in an object that was freed */
    POISON_PAGE = 0xfe,   /* in a page that nobody has taken from kalloc or the pmm */
};

/* Set the shadow up: after bootinfo_init, once. Nothing is looked at before. */
void kasan_init(void);

/* Nobody may touch the n bytes at p, or anybody. p is a multiple of 8; for poison, n is one as well. */
void kasan_poison(const void *p, size_t n, enum poison why);
void kasan_unpoison(const void *p, size_t n);

/* Is this byte poisoned for that reason? */
bool kasan_is(const void *p, enum poison why);

/*
 * n bytes of RAM, zeroed, off the top of the highest usable range that has them; NULL: none has. For
 * what is kept besides the shadow, before the allocators get what is usable.
 */
void *kasan_take_memory(uint64_t n);

/* The usable pages are nobody's: they are poisoned until somebody takes them. */
void kasan_page_init(void);

/*
 * What is known of the poisoned byte at addr, into text: "right behind the 100 bytes that ...". (kasan_page.c
 * for pages, heapdebug.c for objects of kmalloc's)
 */
void kasan_describe_page(uint64_t addr, char *text, size_t size);
void kasan_describe_object(uint64_t addr, char *text, size_t size);

/* string.h and page.h lead watched files to these: they look at whole areas, then do what the name says. */
void *kasan_memset(void *dst, int byte, size_t n);
void *kasan_memcpy(void *dst, const void *src, size_t n);
void *kasan_memmove(void *dst, const void *src, size_t n);
void kasan_page_zero(void *page);
void kasan_page_fill(void *page, int byte);

#endif
