/* Arguments of mmap, munmap and mprotect. The values are Linux's. */
#ifndef UAPI_MMAN_H
#define UAPI_MMAN_H

#define PROT_NONE  0x0
#define PROT_READ  0x1
#define PROT_WRITE 0x2 /* on this machine a page that can be written can be read */
#define PROT_EXEC  0x4 /* the same; together with PROT_WRITE: -EACCES */

#define MAP_SHARED          0x01
#define MAP_PRIVATE         0x02
#define MAP_FIXED           0x10     /* at addr exactly; what was there goes */
#define MAP_ANONYMOUS       0x20     /* memory, zeroed; no file */
#define MAP_FIXED_NOREPLACE 0x100000 /* at addr exactly, or -EEXIST */

#endif
