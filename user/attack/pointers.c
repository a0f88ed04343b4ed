#include "attack.h"

/* A pointer to `bad`, for every call that takes one and every argument that is one. */
static void
every_pointer(uint64_t bad)
{
    struct iovec piece = {(void *)bad, 8};
    void *p = (void *)bad;

    require(write(1, p, 8) == -EFAULT);
    require(writev(1, p, 1) == -EFAULT && writev(1, &piece, 1) == -EFAULT);
    require(clock_gettime(CLOCK_REALTIME, p) == -EFAULT
            && clock_gettime(CLOCK_MONOTONIC, p) == -EFAULT);
    require(uname(p) == -EFAULT);
    require(syscall(SYS_ioctl, 0, 0x5401, p) < 0);        /* TCGETS */
    require(syscall(SYS_set_tid_address, p) == getpid()); /* only kept */
}

ATTACK(null_pointers, "hands NULL to every system call", 0)
{
    every_pointer(0);
}

ATTACK(kernel_pointers, "hands every system call an address in the kernel's text", 0)
{
    every_pointer(KERNEL);
}

ATTACK(vmalloc_pointers, "the same with an address in vmalloc's memory", 0)
{
    every_pointer(VMALLOC);
}

ATTACK(device_pointers, "the same with a device", 0)
{
    every_pointer(UART);
    every_pointer(UART_PA);
}

ATTACK(ram_pointers, "the same with a physical address", 0)
{
    every_pointer(RAM_PA);
    every_pointer(0x80000);
}

ATTACK(hole_pointers, "the same with addresses between the two halves", 0)
{
    every_pointer(HOLE);
    every_pointer(HOLE - 4);
    every_pointer(LAST);
    every_pointer(0x8000000000000000);
    every_pointer(-1UL);
}

ATTACK(unmapped_pointers, "the same with addresses where nothing is, or nothing may be done", 0)
{
    char *p = pages(1);

    every_pointer(UNMAPPED);
    require(mprotect(p, PAGE_SIZE, PROT_NONE) == 0);
    every_pointer((uint64_t)p);
    require(munmap(p, PAGE_SIZE) == 0);
    every_pointer((uint64_t)p);
}
