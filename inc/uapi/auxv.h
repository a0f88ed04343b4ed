/*
 * The auxiliary vector: what the kernel tells a program besides its arguments, as pairs of a type and a
 * value on its first stack, behind the environment. Types as on Linux (include/uapi/linux/auxvec.h there).
 */
#ifndef UAPI_AUXV_H
#define UAPI_AUXV_H

#define AT_NULL   0  /* the end */
#define AT_PHDR   3  /* where its program headers are, in its own memory */
#define AT_PHENT  4  /* how large one is */
#define AT_PHNUM  5  /* how many there are */
#define AT_PAGESZ 6  /* 4096 */
#define AT_ENTRY  9  /* where it begins */
#define AT_UID    11 /* 0, like the next three */
#define AT_EUID   12
#define AT_GID    13
#define AT_EGID   14
#define AT_HWCAP  16 /* what the core can do: HWCAP_FP, HWCAP_ASIMD */
#define AT_CLKTCK 17 /* 100 */
#define AT_SECURE 23 /* 0 */
#define AT_RANDOM 25 /* the address of 16 bytes that differ from run to run; they are no secret */
#define AT_EXECFN 31 /* its name */

#define HWCAP_FP    (1 << 0)
#define HWCAP_ASIMD (1 << 1)

#endif
