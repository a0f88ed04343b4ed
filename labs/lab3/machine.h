/*
 * What the model of an imaginary machine consists of: for model.c, machine.c and compare.c alone.
 */
#ifndef LABS_LAB3_MACHINE_H
#define LABS_LAB3_MACHINE_H

#include "lab3.h"

#define BANKS_MAX  6
#define SHARED_MAX 64

/* The model. */
extern struct model {
    uint64_t base;    /* physical address of frame 0 */
    size_t n, nbanks; /* frames; banks */
    uint8_t is[MACHINE_FRAMES] __attribute__((aligned(8)));
    uint32_t users[MACHINE_FRAMES]; /* where a shared block begins */
    size_t shared[SHARED_MAX];      /* where one begins, or once did */
    size_t nshared;
    struct bank {
        size_t first, n, pages, free;
        size_t base; /* the zone's frame 0 */
        struct link *link;
        size_t blocks[PMM_ORDERS]; /* free ones */
    } bank[BANKS_MAX];
    /*
     * The states that the model comes to. Those of blocks in use are kept at once; where the free ones
     * begin is found out when it is needed, for the stretches of BLOCK_FRAMES in which something changed.
     */
    uint8_t state[MACHINE_FRAMES] __attribute__((aligned(8)));
    bool changed[MACHINE_BLOCKS + 1];
    uint16_t blocks[MACHINE_BLOCKS][BANKS_MAX][PMM_ORDERS]; /* free ones, in each stretch */
} model;

/* A model of nothing but holes, from physical address `base` on. */
void model_begin(uint64_t base, size_t blocks);

/* Find out where the free blocks are, and how many. */
void model_update(void);

/* The kernel's table of states while there is a machine, and what nobody may touch around it. */
#define GUARD  16                            /* bytes around the state table */
#define BEYOND (FRAME_FREE + PMM_ORDERS - 1) /* in them: a buddy that is not there */
#define POISON 0xa5                          /* in links that nobody has written */
extern uint8_t machine_table[GUARD + MACHINE_FRAMES + GUARD];

/* The link of frame i, which is in a bank. */
struct link *machine_link(size_t i);

/*
 * The checks spend their time in a few loops over tables that nobody but they themselves gives a length:
 * UBSan would only make them slower.
 */
#define UNCHECKED __attribute__((no_sanitize("undefined")))

#endif
