"""Processes and threads of the stopped kernel, from lab 5 on: struct proc (inc/proc.h), the table of them, who has
which children, what each has in memory, and the files of the programs that run (inc/pager.h, from lab 6 on).  Nothing
here believes them: what contradicts itself raises Disagree, in words."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from grade.buddy import memory, variable, word
from grade.view import V2P, Disagree, View

NEW, RUNNABLE, RUNNING, SLEEPING, ZOMBIE = range(5)
STATES = ("new", "runnable", "running", "asleep", "a zombie")
FILE, HEAP, ANON, STACK = range(4)              # inc/vma.h
KINDS = ("file", "heap", "anon", "stack")
READ, WRITE, EXEC = 1, 2, 4                     # inc/uapi/mman.h

# context (its end: fp, lr, sp, tpidr), state, pid, ppid, name, next, waits, wake_at, kstack, as (root, asid, vmas,
# brk_start, brk, pages, image), fpu, killed, status, children, sibling, child_ended
PROC = struct.Struct("<80x Q Q Q 8x i i i 16s 4x Q Q Q Q Q Q Q 8x 8x Q Q 528x i i Q Q 16x")
PROC_OF_LAB_5 = struct.Struct("<80x Q Q Q 8x i i i 16s 4x Q Q Q Q Q Q Q 8x 8x Q 528x i i Q Q 16x")    # without image
FIELDS = ("fp", "lr", "sp", "state", "pid", "ppid", "name", "next", "waits", "wake_at", "kstack", "root", "asid",
          "vmas", "pages", "image", "killed", "status", "children", "sibling")
STATE, PID, PPID, NEXT, WAITS, KILLED, STATUS, CHILDREN, SIBLING = 112, 116, 120, 144, 152, 760, 764, 768, 776
X19, X20 = 0, 8                                 # in struct context, which is first

VMA = struct.Struct("<2Q2iQ")                   # start, end, prot, kind, next
IMAGE = struct.Struct("<Q Q 360x I 4x Q Q")     # file, size, users, next, npages; the pages follow
PROGRAM = struct.Struct("<3Q")                  # inc/exec.h: name, start, end
MANY = 10_000                                   # ranges of one, images, pages of one: more than there are


@dataclass
class Proc:
    """A struct proc as it was when it was read."""
    at: int
    fp: int                 # where it goes on, while it does not run
    lr: int
    sp: int
    state: int
    pid: int
    ppid: int
    name: str
    next: int
    waits: int
    wake_at: int
    kstack: int
    root: int               # physical; 0: a kernel thread
    asid: int
    vmas: int
    pages: int
    image: int
    killed: int
    status: int
    children: int
    sibling: int

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True)
class Range:
    """A struct vma: what of an address space has the same rights."""
    start: int
    end: int
    prot: int
    kind: int

    @property
    def rights(self) -> int:
        """Who may write or execute may read, too."""
        return self.prot | READ if self.prot else 0


@dataclass(frozen=True)
class Image:
    """A file that processes run, and where its pages are; 0: one that nobody has asked for."""
    at: int
    name: str
    users: int
    pages: tuple[int, ...]


def is_lazy(g: View) -> bool:
    """Do pages come when they are touched, and can they have several users (lab 6)?"""
    return g.has("zero_page")


def read_proc(g: View, at: int) -> Proc:
    layout = PROC if is_lazy(g) else PROC_OF_LAB_5
    values = list(layout.unpack(memory(g, at, layout.size, "a struct proc")))
    if layout is PROC_OF_LAB_5:
        values.insert(FIELDS.index("image"), 0)
    fields = dict(zip(FIELDS, values))
    fields["name"] = fields["name"].split(b"\0")[0].decode("utf-8", "replace")
    fields["root"] = V2P(fields["root"]) if fields["root"] else 0
    return Proc(at=at, **fields)


def nproc(g: View) -> int:
    """How many places the table has."""
    g.symbol("procs")
    return g.elf.symbols["procs"].size // 8


def processes(g: View, wrong: Callable[[str], None] | None = None) -> dict[int, Proc]:
    """All that are in the table, by pid.  wrong: is told what makes no sense, and the rest is looked at; without it,
    that raises Disagree."""
    found: dict[int, Proc] = {}
    places = nproc(g)
    for i, (at,) in enumerate(struct.iter_unpack("<Q", variable(g, "procs", 8 * places))):
        if at == 0:
            continue
        try:
            p = read_proc(g, at)
            if p.pid % places != i:
                raise Disagree(f"place {i} of the table of processes has one whose pid is {p.pid}")
        except Disagree as e:
            if wrong is None:
                raise
            wrong(str(e))
            continue
        found[p.pid] = p
    return found


def ranges(g: View, p: Proc) -> list[Range]:
    """What it has in memory, by address."""
    found: list[Range] = []
    at, end = p.vmas, 0
    while at:
        *fields, at = VMA.unpack(memory(g, at, VMA.size, f"a range of {p}"))
        r = Range(*fields)
        if not end <= r.start < r.end or r.kind >= len(KINDS) or r.kind < 0:
            raise Disagree(f"the ranges of {p} make no sense from number {len(found)} on: {r.start:#x} to {r.end:#x}, "
                           f"kind {r.kind}, after {end:#x}")
        found.append(r)
        end = r.end
        if len(found) > MANY:
            raise Disagree(f"the ranges of {p} do not end")
    return found


def programs(g: View) -> dict[int, str]:
    """The names of the files that are in the kernel, by their addresses."""
    n = int.from_bytes(variable(g, "nprograms", 8), "little")
    if n > MANY:
        raise Disagree(f"there are {n} programs")
    found = PROGRAM.iter_unpack(variable(g, "programs", n * PROGRAM.size))
    return {start: word(g, name, "the name of a program") for name, start, _ in found}


def images(g: View) -> list[Image]:
    """All files that somebody runs."""
    names = programs(g)
    found: list[Image] = []
    at = int.from_bytes(memory(g, g.static("pager.c", "images"), 8, "images"), "little")
    while at:
        if any(at == i.at for i in found):
            raise Disagree("the list of programs that run goes round in a circle")
        file, _, users, following, npages = IMAGE.unpack(memory(g, at, IMAGE.size, "a struct image"))
        if npages > MANY:
            raise Disagree(f"a program that runs has {npages} pages")
        pages = struct.unpack(f"<{npages}Q", memory(g, at + IMAGE.size, 8 * npages, "a struct image"))
        found.append(Image(at, names.get(file, "?"), users, pages))
        at = following
    return found


def children(p: Proc, procs: dict[int, Proc]) -> list[int]:
    """The pids on its list of children, checked: each is in the table, has p as its parent, and is there once."""
    by_address = {q.at: q for q in procs.values()}
    found: list[int] = []
    at = p.children
    while at:
        if at not in by_address:
            raise Disagree(f"the list of children of {p} leads to {at:#x}, where no process is")
        child = by_address[at]
        if child.pid in found:
            raise Disagree(f"the list of children of {p} goes round in a circle")
        if child.ppid != p.pid:
            raise Disagree(f"{child} is on the list of children of {p}, expected on that of process {child.ppid}")
        found.append(child.pid)
        at = child.sibling
    return found


def family(g: View) -> dict[int, Proc]:
    """All processes, by pid, once it is sure that each is on its parent's list of children."""
    procs = processes(g)
    listed = {pid for p in procs.values() for pid in children(p, procs)}
    for p in procs.values():
        if p.pid and p.ppid in procs and p.pid not in listed:
            raise Disagree(f"{p} is not on the list of children of its parent, {procs[p.ppid]}")
    return procs
