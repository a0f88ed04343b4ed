/*
 * Address spaces that are made up, for the checks of fork.c and pagefault.c: their tables, ranges and pages, and whether
 * only that has changed which should. Their pages come from lab 2's pool, where each one is accounted for.
 */
#include "errno.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "lab6.h"
#include "pmm.h"
#include "printf.h"
#include "slab.h"
#include "string.h"
#include "tlb.h"

struct side parent = {.name = "from"}, child = {.name = "to"}, second = {.name = "the second to"};

static struct side *const sides[] = {&parent, &child, &second};

/* ---- page frames ---- */

#define FRAMES_MAX 200
static struct frame {
    uint64_t pa, sum; /* sum: of what is in it */
    unsigned users;
    bool made; /* by the code under test */
} frames_known[FRAMES_MAX];
static size_t nframes;

static uint64_t
sum_of(uint64_t pa)
{
    const uint64_t *word = P2V(pa);
    uint64_t sum = 0;

    for (size_t i = 0; i < NPTE; i++)
        sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15;
    return sum;
}

static struct frame *
frame_at(uint64_t pa)
{
    for (size_t i = 0; i < nframes; i++)
        if (frames_known[i].pa == pa)
            return &frames_known[i];
    return NULL;
}

static struct frame *
frame_add(uint64_t pa, unsigned users, bool made)
{
    EXPECT(nframes < FRAMES_MAX, "a mistake in the check itself: FRAMES_MAX is too small");
    frames_known[nframes] = (struct frame){pa, sum_of(pa), users, made};
    return &frames_known[nframes++];
}

/* What the pmm has of it. 0: it is not in use. */
static unsigned
users_now(uint64_t pa)
{
    size_t i;
    const struct zone *z = zone_of(pa, &i);

    if (z && z->state[i] == FRAME_SHARED)
        return z->link[i].users;
    return z && z->state[i] == FRAME_USED ? 1 : 0;
}

/* The pmm has it like this from here on, whoever wrote that. */
static void
set_users(uint64_t pa, unsigned users)
{
    size_t i;
    struct zone *z = zone_of(pa, &i);

    if (!z || (z->state[i] != FRAME_USED && z->state[i] != FRAME_SHARED))
        return; /* what has gone wrong is known already */
    z->state[i] = users > 1 ? FRAME_SHARED : FRAME_USED;
    if (users > 1)
        z->link[i].users = users;
}

uint64_t
frame_new(unsigned users)
{
    uint64_t *page = page_take(0);

    for (size_t i = 0; i < NPTE; i++)
        page[i] = check_random();
    set_users(V2P(page), users);
    frame_add(V2P(page), users, false);
    return V2P(page);
}

void
frame_adopt(uint64_t pa, unsigned users)
{
    EXPECT(!frame_at(pa), "the page at 0x%lx is somebody's already: expected a new one", pa);
    frame_add(pa, users, true);
}

void
frame_more(uint64_t pa, int more)
{
    struct frame *f = frame_at(pa);

    f->users += (unsigned)more;
}

void
frame_set_users(uint64_t pa, unsigned users)
{
    struct frame *f = frame_at(pa);

    f->users = users;
    set_users(pa, users);
}

unsigned
frame_users(uint64_t pa)
{
    const struct frame *f = frame_at(pa);

    return f ? f->users : 0;
}

void
frame_written(uint64_t pa)
{
    struct frame *f = frame_at(pa);

    f->sum = sum_of(pa);
}

/* Each has one user from here on, as what comes from kalloc has; those too that the image has got unnoticed. */
static void
frames_forget(void)
{
    for (size_t i = 0; i < PROGRAM_PAGES; i++)
        set_users(program.image.page[i], 1);
    for (; nframes > 0; nframes--)
        set_users(frames_known[nframes - 1].pa, 1);
}

