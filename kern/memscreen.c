/*
 * Memory on the screen (HDMI): 640 by 480 pixels, of which 640 by 384 are page frames, one each if there are as many as a
 * Pi 3 can have. The firmware makes the framebuffer (Raspberry Pi firmware wiki, "Mailbox property interface").
 */
#include "bcm2837.h"
#include "console.h"
#include "kvm.h"
#include "mailbox.h"
#include "memview.h"
#include "pmm.h"
#include "printf.h"
#include "string.h"

#define WIDTH  640
#define HEIGHT 480

/* From top to bottom: a line of text, the frames, a line of text, the process's pages, the legend. */
#define FRAMES_Y      16
#define FRAMES_HEIGHT 384
#define TITLE_Y       (FRAMES_Y + FRAMES_HEIGHT + 4)
#define PAGES_Y       (TITLE_Y + 12)
#define LEGEND_Y      (HEIGHT - 12)
#define PAGE_SIDE     4 /* pixels; two rows of 64 side by side take 512 of them */

#define BUS(address) ((address)&0x3fffffffu) /* the same without VideoCore's choice of a cache */

/* 0x00bbggrr. The ten digits of processes are far from each other, and from all else. */
#define BACKGROUND 0x201818u
#define TEXT       0xe0e0e0u
static const uint32_t colours[CELLS] = {
    [CELL_NONE] = BACKGROUND,       [CELL_RESERVED] = 0x404040u,    [CELL_KERNEL] = 0x909090u,
    [CELL_FREE] = 0x302828u,        [CELL_CACHED] = 0x504838u,      [CELL_OBJECTS] = 0xb09060u,
    [CELL_TABLE] = 0xff60ffu,       [CELL_SHARED] = 0xffffffu,      [CELL_LEAKED] = 0x0000ffu,
    [CELL_WRONG] = 0x0040ffu,       [CELL_PROCESS] = 0x60d0ffu,     [CELL_PROCESS + 1] = 0x40ff40u,
    [CELL_PROCESS + 2] = 0xff8040u, [CELL_PROCESS + 3] = 0x30c0ffu, [CELL_PROCESS + 4] = 0xffff40u,
    [CELL_PROCESS + 5] = 0x9060ffu, [CELL_PROCESS + 6] = 0x60b000u, [CELL_PROCESS + 7] = 0x0080ffu,
    [CELL_PROCESS + 8] = 0xff70b0u, [CELL_PROCESS + 9] = 0x90ffd0u,
};
static const uint32_t user_colours[USER_PAGES] = {
    [USER_NONE] = BACKGROUND, [USER_UNTOUCHED] = 0x504040u, [USER_HIDDEN] = 0x808080u,
    [USER_READ] = 0xffb060u,  [USER_EXEC] = 0x60ff60u,      [USER_COW] = 0x40d0ffu,
    [USER_WRITE] = 0x6060ffu,
};

/* ---- The framebuffer ---- */

static uint64_t base; /* physical */
static uint32_t pitch;

static void
fill(unsigned x, unsigned y, unsigned width, unsigned height, uint32_t colour)
{
    for (unsigned row = y; row < y + height; row++) {
        uint64_t at = base + row * pitch + x * 4;
        for (unsigned i = 0; i < width; i++)
            mmio_write(at + i * 4, colour);
    }
}

/* Capital letters, digits and a few signs: seven rows of five pixels, bit 4 the left one. Others are blank. */
#define LETTER_WIDTH  5
#define LETTER_HEIGHT 7
static const uint8_t letters[128][LETTER_HEIGHT] = {
    ['!'] = {0x04, 0x04, 0x04, 0x04, 0x04, 0x00, 0x04},
    ['%'] = {0x19, 0x19, 0x02, 0x04, 0x08, 0x13, 0x13},
    ['('] = {0x02, 0x04, 0x08, 0x08, 0x08, 0x04, 0x02},
    [')'] = {0x08, 0x04, 0x02, 0x02, 0x02, 0x04, 0x08},
    ['+'] = {0x00, 0x04, 0x04, 0x1f, 0x04, 0x04, 0x00},
    [','] = {0x00, 0x00, 0x00, 0x00, 0x0c, 0x04, 0x08},
    ['-'] = {0x00, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00},
    ['.'] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c},
    ['/'] = {0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10},
    ['0'] = {0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e},
    ['1'] = {0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e},
    ['2'] = {0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f},
    ['3'] = {0x0e, 0x11, 0x01, 0x06, 0x01, 0x11, 0x0e},
    ['4'] = {0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02},
    ['5'] = {0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e},
    ['6'] = {0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e},
    ['7'] = {0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08},
    ['8'] = {0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e},
    ['9'] = {0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c},
    [':'] = {0x00, 0x0c, 0x0c, 0x00, 0x0c, 0x0c, 0x00},
    ['='] = {0x00, 0x00, 0x1f, 0x00, 0x1f, 0x00, 0x00},
    ['A'] = {0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11},
    ['B'] = {0x1e, 0x11, 0x11, 0x1e, 0x11, 0x11, 0x1e},
    ['C'] = {0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e},
    ['D'] = {0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e},
    ['E'] = {0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f},
    ['F'] = {0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10},
    ['G'] = {0x0e, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0f},
    ['H'] = {0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11},
    ['I'] = {0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e},
    ['J'] = {0x07, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0c},
    ['K'] = {0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11},
    ['L'] = {0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f},
    ['M'] = {0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11},
    ['N'] = {0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11},
    ['O'] = {0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e},
    ['P'] = {0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10},
    ['Q'] = {0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d},
    ['R'] = {0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11},
    ['S'] = {0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e},
    ['T'] = {0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04},
    ['U'] = {0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e},
    ['V'] = {0x11, 0x11, 0x11, 0x11, 0x11, 0x0a, 0x04},
    ['W'] = {0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11},
    ['X'] = {0x11, 0x11, 0x0a, 0x04, 0x0a, 0x11, 0x11},
    ['Y'] = {0x11, 0x11, 0x0a, 0x04, 0x04, 0x04, 0x04},
    ['Z'] = {0x1f, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1f},
};

