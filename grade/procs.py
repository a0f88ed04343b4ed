"""Processes and threads of the stopped kernel, from lab 6 on: struct proc (inc/proc.h), the table of them, and who has
which children.  Nothing here believes them: what contradicts itself raises Disagree, in words."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from grade.buddy import memory, variable
from grade.view import V2P, Disagree, View

NEW, RUNNABLE, RUNNING, SLEEPING, ZOMBIE = range(5)
STATES = ("new", "runnable", "running", "asleep", "a zombie")

# context, state, pid, ppid, name, next, waits, wake_at, kstack, as (root, asid, vmas, brk_start, brk, pages, image), fpu,
# killed, status, children, sibling, child_ended
PROC = struct.Struct("<112x i i i 16s 4x Q Q 8x Q Q Q Q 8x 8x Q Q 528x i i Q Q 16x")
FIELDS = ("state", "pid", "ppid", "name", "next", "waits", "kstack", "root", "asid", "vmas", "pages", "image", "killed",
          "status", "children", "sibling")
STATE, PID, PPID, NEXT, WAITS, KILLED, STATUS, CHILDREN, SIBLING = 112, 116, 120, 144, 152, 760, 764, 768, 776


@dataclass
class Proc:
    """A struct proc as it was when it was read."""
    at: int
    state: int
    pid: int
    ppid: int
    name: str
    next: int
    waits: int
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


def read_proc(g: View, at: int) -> Proc:
    fields = dict(zip(FIELDS, PROC.unpack(memory(g, at, PROC.size, "a struct proc"))))
    fields["name"] = fields["name"].split(b"\0")[0].decode("utf-8", "replace")
    fields["root"] = V2P(fields["root"]) if fields["root"] else 0
    return Proc(at=at, **fields)


def nproc(g: View) -> int:
    """How many places the table has."""
    g.symbol("procs")
    return g.elf.symbols["procs"].size // 8


def processes(g: View) -> dict[int, Proc]:
    """All that are in the table, by pid."""
    found: dict[int, Proc] = {}
    places = nproc(g)
    for i, (at,) in enumerate(struct.iter_unpack("<Q", variable(g, "procs", 8 * places))):
        if at == 0:
            continue
        p = read_proc(g, at)
        if p.pid % places != i:
            raise Disagree(f"place {i} of the table of processes has one whose pid is {p.pid}")
        found[p.pid] = p
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
