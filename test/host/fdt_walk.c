/*
 * See fdt_walk.h. Compiled like the code under test, so memcmp and so on are lib's.
 */
#include "fdt_walk.h"
#include "string.h"

/* Aborts here are seen by cmocka, libFuzzer and the sanitizers alike. */
#define PROMISE(condition)    \
    do {                      \
        if (!(condition))     \
            __builtin_trap(); \
    } while (0)

/* A range handed out is not empty and does not wrap. */
static void
take_range(void *arg, uint64_t base, uint64_t size)
{
    uint64_t *ranges = arg;

    PROMISE(size > 0 && base + size > base);
    ++*ranges;
}

/* [p, p + size) lies in the blob. */
static void
inside(const struct fdt *fdt, const void *p, size_t size)
{
    uintptr_t start = (uintptr_t)fdt->blob;

    PROMISE((uintptr_t)p >= start && size <= fdt->size && (uintptr_t)p - start <= fdt->size - size);
}

static void
inside_string(const struct fdt *fdt, const char *s)
{
    inside(fdt, s, 1);
    inside(fdt, s, strlen(s) + 1);
}

/* Look up everything that can be known of one node. */
static void
walk_node(const struct fdt *fdt, int node)
{
    static const char *const names[] = {"reg", "status", "bootargs", "#address-cells", ""};
    struct fdt_token token = {0};
    int kind;

    while ((kind = fdt_next_in(fdt, node, &token)) > 0) {
        PROMISE(kind == FDT_PROP || kind == FDT_BEGIN_NODE);
        inside_string(fdt, token.name);
        if (kind == FDT_PROP) {
            struct fdt_token found;
            inside(fdt, token.data, token.length);
            PROMISE(fdt_property(fdt, node, token.name, &found) == 0);
            PROMISE(strcmp(found.name, token.name) == 0);
        }
    }
    PROMISE(kind == 0);
    PROMISE(fdt_next_in(fdt, node, &token) == 0);

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        uint32_t value;
        const char *text = fdt_string(fdt, node, names[i]);
        if (text != NULL) {
            inside_string(fdt, text);
        }
        int result = fdt_u32(fdt, node, names[i], &value);
        PROMISE(result == 0 || result == FDT_MISSING || result == FDT_VALUE);
    }
}

int
fdt_walk(const void *blob, size_t size)
{
    struct fdt fdt;
    int result = fdt_check(&fdt, blob, size);
    uint64_t ranges = 0, start, end;

    PROMISE(result <= 0 && *fdt_error(result) != '\0');
    PROMISE((result == 0) == (fdt.size > 0) && fdt.size <= size);

    struct fdt_token token = {0};
    int kind, depth = 0, budget = 64;
    while ((kind = fdt_next(&fdt, &token)) > 0) {
        depth += kind == FDT_BEGIN_NODE ? 1 : kind == FDT_END_NODE ? -1 : 0;
        PROMISE(token.depth == depth && depth >= 0 && depth <= FDT_DEPTH_MAX);
        if (kind == FDT_BEGIN_NODE && budget-- > 0) {
            walk_node(&fdt, token.node);
        }
    }
    PROMISE(kind == (result == 0 ? 0 : FDT_TRUNCATED));

    int memory = fdt_memory(&fdt, take_range, &ranges);
    PROMISE(memory <= 0 && (memory != FDT_MISSING || ranges == 0));
    int reserved = fdt_reserved(&fdt, take_range, &ranges);
    PROMISE(result == 0 ? reserved == 0 || reserved == FDT_VALUE : ranges == 0);

    const char *bootargs = fdt_bootargs(&fdt);
    if (bootargs != NULL) {
        inside_string(&fdt, bootargs);
    }
    int initrd = fdt_initrd(&fdt, &start, &end);
    PROMISE(initrd <= 0 && (initrd < 0 || start <= end));

    PROMISE((fdt_node(&fdt, "/") > 0) == (result == 0));
    (void)fdt_node(&fdt, "/soc/serial@7e201000");
    (void)fdt_node(&fdt, "//soc//serial/");
    PROMISE(fdt_node(&fdt, "") == FDT_MISSING && fdt_node(&fdt, "soc") == FDT_MISSING);
    return result;
}
