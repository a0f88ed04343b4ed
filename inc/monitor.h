/* The kernel's own command line. (monitor.c) */
#ifndef INC_MONITOR_H
#define INC_MONITOR_H

/* Read and carry out commands until one of them switches the machine off. */
_Noreturn void monitor(void);

#endif
