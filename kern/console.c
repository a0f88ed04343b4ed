/*
 * The console: characters and lines on top of the UART.
 */
#include "console.h"
#include "printf.h"
#include "uart.h"
#if LAB >= 5
#include "input.h"
#endif

#define CTRL(letter) (0x1f & (letter))
#define DELETE       0x7f

void
console_init(void)
{
    uart_init();
}

void
cputc(int c)
{
    if (c == '\n')
        uart_putc('\r');
    uart_putc(c);
}

static void
put(int c, void *unused)
{
    (void)unused;
    cputc(c);
}

int
vcprintf(const char *fmt, va_list args)
{
    return vprintfmt(put, NULL, fmt, args);
}

int
cprintf(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = vcprintf(fmt, args);
    va_end(args);
    return n;
}

/* Take the last character back, on the screen too. */
static void
rub_out(void)
{
    cprintf("\b \b");
}

void
readline(char *buf, size_t size)
{
    size_t n = 0;

    for (;;) {
#if LAB >= 5
        int c = input_getc();
        if (c < 0)
            c = '\r'; /* who reads is to end, and will look */
#else
        int c = uart_getc();
#endif
        switch (c) {
        case '\r':
        case '\n':
            cputc('\n');
            buf[n] = '\0';
            return;
        case CTRL('C'):
            cprintf("^C\n");
            buf[0] = '\0';
            return;
        case '\b':
        case DELETE:
            if (n > 0) {
                n--;
                rub_out();
            }
            break;
        case CTRL('U'):
            for (; n > 0; n--)
                rub_out();
            break;
        default:
            if (c >= ' ' && c < DELETE && n + 1 < size) {
                buf[n++] = (char)c;
                cputc(c);
            }
        }
    }
}
