#include "elf_file.h"

#include <string.h>

#include "elf.h"
#include "errno.h"
#include "report.h"
#include "uapi/mman.h"

#define PAGE 4096u

typedef unsigned __int128 wide; /* in which no sum wraps */

void
elf_make_good(uint8_t file[GOOD_SIZE])
{
    const Elf64_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE},
        .e_type = ET_EXEC,
        .e_machine = EM_AARCH64,
        .e_version = EV_CURRENT,
        .e_entry = GOOD_ENTRY,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 4,
    };
    const Elf64_Phdr segments[4] = {
        {PT_LOAD, PF_R | PF_X, 0, 0x400000, 0x400000, 0x180, 0x180, PAGE},
        {PT_LOAD, PF_R, 0x180, 0x401180, 0x401180, 0xc0, 0xc0, PAGE},
        {PT_LOAD, PF_R | PF_W, 0x240, 0x402240, 0x402240, 0x100, 0x2dd0, PAGE},
        {PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16},
    };

    for (size_t i = 0; i < GOOD_SIZE; i++) {
        file[i] = (uint8_t)(i * 7 % 251 + 1);
    }
    memcpy(file, &header, sizeof(header));
    memcpy(file + sizeof(header), segments, sizeof(segments));
}

static Elf64_Phdr
program_header(const void *file, const Elf64_Ehdr *h, size_t i)
{
    Elf64_Phdr p;

    memcpy(&p, (const char *)file + h->e_phoff + i * sizeof(p), sizeof(p));
    return p;
}

static bool
is_good_header(const Elf64_Ehdr *h, size_t size)
{
    return memcmp(h->e_ident, ELFMAG, SELFMAG) == 0 && h->e_ident[EI_CLASS] == ELFCLASS64
        && h->e_ident[EI_DATA] == ELFDATA2LSB && h->e_ident[EI_VERSION] == EV_CURRENT
        && (h->e_ident[EI_OSABI] == ELFOSABI_NONE || h->e_ident[EI_OSABI] == ELFOSABI_LINUX)
        && h->e_type == ET_EXEC && h->e_machine == EM_AARCH64 && h->e_version == EV_CURRENT
        && h->e_ehsize == sizeof(Elf64_Ehdr) && h->e_phentsize == sizeof(Elf64_Phdr)
        && h->e_phnum != 0 && h->e_phnum != PN_XNUM
        && (wide)h->e_phoff + h->e_phnum * sizeof(Elf64_Phdr) <= size;
}

static bool
is_good_segment(const Elf64_Phdr *p, size_t size, uint64_t limit)
{
    bool in_file = p->p_filesz == 0 || (wide)p->p_offset + p->p_filesz <= size;
    bool in_memory = p->p_vaddr >= PAGE && (wide)p->p_vaddr + p->p_memsz <= limit;
    bool aligned = p->p_vaddr % PAGE == p->p_offset % PAGE
                && (p->p_align <= 1
                    || (__builtin_popcountl(p->p_align) == 1
                        && p->p_vaddr % p->p_align == p->p_offset % p->p_align));

    return in_file && in_memory && aligned && (p->p_flags & (PF_W | PF_X)) != (PF_W | PF_X);
}

bool
elf_is_good(const void *file, size_t size, uint64_t limit)
{
    Elf64_Ehdr h;
    size_t segments = 0;
    uint64_t last_page = 0;
    bool entry = false;

    if (size < sizeof(h)) {
        return false;
    }
    memcpy(&h, file, sizeof(h));
    if (!is_good_header(&h, size)) {
        return false;
    }
    for (size_t i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p = program_header(file, &h, i);
        if (p.p_type == PT_INTERP || (p.p_type == PT_LOAD && p.p_filesz > p.p_memsz)) {
            return false;
        }
        if (p.p_type != PT_LOAD || p.p_memsz == 0) {
            continue;
        }
        if (++segments > ELF_SEGMENTS || !is_good_segment(&p, size, limit)
            || p.p_vaddr / PAGE <= last_page) {
            return false;
        }
        last_page = (p.p_vaddr + p.p_memsz - 1) / PAGE;
        entry = entry
             || ((p.p_flags & PF_X) && h.e_entry >= p.p_vaddr && h.e_entry < p.p_vaddr + p.p_memsz);
    }
    return segments > 0 && entry && h.e_entry % 4 == 0;
}

/* Is what elf_read says of a good file what the file says? */
static bool
agrees(const void *file, const struct elf *elf)
{
    Elf64_Ehdr h;
    size_t n = 0;
    uint64_t stop = 0, headers = 0;

    memcpy(&h, file, sizeof(h));
    for (size_t i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p = program_header(file, &h, i);
        if (p.p_type != PT_LOAD || p.p_memsz == 0) {
            continue;
        }
        const struct elf_segment *s = &elf->segment[n++];
        int prot = (p.p_flags & PF_R ? PROT_READ : 0) | (p.p_flags & PF_W ? PROT_WRITE : 0)
                 | (p.p_flags & PF_X ? PROT_EXEC : 0);
        if (s->va != p.p_vaddr || s->filesz != p.p_filesz || s->memsz != p.p_memsz
            || s->offset != p.p_offset || s->prot != prot) {
            return false;
        }
        stop = p.p_vaddr + p.p_memsz;
        if (headers == 0 && h.e_phoff >= p.p_offset
            && (wide)h.e_phoff + h.e_phnum * sizeof(p) <= (wide)p.p_offset + p.p_filesz) {
            headers = p.p_vaddr + (h.e_phoff - p.p_offset);
        }
    }
    return elf->nsegments == n && elf->entry == h.e_entry && elf->end == stop
        && elf->phdr == headers && elf->phnum == h.e_phnum;
}

const char *
elf_check_read(const void *file, size_t size, uint64_t limit)
{
    bool good = elf_is_good(file, size, limit);
    struct elf elf, again;
    const char *why = "never said";

    memset(&elf, 0x5b, sizeof(elf));
    int error = elf_read(file, size, limit, &elf, &why);
    if (error != (good ? 0 : -ENOEXEC) || (why == NULL) != good
        || elf_read(file, size, limit, &again, NULL) != error) {
        broken("elf_read returns %d (%s) for a file that is %s", error, why ? why : "no reason",
               good ? "good" : "not good");
    }
    if (good && !agrees(file, &elf)) {
        broken("elf_read says of a file what is not in it");
    }
    return why;
}
