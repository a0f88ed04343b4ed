/*
 * Programs that are none, no memory, too many of everything, and changes that have to be seen at once. See
 * processes.c.
 */
#include "audit.h"
#include "check.h"
#include "errno.h"
#include "exec.h"
#include "irq.h"
#include "pmm.h"
#include "proc.h"
#include "processes.h"
#include "string.h"
#include "uapi/signal.h"

/* ---- Programs that are none ---- */

#define IMAGE_MAX 0x4000

static char image[IMAGE_MAX];
static size_t image_size;

static void
put(size_t offset, uint64_t value, size_t bytes)
{
    memcpy(image + offset, &value, bytes); /* little-endian */
}

static void
fresh_image(void)
{
    const struct program *program = program_find("exit");

    image_size = (size_t)(program->end - program->start);
    require(image_size <= IMAGE_MAX);
    memcpy(image, program->start, image_size);
}

static int
try_image(size_t size)
{
    static const char *const argv[] = {"image", "5", NULL}, *const environment[] = {NULL};

    return proc_spawn_file(image, size, "image", argv, environment);
}

/* What became of it, if it is given little time. */
static int
outcome(int pid)
{
    if (pid < 0)
        return pid;
    const struct proc *p = proc_find(pid);
    for (int ms = 0; ms < 5 && p->state != PROC_ZOMBIE; ms++)
        wait_us(MS);
    if (p->state != PROC_ZOMBIE)
        require(proc_kill(pid, SIGKILL) == 0);
    return proc_wait(pid);
}

/* Where the last of its three segments ends in the file; what is behind it need not be there. */
static size_t
segments_end(void)
{
    uint64_t offset, size;

    memcpy(&offset, image + 64 + 2 * 56 + 8, 8);
    memcpy(&size, image + 64 + 2 * 56 + 32, 8);
    return offset + size;
}

/* Fields of the file's header, and of the first two program headers, that each make it no program. */
static void
bad_programs(void)
{
    static const struct {
        size_t offset, bytes;
        uint64_t value;
    } bad[] = {
        {0, 1, 0},
        {1, 1, 'e'},
        {4, 1, 1},
        {5, 1, 2},
        {6, 1, 0},
        {7, 1, 9},
        {16, 2, 1},
        {16, 2, 3},
        {16, 2, 4},
        {18, 2, 62},
        {20, 4, 2},
        {24, 8, 0},
        {24, 8, 1},
        {24, 8, 0x400002},
        {24, 8, 0xffff000000080000},
        {24, 8, -4UL},
        {32, 8, -8UL},
        {32, 8, 1UL << 32},
        {32, 8, -1UL},
        {52, 2, 63},
        {54, 2, 55},
        {54, 2, 0},
        {56, 2, 0},
        {56, 2, 0xffff},
        {56, 2, 0x7fff}, /* program headers */
        {64, 4, 3},
        {64, 4, 0},
        {68, 4, 7},
        {68, 4, 4},
        {72, 8, 1},
        {72, 8, -4096UL},
        {72, 8, 1UL << 40},
        {80, 8, 0},
        {80, 8, 0x400001},
        {80, 8, 0xffff000000080000},
        {80, 8, -4096UL},
        {80, 8, 1UL << 47},
        {96, 8, -1UL},
        {96, 8, 1UL << 62},
        {96, 8, 0x100000},
        {104, 8, -1UL},
        {104, 8, 1UL << 40},
        {104, 8, 16},
        {112, 8, 3},
        {112, 8, 1UL << 40},
        {136, 8, 0x400000},
        {124, 4, 7},
    };
    size_t objects = objects_in_use(), pages = pages_free();

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        fresh_image();
        put(bad[i].offset, bad[i].value, bad[i].bytes);
        int result = try_image(image_size);
        if (result != -ENOEXEC)
            panic("%lx at %lu: %d instead of -ENOEXEC", bad[i].value, bad[i].offset, result);
        require(pages_free() == pages && objects_in_use() == objects);
    }
    fresh_image();
    for (size_t size = 0; size < segments_end(); size += size < 300 ? 1 : 97)
        require(try_image(size) == -ENOEXEC);
    require(outcome(try_image(image_size)) == 5);
    require(pages_free() == pages && objects_in_use() == objects);
}

