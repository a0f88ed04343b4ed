/* From the firmware's map to kalloc: who has which page frames. (frames.c) */
#ifndef INC_FRAMES_H
#define INC_FRAMES_H

/*
 * The memmap learns what there is, the pmm takes over from it, and kalloc gets a first supply from the
 * pmm. As long as there is no pmm, kalloc gets all pages. Call once, after bootinfo_init.
 */
void frames_init(void);

#endif
