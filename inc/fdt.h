/*
 * Reading a flattened device tree (Devicetree Specification v0.4, chapter 5), the data structure in
 * which the firmware tells the kernel what machine it runs on.
 *
 * The blob comes from outside and may be cut off or lie. Nothing here reads outside of it, whatever
 * it contains; every loop is bounded by its size; memory is neither written nor allocated. All
 * loads are of single bytes, so the blob may lie at any address, in device memory too (or in normal
 * memory with the MMU off, which is the same).
 *
 * Start with fdt_check. A node is named by the offset of its first token in the blob, a positive
 * int. Pointers that are handed out (names, property values) point into the blob.
 */
#ifndef FDT_H
#define FDT_H

#include "types.h"

/* Why something failed; fdt_error puts it in words. */
enum fdt_error {
    FDT_TRUNCATED = -1,   /* the blob, or a part of it, ends beyond the bytes that there are */
    FDT_MAGIC = -2,       /* not a device tree at all */
    FDT_VERSION = -3,     /* of a version that version 17's readers cannot read */
    FDT_HEADER = -4,      /* the header places a block outside of the blob */
    FDT_RESERVATION = -5, /* the list of memory reservations has no end */
    FDT_STRUCTURE = -6,   /* nodes and properties are not properly nested */
    FDT_NAME = -7,        /* a name without an end, or longer than FDT_NAME_MAX */
    FDT_VALUE = -8,       /* a property has a value that its meaning does not allow */
    FDT_MISSING = -9,     /* there is no such node or property */
};

#define FDT_NAME_MAX  255 /* the longest name (the specification: 31 characters and an address) */
#define FDT_DEPTH_MAX 64  /* how deep nodes may be nested */

/* What the kernel remembers of a blob that fdt_check has seen. All numbers are in bytes. */
struct fdt {
    const uint8_t *blob;
    uint32_t size;                     /* of the whole blob: keep these bytes from being reused */
    uint32_t reservations;             /* offset of the memory reservation block */
    uint32_t structure, structure_end; /* offsets of the structure block and of its end */
    uint32_t strings, strings_end;     /* the same for the strings block */
};

/*
 * Look at the blob, of which at most max bytes can be read, and check its whole structure. Returns
 * 0 and fills *fdt, or a negative enum fdt_error; *fdt then describes a blob of no bytes, in which
 * nothing is ever found.
 */
int fdt_check(struct fdt *fdt, const void *blob, size_t max);

/* What a negative return value means, in words. */
const char *fdt_error(int error);

/* The kinds of token in the structure block. */
enum fdt_kind {
    FDT_BEGIN_NODE = 1,
    FDT_END_NODE = 2,
    FDT_PROP = 3,
    FDT_NOP = 4,
    FDT_END = 9,
};

/* A place in the structure block, and what is there. Start with one that is all zeros. */
struct fdt_token {
    int node;            /* FDT_BEGIN_NODE: the node that begins here */
    int depth;           /* how many nodes are open after this token */
    const char *name;    /* of a node or property */
    const uint8_t *data; /* a property's value */
    uint32_t length;     /* and its length in bytes */
    uint32_t next;       /* offset of the next token */
};

/*
 * Step to the next token of the whole tree, in the order in which it is written. Returns its kind,
 * 0 at the end, or a negative error (never in a blob that passed fdt_check).
 */
int fdt_next(const struct fdt *fdt, struct fdt_token *token);

/*
 * Step to the next property (FDT_PROP) or child (FDT_BEGIN_NODE) of one node, passing over what is
 * inside its children. Returns its kind, 0 at the end of the node, or a negative error.
 */
int fdt_next_in(const struct fdt *fdt, int node, struct fdt_token *token);

/*
 * The node with this path ("/", "/reserved-memory", "/soc/serial"), or FDT_MISSING. A component
 * that has no unit address (@...) stands for the first child of that name with any address or none.
 */
int fdt_node(const struct fdt *fdt, const char *path);

/* Find a node's property. Returns 0 with its value in token->data and ->length, or FDT_MISSING. */
int fdt_property(const struct fdt *fdt, int node, const char *name, struct fdt_token *token);

/* A property that is one 32-bit number. Returns 0 and *value, FDT_MISSING or FDT_VALUE. */
int fdt_u32(const struct fdt *fdt, int node, const char *name, uint32_t *value);

/* A property that is a string. NULL when there is none or when it has no NUL. */
const char *fdt_string(const struct fdt *fdt, int node, const char *name);

/* Called for a range [base, base + size) of physical addresses; size > 0, and it does not wrap. */
typedef void (*fdt_range_fn)(void *arg, uint64_t base, uint64_t size);

/*
 * Call bank(arg, ...) for every bank of memory, in the order of the tree, which may be any; banks
 * may also overlap, or lie where the machine has no RAM: the caller knows better. Returns 0,
 * FDT_MISSING when no memory is described at all, or FDT_VALUE when some entry makes no sense (an
 * unknown number of cells, a length that is no whole number of entries, a range that wraps): that
 * entry is left out, and all the others have been reported.
 */
int fdt_memory(const struct fdt *fdt, fdt_range_fn bank, void *arg);

/*
 * The same for memory that must not be used: the memory reservation block, and the children of
 * /reserved-memory that have an address. Not among them: the blob itself and the initrd. Returns 0,
 * or FDT_VALUE when some entry made no sense and was left out.
 */
int fdt_reserved(const struct fdt *fdt, fdt_range_fn reserved, void *arg);

/* The kernel's command line, /chosen's bootargs; NULL when there is none. */
const char *fdt_bootargs(const struct fdt *fdt);

/*
 * The initial RAM disk that /chosen names: physical addresses, *end is that of the byte after it.
 * Returns 0, FDT_MISSING when there is none, or FDT_VALUE when it ends before it starts.
 */
int fdt_initrd(const struct fdt *fdt, uint64_t *start, uint64_t *end);

#endif
