/*
 * What a program's exception is, and which function serves its system call.
 */
#include "syscall.h"
#include "fpu.h"
#include "irq.h"

void
syscall(struct trap_frame *frame)
{
#if SOL >= 5
    uint64_t number = frame->x[8];
    syscall_fn *fn = number < NSYSCALLS ? syscall_table[number] : NULL;

    frame->x[0] = fn ? (uint64_t)fn(frame->x) : (uint64_t)-ENOSYS;
#else
    /* Lab 5: your code here. */
    (void)frame;
#endif
}

bool
user_trap(struct trap_frame *frame, uint64_t vector)
{
#if SOL >= 5
    if (vector == VECTOR_USER_IRQ) {
        irq_handle();
        return true;
    }
    switch (ESR_CLASS(frame->esr)) {
    case EC_SVC:
        syscall(frame);
        break;
    case EC_FP:
        fpu_use();
        break;
    default:
        user_fault(frame);
    }
    return true;
#else
    /* Lab 5: your code here. */
    (void)frame, (void)vector;
    return false;
#endif
}
