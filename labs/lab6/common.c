/*
 * What the checks of lab 6 need before they can begin, and the program whose pages they ask for.
 */
#include "errno.h"
#include "fork.h"
#include "lab6.h"
#include "pagefault.h"
#include "string.h"

/* ---- what is to be written first ---- */

#define SOME_VA 0x400000UL

static void
do_nothing(void)
{
    check_doing("%s", "");
}

void
need_aspace_copy(void)
{
    sides_start(16);
    need_shared_pages();
    sides_start(16);
    side_range(&parent, SOME_VA, SOME_VA + PGSIZE, PROT_READ, VMA_ANON);
    side_map(&parent, SOME_VA, frame_new(1), PROT_READ);
    check_doing("aspace_copy(to, from), of one page");
    int result = aspace_copy(&child.as, &parent.as);
    EXPECT(result == 0, "found %s, with memory free: write aspace_copy in kern/fork.c first",
           error_name(result));
    const uint64_t *entry = side_entry(&child, SOME_VA);
    EXPECT(entry && *entry & PTE_P,
           "found no page mapped in to: write aspace_copy in kern/fork.c first");
    do_nothing();
}

/* An address space with one range of a page, in which what the check wants is mapped or not. */
static const struct vma *
one_page(bool mapped, unsigned users)
{
    sides_start(16);
    need_shared_pages();
    need_user_pte();
    sides_start(16);
    side_range(&parent, SOME_VA, SOME_VA + PGSIZE, PROT_READ | PROT_WRITE, VMA_ANON);
    if (mapped)
        side_map(&parent, SOME_VA, frame_new(users), PROT_READ);
    return parent.as.vmas;
}

/* It does anything at all to the child. */
void
need_fork_registers(void)
{
    static struct proc made;
    static char stack[STACK_SIZE] __attribute__((aligned(16)));
    const struct trap_frame frame = {.elr = 1};

    made = (struct proc){.kstack = stack};
    memset(stack, 0, sizeof(stack));
    check_doing("fork_registers(child, frame, 0)");
    fork_registers(&made, &frame, 0);
    EXPECT(made.context.lr || made.context.sp || proc_frame(&made)->elr,
           "found nothing of the child changed: write fork_registers in kern/fork.c first");
    do_nothing();
}

void
need_page_fault(void)
{
    one_page(true, 1);
    check_doing("page_fault(as, 0x%lx, PROT_READ), where the page is mapped already", SOME_VA);
    int result = page_fault(&parent.as, SOME_VA, PROT_READ);
    EXPECT(result == 0, "found %s: write page_fault in kern/pagefault.c first", error_name(result));
    do_nothing();
}

void
need_fault_absent(void)
{
    const struct vma *v = one_page(false, 0);

    need_user_map();
    check_doing("fault_absent(as, v, 0x%lx, PROT_READ)", SOME_VA);
    int result = fault_absent(&parent.as, v, SOME_VA, PROT_READ);
    EXPECT(result == 0, "found %s, with memory free: write fault_absent in kern/pagefault.c first",
           error_name(result));
    do_nothing();
}

void
need_fault_cow(void)
{
    const struct vma *v = one_page(true, 2);

    check_doing("fault_cow(as, v, 0x%lx)", SOME_VA);
    int result = fault_cow(&parent.as, v, SOME_VA);
    EXPECT(result == 0, "found %s, with memory free: write fault_cow in kern/pagefault.c first",
           error_name(result));
    do_nothing();
}

/* ---- a program ---- */

union made_up program;

/* What would be its file: no more than the segments' contents, somewhere in it. */
#define FILE_SIZE (PROGRAM_PAGES * PGSIZE)
static uint8_t file[FILE_SIZE] __attribute__((aligned(8)));

/* As the image would count them. */
static size_t
pages_of(const struct elf_segment *s)
{
    return (ROUNDUP(s->va + s->filesz, PGSIZE) - ROUNDDOWN(s->va, PGSIZE)) / PGSIZE;
}

static struct elf_segment
some_segment(uint64_t va, int prot, uint64_t offset)
{
    struct elf_segment s = {.va = va + check_random_below(PGSIZE), .prot = prot, .offset = offset};

    s.filesz = PGSIZE + 1 + check_random_below(PGSIZE); /* two pages or three */
    s.memsz = s.filesz + 2 * PGSIZE + check_random_below(PGSIZE);
    return s;
}

void
program_start(struct side *s, enum vma_kind kind)
{
    struct image *image = &program.image;

    for (uint64_t *word = (uint64_t *)(void *)file; word < (uint64_t *)(void *)(file + FILE_SIZE);
         word++)
        *word = check_random() | 0x0101010101010101; /* no zero that is right by chance */
    memset(&program, 0, sizeof(program));
    image->file = file;
    image->size = FILE_SIZE;
    image->users = 1;
    image->elf.nsegments = 2;
    image->elf.segment[0] =
        some_segment(0x400000, PROT_READ | PROT_EXEC, check_random_below(PGSIZE));
    image->elf.segment[1] =
        some_segment(0x408000, PROT_READ | PROT_WRITE, 3 * PGSIZE + check_random_below(PGSIZE));
    for (size_t i = 0; i < 2; i++) {
        const struct elf_segment *e = &image->elf.segment[i];
        image->npages += pages_of(e);
        side_range(s, ROUNDDOWN(e->va, PGSIZE), ROUNDUP(e->va + e->memsz, PGSIZE), e->prot, kind);
    }
    s->model.image = s->as.image = image;
}

int
program_page(uint64_t va)
{
    size_t before = 0;

    for (size_t i = 0; i < program.image.elf.nsegments; i++) {
        const struct elf_segment *s = &program.image.elf.segment[i];
        uint64_t start = ROUNDDOWN(s->va, PGSIZE);
        if (va >= start && va < start + pages_of(s) * PGSIZE)
            return (int)(before + (va - start) / PGSIZE);
        before += pages_of(s);
    }
    return -1;
}

bool
program_has(uint64_t va, const void *page)
{
    const uint8_t *is = page;

    for (size_t i = 0; i < PGSIZE; i++) {
        uint8_t wanted = 0;
        for (size_t k = 0; k < program.image.elf.nsegments; k++) {
            const struct elf_segment *s = &program.image.elf.segment[k];
            if (va + i >= s->va && va + i < s->va + s->filesz)
                wanted = file[s->offset + (va + i - s->va)];
        }
        if (is[i] != wanted)
            return false;
    }
    return true;
}

uint64_t
program_any(int prot, bool in_file)
{
    const struct elf_segment *s = &program.image.elf.segment[prot & PROT_EXEC ? 0 : 1];
    uint64_t start = ROUNDDOWN(s->va, PGSIZE), behind = start + pages_of(s) * PGSIZE;

    if (in_file)
        return start + PGSIZE * check_random_below(pages_of(s));
    return behind
         + PGSIZE * check_random_below((ROUNDUP(s->va + s->memsz, PGSIZE) - behind) / PGSIZE);
}

void
program_adopt(void)
{
    for (size_t i = 0; i < program.image.npages; i++) {
        uint64_t pa = program.image.page[i];
        if (pa && !frame_users(pa))
            frame_adopt(pa, 1);
    }
}
