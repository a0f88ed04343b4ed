"""Lab 5 as a whole from outside: programs run, the machine is stopped now and then, and every process's table is
walked in physical memory."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from grade.buddy import Pmm, free_pages, memory
from grade.guest import Guest
from grade.machine import Stop
from grade.view import KERNBASE, PGSIZE, Disagree, Leaf, V2P

# inc/proc.h, inc/aspace.h, inc/vma.h; test_processes.py holds these against the headers.  From lab 6 on there is a
# field more (as.image), before the last two.
PROC = struct.Struct("<112x i i i 16s 28x Q Q Q Q 8x 8x Q 536x Q Q")
PROC_LAZY = struct.Struct(PROC.format.replace("536x", "544x"))
PROC_FIELDS = ("state", "pid", "ppid", "name", "kstack", "root", "asid", "vmas", "pages", "children", "sibling")
VMA = struct.Struct("<Q Q i i Q")           # start, end, prot, kind, next
RUNNING, ZOMBIE = 2, 4
READ, WRITE, EXEC = 1, 2, 4                 # inc/uapi/mman.h
STACK_SIZE = 0x4000                         # inc/memlayout.h
USER_TOP = 1 << 48
MANY = 1000                                 # processes, or ranges of one, more than there can be

# ARM ARM D5.3.3
PAGE, USER, RO, INNER, AF, NG, PXN, UXN = 3, 1 << 6, 1 << 7, 3 << 8, 1 << 10, 1 << 11, 1 << 53, 1 << 54

ILL, TRAP, BUS, SEGV = 128 + 4, 128 + 5, 128 + 7, 128 + 11
ATTACKS = {                                 # user/attack/
    "null_read": SEGV, "null_write": SEGV, "null_jump": SEGV, "kernel_read": SEGV, "kernel_write": SEGV,
    "kernel_jump": SEGV, "device_read": SEGV, "device_write": SEGV, "vmalloc_read": SEGV, "vmalloc_write": SEGV,
    "ram_read": SEGV, "ram_write": SEGV, "hole_read": SEGV, "text_write": SEGV, "rodata_write": SEGV,
    "data_jump": SEGV, "stack_jump": SEGV, "heap_jump": SEGV, "own_text_unmap": SEGV, "own_stack_unmap": SEGV,
    "daifset": ILL, "eret": ILL, "hvc": ILL, "wfi": ILL, "tlbi_all": ILL, "undefined": ILL, "msr_ttbr0_el1": ILL,
    "mrs_esr_el1": ILL, "odd_jump": BUS, "breakpoint": TRAP, "sp_push": SEGV, "no_such_call": 0, "null_pointers": 0,
    "kernel_pointers": 0, "edge_pointers": 0, "scatter": 0, "map_kernel": 0, "protect_kernel": 0, "write_wrap": 0,
}
CHANGES = {"unmapped": SEGV, "shrunk": SEGV, "hidden": SEGV, "readonly": SEGV, "readonly-over": SEGV, "noexec": SEGV,
           "over": 0, "again": 0, "grown": 0}       # user/tlb.c
OFTEN = ("sys_getpid", "sys_sched_yield", "context_switch")
STOPS = ("sys_mmap", "sys_munmap", "sys_mprotect", "sys_brk", "sys_exit", "user_fault", "timer_interrupt", "sys_write")
LOOKS = 40                  # stops at which all is looked at
LIMIT = 400                 # million instructions from stop to stop
FIRST = 0x1000_0000         # where user/alloc.c has its pages


@dataclass
class Proc:
    """A struct proc."""
    at: int
    state: int
    pid: int
    ppid: int
    name: str
    kstack: int
    root: int               # physical; 0: a kernel thread
    asid: int
    vmas: int
    pages: int
    children: int
    sibling: int

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def is_lazy(g: Guest) -> bool:
    """Is it lab 6's kernel, where pages are given when they are used, and some have several users?  How these are
    counted is the affair of lab 6's own judge."""
    return g.has("zero_page")


