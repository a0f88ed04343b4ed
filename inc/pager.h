/*
 * Where the contents of pages come from: a program's file, or nowhere, which is a page of zeroes. What
 * several processes can use at the same time is there once. (pager.c)
 */
#ifndef INC_PAGER_H
#define INC_PAGER_H

#include "elf.h"

/* A program that runs, once or several times: its pages, as far as somebody has asked for them. */
struct image {
    const void *file;
    size_t size;
    struct elf elf;
    unsigned users; /* address spaces; the last one takes the image with it */
    struct image *next;
    size_t
        npages; /* of all segments, one behind the other: those for which the file has something */
    uint64_t page
        []; /* physical addresses, each with one user more than mappings; 0: not asked for yet */
};

/*
 * The image of the ELF file, for one more user; the file stays where it is and as it is. 0; -ENOEXEC (elf_read),
 * -ENOMEM.
 */
int image_get(const void *file, size_t size, struct image **image);

/* One user more. Returns the image, which may be NULL. */
struct image *image_share(struct image *image);

/* One user less, whose pages have gone before. NULL does nothing. */
void image_put(struct image *image);

/*
 * The page of the program at va, page-aligned: *pa, with one user more than before, who is the caller; or 0 if the file
 * has nothing for it. 0, or -ENOMEM.
 */
int pager_page(struct image *image, uint64_t va, uint64_t *pa);

/* The page of zeroes; the kernel is one of its users. 0: there is none (pager_init). */
extern uint64_t zero_page;

/* Makes it. 0, or -ENOMEM. */
int pager_init(void);

/* Call fn(pa) for each page of which the kernel itself is a user. For audit.c. */
void pager_each(void (*fn)(uint64_t pa));

#endif
