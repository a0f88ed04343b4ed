/*
 * What every little machine of the tests has for a console: panics that a test can wait for, and messages
 * that it can read.
 */
#ifndef REPORT_H
#define REPORT_H

/* Call fn(arg) and return the message of its panic, or NULL when it returned. */
const char *machine_panics(void (*fn)(void *), void *arg);

/* What was found is wrong: print it and abort. */
_Noreturn void broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something to print before that, when not NULL. */
extern void (*machine_explain)(void);

/* What cprintf has printed: how often, and what was last. */
extern unsigned machine_messages;
extern char machine_said[200];

#endif
