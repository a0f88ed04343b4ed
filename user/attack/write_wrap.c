#include "attack.h"

ATTACK(write_wrap, "writes with lengths that wrap", 0)
{
    static const uint64_t length[] = {-1UL, 1UL << 63, (1UL << 63) - 1};

    for (size_t i = 0; i < ARRAY_SIZE(length); i++) {
        struct iovec piece = {(void *)KERNEL, length[i]};
        long wrong = (long)length[i] < 0 ? -EINVAL : -EFAULT;
        require(write(1, (void *)KERNEL, length[i]) == -EFAULT);
        require(writev(1, &piece, 1) == wrong);
    }
    require(writev(1, NULL, -1) == -EINVAL && writev(1, NULL, UIO_MAXIOV + 1) == -EINVAL);
}
