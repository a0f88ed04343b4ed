/*
 * Lab 6: wait_status, exit_children, wait_child. All but the first work on threads of the check's own, which are in
 * the kernel's table as all others are: they sleep, or the check says that they have ended. Who has which children is
 * compared with what it must be after each call, for all that there are.
 */
#include "wait.h"
#include "../lab4/lab4.h"
#include "../lab5/lab5.h"
#include "console.h"
#include "errno.h"
#include "irq.h"
#include "slab.h"
#include "string.h"
#include "uapi/signal.h"
#include "vmalloc.h"

/* ---- wait_status ---- */

static void
expect_status(struct proc *p, int status, int killed)
{
    p->status = status;
    p->killed = killed;
    struct proc before = *p;
    int expected = killed ? killed : status << 8;

    check_doing("wait_status(p), where p->status is %d and p->killed is %d", status, killed);
    int found = wait_status(p);
    EXPECT(found == expected, "expected 0x%x, found 0x%x", expected, found);
    EXPECT(memcmp(p, &before, sizeof(*p)) == 0, "expected *p to stay as it is, found it changed");
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
    EXPECT(exited != 0 || wait_status(&p) != 0,
           "it is 0 for whatever has ended, expected 0x100 for exit(1): write wait_status in kern/wait.c "
           "first");
    for (int status = 0; status < 256; status++)
        expect_status(&p, status, 0);
    for (int signal = 1; signal <= NSIG; signal++) {
        random_fields(&p);
        expect_status(&p, 128 + signal, signal); /* as proc_exit leaves it */
        expect_status(&p, (int)check_random_below(256), signal);
    }
}

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
static void
let_others_run(void)
{
    for (int turns = 0; turns < 20 && others_can_run(); turns++)
        sched_yield();
}

/* A thread that sleeps in bed, once others have run, and is a child of this parent. */
static struct proc *
new_child(struct proc *parent)
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

static void
end_somehow(struct proc *p)
{
    int signal = check_random_below(2) ? 1 + (int)check_random_below(NSIG) : 0;

    make_zombie(p, signal ? 128 + signal : (int)check_random_below(256), signal);
}

/* One that has not ended: it sleeps, can run, or has never run; it may be one that is to end soon. */
static void
live_somehow(struct proc *p)
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

/* What is known of one of them. */
struct known {
    struct proc *p;
    int pid, ppid, status, killed;
    enum proc_state state;
    bool gone;
};

static struct known known[NPROC];
static size_t nknown;

static void
note_all(void)
{
    nknown = 0;
    for (struct proc *p = proc_after(-1); p; p = proc_after(p->pid))
        known[nknown++] = (struct known){p, p->pid, p->ppid, p->status, p->killed, p->state, false};
}

static struct known *
known_of(const struct proc *p)
{
    for (size_t i = 0; i < nknown; i++)
        if (known[i].p == p && !known[i].gone)
            return &known[i];
    return NULL;
}

static const char *
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

    for (size_t i = 0; i < nknown; i++)
        expected += !known[i].gone && known[i].ppid == k->pid && known[i].pid != 0;
    for (const struct proc *child = k->p->children; child; child = child->sibling) {
        const struct known *c = known_of(child);
        EXPECT(c, "process %d has a child at %p, where no process is", k->pid, (const void *)child);
        EXPECT(c->ppid == k->pid, "process %d is on the list of %d's children, expected it on that of %d's",
               c->pid, k->pid, c->ppid);
        EXPECT(++found <= expected, "the list of %d's children does not end after all %lu", k->pid, expected);
    }
    EXPECT(found == expected, "process %d has %lu children on its list, expected %lu", k->pid, found, expected);
}

