/*
 * What the checks of lab 5 need before they can begin, and how they count pages.
 */
#include "lab5.h"
#include "../lab4/lab4.h"
#include "errno.h"
#include "kalloc.h"
#include "pmm.h"
#include "printf.h"
#include "proc.h"
#include "string.h"
#include "vm.h"

const char *
error_name(int error)
{
    static const struct {
        int error;
        const char *name;
    } names[] = {
        {-ENOENT, "-ENOENT"}, {-ENOMEM, "-ENOMEM"}, {-EEXIST, "-EEXIST"}, {-EFAULT, "-EFAULT"},
        {-EINVAL, "-EINVAL"}, {-EAGAIN, "-EAGAIN"}, {-ENOSYS, "-ENOSYS"}, {-ECHILD, "-ECHILD"},
    };
    static char text[4][16];
    static unsigned turn;
    char *number = text[turn++ % 4];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (names[i].error == error)
            return names[i].name;
    snprintf(number, sizeof(text[0]), "%d", error);
    return number;
}

/* ---- threads ---- */

void
need_threads(void)
{
    const char *trouble = proc_trouble();

    EXPECT(!trouble, "there is only one thread: %s first", trouble);
}

/* ---- aspace.c ---- */

#define TINY_VA 0x400000UL

/* An address space with tables for TINY_VA, none of which comes from kalloc. */
static uint64_t tables[4][NPTE] __attribute__((aligned(PGSIZE)));
static struct aspace tiny;

static uint64_t *
tiny_start(void)
{
    memset(tables, 0, sizeof(tables));
    for (int level = 0; level < 3; level++)
        tables[level][PTX(level, TINY_VA)] = V2P(tables[level + 1]) | PTE_TABLE;
    tiny = (struct aspace){.root = tables[0], .asid = 1};
    return &tables[3][PTX(3, TINY_VA)];
}

static char *
need_page(void)
{
    check_doing("kalloc()");
    char *page = kalloc();
    EXPECT(page, "expected a page, found NULL: write kalloc in kern/kalloc.c first (labs 2 and 3)");
    return page;
}

/* For a function that cannot do without it, when that has failed. */
static void
need_map(const char *page)
{
    uint64_t *entry = tiny_start();

    EXPECT(pgdir_walk(tables[0], (void *)TINY_VA, 0) == entry,
           "pgdir_walk does not find an entry that is there: write pgdir_walk in kern/vm.c first "
           "(lab 2)");
    EXPECT(map_region(tables[0], (void *)TINY_VA, PGSIZE, V2P(page), PTE_NORMAL) == 0,
           "map_region fails as well: write map_region in kern/vm.c first (lab 2)");
}

static void
do_nothing(void)
{
    check_doing("%s", "");
}

void
need_user_pte(void)
{
    check_doing("user_pte(PROT_READ)");
    EXPECT(user_pte(PROT_READ) != 0, "found 0: write user_pte in kern/aspace.c first");
    do_nothing();
}

void
need_aspace_create(void)
{
    kfree(need_page());
    tiny = (struct aspace){.root = NULL};
    check_doing("aspace_create(as)");
    int result = aspace_create(&tiny);
    EXPECT(result == 0 && tiny.root,
           "found %s, and as->root is %p, with pages free: write aspace_create in kern/aspace.c "
           "first",
           error_name(result), (void *)tiny.root);
    kfree((char *)tiny.root);
    do_nothing();
}

void
need_user_map(void)
{
    char *page = need_page();
    const uint64_t *entry = tiny_start();

    check_doing("user_map(as, 0x%lx, 0x%lx, PROT_READ | PROT_WRITE)", TINY_VA, V2P(page));
    int result = user_map(&tiny, TINY_VA, V2P(page), PROT_READ | PROT_WRITE);
    if (result != 0)
        need_map(page);
    EXPECT(result == 0 && *entry & PTE_P,
           "found %s, and the entry is 0x%lx, with all tables there: write user_map in "
           "kern/aspace.c first",
           error_name(result), *entry);
    kfree(page);
    do_nothing();
}

void
need_user_alloc(void)
{
    char *page = need_page();
    const uint64_t *entry = tiny_start();

    kfree(page);
    check_doing("user_alloc(as, 0x%lx, PROT_READ | PROT_WRITE)", TINY_VA);
    int result = user_alloc(&tiny, TINY_VA, PROT_READ | PROT_WRITE);
    if (result != 0)
        need_user_map();
    EXPECT(result == 0 && *entry & PTE_P,
           "found %s, and the entry is 0x%lx, with pages free and all tables there: write "
           "user_alloc in kern/aspace.c first",
           error_name(result), *entry);
    kfree(P2V(PTE_ADDR(*entry)));
    do_nothing();
}

void
need_user_free(void)
{
    char *page = need_page();
    uint64_t *entry = tiny_start();

    *entry = space_entry(V2P(page), PROT_READ);
    tiny.pages = 1;
    check_doing("user_free(as, 0x%lx), where a page is mapped", TINY_VA);
    int result = user_free(&tiny, TINY_VA);
    if (result != 0)
        need_map(page);
    EXPECT(result == 0, "found %s: write user_free in kern/aspace.c first", error_name(result));
    do_nothing();
}

void
need_user_protect(void)
{
    char *page = need_page();
    uint64_t *entry = tiny_start();

    *entry = space_entry(V2P(page), PROT_READ);
    check_doing("user_protect(as, 0x%lx, PROT_NONE), where a page is mapped", TINY_VA);
    int result = user_protect(&tiny, TINY_VA, PROT_NONE);
    if (result != 0)
        need_map(page);
    EXPECT(result == 0, "found %s: write user_protect in kern/aspace.c first", error_name(result));
    kfree(page);
    do_nothing();
}

void
need_aspace_destroy(void)
{
    char *page = need_page();

    memset(page, 0, PGSIZE);
    tiny = (struct aspace){.root = (uint64_t *)(void *)page, .asid = 1};
    check_doing("aspace_destroy(as), of one that is empty");
    aspace_destroy(&tiny);
    EXPECT(!tiny.root,
           "as->root is still %p, expected NULL: write aspace_destroy in kern/aspace.c first",
           (void *)tiny.root);
    do_nothing();
}

void
need_shared_pages(void)
{
    char *page = need_page();

    check_doing("page_share(0x%lx), of a page in use", V2P(page));
    int users = page_share(V2P(page));
    EXPECT(users == 2, "expected 2, found %s: write page_share in kern/pmm.c first (lab 3)",
           error_name(users));
    check_doing("kfree(%p), of a page with two users", (void *)page);
    kfree(page);
    EXPECT(page_refs(V2P(page)) == 1,
           "expected one user to be left, found %u: extend kfree in kern/kalloc.c first (lab 3)",
           page_refs(V2P(page)));
    kfree(page);
    do_nothing();
}

/* ---- pages ---- */

static size_t noted;

void
pages_note(void)
{
    need_threads();
    noted = pages_free();
}

void
pages_expect(const char *after)
{
    size_t now = pages_free();

    EXPECT(now == noted,
           "after %s, there are %ld pages %s than before: expected as many as before, %lu", after,
           (long)(now > noted ? now - noted : noted - now),
           now > noted ? "more free" : "fewer free", noted);
}
