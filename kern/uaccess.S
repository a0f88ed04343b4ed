/*
 * Copies between kernel and user memory. Each instruction that touches the user's has an entry in .fixups:
 * the address of the instruction, and where trap.c goes on when it faults. See uaccess.h.
 *
 * LDTR and STTR (ARM ARM C6.2.139) access memory as EL0 would, which is all the checking there is, and enough.
 */
#define EFAULT       14 /* uapi/errno.h */
#define ENAMETOOLONG 36

.macro may_fault go_on
    .pushsection .fixups, "a"
    .quad 9f, \go_on
    .popsection
9:
.endm

.text

/* copy_from_user(x0 = to, x1 = from, x2 = n) */
.global copy_from_user
copy_from_user:
    orr     x3, x0, x1
    tst     x3, #7
    b.ne    2f                      /* eight bytes at once only if all are aligned */
1:  subs    x3, x2, #8
    b.lo    2f
    may_fault fault
    ldtr    x4, [x1]
    str     x4, [x0], #8
    add     x1, x1, #8
    mov     x2, x3
    b       1b
2:  cbz     x2, 3f
    may_fault fault
    ldtrb   w4, [x1]
    strb    w4, [x0], #1
    add     x1, x1, #1
    sub     x2, x2, #1
    b       2b
3:  mov     x0, #0
    ret

/* copy_to_user(x0 = to, x1 = from, x2 = n) */
.global copy_to_user
copy_to_user:
    orr     x3, x0, x1
    tst     x3, #7
    b.ne    2f
1:  subs    x3, x2, #8
    b.lo    2f
    ldr     x4, [x1], #8
    may_fault fault
    sttr    x4, [x0]
    add     x0, x0, #8
    mov     x2, x3
    b       1b
2:  cbz     x2, 3f
    ldrb    w4, [x1], #1
    may_fault fault
    sttrb   w4, [x0]
    add     x0, x0, #1
    sub     x2, x2, #1
    b       2b
3:  mov     x0, #0
    ret

/* string_from_user(x0 = to, x1 = from, x2 = size) */
.global string_from_user
string_from_user:
    mov     x3, #0
1:  cmp     x3, x2
    b.hs    2f
    may_fault fault
    ldtrb   w4, [x1]
    strb    w4, [x0, x3]
    cbz     w4, 3f
    add     x1, x1, #1
    add     x3, x3, #1
    b       1b
2:  mov     x0, #-ENAMETOOLONG
    ret
3:  mov     x0, x3
    ret

fault:
    mov     x0, #-EFAULT
    ret