static void
check_frame(const struct frame *f)
{
    unsigned now = users_now(f->pa);

    EXPECT(now == f->users, "the page at 0x%lx%s has %u users: expected %u", f->pa,
           f->pa == zero_page ? ", zero_page," : "", now, f->users);
    EXPECT(sum_of(f->pa) == f->sum,
           "what is in the page at 0x%lx%s has changed: expected it to stay", f->pa,
           f->pa == zero_page ? ", zero_page," : "");
    if (f->made) {
        const char *wrong = page_to_table(f->pa);
        EXPECT(!wrong, "the page at 0x%lx is %s: expected one from kalloc()", f->pa, wrong);
    }
}

/* ---- objects ---- */

/*
 * As many as a check has ranges, without a page for any: some of them are anchors, so that no chunk goes. With DEBUG=1 and SAN=1
 * there is more around an object, and who frees one has it wait for a while (heapdebug.c).
 */
#if defined(DEBUG) || defined(SAN)
#define OBJECTS     2000
#define OBJECT_SIZE (sizeof(struct vma) + 64)
#define COUNTABLE   false
#else
#define OBJECTS     80
#define OBJECT_SIZE sizeof(struct vma)
#define COUNTABLE   (!KMALLOC_HEAP)
#endif

#define ANCHORS 16 /* one object in so many; a chunk has more */

static struct object {
    struct object *next;
} * anchors;

static void
objects_free(struct object *o)
{
    while (o) {
        struct object *next = o->next;
        kmfree(o);
        o = next;
    }
}

static void
objects_warm(void)
{
    struct object *others = NULL;

    if (anchors)
        return;
    for (size_t i = 0; i < OBJECTS; i++) {
        struct object *o = kmalloc(OBJECT_SIZE), **list = i % ANCHORS == 0 ? &anchors : &others;
        EXPECT(o,
               "kmalloc(%lu) returned NULL with memory free: write kmalloc in kern/slab.c first "
               "(lab 4)",
               OBJECT_SIZE);
        o->next = *list;
        *list = o;
    }
    objects_free(others);
}

/* What waits is free from here on, if there is memory to say so with: a cache is destroyed. */
static void
objects_settle(void)
{
#if defined(DEBUG) || defined(SAN)
    struct slab *none = watched_slab_create("none", 16, 16);
    if (none)
        watched_slab_destroy(none);
#endif
}

bool
objects_countable(void)
{
    return COUNTABLE;
}

size_t
objects_in_use(void)
{
    size_t n = 0;

    for (const struct slab *slab = slabs; slab; slab = slab->next)
        n += slab_in_use(slab);
    return n;
}

/* ---- beginning and end ---- */

static uint64_t real_zero_page;
static bool zero_page_is_ours, gives_back;

/* As lab 2's pool keeps all pages from one check to the next, and this was the last that uses it. */
static void
give_back(void)
{
    gives_back = false;
    pool_start(0);
    for (uint64_t pa = 0; pa < PHYSTOP; pa += PGSIZE)
        if (stock_has(pa))
            kfree(P2V(pa));
    stock_given_back();
}

/* Its ranges go; not a second time, should they be such that this fails. */
static void
forget_ranges(struct side *s)
{
    struct aspace as = s->as;

    s->as.vmas = NULL;
    s->nranges = 0;
    vma_clear(&as);
}