static void
expect_all(void)
{
    for (size_t i = 0; i < nknown; i++) {
        const struct known *k = &known[i];
        const struct proc *p = proc_find(k->pid);
        if (k->gone) {
            EXPECT(!p, "process %d is still in the table, expected it to be gone", k->pid);
            continue;
        }
        EXPECT(p == k->p, "process %d is gone, expected it to stay", k->pid);
        EXPECT(p->ppid == k->ppid, "process %d has the parent %d, expected %d", k->pid, p->ppid, k->ppid);
        EXPECT(p->state == k->state, "process %d is %s, expected it to be %s", k->pid, state_name(p->state),
               state_name(k->state));
        EXPECT(p->status == k->status && p->killed == k->killed,
               "process %d has status %d and killed %d, expected %d and %d, as before", k->pid, p->status, p->killed,
               k->status, k->killed);
    }
    for (const struct proc *p = proc_after(-1); p; p = proc_after(p->pid))
        EXPECT(known_of(p), "there is a process %d, expected none of that pid", p->pid);
    for (size_t i = 0; i < nknown; i++)
        if (!known[i].gone)
            expect_children(&known[i]);
}

/* ---- Before and after ---- */

static struct proc *own[64]; /* of the check's threads, those that are left */
static size_t nown;

static struct proc *
own_child(struct proc *parent)
{
    struct proc *p = new_child(parent);

    assert(nown < ARRAY_SIZE(own));
    return own[nown++] = p;
}

static void
forget(const struct proc *p)
{
    for (size_t i = 0; i < nown; i++)
        if (own[i] == p)
            own[i--] = own[--nown];
}

static void
free_own(void)
{
    while (nown > 0) {
        struct proc *p = own[--nown];
        if (p->state != PROC_ZOMBIE)
            sched_forget(p);
        proc_free(p);
    }
}

static void
put_back(void)
{
    nown = 0;
    proc_reset();
    pages_back();
}

