/*
 * The mini UART: the console's wire. ("BCM2835 ARM Peripherals" §2.2; registers in bcm2837.h.)
 */
#include "uart.h"
#include "bcm2837.h"

void
uart_init(void)
{
    /* Pins 14 and 15 belong to the mini UART (alternative function 5), without pull resistors. */
    uint32_t select = mmio_read(GPIO_PA + GPFSEL1);
    select &= ~((7u << 12) | (7u << 15));
    select |= (GPFSEL_ALT5 << 12) | (GPFSEL_ALT5 << 15);
    mmio_write(GPIO_PA + GPFSEL1, select);

    mmio_write(GPIO_PA + GPPUD, 0);
    for (volatile int i = 0; i < 150; i++) /* §6.1 asks for 150 cycles before and after the clock */
        ;
    mmio_write(GPIO_PA + GPPUDCLK0, (1u << 14) | (1u << 15));
    for (volatile int i = 0; i < 150; i++)
        ;
    mmio_write(GPIO_PA + GPPUDCLK0, 0);

    mmio_write(AUX_PA + AUX_ENABLES, 1); /* the mini UART answers from here on */
    mmio_write(AUX_PA + AUX_MU_CNTL, 0); /* quiet while it is set up */
    mmio_write(AUX_PA + AUX_MU_LCR, 3);  /* 8 bits (the manual's "1" is an erratum) */
    mmio_write(AUX_PA + AUX_MU_MCR, 0);  /* no flow control */
    mmio_write(AUX_PA + AUX_MU_BAUD, MU_BAUD_115200);
    mmio_write(AUX_PA + AUX_MU_CNTL, 3); /* receive and send */

    /* A received byte raises the interrupt: nobody takes it, but it ends the wfi in uart_getc. */
    mmio_write(AUX_PA + AUX_MU_IER, MU_IER_RX);
    mmio_write(IRQ_ENABLE1_PA, 1u << IRQ_AUX);
}

void
uart_putc(int c)
{
#if SOL >= 1
    while (!(mmio_read(AUX_PA + AUX_MU_LSR) & MU_LSR_TX_SPACE))
        ;
    mmio_write(AUX_PA + AUX_MU_IO, (uint8_t)c);
#else
    /* Lab 1: your code here. */
    (void)c;
#endif
}

int
uart_getc(void)
{
    /*
     * With interrupts masked, wfi still ends when one is pending, and the UART's stays pending until
     * its byte is read: no byte can slip in between the test and the wait.
     */
    while (!(mmio_read(AUX_PA + AUX_MU_LSR) & MU_LSR_RX_READY))
        __asm__ volatile("dsb sy; wfi"); /* what is on its way to devices gets there first */
    return (int)(mmio_read(AUX_PA + AUX_MU_IO) & 0xff);
}

void
uart_drain(void)
{
    while (!(mmio_read(AUX_PA + AUX_MU_LSR) & MU_LSR_TX_IDLE))
        ;
}
