/*
 * Device registers of the Raspberry Pi 3, by physical address. Sources: "BCM2835 ARM Peripherals"
 * (addresses there are bus addresses: 0x7e...... is 0x3f...... here), the mailbox pages of the
 * Raspberry Pi firmware wiki, and for the power manager Linux's bcm2835_wdt driver.
 */
#ifndef INC_BCM2837_H
#define INC_BCM2837_H

/* Interrupt controller (§7.5): Enable IRQs 1 covers GPU interrupts 0 to 31. */
#define IRQ_ENABLE1_PA 0x3f00b210
#define IRQ_AUX        29 /* mini UART */
#if LAB >= 5
#define IRQ_PENDING1_PA 0x3f00b204 /* the same interrupts: which are pending */

/* Core 0's interrupts ("QA7" §4.6, §4.10): which of its timers interrupt it, and what it was interrupted by. */
#define CORE0_TIMERS_PA 0x40000040
#define CORE0_SOURCE_PA 0x40000060
#define SOURCE_CNTV     (1u << 3) /* the virtual timer, CNTV */
#define SOURCE_GPU      (1u << 8) /* the interrupt controller above */
#endif

/* Mailbox 0 (read) and 1 (write) between ARM and VideoCore. */
#define MBOX_PA       0x3f00b880
#define MBOX_READ     0x00
#define MBOX_STATUS   0x18
#define MBOX_WRITE    0x20
#define MBOX_FULL     (1u << 31)
#define MBOX_EMPTY    (1u << 30)
#define MBOX_PROPERTY 8 /* channel for property tags */

/* Power manager: its watchdog resets the chip, and RSTS says what the firmware does then. */
#define PM_PA         0x3f100000
#define PM_RSTC       0x1c
#define PM_RSTS       0x20
#define PM_WDOG       0x24
#define PM_PASSWORD   0x5a000000u
#define PM_RSTC_FULL  0x20u  /* full reset when the watchdog runs out */
#define PM_RSTC_WRCFG 0x30u  /* the field that this value sits in */
#define PM_RSTS_HALT  0x555u /* "boot from partition 63": stay off */
#define PM_WDOG_TICKS 10u    /* in 1/65536 s */

/* GPIO (§6.1): function select of pins 14 and 15, pull-ups of pins 0 to 31. */
#define GPIO_PA     0x3f200000
#define GPFSEL1     0x04
#define GPPUD       0x94
#define GPPUDCLK0   0x98
#define GPFSEL_ALT5 2u

/* PL011 (§13.4): only its data register, for boot.c. */
#define PL011_DR_PA 0x3f201000

/* Mini UART (§2.2). It runs off the core clock, which enable_uart=1 in config.txt fixes at 250 MHz. */
#define AUX_PA          0x3f215000
#define AUX_ENABLES     0x04
#define AUX_MU_IO       0x40 /* read: next byte received; write: next byte to send */
#define AUX_MU_IER      0x44
#define AUX_MU_LCR      0x4c
#define AUX_MU_MCR      0x50
#define AUX_MU_LSR      0x54
#define AUX_MU_CNTL     0x60
#define AUX_MU_BAUD     0x68
#define MU_IER_RX       1u        /* bit 0; §2.2.2.2 swaps it with TX, see the errata */
#define MU_LSR_RX_READY (1u << 0) /* a byte waits in the receive FIFO */
#define MU_LSR_TX_SPACE (1u << 5) /* the transmit FIFO takes at least one byte */
#define MU_LSR_TX_IDLE  (1u << 6) /* all is sent */
#define MU_BAUD_115200  270u      /* 250 MHz / (8 * (270 + 1)) */

#ifndef __ASSEMBLER__
#include "memlayout.h"

/* One 32-bit device register, through the linear map. */
static inline uint32_t
mmio_read(uint64_t pa)
{
    return *(volatile uint32_t *)P2V(pa);
}

static inline void
mmio_write(uint64_t pa, uint32_t value)
{
    *(volatile uint32_t *)P2V(pa) = value;
}
#endif

#endif
