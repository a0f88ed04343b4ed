/* What may be done to a page, after fork as before it. */
#include "tests.h"

static const uint64_t constant[2 * WORDS] = {1, 2, 3};
static uint64_t variable[2 * WORDS] = {4, 5, 6};

TEST(rights_constant, "constants and text stay read-only, for parent and child")
{
    int pid;

    CHILD(pid) {
        must(try_poke((uint64_t)constant) == KILLED(SIGSEGV));
        must(try_poke((uint64_t)main) == KILLED(SIGSEGV));
        must(hidden(constant[1]) == 2);
    }
    must(ended_well(pid));
    must(try_poke((uint64_t)constant) == KILLED(SIGSEGV)
         && try_poke((uint64_t)main) == KILLED(SIGSEGV));
}

TEST(rights_data, "data, heap and stack cannot be executed, shared or copied or neither")
{
    uint32_t on_stack[4] = {RET, RET, RET, RET};
    uint32_t *heap = brk(NULL);
    int pid;

    must(brk(heap + WORDS) == heap + WORDS);
    *heap = *(uint32_t *)variable = RET;
    must(try_jump((uint64_t)heap) == KILLED(SIGSEGV)
         && try_jump((uint64_t)variable) == KILLED(SIGSEGV));
    must(try_jump((uint64_t)on_stack) == KILLED(SIGSEGV));
    CHILD(pid) {
        *heap = *(uint32_t *)variable = on_stack[0] = RET; /* now they are its own */
        must(try_jump((uint64_t)heap) == KILLED(SIGSEGV));
        must(try_jump((uint64_t)variable) == KILLED(SIGSEGV));
        must(try_jump((uint64_t)on_stack) == KILLED(SIGSEGV));
        jump((uint64_t)variable);
    }
    must(status_of(pid) == KILLED(SIGSEGV));
}

TEST(rights_kept, "a mapping that is read-only, or not to be touched, is the same for a child")
{
    char *read = pages(2, RW), *none = pages(2, RW);
    int pid;

    memset(read, 'r', 2 * PAGE_SIZE);
    memset(none, 'n', 2 * PAGE_SIZE);
    must(mprotect(read, 2 * PAGE_SIZE, PROT_READ) == 0
         && mprotect(none, 2 * PAGE_SIZE, PROT_NONE) == 0);
    CHILD(pid) {
        must(all_bytes(read, 2 * PAGE_SIZE, 'r') && try_poke((uint64_t)read) == KILLED(SIGSEGV));
        must(try_peek((uint64_t)none) == KILLED(SIGSEGV)
             && try_poke((uint64_t)none) == KILLED(SIGSEGV));
        must(try_jump((uint64_t)read) == KILLED(SIGSEGV)
             && try_jump((uint64_t)none) == KILLED(SIGSEGV));
        must(mprotect(none, PAGE_SIZE, PROT_READ) == 0 && all_bytes(none, PAGE_SIZE, 'n'));
        must(try_poke((uint64_t)none) == KILLED(SIGSEGV));
    }
    must(ended_well(pid));
    must(try_poke((uint64_t)read) == KILLED(SIGSEGV)
         && try_peek((uint64_t)none) == KILLED(SIGSEGV));
    must(try_peek((uint64_t)none + PAGE_SIZE) == KILLED(SIGSEGV));
}

TEST(rights_untouched, "the same where nothing had been touched")
{
    char *read = pages(2, PROT_READ), *none = pages(2, PROT_NONE);
    int pid;

    CHILD(pid) {
        must(all_bytes(read, PAGE_SIZE, 0) && try_poke((uint64_t)read) == KILLED(SIGSEGV));
        must(try_poke((uint64_t)read + PAGE_SIZE) == KILLED(SIGSEGV));
        must(try_peek((uint64_t)none) == KILLED(SIGSEGV)
             && try_poke((uint64_t)none) == KILLED(SIGSEGV));
        must(try_jump((uint64_t)read) == KILLED(SIGSEGV));
    }
    must(ended_well(pid));
    must(mprotect(read, PAGE_SIZE, RW) == 0);
    read[5] = 1;
    must(read[5] == 1 && read[6] == 0 && try_poke((uint64_t)read + PAGE_SIZE) == KILLED(SIGSEGV));
}

