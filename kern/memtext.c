/*
 * Memory on a terminal of 80 columns and 24 lines: 64 cells a row, a letter each; and the same as lines of JSON.
 * (Colours and cursor: ECMA-48, as every terminal has them.)
 */
#include "console.h"
#include "memlayout.h"
#include "memview.h"
#include "pmm.h"
#include "string.h"

#define COLUMNS   64
#define ROWS      16 /* of page frames */
#define USER_ROWS 3  /* of the process's pages */
#define LEGEND    (3 + ROWS + USER_ROWS)

/* ---- Text ---- */

#define REVERSE 0x100 /* a program can reach it */
#define FLASH   0x200

/* What is on the terminal. */
static uint16_t shown[ROWS][COLUMNS], user_shown[USER_ROWS][COLUMNS];
static uint64_t address[ROWS], user_address[USER_ROWS];

static void
move_to(unsigned line)
{
    cprintf("\033[%u;1H", line);
}

/* How the cells look: SGR 7 is reverse video, 1 bold, 31 red. */
static void
put_cells(const uint16_t cells[COLUMNS])
{
    unsigned now = 0;

    for (size_t i = 0; i < COLUMNS; i++) {
        unsigned style = cells[i] & (REVERSE | FLASH);
        if (style != now)
            cprintf("\033[0%s%sm", style & REVERSE ? ";7" : "", style & FLASH ? ";1;31" : "");
        now = style;
        cputc(cells[i] & 0xff);
    }
    cprintf("%s\033[K", now ? "\033[0m" : "");
}

/* A row that has not changed since the last time is not sent again: a serial line is slow. */
static void
put_row(unsigned line, uint64_t at, const uint16_t cells[COLUMNS], uint64_t *old,
        uint16_t *old_cells)
{
    if (at == *old && memcmp(cells, old_cells, COLUMNS * sizeof(cells[0])) == 0)
        return;
    *old = at;
    memcpy(old_cells, cells, COLUMNS * sizeof(cells[0]));
    move_to(line);
    cprintf("%12lx ", at);
    put_cells(cells);
}

static uint16_t
character(const struct view *v, enum cell cell)
{
    unsigned c = (unsigned char)view_letters[cell];

    if (cell >= CELL_PROCESS || cell == CELL_SHARED)
        c |= REVERSE;
    if ((cell == CELL_LEAKED || cell == CELL_WRONG) && v->number % 2)
        c |= FLASH | REVERSE;
    return (uint16_t)c;
}

static void
put_frames(const struct view *v)
{
    size_t pages = MAX(v->window / (COLUMNS * ROWS), 1UL);

    for (size_t row = 0; row < ROWS; row++) {
        uint16_t cells[COLUMNS];
        size_t at = v->first + row * COLUMNS * pages;
        bool any = at < v->n && at < v->first + v->window;
        for (size_t i = 0; i < COLUMNS; i++)
            cells[i] = any ? character(v, view_sum(v, at + i * pages, pages)) : ' ';
        if (any)
            put_row(2 + (unsigned)row, v->pa + at * PGSIZE, cells, &address[row], shown[row]);
        else if (address[row] != 1) {
            address[row] = 1; /* no row's */
            move_to(2 + (unsigned)row);
            cprintf("\033[K");
        }
    }
}

/* The first rows, and the last one: that is the stack. */
static void
put_process(const struct view *v)
{
    size_t rows = MIN(v->nrows, (size_t)VIEW_ROWS);

    move_to(2 + ROWS);
    if (v->pid)
        cprintf("process %d, %s: %lu rows; r x w, c copied when written, . not touched\033[K",
                v->pid, v->name, v->nrows);
    else
        cprintf("no process %s\033[K", v->note);
    for (size_t i = 0; i < USER_ROWS; i++) {
        const struct view_row *row = &v->row[i == USER_ROWS - 1 && rows > USER_ROWS ? rows - 1 : i];
        uint16_t cells[COLUMNS];
        if (i >= rows) {
            if (user_address[i] != 1) {
                user_address[i] = 1;
                move_to(3 + ROWS + (unsigned)i);
                cprintf("\033[K");
            }
            continue;
        }
        for (size_t k = 0; k < COLUMNS; k++) {
            enum user_page page = row->page[k];
            cells[k] = (uint16_t)(view_user_letters[page] | (page > USER_HIDDEN ? REVERSE : 0));
        }
        put_row(3 + ROWS + (unsigned)i, row->va, cells, &user_address[i], user_shown[i]);
    }
}

