/* execve. What a test becomes is this program again, called with --exec and what is then to be done. */
#include "tests.h"

#define NO_BINFMT             "QEMU hands execve on to the host, which cannot run this program"
#define EXEC_TEST(name, what) TEST_HERE(name, what, NO_BINFMT)

/* ---- After execve ---- */

static const char *const few_arguments[] = {"tests", "--exec",           "arguments", "",  "a b",
                                            " ",     "-x=1\n\t\x7f\xff", "last",      NULL};
static const char *const few_variables[] = {"A=1", "", "NO_VALUE",
                                            "LONG=0123456789012345678901234567890123456789", NULL};

/* execve, with constant strings. */
static long
exec(const char *path, const char *const argv[], const char *const envp[])
{
    return syscall(SYS_execve, path, argv, envp);
}

static uint64_t data = 1, bss[2 * WORDS];

static void
same_strings(char *const got[], const char *const wanted[])
{
    for (; *wanted; got++, wanted++)
        must(*got && *got != *wanted && strcmp(*got, *wanted) == 0);
    must(!*got);
}

static uint64_t
tpidr_and_fpcr(void)
{
    uint64_t thread, mode;

    __asm__ volatile("mrs %0, tpidr_el0\n mrs %1, fpcr" : "=r"(thread), "=r"(mode));
    return thread | mode;
}

static uint64_t
vectors(void)
{
    uint64_t v8, v31;

    __asm__ volatile("umov %0, v8.d[1]\n umov %1, v31.d[0]" : "=r"(v8), "=r"(v31));
    return v8 | v31;
}

static void
become(const char *what, uint64_t a, uint64_t b)
{
    char first[24], second[24];

    snprintf(first, sizeof(first), "%lu", a);
    snprintf(second, sizeof(second), "%lu", b);
    exec("tests", (const char *[]){"tests", "--exec", what, first, second, NULL},
         (const char *[]){"A=1", NULL});
    failed(what, 0);
}

void
executed(int argc, char *argv[])
{
    if (environ[0] && strcmp(environ[0], "NO=ARGUMENTS") == 0) {
        must(argc == 1 && argv[0] && argv[0][0] == '\0' && !argv[1]);
        exit(5);
    }
    if (argc < 3 || strcmp(argv[1], "--exec") != 0)
        return;
    const char *what = argv[2];
    if (strcmp(what, "arguments") == 0) {
        same_strings(argv, few_arguments);
        same_strings(environ, few_variables);
        exit(5);
    }
    if (strcmp(what, "most") == 0)
        exit(argc & 0xff);

    uint64_t a = argc > 3 ? number(argv[3]) : 0, b = argc > 4 ? number(argv[4]) : 0;
    if (strcmp(what, "exit") == 0)
        exit((int)a);
    if (strcmp(what, "again") == 0) {
        must(data == 1 && all_bytes(bss, sizeof(bss), 0) && (int)b == getpid());
        data = bss[5] = bss[WORDS + 5] = a;
        if (a == 0)
            exit(5);
        become("again", a - 1, b);
    }
    if (strcmp(what, "fresh") == 0) {
        must(data == 1 && all_bytes(bss, sizeof(bss), 0));
        must(!can_read((void *)a) && !can_read((void *)b));
        char *heap = brk(NULL);
        must(brk(heap + PAGE_SIZE) == heap + PAGE_SIZE && all_bytes(heap, PAGE_SIZE, 0));
        must(try_poke((uint64_t)few_arguments) == KILLED(SIGSEGV)
             && try_poke((uint64_t)main) == KILLED(SIGSEGV));
        exit(5);
    }
    if (strcmp(what, "who") == 0)
        exit(getpid() == (long)a && getppid() == (long)b ? 5 : 6);
    if (strcmp(what, "registers") == 0)
        exit(tpidr_and_fpcr() == 0 && vectors() == 0 ? 5 : 6);
    if (strcmp(what, "children") == 0) {
        must(wait4((int)b, NULL, WNOHANG, NULL) == 0);
        must(ended_well((int)a));
        open_gate((int)b);
        must(wait4(-1, NULL, 0, NULL) == -ECHILD);
        exit(5);
    }
    failed(what, 0);
}

