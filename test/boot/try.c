/*
 * Things that a kernel must not do, one for each boot: linked instead of kern/scratch.c by test_boot.py, and
 * chosen by the boot argument try=NAME. Whatever comes back from here has not been stopped.
 */
#include "bootinfo.h"
#include "console.h"
#include "kalloc.h"
#include "memlayout.h"
#include "page.h"
#include "scratch.h"
#include "string.h"
#include "vm.h"

/* The compiler must not know what these do, nor the analyzers. */
static void
touch(uint64_t va)
{
    __asm__("" : "+r"(va));
    (void)*(volatile char *)va;
}

static void
spoil(uint64_t va)
{
    *(volatile char *)va = 1;
}

static void
jump(uint64_t va)
{
    ((void (*)(void))va)();
}

static void
read_null(void)
{
    touch(0);
}

static void
read_physical(void)
{
    touch(V2P(edata));
}

static void
write_text(void)
{
    spoil((uint64_t)scratch);
}

static void
write_rodata(void)
{
    spoil((uint64_t)etext);
}

static void
run_data(void)
{
    static char code[16];

    jump((uint64_t)code);
}

static void
run_page(void)
{
    jump((uint64_t)kalloc());
}

static void
run_device(void)
{
    jump((uint64_t)P2V(DEVICES_PA));
}

static void
below_the_stack(void)
{
    spoil((uint64_t)boot_stack - 1);
}

static void
below_the_emergency_stack(void)
{
    spoil((uint64_t)emergency_stack - 1);
}

static void
beyond_memory(void)
{
    touch((uint64_t)P2V(PHYSTOP));
}

/* A table that leads to itself, and levels that do not end. */
static void
endless_vm_free(void)
{
    uint64_t *root = (uint64_t *)(void *)kalloc();

    page_zero(root);
    root[7] = V2P(root) | PTE_TABLE;
    vm_free(root, -1000000);
}

static const struct {
    const char *name;
    void (*run)(void);
} tries[] = {
    {"read_null", read_null},
    {"read_physical", read_physical},
    {"write_text", write_text},
    {"write_rodata", write_rodata},
    {"run_data", run_data},
    {"run_page", run_page},
    {"run_device", run_device},
    {"below_the_stack", below_the_stack},
    {"below_the_emergency_stack", below_the_emergency_stack},
    {"beyond_memory", beyond_memory},
    {"endless_vm_free", endless_vm_free},
};

void
scratch(void)
{
    char name[40];

    if (!bootarg("try", name, sizeof(name)))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
        if (strcmp(tries[i].name, name) == 0) {
            cprintf("try: %s\n", name);
            tries[i].run();
            cprintf("try: nothing happened\n");
            return;
        }
    }
    cprintf("try: there is no %s\n", name);
}
