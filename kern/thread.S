/*
 * Where threads begin that proc.c has made. context_switch (switch.S) comes here when it returns for the
 * first time, with interrupts masked.
 */
.text

/* A kernel thread: x19 = fn, x20 = arg. */
.global kthread_entry
kthread_entry:
    msr     daifclr, #2             /* kernel threads run with interrupts open */
    mov     x0, x20
    blr     x19
    mov     w0, #0
    b       proc_exit

/* A process: SP is at its trap frame. */
.global process_entry
process_entry:
    b       trap_return
