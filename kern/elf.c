/*
 * Is this file a program, and what of it goes where? Nothing in it is taken on trust, nor where it lies in memory:
 * headers are copied before they are looked at, as they need not be aligned.
 */
#include "elf.h"
#include "errno.h"
#include "string.h"
#include "vma.h"

/* The file's header, and one for each piece of it: "ELF-64 Object File Format" 1.5, figures 2 and 6. */
struct file_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct program_header {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

_Static_assert(sizeof(struct file_header) == 64 && sizeof(struct program_header) == ELF_PHENT,
               "as on paper");

enum { EI_CLASS = 4, EI_DATA, EI_VERSION, EI_OSABI }; /* places in ident */

#define CLASS_64    2
#define DATA_LITTLE 1
#define VERSION     1
#define OSABI_NONE  0
#define OSABI_LINUX 3
#define TYPE_EXEC   2 /* at fixed addresses */
#define TYPE_DYN    3 /* anywhere */
#define MACHINE     183
#define PHNUM_LATER 0xffff /* the number is somewhere else (PN_XNUM) */

#define PT_LOAD   1
#define PT_INTERP 3

#define PF_X 1
#define PF_W 2
#define PF_R 4

/* What is wrong with the file's header, or NULL. */
static const char *
check_header(const struct file_header *h, size_t size)
{
    static const uint8_t magic[4] = {0x7f, 'E', 'L', 'F'};

    if (memcmp(h->ident, magic, sizeof(magic)) != 0)
        return "not an ELF file";
    if (h->ident[EI_CLASS] != CLASS_64)
        return "not for 64 bits";
    if (h->ident[EI_DATA] != DATA_LITTLE)
        return "not little-endian";
    if (h->ident[EI_VERSION] != VERSION || h->version != VERSION)
        return "of an unknown version";
    if (h->ident[EI_OSABI] != OSABI_NONE && h->ident[EI_OSABI] != OSABI_LINUX)
        return "for another system";
    if (h->machine != MACHINE)
        return "not for AArch64";
    if (h->type == TYPE_DYN)
        return "position-independent or a shared library: link it with -static -no-pie";
    if (h->type != TYPE_EXEC)
        return "not a program";
    if (h->ehsize != sizeof(*h))
        return "its header has another size";
    if (h->phnum == 0)
        return "no program headers";
    if (h->phnum == PHNUM_LATER)
        return "too many program headers";
    if (h->phentsize != sizeof(struct program_header))
        return "its program headers have another size";
    if (h->phoff > size || h->phnum * sizeof(struct program_header) > size - h->phoff)
        return "the program headers are not in the file";
    return NULL;
}

/* What is wrong with a segment that is to be loaded, or NULL. `floor`: the first page behind the one before. */
static const char *
check_segment(const struct program_header *p, size_t size, uint64_t floor, uint64_t limit)
{
    if (p->filesz > 0 && (p->offset > size || p->filesz > size - p->offset))
        return "a segment is not in the file";
    if (p->vaddr < USER_MIN || p->vaddr >= limit || p->memsz > limit - p->vaddr)
        return "a segment is not in user memory";
    if ((p->vaddr - p->offset) % PGSIZE != 0)
        return "a segment is not at the same place of a page in file and memory";
    if (p->align > 1
        && ((p->align & (p->align - 1)) != 0 || (p->vaddr - p->offset) % p->align != 0))
        return "a segment is not aligned as it says";
    if ((p->flags & PF_W) && (p->flags & PF_X))
        return "a segment can be written and executed";
    if (ROUNDDOWN(p->vaddr, PGSIZE) < floor)
        return "segments overlap, share a page, or are not in order";
    return NULL;
}

/* One more segment. What is wrong with it, or NULL. */
static const char *
add_segment(struct elf *elf, const struct program_header *p, size_t size, uint64_t limit)
{
    if (p->filesz > p->memsz)
        return "a segment has more in the file than in memory";
    if (p->memsz == 0)
        return NULL;
    if (elf->nsegments == ELF_SEGMENTS)
        return "too many segments";
    const char *wrong = check_segment(p, size, ROUNDUP(elf->end, PGSIZE), limit);
    if (wrong)
        return wrong;

    struct elf_segment *s = &elf->segment[elf->nsegments++];
    *s = (struct elf_segment){.va = p->vaddr,
                              .filesz = p->filesz,
                              .memsz = p->memsz,
                              .offset = p->offset};
    s->prot |= p->flags & PF_R ? PROT_READ : 0;
    s->prot |= p->flags & PF_W ? PROT_WRITE : 0;
    s->prot |= p->flags & PF_X ? PROT_EXEC : 0;
    elf->end = s->va + s->memsz;
    return NULL;
}

static bool
is_entry(const struct elf *elf, uint64_t va)
{
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        if ((s->prot & PROT_EXEC) && va >= s->va && va - s->va < s->memsz)
            return va % 4 == 0;
    }
    return false;
}

/* Where n bytes of the file, from offset on, are in memory; 0: in no segment. */
static uint64_t
loaded_at(const struct elf *elf, uint64_t offset, uint64_t n)
{
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        if (offset >= s->offset && offset - s->offset <= s->filesz
            && n <= s->filesz - (offset - s->offset))
            return s->va + (offset - s->offset);
    }
    return 0;
}

/* elf_read; what is wrong, or NULL. */
static const char *
read_file(const char *file, size_t size, uint64_t limit, struct elf *elf)
{
    struct file_header h = {0};

    if (size < sizeof(h))
        return "shorter than its header";
    memcpy(&h, file, sizeof(h));
    const char *wrong = check_header(&h, size);

    *elf = (struct elf){.entry = h.entry, .phnum = h.phnum};
    for (size_t i = 0; !wrong && i < h.phnum; i++) {
        struct program_header p = {0};
        memcpy(&p, file + h.phoff + i * sizeof(p), sizeof(p));
        if (p.type == PT_INTERP)
            wrong = "linked dynamically: link it with -static";
        else if (p.type == PT_LOAD)
            wrong = add_segment(elf, &p, size, limit);
    }
    if (wrong)
        return wrong;
    if (elf->nsegments == 0)
        return "nothing to load";
    if (!is_entry(elf, h.entry))
        return "it begins where nothing can be executed";
    elf->phdr = loaded_at(elf, h.phoff, h.phnum * sizeof(struct program_header));
    return NULL;
}

int
elf_read(const void *file, size_t size, uint64_t limit, struct elf *elf, const char **why)
{
    const char *wrong = read_file(file, size, limit, elf);

    if (why)
        *why = wrong;
    return wrong ? -ENOEXEC : 0;
}