/* ---- What works ---- */

/* A child does this: how does it end? */
static int
exec_status(const char *path, const char *const argv[], const char *const envp[])
{
    int pid;

    CHILD(pid) {
        exec(path, argv, envp);
        exit(98);
    }
    return status_of(pid);
}

static int
become_status(const char *what, uint64_t a, uint64_t b)
{
    int pid;

    CHILD(pid)
        become(what, a, b);
    return status_of(pid);
}

EXEC_TEST(exec_arguments, "arguments and environment arrive, whatever bytes they are")
{
    must(exec_status("tests", few_arguments, few_variables) == EXITED(5));
}

EXEC_TEST(exec_no_arguments, "who gives no arguments gives one, which is empty")
{
    const char *const nothing[] = {NULL}, *const variables[] = {"NO=ARGUMENTS", NULL};

    must(exec_status("tests", nothing, variables) == EXITED(5));
    must(exec_status("tests", NULL, variables) == EXITED(5));
    must(exec_status("hello", NULL, NULL) == EXITED(0));
}

EXEC_TEST(exec_paths, "a program's name may have folders in front, which mean nothing")
{
    const char *const argv[] = {"any", "--exec", "exit", "9", NULL};

    must(exec_status("tests", argv, NULL) == EXITED(9));
    must(exec_status("./tests", argv, NULL) == EXITED(9));
    must(exec_status("/bin/tests", argv, NULL) == EXITED(9));
}

EXEC_TEST(exec_status, "the exit status is that of the new program, and a fault's signal, too")
{
    const char *const segv[] = {"attack", "null_read", NULL}, *const three[] = {"exit", "3", NULL};

    for (uint64_t code = 0; code < 256; code += 15)
        must(become_status("exit", code, 0) == EXITED((int)code));
    must(exec_status("attack", segv, NULL) == KILLED(SIGSEGV));
    must(exec_status("exit", three, NULL) == EXITED(3));
}

EXEC_TEST(exec_fresh, "of the memory of before nothing is left")
{
    int pid;

    CHILD(pid) {
        char *mapped = pages(100, RW), *heap = brk(NULL);
        must(brk(heap + 100 * PAGE_SIZE) == heap + 100 * PAGE_SIZE);
        memset(mapped, 1, 100 * PAGE_SIZE);
        memset(heap, 1, 100 * PAGE_SIZE);
        data = 2;
        memset(bss, 3, sizeof(bss));
        become("fresh", (uint64_t)mapped, (uint64_t)heap + 50 * PAGE_SIZE);
    }
    must(status_of(pid) == EXITED(5));
    must(data == 1 && all_bytes(bss, sizeof(bss), 0));
}

EXEC_TEST(exec_who, "it is the same process: number and parent stay")
{
    int parent = (int)getpid(), pid;

    CHILD(pid)
        become("who", (uint64_t)getpid(), (uint64_t)parent);
    must(status_of(pid) == EXITED(5));
}

EXEC_TEST(exec_children, "children stay, those that have ended and those that run")
{
    int pid, ended;

    CHILD(pid) {
        int gate = sleeper();
        CHILD(ended)
            ;
        let_run(10);
        become("children", (uint64_t)ended, (uint64_t)gate);
    }
    must(status_of(pid) == EXITED(5));
}

EXEC_TEST(exec_again, "three hundred times in a row")
{
    int pid;

    CHILD(pid)
        become("again", 300, (uint64_t)getpid());
    must(status_of(pid) == EXITED(5));
}

EXEC_TEST(exec_together, "ten at the same time, fifty times each")
{
    int pid[10];

    for (int i = 0; i < 10; i++)
        CHILD(pid[i])
            become("again", 50, (uint64_t)getpid());
    for (int i = 0; i < 10; i++)
        must(status_of(pid[i]) == EXITED(5));
}

