#include "bitmap.h"

#include <stdio.h>
#include <string.h>

#include "errno.h"
#include "types.h"

/* The fuzzer is to look for other ways through the code under test, not through the model. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

struct bitmap bitmap;

static const char *doing;
static uint64_t doing_with[2];

void
bitmap_explain(void)
{
    fprintf(stderr, "%s with %#lx, %#lx: ", doing, (unsigned long)doing_with[0],
            (unsigned long)doing_with[1]);
}

static void
about_to(const char *call, uint64_t a, uint64_t b)
{
    doing = call;
    doing_with[0] = a;
    doing_with[1] = b;
    pool_save();
}

static bool
bit(const uint8_t *map, size_t i)
{
    return map[i / 8] >> i % 8 & 1;
}

void
bitmap_check(void)
{
    const struct memmap *map = memmap_get();

    pool_check_locks(doing);
    if (map->start_frame != bitmap.first || map->max_frames != bitmap.n
        || map->start_addr != bitmap.first * PGSIZE
        || map->end_addr != (bitmap.first + bitmap.n) * PGSIZE) {
        broken("it describes %lu frames at %#lx", (unsigned long)map->max_frames,
               (unsigned long)map->start_addr);
    }
    for (size_t i = 0; i < MEMMAP_FRAMES; i++) {
        bool used = i >= bitmap.n || bitmap.used[i], kept = i >= bitmap.n || bitmap.reserved[i];
        if (bit(map->bitmap, i) != used || bit(map->reserved, i) != kept) {
            broken("frame %zu of %zu is in use: %d, reserved: %d", i, bitmap.n, bit(map->bitmap, i),
                   bit(map->reserved, i));
        }
        if (i < bitmap.n + 2
            && memmap_is_free((bitmap.first + i) * PGSIZE + i % PGSIZE)
                   != (i < bitmap.n && !used)) {
            broken("memmap_is_free(frame %zu) is wrong", i);
        }
    }
}

static void
unchanged(void)
{
    if (pool_changed()) {
        broken("the call failed, and yet something has changed");
    }
}

/* The first run of n free frames from here on, or bitmap.n. */
static size_t
find(size_t from, size_t n)
{
    for (size_t i = from, run = 0; i < bitmap.n; i++) {
        run = bitmap.used[i] ? 0 : run + 1;
        if (run == n) {
            return i + 1 - n;
        }
    }
    return bitmap.n;
}

bool
bitmap_alloc(size_t n, bool single)
{
    size_t i = n > 0 && n <= bitmap.n ? find(bitmap.hint, n) : bitmap.n;

    if (i == bitmap.n && n > 0 && n <= bitmap.n) {
        i = find(0, n);
    }
    about_to("alloc_frames", n, bitmap.hint);
    uint64_t pa = single ? alloc_frame() : alloc_frames(n);
    if (pa != (i == bitmap.n ? 0 : (bitmap.first + i) * PGSIZE)) {
        broken("it returned %#lx instead of frame %zu of %zu", (unsigned long)pa, i, bitmap.n);
    }
    if (pa == 0) {
        unchanged();
        return false;
    }
    memset(&bitmap.used[i], true, n);
    bitmap.hint = i + n;
    return true;
}

bool
bitmap_free(uint64_t pa)
{
    uint64_t i = pa / PGSIZE - bitmap.first;
    bool right = pa % PGSIZE == 0 && pa / PGSIZE >= bitmap.first && i < bitmap.n && bitmap.used[i]
              && !bitmap.reserved[i];

    about_to("free_frame", pa, 0);
    if (free_frame(pa) != (right ? 0 : -EINVAL)) {
        broken("it should%s fail", right ? " not" : "");
    }
    if (!right) {
        unchanged();
        return false;
    }
    bitmap.used[i] = false;
    return true;
}

void
bitmap_reserve(uint64_t start, uint64_t stop)
{
    about_to("memmap_reserve", start, stop);
    memmap_reserve(start, stop);
    for (size_t i = 0; i < bitmap.n && start < stop; i++) {
        uint64_t pa = (bitmap.first + i) * PGSIZE;
        if (pa + (PGSIZE - 1) >= start && pa < stop) {
            bitmap.used[i] = bitmap.reserved[i] = true;
        }
    }
}

bool
bitmap_init(uint64_t start, uint64_t stop)
{
    uint64_t first = start / PGSIZE + (start % PGSIZE != 0), last = stop / PGSIZE;

    about_to("memmap_init", start, stop);
    if (memmap_init(start, stop) != (first < last ? 0 : -EINVAL)) {
        broken("it should%s fail", first < last ? " not" : "");
    }
    if (first >= last) {
        unchanged();
        return false;
    }
    memset(&bitmap, 0, sizeof(bitmap));
    bitmap.first = first;
    bitmap.n = MIN(last - first, (uint64_t)MEMMAP_FRAMES);
    bitmap.used[0] = bitmap.reserved[0] = first == 0;
    bitmap_check();
    return true;
}

bool
bitmap_is_free(uint64_t pa)
{
    uint64_t i = pa / PGSIZE - bitmap.first;

    return i < bitmap.n && !bitmap.used[i];
}

#ifdef __clang__
#pragma clang attribute pop
#endif
