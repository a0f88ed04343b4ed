/*
 * Names for code addresses. The Makefile links the kernel twice: the first link tells nm where the
 * functions are, the second includes that table (obj/symbols.S). It sits behind all other read-only
 * data, so that no function moves between the two.
 */
#include "backtrace.h"
#include "memlayout.h"

struct symbol {
    uint32_t offset; /* from image_start, ascending */
    uint32_t name;   /* into symbol_names */
};

extern const struct symbol symbol_table[];
extern const char symbol_names[];
extern const uint32_t symbol_count;

const char *
symbol_name(uint64_t pc, uint64_t *offset)
{
    if (pc < (uint64_t)image_start || pc >= (uint64_t)etext)
        return NULL;

    /* The last symbol that does not lie behind pc. */
    uint64_t target = pc - (uint64_t)image_start;
    uint32_t low = 0, high = symbol_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (symbol_table[middle].offset <= target)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    *offset = target - symbol_table[low - 1].offset;
    return symbol_names + symbol_table[low - 1].name;
}
