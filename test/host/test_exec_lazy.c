/* test_exec.c, where pages come when they are touched. */
#include "test_exec.c" // NOLINT(bugprone-suspicious-include)
