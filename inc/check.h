/*
 * The labs' self-tests. (kern/check.c; the tests themselves are in labs/labN/check.c)
 *
 *     CHECK(kfree)
 *     {
 *         char *page = kalloc();
 *         EXPECT(page != NULL, "kalloc() returned NULL with %lu pages free: expected a page", n);
 *     }
 *
 * defines check_kfree and lists it. A check ends at its first broken expectation, without returning
 * through the functions under way. A panic or a fault in the code under test fails it as well.
 */
#ifndef INC_CHECK_H
#define INC_CHECK_H

#include "types.h"

struct check {
    const char *name;
    void (*run)(void);
    const char *file;
};

#define CHECK(id)                                                                \
    void check_##id(void);                                                       \
    static const struct check check_entry_##id                                   \
        __attribute__((section(".checks"), used)) = {#id, check_##id, __FILE__}; \
    void check_##id(void)

/* Fail the running check unless the condition holds; the rest says what was expected and found. */
#define EXPECT(condition, ...)                           \
    do {                                                 \
        if (!(condition))                                \
            check_fail(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

_Noreturn void check_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* What the check does next, for the messages: "map_region(...)". Holds until it is set again. */
void check_doing(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The page table and the address that the check looks at, for the grader: if the check fails, it shows
 * the walk (and finds these by name). Empty when a check begins.
 */
extern struct check_table {
    const uint64_t *root; /* NULL: nothing to show */
    uint64_t va;
} check_table;

/* Once this check has ended, however it did, call fn to put things back in order. */
void check_finally(void (*fn)(void));

/* Does no other check follow in this run? */
bool check_is_last(void);

/*
 * Call fn(arg), which is expected to panic. Returns the panic's message ("file:line: ..."), or NULL
 * when fn returned. Nothing is printed. A fault counts as a panic: its message begins with "fault".
 */
const char *check_panics(void (*fn)(void *), void *arg);

/* Random numbers for the running check: they depend on seed= and the check's name alone. */
uint64_t check_random(void);
/* One of 0 .. n-1 (n > 0). */
uint64_t check_random_below(uint64_t n);

/*
 * Run every check, or the one that the boot argument check=NAME asks for ("none": none), and print a
 * line for each. Returns false when that argument was there: the machine is to be switched off.
 */
bool checks_run(void);

/* Run one by name; false: there is none of that name. */
bool check_run_named(const char *name);
void checks_list(void);

/*
 * For panic.c: if a check runs, fail it with the message (or hand it to check_panics), and do not
 * return. Is the panic one that check_panics waits for, so that nothing is to be printed?
 */
void check_take_panic(const char *message);
bool check_expects_panic(void);

#endif
