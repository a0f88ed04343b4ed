"""Lab 6 as a whole from outside: programs fork, the machine is stopped now and then, and every page is counted in the
tables of all processes, as they are in physical memory."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from grade import isolation, procs
from grade.buddy import free_pages, memory
from grade.guest import Guest
from grade.isolation import RO, STACK_SIZE, Isolation, Job, Watch, expect_lines, expect_memory, run, spawn, try_spawn, wait
from grade.procs import WRITE, Proc
from grade.view import PGSIZE, Disagree, Leaf

MANY = 1000                 # images, more than there can be

NO_MEMORY, KILLED, SEGV = 255, 128 + 9, 128 + 11    # how a program ends that has no memory (user/forks.c, kern/fault.c)
STOPS = ("sys_clone", "sys_wait4", "sys_exit", "user_fault", "sys_write", "sys_brk", "timer_interrupt")
STACKS = 128                # more than the programs have at the same time
LOOKS = 24                  # stops at which all is looked at
FAILURES = 4                # allocations that fail
LIMIT = 600                 # million instructions from stop to stop


# --- one moment ----------------------------------------------------------


class Sharing(Isolation):
    """Also: each page has as many users as are counted, and what can be written has one."""

    def __init__(self, g: Guest):
        super().__init__(g)
        self.shared = 0                         # pages that were seen with several

    def see_kernel(self) -> None:
        super().see_kernel()
        if self.g.phys(self.zero, PGSIZE) != bytes(PGSIZE):
            raise Disagree("the page of zeroes is not all zeroes any more")
        self.files: dict[int, int] = {}         # pages of programs' files, and whose
        self.see_images()

    def see_images(self) -> None:
        g, family = self.g, self.family
        at, seen = g.u64(g.symbol("images")), set[int]()
        while at:
            if at in seen or len(seen) > MANY:
                raise Disagree("the list of programs that run goes round in a circle")
            seen.add(at)
            file, size, users, following, npages = procs.IMAGE.unpack(memory(g, at, procs.IMAGE.size, "a struct image"))
            of_it = [p for p in family.values() if p.root and p.image == at]
            if users != len(of_it):
                raise Disagree(f"the program of {of_it[0] if of_it else 'nobody'} has {users} users, expected {len(of_it)}")
            pages = struct.unpack(f"<{npages}Q", memory(g, at + procs.IMAGE.size, 8 * npages, "a struct image"))
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

    def see_table(self, p: Proc, table: int, tables: dict[int, Proc]) -> None:
        super().see_table(p, table, tables)
        if table in self.files or table == self.zero:
            raise Disagree(f"{p} has a page table at {table:#x}, which all share")

    def see_space(self, p: Proc, leaves: list[Leaf]) -> None:
        """Each page that is mapped has its range's rights, or all but that to write."""
        ranges = procs.ranges(self.g, p)
        for leaf in leaves:
            wanted = next((r.rights for r in ranges if r.start <= leaf.va < r.end), None)
            if wanted is None:
                raise Disagree(f"{leaf.va:#x} of {p} is mapped, though in no range", leaf.va, p.root)
            found = isolation.rights(leaf)
            if found not in (wanted, wanted & ~WRITE):
                raise Disagree(f"{leaf.va:#x} of {p} has the rights {found:03b} (exec, write, read), expected {wanted:03b}, "
                               "or all but that to write", leaf.va, p.root)

    def see_pages(self, mapped: dict[int, list[tuple[Proc, Leaf]]]) -> None:
        for pa in {*mapped, *self.files, self.zero}:
            self.see_count(pa, mapped.get(pa, []))

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


def fail_somewhere(g: Guest, rng: random.Random, before: set[int]) -> None:
    """One allocation fails, whichever it is."""
    g.call("failnth_set", 0)
    job = tree_job(rng, 2)
    spawn(g, job)
    wait(g, job, rng, LIMIT)
    alone(g)
    calls = g.call("failnth_calls")
    for _ in range(FAILURES if calls else 0):
        nth = rng.randint(1, calls)
        g.call("failnth_set", nth)
        job = Job(["forks", "2"], (0, NO_MEMORY, KILLED))
        if try_spawn(g, job) > 0:
            wait(g, job, rng, LIMIT)
        elif job.pid != -12:
            raise Disagree(f"proc_spawn of {job} returned {job.pid}, expected a pid or -12 (ENOMEM)")
        g.call("failnth_set", 0)
        alone(g)
        expect_memory(g, before, f"{job}, while allocation {nth} fails")


def judge_forks(g: Guest, rng: random.Random) -> None:
    trouble = g.call("proc_trouble")
    if trouble:
        raise Disagree(f"there are no threads: {g.text(trouble)}")
    run(g, [Job(["exit", "7"], (7,))], rng, LIMIT)
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
    run(g, jobs, rng, LIMIT, Watch(sharing, STOPS, LOOKS, 6))
    alone(g)
    expect_lines(g, jobs)
    if sharing.looks < LOOKS // 3 or not sharing.shared:
        raise Disagree(f"the programs have come by {sharing.looks} places of the kernel, expected {LOOKS}, and have shared "
                       f"{sharing.shared} pages there")
    expect_memory(g, before, "all programs have ended")
    if g.has("failnth_set"):
        fail_somewhere(g, rng, before)