def read_proc(g: Guest, at: int) -> Proc:
    layout = PROC_LAZY if is_lazy(g) else PROC
    fields = dict(zip(PROC_FIELDS, layout.unpack(memory(g, at, layout.size, "a struct proc"))))
    fields["name"] = fields["name"].split(b"\0")[0].decode("utf-8", "replace")
    fields["root"] = V2P(fields["root"]) if fields["root"] else 0
    return Proc(at=at, **fields)


def processes(g: Guest, first: int) -> dict[int, Proc]:
    """All that descend from thread 0, by their addresses."""
    found: dict[int, Proc] = {}
    todo = [first]
    while todo:
        at = todo.pop()
        if at in found or len(found) > MANY:
            raise Disagree(f"the processes are no tree any more: that at {at:#x} has two places in it")
        p = found[at] = read_proc(g, at)
        todo += [next_one for next_one in (p.children, p.sibling) if next_one]
    return found


class Isolation:
    """What is so at one moment, and must be so at each."""

    def __init__(self, g: Guest):
        """No process runs yet."""
        self.g = g
        self.first = g.reg("tpidr_el1")         # thread 0
        self.empty = g.reg("ttbr0_el1")         # what TTBR0 has while no process runs
        self.lazy = is_lazy(g)
        self.before = self.in_use(Pmm(g)) - ({g.u64(g.symbol("zero_page"))} if self.lazy else set())
        self.looks = 0
        self.seen: set[str] = set()             # programs that were looked at

    @staticmethod
    def in_use(pmm: Pmm) -> set[int]:
        return {(pmm.start + f) * PGSIZE for i, order in pmm.used.items() for f in range(i, i + (1 << order))}

    # --- one moment ------------------------------------------------------

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
        procs = processes(g, self.first)
        kernel, kernel_tables = g.scan(g.ttbr1, True)
        for leaf in kernel:
            if leaf.entry & USER or not leaf.entry & UXN:
                raise Disagree(f"the kernel's half is open to EL0 at {leaf.va:#x}", leaf.va, g.ttbr1)
        image = range(g.symbol("image_start") - KERNBASE, g.symbol("end") - KERNBASE)
        self.kernels = {leaf.pa for leaf in kernel if leaf.va - KERNBASE != leaf.pa}    # vmalloc's: stacks
        self.kernels |= set(kernel_tables) | self.before | set(range(image.start & -PGSIZE, image.stop, PGSIZE))

        tables: dict[int, Proc] = {}
        spaces = [(p, *g.scan(p.root, False)) for p in procs.values() if p.root]
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
            self.see_ranges(p, leaves)
            self.see_contents(p, leaves)
            self.seen.add(p.name)
        for pa, places in mapped.items():
            self.see_count(pa, places)
        self.see_asids(procs)

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

    def ranges(self, p: Proc) -> Iterator[tuple[int, int, int]]:
        """(start, end, prot) of its struct vmas."""
        at = p.vmas
        for _ in range(MANY):
            if not at:
                return
            start, end, prot, _, at = VMA.unpack(memory(self.g, at, VMA.size, "a struct vma"))
            yield start, end, prot
        raise Disagree(f"the ranges of {p} do not end")

    def see_ranges(self, p: Proc, leaves: list[Leaf]) -> None:
        """Each page of a range is mapped, with its rights, and no other.  From lab 6 on: if it is mapped, and perhaps
        without that to write."""
        if len(leaves) != p.pages:
            raise Disagree(f"{p} has {len(leaves)} pages mapped, expected {p.pages}, which its as.pages says")
        by_va = {leaf.va: leaf for leaf in leaves}
        pages = 0
        for start, end, prot in self.ranges(p):
            wanted = prot | READ if prot else 0
            for va in range(start, end, PGSIZE):
                found = by_va.get(va)
                if found is None and self.lazy:
                    continue
                if found is None:
                    raise Disagree(f"{va:#x} of {p} is not mapped, though in the range {start:#x}-{end:#x}", va, p.root)
                rights = (READ if found.entry & USER else 0) | (WRITE if not found.entry & RO else 0) \
                    | (EXEC if not found.entry & UXN else 0)
                if rights != wanted and not (self.lazy and rights == wanted & ~WRITE):
                    raise Disagree(f"{va:#x} of {p} has the rights {rights:03b} (exec, write, read), expected {wanted:03b}",
                                   va, p.root)
                pages += 1
        if pages != len(leaves):
            raise Disagree(f"{p} has {len(leaves)} pages mapped, but its ranges have {pages}")

    def see_contents(self, p: Proc, leaves: list[Leaf]) -> None:
        """user/alloc.c writes its pid and the page's number into each page, all at the same addresses.  The last one
        may not have it yet."""
        if p.name != "alloc":
            return
        own = [leaf for leaf in leaves if FIRST <= leaf.va < FIRST + (1 << 29)]
        for leaf in own[:-1]:
            wanted = p.pid << 32 | (leaf.va - FIRST) // PGSIZE
            for at in (leaf.pa, leaf.pa + PGSIZE - 8):
                if self.g.p64(at) != wanted:
                    raise Disagree(f"the page at {leaf.va:#x} of {p} holds {self.g.p64(at):#x}, expected {wanted:#x}, which "
                                   "it has written there", leaf.va, p.root)

    def see_count(self, pa: int, places: list[tuple[Proc, Leaf]]) -> None:
        frame = pa // PGSIZE - self.pmm.start
        refs = self.pmm.users.get(frame, 1)
        if len(places) > refs or len(places) < refs and not self.lazy:
            where = " and ".join(f"at {leaf.va:#x} of {p}" for p, leaf in places[:3])
            raise Disagree(f"the page {pa:#x} has {refs} references, expected {len(places)}: it is mapped {where}",
                           places[0][1].va, places[0][0].root)

    def see_asids(self, procs: dict[int, Proc]) -> None:
        """TTBR0 is the running one's, and no two address spaces have the same tag."""
        g = self.g
        asids: dict[int, Proc] = {}
        for p in procs.values():
            if p.root and p.asid:
                if not p.asid & 0xFFFF or p.asid in asids:
                    raise Disagree(f"{p} has the ASID {p.asid & 0xffff:#x}, which is "
                                   + (f"that of {asids[p.asid]}" if p.asid in asids else "that of no process"))
                asids[p.asid] = p
        now = procs.get(g.reg("tpidr_el1"))
        if now is None or now.state != RUNNING:
            raise Disagree("TPIDR_EL1 leads to no process that runs")
        wanted = now.root | (now.asid & 0xFFFF) << 48 if now.root else self.empty
        if g.reg("ttbr0_el1") != wanted:
            raise Disagree(f"TTBR0 is {g.reg('ttbr0_el1'):#x}, expected {wanted:#x}, which {now} has")


