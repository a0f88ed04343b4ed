/* What is typed at the console, once interrupts bring it. (input.c) */
#ifndef INC_INPUT_H
#define INC_INPUT_H

/* The UART has received something. From irq.c. */
void input_interrupt(void);

/*
 * The next character; sleeps until there is one. -1: the running process is to end (proc_kill). While there
 * are no threads it waits at the UART itself.
 */
int input_getc(void);

/* The next character, if one has come; -1: none. Interrupts are masked. */
int input_poll(void);

/* The process that Ctrl-C ends (0: none; then it is a character like others). */
extern int input_foreground;

#endif