/* Random bytes in the headers, and sensible but wrong ones; whatever becomes of it, it comes to an end. */
static void
random_programs(void)
{
    static const uint64_t words[] = {
        0,          1,         8,         64,        4096, 0x400000, 0x401000,
        0x3ffef000, 1UL << 47, 1UL << 48, 1UL << 63, -1UL, -4096UL,  0xffff000000080000};
    size_t objects = objects_in_use(), pages = pages_free(), refused = 0, ended = 0;

    for (int turn = 0; turn < 4000; turn++) {
        fresh_image();
        for (uint64_t n = 1 + check_random_below(3); n > 0; n--) {
            size_t bytes = 1UL << check_random_below(4);
            size_t offset = check_random_below(64 + 3 * 56 - 8) & ~(bytes - 1);
            put(offset,
                check_random() % 2 ? check_random() : words[check_random_below(ARRAY_SIZE(words))],
                bytes);
        }
        int pid = try_image(image_size);
        require(pid > 0 || pid == -ENOEXEC || pid == -ENOMEM);
        int status = outcome(pid);
        require(status < 256);
        refused += pid < 0;
        ended += pid > 0;
        require(turn % 50 != 0 || audit(say_error) == 0);
        if (pages_free() != pages || objects_in_use() != objects)
            panic("turn %d: %ld pages and %ld objects are lost", turn, (long)(pages - pages_free()),
                  (long)(objects_in_use() - objects));
    }
    require(refused > 100 && ended > 100);
}

/* ---- No memory ---- */

/* Blocks that are held, so that others find less. */
static struct block {
    struct block *next;
    unsigned order;
} * held;

static void
hold_all_but(size_t leave)
{
    for (unsigned order = PMM_ORDERS; order-- > 0;)
        while (pages_free() >= leave + (1UL << order)) {
            uint64_t pa = pmm_alloc(order);
            if (pa == 0)
                break;
            struct block *b = P2V(pa);
            *b = (struct block){held, order};
            held = b;
        }
}

static void
hold_none(void)
{
    while (held) {
        struct block *b = held;
        held = b->next;
        pmm_free(V2P(b), b->order);
    }
}

/* From lab 6 on, pages are given when they are used: then who gets none is killed. */
static bool
was_starved(int status)
{
    return LAB >= 6 && status == 128 + SIGKILL;
}

/* Whatever a new process cannot have any more, nothing is lost, and with enough it runs. */
static void
no_memory_to_start(void)
{
    size_t objects = objects_in_use(), started = 0;

    for (size_t leave = 0; leave < 80; leave++) {
        size_t pages = pages_free();
        hold_all_but(leave);
        int result = status_of("exit 3");
        require(result == -ENOMEM || result == 3 || was_starved(result));
        started += result == 3;
        require(started == 0 || result == 3);
        hold_none();
        require(pages_free() == pages && objects_in_use() == objects);
    }
    require(started > 5 && started < 75);
}

/* One that takes all there is ends alone: others, which have what they need, go on. */
static void
no_memory_to_go_on(void)
{
    static const char *const takers[] = {
        "attack mmap_all",
        "attack brk_all",
        "alloc a",
#if LAB < 6 /* it asks for pages and uses none of them */
        "attack cut_all"
#endif
    };
    size_t objects = objects_in_use(), pages = pages_free();

    for (size_t i = 0; i < ARRAY_SIZE(takers); i++) {
        const struct proc *others[] = {spawned("regs 1000000000"), spawned("alloc other 20"),
                                       spawned("regs 300 7")};
        hold_all_but(600);
        wait_us(3 * MS);
        int status = status_of(takers[i]);
        if (status != 0 && !was_starved(status))
            panic("%s: %d", takers[i], status);
        for (int j = 1; j < 3; j++) {
            status = proc_wait(others[j]->pid);
            require(status == 0 || was_starved(status));
        }
        require(others[0]->state == PROC_RUNNABLE && audit(say_error) == 0);
        kill_it(others[0], SIGKILL);
        hold_none();
        require(pages_free() == pages && objects_in_use() == objects);
    }
}

/* ---- Too many ---- */

static struct waitq gate;
static bool open;

