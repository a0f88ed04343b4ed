/*
 * Reading a flattened device tree. One function, fdt_next, decodes the structure block, and it
 * checks all that it reads against the block's bounds, so that whatever is built on it is safe.
 *
 * The blob is a header; a list of reserved ranges, ended by an empty one; the structure block, a
 * sequence of 4-byte tokens with their data; and the strings block with the properties' names.
 */
#include "fdt.h"
#include "string.h"

#define MAGIC 0xd00dfeedu
/* The format's version since 2007; a later one says whether version 17's readers can read it. */
#define VERSION 17

/* Offsets in the header: big-endian 32-bit numbers (Devicetree Specification, 5.2). */
enum {
    MAGIC_AT = 0,
    TOTALSIZE_AT = 4,
    STRUCTURE_AT = 8,
    STRINGS_AT = 12,
    RESERVATIONS_AT = 16,
    VERSION_AT = 20,
    COMPATIBLE_AT = 24,
    STRINGS_SIZE_AT = 32,
    STRUCTURE_SIZE_AT = 36,
    HEADER_SIZE = 40,
};

#define RESERVATION_SIZE 16 /* an address and a size, 64 bits each */
#define CELL             4  /* numbers in properties are made of 32-bit cells */
#define TOKEN            4

/* A big-endian number, whatever its alignment. */
static uint32_t
load32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t
load64(const uint8_t *p)
{
    return (uint64_t)load32(p) << 32 | load32(p + 4);
}

/* A number of one or two cells. */
static uint64_t
load_cells(const uint8_t *p, uint32_t cells)
{
    return cells == 2 ? load64(p) : load32(p);
}

/* The NUL-terminated name at the given offset, which has to end before limit; or NULL. */
static const char *
name_at(const struct fdt *fdt, uint32_t at, uint32_t limit)
{
    if (at >= limit) {
        return NULL;
    }
    const char *name = (const char *)fdt->blob + at;
    size_t room = MIN(limit - at, FDT_NAME_MAX + 1);
    return strnlen(name, room) < room ? name : NULL;
}

/* Decode the rest of an FDT_BEGIN_NODE: the node's name, padding. */
static int
begin_node(const struct fdt *fdt, struct fdt_token *token, uint32_t at)
{
    token->name = name_at(fdt, at, fdt->structure_end);
    if (token->name == NULL) {
        return FDT_NAME;
    }
    if (token->depth == FDT_DEPTH_MAX) {
        return FDT_STRUCTURE;
    }
    token->depth++;
    token->node = (int)(at - TOKEN);
    token->next = ROUNDUP(at + (uint32_t)strlen(token->name) + 1, TOKEN);
    return FDT_BEGIN_NODE;
}

/* Decode the rest of an FDT_PROP: length, name's offset in the strings block, value, padding. */
static int
property(const struct fdt *fdt, struct fdt_token *token, uint32_t at)
{
    if (token->depth == 0) {
        return FDT_STRUCTURE; /* outside of any node */
    }
    if (fdt->structure_end - at < 8) {
        return FDT_TRUNCATED;
    }
    uint32_t length = load32(fdt->blob + at);
    uint32_t name = load32(fdt->blob + at + 4);
    if (length > fdt->structure_end - (at + 8)) {
        return FDT_TRUNCATED;
    }
    if (name >= fdt->strings_end - fdt->strings) {
        return FDT_NAME;
    }
    token->name = name_at(fdt, fdt->strings + name, fdt->strings_end);
    if (token->name == NULL) {
        return FDT_NAME;
    }
    token->data = fdt->blob + at + 8;
    token->length = length;
    token->next = ROUNDUP(at + 8 + length, TOKEN);
    return FDT_PROP;
}

int
fdt_next(const struct fdt *fdt, struct fdt_token *token)
{
    uint32_t at = token->next != 0 ? token->next : fdt->structure;

    /* at is a multiple of 4 and may lie behind the end, by the padding of the last value. */
    if (at >= fdt->structure_end || fdt->structure_end - at < TOKEN) {
        return FDT_TRUNCATED;
    }
    uint32_t kind = load32(fdt->blob + at);
    *token = (struct fdt_token){.depth = token->depth, .next = at + TOKEN};

    switch (kind) {
    case FDT_BEGIN_NODE:
        return begin_node(fdt, token, at + TOKEN);
    case FDT_PROP:
        return property(fdt, token, at + TOKEN);
    case FDT_END_NODE:
        if (token->depth == 0) {
            return FDT_STRUCTURE;
        }
        token->depth--;
        return FDT_END_NODE;
    case FDT_NOP:
        return FDT_NOP;
    case FDT_END:
        token->next = at; /* asked again, the answer is the same */
        return token->depth == 0 ? 0 : FDT_STRUCTURE;
    default:
        return FDT_STRUCTURE;
    }
}

