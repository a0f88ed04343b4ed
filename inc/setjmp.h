/* Leaving a deep call at once, as the C library's <setjmp.h>. (setjmp.S) */
#ifndef INC_SETJMP_H
#define INC_SETJMP_H

#include "types.h"

/* What a function call preserves (AAPCS64 §6.1.1): x19 to x30, SP. */
typedef struct {
    uint64_t reg[13];
} jmp_buf[1];

/* Remember this place. Returns 0 now, and longjmp's value when that comes back here. */
int setjmp(jmp_buf env) __attribute__((returns_twice));

/* Return from env's setjmp with value (not 0). The function that called setjmp must not have returned. */
_Noreturn void longjmp(jmp_buf env, int value);

#endif
