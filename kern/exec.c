/*
 * A program becomes the contents of an address space. That is not the one in use, and may never be: all that goes
 * into its pages is written through the linear map.
 */
#include "exec.h"
#include "console.h"
#include "elf.h"
#include "errno.h"
#include "kalloc.h"
#include "mmap.h"
#if LAB >= 6
#include "pager.h"
#endif
#include "string.h"
#include "sysreg.h"
#include "uapi/auxv.h"
#include "vm.h"

#ifdef __aarch64__
static uint64_t
read_clock(void)
{
    return read_sysreg(cntpct_el0);
}
#else /* the host, where the tests run */
uint64_t read_clock(void);
#endif

const struct program *
program_find(const char *name)
{
    for (size_t i = 0; i < nprograms; i++)
        if (strcmp(programs[i].name, name) == 0)
            return &programs[i];
    return NULL;
}

/* ---- Segments ---- */

#if LAB >= 6
/* Its pages come when they are touched: the image has them (pager.c). */
static int
load_segment(struct aspace *as, const char *file, const struct elf_segment *s)
{
    (void)file;
    return vma_add(as, ROUNDDOWN(s->va, PGSIZE), ROUNDUP(s->va + s->memsz, PGSIZE),
                   vma_rights(s->prot), VMA_FILE);
}
#else
/*
 * A page of the segment, at va, with what the file has for it; the rest of it is zero, as the frame may hold
 * anything.
 */
static int
load_page(struct aspace *as, uint64_t va, const char *file, const struct elf_segment *s)
{
    char *page = kalloc();
    uint64_t from = MAX(va, s->va), to = MAX(from, MIN(va + PGSIZE, s->va + s->filesz));

    if (!page)
        return -ENOMEM;
    memset(page, 0, from - va);
    if (from < to) /* else s->offset may be anything, even where no pointer can lead */
        memcpy(page + (from - va), file + s->offset + (from - s->va), to - from);
    memset(page + (to - va), 0, va + PGSIZE - to);
    int error = user_map(as, va, V2P(page), s->prot);
    if (error)
        kfree(page);
    return error;
}

static int
load_segment(struct aspace *as, const char *file, const struct elf_segment *s)
{
    uint64_t start = ROUNDDOWN(s->va, PGSIZE), stop = ROUNDUP(s->va + s->memsz, PGSIZE);
    uint64_t loaded =
        ROUNDUP(s->va + s->filesz, PGSIZE); /* from here on there is nothing but zeroes */
    int error = 0;

    for (uint64_t va = start; !error && va < loaded; va += PGSIZE)
        error = load_page(as, va, file, s);
    if (!error && start < loaded)
        error = vma_add(as, start, loaded, s->prot, VMA_FILE);
    if (!error && loaded < stop)
        error = as_map(as, loaded, stop, s->prot, VMA_FILE);
    return error;
}

#endif

/* ---- The stack ---- */

/* From the top: eight bytes of zero, the strings, the random bytes; and what begins at sp. */
struct stack {
    int64_t argc, envc;
    uint64_t strings, random, sp; /* where they begin */
};

#define AUXV_ENTRIES 15
#define RANDOM_BYTES 16

/* Besides the arguments, the environment and their pointers: argc, two NULLs, the top, and what alignment takes. */
#define STACK_EXTRA (3 * 8 + AUXV_ENTRIES * 16 + RANDOM_BYTES + 8 + 2 * 16)
_Static_assert(ARG_MAX + STACK_EXTRA <= USER_STACK_SIZE, "the longest arguments fit on the stack");

/* How many strings there are before the NULL. Adds to *size what they take, with their pointers; -1: too much. */
static int64_t
count_strings(const char *const strings[], size_t *size)
{
    int64_t n = 0;

    for (; strings[n]; n++) {
        *size += sizeof(char *) + strnlen(strings[n], ARG_MAX) + 1;
        if (*size > ARG_MAX)
            return -1;
    }
    return n;
}

static int
plan_stack(const char *const argv[], const char *const envp[], struct stack *stack)
{
    size_t size = 0, words;

    stack->argc = count_strings(argv, &size);
    stack->envc = stack->argc < 0 ? -1 : count_strings(envp, &size);
    if (stack->envc < 0)
        return -E2BIG;
    words = (size_t)(stack->argc + stack->envc);
    stack->strings = USER_STACK_TOP - 8 - (size - 8 * words);
    stack->random = ROUNDDOWN(stack->strings - RANDOM_BYTES, 16);
    stack->sp = ROUNDDOWN(stack->random - 16 * AUXV_ENTRIES - 8 * (3 + words), 16);
    return 0;
}

/* A place on the stack, and where the kernel reaches it. */
struct writer {
    const struct aspace *as;
    uint64_t va;
    char *p; /* NULL: not looked up yet, as va is in another page than before */
};