static void
put_letter(unsigned x, unsigned y, char c, uint32_t colour, uint32_t behind)
{
    const uint8_t *rows = letters[(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c) & 127];

    for (unsigned row = 0; row < LETTER_HEIGHT; row++)
        for (unsigned i = 0; i < LETTER_WIDTH; i++)
            mmio_write(base + (y + row) * pitch + (x + i) * 4,
                       rows[row] >> (LETTER_WIDTH - 1 - i) & 1 ? colour : behind);
}

#define TEXT_COLUMNS 104
struct text {
    char is[TEXT_COLUMNS + 1]; /* on the screen now */
};
static struct text title, subtitle;

/* A line of text, up to the right border; only what has changed is drawn. */
static void
put_line(unsigned y, struct text *text, const char *line)
{
    bool ended = false;

    for (unsigned i = 0; i < TEXT_COLUMNS; i++) {
        ended = ended || line[i] == '\0';
        char c = ended ? ' ' : line[i];
        if (text->is[i] != c)
            put_letter(8 + i * 6, y, c, TEXT, BACKGROUND);
        text->is[i] = c;
    }
}

/* ---- Cells ---- */

/* What is in the picture now, by view.drawn: a kind, the number of users if that is shown, and FLASHES. */
static unsigned side; /* of a cell, in pixels */
static size_t first;
static struct view_row rows_shown[VIEW_ROWS];

#define FLASHES  0x8000u
#define USERS(n) ((n) << 8)

/* In a row: a multiple of 16, so that a look at the column tells an address. */
static unsigned
columns_of(unsigned pixels)
{
    return ROUNDDOWN(WIDTH / pixels, 16);
}

/* The largest at which all cells have room. */
static unsigned
side_for(size_t cells)
{
    for (unsigned pixels = 10; pixels > 1; pixels--)
        if ((size_t)columns_of(pixels) * (FRAMES_HEIGHT / pixels) >= cells)
            return pixels;
    return 1;
}

static void
draw_cell(size_t i, uint16_t value)
{
    unsigned columns = columns_of(side), x = (unsigned)(i % columns) * side;
    unsigned y = FRAMES_Y + (unsigned)(i / columns) * side, inner = side > 2 ? side - 1 : side;
    uint32_t colour = value & FLASHES ? TEXT : colours[value & 0xff];
    unsigned users = value >> 8 & 0x7f;

    if (inner == 1) {
        mmio_write(base + y * pitch + x * 4, colour);
        return;
    }
    fill(x, y, inner, inner, colour);
    if (users > 0)
        put_letter(x + 2, y + 1, users > 9 ? '+' : (char)('0' + users), 0, colour);
}

/* Does it look different from time to time? */
static bool
is_special(uint8_t cell)
{
    return cell >= CELL_SHARED && cell <= CELL_WRONG;
}

static uint16_t
value_of(const struct view *v, size_t i)
{
    enum cell cell = v->cell[i];
    uint16_t value = (uint16_t)cell;

    if ((cell == CELL_LEAKED || cell == CELL_WRONG) && v->number % 2)
        value |= FLASHES;
    if (side == 10 && cell == CELL_SHARED)
        value |= (uint16_t)USERS(MIN(page_refs(v->pa + i * PGSIZE), 10U));
    return value;
}

static void
draw_frames(const struct view *v)
{
    size_t cells = MIN(v->window, v->n - v->first);

    if (side != side_for(cells) || first != v->first) {
        side = side_for(cells);
        first = v->first;
        fill(0, FRAMES_Y, WIDTH, FRAMES_HEIGHT, BACKGROUND);
        memset(v->drawn, 0xff, v->n * sizeof(v->drawn[0])); /* what no cell has */
    }
    for (size_t i = 0; i < cells; i++) {
        if (v->drawn[i] == v->cell[first + i] && !is_special(v->cell[first + i]))
            continue; /* that is most of them, of 245,760 */
        uint16_t value = value_of(v, first + i);
        if (value == v->drawn[i])
            continue;
        v->drawn[i] = value;
        draw_cell(i, value);
    }
}

