"""A small course to play releases with: a source of four labs, in a git repository of its own.

Fast to cut and to clone, and with one of everything that matters: exercises at both ends of a file
and between staff functions, exercises that a later lab has the student extend, blocks of later labs
in shared files, a Makefile, a script, a binary.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / "labs" / "release"
WORK_FILES = ("labs.py", "say.py", "gitrepo.py", "course.py", "carry.py", "handin.py", "work")

MAIN_C = """\
/* The boot order. */
#include "types.h"

void
main(void)
{
    console_init();
    cprintf("booting\\n");
#if LAB >= 2
    alloc_init();
#endif
#if LAB >= 3
    pmm_init();
#endif
#if LAB >= 4
    heap_init();
#endif
    check_all();
    scratch();
    power_off();
}
"""

UART_C = """\
/* The console's hardware. */
#include "types.h"

enum { UART_READY = 0x20, UART_MASK = 0xff };

/* Turns the UART on. */
void
uart_init(void)
{
    write(AUX_ENABLES, 1);
    write(AUX_MU_CNTL, 3);
    write(AUX_MU_LCR, 3);
    write(AUX_MU_BAUD, 270);
}

/*
 * Sends one character.
 */
void
uart_putc(int c)
{
#if SOL >= 1
    while ((read(AUX_MU_LSR) & UART_READY) == 0)
        ;
    write(AUX_MU_IO, (uint32_t)c & UART_MASK);
#else
    /* Lab 1: your code here. */
    (void)c;
#endif
}

/* Receives one character, or returns -1. */
int
uart_getc(void)
{
    if ((read(AUX_MU_LSR) & 1) == 0)
        return -1;
    return (int)(read(AUX_MU_IO) & UART_MASK);
}
"""

ENTRY_S = """\
/* The first instructions. */
.global _start
_start:
    mrs x0, CurrentEL
    bl el2_to_el1
    b boot_start

/* From EL2 to EL1. */
el2_to_el1:
#if SOL >= 1
    mov x1, #0x80000000
    msr hcr_el2, x1
    eret
#else
    /* Lab 1: your code here. */
    ret
#endif
"""

KALLOC_C = """\
/* Pages on a list. */
#include "types.h"

static struct run *free_list;

/* Frees every page of a range. */
void
free_range(void *from, void *to)
{
    for (char *p = ROUNDUP(from); p + PGSIZE <= (char *)to; p += PGSIZE)
        kfree(p);
}

/* Takes a page. */
char *
kalloc(void)
{
#if SOL >= 3
    struct run *r = free_list;

    while (r == NULL && refill_from_pmm() > 0)
        r = free_list;
    if (r != NULL)
        free_list = r->next;
    return (char *)r;
#elif SOL >= 2
    struct run *r = free_list;

    if (r != NULL)
        free_list = r->next;
    return (char *)r;
#else
    /* Lab 2: your code here. */
    return NULL;
#endif
}

/* How many pages there are. */
size_t
kcount(void)
{
    size_t n = 0;

    for (struct run *r = free_list; r != NULL; r = r->next)
        n++;
    return n;
}

#if SOL >= 3
static int
is_shared(char *v)
{
    return page_refs(V2P(v)) > 1;
}
#endif

/* Gives a page back. */
void
kfree(char *v)
{
#if SOL >= 3
    struct run *r = (struct run *)v;

    if (is_shared(v))
        return drop_one_user(v);
    memset(v, JUNK, PGSIZE);
    r->next = free_list;
    free_list = r;
#elif SOL >= 2
    struct run *r = (struct run *)v;

    memset(v, JUNK, PGSIZE);
    r->next = free_list;
    free_list = r;
#else
    /* Lab 2: your code here. */
    (void)v;
#endif
}
"""

PMM_C = """\
/* Frames. */
#include "types.h"

