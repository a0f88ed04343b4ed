#include "attack.h"

ATTACK(device_read, "reads a device, at the kernel's address", SEGV)
{
    peek(UART);
}