static size_t
objects_in_use(void)
{
    size_t n = 0;

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

static size_t objects, stacks;

static void
note_memory(void)
{
    pages_note();
    objects = objects_in_use();
    stacks = areas_in_use();
}

static void
expect_memory(const char *after)
{
    EXPECT(objects_in_use() == objects, "after %s, %lu objects of kmalloc's are in use, expected %lu, as before", after,
           objects_in_use(), objects);
    EXPECT(areas_in_use() == stacks, "after %s, %lu areas of vmalloc's are in use, expected %lu, as before", after,
           areas_in_use(), stacks);
    pages_expect(after);
}

static void
begin(void)
{
    check_finally(put_back);
    need_threads();
    irq_mask();
    bed = (struct waitq){0};
    nown = 0;
    own_child(proc_find(1)); /* from here on there is all that vmalloc keeps */
    let_others_run();
    free_own();
}

/* ---- exit_children ---- */

/* A family: p, its children, theirs; and others who have nothing to do with it. */
static void
make_family(struct proc **p, size_t children, unsigned of_6_ended)
{
    struct proc *other = own_child(current());

    *p = own_child(other);
    for (size_t i = 0; i < children; i++) {
        struct proc *child = own_child(*p);
        if (check_random_below(3) == 0)
            own_child(child);
        if (check_random_below(4) == 0)
            own_child(other);
    }
    own_child(other);
    let_others_run();
    for (size_t i = 0; i < nown; i++) {
        if (own[i] == *p || own[i] == other)
            continue;
        bool ended = own[i]->ppid == (*p)->pid ? check_random_below(6) < of_6_ended : check_random_below(2) == 0;
        if (ended)
            end_somehow(own[i]);
        else
            live_somehow(own[i]);
    }
}

static void
exit_round(size_t children, unsigned of_6_ended, bool awake)
{
    struct proc *p, *first = proc_find(1);
    bool any = awake;

    check_doing("%s", "");
    make_family(&p, children, of_6_ended);
    EXPECT(first->state == PROC_SLEEPING, "process 1 is %s, expected it to be asleep", state_name(first->state));
    if (awake)
        wake_up(&first->child_ended);
    note_all();
    size_t ended = 0;
    for (size_t i = 0; i < nknown; i++)
        if (known[i].pid != 0 && known[i].ppid == p->pid) {
            known[i].ppid = 1;
            ended += known[i].state == PROC_ZOMBIE;
        }
    any = any || ended > 0;
    known_of(first)->state = any ? PROC_RUNNABLE : PROC_SLEEPING;

    check_doing("exit_children(p), where p is process %d and has %lu children, %lu of which have ended%s", p->pid,
                children, ended, awake ? ", and process 1 is awake" : "");
    exit_children(p);
    expect_all();

    check_doing("after exit_children(p), where p had %lu children, %lu of which have ended, when process 1 has run",
                children, ended);
    for (size_t i = 0; i < nknown; i++)
        if (known[i].ppid == 1 && known[i].state == PROC_ZOMBIE) {
            known[i].gone = true;
            forget(known[i].p);
        }
    let_others_run();
    known_of(first)->state = PROC_SLEEPING;
    for (size_t i = 0; i < nknown; i++)
        if (known[i].state == PROC_RUNNABLE && known[i].p != proc_idle)
            known[i].state = PROC_SLEEPING; /* in bed again */
    expect_all();
    free_own();
}

/* It does anything at all. */
static void
need_exit_children(void)
{
    struct proc *p = own_child(proc_find(1)), *child = own_child(p);

    check_doing("exit_children(p), where p is process %d and has one child", p->pid);
    exit_children(p);
    EXPECT(p->children != child || child->ppid != p->pid,
           "nothing has happened, expected the child to be process 1's: write exit_children in kern/wait.c first");
    free_own();
}

CHECK(exit_children)
{
    begin();
    need_exit_children();
    let_others_run();
    note_memory();
    exit_round(0, 0, false);
    exit_round(1, 0, false);
    exit_round(1, 6, false);
    exit_round(2, 0, false);
    exit_round(9, 6, true);
    for (int i = 0; i < 12; i++)
        exit_round(check_random_below(12), (unsigned)check_random_below(7) / 2, check_random_below(4) == 0);
    check_doing("%s", "");
    expect_memory("all of them have been freed");
}

/* ---- wait_child ---- */

#define UNWRITTEN 0x5a5a5a5a

/* What the thread that waits is to do, and what came of it. */
static struct {
    int pid, options;
    bool asked, done;
    int64_t result;
    int status[3]; /* the middle one is for wait_child */
} order;

static struct proc *waiter;
static struct waitq orders;

static void
take_orders(void *unused)
{
    (void)unused;
    irq_mask();
    for (;;) {
        while (!order.asked)
            sleep_on(&orders);
        order.asked = false;
        order.result = wait_child(order.pid, order.options, &order.status[1]);
        order.done = true;
    }
}

static void
start_waiter(void)
{
    orders = (struct waitq){0};
    order.asked = false;
    int pid = kthread_create(take_orders, NULL, "waiter");
    EXPECT(pid > 0, "no thread can be made for this check: found %s", error_name(pid));
    waiter = own[nown++] = proc_find(pid);
    let_others_run();
}

/* The waiter calls wait_child, until it is through or sleeps. */
static void
ask(int pid, int options)
{
    order.pid = pid;
    order.options = options;
    order.done = false;
    order.asked = true;
    for (size_t i = 0; i < ARRAY_SIZE(order.status); i++)
        order.status[i] = UNWRITTEN;
    note_all();
    check_doing("wait_child(%d, 0x%x, &status)", pid, (unsigned)options);
    wake_up(&orders);
    let_others_run();
}

static void
expect_unwritten(int from, int to)
{
    for (int i = from; i <= to; i++)
        EXPECT(order.status[i] == UNWRITTEN, "expected status%s to stay as it was, found 0x%x there",
               i == 1 ? "" : "'s neighbour in memory", order.status[i]);
}

/* It has returned this, and nothing has changed. */
static void
expect_result(int64_t expected, const char *why)
{
    const char *name = expected == -ECHILD ? "-ECHILD" : expected == -EINTR ? "-EINTR" : "0";

    EXPECT(order.done, "%s: expected %s, but it has not returned: the process is %s", why, name,
           state_name(waiter->state));
    EXPECT(order.result == expected, "%s: expected %s, found %ld", why, name, order.result);
    expect_unwritten(0, 2);
    expect_all();
}

static void
expect_asleep(const char *why)
{
    EXPECT(!order.done, "%s: expected it to sleep, it has returned %ld", why, order.result);
    EXPECT(waiter->state == PROC_SLEEPING, "%s: expected the process to be asleep, it is %s", why,
           state_name(waiter->state));
    EXPECT(waiter->waits == &waiter->child_ended, "%s: expected it to sleep on its child_ended, found another queue",
           why);
    expect_unwritten(0, 2);
    expect_all();
}

/* It has returned one of those who have ended: pid, or any if that is -1. */
static void
expect_child(int pid, const char *why)
{
    EXPECT(order.done, "%s: expected a child that has ended, but it has not returned: the process is %s", why,
           state_name(waiter->state));
    struct known *k = NULL;
    for (size_t i = 0; i < nknown; i++)
        if (known[i].ppid == waiter->pid && known[i].state == PROC_ZOMBIE && known[i].pid == order.result)
            k = &known[i];
    EXPECT(k && (pid == -1 || k->pid == pid), "%s: expected the pid of %s, found %ld", why,
           pid == -1 ? "a child that has ended" : "that child", order.result);
    /* Of wait_status, either what it says or what it should say: it has a check of its own. */
    struct proc ended = {.state = PROC_ZOMBIE, .pid = k->pid, .status = k->status, .killed = k->killed};
    int status = k->killed ? k->killed : k->status << 8;
    EXPECT(order.status[1] == status || order.status[1] == wait_status(&ended),
           "%s: expected its status to be 0x%x, found 0x%x", why, status, order.status[1]);
    expect_unwritten(0, 0);
    expect_unwritten(2, 2);
    k->gone = true;
    forget(k->p);
    expect_all();
}

/* While the waiter sleeps: a child ends, and others run. */
static void
end_now(struct proc *child)
{
    check_doing("wait_child(%d, 0x%x, &status), and then process %d ends", order.pid, (unsigned)order.options,
                child->pid);
    end_somehow(child);
    wake_up(&waiter->child_ended);
    note_all();
    known_of(waiter)->state = PROC_SLEEPING; /* soon */
    let_others_run();
}

static int
other_options(void)
{
    static const unsigned bits[] = {WUNTRACED, WCONTINUED, __WNOTHREAD, __WALL, __WCLONE};
    unsigned options = 0;

    for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
        options |= check_random_below(4) == 0 ? bits[i] : 0;
    return (int)options;
}

static int
any_pid(void)
{
    return check_random_below(2) ? -1 : 0;
}

/* Children of the waiter, asleep, the last one first on its list. */
static size_t
make_children(struct proc **child, size_t n)
{
    for (size_t i = 0; i < n; i++)
        child[i] = own_child(waiter);
    let_others_run();
    for (size_t i = 0; i < n; i++)
        child[i]->killed = check_random_below(3) == 0 ? SIGTERM : 0; /* it has not ended for that */
    return n;
}

/* Pids of none of the waiter's children. */
static void
wait_for_none(const char *why)
{
    struct proc *other = own_child(current()), *its = own_child(other), *ended = own_child(other);
    struct proc *grandchild = waiter->children ? own_child(waiter->children) : ended;

    let_others_run();
    end_somehow(ended);
    if (grandchild != ended)
        end_somehow(grandchild);
    const int pids[] = {
        waiter->pid, 1, 2, other->pid, its->pid, ended->pid, grandchild->pid, PID_MAX, -2, -3, INT32_MIN + 1,
        -ended->pid, waiter->children ? -waiter->children->pid : -2,
        waiter->children ? waiter->children->pid + NPROC : NPROC,
    };
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        ask(pids[i], (check_random_below(2) ? WNOHANG : 0) | other_options());
        expect_result(-ECHILD, why);
    }
}

