/*
 * Interrupts of core 0: its timer, and through the interrupt controller the UART.
 */
#include "irq.h"
#include "bcm2837.h"
#include "input.h"

void
irq_handle(void)
{
    uint32_t source = mmio_read(CORE0_SOURCE_PA);

    if (source & SOURCE_CNTV)
        timer_interrupt();
    if (source & SOURCE_GPU && mmio_read(IRQ_PENDING1_PA) & 1u << IRQ_AUX)
        input_interrupt();
}
