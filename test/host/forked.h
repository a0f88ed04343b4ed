/* In place of inc/sysreg.h, for kern/fork.c on this host. Included before everything else (-include). */
#ifndef FORKED_H
#define FORKED_H

#define INC_SYSREG_H
#define read_sysreg(reg) forked_##reg

extern unsigned long forked_tpidr_el0;

#endif
