/*
 * Errors in page tables, one at a time: made, looked for by audit, and unmade. test_processes.py knows what is to be
 * found.
 */
#include "audit.h"
#include "irq.h"
#include "kalloc.h"
#include "kmalloc.h"
#include "kvm.h"
#include "pmm.h"
#include "proc.h"
#include "processes.h"
#include "string.h"
#include "tlb.h"
#include "uapi/signal.h"
#include "vm.h"
#include "vma.h"

#define STACK (USER_STACK_TOP - PGSIZE) /* a page that every process has, and may write */
#define TEXT  0x400000UL
#define FREE  0x30000000UL /* one that none has */

static struct proc *one, *two;

static uint64_t *
entry_of(const struct proc *p, uint64_t va)
{
    uint64_t *entry = pgdir_walk(p->as.root, (const void *)va, 0);

    require(entry);
    return entry;
}

/* The entry for va in this table of its. */
static uint64_t *
entry_at(const struct proc *p, uint64_t va, int level)
{
    uint64_t *table = p->as.root;

    for (int at = 0; at < level; at++)
        table = P2V(PTE_ADDR(table[PTX(at, va)]));
    return &table[PTX(level, va)];
}

/* With this value in the entry, audit says what it says; then it is as before. */
static void
look_with(const char *name, uint64_t *entry, uint64_t value)
{
    uint64_t before = *entry;

    cprintf("seed: %s\n", name);
    *entry = value;
    size_t n = audit(say_error);
    *entry = before;
    tlb_flush_all();
    cprintf("seed: %lu errors, and %lu without it\n", n, audit(say_error));
}

/* The stack's page is another frame. */
static void
look_with_frame(const char *name, uint64_t pa)
{
    uint64_t *entry = entry_of(one, STACK);

    look_with(name, entry, PTE_FLAGS(*entry) | pa);
}

static void
frames_of_others(void)
{
    char *page = kalloc(), *object = kmalloc(100);
    uint64_t block = pmm_alloc(1);

    require(page && object && block);
    look_with_frame("image", V2P(image_start));
    look_with_frame("image's data", V2P(edata));
    look_with_frame("device", 0x3f201000);
    look_with_frame("local device", 0x40000000);
    look_with_frame("no RAM", 0x50000000);
    look_with_frame("far away", 0xfffffffff000);
    look_with_frame("VideoCore", 0x3e000000);
    look_with_frame("page of frame 0", 0);
    look_with_frame("object", ROUNDDOWN(V2P(object), PGSIZE));
    look_with_frame("half of a block", block + PGSIZE);
    look_with_frame("pmm's table", ROUNDDOWN(V2P(frames.state), PGSIZE));
    look_with_frame("kernel stack", PTE_ADDR(*pgdir_walk(P2V(kvm_root()), one->kstack, 0)));
    look_with_frame("root table", V2P(one->as.root));
    look_with_frame("other's table", PTE_ADDR(*entry_at(two, STACK, 2)));
    look_with_frame("other's page", PTE_ADDR(*entry_of(two, STACK)));
    look_with_frame("page twice", PTE_ADDR(*entry_of(one, STACK - PGSIZE)));
    kfree(page);
    look_with_frame("free page", V2P(page));
    require(pmm_free_range(block, 1) == 0);
    look_with_frame("free block", block);
    require(pmm_free_range(block + PGSIZE, 1) == 0);
    kmfree(object);
}

static void
wrong_counts(void)
{
    uint64_t pa = PTE_ADDR(*entry_of(one, STACK));

    cprintf("seed: too many references\n");
    require(page_share(pa) == 2);
    size_t n = audit(say_error);
    require(page_unshare(pa) == 1);
    cprintf("seed: %lu errors, and %lu without it\n", n, audit(say_error));
}

