"""For judges of whole kernels, from lab 5 on: programs run, the machine is stopped now and then, and what all processes
have is looked at in physical memory."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from grade import procs
from grade.buddy import Pmm, free_pages
from grade.guest import Guest
from grade.machine import Stop
from grade.procs import RUNNING, Proc
from grade.view import KERNBASE, PGSIZE, Disagree, Leaf, V2P

# ARM ARM D5.3.3
USER, RO, INNER, AF, NG, PXN, UXN = 1 << 6, 1 << 7, 3 << 8, 1 << 10, 1 << 11, 1 << 53, 1 << 54

STACK_SIZE = 0x4000         # inc/memlayout.h
OFTEN = ("sys_getpid", "sys_sched_yield", "context_switch")     # where to stop: in one of these, or ...


class Isolation:
    """What is so at one moment, and must be so at each.  A lab says in see_space and see_pages what it knows of ranges
    and counts."""

    def __init__(self, g: Guest):
        """No process runs yet."""
        self.g = g
        self.empty = g.reg("ttbr0_el1")         # what TTBR0 has while no process runs
        self.lazy = procs.is_lazy(g)
        self.zero = g.u64(g.symbol("zero_page")) if self.lazy else -1
        self.before = self.in_use(Pmm(g)) - {self.zero}
        self.looks = 0

    @staticmethod
    def in_use(pmm: Pmm) -> set[int]:
        return {(pmm.start + f) * PGSIZE for i, order in pmm.used.items() for f in range(i, i + (1 << order))}

    def look(self, where: str) -> None:
        try:
            self.look_at_all()
        except Disagree as e:
            raise Disagree(f"stopped in {where}: {e}", e.va, e.root) from None
        self.looks += 1

    def look_at_all(self) -> None:
        g = self.g
        self.pmm = Pmm(g)
        self.free = self.pmm.free_frames() | self.pmm.cached
        self.family = procs.family(g)
        self.see_kernel()
        tables: dict[int, Proc] = {}
        spaces = [(p, *g.scan(p.root, False)) for p in self.family.values() if p.root]
        for p, _, of_p in spaces:
            for table in of_p:
                self.see_table(p, table, tables)
        mapped: dict[int, list[tuple[Proc, Leaf]]] = {}
        for p, leaves, _ in spaces:
            for leaf in leaves:
                self.see_leaf(p, leaf)
                if leaf.pa in tables:
                    raise Disagree(f"{p} has a page table of {tables[leaf.pa]} mapped at {leaf.va:#x}", leaf.va, p.root)
                mapped.setdefault(leaf.pa, []).append((p, leaf))
            if len(leaves) != p.pages:
                raise Disagree(f"{p} has {len(leaves)} pages mapped, expected {p.pages}, which its as.pages says")
            self.see_space(p, leaves)
        self.see_pages(mapped)
        self.see_tags()

    # --- what each lab has of its own ------------------------------------

    def see_space(self, p: Proc, leaves: list[Leaf]) -> None:
        """What the ranges of a process say of its pages."""

    def see_pages(self, mapped: dict[int, list[tuple[Proc, Leaf]]]) -> None:
        """How many have each page."""

    # --- tables and entries ----------------------------------------------

    def see_kernel(self) -> None:
        g = self.g
        kernel, kernel_tables = g.scan(g.ttbr1, True)
        for leaf in kernel:
            if leaf.entry & USER or not leaf.entry & UXN:
                raise Disagree(f"the kernel's half is open to EL0 at {leaf.va:#x}", leaf.va, g.ttbr1)
        image = range(g.symbol("image_start") - KERNBASE, g.symbol("end") - KERNBASE)
        self.kernels = {leaf.pa for leaf in kernel if leaf.va - KERNBASE != leaf.pa}    # vmalloc's: stacks
        self.kernels |= set(kernel_tables) | self.before | set(range(image.start & -PGSIZE, image.stop, PGSIZE))

    def what(self, pa: int) -> str | None:
        """What the page is, if no process may have it."""
        frame = pa // PGSIZE - self.pmm.start
        if pa in self.kernels:
            return "the kernel's"
        if not 0 <= frame < self.pmm.n:
            return "no page of memory"
        if frame in self.free:
            return "free"
        if self.pmm.used.get(frame, self.pmm.shared.get(frame)) != 0:
            return "not a single page in use"
        return None

    def see_table(self, p: Proc, table: int, tables: dict[int, Proc]) -> None:
        what = self.what(table)
        if what or self.pmm.shared.get(table // PGSIZE - self.pmm.start) is not None:
            raise Disagree(f"{p} has a page table at {table:#x}, which is {what or 'shared'}")
        if table in tables:
            raise Disagree(f"the page table at {table:#x} belongs to {tables[table]} and to {p}")
        tables[table] = p

    def see_leaf(self, p: Proc, leaf: Leaf) -> None:
        wrong = None
        what = self.what(leaf.pa)
        if leaf.level != 3:
            wrong = "is a block"
        elif leaf.va < PGSIZE:
            wrong = "is at address 0"
        elif what:
            wrong = f"leads to {leaf.pa:#x}, which is {what}"
        elif not leaf.entry & RO and not leaf.entry & UXN:
            wrong = "can be written and executed"
        elif not leaf.entry & PXN:
            wrong = "can be executed by the kernel (PXN is clear)"
        elif not leaf.entry & NG:
            wrong = "is for all address spaces (nG is clear)"
        elif leaf.entry & (AF | INNER) != AF | INNER or leaf.entry >> 2 & 7:
            wrong = "is not ordinary, shareable memory that may be accessed"
        if wrong:
            raise Disagree(f"the page at {leaf.va:#x} of {p} {wrong}", leaf.va, p.root)

    def see_tags(self) -> None:
        """TTBR0 is the running one's, and no two address spaces have the same tag."""
        g = self.g
        asids: dict[int, Proc] = {}
        for p in self.family.values():
            if p.root and p.asid:
                if not p.asid & 0xFFFF or p.asid in asids:
                    raise Disagree(f"{p} has the ASID {p.asid & 0xffff:#x}, which is "
                                   + (f"that of {asids[p.asid]}" if p.asid in asids else "that of no process"))
                asids[p.asid] = p
        now = next((p for p in self.family.values() if p.at == g.reg("tpidr_el1")), None)
        if now is None or now.state != RUNNING:
            raise Disagree("TPIDR_EL1 leads to no process that runs")
        wanted = now.root | (now.asid & 0xFFFF) << 48 if now.root else self.empty
        if g.reg("ttbr0_el1") != wanted:
            raise Disagree(f"TTBR0 is {g.reg('ttbr0_el1'):#x}, expected {wanted:#x}, which {now} has")


