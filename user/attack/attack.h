/* An attack: a program that does what it must not, and the status that it must end with. */
#ifndef ATTACK_H
#define ATTACK_H

#include "libc.h"

struct attack {
    const char *name, *what;
    int status;     /* 128 + a signal; or 0: an error was returned, as it should */
    bool here_only; /* Linux allows this, or has no such thing */
    int (*run)(void);
};

/*
 * ATTACK(name, "what it does", status) { ... } in a file of its own: the body returns 0 if all is as it should
 * be. ATTACK_HERE: the same, but Linux sees it in another way (say how).
 */
#define ATTACK(name, what, status)      ATTACK_ENTRY(name, what, status, false)
#define ATTACK_HERE(name, what, status) ATTACK_ENTRY(name, what, status, true)

#define ATTACK_ENTRY(name, what, status, here_only)                                     \
    static int attack_##name(void);                                                     \
    static const struct attack entry_##name __attribute__((section(".attacks"), used)) \
        = {#name, what, status, here_only, attack_##name};                              \
    static int attack_##name(void)

#define KERNEL 0xffff000000080000 /* the kernel's first instruction */

#endif