# --- programs ------------------------------------------------------------


@dataclass
class Job:
    words: list[str]
    status: int
    says: tuple[str, ...] = ()      # lines that it prints
    pid: int = 0

    def __str__(self) -> str:
        return " ".join(self.words)


def pointers(g: Guest, words: list[str]) -> int:
    """An array of strings, and NULL, on the kernel's stack."""
    at = [g.push(word.encode() + b"\0") for word in words]
    return g.push(struct.pack(f"<{len(at) + 1}Q", *at, 0))


def spawn(g: Guest, job: Job) -> None:
    home = list(g.home)                     # what is pushed is needed for this call alone
    found = g.call("proc_spawn", pointers(g, job.words), pointers(g, ["HOME=/"])) & 0xFFFF_FFFF
    g.home = home
    if not 0 < found < 1 << 31:
        raise Disagree(f"proc_spawn of {job} returned {found - (found >> 31 << 32)}, expected a pid")
    job.pid = found


def wait(g: Guest, job: Job, rng: random.Random, isolation: Isolation | None = None) -> None:
    """Until it has ended; with stops on the way."""
    machine = g.machine
    name, pc = g.enter("proc_wait", job.pid)
    armed: dict[int, str] = {}
    skip = 0
    while True:
        if isolation and isolation.looks < LOOKS and not armed:
            armed = {g.symbol(symbol): symbol for symbol in (rng.choice(OFTEN), rng.choice(STOPS))}
            skip = rng.randrange(10)
            for va in armed:
                machine.break_at(va)
        stop = machine.run(LIMIT, pc=pc)
        pc = machine.pc if stop is Stop.BREAKPOINT else 0
        if pc not in armed:
            break
        skip -= 1
        if skip < 0 and isolation:
            isolation.look(armed[pc])
            for va in armed:
                machine.unbreak(va)
            armed = {}
    for va in armed:
        machine.unbreak(va)
    status = g.leave(name, stop, LIMIT) & 0xFFFF_FFFF
    if status != job.status:
        raise Disagree(f"{job} ended with status {status - (status >> 31 << 32)}, expected {job.status}")