static void
stand_at_gate(void *unused)
{
    (void)unused;
    irq_mask();
    while (!open)
        sleep_on(&gate);
}

static void
fill_the_table(void)
{
    size_t n = 0;
    int pid;

    open = false;
    while ((pid = kthread_create(stand_at_gate, NULL, "waiting")) > 0)
        n++;
    require(pid == -EAGAIN && n == NPROC - 3);
    require(spawn("exit 4") == -EAGAIN);
    open = true;
    wake_up(&gate);
    wait_for_threads();
    require(status_of("exit 4") == 4);
}

static void
too_many(void)
{
    fill_the_table(); /* and vmalloc has its tables */
    size_t objects = objects_in_use(), pages = pages_free();
    fill_the_table();
    require(pages_free() == pages && objects_in_use() == objects);
}

/* Numbers come again, but not while their owners are there. */
static void
all_pids(void)
{
    int keeper = spawned("sleep 1000000")->pid, last = keeper;
    bool wrapped = false;

    for (int i = 0; i < PID_MAX + 300; i++) {
        int pid = kthread_create(nothing, NULL, "short");
        require(pid > 2 && pid <= PID_MAX && pid != keeper);
        require(pid > last || (!wrapped && last > PID_MAX - 3));
        wrapped |= pid < last;
        last = pid;
        sched_yield();
        while (proc_find(pid))
            sched_yield();
    }
    require(wrapped && proc_find(keeper)->state == PROC_SLEEPING);
    kill_it(proc_find(keeper), SIGKILL);
}

/* ---- More address spaces than there are ASIDs ---- */

static void
asids_again(void)
{
    struct proc *alive[] = {spawned("regs 1000000000 1"), spawned("alloc a 50"),
                            spawned("sleep 200"), spawned("regs 1000000000 2")};
    uint64_t first, all[ARRAY_SIZE(alive)];
    struct aspace as;

    wait_us(20 * MS);
    first = alive[0]->as.asid;
    require(first);
    for (int i = 0; i < 70000; i++) {
        as = (struct aspace){.root = NULL};
        require(aspace_create(&as) == 0);
        aspace_use(&as);
        require(as.asid & 0xffff);
        for (size_t j = 0; j < ARRAY_SIZE(alive); j++)
            require(as.asid != alive[j]->as.asid);
        aspace_use(NULL);
        aspace_destroy(&as);
        if (i % 10000 == 9999)
            wait_us(5 * MS); /* the others go on: whoever is of an old generation gets a new tag */
    }
    wait_us(40 * MS);
    require(alive[0]->as.asid >> 16 > first >> 16);
    for (size_t i = 0; i < ARRAY_SIZE(alive); i++) {
        all[i] = alive[i]->as.root ? alive[i]->as.asid : 0;
        for (size_t j = 0; j < i; j++)
            require(!all[i] || all[i] != all[j]);
    }
    require(audit(say_error) == 0);
    require(proc_wait(alive[1]->pid) == 0 && proc_wait(alive[2]->pid) == 0);
    require(alive[0]->state != PROC_ZOMBIE && alive[3]->state != PROC_ZOMBIE);
    kill_it(alive[0], SIGKILL);
    kill_it(alive[3], SIGKILL);
}

/* ---- Changes that have to be seen ---- */

static void
tlb(void)
{
    static const struct {
        const char *line;
        int status;
    } ways[] = {{"tlb unmapped", 139}, {"tlb shrunk", 139},        {"tlb hidden", 139},
                {"tlb readonly", 139}, {"tlb readonly-over", 139}, {"tlb noexec", 139},
                {"tlb over", 0},       {"tlb again", 0},           {"tlb grown", 0}};

    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        int wrong = 0;
        for (int turn = 0; turn < 20; turn++)
            wrong += status_of(ways[i].line) != ways[i].status;
        cprintf("%s: %d of 20 wrong\n", ways[i].line, wrong);
    }
}

const struct try limits_tries[] = {
    {"bad_programs", bad_programs},
    {"random_programs", random_programs},
    {"no_memory_to_start", no_memory_to_start},
    {"no_memory_to_go_on", no_memory_to_go_on},
    {"too_many", too_many},
    {"all_pids", all_pids},
    {"asids", asids_again},
    {"tlb", tlb},
    {NULL, NULL},
};
