#include "attack.h"

ATTACK(device_write, "writes to a device, at its physical address", SEGV)
{
    poke(UART_PA, '!');
}
