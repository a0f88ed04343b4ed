/*
 * What is typed: the UART's interrupt puts it into a buffer, and whoever reads takes it from there.
 */
#include "input.h"
#include "bcm2837.h"
#include "proc.h"
#include "uapi/signal.h"
#include "uart.h"

#define SIZE   256 /* characters that wait; more are lost. A power of 2 */
#define CTRL_C 3

static char buffer[SIZE];
static unsigned head, tail; /* taken and put so far; equal: nothing waits */
static struct waitq readers;
int input_foreground;

void
input_interrupt(void)
{
    while (mmio_read(AUX_PA + AUX_MU_LSR) & MU_LSR_RX_READY) {
        char c = (char)mmio_read(AUX_PA + AUX_MU_IO);
        if (c == CTRL_C && input_foreground)
            (void)proc_kill(input_foreground, SIGINT);
        else if (tail - head < SIZE)
            buffer[tail++ % SIZE] = c;
    }
    wake_up(&readers);
}

int
input_poll(void)
{
    return head != tail ? (unsigned char)buffer[head++ % SIZE] : -1;
}

int
input_getc(void)
{
    for (;;) {
        if (head != tail)
            return (unsigned char)buffer[head++ % SIZE];
        if (!proc_idle || proc_stopped)
            return uart_getc();
        if (current()->killed)
            return -1;
        sleep_on(&readers);
    }
}
