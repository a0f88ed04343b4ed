"""Lab 6 as a whole from outside: programs fork, the machine is stopped now and then, and every page is counted in the
tables of all processes, as they are in physical memory."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from grade import procs
from grade.buddy import Pmm, free_pages, memory
from grade.guest import Guest
from grade.machine import Stop
from grade.procs import RUNNING, Proc
from grade.view import KERNBASE, PGSIZE, Disagree, Leaf, V2P

VMA = struct.Struct("<Q Q i i Q")           # inc/vma.h: start, end, prot, kind, next
IMAGE = struct.Struct("<Q Q 360x I 4x Q Q")     # inc/pager.h: file, size, users, next, npages; pages follow
READ, WRITE, EXEC = 1, 2, 4                 # inc/uapi/mman.h
MANY = 1000                                 # ranges of one, or images, more than there can be

# ARM ARM D5.3.3
USER, RO, INNER, AF, NG, PXN, UXN = 1 << 6, 1 << 7, 3 << 8, 1 << 10, 1 << 11, 1 << 53, 1 << 54

NO_MEMORY, KILLED, SEGV = 255, 128 + 9, 128 + 11    # how a program ends that has no memory (user/forks.c, kern/fault.c)
OFTEN = ("sys_getpid", "sys_sched_yield", "context_switch")
STOPS = ("sys_clone", "sys_wait4", "sys_exit", "user_fault", "sys_write", "sys_brk", "timer_interrupt")
STACK_SIZE = 0x4000         # inc/memlayout.h
STACKS = 128                # more than the programs have at the same time
LOOKS = 24                  # stops at which all is looked at
FAILURES = 4                # allocations that fail
LIMIT = 600                 # million instructions from stop to stop


# --- one moment ----------------------------------------------------------


class Sharing:
    """What is so at one moment, and must be so at each."""

    def __init__(self, g: Guest):
        """No process runs yet."""
        self.g = g
        self.empty = g.reg("ttbr0_el1")         # what TTBR0 has while no process runs
        self.zero = g.u64(g.symbol("zero_page"))
        self.before = self.in_use(Pmm(g)) - {self.zero}
        self.looks = self.shared = 0

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
        family = procs.family(g)
        if g.phys(self.zero, PGSIZE) != bytes(PGSIZE):
            raise Disagree("the page of zeroes is not all zeroes any more")
        kernel, kernel_tables = g.scan(g.ttbr1, True)
        image = range(g.symbol("image_start") - KERNBASE, g.symbol("end") - KERNBASE)
        self.kernels = {leaf.pa for leaf in kernel if leaf.va - KERNBASE != leaf.pa}    # vmalloc's: stacks
        self.kernels |= set(kernel_tables) | self.before | set(range(image.start & -PGSIZE, image.stop, PGSIZE))
        self.files: dict[int, int] = {}         # pages of programs' files, and whose
        self.see_images(family)

        tables: dict[int, Proc] = {}
        spaces = [(p, *g.scan(p.root, False)) for p in family.values() if p.root]
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
        for pa in {*mapped, *self.files, self.zero}:
            self.see_count(pa, mapped.get(pa, []))
        self.see_tags(family)

    # --- pages of which the kernel is a user ----------------------------

    def see_images(self, family: dict[int, Proc]) -> None:
        g = self.g
        at, seen = g.u64(g.symbol("images")), set[int]()
        while at:
            if at in seen or len(seen) > MANY:
                raise Disagree("the list of programs that run goes round in a circle")
            seen.add(at)
            file, size, users, following, npages = IMAGE.unpack(memory(g, at, IMAGE.size, "a struct image"))
            of_it = [p for p in family.values() if p.root and p.image == at]
            if users != len(of_it):
                raise Disagree(f"the program of {of_it[0] if of_it else 'nobody'} has {users} users, expected {len(of_it)}")
            pages = struct.unpack(f"<{npages}Q", memory(g, at + IMAGE.size, 8 * npages, "a struct image"))
            for pa, wanted in zip(pages, contents(g.read(file, size))):
                if pa == 0:
                    continue
                if self.what(pa):
                    raise Disagree(f"a page of a program's file is at {pa:#x}, which is {self.what(pa)}")
                if pa in self.files:
                    raise Disagree(f"the page {pa:#x} has two places in programs' files")
                if g.phys(pa, PGSIZE) != wanted:
                    raise Disagree(f"the page {pa:#x}, of a program's file, is not as in the file: somebody has written to "
                                   "it")
                self.files[pa] = at
            at = following
        for p in family.values():
            if p.root and p.image not in seen:
                raise Disagree(f"{p} runs a program that is not among those that run")

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

    # --- tables and entries ---------------------------------------------

    def see_table(self, p: Proc, table: int, tables: dict[int, Proc]) -> None:
        what = self.what(table)
        if what or self.pmm.shared.get(table // PGSIZE - self.pmm.start) is not None:
            raise Disagree(f"{p} has a page table at {table:#x}, which is {what or 'shared'}")
        if table in tables:
            raise Disagree(f"the page table at {table:#x} belongs to {tables[table]} and to {p}")
        if table in self.files or table == self.zero:
            raise Disagree(f"{p} has a page table at {table:#x}, which all share")
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
        """Each page that is mapped has its range's rights, or all but that to write."""
        if len(leaves) != p.pages:
            raise Disagree(f"{p} has {len(leaves)} pages mapped, expected {p.pages}, which its as.pages says")
        ranges = list(self.ranges(p))
        for leaf in leaves:
            prot = next((prot for start, end, prot in ranges if start <= leaf.va < end), None)
            if prot is None:
                raise Disagree(f"{leaf.va:#x} of {p} is mapped, though in no range", leaf.va, p.root)
            rights = (READ if leaf.entry & USER else 0) | (WRITE if not leaf.entry & RO else 0) \
                | (EXEC if not leaf.entry & UXN else 0)
            wanted = prot | READ if prot else 0
            if rights not in (wanted, wanted & ~WRITE):
                raise Disagree(f"{leaf.va:#x} of {p} has the rights {rights:03b} (exec, write, read), expected {wanted:03b}, "
                               "or all but that to write", leaf.va, p.root)

    def see_count(self, pa: int, places: list[tuple[Proc, Leaf]]) -> None:
        """Its users are counted; and who can write to a page is its only user."""
        refs = self.pmm.users.get(pa // PGSIZE - self.pmm.start, 1)
        kernels = (pa in self.files) + (pa == self.zero)
        wanted = len(places) + kernels
        where = " and ".join(f"at {leaf.va:#x} of {p}" for p, leaf in places[:3])
        place = (places[0][1].va, places[0][0].root) if places else (None, None)
        if refs != wanted:
            also = ", and is a page of a program's file" if pa in self.files else \
                ", and is the page of zeroes" if kernels else ""
            raise Disagree(f"the page {pa:#x} has {refs} users, expected {wanted}: it is mapped {where or 'nowhere'}{also}",
                           *place)
        self.shared += len(places) > 1
        for p, leaf in places:
            if wanted > 1 and not leaf.entry & RO:
                raise Disagree(f"the page {pa:#x} has {wanted} users, and can be written at {leaf.va:#x} of {p}: expected "
                               "nobody to be able to", leaf.va, p.root)

    def see_tags(self, family: dict[int, Proc]) -> None:
        """TTBR0 is the running one's, and no two address spaces have the same tag."""
        g = self.g
        asids: dict[int, Proc] = {}
        for p in family.values():
            if p.root and p.asid:
                if not p.asid & 0xFFFF or p.asid in asids:
                    raise Disagree(f"{p} has the ASID {p.asid & 0xffff:#x}, which is "
                                   + (f"that of {asids[p.asid]}" if p.asid in asids else "that of no process"))
                asids[p.asid] = p
        now = next((p for p in family.values() if p.at == g.reg("tpidr_el1")), None)
        if now is None or now.state != RUNNING:
            raise Disagree("TPIDR_EL1 leads to no process that runs")
        wanted = now.root | (now.asid & 0xFFFF) << 48 if now.root else self.empty
        if g.reg("ttbr0_el1") != wanted:
            raise Disagree(f"TTBR0 is {g.reg('ttbr0_el1'):#x}, expected {wanted:#x}, which {now} has")


def contents(file: bytes) -> Iterator[bytes]:
    """The pages of an ELF file's segments, those for which the file has something, one behind the other."""
    at, = struct.unpack_from("<Q", file, 32)
    size, count = struct.unpack_from("<HH", file, 54)
    for i in range(count):
        kind, _, offset, va, _, filesz, _, _ = struct.unpack_from("<II6Q", file, at + i * size)
        if kind != 1 or filesz == 0:
            continue
        before = va % PGSIZE
        data = bytes(before) + file[offset:offset + filesz]
        for start in range(0, len(data), PGSIZE):
            yield data[start:start + PGSIZE].ljust(PGSIZE, b"\0")


# --- programs ------------------------------------------------------------


@dataclass
class Job:
    words: list[str]
    status: tuple[int, ...] = (0,)
    says: tuple[str, ...] = ()      # lines that it prints
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


def spawn(g: Guest, job: Job) -> int:
    """Its pid, or an error."""
    home = list(g.home)                     # what is pushed is needed for this call alone
    found = signed(g.call("proc_spawn", pointers(g, job.words), pointers(g, ["HOME=/"])))
    g.home = home
    return found


def wait(g: Guest, job: Job, rng: random.Random, sharing: Sharing | None = None) -> None:
    """Until it has ended; with stops on the way."""
    machine = g.machine
    name, pc = g.enter("proc_wait", job.pid)
    armed: dict[int, str] = {}
    skip = 0
    while True:
        if sharing and sharing.looks < LOOKS and not armed:
            armed = {g.symbol(symbol): symbol for symbol in (rng.choice(OFTEN), rng.choice(STOPS))}
            skip = rng.randrange(6)
            for va in armed:
                machine.break_at(va)
        stop = machine.run(LIMIT, pc=pc)
        pc = machine.pc if stop is Stop.BREAKPOINT else 0
        if pc not in armed:
            break
        skip -= 1
        if skip < 0 and sharing:
            sharing.look(armed[pc])
            for va in armed:
                machine.unbreak(va)
            armed = {}
    for va in armed:
        machine.unbreak(va)
    status = signed(g.leave(name, stop, LIMIT))
    if status not in job.status:
        raise Disagree(f"{job} ended with status {status}, expected {' or '.join(map(str, job.status))}")


def alone(g: Guest) -> None:
    """Whom the programs have left behind ends, too."""
    for _ in range(400):
        left = [p for p in procs.family(g).values() if p.pid > 2]
        if not left:
            return
        g.call("sched_yield")
    raise Disagree(f"all programs have ended, but {left[0]}, a child of process {left[0].ppid}, is still there")


def tree_job(rng: random.Random, depth: int) -> Job:
    return Job(["forks", str(depth)], (0,), (f"a tree of depth {depth}: every mark is in place",))


def expect_memory(g: Guest, before: set[int], after: str) -> None:
    g.call("slabs_trim")
    now = free_pages(g)
    if now != before:
        lost, more = before - now, now - before
        raise Disagree(f"after {after}, {len(lost)} pages are lost, such as that at {V2P(min(lost)):#x}" if lost else
                       f"after {after}, {len(more)} pages are free that were not, such as that at {V2P(min(more)):#x}")


def fail_somewhere(g: Guest, rng: random.Random, before: set[int]) -> None:
    """One allocation fails, whichever it is."""
    g.call("failnth_set", 0)
    job = tree_job(rng, 2)
    job.pid = spawn(g, job)
    wait(g, job, rng)
    alone(g)
    calls = g.call("failnth_calls")
    for _ in range(FAILURES if calls else 0):
        nth = rng.randint(1, calls)
        g.call("failnth_set", nth)
        job = Job(["forks", "2"], (0, NO_MEMORY, KILLED))
        job.pid = spawn(g, job)
        if job.pid > 0:
            wait(g, job, rng)
        elif job.pid != -12:
            raise Disagree(f"proc_spawn of {job} returned {job.pid}, expected a pid or -12 (ENOMEM)")
        g.call("failnth_set", 0)
        alone(g)
        expect_memory(g, before, f"{job}, while allocation {nth} fails")


def judge_forks(g: Guest, rng: random.Random) -> None:
    trouble = g.call("proc_trouble")
    if trouble:
        raise Disagree(f"there are no threads: {g.text(trouble)}")
    first = Job(["exit", "7"], (7,))
    first.pid = spawn(g, first)
    wait(g, first, rng)
    stacks = g.call("vmalloc_aligned", STACKS * 2 * STACK_SIZE, 2 * STACK_SIZE)
    if stacks == 0:
        raise Disagree(f"vmalloc_aligned finds no memory for {STACKS} stacks")
    g.call("vfree", stacks)                 # and vmalloc has its tables, for all that there will be
    g.call("slabs_trim")
    before = free_pages(g)
    sharing = Sharing(g)

    pages = rng.randrange(20, 60)
    jobs = [tree_job(rng, 3), tree_job(rng, 3), tree_job(rng, 2), tree_job(rng, 4),
            Job(["alloc", "mine", str(pages)], (0,), (f"mine: {pages} pages, all of them mine",)),
            Job(["forks", "3", "leave"]), Job(["memory"]), Job(["heap", "50"]), Job(["attack", "text_write"], (SEGV,))]
    g.printed()
    rng.shuffle(jobs)
    for job in jobs:
        job.pid = spawn(g, job)
        if job.pid <= 0:
            raise Disagree(f"proc_spawn of {job} returned {job.pid}, expected a pid")
    for job in jobs:
        wait(g, job, rng, sharing)
    alone(g)
    said = g.printed().decode("utf-8", "replace").replace("\r", "").split("\n")
    for job in jobs:
        for line in job.says:
            if line not in said:
                raise Disagree(f"{job} has not printed the line {line!r}")
    if sharing.looks < LOOKS // 3 or not sharing.shared:
        raise Disagree(f"the programs have come by {sharing.looks} places of the kernel, expected {LOOKS}, and have shared "
                       f"{sharing.shared} pages there")
    expect_memory(g, before, "all programs have ended")
    if g.has("failnth_set"):
        fail_somewhere(g, rng, before)
