/*
 * malloc over brk: the free blocks in a list by address, and the first that is large enough is taken. What is freed
 * joins its free neighbours. Memory never goes back to the kernel before the program ends.
 */
#include "libc.h"

#define ALIGN 16
#define CHUNK (64 * 1024) /* the heap grows by so much at least */

/* In front of every block, free or not. */
struct block {
    size_t size;        /* bytes behind this header, a multiple of ALIGN */
    struct block *next; /* the next free one, if this one is free */
};
_Static_assert(sizeof(struct block) == ALIGN,
               "what is behind a header is aligned as well as the header");

static struct block *free_list;

static char *
end_of(struct block *b)
{
    return (char *)(b + 1) + b->size;
}

/* What is behind the first size bytes becomes a block of its own, if it is large enough. */
static void
split(struct block *b, size_t size)
{
    if (b->size < size + sizeof(struct block) + ALIGN)
        return;
    struct block *rest = (struct block *)(void *)((char *)(b + 1) + size);
    rest->size = b->size - size - sizeof(struct block);
    b->size = size;
    free(rest + 1);
}

/* More memory for the free list. Does it have a block of this size now? */
static bool
grow(size_t size)
{
    size_t n = ROUNDUP(size + sizeof(struct block), CHUNK);
    struct block *b = sbrk((long)n);

    if (!b)
        return false;
    b->size = n - sizeof(struct block);
    free(b + 1);
    return true;
}

void *
malloc(size_t size)
{
    if (size == 0 || size > 1UL << 40)
        return NULL;
    size = ROUNDUP(size, ALIGN);
    do {
        for (struct block **link = &free_list; *link; link = &(*link)->next) {
            struct block *b = *link;
            if (b->size >= size) {
                *link = b->next;
                split(b, size);
                return b + 1;
            }
        }
    } while (grow(size));
    return NULL;
}

void
free(void *p)
{
    struct block *before = NULL, **link = &free_list;

    if (!p)
        return;
    struct block *b = (struct block *)p - 1;
    while (*link && *link < b) {
        before = *link;
        link = &before->next;
    }
    b->next = *link;
    *link = b;
    if (b->next && end_of(b) == (char *)b->next) {
        b->size += sizeof(struct block) + b->next->size;
        b->next = b->next->next;
    }
    if (before && end_of(before) == (char *)b) {
        before->size += sizeof(struct block) + b->size;
        before->next = b->next;
    }
}

void *
calloc(size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    void *p = malloc(bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

void *
realloc(void *p, size_t size)
{
    void *copy = malloc(size);

    if (copy && p) {
        memcpy(copy, p, MIN(size, ((struct block *)p - 1)->size));
        free(p);
    }
    return copy;
}

void *
sbrk(long n)
{
    static char *end;

    if (!end)
        end = brk(NULL);
    if (brk(end + n) != end + n)
        return NULL;
    end += n;
    return end - n;
}
