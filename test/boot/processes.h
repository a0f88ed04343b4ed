/* What processes.c, limits.c and audit.c try out, one thing after the other, or one alone. */
#ifndef TEST_PROCESSES_H
#define TEST_PROCESSES_H

#include "console.h"
#include "types.h"

struct proc;

struct
try {
    const char *name;
    void (*run)(void);
};

/* Each list ends with one without a name. */
extern const struct try limits_tries[], audit_tries[];

/* If it is not so, that is told, and the kernel panics. */
#define require(condition)                                                 \
    do {                                                                   \
        if (!(condition))                                                  \
            panic("not so: %s, at %s:%d", #condition, __FILE__, __LINE__); \
    } while (0)

#define MS      1000UL /* microseconds */
#define MILLION 1000000UL

/* A process that runs the program with these arguments, all in one string: its pid, or an error. */
int spawn(const char *line);

/* The same; it is there, or the kernel panics. */
struct proc *spawned(const char *line);

/* Run it, and wait for its end: its status, or why it could not be started. */
int status_of(const char *line);

/* A process, which has not ended, ends with the signal. */
void kill_it(const struct proc *p, int signal);

/* Others run for so long, in microseconds. */
void wait_us(uint64_t us);

/* Until all threads but those that stay have gone. */
void wait_for_threads(void);

/* For a thread that has nothing to do. */
void nothing(void *unused);

/* Pages that nobody has, and objects of kmalloc's in use. */
size_t pages_free(void);
size_t objects_in_use(void);

/* For audit: print the line. */
void say_error(const char *line);

/* audit.c: the kernel is to find an error at the next switch, if it is built with DEBUG=1. */
void error_at_switch(void);

#endif
