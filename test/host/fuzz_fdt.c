/*
 * libFuzzer on lib/fdt.c. The input is the blob, exactly as long as libFuzzer says: its buffer ends
 * there, and AddressSanitizer sees a byte read too many.
 */
#include <stddef.h>
#include <stdint.h>

#include "fdt_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fdt_walk(data, size);
    return 0;
}