static void
draw_pages(const struct view *v)
{
    for (unsigned i = 0; i < VIEW_ROWS; i++) {
        static const struct view_row none;
        const struct view_row *row = i < v->nrows ? &v->row[i] : &none;
        for (unsigned k = 0; k < VIEW_ROW; k++) {
            unsigned x = 8 + (i % 2 * (VIEW_ROW + 2) + k) * PAGE_SIDE;
            if (row->page[k] != rows_shown[i].page[k])
                fill(x, PAGES_Y + i / 2 * PAGE_SIDE, PAGE_SIDE - 1, PAGE_SIDE - 1,
                     user_colours[row->page[k]]);
        }
        rows_shown[i] = *row;
    }
}

/* ---- All together ---- */

/* One request, as each of them changes what the others mean. */
static bool
make_framebuffer(void)
{
    uint32_t request[] = {
        MBOX_TAG_FB_SIZE,         8, MBOX_REQUEST, WIDTH, HEIGHT, /* 3, 4 */
        MBOX_TAG_FB_VIRTUAL_SIZE, 8, MBOX_REQUEST, WIDTH, HEIGHT, /* 8, 9 */
        MBOX_TAG_FB_DEPTH,        4, MBOX_REQUEST, 32,            /* 13 */
        MBOX_TAG_FB_ORDER,        4, MBOX_REQUEST, 1,             /* 17 */
        MBOX_TAG_FB_ALLOCATE,     8, MBOX_REQUEST, 4096,  0,      /* 21, 22 */
        MBOX_TAG_FB_PITCH,        4, MBOX_REQUEST, 0,             /* 26 */
    };

    if (mailbox_properties(request, ARRAY_SIZE(request)) < 0 || request[21] == 0
        || request[3] != WIDTH || request[4] != HEIGHT || request[13] != 32
        || request[26] < WIDTH * 4)
        return false;
    base = BUS(request[21]);
    pitch = request[26];
    return kvm_map_device(base, base + request[22]) >= base + request[22];
}

static void
draw_legend(void)
{
    static const struct {
        enum cell cell;
        const char *name;
    } legend[] = {{CELL_RESERVED, "reserved"}, {CELL_KERNEL, "kernel"},   {CELL_FREE, "free"},
                  {CELL_CACHED, "cached"},     {CELL_OBJECTS, "objects"}, {CELL_TABLE, "table"},
                  {CELL_SHARED, "shared"},     {CELL_LEAKED, "leaked"},   {CELL_WRONG, "wrong"}};
    unsigned x = 8;

    for (size_t i = 0; i < ARRAY_SIZE(legend); i++, x += 12) {
        fill(x, LEGEND_Y, LETTER_HEIGHT, LETTER_HEIGHT, colours[legend[i].cell]);
        x += 10;
        for (const char *c = legend[i].name; *c; c++, x += 6)
            put_letter(x, LEGEND_Y, *c, TEXT, BACKGROUND);
    }
}

static bool
screen_start(void)
{
    if (base == 0 && !make_framebuffer()) {
        base = 0;
        cprintf("The firmware gives no framebuffer: memview text needs none.\n");
        return false;
    }
    side = 0;
    memset(&title, 0, sizeof(title));
    memset(&subtitle, 0, sizeof(subtitle));
    memset(rows_shown, 0, sizeof(rows_shown));
    fill(0, 0, WIDTH, HEIGHT, BACKGROUND);
    draw_legend();
    cprintf(
        "Memory is on the screen. Keys: arrows zoom and choose a process, [ ] move, space pauses,\n"
        "a, f, e play: allocators, fork, fork and exit; q ends it.\n");
    return true;
}

static void
screen_show(const struct view *v)
{
    char line[128];

    if (v->error[0] != '\0')
        strlcpy(line, v->error, sizeof(line));
    else
        snprintf(line, sizeof(line),
                 "%zu MiB, %zu pages shown from %lx on, %zu free, view %u: %lu us%s",
                 v->n * PGSIZE >> 20, v->window, (uint64_t)(v->pa + v->first * PGSIZE),
                 v->total[CELL_FREE] + v->total[CELL_CACHED], v->number, v->cost / 1000,
                 v->paused ? ", paused" : "");
    put_line(4, &title, line);
    draw_frames(v);
    if (v->pid)
        snprintf(line, sizeof(line), "process %d, %s: %zu rows of 64 pages, the first at %lx",
                 v->pid, v->name, v->nrows, v->row[0].va);
    else
        snprintf(line, sizeof(line), "no process %s", v->note);
    put_line(TITLE_Y, &subtitle, line);
    draw_pages(v);
}

static void
screen_end(void)
{
}

const struct viewer memscreen = {"screen", false, screen_start, screen_show, screen_end};
