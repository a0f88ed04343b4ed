/*
 * Lab 6: wait_child. A thread of the check's own waits; its children end when the check says so.
 */
#include "errno.h"
#include "family.h"
#include "irq.h"
#include "string.h"
#include "uapi/signal.h"

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
    waiter = made[nmade++] = proc_find(pid);
    family_run();
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
    family_note();
    check_doing("wait_child(%d, 0x%x, &status)", pid, (unsigned)options);
    wake_up(&orders);
    family_run();
}

static void
expect_unwritten(int from, int to)
{
    for (int i = from; i <= to; i++)
        EXPECT(order.status[i] == UNWRITTEN,
               "expected status%s to stay as it was, found 0x%x there",
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
    family_expect();
}

static void
expect_asleep(const char *why)
{
    EXPECT(!order.done, "%s: expected it to sleep, it has returned %ld", why, order.result);
    EXPECT(waiter->state == PROC_SLEEPING, "%s: expected the process to be asleep, it is %s", why,
           state_name(waiter->state));
    EXPECT(waiter->waits == &waiter->child_ended,
           "%s: expected it to sleep on its child_ended, found another queue", why);
    expect_unwritten(0, 2);
    family_expect();
}

/* It has returned one of those who have ended: pid, or any if that is -1. */
static void
expect_child(int pid, const char *why)
{
    EXPECT(order.done,
           "%s: expected a child that has ended, but it has not returned: the process is %s", why,
           state_name(waiter->state));
    struct known *k = NULL;
    for (size_t i = 0; i < nfamily; i++)
        if (family[i].ppid == waiter->pid && family[i].state == PROC_ZOMBIE
            && family[i].pid == order.result)
            k = &family[i];
    EXPECT(k && (pid == -1 || k->pid == pid), "%s: expected the pid of %s, found %ld", why,
           pid == -1 ? "a child that has ended" : "that child", order.result);
    /* Of wait_status, either what it says or what it should say: it has a check of its own. */
    struct proc ended = {.state = PROC_ZOMBIE,
                         .pid = k->pid,
                         .status = k->status,
                         .killed = k->killed};
    int status = k->killed ? k->killed : k->status << 8;
    EXPECT(order.status[1] == status || order.status[1] == wait_status(&ended),
           "%s: expected its status to be 0x%x, found 0x%x", why, status, order.status[1]);
    expect_unwritten(0, 0);
    expect_unwritten(2, 2);
    k->gone = true;
    family_forget(k->p);
    family_expect();
}

/* While the waiter sleeps: a child ends, and others run. */
static void
end_now(struct proc *child)
{
    check_doing("wait_child(%d, 0x%x, &status), and then process %d ends", order.pid,
                (unsigned)order.options, child->pid);
    family_end(child);
    wake_up(&waiter->child_ended);
    family_note();
    family_known(waiter)->state = PROC_SLEEPING; /* soon */
    family_run();
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
        child[i] = family_new(waiter);
    family_run();
    for (size_t i = 0; i < n; i++)
        child[i]->killed = check_random_below(3) == 0 ? SIGTERM : 0; /* it has not ended for that */
    return n;
}

/* Pids of none of the waiter's children. */
static void
wait_for_none(const char *why)
{
    struct proc *other = family_new(current()), *its = family_new(other),
                *ended = family_new(other);
    struct proc *grandchild = waiter->children ? family_new(waiter->children) : ended;

    family_run();
    family_end(ended);
    if (grandchild != ended)
        family_end(grandchild);
    const int pids[] = {
        waiter->pid,
        1,
        2,
        other->pid,
        its->pid,
        ended->pid,
        grandchild->pid,
        PID_MAX,
        -2,
        -3,
        INT32_MIN + 1,
        -ended->pid,
        waiter->children ? -waiter->children->pid : -2,
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

    memmove(child + i, child + i + 1, (--*n - i) * sizeof(struct proc *));
    return p;
}

/* They have ended before it waits. */
static void
wait_for_ended(size_t n)
{
    size_t left = make_children(child, n);

    for (size_t i = 0; i < n; i++)
        family_end(child[i]);
    while (left > 0) {
        int pid = take(&left, check_random_below(left))->pid;
        ask(pid, (check_random_below(2) ? WNOHANG : 0) | other_options());
        expect_child(pid, "that child has ended");
    }
    make_children(child, n);
    for (size_t i = 0; i < n; i++)
        family_end(child[i]);
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
    family_end(child[which]);
    for (size_t i = 0; i < n; i++)
        if (i != which) {
            ask(child[i]->pid, WNOHANG | other_options());
            expect_result(0, "that child has not ended, though another one has");
        }
    int one = take(&left, which)->pid;
    int any = any_pid(), pid = check_random_below(2) ? one : any;
    ask(pid, other_options());
    expect_child(one, "one child has ended");
    family_free();
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
        check_doing("wait_child(%d, 0x%x, &status), and it wakes, though no child has ended",
                    order.pid, (unsigned)order.options);
        wake_up(&waiter->child_ended);
        family_note();
        family_known(waiter)->state = PROC_SLEEPING;
        family_run();
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
    int pid = p->pid;

    ask(pid, other_options());
    expect_asleep("that child has not ended yet");
    while (left > 0) {
        end_now(take(&left, check_random_below(left)));
        expect_asleep("another child has ended");
    }
    end_now(p);
    expect_child(pid, "it has slept, and now that child has ended");
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
    check_doing("wait_child(%d, 0x%x, &status), and then the process is killed", order.pid,
                (unsigned)order.options);
    waiter->killed = SIGKILL;
    family_note();
    sched_wake(waiter);
    family_run();
    expect_result(-EINTR, "its killed is SIGKILL");

    ask(-1, other_options());
    expect_result(-EINTR, "its killed is SIGKILL already");
    waiter->killed = 0;
}

static void
need_wait_child(void)
{
    make_children(child, 1);
    family_end(child[0]);
    int pid = child[0]->pid;
    ask(-1, 0);
    EXPECT(!order.done || order.result != -ECHILD,
           "found -ECHILD, though there is a child that has ended: write wait_child in kern/wait.c "
           "first");
    if (proc_find(pid) != child[0])
        family_forget(child[0]);
    family_free();
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
    family_free();
}

CHECK(wait_child)
{
    family_begin();
    start_waiter();
    need_wait_child();
    family_note_memory();
    static const size_t sizes[] = {1, 2, 3, 8};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        start_waiter();
        no_children();
        wait_round(sizes[i]);
        check_doing("%s", "");
        family_expect_memory("all children have been waited for");
    }
    check_doing("%s", "");
}