static void
put(struct writer *w, const void *src, size_t n)
{
    const char *from = src;

    while (n > 0) {
        size_t part = MIN(n, PGSIZE - w->va % PGSIZE);
        if (!w->p) {
            const uint64_t *entry = pgdir_walk(w->as->root, (const void *)w->va, 0);
            assert(entry && (*entry & PTE_P)); /* user_alloc has mapped it */
            w->p = (char *)P2V(PTE_ADDR(*entry)) + w->va % PGSIZE;
        }
        memcpy(w->p, from, part);
        from += part;
        n -= part;
        w->va += part;
        w->p = w->va % PGSIZE != 0 ? w->p + part : NULL;
    }
}

static void
put_word(struct writer *w, uint64_t word)
{
    put(w, &word, sizeof(word));
}

/* Pointers to strings that are one behind the other, the first at va; and NULL. Returns where the last one ends. */
static uint64_t
put_pointers(struct writer *w, const char *const strings[], uint64_t va)
{
    for (; *strings; strings++) {
        put_word(w, va);
        va += strlen(*strings) + 1;
    }
    put_word(w, 0);
    return va;
}

static void
put_strings(struct writer *w, const char *const strings[])
{
    for (; *strings; strings++)
        put(w, *strings, strlen(*strings) + 1);
}

static void
put_auxv(struct writer *w, const struct elf *elf, const struct stack *stack)
{
    const uint64_t auxv[AUXV_ENTRIES][2] = {
        {AT_HWCAP, HWCAP_FP | HWCAP_ASIMD},
        {AT_PAGESZ, PGSIZE},
        {AT_CLKTCK, 100},
        {AT_PHDR, elf->phdr},
        {AT_PHENT, ELF_PHENT},
        {AT_PHNUM, elf->phdr != 0 ? elf->phnum : 0},
        {AT_ENTRY, elf->entry},
        {AT_UID, 0},
        {AT_EUID, 0},
        {AT_GID, 0},
        {AT_EGID, 0},
        {AT_SECURE, 0},
        {AT_RANDOM, stack->random},
        {AT_EXECFN, stack->strings}, /* argv[0] */
        {AT_NULL, 0},
    };

    put(w, auxv, sizeof(auxv));
}

/* A number that is another one each time, but no secret: anybody can read the clock. (splitmix64) */
static uint64_t
some_number(void)
{
    static uint64_t state;

    state = (state ^ read_clock()) + 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void
fill_stack(const struct aspace *as, const struct elf *elf, const char *const argv[],
           const char *const envp[], const struct stack *stack)
{
    struct writer w = {.as = as, .va = stack->sp};
    uint64_t random[RANDOM_BYTES / 8] = {some_number(), some_number()};

    put_word(&w, (uint64_t)stack->argc);
    uint64_t env = put_pointers(&w, argv, stack->strings);
    put_pointers(&w, envp, env);
    put_auxv(&w, elf, stack);

    w = (struct writer){.as = as, .va = stack->random};
    put(&w, random, sizeof(random));
    w = (struct writer){.as = as, .va = stack->strings};
    put_strings(&w, argv);
    put_strings(&w, envp);
}

/* Its range, and the pages that fill_stack writes to: from sp on, or all. */
static int
make_stack(struct aspace *as, uint64_t sp)
{
    uint64_t start = USER_STACK_TOP - USER_STACK_SIZE;
#if LAB >= 6
    int error = vma_add(as, start, USER_STACK_TOP, PROT_READ | PROT_WRITE, VMA_STACK);

    for (uint64_t va = ROUNDDOWN(sp, PGSIZE); !error && va < USER_STACK_TOP; va += PGSIZE)
        error = user_alloc(as, va, PROT_READ | PROT_WRITE);
    return error;
#else
    (void)sp;
    return as_map(as, start, USER_STACK_TOP, PROT_READ | PROT_WRITE, VMA_STACK);
#endif
}

int
exec_load(struct aspace *as, const void *file, size_t size, const char *const argv[],
          const char *const envp[], struct exec_start *start)
{
    struct elf elf;
    struct stack stack = {0};
    int error = plan_stack(argv, envp, &stack);

#if LAB >= 6
    if (!error)
        error = image_get(file, size, &as->image);
    if (!error)
        elf = as->image->elf;
#else
    if (!error)
        error = elf_read(file, size, USER_MMAP_TOP, &elf, NULL);
#endif
    for (size_t i = 0; !error && i < elf.nsegments; i++)
        error = load_segment(as, file, &elf.segment[i]);
    if (!error)
        error = make_stack(as, stack.sp);
    if (error)
        return error;
    as->brk_start = as->brk = ROUNDUP(elf.end, PGSIZE);
    fill_stack(as, &elf, argv, envp, &stack);
    *start = (struct exec_start){.pc = elf.entry, .sp = stack.sp};
    return 0;
}
