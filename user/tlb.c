/*
 * tlb [WAY]: uses a page, has what is mapped there changed by a system call, and uses it again at once. The old
 * translation must not be left in the TLB: the program ends with SIGSEGV, or sees what is there now. Nobody but the
 * program itself touches the page, as a look through the kernel might drop what is to be seen.
 */
#include "libc.h"

/* A page whose number has nothing in common with those of text, data and stack, which the program uses in between. */
#define PAGE ((char *)0x20055000UL)
#define RW   (PROT_READ | PROT_WRITE)
#define RX   (PROT_READ | PROT_EXEC)

#define MOV_W0(n) (0x52800000 | (uint32_t)(n) << 5) /* mov w0, #n */
#define RET       0xd65f03c0

/* n new pages, in place of what is there. */
static void
map(size_t n, int prot)
{
    require(mmap(PAGE, n * PAGE_SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
            == PAGE);
}

static char
look(const char *p)
{
    return *(const volatile char *)p;
}

static void
put(char *p, char c)
{
    *(volatile char *)p = c;
}

static int
run(void)
{
    return ((int (*)(void))PAGE)();
}

/* The page is a function that returns n. */
static void
make_code(int n)
{
    uint32_t *code = (uint32_t *)(void *)PAGE;

    code[0] = MOV_W0(n);
    code[1] = RET;
    require(mprotect(PAGE, PAGE_SIZE, RX) == 0 && run() == n);
}

/* ---- These end with SIGSEGV ---- */

static void
unmapped(void)
{
    map(1, RW);
    put(PAGE, 1);
    require(munmap(PAGE, PAGE_SIZE) == 0);
    look(PAGE);
}

/* qemu-aarch64 keeps the pages of a heap that has become smaller; Linux does not. */
static void
shrunk(void)
{
    char *p = sbrk(2 * PAGE_SIZE);

    put(p + PAGE_SIZE, 1);
    brk(p);
    look(p + PAGE_SIZE);
}

static void
hidden(void)
{
    map(1, RW);
    put(PAGE, 1);
    require(mprotect(PAGE, PAGE_SIZE, PROT_NONE) == 0);
    look(PAGE);
}

static void
read_only(void)
{
    map(1, RW);
    put(PAGE, 1);
    require(mprotect(PAGE, PAGE_SIZE, PROT_READ) == 0);
    put(PAGE, 2);
}

static void
read_only_over(void)
{
    map(1, RW);
    put(PAGE, 1);
    map(1, PROT_READ);
    put(PAGE, 2);
}

static void
not_executable(void)
{
    map(1, RW);
    make_code(1);
    require(mprotect(PAGE, PAGE_SIZE, PROT_READ) == 0);
    run();
}

/* ---- These go well ---- */

/*
 * Two pages were mapped at p, and others are now. The first one was used before, the second was not. The kernel may
 * well have given the same two frames, but the other way round: then who uses the first page as before
 * finds it in the second, too.
 */
static void
require_new(char *p)
{
    require(look(p) == 0);
    put(p, 2);
    require(look(p + PAGE_SIZE) == 0 && look(p) == 2);
}

static void
mapped_over(void)
{
    map(2, RW);
    put(PAGE, 1);
    map(2, RW);
    require_new(PAGE);
}

static void
mapped_again(void)
{
    map(2, RW);
    put(PAGE, 1);
    require(munmap(PAGE, 2 * PAGE_SIZE) == 0);
    map(2, RW);
    require_new(PAGE);
}

static void
grown_again(void)
{
    char *p = sbrk(2 * PAGE_SIZE);

    put(p, 1);
    require(brk(p) == p);
    require(brk(p + 2 * PAGE_SIZE) == p + 2 * PAGE_SIZE);
    require_new(p);
}

static void
writable(void)
{
    map(1, PROT_READ);
    look(PAGE);
    require(mprotect(PAGE, PAGE_SIZE, RW) == 0);
    put(PAGE, 1);
    require(look(PAGE) == 1);
}

static void
other_code(void)
{
    map(1, RW);
    make_code(1);
    map(1, RW);
    make_code(2);
    require(mprotect(PAGE, PAGE_SIZE, RW) == 0);
    make_code(3);
}

static const struct {
    const char *name;
    void (*try)(void);
    bool ends; /* with SIGSEGV, if all is well */
} way[] = {
    {"unmapped", unmapped, true},
    {"shrunk", shrunk, true},
    {"hidden", hidden, true},
    {"readonly", read_only, true},
    {"readonly-over", read_only_over, true},
    {"noexec", not_executable, true},
    {"over", mapped_over, false},
    {"again", mapped_again, false},
    {"grown", grown_again, false},
    {"writable", writable, false},
    {"code", other_code, false},
};

/* Without a name: all ways that the program survives. */
int
main(int argc, char *argv[])
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(way); i++) {
        if (argc > 1 ? strcmp(argv[1], way[i].name) != 0 : way[i].ends)
            continue;
        way[i].try();
        if (way[i].ends)
            fail("%s: the page can be used as before\n", way[i].name);
        n++;
    }
    if (n == 0)
        fail("there is no way %s\n", argv[1]);
    printf("%zu changes, and each is seen\n", n);
    return 0;
}
