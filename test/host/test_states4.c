/* test_states.c once more, with blocks of up to 8 pages (PMM_ORDERS is 4, by host.mk) instead of 4. */
#include "test_states.c" // NOLINT(bugprone-suspicious-include)