EXEC_TEST(exec_registers, "the new program begins with registers of zero")
{
    int pid;

    for (int i = 0; i < 5; i++) {
        CHILD(pid) {
            __asm__ volatile("msr tpidr_el0, %0\n msr fpcr, %1\n dup v8.2d, %0\n dup v31.2d, %0"
                             :
                             : "r"(-1UL), "r"(1UL << 22)
                             : "v8", "v31");
            become("registers", 0, 0);
        }
        must(status_of(pid) == EXITED(5));
    }
    must(exec_status("args", (const char *[]){"args", "x", NULL}, NULL) == EXITED(0));
}

/* Each call has an argument in its frame; the first one's is the exit status. */
static void
exec_deep(int depth, const char *status)
{
    volatile char text[800] = "42";

    if (depth > 0)
        exec_deep(depth - 1, status ? status : (const char *)(uintptr_t)text);
    else
        exec("tests", (const char *[]){"tests", "--exec", "exit", status, NULL}, NULL);
    must(text[0] == '4'); /* so that there is something to come back for */
}

EXEC_TEST(exec_deep, "from deep in the stack, and with arguments that lie there")
{
    int pid;

    CHILD(pid)
        exec_deep(2000, NULL);
    must(status_of(pid) == EXITED(42));
}

EXEC_TEST(exec_odd_places,
          "arguments in memory that is read-only, shared, untouched, or ends behind them")
{
    const char **list = pages(2, RW);
    char *read = pages(2, RW), *zero = pages(1, RW);
    char *at = read + PAGE_SIZE - 3; /* "17" ends with the page */
    int pid;

    memcpy(at, "17", 3);
    must(mprotect(read, PAGE_SIZE, PROT_READ) == 0 && munmap(read + PAGE_SIZE, PAGE_SIZE) == 0);
    list += WORDS - 5;
    memcpy(list, (const char *[]){"tests", "--exec", "exit", at, NULL}, 5 * sizeof(*list));
    must(munmap(list + 5, PAGE_SIZE) == 0);
    CHILD(pid)
        exec("tests", list, (const char **)(void *)zero); /* an empty environment */
    must(status_of(pid) == EXITED(17));
}

/* Arguments and environment of this many bytes, with their pointers. */
static int
exec_with(size_t bytes)
{
    static char text[32 << 10];
    const char *const argv[] = {"tests", "--exec", "most", text, NULL};
    size_t others = 4 * 8 + sizeof("tests") + sizeof("--exec") + sizeof("most");

    memset(text, 'x', sizeof(text));
    text[bytes - others - 1] = '\0';
    return exec_status("tests", argv, NULL);
}

EXEC_TEST(exec_most, "32 KiB of arguments are possible, a byte more is not")
{
    static const char *many[3000];

    must(exec_with(32 << 10) == EXITED(4));
    must(exec_with((32 << 10) + 1) == EXITED(98));
    for (size_t i = 0; i < ARRAY_SIZE(many) - 1; i++)
        many[i] = i < 3 ? few_arguments[i] : "";
    many[2] = "most";
    must(exec_status("tests", many, NULL) == EXITED(2999 & 0xff));
}

EXEC_TEST(exec_killed,
          "who becomes another program all the time is killed at fifty different moments")
{
    for (int i = 0; i < 50; i++) {
        int pid;
        CHILD(pid)
            become("again", 1000000, (uint64_t)getpid());
        for (int k = 0; k < i % 10; k++)
            sched_yield();
        for (volatile int k = 0; k < i * 200; k++)
            ;
        must(kill(pid, SIGKILL) == 0 && status_of(pid) == KILLED(SIGKILL));
    }
}

/* ---- What does not ---- */

static char long_name[300], longer_name[8192];