TEST(rights_imply,
     "what can be written or executed can be read, touched before or not, shared or not")
{
    uint64_t *write = pages(4, PROT_WRITE), *execute = pages(2, PROT_EXEC);
    int pid;

    CHILD(pid)
        must(write[WORDS] == 0 && execute[0] == 0);
    must(ended_well(pid));
    must(write[0] == 0 && write[WORDS] == 0 && execute[5] == 0);
    write[0] = write[2 * WORDS] = 1;
    CHILD(pid) {
        must(write[0] == 1 && write[2 * WORDS] == 1 && write[3 * WORDS] == 0);
        write[0] = 2;
        must(write[0] == 2 && try_poke((uint64_t)execute) == KILLED(SIGSEGV));
    }
    must(ended_well(pid) && write[0] == 1);
    must(mprotect(execute, PAGE_SIZE, PROT_NONE) == 0
         && try_peek((uint64_t)execute) == KILLED(SIGSEGV));
}

TEST(rights_before_fork, "read-only before fork, writable again in the child alone")
{
    char *p = pages(3, RW);
    int pid;

    memset(p, 'x', 3 * PAGE_SIZE);
    must(mprotect(p, 3 * PAGE_SIZE, PROT_READ) == 0);
    CHILD(pid) {
        must(mprotect(p + PAGE_SIZE, PAGE_SIZE, RW) == 0);
        memset(p + PAGE_SIZE, 'y', PAGE_SIZE);
        must(all_bytes(p, PAGE_SIZE, 'x') && all_bytes(p + PAGE_SIZE, PAGE_SIZE, 'y'));
        must(try_poke((uint64_t)p) == KILLED(SIGSEGV)
             && try_poke((uint64_t)p + 2 * PAGE_SIZE) == KILLED(SIGSEGV));
    }
    must(ended_well(pid));
    must(all_bytes(p, 3 * PAGE_SIZE, 'x'));
    must(try_poke((uint64_t)p + PAGE_SIZE) == KILLED(SIGSEGV));
    must(mprotect(p, 3 * PAGE_SIZE, RW) == 0);
    memset(p, 'z', 3 * PAGE_SIZE);
}

TEST(rights_after_fork, "one takes rights away, or gives them, and the other does not notice")
{
    char *p = pages(3, RW);
    int pid, gate = sleeper();

    memset(p, 'x', 3 * PAGE_SIZE);
    CHILD(pid) {
        until_gone(gate);
        memset(p, 'c', 3 * PAGE_SIZE);
        must(all_bytes(p, 3 * PAGE_SIZE, 'c'));
        must(mprotect(p, 3 * PAGE_SIZE, PROT_NONE) == 0);
        must(try_peek((uint64_t)p) == KILLED(SIGSEGV));
    }
    must(mprotect(p, PAGE_SIZE, PROT_NONE) == 0
         && mprotect(p + PAGE_SIZE, PAGE_SIZE, PROT_READ) == 0);
    open_gate(gate);
    must(ended_well(pid));
    must(try_peek((uint64_t)p) == KILLED(SIGSEGV));
    must(all_bytes(p + PAGE_SIZE, 2 * PAGE_SIZE, 'x')
         && try_poke((uint64_t)p + PAGE_SIZE) == KILLED(SIGSEGV));
    p[2 * PAGE_SIZE] = 'p';
    must(mprotect(p, 2 * PAGE_SIZE, RW) == 0);
    must(all_bytes(p, 2 * PAGE_SIZE, 'x'));
    p[0] = p[PAGE_SIZE] = 'p';
}

TEST(rights_both_write, "shared while read-only, then both make it writable: still each its own")
{
    uint64_t *p = pages(4, RW);
    int pid, gate = sleeper();

    mark(p, 4, 1);
    must(mprotect(p, 4 * PAGE_SIZE, PROT_READ) == 0);
    CHILD(pid) {
        must(mprotect(p, 4 * PAGE_SIZE, RW) == 0);
        until_gone(gate);
        must(marked(p, 4, 1));
        mark(p, 4, 2);
        must(marked(p, 4, 2));
    }
    must(mprotect(p, 4 * PAGE_SIZE, RW) == 0);
    mark(p, 4, 3);
    open_gate(gate);
    must(ended_well(pid));
    must(marked(p, 4, 3));
}

