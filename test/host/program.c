#include "program.h"

#include <string.h>

#include "elf.h"
#include "elf_file.h"
#include "errno.h"
#include "kalloc.h"
#include "mmu.h"
#include "pmm.h"
#include "types.h"
#include "uapi/auxv.h"
#include "vma.h"
#if LAB >= 6
#include "pagefault.h"
#endif

#define RW (PROT_READ | PROT_WRITE)

size_t program_pages, program_records;
uint64_t program_random[2];

static uint64_t ticks;

uint64_t read_clock(void);

uint64_t
read_clock(void)
{
    return ticks += 1000;
}

/* ---- What there will be ---- */

static size_t
count(const char *const strings[])
{
    size_t n = 0;

    while (strings[n]) {
        n++;
    }
    return n;
}

/* Bytes of strings with their ends. */
static size_t
length(const char *const strings[])
{
    size_t sum = 0;

    for (; *strings; strings++) {
        sum += strlen(*strings) + 1;
    }
    return sum;
}

/* Where the strings begin that argv and envp point to; and where the stack begins that has room for all of them. */
static uint64_t
strings_start(const char *const argv[], const char *const envp[])
{
    return USER_STACK_TOP - 8 - length(argv) - length(envp);
}

static uint64_t
stack_start(const char *const argv[], const char *const envp[])
{
#if LAB >= 6
    uint64_t random = ROUNDDOWN(strings_start(argv, envp) - 16, 16);

    /* 15 pairs of the auxiliary vector, the pointers, two NULLs, and argc */
    return ROUNDDOWN(random - 8 * (15 * 2 + count(argv) + count(envp) + 3), PGSIZE);
#else
    (void)argv;
    (void)envp;
    return USER_STACK_TOP - USER_STACK_SIZE;
#endif
}

/* A range's rights, where the file has these. */
static int
range_prot(const struct elf_segment *s)
{
#if LAB >= 6
    return s->prot == PROT_NONE ? PROT_NONE : s->prot | PROT_READ;
#else
    return s->prot;
#endif
}

/* The pages from start to stop come next. Tables for them: those that the last page before them has not. */
static void
add_pages(uint64_t start, uint64_t stop, uint64_t *last)
{
    for (uint64_t va = start; va < stop && program_pages <= SPACE_PAGES; va += PGSIZE) {
        program_pages += 1 + (size_t)(va >> 21 != *last >> 21) + (size_t)(va >> 30 != *last >> 30)
                       + (size_t)(va >> 39 != *last >> 39);
        *last = va;
    }
}

/* From lab 6 on the segments' pages come later, and the image is a record. */
static void
count_everything(const struct elf *elf, uint64_t stack_from)
{
    uint64_t last = UINT64_MAX;

    program_pages = 0;
    program_records = LAB >= 6 ? 2 : 1;
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        uint64_t start = ROUNDDOWN(s->va, PGSIZE);
        const struct elf_segment *before = i > 0 ? s - 1 : NULL;
        bool joins = before && range_prot(before) == range_prot(s)
                  && ROUNDUP(before->va + before->memsz, PGSIZE) == start;
        program_records += !joins;
        if (LAB < 6) {
            add_pages(start, ROUNDUP(s->va + s->memsz, PGSIZE), &last);
        }
    }
    add_pages(stack_from, USER_STACK_TOP, &last);
}

/* ---- What there is ---- */

static void
check_page(const struct aspace *as, const char *file, const struct elf_segment *s, uint64_t va)
{
    char expected[PGSIZE] = {0};
    const char *frame = space_frame(as->root, va);
    uint64_t from = MAX(va, s->va), to = MIN(va + PGSIZE, s->va + s->filesz);

    if (from < to) {
        memcpy(expected + (from - va), file + s->offset + (from - s->va), to - from);
    }
    if (!frame || memcmp(frame, expected, PGSIZE) != 0) {
        broken("what is in memory at %#lx is not what is in the file", (unsigned long)va);
    }
    if ((s->prot & PROT_EXEC) && !space_synced(V2P(frame))) {
        broken("what is executed at %#lx may be something older", (unsigned long)va);
    }
}

/* The ranges and the tables say the same, for pages from start to stop. */
static size_t
check_rights(const struct aspace *as, uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    for (uint64_t va = start; va < stop; va += PGSIZE) {
        const struct vma *v = vma_find(as, va);
        if (!v || v->prot != prot || v->kind != kind) {
            broken("%#lx is in no range, or one of another kind", (unsigned long)va);
        }
    }
    return (stop - start) / PGSIZE;
}

