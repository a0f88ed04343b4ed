/*
 * Looks at what the kernel gave it to begin with: arguments, environment, auxiliary vector, registers.
 */
#include "libc.h"
#include "registers.h"
#include "uapi/auxv.h"

/* The program begins here, as registers must be seen before anybody uses them. */
__asm__(".global _start\n_start: b start_keeping");

static const uint64_t *auxv;

/* The value that the auxiliary vector has for a type; 0 if none. */
static uint64_t
aux(uint64_t type)
{
    for (const uint64_t *pair = auxv; pair[0] != AT_NULL; pair += 2)
        if (pair[0] == type)
            return pair[1];
    return 0;
}

static void
check_registers(void)
{
    const struct registers *r = &first_registers;

    for (int i = 0; i < 31; i++)
        if (r->x[i] != 0)
            fail("x%d is %lx\n", i, r->x[i]);
    for (int i = 0; i < 32; i++)
        if (r->v[i][0] != 0 || r->v[i][1] != 0)
            fail("v%d is %lx:%lx\n", i, r->v[i][1], r->v[i][0]);
    require(r->sp % 16 == 0);
    require(r->fpcr == 0 && r->fpsr == 0 && r->tpidr == 0);
    puts("registers: all 0, but a stack that is aligned");
}

int
main(int argc, char *argv[])
{
    const uint64_t *sp = (const uint64_t *)first_registers.sp;
    extern const char elf_start[];

    check_registers();

    require(sp[0] == (uint64_t)argc && (char **)(uintptr_t)(sp + 1) == argv && !argv[argc]);
    printf("%d arguments", argc - 1);
    for (int i = 1; i < argc; i++)
        printf(" [%s]", argv[i]);
    puts("");
    const char *name = argv[0] + strlen(argv[0]);
    require(name > argv[0] && strcmp(name - 4, "args") == 0);

    char **end = environ;
    require(environ == argv + argc + 1);
    while (*end)
        end++;
    auxv = (const uint64_t *)(void *)(end + 1);

    printf("page size %lu, %lu program headers of %lu bytes\n", aux(AT_PAGESZ), aux(AT_PHNUM),
           aux(AT_PHENT));
    require(aux(AT_PHDR) == (uint64_t)elf_start + 64); /* linked behind the file's header */
    require(aux(AT_ENTRY) > (uint64_t)elf_start && aux(AT_SECURE) == 0 && aux(AT_CLKTCK) == 100);
    require((aux(AT_HWCAP) & (HWCAP_FP | HWCAP_ASIMD)) == (HWCAP_FP | HWCAP_ASIMD));

    const uint64_t *random = (const uint64_t *)aux(AT_RANDOM);
    require(random && (random[0] | random[1]) != 0);
    const char *file = (const char *)aux(AT_EXECFN);
    require(file && strcmp(file + strlen(file) - 4, "args") == 0);
    puts("the auxiliary vector makes sense");
    return 0;
}
