/*
 * The report of a mistake with memory.
 */
#include "mistake.h"
#include "backtrace.h"
#include "check.h"
#include "console.h"
#include "memlayout.h"
#include "panic.h"
#include "printf.h"
#include "string.h"

bool mistake_under_way;

code_place
place_of(const void *return_address)
{
    return (code_place)((uint64_t)return_address - 4 - (uint64_t)image_start);
}

const char *
place_text(code_place place, char text[PLACE_SIZE])
{
    uint64_t offset;
    const char *name = symbol_name((uint64_t)image_start + place, &offset);

    if (name)
        snprintf(text, PLACE_SIZE, "%s+0x%lx", name, offset);
    else
        strlcpy(text, "?", PLACE_SIZE);
    return text;
}

size_t
distance_text(uint64_t addr, uint64_t start, size_t n, char *text, size_t size)
{
    uint64_t away = addr - start - n;
    const char *where = "behind";

    if (addr < start) {
        away = start - addr;
        where = "before";
    } else if (addr < start + n) {
        away = addr - start;
        where = "into";
    }
    if (away == 0)
        strlcpy(text, addr == start && n > 0 ? "at the beginning of" : "right behind", size);
    else
        snprintf(text, size, "%lu byte%s %s", away, away == 1 ? "" : "s", where);
    return strlen(text);
}

void
mistake(uint64_t fp, const char *fmt, ...)
{
    static char text[480];
    va_list args;

    mistake_under_way = true;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    panic_begin(text);
    if (!check_expects_panic()) {
        cprintf("\n%s\n  called from\n", text);
        print_backtrace(fp);
    }
    mistake_under_way = false;
    panic_end(text);
}