/* Is there exactly one root node, and everything else well-formed inside it? */
static int
check_structure(const struct fdt *fdt)
{
    struct fdt_token token = {0};
    bool root = false;
    int kind;

    while ((kind = fdt_next(fdt, &token)) > 0) {
        if (kind == FDT_BEGIN_NODE && token.depth == 1) {
            if (root) {
                return FDT_STRUCTURE;
            }
            root = true;
        }
    }
    return kind == 0 && !root ? FDT_STRUCTURE : kind;
}

/* Is the list of reservations ended by an empty one? */
static int
check_reservations(const struct fdt *fdt)
{
    for (uint32_t at = fdt->reservations; fdt->size - at >= RESERVATION_SIZE;
         at += RESERVATION_SIZE) {
        if (load64(fdt->blob + at) == 0 && load64(fdt->blob + at + 8) == 0) {
            return 0;
        }
    }
    return FDT_RESERVATION;
}

/* Read and check the header. */
static int
check_header(struct fdt *fdt, const uint8_t *blob, size_t max)
{
    if (max < HEADER_SIZE) {
        return FDT_TRUNCATED;
    }
    if (blob == NULL || load32(blob + MAGIC_AT) != MAGIC) {
        return FDT_MAGIC;
    }
    if (load32(blob + VERSION_AT) < VERSION || load32(blob + COMPATIBLE_AT) > VERSION) {
        return FDT_VERSION;
    }

    /* Offsets are handed out as int. */
    uint32_t size = load32(blob + TOTALSIZE_AT);
    if (size > max) {
        return FDT_TRUNCATED;
    }
    if (size < HEADER_SIZE || size > INT32_MAX) {
        return FDT_HEADER;
    }

    uint32_t structure = load32(blob + STRUCTURE_AT);
    uint32_t strings = load32(blob + STRINGS_AT);
    uint32_t reservations = load32(blob + RESERVATIONS_AT);
    uint32_t structure_size = load32(blob + STRUCTURE_SIZE_AT);
    uint32_t strings_size = load32(blob + STRINGS_SIZE_AT);
    if (structure < HEADER_SIZE || structure > size || structure_size > size - structure
        || structure % TOKEN != 0 || strings < HEADER_SIZE || strings > size
        || strings_size > size - strings || reservations < HEADER_SIZE || reservations > size) {
        return FDT_HEADER;
    }

    *fdt = (struct fdt){
        .blob = blob,
        .size = size,
        .reservations = reservations,
        .structure = structure,
        .structure_end = structure + structure_size,
        .strings = strings,
        .strings_end = strings + strings_size,
    };
    return 0;
}

int
fdt_check(struct fdt *fdt, const void *blob, size_t max)
{
    *fdt = (struct fdt){0};

    int result = check_header(fdt, blob, max);
    if (result == 0) {
        result = check_reservations(fdt);
    }
    if (result == 0) {
        result = check_structure(fdt);
    }
    if (result < 0) {
        *fdt = (struct fdt){0};
    }
    return result;
}

const char *
fdt_error(int error)
{
    static const char *const words[] = {
        [-FDT_TRUNCATED] = "it is cut off",
        [-FDT_MAGIC] = "it is not a device tree (no 0xd00dfeed at its start)",
        [-FDT_VERSION] = "its version is not 17",
        [-FDT_HEADER] = "its header places a block outside of it",
        [-FDT_RESERVATION] = "its memory reservations have no end",
        [-FDT_STRUCTURE] = "its nodes are not properly nested",
        [-FDT_NAME] = "a name in it has no end or is too long",
        [-FDT_VALUE] = "a property has a value that makes no sense",
        [-FDT_MISSING] = "there is no such node or property",
    };
    unsigned index = 0u - (unsigned)error;

    return index < ARRAY_SIZE(words) && words[index] != NULL ? words[index] : "no error";
}