def run(g: Guest, jobs: list[Job], rng: random.Random, isolation: Isolation | None = None) -> None:
    g.printed()
    rng.shuffle(jobs)
    for job in jobs:
        spawn(g, job)
    for job in jobs:
        wait(g, job, rng, isolation)
    said = g.printed().decode("utf-8", "replace").replace("\r", "")
    for job in jobs:
        for line in job.says:
            if line not in said.split("\n"):
                raise Disagree(f"{job} has not printed the line {line!r}")


def word(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(8))


def exit_job(rng: random.Random) -> Job:
    status = rng.randrange(256)
    return Job(["exit", str(status + 256 * rng.randrange(3))], status)


def alloc_job(rng: random.Random) -> Job:
    name, n = word(rng), rng.randrange(30, 90)
    return Job(["alloc", name, str(n)], 0, (f"{name}: {n} pages, all of them mine",))


def regs_job(rng: random.Random) -> Job:
    n = rng.randrange(100, 300)
    return Job(["regs", str(n), str(rng.randrange(1 << 50))], 0, (f"{n} system calls, all registers kept",))


def ping_job(rng: random.Random) -> Job:
    name, n = word(rng), rng.randrange(2, 6)
    return Job(["ping", name, str(n)], 0, tuple(f"{name} {i}" for i in range(1, n + 1)))


def hello_job(rng: random.Random) -> Job:
    words = [word(rng) for _ in range(rng.randrange(4))]
    return Job(["hello", *words], 0, tuple(f"argument {i}: {w}" for i, w in enumerate(words, 1)))


def attack_job(rng: random.Random) -> Job:
    name = rng.choice(sorted(ATTACKS))
    return Job(["attack", name], ATTACKS[name])


def judge_programs(g: Guest, rng: random.Random) -> None:
    trouble = g.call("proc_trouble")
    if trouble:
        raise Disagree(f"there are no threads: {g.text(trouble)}")
    run(g, [exit_job(rng)], rng)            # and vmalloc has its tables
    g.call("slabs_trim")
    before = free_pages(g)
    isolation = Isolation(g)

    # As many at the same time as the check has.
    makers = (*[exit_job] * 4, *[alloc_job] * 3, *[regs_job] * 2, *[ping_job] * 2, *[hello_job] * 5, *[attack_job] * 4)
    run(g, [*(make(rng) for make in makers), Job(["memory"], 0), Job(["heap", str(rng.randrange(50, 150))], 0)], rng,
        isolation)
    if isolation.looks < LOOKS // 2:
        raise Disagree(f"the programs have come by {isolation.looks} places of the kernel, expected {LOOKS}")
    for way in rng.sample(sorted(CHANGES), 5):
        run(g, [Job(["tlb", way], CHANGES[way])], rng)      # alone: a switch would empty the TLB
    g.call("slabs_trim")
    now = free_pages(g)
    if now != before:
        lost, more = before - now, now - before
        raise Disagree(f"after all programs have ended, {len(lost)} pages are lost, such as that at "
                       f"{V2P(min(lost)):#x}" if lost else
                       f"after all programs have ended, {len(more)} pages are free that were not, such as that at "
                       f"{V2P(min(more)):#x}")