/* From lab 6 on a page comes when it is touched. */
static void
touch_segments(struct aspace *as, const struct elf *elf)
{
#if LAB >= 6
    space_limit(SPACE_NO_LIMIT, SPACE_NO_LIMIT);
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        for (uint64_t va = ROUNDDOWN(s->va, PGSIZE); va < s->va + s->memsz; va += PGSIZE) {
            if (fault_absent(as, vma_find(as, va), va, PROT_READ) != 0) {
                broken("no page comes at %#lx", (unsigned long)va);
            }
        }
    }
#else
    (void)as;
    (void)elf;
#endif
}

static void
check_space(struct aspace *as, const char *file, const struct elf *elf, uint64_t stack_from)
{
    static struct leaf leaves[SPACE_PAGES];
    size_t ntables, n = space_leaves(as->root, leaves, &ntables), expected = 0, ranges = 0;

    size_t zeroes = LAB >= 6; /* zero_page */

    if (n + ntables + zeroes != space_pages() || n + ntables - 1 != program_pages) {
        broken("%zu pages, %zu tables, %zu of both used", n, ntables, space_pages());
    }
    touch_segments(as, elf);
    n = space_leaves(as->root, leaves, &ntables);
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        uint64_t start = ROUNDDOWN(s->va, PGSIZE), stop = ROUNDUP(s->va + s->memsz, PGSIZE);
        expected += check_rights(as, start, stop, range_prot(s), VMA_FILE);
        for (uint64_t va = start; va < stop; va += PGSIZE) {
            check_page(as, file, s, va);
        }
    }
    check_rights(as, USER_STACK_TOP - USER_STACK_SIZE, USER_STACK_TOP, RW, VMA_STACK);
    expected += (USER_STACK_TOP - stack_from) / PGSIZE;
    for (size_t i = 0; i < n; i++) {
        const struct vma *v = vma_find(as, leaves[i].va);
        uint64_t pa = PTE_ADDR(leaves[i].pte);
        int shared = page_refs(pa) > 1 ? PROT_WRITE : 0;
        if (!v || leaves[i].pte != space_pte(pa, v->prot & ~shared)) {
            broken("the entry for %#lx is %#lx", (unsigned long)leaves[i].va,
                   (unsigned long)leaves[i].pte);
        }
    }
    for (const struct vma *v = as->vmas; v; v = v->next) {
        ranges++;
    }
    if (n != expected || as->pages != expected) {
        broken("%zu pages instead of %zu, %zu counted", n, expected, as->pages);
    }
    ranges += LAB >= 6; /* the image */
    if (ranges != program_records || space_records() != ranges) {
        broken("%zu ranges instead of %zu, %zu records", ranges, program_records, space_records());
    }
    if (as->brk_start != ROUNDUP(elf->end, PGSIZE) || as->brk != as->brk_start) {
        broken("the heap is from %#lx to %#lx", (unsigned long)as->brk_start,
               (unsigned long)as->brk);
    }
}

/* ---- The stack, word by word ---- */

static char stack[USER_STACK_SIZE];

static const char *
stack_at(uint64_t va)
{
    return stack + (va - (USER_STACK_TOP - USER_STACK_SIZE));
}

static uint64_t
next_word(uint64_t *at)
{
    uint64_t word;

    if (*at < USER_STACK_TOP - USER_STACK_SIZE || *at > USER_STACK_TOP - sizeof(word)) {
        broken("the stack ends in the middle of something");
    }
    memcpy(&word, stack_at(*at), sizeof(word));
    *at += sizeof(word);
    return word;
}

static void
expect_word(uint64_t *at, uint64_t expected, const char *what)
{
    uint64_t word = next_word(at);

    if (word != expected) {
        broken("%s, at %#lx, is %#lx instead of %#lx", what, (unsigned long)*at - 8,
               (unsigned long)word, (unsigned long)expected);
    }
}

static void
expect_zeroes(uint64_t from, uint64_t to, const char *where)
{
    for (uint64_t va = from; va < to; va++) {
        if (*stack_at(va) != 0) {
            broken("there is something %s, at %#lx", where, (unsigned long)va);
        }
    }
}

/* Pointers to the strings, which are one behind the other from *string on; and NULL. */
static void
expect_strings(uint64_t *at, const char *const strings[], uint64_t *string)
{
    for (size_t i = 0; strings[i]; i++) {
        expect_word(at, *string, "a string's pointer");
        if (strcmp(stack_at(*string), strings[i]) != 0) {
            broken("string %zu is wrong", i);
        }
        *string += strlen(strings[i]) + 1;
    }
    expect_word(at, 0, "the NULL behind pointers");
}

