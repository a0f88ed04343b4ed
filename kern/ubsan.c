/*
 * What GCC's -fsanitize=undefined calls when it catches undefined behaviour. The compiler passes a
 * description that begins with the place in the source; its layout is libsanitizer's
 * (ubsan_handlers.h). Any finding is a panic: code that does this means something else than it says.
 */
#include "console.h"

struct source_location {
    const char *file;
    uint32_t line, column;
};

/* Every description starts so; what follows differs, and is not needed. */
struct description {
    struct source_location where;
};

static _Noreturn void
found(const struct description *description, const char *kind)
{
    panic_at(description->where.file, (int)description->where.line, "undefined behaviour: %s",
             kind);
}

/* GCC calls these by name with up to three arguments, of which all but the first are ignored here. */
#define HANDLER(name, kind)                                            \
    void __ubsan_handle_##name(const struct description *description); \
    void __ubsan_handle_##name(const struct description *description)  \
    {                                                                  \
        found(description, kind);                                      \
    }

HANDLER(add_overflow, "signed addition overflows")
HANDLER(sub_overflow, "signed subtraction overflows")
HANDLER(mul_overflow, "signed multiplication overflows")
HANDLER(negate_overflow, "negation overflows")
HANDLER(divrem_overflow, "division by zero, or one that overflows")
HANDLER(shift_out_of_bounds, "shift by a negative amount, or by the type's width or more")
HANDLER(out_of_bounds, "array index out of bounds")
HANDLER(pointer_overflow, "pointer arithmetic wraps around")
HANDLER(vla_bound_not_positive, "array of variable size with no elements")
HANDLER(load_invalid_value, "a bool or an enum holds a value that it cannot have")
HANDLER(builtin_unreachable, "code that cannot be reached was reached")
HANDLER(missing_return, "a function ended without returning its value")
HANDLER(nonnull_arg, "NULL passed where a pointer is required")
HANDLER(nonnull_return_v1, "NULL returned where a pointer is required")
HANDLER(invalid_builtin, "0 passed to a builtin that counts zero bits")

/* This one covers three cases: NULL, a misaligned address, and too little room for the object. */
struct type_mismatch {
    struct description description;
    const void *type;
    uint8_t log_alignment, access;
};

void __ubsan_handle_type_mismatch_v1(const struct type_mismatch *mismatch, uint64_t pointer);

void
__ubsan_handle_type_mismatch_v1(const struct type_mismatch *mismatch, uint64_t pointer)
{
    const struct source_location *where = &mismatch->description.where;

    if (pointer == 0)
        found(&mismatch->description, "NULL is dereferenced");
    if (pointer & ((1UL << mismatch->log_alignment) - 1))
        panic_at(where->file, (int)where->line,
                 "undefined behaviour: a misaligned pointer is dereferenced: 0x%lx", pointer);
    found(&mismatch->description,
          "an object is accessed that does not fit where the pointer points");
}