int
fdt_next_in(const struct fdt *fdt, int node, struct fdt_token *token)
{
    int kind;

    /* Depth counts from this node here: 1 inside it, 2 inside a child. */
    if (token->next == 0) {
        *token = (struct fdt_token){.next = (uint32_t)node};
        if (fdt_next(fdt, token) != FDT_BEGIN_NODE) {
            return FDT_MISSING; /* node does not name a node */
        }
    }
    while (token->depth > 0 && (kind = fdt_next(fdt, token)) != 0) {
        if (kind < 0) {
            return kind;
        }
        if ((kind == FDT_PROP && token->depth == 1)
            || (kind == FDT_BEGIN_NODE && token->depth == 2)) {
            return kind;
        }
    }
    return 0;
}

/* Does a node's name match a component of a path? Without an @ there, any unit address will do. */
static bool
name_matches(const char *name, const char *component, size_t length)
{
    if (strncmp(name, component, length) != 0) {
        return false;
    }
    if (name[length] != '@') {
        return name[length] == '\0';
    }
    for (size_t i = 0; i < length; i++) {
        if (component[i] == '@') {
            return false;
        }
    }
    return true;
}

/* The first child of a node that matches a path's component, or FDT_MISSING. */
static int
find_child(const struct fdt *fdt, int node, const char *component, size_t length)
{
    struct fdt_token token = {0};
    int kind;

    while ((kind = fdt_next_in(fdt, node, &token)) > 0) {
        if (kind == FDT_BEGIN_NODE && name_matches(token.name, component, length)) {
            return token.node;
        }
    }
    return FDT_MISSING;
}

/* The root node. In front of it, only NOPs can stand. */
static int
find_root(const struct fdt *fdt)
{
    struct fdt_token token = {0};
    int kind;

    do {
        kind = fdt_next(fdt, &token);
    } while (kind == FDT_NOP);
    return kind == FDT_BEGIN_NODE ? token.node : FDT_MISSING;
}

int
fdt_node(const struct fdt *fdt, const char *path)
{
    int node = find_root(fdt);

    if (*path != '/') {
        return FDT_MISSING;
    }
    while (node > 0 && *path != '\0') {
        if (*path == '/') {
            path++;
            continue;
        }
        const char *slash = strchr(path, '/');
        size_t length = slash != NULL ? (size_t)(slash - path) : strlen(path);
        node = find_child(fdt, node, path, length);
        path += length;
    }
    return node;
}

int
fdt_property(const struct fdt *fdt, int node, const char *name, struct fdt_token *token)
{
    int kind;

    *token = (struct fdt_token){0};
    while ((kind = fdt_next_in(fdt, node, token)) > 0) {
        if (kind == FDT_PROP && strcmp(token->name, name) == 0) {
            return 0;
        }
    }
    return FDT_MISSING;
}

int
fdt_u32(const struct fdt *fdt, int node, const char *name, uint32_t *value)
{
    struct fdt_token token;
    int result = fdt_property(fdt, node, name, &token);

    if (result < 0) {
        return result;
    }
    if (token.length != CELL) {
        return FDT_VALUE;
    }
    *value = load32(token.data);
    return 0;
}

const char *
fdt_string(const struct fdt *fdt, int node, const char *name)
{
    struct fdt_token token;

    if (fdt_property(fdt, node, name, &token) < 0) {
        return NULL;
    }
    const char *text = (const char *)token.data;
    return strnlen(text, token.length) < token.length ? text : NULL;
}

/* How many cells addresses and sizes have in the reg properties of a node's children. */
struct cells {
    uint32_t address, size;
};

static int
read_cells(const struct fdt *fdt, int node, struct cells *cells)
{
    *cells = (struct cells){.address = 2, .size = 1}; /* if the tree does not say (2.3.5) */

    if (fdt_u32(fdt, node, "#address-cells", &cells->address) == FDT_VALUE
        || fdt_u32(fdt, node, "#size-cells", &cells->size) == FDT_VALUE) {
        return FDT_VALUE;
    }
    if (cells->address < 1 || cells->address > 2 || cells->size < 1 || cells->size > 2) {
        return FDT_VALUE;
    }
    return 0;
}

/* Report one range, unless it is empty. */
static int
report(uint64_t base, uint64_t size, fdt_range_fn fn, void *arg)
{
    uint64_t end;

    if (__builtin_add_overflow(base, size, &end)) {
        return FDT_VALUE;
    }
    if (size > 0) {
        fn(arg, base, size);
    }
    return 0;
}