static void
check_stack(const struct aspace *as, const struct elf *elf, uint64_t sp, const char *const argv[],
            const char *const envp[])
{
    uint64_t strings = strings_start(argv, envp), string = strings;
    uint64_t from = stack_start(argv, envp);
    uint64_t at = sp, random = 0;
    const uint64_t auxv[][2] = {{AT_HWCAP, 3},
                                {AT_PAGESZ, PGSIZE},
                                {AT_CLKTCK, 100},
                                {AT_PHDR, elf->phdr},
                                {AT_PHENT, 56},
                                {AT_PHNUM, elf->phdr ? elf->phnum : 0},
                                {AT_ENTRY, elf->entry},
                                {AT_UID, 0},
                                {AT_EUID, 0},
                                {AT_GID, 0},
                                {AT_EGID, 0},
                                {AT_SECURE, 0},
                                {AT_RANDOM, 0},
                                {AT_EXECFN, strings},
                                {AT_NULL, 0}};

    for (uint64_t va = from; va < USER_STACK_TOP; va += PGSIZE) {
        memcpy(stack + (va - (USER_STACK_TOP - USER_STACK_SIZE)), space_frame(as->root, va),
               PGSIZE);
    }
    if (sp % 16 != 0) {
        broken("sp is %#lx", (unsigned long)sp);
    }
    expect_word(&at, count(argv), "argc");
    expect_strings(&at, argv, &string);
    expect_strings(&at, envp, &string);
    for (size_t i = 0; i < ARRAY_SIZE(auxv); i++) {
        expect_word(&at, auxv[i][0], "a type of the auxiliary vector");
        if (auxv[i][0] == AT_RANDOM) {
            random = next_word(&at);
        } else {
            expect_word(&at, auxv[i][1], "a value of the auxiliary vector");
        }
    }
    if (random < at || random + 16 > strings || strings - at > 16 + 16 + 16) {
        broken("the vector ends at %#lx, %#lx is random, strings begin at %#lx", (unsigned long)at,
               (unsigned long)random, (unsigned long)strings);
    }
    memcpy(program_random, stack_at(random), 16);
    expect_zeroes(from, sp, "below sp");
    expect_zeroes(at, random, "behind the auxiliary vector");
    expect_zeroes(random + 16, strings, "before the strings");
    expect_zeroes(string, USER_STACK_TOP, "behind the strings");
}

/* ---- All together ---- */

/* What exec_load should return. */
static int
expect(const void *file, size_t size, const char *const argv[], const char *const envp[],
       struct elf *elf)
{
    if (length(argv) + length(envp) + 8 * (count(argv) + count(envp)) > ARG_MAX) {
        return -E2BIG;
    }
    if (elf_check_read(file, size, USER_MMAP_TOP)) {
        return -ENOEXEC;
    }
    elf_read(file, size, USER_MMAP_TOP, elf, NULL);
    count_everything(elf, stack_start(argv, envp));
    return program_pages > space_available() ? -ENOMEM : 0;
}

int
program_load(const void *file, size_t size, const char *const argv[], const char *const envp[],
             size_t pages, size_t records)
{
    struct aspace as = {0};
    struct elf elf;
    struct exec_start start = {1, 1};

    space_start();
#if LAB >= 6
    pager_init();
#endif
    if (aspace_create(&as) != 0) {
        broken("no page for a root");
    }
    space_limit(pages, records);
    int expected = expect(file, size, argv, envp, &elf);
    if (expected == 0 && records < program_records) {
        expected = -ENOMEM;
    }
    int error = exec_load(&as, file, size, argv, envp, &start);
    if (error != expected) {
        broken("exec_load returns %d instead of %d", error, expected);
    }
    if (!error) {
        if (start.pc != elf.entry) {
            broken("the program would begin at %#lx", (unsigned long)start.pc);
        }
        check_space(&as, file, &elf, stack_start(argv, envp));
        check_stack(&as, &elf, start.sp, argv, envp);
    }
    vma_clear(&as);
    aspace_destroy(&as);
#if LAB >= 6
    image_put(as.image);
    kfree(P2V(zero_page));
    zero_page = 0;
#endif
    if (space_pages() != 0 || space_records() != 0) {
        broken("%zu pages and %zu records are lost", space_pages(), space_records());
    }
    return error;
}