static void
wrong_rights(void)
{
    uint64_t *stack = entry_of(one, STACK), *text = entry_of(one, TEXT);

    look_with("writable text", text, *text & ~PTE_RO);
    look_with("executable stack", stack, *stack & ~PTE_UXN);
    look_with("kernel may execute", text, *text & ~PTE_PXN);
    look_with("for all address spaces", stack, *stack & ~PTE_NG);
    look_with("read-only stack", stack, *stack | PTE_RO);
    look_with("not shareable", stack, *stack & ~PTE_SH);
    look_with("device's memory type", stack, *stack | PTE_DEVICE);
    look_with("not accessible", stack, *stack & ~PTE_USER);
}

static void
wrong_places(void)
{
    char *page = kalloc(), *tables[3];
    uint64_t *root = one->as.root, *first = &root[0];
    uint64_t leaf = V2P(page) | user_pte(PROT_READ | PROT_WRITE) | PTE_PAGE | PTE_AF | PTE_SH;

    /* For page 0 tables that nobody else has. */
    for (int i = 0; i < 3; i++) {
        tables[i] = kalloc();
        memset(tables[i], 0, PGSIZE);
    }
    for (int i = 0; i < 2; i++)
        *(uint64_t *)(void *)tables[i] = V2P(tables[i + 1]) | PTE_TABLE;
    *(uint64_t *)(void *)tables[2] = leaf;
    look_with("page 0", first, V2P(tables[0]) | PTE_TABLE);
    *(uint64_t *)(void *)tables[2] = 0;
    for (int i = 0; i < 3; i++)
        kfree(tables[i]);

    look_with("in no range", entry_at(one, TEXT + 0x100000, 3), leaf);
    kfree(page);

    struct vma *range = one->as.vmas;
    look_with("another range's rights", (uint64_t *)&range->prot, PROT_READ | PROT_WRITE);
    look_with("block", entry_at(one, FREE, 2), 0x200000 | user_pte(PROT_READ) | PTE_BLOCK | PTE_AF);
}

static void
wrong_tables(void)
{
    uint64_t *entry = entry_at(one, STACK, 2);
    char *page = kalloc(), *object = kmalloc(2000);

    require(page && object);
    kfree(page);
    look_with("other's table linked", entry, *entry_at(two, STACK, 2));
    look_with("its own table twice", entry_at(one, FREE, 2), *entry);
    look_with("table goes round", entry, V2P(one->as.root) | PTE_TABLE);
    look_with("free table", entry, V2P(page) | PTE_TABLE);
    look_with("object as a table", entry, ROUNDDOWN(V2P(object), PGSIZE) | PTE_TABLE);
    look_with("table in a device", entry, 0x3f200000 | PTE_TABLE);
    look_with("table nowhere", entry, 0xfffffffff000 | PTE_TABLE);
    look_with("table in the image", entry, V2P(image_start) | PTE_TABLE);
    kmfree(object);
}

static void
kernel_opened(void)
{
    uint64_t *entry = pgdir_walk(P2V(kvm_root()), one->kstack, 0);

    look_with("kernel stack open", entry, *entry | PTE_USER);
    look_with("kernel stack executable by programs", entry, *entry & ~PTE_UXN);
    look_with("kernel stack executable", entry, *entry & ~PTE_PXN);
}

static void
seed_errors(void)
{
    one = spawned("spin");
    two = spawned("spin");
    require(audit(say_error) == 0);
    frames_of_others();
    wrong_counts();
    wrong_rights();
    wrong_places();
    wrong_tables();
    kernel_opened();
    require(audit(say_error) == 0);
    kill_it(one, SIGKILL);
    kill_it(two, SIGKILL);
}

/* Found where the next one has its turn, if the kernel is built with DEBUG=1. */
void
error_at_switch(void)
{
    one = spawned("spin");
    uint64_t *entry = entry_of(one, STACK), before = *entry;
    *entry = PTE_FLAGS(*entry) | V2P(image_start);
    wait_us(100);
    cprintf("nothing has been found\n");
    *entry = before;
    kill_it(one, SIGKILL);
}

const struct try audit_tries[] = {{"audit", seed_errors}, {NULL, NULL}};