def rights(leaf: Leaf) -> int:
    """What EL0 may do with it, in words of PROT_READ, PROT_WRITE, PROT_EXEC."""
    return (procs.READ if leaf.entry & USER else 0) | (procs.WRITE if not leaf.entry & RO else 0) \
        | (procs.EXEC if not leaf.entry & UXN else 0)


# --- programs ------------------------------------------------------------


@dataclass
class Job:
    """A program, the statuses that it may end with, and the lines that it prints."""
    words: list[str]
    status: tuple[int, ...] = (0,)
    says: tuple[str, ...] = ()
    pid: int = 0

    def __str__(self) -> str:
        return " ".join(self.words)


def signed(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (value >> 31 << 32)


def pointers(g: Guest, words: list[str]) -> int:
    """An array of strings, and NULL, on the kernel's stack."""
    at = [g.push(word.encode() + b"\0") for word in words]
    return g.push(struct.pack(f"<{len(at) + 1}Q", *at, 0))


def try_spawn(g: Guest, job: Job) -> int:
    """Its pid, or an error."""
    home = list(g.home)                     # what is pushed is needed for this call alone
    job.pid = signed(g.call("proc_spawn", pointers(g, job.words), pointers(g, ["HOME=/"])))
    g.home = home
    return job.pid


def spawn(g: Guest, job: Job) -> None:
    if try_spawn(g, job) <= 0:
        raise Disagree(f"proc_spawn of {job} returned {job.pid}, expected a pid")


@dataclass
class Watch:
    """Looks at all, at places on the way: in one of OFTEN, or of places; after up to `skip` that are passed over."""
    isolation: Isolation
    places: tuple[str, ...]
    looks: int              # how many at most
    skip: int


def wait(g: Guest, job: Job, rng: random.Random, limit: int, watch: Watch | None = None) -> None:
    """Until it has ended.  limit: million instructions from stop to stop."""
    machine = g.machine
    name, pc = g.enter("proc_wait", job.pid)
    armed: dict[int, str] = {}
    skip = 0
    while True:
        if watch and watch.isolation.looks < watch.looks and not armed:
            armed = {g.symbol(symbol): symbol for symbol in (rng.choice(OFTEN), rng.choice(watch.places))}
            skip = rng.randrange(watch.skip)
            for va in armed:
                machine.break_at(va)
        stop = machine.run(limit, pc=pc)
        pc = machine.pc if stop is Stop.BREAKPOINT else 0
        if pc not in armed:
            break
        skip -= 1
        if skip < 0 and watch:
            watch.isolation.look(armed[pc])
            for va in armed:
                machine.unbreak(va)
            armed = {}
    for va in armed:
        machine.unbreak(va)
    status = signed(g.leave(name, stop, limit))
    if status not in job.status:
        raise Disagree(f"{job} ended with status {status}, expected {' or '.join(map(str, job.status))}")


def run(g: Guest, jobs: list[Job], rng: random.Random, limit: int, watch: Watch | None = None) -> None:
    """All at the same time, until they have ended."""
    g.printed()
    rng.shuffle(jobs)
    for job in jobs:
        spawn(g, job)
    for job in jobs:
        wait(g, job, rng, limit, watch)


def expect_lines(g: Guest, jobs: list[Job]) -> None:
    """They have printed, since run, what they should."""
    said = g.printed().decode("utf-8", "replace").replace("\r", "").split("\n")
    for job in jobs:
        for line in job.says:
            if line not in said:
                raise Disagree(f"{job} has not printed the line {line!r}")


def expect_memory(g: Guest, before: set[int], after: str) -> None:
    """The pages that nobody has are those that were, once the caches keep no empty chunk."""
    g.call("slabs_trim")
    now = free_pages(g)
    if now != before:
        lost, more = before - now, now - before
        raise Disagree(f"after {after}, {len(lost)} pages are lost, such as that at {V2P(min(lost)):#x}" if lost else
                       f"after {after}, {len(more)} pages are free that were not, such as that at {V2P(min(more)):#x}")
