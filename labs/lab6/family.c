/*
 * Parents and children that a check makes. Their lists are compared with what they must be.
 */
#include "family.h"
#include "../lab4/lab4.h"
#include "console.h"
#include "irq.h"
#include "string.h"
#include "uapi/signal.h"

/* ---- Threads of the check's own ---- */

static struct waitq bed; /* they sleep here */

static void
sleep_there(void *unused)
{
    (void)unused;
    irq_mask();
    for (;;)
        sleep_on(&bed);
}

/* Can any other thread run? */
static bool
others_can_run(void)
{
    for (const struct proc *p = proc_after(0); p; p = proc_after(p->pid))
        if (p->state == PROC_RUNNABLE && p != proc_idle)
            return true;
    return false;
}

/* All others that can run do so, until they sleep. (The timer's tick may come between.) */
void
family_run(void)
{
    for (int turns = 0; turns < 20 && others_can_run(); turns++)
        sched_yield();
}

/* A thread that sleeps in bed, once others have run, and is a child of this parent. */
static struct proc *
new_thread(struct proc *parent)
{
    int pid = kthread_create(sleep_there, NULL, "made-up");

    EXPECT(pid > 0, "no thread can be made for this check: found %s", error_name(pid));
    struct proc *p = proc_find(pid);
    proc_adopt(parent, p);
    return p;
}

/* It has ended, as far as others can see. */
static void
make_zombie(struct proc *p, int status, int killed)
{
    sched_forget(p);
    p->state = PROC_ZOMBIE;
    p->status = status;
    p->killed = killed;
}

void
family_end(struct proc *p)
{
    int signal = check_random_below(2) ? 1 + (int)check_random_below(NSIG) : 0;

    make_zombie(p, signal ? 128 + signal : (int)check_random_below(256), signal);
}

/* One that has not ended: it sleeps, can run, or has never run; it may be one that is to end soon. */
void
family_live(struct proc *p)
{
    p->killed = check_random_below(3) == 0 ? SIGKILL : 0;
    switch (check_random_below(3)) {
    case 0:
        sched_wake(p);
        break;
    case 1:
        sched_forget(p);
        p->state = PROC_NEW;
        break;
    default:
        break;
    }
}

/* ---- What there is, and what must be there ---- */

struct known family[NPROC];
size_t nfamily;

void
family_note(void)
{
    nfamily = 0;
    for (struct proc *p = proc_after(-1); p; p = proc_after(p->pid))
        family[nfamily++] =
            (struct known){p, p->pid, p->ppid, p->status, p->killed, p->state, false};
}

struct known *
family_known(const struct proc *p)
{
    for (size_t i = 0; i < nfamily; i++)
        if (family[i].p == p && !family[i].gone)
            return &family[i];
    return NULL;
}

const char *
state_name(enum proc_state state)
{
    static const char *const names[] = {"new", "runnable", "running", "asleep", "a zombie"};

    return state <= PROC_ZOMBIE ? names[state] : "in no state";
}

/* The list of k's children has just those whose ppid is k's pid. */
static void
expect_children(const struct known *k)
{
    size_t expected = 0, found = 0;

    for (size_t i = 0; i < nfamily; i++)
        expected += !family[i].gone && family[i].ppid == k->pid && family[i].pid != 0;
    for (const struct proc *child = k->p->children; child; child = child->sibling) {
        const struct known *c = family_known(child);
        EXPECT(c, "process %d has a child at %p, where no process is", k->pid, (const void *)child);
        EXPECT(c->ppid == k->pid,
               "process %d is on the list of %d's children, expected it on that of %d's", c->pid,
               k->pid, c->ppid);
        EXPECT(++found <= expected, "the list of %d's children does not end after all %lu", k->pid,
               expected);
    }
    EXPECT(found == expected, "process %d has %lu children on its list, expected %lu", k->pid,
           found, expected);
}

void
family_expect(void)
{
    for (size_t i = 0; i < nfamily; i++) {
        const struct known *k = &family[i];
        const struct proc *p = proc_find(k->pid);
        if (k->gone) {
            EXPECT(!p, "process %d is still in the table, expected it to be gone", k->pid);
            continue;
        }
        EXPECT(p == k->p, "process %d is gone, expected it to stay", k->pid);
        EXPECT(p->ppid == k->ppid, "process %d has the parent %d, expected %d", k->pid, p->ppid,
               k->ppid);
        EXPECT(p->state == k->state, "process %d is %s, expected it to be %s", k->pid,
               state_name(p->state), state_name(k->state));
        EXPECT(p->status == k->status && p->killed == k->killed,
               "process %d has status %d and killed %d, expected %d and %d, as before", k->pid,
               p->status, p->killed, k->status, k->killed);
    }
    for (const struct proc *p = proc_after(-1); p; p = proc_after(p->pid))
        EXPECT(family_known(p), "there is a process %d, expected none of that pid", p->pid);
    for (size_t i = 0; i < nfamily; i++)
        if (!family[i].gone)
            expect_children(&family[i]);
}

/* ---- Before and after ---- */

struct proc *made[MADE_MAX];
size_t nmade;

struct proc *
family_new(struct proc *parent)
{
    struct proc *p = new_thread(parent);

    assert(nmade < ARRAY_SIZE(made));
    return made[nmade++] = p;
}

void
family_forget(const struct proc *p)
{
    for (size_t i = 0; i < nmade; i++)
        if (made[i] == p)
            made[i--] = made[--nmade];
}

void
family_free(void)
{
    while (nmade > 0) {
        struct proc *p = made[--nmade];
        if (p->state != PROC_ZOMBIE)
            sched_forget(p);
        proc_free(p);
    }
}

static void
put_back(void)
{
    nmade = 0;
    proc_reset();
    pages_back();
}

void
family_note_memory(void)
{
    objects_note();
    pages_note();
}

void
family_expect_memory(const char *after)
{
    objects_expect(after);
    pages_expect(after);
}

void
family_begin(void)
{
    check_finally(put_back);
    need_threads();
    irq_mask();
    bed = (struct waitq){0};
    nmade = 0;
    family_new(proc_find(1)); /* from here on there is all that vmalloc keeps */
    family_run();
    family_free();
}