uint64_t
pmm_alloc(unsigned order)
{
#if SOL >= 3
    return take_block(order) + frame_base;
#else
    /* Lab 3: your code here. */
    (void)order;
    return 0;
#endif
}
"""

HEAP_C = """\
/* Memory of any size. */
#include "types.h"
#include "heap.h"

struct heap heap;

#if SOL >= 4
static size_t
rounded(size_t size)
{
    return ROUNDUP(size + BLOCK_HEADER, 16);
}
#endif

void *
kmalloc(size_t size)
{
#if SOL >= 4
    return first_fit(rounded(size));
#else
    /* Lab 4: your code here. */
    (void)size;
    return NULL;
#endif
}

/*
 * The heap at boot.
 *
 * There is no pmm yet,
 * so it begins empty.
 */
void
heap_init(void)
{
    heap.free_list = NULL;
    heap.regions = NULL;
    heap.first = NULL;
    heap.size = 0;
    heap.used = 0;
}

/* Gives memory back. */
void
kmfree(void *p)
{
#if SOL >= 4
    insert_and_merge(block_of(p));
#else
    /* Lab 4: your code here. */
    (void)p;
#endif
}
"""

MAKEFILE = """\
# The build.
-include staff.mk
-include local.mk

CFLAGS := -O2 -Wall -ffreestanding
all:
\t@mkdir -p obj
\t@cat kern/*.[cS] > obj/kernel8.img
grade:
\t@echo "graded: $$(cat kern/kalloc.c 2>/dev/null | wc -l)"
help:
\t@echo "don't panic"
update next-lab handin:
\t@python3 labs/work $@
.PHONY: all grade help update next-lab handin
"""

TYPES_H = """\
/* Types and numbers. */
#define PGSIZE 4096
#if LAB >= 2
struct run {
    struct run *next;
};
#endif
#define JUNK 1
#if LAB >= 4
#define BLOCK_HEADER 16
#endif
#define NULL ((void *)0)
"""

HANDOUT = """\
# Lab {n}: {title}

What you'll build in lab {n}.