/* Report the ranges in a node's reg property, if it has one. */
static int
report_reg(const struct fdt *fdt, int node, const struct cells *cells, fdt_range_fn fn, void *arg)
{
    struct fdt_token reg;
    int result = 0;

    if (fdt_property(fdt, node, "reg", &reg) < 0) {
        return 0;
    }
    uint32_t address_size = cells->address * CELL;
    uint32_t entry_size = address_size + cells->size * CELL;
    uint32_t at = 0;
    for (; reg.length - at >= entry_size; at += entry_size) {
        uint64_t base = load_cells(reg.data + at, cells->address);
        uint64_t size = load_cells(reg.data + at + address_size, cells->size);
        if (report(base, size, fn, arg) < 0) {
            result = FDT_VALUE;
        }
    }
    return at == reg.length ? result : FDT_VALUE;
}

/* A node without status is in use, and one that says so. */
static bool
node_enabled(const struct fdt *fdt, int node)
{
    struct fdt_token token;
    const char *status = fdt_string(fdt, node, "status");

    if (status == NULL) {
        return fdt_property(fdt, node, "status", &token) < 0;
    }
    return strcmp(status, "okay") == 0 || strcmp(status, "ok") == 0;
}

/* Does this child of the root describe memory? Its type says so, or its name if it has no type. */
static bool
node_is_memory(const struct fdt *fdt, int node, const char *name)
{
    const char *type = fdt_string(fdt, node, "device_type");

    return type != NULL ? strcmp(type, "memory") == 0 : name_matches(name, "memory", 6);
}

int
fdt_memory(const struct fdt *fdt, fdt_range_fn bank, void *arg)
{
    int root = find_root(fdt);
    struct fdt_token token = {0};
    struct cells cells;
    bool found = false;
    int result = 0;

    if (root < 0) {
        return root;
    }
    if (read_cells(fdt, root, &cells) < 0) {
        return FDT_VALUE;
    }
    for (int kind; (kind = fdt_next_in(fdt, root, &token)) > 0;) {
        if (kind != FDT_BEGIN_NODE || !node_is_memory(fdt, token.node, token.name)
            || !node_enabled(fdt, token.node)) {
            continue;
        }
        found = true;
        if (report_reg(fdt, token.node, &cells, bank, arg) < 0) {
            result = FDT_VALUE;
        }
    }
    return found ? result : FDT_MISSING;
}

/* Report the children of /reserved-memory. */
static int
report_reserved_nodes(const struct fdt *fdt, fdt_range_fn reserved, void *arg)
{
    int parent = fdt_node(fdt, "/reserved-memory");
    struct fdt_token token = {0};
    struct cells cells;
    int result = 0;

    if (parent < 0) {
        return 0;
    }
    if (read_cells(fdt, parent, &cells) < 0) {
        return FDT_VALUE;
    }
    for (int kind; (kind = fdt_next_in(fdt, parent, &token)) > 0;) {
        if (kind == FDT_BEGIN_NODE && node_enabled(fdt, token.node)
            && report_reg(fdt, token.node, &cells, reserved, arg) < 0) {
            result = FDT_VALUE;
        }
    }
    return result;
}

int
fdt_reserved(const struct fdt *fdt, fdt_range_fn reserved, void *arg)
{
    int result = 0;

    if (fdt->size == 0) {
        return FDT_MISSING;
    }
    for (uint32_t at = fdt->reservations; fdt->size - at >= RESERVATION_SIZE;
         at += RESERVATION_SIZE) {
        uint64_t base = load64(fdt->blob + at);
        uint64_t size = load64(fdt->blob + at + 8);
        if (base == 0 && size == 0) {
            break;
        }
        if (report(base, size, reserved, arg) < 0) {
            result = FDT_VALUE;
        }
    }
    return report_reserved_nodes(fdt, reserved, arg) < 0 ? FDT_VALUE : result;
}

const char *
fdt_bootargs(const struct fdt *fdt)
{
    return fdt_string(fdt, fdt_node(fdt, "/chosen"), "bootargs");
}

/* A property that is a number of one or two cells. */
static int
read_address(const struct fdt *fdt, int node, const char *name, uint64_t *value)
{
    struct fdt_token token;
    int result = fdt_property(fdt, node, name, &token);

    if (result < 0) {
        return result;
    }
    if (token.length != CELL && token.length != 2 * CELL) {
        return FDT_VALUE;
    }
    *value = load_cells(token.data, token.length / CELL);
    return 0;
}

int
fdt_initrd(const struct fdt *fdt, uint64_t *start, uint64_t *end)
{
    int chosen = fdt_node(fdt, "/chosen");
    int result = read_address(fdt, chosen, "linux,initrd-start", start);

    if (result == 0) {
        result = read_address(fdt, chosen, "linux,initrd-end", end);
    }
    if (result == 0 && *end < *start) {
        result = FDT_VALUE;
    }
    return result;
}