static void
sides_end(void)
{
    bool last = gives_back || check_is_last();

    aspace_use(NULL);
    if (zero_page_is_ours)
        zero_page = real_zero_page;
    zero_page_is_ours = false;
    frames_forget();
    if (gives_back && !check_is_last())
        give_back();
    else
        pool_end();
    if (last) {
        objects_free(anchors);
        anchors = NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
        forget_ranges(sides[i]);
}

void
sides_last_check(void)
{
    gives_back = true;
}

static void
side_start(struct side *s)
{
    s->nleaves = s->nranges = 0;
    s->as = (struct aspace){.root = page_take(0)};
    s->model = s->as;
}

void
sides_start(size_t free_pages)
{
    aspace_use(NULL);
    objects_warm();
    for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
        forget_ranges(sides[i]);
    frames_forget();
    objects_settle();
    slabs_trim(); /* from here on no page comes from a cache that the pool does not know */
    pool_start(free_pages);
    check_finally(sides_end);
    for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
        side_start(sides[i]);
    if (!zero_page_is_ours)
        real_zero_page = zero_page;
    zero_page_is_ours = true;
    zero_page = frame_new(1);
    memset(P2V(zero_page), 0, PGSIZE);
    frame_written(zero_page);

    parent.as.asid = check_random();
    parent.as.brk_start = check_random();
    parent.as.brk = check_random();
    parent.model = parent.as;
    check_table.root = parent.as.root;
}

void
side_use(struct side *s)
{
    aspace_use(&s->as);
    s->model.asid = s->as.asid;
}

/* ---- making them ---- */

void
side_range(struct side *s, uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    EXPECT(s->nranges < RANGES_MAX, "a mistake in the check itself: RANGES_MAX is too small");
    EXPECT(vma_add(&s->as, start, stop, prot, kind) == 0, "vma_add has no memory");
    s->range[s->nranges++] = (struct vma){.start = start, .end = stop, .prot = prot, .kind = kind};
    s->model.vmas = s->as.vmas;
}

const struct vma *
side_range_of(const struct side *s, uint64_t va)
{
    for (size_t i = 0; i < s->nranges; i++)
        if (s->range[i].start <= va && va < s->range[i].end)
            return &s->range[i];
    return NULL;
}

/* Where the leaf for va is, or has to be. */
static size_t
leaf_at(const struct side *s, uint64_t va)
{
    size_t i = s->nleaves;

    while (i > 0 && s->leaf[i - 1].va >= va)
        i--;
    return i;
}

void
side_expect(struct side *s, uint64_t va, uint64_t entry)
{
    size_t i = leaf_at(s, va);
    bool there = i < s->nleaves && s->leaf[i].va == va;

    if (!there && entry) {
        EXPECT(s->nleaves < LEAVES_MAX, "a mistake in the check itself: LEAVES_MAX is too small");
        memmove(&s->leaf[i + 1], &s->leaf[i], (s->nleaves++ - i) * sizeof(s->leaf[0]));
    } else if (there && !entry) {
        memmove(&s->leaf[i], &s->leaf[i + 1], (--s->nleaves - i) * sizeof(s->leaf[0]));
    }
    if (entry)
        s->leaf[i] = (struct leaf){va, entry};
}

uint64_t
side_expected(const struct side *s, uint64_t va)
{
    size_t i = leaf_at(s, va);

    return i < s->nleaves && s->leaf[i].va == va ? s->leaf[i].entry : 0;
}

/* Where the entry for va is, in tables that are made if need be. */
static uint64_t *
make_tables(struct side *s, uint64_t va)
{
    uint64_t *table = s->as.root;

    for (int level = 0; level < 3; level++) {
        uint64_t *entry = &table[PTX(level, va)];
        if (!(*entry & PTE_P))
            *entry = V2P(page_take(0)) | PTE_TABLE;
        table = P2V(PTE_ADDR(*entry));
    }
    return &table[PTX(3, va)];
}

void
side_invalid(struct side *s, uint64_t va)
{
    *make_tables(s, va) = space_entry(frame_new(1), PROT_READ | PROT_WRITE) & ~PTE_P;
    pte_sync();
}

void
side_map(struct side *s, uint64_t va, uint64_t pa, int prot)
{
    uint64_t *entry = make_tables(s, va);

    *entry = space_entry(pa, prot);
    side_expect(s, va, *entry);
    pte_sync();
    s->model.pages = ++s->as.pages;
}

uint64_t *
side_entry(const struct side *s, uint64_t va)
{
    uint64_t *table = s->as.root;

    for (int level = 0; level < 3; level++) {
        uint64_t entry = table[PTX(level, va)];
        if ((entry & PTE_TABLE) != PTE_TABLE || !page_owned(PTE_ADDR(entry)))
            return NULL;
        table = P2V(PTE_ADDR(entry));
    }
    return &table[PTX(3, va)];
}

size_t
side_tables(const struct side *s)
{
    size_t n = 0;

    for (int level = 1; level <= 3; level++)
        for (size_t i = 0; i < s->nleaves; i++)
            n += i == 0
              || s->leaf[i].va >> PTXSHIFT(level - 1) != s->leaf[i - 1].va >> PTXSHIFT(level - 1);
    return n;
}

/* ---- comparing ---- */

static const struct side *whose;
static uint64_t ignored;
static size_t seen; /* leaves so far */

static const char *
difference(uint64_t is, uint64_t wanted)
{
    static char text[64];
    uint64_t differs = (is ^ wanted) & ~ignored;

    if (PTE_ADDR(differs))
        return "it leads to another page";
    if (differs & PTE_RO)
        return is & PTE_RO ? "PTE_RO is set: it could not be written"
                           : "PTE_RO is missing: it could be written";
    if (differs & PTE_UXN)
        return is & PTE_UXN ? "PTE_UXN is set: it could not be executed"
                            : "PTE_UXN is missing: programs could execute it";
    if (differs & PTE_PXN)
        return "PTE_PXN is missing: the kernel could execute it";
    if (differs & PTE_USER)
        return is & PTE_USER ? "PTE_USER is set: programs could read it"
                             : "PTE_USER is missing: programs could not read it";
    if (differs & PTE_NG)
        return "PTE_NG is missing: a TLB entry would hold for all processes";
    if (differs & PTE_AF)
        return "PTE_AF is missing: the first access would fault";
    snprintf(text, sizeof(text), "the bits 0x%lx are wrong", differs);
    return text;
}

static void
see_missing(const struct leaf *l)
{
    check_table.va = l->va;
    EXPECT(false, "0x%lx is not mapped in %s: expected the entry 0x%lx, found %s", l->va,
           whose->name, l->entry, side_entry(whose, l->va) ? "none" : "no table for it");
}

static void
see_leaf(uint64_t va, uint64_t entry)
{
    const struct leaf *l = &whose->leaf[seen];

    if (seen < whose->nleaves && l->va < va)
        see_missing(l);
    check_table.va = va;
    EXPECT(
        entry != UINT64_MAX,
        "the entry for 0x%lx in %s is 0x%lx, what the free page had held: expected 0, a new table "
        "must be zeroed",
        va, whose->name, entry);
    EXPECT(seen < whose->nleaves && l->va == va,
           "0x%lx is mapped in %s, the entry is 0x%lx: expected nothing there", va, whose->name,
           entry);
    EXPECT(((entry ^ l->entry) & ~ignored) == 0,
           "the entry for 0x%lx in %s is 0x%lx, expected 0x%lx: %s", va, whose->name, entry,
           l->entry, difference(entry, l->entry));
    if (!frame_at(PTE_ADDR(entry))) {
        const char *wrong = page_to_table(PTE_ADDR(entry));
        EXPECT(!wrong, "0x%lx is mapped to 0x%lx in %s: expected a page from kalloc(), found %s",
               va, PTE_ADDR(entry), whose->name, wrong);
    }
    seen++;
}

static void
see_table(const uint64_t *table, int level, uint64_t va)
{
    for (size_t i = 0; i < NPTE; i++) {
        uint64_t entry = table[i], here = va | i << PTXSHIFT(level);
        if (!(entry & PTE_P))
            continue;
        if (level == 3) {
            see_leaf(here, entry);
            continue;
        }
        check_table.va = here;
        const char *wrong = (entry & PTE_TABLE) != PTE_TABLE || entry >> 48
                              ? "an entry that is no table's (is a new table zeroed?)"
                              : page_to_table(PTE_ADDR(entry));
        EXPECT(!wrong,
               "the level %d entry for 0x%lx in %s is 0x%lx: expected that of a table of its own, "
               "found %s",
               level, here, whose->name, entry, wrong);
        see_table(P2V(PTE_ADDR(entry)), level + 1, here);
    }
}

static void
check_ranges(const struct side *s)
{
    const struct vma *v = s->as.vmas;

    for (size_t i = 0; i < s->nranges; i++, v = v->next) {
        const struct vma *w = &s->range[i];
        EXPECT(v, "%s has %lu ranges: expected %lu, the next one 0x%lx to 0x%lx", s->name, i,
               s->nranges, w->start, w->end);
        for (size_t k = 0; k < ARRAY_SIZE(sides); k++)
            EXPECT(sides[k] == s || v != sides[k]->as.vmas,
                   "%s has the same list of ranges as %s: expected one of its own", s->name,
                   sides[k]->name);
        EXPECT(v->start == w->start && v->end == w->end && v->prot == w->prot && v->kind == w->kind,
               "range %lu of %s is 0x%lx to 0x%lx, prot %d, kind %d: expected 0x%lx to 0x%lx, prot "
               "%d, "
               "kind %d",
               i, s->name, v->start, v->end, v->prot, (int)v->kind, w->start, w->end, w->prot,
               (int)w->kind);
    }
    EXPECT(!v, "%s has more than %lu ranges: expected no more", s->name, s->nranges);
}

static void
check_fields(const struct side *s)
{
    const struct aspace *is = &s->as, *wanted = &s->model;

    EXPECT(is->root == wanted->root, "root of %s is %p, expected it to stay %p", s->name,
           (void *)is->root, (void *)wanted->root);
    EXPECT(is->asid == wanted->asid, "asid of %s is 0x%lx, expected it to stay 0x%lx", s->name,
           is->asid, wanted->asid);
    EXPECT(is->brk_start == wanted->brk_start && is->brk == wanted->brk,
           "brk_start and brk of %s are 0x%lx and 0x%lx, expected 0x%lx and 0x%lx", s->name,
           is->brk_start, is->brk, wanted->brk_start, wanted->brk);
    EXPECT(is->pages == wanted->pages, "pages of %s is %lu, expected %lu", s->name, is->pages,
           wanted->pages);
}

static void
check_side(const struct side *s)
{
    const char *wrong = page_to_table(V2P(s->as.root));

    whose = s;
    seen = 0;
    check_table.root = s->as.root;
    EXPECT(!wrong, "the root of %s is %s", s->name, wrong);
    see_table(s->as.root, 0, 0);
    if (seen < s->nleaves)
        see_missing(&s->leaf[seen]);
    check_fields(s);
    check_ranges(s);
}

void
sides_check(uint64_t ignore)
{
    ignored = ignore;
    page_forget_tables();
    for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
        check_side(sides[i]);
    for (size_t i = 0; i < nframes; i++)
        check_frame(&frames_known[i]);
    EXPECT(parent.as.image == parent.model.image
               && (!parent.as.image || parent.as.image->users == 1),
           "image of from has changed, or how many use it: expected it to stay");
    slabs_trim(); /* what came and went as an object is free, though its cache keeps the page */
    pool_check();
    check_table.root = parent.as.root;
}

/* ---- words ---- */

const char *
access_name(int access)
{
    return access == PROT_READ ? "PROT_READ" : access == PROT_WRITE ? "PROT_WRITE" : "PROT_EXEC";
}

const char *
kind_name(enum vma_kind kind)
{
    static const char *const names[] = {"VMA_FILE", "VMA_HEAP", "VMA_ANON", "VMA_STACK"};

    return names[kind];
}
