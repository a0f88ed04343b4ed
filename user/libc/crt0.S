/*
 * Where a program begins. SP points to argc; above it are the pointers of argv, NULL, those of the environment,
 * NULL, and the auxiliary vector. A program that has a _start of its own (args.c) goes on at start.
 */
    .weak _start
    .global start
_start:
start:
    mov     x29, xzr                // no frame below this one: backtraces end here
    mov     x30, xzr
    ldr     x0, [sp]                // argc
    add     x1, sp, #8              // argv
    add     x2, x1, x0, lsl #3
    add     x2, x2, #8              // envp, behind argv's NULL
    adrp    x3, environ
    str     x2, [x3, :lo12:environ]
    bl      main
    bl      exit                    // with what main returned

/*
 * long syscall(long number, ...): up to six arguments. The result is the kernel's own: -errno if the call failed.
 */
    .global syscall
syscall:
    mov     x8, x0
    mov     x0, x1
    mov     x1, x2
    mov     x2, x3
    mov     x3, x4
    mov     x4, x5
    mov     x5, x6
    svc     #0
    ret

    .bss
    .global environ
    .balign 8
environ:
    .skip   8
