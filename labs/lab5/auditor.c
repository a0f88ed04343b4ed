/*
 * For checks that run programs: what kmalloc and vmalloc have given, and a kernel thread that looks at the tables of
 * all processes (audit.h) every few milliseconds.
 */
#include "../lab4/lab4.h"
#include "audit.h"
#include "irq.h"
#include "lab5.h"
#include "pmm.h"
#include "proc.h"
#include "slab.h"
#include "string.h"
#include "vmalloc.h"

#define MILLION 1000000UL
#define LOOK_MS 2 /* between two looks at all tables */

void
sleep_ms(uint64_t ms)
{
    timer_sleep(clock_count() + clock_counts(ms * MILLION));
}

/* ---- Objects and areas ---- */

static size_t objects, areas_before;

static size_t
objects_in_use(void)
{
    size_t n = 0;

#if defined(DEBUG) || defined(SAN)
    /* What has been freed waits, until a cache is destroyed (heapdebug.c). */
    watched_slab_destroy(watched_slab_create("none", 16, 16));
#endif
    for (const struct slab *slab = slabs; slab; slab = slab->next)
        n += slab_in_use(slab);
    return n;
}

static size_t
areas_in_use(void)
{
    size_t n = 0;

    for (const struct area *a = areas; a; a = a->next)
        n++;
    return n;
}

void
objects_note(void)
{
    objects = objects_in_use();
    areas_before = areas_in_use();
}

void
objects_expect(const char *after)
{
    size_t now = objects_in_use();

    EXPECT(now == objects, "after %s, %lu objects of kmalloc's are in use, expected %lu, as before",
           after, now, objects);
    EXPECT(areas_in_use() == areas_before,
           "after %s, there are %lu areas of vmalloc's, expected %lu, as before", after,
           areas_in_use(), areas_before);
}

/* ---- Looking at the tables ---- */

int auditor;

static char first_error[160]; /* the first one that audit has found, "": none */
static size_t looks;
static bool auditing; /* the thread is to go on */
static uint64_t
    kept; /* memory for audit to count in, when the programs take all there is; 0: none */
static unsigned kept_order;

static void
note_error(const char *line)
{
    if (!first_error[0])
        strlcpy(first_error, line, sizeof(first_error));
}

/* Interrupts are masked. */
static void
look(void)
{
    if (kept)
        pmm_free(kept, kept_order);
    audit(note_error);
    if (kept)
        kept = pmm_alloc(kept_order); /* the same: nobody has come between */
    looks++;
}

static void
look_again_and_again(void *unused)
{
    (void)unused;
    irq_mask();
    while (auditing) {
        look();
        sleep_ms(LOOK_MS);
    }
}

static void
keep_memory(void)
{
    while ((1UL << PGSHIFT << kept_order) < frames.n * sizeof(struct frame_use))
        kept_order++;
    kept = pmm_alloc(kept_order);
    EXPECT(kept != 0,
           "expected a block of order %u, found none: write pmm_alloc in kern/pmm.c first (lab 3)",
           kept_order);
}

static void
keep_no_memory(void)
{
    if (kept)
        pmm_free(kept, kept_order);
    kept = 0;
    kept_order = 0;
}

void
auditor_expect(void)
{
    EXPECT(!first_error[0], "expected the tables of all processes to be in order, found %s",
           first_error);
}

void
auditor_look(void)
{
    look();
    auditor_expect();
}

void
auditor_start(void)
{
    keep_memory();
    auditing = true;
    looks = 0;
    auditor = kthread_create(look_again_and_again, NULL, "auditor");
    EXPECT(auditor > 0, "expected a thread, found %s", error_name(auditor));
}

void
auditor_stop(void)
{
    auditing = false;
    for (int i = 0; i < 100 && proc_find(auditor); i++)
        sleep_ms(1);
    EXPECT(looks > 5 && !proc_find(auditor),
           "expected a kernel thread to look at the tables every %d ms and to end, it did so %lu "
           "times and is %s",
           LOOK_MS, looks, proc_find(auditor) ? "still there" : "gone");
    keep_no_memory();
    auditor_look();
}

void
auditor_reset(void)
{
    auditing = false;
    auditor = 0;
    first_error[0] = '\0';
    keep_no_memory();
}
