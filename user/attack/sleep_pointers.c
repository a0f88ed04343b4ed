/* QEMU 7.2 forgets to look at these. */
#include "attack.h"

static const uint64_t bad[] = {0x10, KERNEL, UART, UART_PA, RAM_PA, VMALLOC, HOLE, LAST, UNMAPPED};

ATTACK_HERE(sleep_pointers, "sleeps for times that are everywhere", 0)
{
    static const struct timespec forever = {1L << 62, -1};

    require(nanosleep(NULL, NULL) == -EFAULT && nanosleep(&forever, NULL) == -EINVAL);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        require(nanosleep((void *)bad[i], NULL) == -EFAULT);
        require(syscall(SYS_clock_getres, CLOCK_MONOTONIC, bad[i]) == -EFAULT);
    }
}
