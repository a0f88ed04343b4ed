/*
 * Threads that the checks of parents and children make: they are in the kernel's table as all others are, and sleep, or
 * the check says that they have ended. Who has which children is compared with what it must be, for all that there are.
 * (family.c)
 */
#ifndef LABS_LAB6_FAMILY_H
#define LABS_LAB6_FAMILY_H

#include "wait.h"
#include "../lab5/lab5.h"

/* For the beginning of a check: there are threads, interrupts are masked, and vmalloc has its tables. */
void family_begin(void);

/* All others that can run do so, until they sleep. */
void family_run(void);

/* ---- threads of the check's own ---- */

#define MADE_MAX 64
extern struct proc *made[MADE_MAX]; /* those that are left */
extern size_t nmade;

/* A thread that sleeps, once others have run, and is a child of this parent. */
struct proc *family_new(struct proc *parent);

/* It has ended, with some status. */
void family_end(struct proc *p);

/* It has not: it sleeps, can run, or has never run; it may be one that is to end soon. */
void family_live(struct proc *p);

/* It is none of those that are left: the code under test has freed it. All that are left go. */
void family_forget(const struct proc *p);
void family_free(void);

/* ---- what there is, and what must be there ---- */

/* What is known of a thread or process. */
struct known {
    struct proc *p;
    int pid, ppid, status, killed;
    enum proc_state state;
    bool gone;
};

extern struct known family[NPROC];
extern size_t nfamily;

/* Take note of all. What is to become of one can be written into what is known of it then. */
void family_note(void);
struct known *family_known(const struct proc *p);

/* Fail the check unless all are as they should be, and on their parents' lists. */
void family_expect(void);

/* Take note of pages, objects and areas in use; fail the check unless there are as many. */
void family_note_memory(void);
void family_expect_memory(const char *after);

/* "asleep" */
const char *state_name(enum proc_state state);

#endif