static void
no_children(void)
{
    for (int i = 0; i < 4; i++) {
        ask(i & 1 ? -1 : 0, (i & 2 ? WNOHANG : 0) | other_options());
        expect_result(-ECHILD, "it has no child");
    }
    wait_for_none("it has no child");
}

static struct proc *child[16];

/* The next one to end: the others stay in order. */
static struct proc *
take(size_t *n, size_t i)
{
    struct proc *p = child[i];

    memmove(child + i, child + i + 1, (--*n - i) * sizeof(child[0]));
    return p;
}

/* They have ended before it waits. */
static void
wait_for_ended(size_t n)
{
    size_t left = make_children(child, n);

    for (size_t i = 0; i < n; i++)
        end_somehow(child[i]);
    while (left > 0) {
        struct proc *p = take(&left, check_random_below(left));
        ask(p->pid, (check_random_below(2) ? WNOHANG : 0) | other_options());
        expect_child(p->pid, "that child has ended");
    }
    make_children(child, n);
    for (size_t i = 0; i < n; i++)
        end_somehow(child[i]);
    for (left = n; left > 0; left--) {
        ask(any_pid(), (check_random_below(2) ? WNOHANG : 0) | other_options());
        expect_child(-1, "all children have ended");
    }
    no_children();
}

/* One of several has ended: which place it has on the list must not matter. */
static void
wait_for_one(size_t n, size_t which)
{
    size_t left = make_children(child, n);

    ask(any_pid(), WNOHANG | other_options());
    expect_result(0, "no child has ended");
    ask(child[check_random_below(n)]->pid, WNOHANG | other_options());
    expect_result(0, "no child has ended");
    wait_for_none("that is no child of its");
    end_somehow(child[which]);
    for (size_t i = 0; i < n; i++)
        if (i != which) {
            ask(child[i]->pid, WNOHANG | other_options());
            expect_result(0, "that child has not ended, though another one has");
        }
    struct proc *p = take(&left, which);
    int any = any_pid(), pid = check_random_below(2) ? p->pid : any;
    ask(pid, other_options());
    expect_child(p->pid, "one child has ended");
    free_own();
    start_waiter();
}

