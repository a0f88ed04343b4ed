/* The mini UART. (uart.c) The console (console.h) is what others use. */
#ifndef INC_UART_H
#define INC_UART_H

/* Set up pins, speed (115200 baud, 8N1) and FIFOs. Call once. */
void uart_init(void);

/*
 * Send one byte: wait until the transmit FIFO has room (AUX_MU_LSR bit 5), then write the low 8 bits
 * of c to AUX_MU_IO. Sends exactly that byte: line ends are the console's business.
 */
void uart_putc(int c);

/* Wait, with the core asleep, for the next byte received, and return it: 0 to 255. */
int uart_getc(void);

/* Wait until the last byte has left the wire. */
void uart_drain(void);

#endif
