/*
 * What all memory is used for, as a picture that moves. A view is made (memlook.c) four times a second (memview.c) and
 * shown on a terminal or as lines of JSON (memtext.c), or on the screen (memscreen.c).
 */
#ifndef INC_MEMVIEW_H
#define INC_MEMVIEW_H

#include "types.h"

/* What a page frame is. A program's page is CELL_PROCESS + the last digit of its process's number. */
enum cell {
    CELL_NONE, /* there is no RAM */
    CELL_RESERVED,
    CELL_KERNEL,
    CELL_FREE,
    CELL_CACHED,  /* free, on kalloc's list (kcache.h) */
    CELL_OBJECTS, /* kmalloc's */
    CELL_TABLE,   /* a page table */
    CELL_SHARED,  /* programs', and more than one has it */
    CELL_LEAKED,  /* in use, but nobody can reach it */
    CELL_WRONG,   /* audit (audit.h) has found an error there */
    CELL_PROCESS,
};
#define CELLS (CELL_PROCESS + 10)

/* A page of an address space. */
enum user_page {
    USER_NONE,      /* in no range */
    USER_UNTOUCHED, /* no page is there yet */
    USER_HIDDEN,    /* no right to it */
    USER_READ,
    USER_EXEC,
    USER_COW, /* read-only until it is written to, and copied then */
    USER_WRITE,
};
#define USER_PAGES (USER_WRITE + 1)

/* 64 pages in a row, which an address space has something in. */
#define VIEW_ROW  64
#define VIEW_ROWS 24
struct view_row {
    uint64_t va; /* of the first one, a multiple of VIEW_ROW pages */
    uint8_t page[VIEW_ROW];
};

struct view {
    unsigned number; /* from 1 on */
    bool paused;
    uint64_t cost; /* of the one before, in nanoseconds, without what a serial line takes */

    uint64_t pa;          /* of the first frame */
    size_t n;             /* how many there are, up to the end of RAM */
    uint8_t *cell;        /* enum cell, of each */
    uint16_t *drawn;      /* a viewer's own, one for each */
    size_t total[CELLS];  /* how many of each kind there are */
    size_t first, window; /* the frames to show; window is a power of 2 */

    size_t errors;   /* that audit has found */
    char error[128]; /* the first one */
    char note[48];   /* what became of the last key */

    int pid; /* the process that was chosen; 0: there is none */
    char name[16];
    size_t nrows; /* may be more than VIEW_ROWS: then only the first are in row */
    struct view_row row[VIEW_ROWS];
};

extern struct view view; /* there is one at a time, and one thread that makes it */

/* Memory for view, which shows all frames and no process yet. False, and says why: there is none. */
bool view_begin(void);
void view_end(void);

/* The next view: all but cost is made anew. As this takes locks for a moment only, nobody else may run meanwhile. */
void view_look(void);

/* The process whose address space is shown: by number, behind the last one comes the first. (From lab 5 on.) */
void view_choose_next(void);
void view_choose_previous(void);

/* A way to show it. start may refuse, and says why; show is called for each view; end after the last one. */
struct viewer {
    const char *name;
    bool slow; /* it waits for a serial line */
    bool (*start)(void);
    void (*show)(const struct view *v);
    void (*end)(void);
};

extern const struct viewer memtext, memjson, memscreen;

/* The character for each kind of page; that of a process is a digit. */
extern const char view_letters[CELLS + 1], view_user_letters[USER_PAGES + 1];

/* Of so many frames from the first one on, as many as there are, what most of them are; what is wrong, before all else. */
enum cell view_sum(const struct view *v, size_t first, size_t count);

/*
 * The boot argument memview=screen, text or json: show memory until q switches the machine off. False: there was no
 * such argument.
 */
bool memview_boot(void);

/* The monitor's command, with the same names. q comes back. */
void memview(const char *argument);

#endif
