/* The student's own corner. (scratch.c) */
#ifndef INC_SCRATCH_H
#define INC_SCRATCH_H

/* Called by main() after the checks, unless a single check was asked for. */
void scratch(void);

#endif
