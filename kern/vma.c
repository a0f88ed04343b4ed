/*
 * The ranges of an address space: a list, sorted by address. Whoever has to cut a range in two takes the
 * records for it before anything is changed.
 */
#include "vma.h"
#include "console.h"
#include "errno.h"
#include "kmalloc.h"

/* ---- Records ---- */

static void
release(struct vma *spare)
{
    while (spare) {
        struct vma *next = spare->next;
        kmfree(spare);
        spare = next;
    }
}

/* Records for n ranges more, or -ENOMEM and none. */
static int
take(const struct aspace *as, struct vma **spare, size_t n)
{
    size_t all = n;

    *spare = NULL;
    for (const struct vma *v = as->vmas; n > 0 && v; v = v->next)
        if (++all > VMAS_MAX)
            return -ENOMEM;
    for (; n > 0; n--) {
        struct vma *v = kmalloc(sizeof(*v));
        if (!v) {
            release(*spare);
            return -ENOMEM;
        }
        v->next = *spare;
        *spare = v;
    }
    return 0;
}

/* The next one of the spare records becomes a range of the list, behind prev (NULL: the first). */
static void
insert(struct aspace *as, struct vma *prev, struct vma range, struct vma **spare)
{
    struct vma **link = prev ? &prev->next : &as->vmas, *v = *spare;

    assert(v); /* whoever took them has counted right */
    *spare = v->next;
    *v = range;
    v->next = *link;
    *link = v;
}

/* ---- Looking ---- */

/* The first range that ends behind va, or NULL. */
static struct vma *
first_behind(const struct aspace *as, uint64_t va)
{
    struct vma *v = as->vmas;

    while (v && v->end <= va)
        v = v->next;
    return v;
}

/* The last range that ends at or before va, or NULL. */
static struct vma *
last_before(const struct aspace *as, uint64_t va)
{
    struct vma *last = NULL;

    for (struct vma *v = as->vmas; v && v->end <= va; v = v->next)
        last = v;
    return last;
}

struct vma *
vma_find(const struct aspace *as, uint64_t va)
{
    struct vma *v = first_behind(as, va);

    return v && v->start <= va ? v : NULL;
}

bool
vma_overlaps(const struct aspace *as, uint64_t start, uint64_t stop)
{
    const struct vma *v = first_behind(as, start);

    return v && v->start < stop;
}

bool
vma_covers(const struct aspace *as, uint64_t start, uint64_t stop)
{
    for (const struct vma *v = first_behind(as, start); v && v->start <= start; v = v->next) {
        if (stop <= v->end)
            return true;
        start = v->end;
    }
    return false;
}

uint64_t
vma_gap(const struct aspace *as, uint64_t size, uint64_t top)
{
    uint64_t from = USER_MIN, best = 0;

    for (const struct vma *v = as->vmas;; v = v->next) {
        uint64_t to = v ? MIN(v->start, top) : top;
        if (from < to && to - from >= size)
            best = to - size;
        if (!v)
            return best;
        from = v->end;
    }
}

/* ---- Changing: these do not fail ---- */

static bool
alike(const struct vma *v, int prot, enum vma_kind kind)
{
    return v->prot == prot && v->kind == kind;
}

/* If v and the range behind it belong together, they are one. Was it so? */
static bool
join(struct vma *v)
{
    struct vma *next = v->next;

    if (!next || v->end != next->start || !alike(next, v->prot, v->kind))
        return false;
    v->end = next->end;
    v->next = next->next;
    kmfree(next);
    return true;
}

/* Is [start, stop) inside of one range, which goes on at both ends? */
static bool
is_inside(const struct aspace *as, uint64_t start, uint64_t stop)
{
    const struct vma *v = vma_find(as, start);

    return v && v->start < start && stop < v->end;
}

/* Nothing is in [start, stop) any more. Needs a spare record if is_inside. */
static void
cut(struct aspace *as, uint64_t start, uint64_t stop, struct vma **spare)
{
    struct vma **link = &as->vmas, *v;

    while ((v = *link) && v->start < stop) {
        uint64_t tail = v->end;

        if (v->start < start) {
            link = &v->next;
            v->end = MIN(tail, start);
            if (stop < tail)
                insert(as, v,
                       (struct vma){.start = stop, .end = tail, .prot = v->prot, .kind = v->kind},
                       spare);
        } else if (stop < tail) {
            v->start = stop;
        } else {
            *link = v->next;
            kmfree(v);
        }
    }
}

/* The range becomes part of the list, at a place where nothing is. Needs a spare record, unless it touches one like it. */
static void
put(struct aspace *as, struct vma range, struct vma **spare)
{
    struct vma *prev = last_before(as, range.start), *next = prev ? prev->next : as->vmas;

    if (prev && prev->end == range.start && alike(prev, range.prot, range.kind)) {
        prev->end = range.end;
        join(prev);
    } else if (next && range.end == next->start && alike(next, range.prot, range.kind)) {
        next->start = range.start;
    } else {
        insert(as, prev, range, spare);
    }
}

/* The range that has to be cut at va before its part behind va, or before it, can have other rights than its own. */
static struct vma *
to_split(const struct aspace *as, uint64_t va, int prot)
{
    struct vma *v = vma_find(as, va);

    return v && v->start < va && v->prot != prot ? v : NULL;
}

static void
split(struct aspace *as, uint64_t va, int prot, struct vma **spare)
{
    struct vma *v = to_split(as, va, prot);

    if (!v)
        return;
    insert(as, v, (struct vma){.start = va, .end = v->end, .prot = v->prot, .kind = v->kind},
           spare);
    v->end = va;
}

/* ---- Changing: records first ---- */

int
vma_add(struct aspace *as, uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    const struct vma *prev = last_before(as, start), *next = prev ? prev->next : as->vmas;
    bool joins = (prev && prev->end == start && alike(prev, prot, kind))
              || (next && next->start == stop && alike(next, prot, kind));
    struct vma *spare;

    assert(start < stop && !(next && next->start < stop));
    if (take(as, &spare, joins ? 0 : 1) < 0)
        return -ENOMEM;
    put(as, (struct vma){.start = start, .end = stop, .prot = prot, .kind = kind}, &spare);
    return 0;
}

int
vma_remove(struct aspace *as, uint64_t start, uint64_t stop)
{
    struct vma *spare;

    if (take(as, &spare, is_inside(as, start, stop) ? 1 : 0) < 0)
        return -ENOMEM;
    cut(as, start, stop, &spare);
    return 0;
}

int
vma_replace(struct aspace *as, uint64_t start, uint64_t stop, int prot, enum vma_kind kind)
{
    struct vma *spare;

    if (take(as, &spare, is_inside(as, start, stop) ? 2 : 1) < 0)
        return -ENOMEM;
    cut(as, start, stop, &spare);
    put(as, (struct vma){.start = start, .end = stop, .prot = prot, .kind = kind}, &spare);
    release(spare);
    return 0;
}

int
vma_protect(struct aspace *as, uint64_t start, uint64_t stop, int prot)
{
    struct vma *spare, *v;

    if (take(as, &spare, !!to_split(as, start, prot) + (size_t) !!to_split(as, stop, prot)) < 0)
        return -ENOMEM;
    split(as, start, prot, &spare);
    split(as, stop, prot, &spare);
    for (v = first_behind(as, start); v && v->start < stop; v = v->next)
        v->prot = prot;
    v = last_before(as, start);
    for (v = v ? v : as->vmas; v && v->start < stop;)
        if (!join(v))
            v = v->next;
    return 0;
}

void
vma_clear(struct aspace *as)
{
    release(as->vmas);
    as->vmas = NULL;
}
