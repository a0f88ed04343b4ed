/* test_kmalloc.c once more, with the heap behind kmalloc (KMALLOC_HEAP is 1, by host.mk). */
#include "test_kmalloc.c" // NOLINT(bugprone-suspicious-include)