TEST(rights_in_between, "changed back and forth between shared writes")
{
    uint64_t *p = pages(4, RW);

    for (uint64_t i = 0; i < 12; i++) {
        int pid;
        mark(p, 4, i);
        if (i % 2)
            must(mprotect(p, 2 * PAGE_SIZE, PROT_READ) == 0);
        CHILD(pid) {
            must(mprotect(p + WORDS, 2 * PAGE_SIZE, i % 3 ? PROT_READ : PROT_NONE) == 0);
            must(mprotect(p, 4 * PAGE_SIZE, RW) == 0);
            must(marked(p, 4, i));
            mark(p, 4, i + 50);
            must(marked(p, 4, i + 50));
        }
        must(ended_well(pid) && marked(p, 4, i));
        must(mprotect(p, 4 * PAGE_SIZE, RW) == 0);
    }
}

/* ---- Code ---- */

#define MOV_W0(n) (0x52800000u | (uint32_t)(n) << 5) /* mov w0, #n */

static int
call_code(const uint32_t *code)
{
    return ((int (*)(void))hidden((uint64_t)code))();
}

TEST(rights_code, "code that a process has written runs in its child, which then writes other code")
{
    uint32_t *code = pages(1, RW);
    int pid;

    code[0] = MOV_W0(1);
    code[1] = RET;
    must(mprotect(code, PAGE_SIZE, RX) == 0 && call_code(code) == 1);
    CHILD(pid) {
        must(call_code(code) == 1 && try_poke((uint64_t)code) == KILLED(SIGSEGV));
        for (int i = 2; i < 5; i++) {
            must(mprotect(code, PAGE_SIZE, RW) == 0);
            code[0] = MOV_W0(i);
            must(mprotect(code, PAGE_SIZE, RX) == 0 && call_code(code) == i);
        }
    }
    must(ended_well(pid));
    must(call_code(code) == 1);
}

/*
 * patch(page, at, value): make a page of text writable, write to it, make it executable again. It must not lie in that
 * page itself; so it is copied to another one. patch_end: its end.
 */
__asm__(".text\n"
        "patch: mov x9, x0\n mov x10, x1\n mov w11, w2\n"
        "mov x1, #4096\n mov x2, #3\n mov x8, #226\n svc #0\n" /* mprotect */
        "cbnz x0, 1f\n"
        "str w11, [x10]\n"
        "mov x0, x9\n mov x1, #4096\n mov x2, #5\n mov x8, #226\n svc #0\n"
        "1: ret\n"
        "patch_end:\n"
        "patched: mov w0, #11\n ret\n");
extern const uint32_t patch[], patch_end[], patched[];

TEST(rights_text,
     "a child changes the program's own text, and runs that; all others run what they had")
{
    uint32_t *copy = pages(1, RW);
    int pid;

    must(call_code(patched) == 11); /* whoever ran this test before has changed nothing */
    memcpy(copy, patch, (size_t)((const char *)patch_end - (const char *)patch));
    must(mprotect(copy, PAGE_SIZE, RX) == 0);
    CHILD(pid) {
        long (*change)(uint64_t, uint64_t, uint32_t) =
            (long (*)(uint64_t, uint64_t, uint32_t))hidden((uint64_t)copy);
        must(change((uint64_t)patched & ~0xfffUL, (uint64_t)patched, MOV_W0(22)) == 0);
        must(call_code(patched) == 22);
        must(try_poke((uint64_t)patched) == KILLED(SIGSEGV));
    }
    must(ended_well(pid));
    must(call_code(patched) == 11);
}

TEST(rights_constant_changed, "the same for a constant: the next run sees the first value")
{
    uint64_t page = ((uint64_t)constant + PAGE_SIZE - 1) & ~0xfffUL;
    int pid;

    must(peek(page) == 0);
    CHILD(pid) {
        must(mprotect((void *)page, PAGE_SIZE, RW) == 0);
        poke(page, 5);
        must(peek(page) == 5);
    }
    must(ended_well(pid));
    must(peek(page) == 0 && try_poke(page) == KILLED(SIGSEGV));
}
