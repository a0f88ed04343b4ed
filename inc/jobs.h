/* The monitor's commands about processes, and the program that the boot arguments ask for. (jobs.c) */
#ifndef INC_JOBS_H
#define INC_JOBS_H

#include "types.h"

/*
 * The boot argument run=NAME,ARG,...: run this program and wait for its end; several, joined by "+", run at the
 * same time. Prints each one's status if it is not 0. With memview=, memory is shown meanwhile (memview.h). From lab
 * 6 on failnth=N has the N-th allocation fail. False: there was no such argument.
 */
bool jobs_boot(void);

/* The monitor's commands; see its help. */
void job_ps(const char *argument);
void job_run(const char *argument);
void job_kill(const char *argument);
void job_vm(const char *argument);
void job_audit(const char *argument);
#if LAB >= 6
void job_failnth(const char *argument);
#endif

#endif
