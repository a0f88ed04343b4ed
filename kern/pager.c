/*
 * The pages of programs' files, and the page of zeroes: each is there once, for all who use it.
 */
#include "pager.h"
#include "errno.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "page.h"
#include "pmm.h"
#include "string.h"
#include "vma.h"

static struct image *images;
uint64_t zero_page;

int
pager_init(void)
{
    char *page = zero_page ? NULL : kalloc();

    if (page) {
        page_zero(page);
        zero_page = V2P(page);
    }
    return zero_page ? 0 : -ENOMEM;
}

/* How many pages of the segment have something of the file in them. */
static size_t
pages_of(const struct elf_segment *s)
{
    if (s->filesz == 0)
        return 0;
    return (ROUNDUP(s->va + s->filesz, PGSIZE) - ROUNDDOWN(s->va, PGSIZE)) / PGSIZE;
}

int
image_get(const void *file, size_t size, struct image **image)
{
    struct elf elf;
    size_t npages = 0;

    for (struct image *i = images; i; i = i->next)
        if (i->file == file && i->size == size) {
            i->users++;
            *image = i;
            return 0;
        }
    int error = elf_read(file, size, USER_MMAP_TOP, &elf, NULL);
    if (error)
        return error;
    for (size_t i = 0; i < elf.nsegments; i++)
        npages += pages_of(&elf.segment[i]);
    struct image *new = kzalloc(sizeof(*new) + npages * sizeof(new->page[0]));
    if (!new)
        return -ENOMEM;
    new->file = file;
    new->size = size;
    new->elf = elf;
    new->users = 1;
    new->npages = npages;
    new->next = images;
    images = *image = new;
    return 0;
}

struct image *
image_share(struct image *image)
{
    if (image)
        image->users++;
    return image;
}

void
image_put(struct image *image)
{
    struct image **link = &images;

    if (!image || --image->users > 0)
        return;
    while (*link != image)
        link = &(*link)->next;
    *link = image->next;
    for (size_t i = 0; i < image->npages; i++)
        if (image->page[i])
            kfree(P2V(image->page[i]));
    kmfree(image);
}

/* What the file has for the page at va, of segment s; the rest is zero. */
static void
fill(char *page, const char *file, uint64_t va, const struct elf_segment *s)
{
    uint64_t from = MAX(va, s->va), to = MIN(va + PGSIZE, s->va + s->filesz);

    memset(page, 0, from - va);
    memcpy(page + (from - va), file + s->offset + (from - s->va), to - from);
    memset(page + (to - va), 0, va + PGSIZE - to);
}

int
pager_page(struct image *image, uint64_t va, uint64_t *pa)
{
    uint64_t *slot = image->page;

    *pa = 0;
    for (size_t i = 0; i < image->elf.nsegments; i++) {
        const struct elf_segment *s = &image->elf.segment[i];
        uint64_t index = (va - ROUNDDOWN(s->va, PGSIZE)) / PGSIZE;
        if (va < ROUNDDOWN(s->va, PGSIZE) || index >= pages_of(s)) {
            slot += pages_of(s);
            continue;
        }
        slot += index;
        if (!*slot) {
            char *page = kalloc();
            if (!page)
                return -ENOMEM;
            fill(page, image->file, va, s);
            *slot = V2P(page);
        }
        if (page_share(*slot) < 0)
            return -ENOMEM;
        *pa = *slot;
        return 0;
    }
    return 0;
}

void
pager_each(void (*fn)(uint64_t pa))
{
    if (zero_page)
        fn(zero_page);
    for (const struct image *image = images; image; image = image->next)
        for (size_t i = 0; i < image->npages; i++)
            if (image->page[i])
                fn(image->page[i]);
}
