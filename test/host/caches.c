#include "caches.h"

/* Its state is made once in a kernel's life: a machine that starts over has to set it back. */
#include "../../kern/slabs.c" // NOLINT(bugprone-suspicious-include)

void
caches_start_over(void)
{
    slabs = NULL;
    records = (struct records){&records, &records, 0};
    memset(classes, 0, sizeof(classes));
    memset(slab_by_size, 0, sizeof(slab_by_size));
}

const struct slab *
caches_first(void)
{
    return slabs;
}

const void *
caches_records(const void *page, uint64_t *unused)
{
    const struct records *next = page ? ((const struct records *)page)->next : records.next;

    if (next == &records)
        return NULL;
    *unused = next->unused;
    return next;
}

void
caches_state(void (*fn)(const void *, size_t))
{
    uint64_t first = (uint64_t)slabs;

    fn(&first, sizeof(first));
    fn(&records, sizeof(records));
    fn(classes, sizeof(classes));
    fn(slab_by_size, sizeof(slab_by_size));
}
