/*
 * Runs the labs' checks: one after the other, each from its own random seed, and survives whatever
 * the code under test does short of an endless loop.
 */
#include "check.h"
#include "boot.h"
#include "bootinfo.h"
#include "console.h"
#include "printf.h"
#include "setjmp.h"
#include "string.h"
#include "sysreg.h"
#if LAB >= 3
#include "spinlock.h"
#endif
#if LAB >= 5
#include "proc.h"
#endif

extern const struct check checks_start[], checks_end[]; /* linker.ld */

static const struct check *running;
static enum { RUNNING, CLEANING_UP, DONE } stage; /* the next thing to be done for it */
static bool last_of_run;                          /* no other check follows this one */
static jmp_buf out_of_check;
static bool panic_expected;
static jmp_buf out_of_panic;
static char panic_message[256]; /* of the panic that check_panics caught */
static char failure[512];       /* the first thing that went wrong in this check; "": nothing yet */
static char doing[224];         /* check_doing's text */
static void (*finally)(void);
static uint64_t seed, random_state;
struct check_table check_table;

/*
 * The host stops the machine at these two (grade/). They do nothing themselves; the asm keeps calls
 * and arguments in place.
 */
void check_begin(const struct check *check);
void check_end(const struct check *check, const char *failed);

__attribute__((noinline)) void
check_begin(const struct check *check)
{
    __asm__ volatile("" : : "r"(check) : "memory");
}

__attribute__((noinline)) void
check_end(const struct check *check, const char *failed)
{
    __asm__ volatile("" : : "r"(check), "r"(failed) : "memory");
}

/* SplitMix64 (Steele, Lea, Flood 2014): any seed will do, neighbouring ones too. */
uint64_t
check_random(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t
check_random_below(uint64_t n)
{
    return check_random() % n;
}

void
check_doing(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(doing, sizeof(doing), fmt, args);
    va_end(args);
}

void
check_finally(void (*fn)(void))
{
    finally = fn;
}

bool
check_is_last(void)
{
    return last_of_run;
}

void
check_fail(const char *file, int line, const char *fmt, ...)
{
    va_list args;

    if (!failure[0]) {
        int n = snprintf(failure, sizeof(failure), "%s:%d: %s%s", file, line, doing,
                         doing[0] ? ": " : "");
        va_start(args, fmt);
        vsnprintf(failure + n, sizeof(failure) - (size_t)n, fmt, args);
        va_end(args);
    }
    longjmp(out_of_check, 1);
}

bool
check_expects_panic(void)
{
    return panic_expected;
}

void
check_take_panic(const char *message)
{
    if (panic_expected) {
        strlcpy(panic_message, message, sizeof(panic_message));
        longjmp(out_of_panic, 1);
    }
    if (!running)
        return;
    if (!failure[0])
        snprintf(failure, sizeof(failure), "%s%s%s", message, doing[0] ? "; during " : "", doing);
    longjmp(out_of_check, 1);
}

const char *
check_panics(void (*fn)(void *), void *arg)
{
    const char *message = NULL;

    panic_expected = true;
    if (setjmp(out_of_panic) == 0)
        fn(arg);
    else
        message = panic_message;
    panic_expected = false;
    return message;
}

#if LAB >= 3
/* No lock may outlive the call that took it, nor may its interrupt mask. */
static void
check_locks(uint64_t interrupt_mask)
{
    const char *name;

    if (spinlocks_reset(&name) > 0 && !failure[0])
        snprintf(failure, sizeof(failure),
                 "%s%s%s is still locked: expected spin_unlock before each return", doing,
                 doing[0] ? ": " : "", name);
    write_sysreg(daif, interrupt_mask);
}
#endif

static void
run(const struct check *check, bool last)
{
#if LAB >= 3
    uint64_t interrupt_mask = read_sysreg(daif);
#endif

    random_state = seed;
    for (const char *c = check->name; *c; c++)
        random_state = random_state * 31 + (uint8_t)*c;

    running = check;
    last_of_run = last;
    panic_expected = false;
    failure[0] = doing[0] = '\0';
    finally = NULL;
    check_table.root = NULL;
    check_begin(check);
    stage = RUNNING;
    (void)setjmp(out_of_check); /* a failure ends the stage that is under way, and comes here */
#if LAB >= 5
    if (failure[0])
        proc_reset(); /* it may have been another thread's */
#endif
    if (stage == RUNNING) {
        stage = CLEANING_UP;
        check->run();
    }
    if (stage == CLEANING_UP && finally) {
        stage = DONE;
        check_doing("putting things back after the check");
        finally();
    }
    stage = DONE;
#if LAB >= 3
    check_locks(interrupt_mask);
#endif
    check_end(check, failure[0] ? failure : NULL);
    running = NULL;

    if (!failure[0]) {
        cprintf("check_%s: passed!\n", check->name);
        return;
    }
    boot_milestone("check failed"); /* for make qemu's exit status */
    cprintf("check_%s: FAILED\n    %s\n", check->name, failure);
    cprintf("    again: make qemu ARGS=\"check=%s seed=%lu\"\n", check->name, seed);
}

bool
check_run_named(const char *name)
{
    for (const struct check *check = checks_start; check < checks_end; check++) {
        if (strcmp(check->name, name) == 0) {
            run(check, true);
            return true;
        }
    }
    return false;
}

void
checks_list(void)
{
    for (const struct check *check = checks_start; check < checks_end; check++)
        cprintf(" %s", check->name);
    cprintf("\n");
}

bool
checks_run(void)
{
    char wanted[64];

    if (!bootarg_number("seed", &seed))
        seed = read_sysreg(cntpct_el0) % 1000000; /* another at each boot, short enough to type */
    if (!bootarg("check", wanted, sizeof(wanted))) {
        for (const struct check *check = checks_start; check < checks_end; check++)
            run(check, check + 1 == checks_end);
        return true;
    }
    if (strcmp(wanted, "none") != 0 && !check_run_named(wanted)) {
        cprintf("There is no check \"%s\". The checks are:", wanted);
        checks_list();
    }
    return false;
}