TEST(exec_no_such, "names of no program")
{
    memset(long_name, 'n', sizeof(long_name) - 1);
    memset(longer_name, 'n', sizeof(longer_name) - 1);
    must(exec("", NULL, NULL) == -ENOENT);
    must(exec("nothing", NULL, NULL) == -ENOENT);
    must(exec("/nothing/of/that/name", NULL, NULL) == -ENOENT);
    must(exec("nothing/", NULL, NULL) == -ENOENT);
    must(exec("\n\x01\xff%s%n", NULL, NULL) == -ENOENT);
    must(exec(long_name + 299 - 200, NULL, NULL) == -ENOENT);
    must(exec(long_name, NULL, NULL) == -ENAMETOOLONG); /* 255 are allowed */
    must(exec(longer_name, NULL, NULL) == -ENAMETOOLONG);
}

TEST(exec_bad_lists,
     "lists of arguments that cannot be read, from the first pointer or the last one on")
{
    const uint64_t bad[] = {1, KERNEL, HOLE, UNMAPPED, -8UL};
    const char *const fine[] = {"echo", NULL};
    const char **list = pages(2, RW);
    char *text = pages(2, RW);

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *one[] = {"echo", (char *)bad[i], NULL}, *first[] = {(char *)bad[i], NULL};
        must(exec((char *)bad[i], fine, fine) == -EFAULT);
        must(exec("/bin/echo", (const char **)bad[i], fine) == -EFAULT);
        must(exec("/bin/echo", fine, (const char **)bad[i]) == -EFAULT);
        must(exec("/bin/echo", one, fine) == -EFAULT && exec("/bin/echo", first, fine) == -EFAULT);
        must(exec("/bin/echo", fine, one) == -EFAULT && exec("/bin/echo", fine, first) == -EFAULT);
    }
    must(munmap(list + WORDS, PAGE_SIZE) == 0 && munmap(text + PAGE_SIZE, PAGE_SIZE) == 0);
    for (size_t i = 0; i < WORDS; i++)
        list[i] = "x";
    /* These do not end before their page does. */
    must(exec("/bin/echo", list + WORDS - 3, fine) == -EFAULT);
    must(exec("/bin/echo", fine, list + WORDS - 1) == -EFAULT);
    memset(text, 'x', PAGE_SIZE);
    list[WORDS - 2] = text + PAGE_SIZE - 5;
    list[WORDS - 1] = NULL;
    must(exec("/bin/echo", list + WORDS - 2, fine) == -EFAULT);
    must(exec(text + PAGE_SIZE - 5, fine, fine) == -EFAULT);
}

TEST(exec_too_much, "more than 2 MiB of arguments or environment")
{
    size_t size = 100 << 10;
    static const char *list[101];
    const char *const fine[] = {"echo", NULL};
    char *text = pages(size / PAGE_SIZE, RW);

    memset(text, 'x', size - 1);
    for (size_t i = 0; i < ARRAY_SIZE(list) - 1; i++)
        list[i] = text;
    must(exec("/bin/echo", list, fine) == -E2BIG);
    must(exec("/bin/echo", fine, list) == -E2BIG);
    must(all_bytes(text, size - 1, 'x'));
}

TEST(exec_fails, "who could not become another program goes on as it was, with memory and children")
{
    char *mapped = pages(5, RW), *heap = brk(NULL);
    int pid, gate = sleeper();

    must(brk(heap + 5 * PAGE_SIZE) == heap + 5 * PAGE_SIZE);
    CHILD(pid) {
        until_gone(gate);
        exit(6);
    }
    memset(mapped, 'm', 5 * PAGE_SIZE);
    memset(heap, 'h', 5 * PAGE_SIZE);
    data = 7;
    for (int i = 0; i < 50; i++) {
        must(exec("/nothing", NULL, NULL) == -ENOENT);
        must(exec("/bin/echo", (const char **)KERNEL, NULL) == -EFAULT);
        must(all_bytes(mapped, 5 * PAGE_SIZE, 'm') && all_bytes(heap, 5 * PAGE_SIZE, 'h')
             && data == 7);
        memset(mapped + PAGE_SIZE, 'm', PAGE_SIZE);
        must(brk(NULL) == heap + 5 * PAGE_SIZE);
    }
    open_gate(gate);
    must(status_of(pid) == EXITED(6));
}
