/*
 * memview: when views are made, what keys do, and programs that play.
 */
#include "memview.h"
#include "boot.h"
#include "bootinfo.h"
#include "console.h"
#include "memlayout.h"
#include "printf.h"
#include "string.h"
#include "uart.h"
#if LAB >= 5
#include "exec.h"
#include "input.h"
#include "irq.h"
#include "proc.h"
#include "uapi/signal.h"
#endif

#define INTERVAL 250000000UL /* nanoseconds from view to view; but the views take ... */
#define SHARE    20          /* ... no more than one part in so many of the time */

#if LAB >= 5
static uint64_t
nanoseconds(void)
{
    return clock_ns(clock_count());
}
#else
static uint64_t
nanoseconds(void)
{
    return 0;
}

static uint64_t
irq_mask(void)
{
    return 0;
}

static void
irq_restore(uint64_t flags)
{
    (void)flags;
}
#endif

/* ---- Scenes ---- */

#if LAB >= 5
#define PLAYERS 4

static bool
plays(const struct proc *p)
{
    return p->as.root && strcmp(p->name, "scene") == 0;
}

/* What is left of our children that have ended, or are about to, goes. */
static void
reap(void)
{
    int pid = 0;

    for (const struct proc *p; (p = proc_after(pid)) != NULL;) {
        pid = p->pid;
        if (p->ppid == current()->pid && (p->state == PROC_ZOMBIE || p->killed))
            (void)proc_wait(pid);
    }
}

/* Those that play end. */
static void
clear_scene(void)
{
    for (struct proc *p = proc_after(0); p; p = proc_after(p->pid))
        if (plays(p))
            (void)proc_kill(p->pid, SIGKILL);
    reap();
}

static void
play(const char *scene, int players)
{
    static const char *const environment[] = {NULL};
    char pages[12];

    clear_scene();
    view.note[0] = '\0';
    snprintf(pages, sizeof(pages), "%zu",
             view.total[CELL_FREE] / (PLAYERS + 1)); /* the fifth part is for tables */
    for (int i = 1; i <= players; i++) {
        const char speed[] = {(char)('0' + i), '\0'};
        const char *const argv[] = {"scene", scene, speed, pages, NULL};
        int pid = proc_spawn(argv, environment);
        if (pid < 0)
            snprintf(view.note, sizeof(view.note), "scene %s: error %d", scene, -pid);
    }
}
#endif

/* ---- Keys ---- */

#define ESCAPE 27

static void
zoom_in(void)
{
    if (view.window > VIEW_ROW)
        view.window /= 2;
}

static void
zoom_out(void)
{
    if (view.window < view.n)
        view.window *= 2;
    view.first = ROUNDDOWN(view.first, view.window);
}

static void
move_on(void)
{
    if (view.first + view.window < view.n)
        view.first += view.window / 2;
}

static void
move_back(void)
{
    view.first -= MIN(view.first, view.window / 2);
}

/* False: that was enough. */
static bool
key(int c)
{
    static int before[2]; /* ESC [ comes before an arrow's letter */
    bool arrow = before[0] == ESCAPE && before[1] == '[';

    before[0] = before[1];
    before[1] = c;
    switch (c) {
    case 'q':
        return false;
    case ' ':
        view.paused = !view.paused;
        break;
    case ']':
        move_on();
        break;
    case '[':
        if (before[0] != ESCAPE)
            move_back();
        break;
#if LAB >= 5
    case 'a':
        play("alloc", PLAYERS);
        break;
#if LAB >= 6
    case 'f':
        play("fork", 1);
        break;
    case 'e':
        play("forkexit", 1);
        break;
#else
    case 'f':
    case 'e':
        strlcpy(view.note, "fork comes with lab 6", sizeof(view.note));
        break;
#endif
#endif
    case 'A':
        if (arrow)
            zoom_in();
        break;
    case 'B':
        if (arrow)
            zoom_out();
        break;
#if LAB >= 5
    case 'C':
        if (arrow)
            view_choose_next();
        break;
    case 'D':
        if (arrow)
            view_choose_previous();
        break;
#endif
    default:
        break;
    }
    return true;
}

/* Until the next view, and then all keys that have been pressed. Before lab 5 nothing moves but by keys. */
static bool
wait(void)
{
#if LAB >= 5
    if (proc_idle && !proc_stopped) {
        bool was_paused = view.paused;
        int c;
        while ((c = input_poll()) >= 0)
            if (!key(c))
                return false;
        if (!view.paused) {
            timer_sleep(clock_count() + clock_counts(MAX(INTERVAL, (SHARE - 1) * view.cost)));
            reap();
        }
        if (!view.paused || !was_paused)
            return true;
    }
#endif
    return key(uart_getc()); /* paused: nobody else runs, as interrupts are masked */
}

/* ---- All together ---- */

/*
 * Nobody else runs from look to look but in timer_sleep; and while a slow viewer is at work, unless all is to stand still.
 */
static void
look(const struct viewer *viewer, uint64_t flags)
{
    uint64_t before = nanoseconds();

    view_look();
    if (!viewer->slow)
        viewer->show(&view);
    view.cost = nanoseconds() - before;
    if (viewer->slow && !view.paused)
        irq_restore(flags);
    if (viewer->slow)
        viewer->show(&view);
    (void)irq_mask();
}

static void
run(const struct viewer *viewer)
{
    if (!view_begin())
        return;
    uint64_t flags = irq_mask();
    if (viewer->start()) {
        do {
            look(viewer, flags);
        } while (wait());
        viewer->end();
    }
#if LAB >= 5
    clear_scene();
#endif
    irq_restore(flags);
    view_end();
}

/* NULL, and says what there is: there is none of that name. */
static const struct viewer *
viewer_named(const char *name)
{
    static const struct viewer *const viewers[] = {&memtext, &memscreen, &memjson};

    for (size_t i = 0; i < ARRAY_SIZE(viewers); i++)
        if (strcmp(name, viewers[i]->name) == 0)
            return viewers[i];
    cprintf("memview text, memview screen (HDMI), or memview json\n");
    return NULL;
}

bool
memview_boot(void)
{
    char name[16];

    if (!bootarg("memview", name, sizeof(name)))
        return false;
    const struct viewer *viewer = viewer_named(name);
    if (viewer) {
        boot_milestone("monitor"); /* from here on keys are read */
        run(viewer);
    }
    return true;
}

void
memview(const char *argument)
{
    const struct viewer *viewer = viewer_named(*argument ? argument : "text");

    if (viewer)
        run(viewer);
}
