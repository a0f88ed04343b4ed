/* The firmware's property mailbox. (mailbox.c) */
#ifndef INC_MAILBOX_H
#define INC_MAILBOX_H

#include "types.h"

/*
 * Ask VideoCore for one property: `tag` with a value buffer of n words (1 to 8), which holds the request
 * on entry and the answer on return. Returns 0, or -1 when the firmware does not know the tag or
 * does not answer.
 */
int mailbox_property(uint32_t tag, uint32_t value[], size_t n);

#define MBOX_TAG_ARM_MEMORY 0x00010005 /* value: base, size in bytes */

#endif
