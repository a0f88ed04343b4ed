/*
 * Included before everything else (-include) in code under test: lib's functions that have the C
 * library's names get names of their own, so that both can be in one program and neither sanitizer
 * nor compiler takes one for the other.
 */
#ifndef RENAME_H
#define RENAME_H

#define memset    lib_memset
#define memcpy    lib_memcpy
#define memmove   lib_memmove
#define memcmp    lib_memcmp
#define strlen    lib_strlen
#define strnlen   lib_strnlen
#define strcmp    lib_strcmp
#define strncmp   lib_strncmp
#define strlcpy   lib_strlcpy
#define strchr    lib_strchr
#define snprintf  lib_snprintf
#define vsnprintf lib_vsnprintf

#endif
