/* fuzz_heap.c once more, with caches behind kmalloc instead of the heap (by host.mk). */
#include "fuzz_heap.c" // NOLINT(bugprone-suspicious-include)