1. Read.
2. Write.
3. Grade.
"""

LAB_TOML = """\
title = "{title}"
files = [{files}]
student = [{student}]
optional = [{optional}]
exercises = [{exercises}]
[[check]]
name = "all"
points = 100
clause = "it works"
exercises = [{names}]
"""


def lab_toml(
    title: str, files: list[str], exercises: list[tuple[str, str]], optional: list[str], extended: list[str]
) -> str:
    def quoted(values: list[str]) -> str:
        return ", ".join(f'"{value}"' for value in values)

    return LAB_TOML.format(
        title=title,
        files=quoted(files),
        student=quoted(sorted({*extended, *(file for _, file in exercises)})),
        optional=quoted(optional),
        exercises=", ".join(f'{{ name = "{name}", file = "{file}" }}' for name, file in exercises),
        names=quoted([name for name, _ in exercises]),
    )


# Title, files, exercises, optional files, and earlier labs' files that the student extends.
LABS: dict[int, tuple[str, list[str], list[tuple[str, str]], list[str], list[str]]] = {
    1: ("Boot", [], [("el2_to_el1", "kern/entry.S"), ("uart_putc", "kern/uart.c")], ["kern/scratch.c"], []),
    2: ("Pages", ["kern/kalloc.c"], [("kalloc", "kern/kalloc.c"), ("kfree", "kern/kalloc.c")], [], []),
    3: ("Frames", ["kern/pmm.c", "inc/pmm.h"], [("pmm_alloc", "kern/pmm.c")], [], ["kern/kalloc.c"]),
    4: ("Heap", ["kern/heap.c", "inc/heap.h"], [("kmalloc", "kern/heap.c"), ("kmfree", "kern/heap.c")], [], []),
}


def source_files() -> dict[str, str | bytes]:
    """The finished little kernel."""
    files: dict[str, str | bytes] = {
        ".gitattributes": "* text=auto eol=lf\n*.bin binary\n",
        ".gitignore": "/obj/\n/local.mk\n__pycache__/\n",
        "README.md": "# For staff\nLAB and SOL are explained here.\n",
        "Makefile": MAKEFILE,
        "staff.mk": "LAB ?= 4\nSOL ?= $(LAB)\n",
        "setup": "#!/bin/sh\necho ready\n",
        "kern/main.c": MAIN_C,
        "kern/uart.c": UART_C,
        "kern/entry.S": ENTRY_S,
        "kern/kalloc.c": KALLOC_C,
        "kern/pmm.c": PMM_C,
        "kern/heap.c": HEAP_C,
        "kern/scratch.c": '/* Yours. */\n#include "types.h"\n\nvoid\nscratch(void)\n{\n}\n',
        "inc/types.h": TYPES_H,
        "inc/pmm.h": "uint64_t pmm_alloc(unsigned order);\n",
        "inc/heap.h": "extern struct heap heap;\n",
        "lib/logo.bin": b"\0\1\2LAB SOL\r\n\0",
        "labs/student.md": "# Bramble\n\nFor students.\n#if LAB >= 2\n\nYou're on your way.\n#endif\n",
        "test/test_it.py": "SOL = 1\n",
        "docs/guide.md": "LAB\n",
        ".ci/run": "#!/bin/sh\nmake test\n",
        "labs/lab2/mutants/leak.patch": "+    free_list = NULL;  /* forgets the list */\n",
    }
    for number, (title, brought, exercises, optional, extended) in LABS.items():
        files[f"labs/lab{number}/lab.toml"] = lab_toml(title, brought, exercises, optional, extended)
        files[f"labs/lab{number}/README.md"] = HANDOUT.format(n=number, title=title)
        files[f"labs/lab{number}/check.c"] = f"/* Checks of lab {number}. */\n"
    for name in WORK_FILES:
        if (ROOT / "labs" / name).exists():
            files[f"labs/{name}"] = (ROOT / "labs" / name).read_bytes()
    return files


ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_TERMINAL_PROMPT": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Failed(AssertionError):
    """A command ended with another status than expected."""


class Folder:
    """A folder with a git repository in it, and commands run there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(
        self, *command: str | Path, status: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.path,
            env=ENVIRONMENT | dict(env or {}),
            text=True,
            capture_output=True,
            timeout=600,
        )
        if status is not None and done.returncode != status:
            words = " ".join(str(word) for word in command)
            raise Failed(f"{words}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
        return done

    def git(self, *words: str, status: int | None = 0) -> str:
        return self.run("git", *words, status=status).stdout.strip()

    def read(self, path: str) -> str:
        return (self.path / path).read_bytes().decode()

    def write(self, path: str, text: str | bytes) -> None:
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())

    def replace(self, path: str, old: str, new: str) -> None:
        text = self.read(path)
        assert text.count(old) == 1, f"{path}: {text.count(old)} times {old!r}"
        self.write(path, text.replace(old, new))

    def commit(self, message: str = "work") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def tips(self) -> dict[str, str]:
        """The branches and where they are."""
        rows = self.git("for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/heads").splitlines()
        return dict(row.split(" ") for row in rows)

    def show(self, commit: str, path: str) -> str:
        return self.run("git", "show", f"{commit}:{path}").stdout

    def names(self, commit: str) -> set[str]:
        return set(self.git("ls-tree", "-r", "--name-only", commit).splitlines())


class Source(Folder):
    """Staff's repository."""

    def release(self, *words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, RELEASE, "--source", self.path, *words, status=status)


def make_source(path: Path, files: Mapping[str, str | bytes] | None = None) -> Source:
    """A new source repository with one commit."""
    path.mkdir(parents=True)
    source = Source(path)
    source.git("init", "-q", "-b", "main")
    for name, text in (files or source_files()).items():
        source.write(name, text)
    for name in ("setup", ".ci/run", "labs/work"):
        if (path / name).exists():
            (path / name).chmod(0o755)
    source.commit("The finished kernel")
    return source
