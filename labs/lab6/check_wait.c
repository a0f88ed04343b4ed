/*
 * Lab 6: wait_status, and exit_children with families of threads.
 */
#include "family.h"
#include "string.h"
#include "uapi/signal.h"

/* ---- wait_status ---- */

static void
expect_status(struct proc *p, int status, int killed)
{
    const char *bytes = (const char *)p;
    char before[sizeof(*p)];

    p->status = status;
    p->killed = killed;
    memcpy(before, bytes, sizeof(before));
    int expected = killed ? killed : status << 8;

    check_doing("wait_status(p), where p->status is %d and p->killed is %d", status, killed);
    int found = wait_status(p);
    EXPECT(found == expected, "expected 0x%x, found 0x%x", expected, found);
    EXPECT(memcmp(before, bytes, sizeof(before)) == 0,
           "expected *p to stay as it is, found it changed");
}

/* All other fields of *p mean nothing for it. */
static void
random_fields(struct proc *p)
{
    uint64_t words[sizeof(*p) / sizeof(uint64_t)];

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        words[i] = check_random();
    memcpy(p, words, sizeof(words));
    p->state = PROC_ZOMBIE;
}

CHECK(wait_status)
{
    static struct proc p;

    random_fields(&p);
    p.killed = 0;
    p.status = 1;
    int exited = wait_status(&p);
    p.killed = SIGKILL;
    EXPECT(exited != 0 || wait_status(&p) != 0, "it is 0 for whatever has ended, expected 0x100 "
                                                "for exit(1): write wait_status in kern/wait.c "
                                                "first");
    for (int status = 0; status < 256; status++)
        expect_status(&p, status, 0);
    for (int signal = 1; signal <= NSIG; signal++) {
        random_fields(&p);
        expect_status(&p, 128 + signal, signal); /* as proc_exit leaves it */
        expect_status(&p, (int)check_random_below(256), signal);
    }
}

/* ---- exit_children ---- */

/* A family: p, its children, theirs; and others who have nothing to do with it. */
static void
make_family(struct proc **p, size_t children, unsigned of_6_ended)
{
    struct proc *other = family_new(current());

    *p = family_new(other);
    for (size_t i = 0; i < children; i++) {
        struct proc *child = family_new(*p);
        if (check_random_below(3) == 0)
            family_new(child);
        if (check_random_below(4) == 0)
            family_new(other);
    }
    family_new(other);
    family_run();
    for (size_t i = 0; i < nmade; i++) {
        if (made[i] == *p || made[i] == other)
            continue;
        bool ended = made[i]->ppid == (*p)->pid ? check_random_below(6) < of_6_ended
                                                : check_random_below(2) == 0;
        if (ended)
            family_end(made[i]);
        else
            family_live(made[i]);
    }
}

static void
exit_round(size_t children, unsigned of_6_ended, bool awake)
{
    struct proc *p, *first = proc_find(1);
    bool any = awake;

    check_doing("%s", "");
    make_family(&p, children, of_6_ended);
    EXPECT(first->state == PROC_SLEEPING, "process 1 is %s, expected it to be asleep",
           state_name(first->state));
    if (awake)
        wake_up(&first->child_ended);
    family_note();
    size_t ended = 0;
    for (size_t i = 0; i < nfamily; i++)
        if (family[i].pid != 0 && family[i].ppid == p->pid) {
            family[i].ppid = 1;
            ended += family[i].state == PROC_ZOMBIE;
        }
    any = any || ended > 0;
    family_known(first)->state = any ? PROC_RUNNABLE : PROC_SLEEPING;

    check_doing(
        "exit_children(p), where p is process %d and has %lu children, %lu of which have ended%s",
        p->pid, children, ended, awake ? ", and process 1 is awake" : "");
    exit_children(p);
    family_expect();

    check_doing("after exit_children(p), where p had %lu children, %lu of which have ended, when "
                "process 1 has run",
                children, ended);
    for (size_t i = 0; i < nfamily; i++)
        if (family[i].ppid == 1 && family[i].state == PROC_ZOMBIE) {
            family[i].gone = true;
            family_forget(family[i].p);
        }
    family_run();
    family_known(first)->state = PROC_SLEEPING;
    for (size_t i = 0; i < nfamily; i++)
        if (family[i].state == PROC_RUNNABLE && family[i].p != proc_idle)
            family[i].state = PROC_SLEEPING; /* in bed again */
    family_expect();
    family_free();
}

/* It does anything at all. */
static void
need_exit_children(void)
{
    struct proc *p = family_new(proc_find(1)), *child = family_new(p);

    check_doing("exit_children(p), where p is process %d and has one child", p->pid);
    exit_children(p);
    EXPECT(p->children != child || child->ppid != p->pid,
           "nothing has happened, expected the child to be process 1's: write exit_children in "
           "kern/wait.c first");
    family_free();
}

CHECK(exit_children)
{
    family_begin();
    need_exit_children();
    family_run();
    family_note_memory();
    exit_round(0, 0, false);
    exit_round(1, 0, false);
    exit_round(1, 6, false);
    exit_round(2, 0, false);
    exit_round(9, 6, true);
    for (int i = 0; i < 12; i++)
        exit_round(check_random_below(12), (unsigned)check_random_below(7) / 2,
                   check_random_below(4) == 0);
    check_doing("%s", "");
    family_expect_memory("all of them have been freed");
}
