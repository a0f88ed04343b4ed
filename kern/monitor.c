/*
 * The monitor: a small command line into the running kernel.
 */
#include "monitor.h"
#include "boot.h"
#include "check.h"
#include "console.h"
#include "memlayout.h"
#include "panic.h"
#include "power.h"
#include "pt.h"
#include "ram.h"
#include "string.h"
#include "uart.h"
#if LAB >= 2
#include "kalloc.h"
#endif
#if LAB >= 4
#include "heap.h"
#include "slab.h"
#include "vmalloc.h"
#endif
#if LAB >= 3
#include "memview.h"
#endif
#if LAB >= 5
#include "jobs.h"
#endif

struct command {
    const char *name, *argument, *help;
    void (*run)(const char *argument);
};

static void help(const char *argument);

static void
mem(const char *argument)
{
    size_t n;
    const struct range *usable = ram_usable(&n);

    (void)argument;
    cprintf("kernel image %lx-%lx\n", V2P(image_start), V2P(end));
    for (size_t i = 0; i < n; i++)
        cprintf("usable       %lx-%lx %lu pages\n", usable[i].start, usable[i].end,
                (usable[i].end - usable[i].start) / PGSIZE);
#if LAB >= 3
    struct pmm_stats stats;

    pmm_stats(&stats);
    cprintf("free         %lu of %lu pages, and %lu with kalloc\n", stats.free, stats.pages,
            count_free_pages());
    cprintf("shared       %lu blocks\n", stats.shared);
#else
#if LAB >= 2
    cprintf("free         %lu pages\n", count_free_pages());
#endif
#endif
}

#if LAB >= 3
static void
buddy(const char *argument)
{
    struct pmm_stats stats;

    (void)argument;
    pmm_stats(&stats);
    for (const struct zone *z = zones; z < zones + nzones; z++)
        cprintf("zone %lu  %lx-%lx  %lu of %lu pages free, marks at %lu %lu %lu\n",
                (size_t)(z - zones), z->base, z->base + z->n * PGSIZE, z->free, z->pages,
                z->watermark[WATERMARK_MIN], z->watermark[WATERMARK_LOW],
                z->watermark[WATERMARK_HIGH]);
    cprintf("order    block   free\n");
    for (unsigned order = 0; order < PMM_ORDERS; order++)
        cprintf("%5u %4lu KiB %6lu\n", order, (PGSIZE / 1024UL) << order, stats.blocks[order]);
    cprintf("%u %% of the free pages lie outside of whole 2 MiB blocks.\n", stats.fragmented);
}
#endif

#if LAB >= 4
static void
slabinfo(const char *argument)
{
    (void)argument;
    cprintf("%16s %5s %7s %7s %6s %6s\n", "cache", "size", "in use", "objects", "chunks", "pages");
    for (const struct slab *slab = slabs; slab; slab = slab->next) {
        size_t objects = (size_t)slab->chunks * slab->objects;
        if (objects > 0)
            cprintf("%16s %5u %7lu %7lu %6u %6lu\n", slab->name, slab->size, slab_in_use(slab),
                    objects, slab->chunks, (size_t)slab->chunks << slab->order);
    }
    for (const struct region *r = heap.regions; r; r = r->next)
        cprintf("heap at %p, %lu pages, %lu bytes free\n", r, r->size / PGSIZE, heap_free_bytes(r));
    for (const struct area *a = areas; a; a = a->next)
        cprintf("area at %lx, %lu pages\n", a->start, a->npages);
}
#endif

static void
pt(const char *argument)
{
    uint64_t va;

    if (parse_u64(argument, NULL, strncmp(argument, "0x", 2) == 0 ? 0 : 16, &va) != 0) {
        cprintf("pt wants an address: pt ffff000000080000\n");
        return;
    }
    pt_print_walk(va);
}

static void
check(const char *argument)
{
    if (check_run_named(argument))
        return;
    cprintf("The checks are:");
    checks_list();
}

static void
bt(const char *argument)
{
    (void)argument;
    print_backtrace((uint64_t)__builtin_frame_address(0));
}

static void
halt(const char *argument)
{
    (void)argument;
    uart_drain();
    power_off();
}

static const struct command commands[] = {
    {"help", "", "this list", help},
    {"mem", "", "physical memory: what there is, and how much is free", mem},
#if LAB >= 3
    {"buddy", "", "the pmm's zones, and its free blocks by order", buddy},
    {"memview", "HOW", "who has which page, as a moving picture: text, screen, json", memview},
#endif
#if LAB >= 4
    {"slabinfo", "", "kmalloc's caches, the heap's regions, vmalloc's areas", slabinfo},
#if defined(DEBUG) || defined(SAN)
    {"leaks", "", "who has allocated what is still in use", leaks},
#endif
#endif
#if LAB >= 5
    {"run", "NAME", "run a program; without a name: which there are", job_run},
    {"ps", "", "processes and kernel threads", job_ps},
    {"kill", "PID", "end a process", job_kill},
    {"vm", "PID", "what a process has mapped; with an address: the walk there", job_vm},
#if LAB >= 6
    {"failnth", "N ...", "run a program, and let the N-th allocation fail", job_failnth},
#endif
    {"audit", "", "is the memory of all processes in order?", job_audit},
#endif
    {"pt", "VA", "how the MMU translates a virtual address", pt},
    {"check", "NAME", "run one check again", check},
    {"bt", "", "the calls that led here", bt},
    {"halt", "", "switch the machine off", halt},
};

static void
help(const char *argument)
{
    (void)argument;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        cprintf("%8s %-5s %s\n", commands[i].name, commands[i].argument, commands[i].help);
}

static void
run(char *line)
{
    while (*line == ' ')
        line++;
    char *argument = strchr(line, ' ');
    if (argument) {
        *argument++ = '\0';
        while (*argument == ' ')
            argument++;
    } else {
        argument = line + strlen(line);
    }
    if (*line == '\0')
        return;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(line, commands[i].name) == 0) {
            commands[i].run(argument);
            return;
        }
    }
    cprintf("There is no command \"%s\"; try help.\n", line);
}

void
monitor(void)
{
    char line[128];

    boot_milestone("monitor");
    for (;;) {
        cprintf("bramble> ");
        readline(line, sizeof(line));
        run(line);
    }
}
