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

/*
 * Several at once, for those that belong together. Each is a tag, the bytes of its value buffer, MBOX_REQUEST, and the
 * buffer; n words in all, at most 29. Returns 0, with the answers in place, or -1: at least one of them had none.
 */
int mailbox_properties(uint32_t words[], size_t n);
#define MBOX_REQUEST 0

#define MBOX_TAG_ARM_MEMORY 0x00010005 /* value: base, size in bytes */

/* The screen's. A size is width, height in pixels. */
#define MBOX_TAG_FB_ALLOCATE     0x00040001 /* alignment; answer: bus address, size in bytes */
#define MBOX_TAG_FB_PITCH        0x00040008 /* bytes from row to row */
#define MBOX_TAG_FB_SIZE         0x00048003
#define MBOX_TAG_FB_VIRTUAL_SIZE 0x00048004
#define MBOX_TAG_FB_DEPTH        0x00048005 /* bits a pixel */
#define MBOX_TAG_FB_ORDER        0x00048006 /* 1: red is the lowest byte */

#endif