static bool
text_start(void)
{
    memset(address, 0xff, sizeof(address));
    memset(user_address, 0xff, sizeof(user_address));
    cprintf("\033[2J");
    move_to(LEGEND);
    cprintf(". free C cached R reserved K kernel T table O objects S shared L leaked ! wrong");
    /* Below, what is printed in between has two lines of its own that scroll (DECSTBM). */
    cprintf("\033[%u;%ur", LEGEND + 1, LEGEND + 2);
    move_to(LEGEND + 2);
    cprintf("Keys: arrows zoom, choose a process; [ ] move; space pauses; a f e play; q ends");
    return true;
}

static void
text_show(const struct view *v)
{
    size_t pages = MAX(v->window / (COLUMNS * ROWS), 1UL);

    cprintf("\0337"); /* remember where the cursor is (DECSC) */
    move_to(1);
    if (v->error[0] != '\0')
        cprintf("\033[1;31m%.79s\033[0m\033[K", v->error);
    else
        cprintf("%lu MiB, %lu page%s a cell, %lu free, view %u: %lu us%s\033[K",
                v->n * PGSIZE >> 20, pages, pages > 1 ? "s" : "",
                v->total[CELL_FREE] + v->total[CELL_CACHED], v->number, v->cost / 1000,
                v->paused ? ", paused" : "");
    put_frames(v);
    put_process(v);
    cprintf("\0338"); /* where it was */
}

static void
text_end(void)
{
    cprintf("\033[r");
    move_to(LEGEND + 2);
    cprintf("\n");
}

const struct viewer memtext = {"text", true, text_start, text_show, text_end};

/* ---- JSON ---- */

static bool
json_start(void)
{
    return true;
}

static void
json_end(void)
{
}

/* A run of frames: the letter, for those that several have with how many they are, and the length. */
static size_t
put_run(const struct view *v, size_t i)
{
    uint64_t pa = v->pa + i * PGSIZE;
    enum cell cell = v->cell[i];
    unsigned refs = cell == CELL_SHARED ? page_refs(pa) : 0;
    size_t n = 1;

    while (i + n < v->n && v->cell[i + n] == cell
           && (refs == 0 || page_refs(pa + n * PGSIZE) == refs))
        n++;
    cprintf("%s[\"%c", i > 0 ? "," : "", view_letters[cell]);
    if (refs > 0)
        cprintf("%u", refs);
    cprintf("\",%lu]", n);
    return n;
}

static void
json_show(const struct view *v)
{
    cprintf("{\"view\":%u,\"paused\":%s,\"cost\":%lu,\"start\":%lu,\"frames\":[", v->number,
            v->paused ? "true" : "false", v->cost, v->pa);
    for (size_t i = 0; i < v->n;)
        i += put_run(v, i);
    cprintf("],\"errors\":%lu,\"error\":\"%s\",\"pid\":%d,\"name\":\"%s\",\"pages\":{", v->errors,
            v->error, v->pid, v->name);
    for (size_t i = 0; i < MIN(v->nrows, (size_t)VIEW_ROWS); i++) {
        cprintf("%s\"%lx\":\"", i > 0 ? "," : "", v->row[i].va);
        for (size_t k = 0; k < VIEW_ROW; k++)
            cputc(view_user_letters[v->row[i].page[k]]);
        cputc('"');
    }
    cprintf("}}\n");
}

const struct viewer memjson = {"json", true, json_start, json_show, json_end};