/* They end while it waits, in this order: 0 from the first on the list, 1 from the last, 2 any. */
static void
wait_for_next(size_t n, int how)
{
    size_t left = make_children(child, n);

    while (left > 0) {
        ask(any_pid(), other_options());
        expect_asleep("no child has ended yet");
        check_doing("wait_child(%d, 0x%x, &status), and it wakes, though no child has ended", order.pid,
                    (unsigned)order.options);
        wake_up(&waiter->child_ended);
        note_all();
        known_of(waiter)->state = PROC_SLEEPING;
        let_others_run();
        expect_asleep("no child has ended yet");
        end_now(take(&left, how == 0 ? left - 1 : how == 1 ? 0 : check_random_below(left)));
        expect_child(-1, "it has slept, and now a child has ended");
    }
}

/* It waits for one of them, and the others end before that. */
static void
wait_for_last(size_t n)
{
    size_t left = make_children(child, n);
    struct proc *p = take(&left, check_random_below(left));

    ask(p->pid, other_options());
    expect_asleep("that child has not ended yet");
    while (left > 0) {
        end_now(take(&left, check_random_below(left)));
        expect_asleep("another child has ended");
    }
    end_now(p);
    expect_child(p->pid, "it has slept, and now that child has ended");
    for (size_t i = 1; i < n; i++) {
        ask(any_pid(), other_options());
        expect_child(-1, "children have ended");
    }
}

/* It is killed while it waits, or before. */
static void
wait_in_vain(size_t n)
{
    make_children(child, n);
    ask(check_random_below(2) ? child[0]->pid : -1, other_options());
    expect_asleep("no child has ended yet");
    check_doing("wait_child(%d, 0x%x, &status), and then the process is killed", order.pid, (unsigned)order.options);
    waiter->killed = SIGKILL;
    note_all();
    sched_wake(waiter);
    let_others_run();
    expect_result(-EINTR, "its killed is SIGKILL");

    ask(-1, other_options());
    expect_result(-EINTR, "its killed is SIGKILL already");
    waiter->killed = 0;
}

static void
need_wait_child(void)
{
    make_children(child, 1);
    end_somehow(child[0]);
    int pid = child[0]->pid;
    ask(-1, 0);
    EXPECT(!order.done || order.result != -ECHILD,
           "found -ECHILD, though there is a child that has ended: write wait_child in kern/wait.c first");
    if (proc_find(pid) != child[0])
        forget(child[0]);
    free_own();
}

static void
wait_round(size_t n)
{
    wait_for_ended(n);
    wait_for_one(n, 0);
    wait_for_one(n, n - 1);
    wait_for_one(n, check_random_below(n));
    for (int how = 0; how < 3; how++)
        wait_for_next(n, how);
    wait_for_last(n);
    wait_in_vain(n);
    free_own();
}

CHECK(wait_child)
{
    begin();
    start_waiter();
    need_wait_child();
    note_memory();
    static const size_t sizes[] = {1, 2, 3, 8};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        start_waiter();
        no_children();
        wait_round(sizes[i]);
        check_doing("%s", "");
        expect_memory("all children have been waited for");
    }
    check_doing("%s", "");
}
