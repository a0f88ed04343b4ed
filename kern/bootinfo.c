/*
 * What the firmware says about the machine: a device tree (boards, QEMU -dtb), or ATAGs (QEMU), and
 * in any case the mailbox, which knows where the ARM's memory ends and VideoCore's begins. Any of
 * them may be missing, and the first two may be damaged or lie.
 */
#include "bootinfo.h"
#include "bcm2837.h"
#include "console.h"
#include "fdt.h"
#include "mailbox.h"
#include "memlayout.h"
#include "mmu.h"
#include "ram.h"
#include "string.h"

/* ATAGs ("Booting ARM Linux", §5): words of size (in words, the header's two included), tag, data. */
#define ATAG_CORE    0x54410001u
#define ATAG_MEM     0x54410002u /* size, start */
#define ATAG_INITRD2 0x54420005u /* start, size */
#define ATAG_CMDLINE 0x54410009u
#define ATAGS_MAX    0x4000u /* bytes: they lie below the kernel, together with other boot data */

static char cmdline[512];

static void
add_bank(void *known, uint64_t base, uint64_t size)
{
    ram_add(base, base + size);
    if (size != 0) /* in a tree that nobody has filled in yet, it is 0 */
        *(bool *)known = true;
}

static void
add_reservation(void *unused, uint64_t base, uint64_t size)
{
    (void)unused;
    ram_reserve(base, base + size);
}

static bool
read_device_tree(uint64_t pa, size_t max)
{
    struct fdt fdt;
    uint64_t start, stop;
    bool known = false;

    int error = fdt_check(&fdt, P2V(pa), max);
    if (error) {
        cprintf("Device tree at %lx is damaged (%s); asking the firmware instead.\n", pa,
                fdt_error(error));
        return false;
    }
    ram_reserve(pa, pa + fdt.size);
    error = fdt_memory(&fdt, add_bank, &known);
    if (error)
        cprintf("Device tree: /memory: %s\n", fdt_error(error));
    if (fdt_reserved(&fdt, add_reservation, NULL))
        cprintf("Device tree: a memory reservation makes no sense and is left out.\n");
    if (fdt_bootargs(&fdt))
        strlcpy(cmdline, fdt_bootargs(&fdt), sizeof(cmdline));
    if (fdt_initrd(&fdt, &start, &stop) == 0)
        ram_reserve(start, stop);
    return known;
}

static bool
read_atags(uint64_t pa)
{
    const uint32_t *tag = (const uint32_t *)P2V(pa), *stop = tag + ATAGS_MAX / sizeof(*tag);
    bool memory = false;

    while (stop - tag >= 4 && tag[0] >= 2 && tag[0] <= (uint32_t)(stop - tag)) {
        if (tag[1] == ATAG_MEM && tag[0] >= 4) {
            ram_add(tag[3], (uint64_t)tag[3] + tag[2]);
            memory = memory || tag[2] != 0;
        } else if (tag[1] == ATAG_INITRD2 && tag[0] >= 4) {
            ram_reserve(tag[2], (uint64_t)tag[2] + tag[3]);
        } else if (tag[1] == ATAG_CMDLINE) {
            size_t room = MIN((tag[0] - 2) * sizeof(*tag) + 1, sizeof(cmdline));
            strlcpy(cmdline, (const char *)(tag + 2), room);
        }
        tag += tag[0];
    }
    return memory;
}

/* How many bytes kvm_boot made readable at pa. */
static size_t
readable(uint64_t pa)
{
    uint64_t image_window = ROUNDUP(V2P(end), BLOCK2M);

    if (pa < image_window)
        return image_window - pa;
    if (pa < DEVICES_PA)
        return MIN(ROUNDDOWN(pa, BLOCK2M) + 2 * BLOCK2M, DEVICES_PA) - pa;
    return 0;
}

void
bootinfo_init(uint64_t firmware)
{
    const uint32_t *gift = (const uint32_t *)P2V(firmware);
    uint32_t memory[2] = {0, 0};
    uint64_t number;
    bool known = false;

    if (firmware != 0 && firmware % 4 == 0 && readable(firmware) >= ATAGS_MAX) {
        if (gift[1] == ATAG_CORE)
            known = read_atags(firmware);
        else
            known = read_device_tree(firmware, readable(firmware));
    } else if (firmware != 0) {
        cprintf("The firmware's x0 = %lx is no place for a device tree.\n", firmware);
    }

    if (mailbox_property(MBOX_TAG_ARM_MEMORY, memory, 2) == 0 && memory[1] != 0) {
        if (!known)
            ram_add(memory[0], (uint64_t)memory[0] + memory[1]);
        ram_limit((uint64_t)memory[0] + memory[1]); /* above it lies VideoCore's */
        known = true;
    }
    if (!known)
        panic("neither a device tree, nor ATAGs, nor the mailbox say where memory is");
    if (bootarg_number("mem", &number))
        ram_limit(number);
    ram_init();
}

bool
bootarg(const char *name, char *buf, size_t size)
{
    size_t length = strlen(name);

    for (const char *arg = cmdline; *arg;) {
        while (*arg == ' ')
            arg++;
        size_t n = 0;
        while (arg[n] && arg[n] != ' ')
            n++;
        if (n >= length && strncmp(arg, name, length) == 0 && (n == length || arg[length] == '=')) {
            size_t skip = n == length ? n : length + 1;
            strlcpy(buf, arg + skip, MIN(size, n - skip + 1));
            return true;
        }
        arg += n;
    }
    return false;
}

bool
bootarg_number(const char *name, uint64_t *value)
{
    char text[32];
    const char *rest;
    uint64_t number;
    unsigned shift = 0;

    if (!bootarg(name, text, sizeof(text)))
        return false;
    if (parse_u64(text, &rest, 0, &number) == 0) {
        if (*rest == 'K' || *rest == 'k')
            shift = 10;
        else if (*rest == 'M' || *rest == 'm')
            shift = 20;
        else if (*rest == 'G' || *rest == 'g')
            shift = 30;
        if (shift)
            rest++;
        if (*rest == '\0' && number <= UINT64_MAX >> shift) {
            *value = number << shift;
            return true;
        }
    }
    cprintf("Boot argument %s=%s is not a number; left out.\n", name, text);
    return false;
}

bool
graded(void)
{
    char check[2];

    return bootarg("check", check, sizeof(check));
}
