/*
 * System calls that make processes, wait for them, and give them another program.
 */
#include "errno.h"
#include "exec.h"
#include "fork.h"
#include "kmalloc.h"
#include "string.h"
#include "sys.h"
#include "uaccess.h"
#include "uapi/signal.h"
#include "wait.h"

/*
 * clone(flags, stack, parent_tid, tls, child_tid): fork. The other arguments mean something only with flags that
 * make threads, of which there are none.
 */
int64_t
sys_clone(const uint64_t arg[6])
{
    if (arg[0] != SIGCHLD)
        return -EINVAL;
    return proc_fork(proc_frame(current()), arg[1]);
}

#define WAIT_OPTIONS (WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE)

/* wait4(pid, status, options, rusage) */
int64_t
sys_wait4(const uint64_t arg[6])
{
    int pid = (int)arg[0], status = 0;
    struct rusage usage = {0};

    if ((uint32_t)arg[2] & ~WAIT_OPTIONS)
        return -EINVAL;
    if (pid == INT32_MIN) /* it has no positive counterpart, which would be a group */
        return -ESRCH;
    if (((uint32_t)arg[2] & (__WALL | __WCLONE))
        == __WCLONE) /* only children that fork has not made */
        return -ECHILD;
    int64_t ended = wait_child(pid, (int)arg[2], &status);
    if (ended <= 0)
        return ended;
    if (arg[1] != 0 && copy_to_user(arg[1], &status, sizeof(status)) < 0)
        return -EFAULT;
    if (arg[3] != 0 && copy_to_user(arg[3], &usage, sizeof(usage)) < 0)
        return -EFAULT;
    return ended;
}

/* The strings of an execve, copied from the program: they are gone with it. */
struct strings {
    size_t used;         /* bytes of text */
    size_t n;            /* pointers */
    const char **vector; /* argv's, NULL, envp's, NULL */
    char *text;          /* ARG_MAX bytes */
};

/* One list of pointers, and what they point to. Its first pointer's place in *first. */
static int64_t
take_list(struct strings *s, uint64_t from, const char *const **first)
{
    *first = s->vector + s->n;
    for (;; from += sizeof(uint64_t)) {
        uint64_t string = 0;
        if (from != 0 && copy_from_user(&string, from, sizeof(string)) < 0)
            return -EFAULT;
        if (s->n == ARG_MAX / sizeof(char *))
            return -E2BIG;
        if (string == 0) {
            s->vector[s->n++] = NULL;
            return 0;
        }
        char *at = s->text + s->used;
        int64_t length = string_from_user(at, string, ARG_MAX - s->used);
        if (length < 0)
            return length == -EFAULT ? -EFAULT : -E2BIG;
        s->used += (size_t)length + 1;
        s->vector[s->n++] = at;
    }
}

static int64_t
take_strings(struct strings *s, const uint64_t arg[6], const char *const **argv,
             const char *const **envp)
{
    int64_t error = take_list(s, arg[1], argv);

    if (!error && !(*argv)[0]) { /* who gives no argv[0] gets an empty one, as on Linux */
        s->n = 0;
        s->text[s->used] = '\0';
        s->vector[s->n++] = s->text + s->used++;
        s->vector[s->n++] = NULL;
    }
    return error ? error : take_list(s, arg[2], envp);
}

#define NAME_MAX 255 /* as on Linux, though there only each part of a path is so short */

/* execve(path, argv, envp). Programs are found by name; a path's folders mean nothing. */
int64_t
sys_execve(const uint64_t arg[6])
{
    char path[NAME_MAX + 1];
    int64_t error = string_from_user(path, arg[0], sizeof(path));
    const char *const *argv, *const *envp;

    if (error < 0)
        return error;
    const char *name = path;
    for (const char *slash; (slash = strchr(name, '/')) != NULL;)
        name = slash + 1;
    const struct program *program = program_find(name);
    if (!program)
        return -ENOENT;

    struct strings s = {.vector = kmalloc(ARG_MAX), .text = kmalloc(ARG_MAX)};
    error = -ENOMEM;
    if (s.vector && s.text) {
        error = take_strings(&s, arg, &argv, &envp);
        if (!error)
            error = proc_exec(program, argv, envp);
    }
    kmfree(s.vector);
    kmfree(s.text);
    return error;
}
