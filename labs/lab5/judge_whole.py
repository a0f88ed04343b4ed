"""Lab 5 as a whole from outside: programs run, the machine is stopped now and then, and every process's table is
walked in physical memory."""

from __future__ import annotations

import random

from grade import isolation, procs
from grade.buddy import free_pages
from grade.guest import Guest
from grade.isolation import Job, Watch, expect_lines, expect_memory
from grade.procs import WRITE, Proc
from grade.view import PGSIZE, Disagree, Leaf

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
STOPS = ("sys_mmap", "sys_munmap", "sys_mprotect", "sys_brk", "sys_exit", "user_fault", "timer_interrupt", "sys_write")
LOOKS = 40                  # stops at which all is looked at
LIMIT = 400                 # million instructions from stop to stop
FIRST = 0x1000_0000         # where user/alloc.c has its pages


class Isolation(isolation.Isolation):
    """Also: each page of a range is mapped, and counted."""

    def __init__(self, g: Guest):
        super().__init__(g)
        self.seen: set[str] = set()             # programs that were looked at

    def see_space(self, p: Proc, leaves: list[Leaf]) -> None:
        self.see_ranges(p, leaves)
        self.see_contents(p, leaves)
        self.seen.add(p.name)

    def see_pages(self, mapped: dict[int, list[tuple[Proc, Leaf]]]) -> None:
        for pa, places in mapped.items():
            self.see_count(pa, places)

    def see_ranges(self, p: Proc, leaves: list[Leaf]) -> None:
        """Each page of a range is mapped, with its rights, and no other.  From lab 6 on: if it is mapped, and perhaps
        without that to write."""
        by_va = {leaf.va: leaf for leaf in leaves}
        pages = 0
        for r in procs.ranges(self.g, p):
            for va in range(r.start, r.end, PGSIZE):
                found = by_va.get(va)
                if found is None and self.lazy:
                    continue
                if found is None:
                    raise Disagree(f"{va:#x} of {p} is not mapped, though in the range {r.start:#x}-{r.end:#x}", va, p.root)
                rights = isolation.rights(found)
                if rights != r.rights and not (self.lazy and rights == r.rights & ~WRITE):
                    raise Disagree(f"{va:#x} of {p} has the rights {rights:03b} (exec, write, read), expected "
                                   f"{r.rights:03b}", va, p.root)
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


# --- programs ------------------------------------------------------------


def run(g: Guest, jobs: list[Job], rng: random.Random, watch: Watch | None = None) -> None:
    isolation.run(g, jobs, rng, LIMIT, watch)
    expect_lines(g, jobs)


def word(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(8))


def exit_job(rng: random.Random) -> Job:
    status = rng.randrange(256)
    return Job(["exit", str(status + 256 * rng.randrange(3))], (status,))


def alloc_job(rng: random.Random) -> Job:
    name, n = word(rng), rng.randrange(30, 90)
    return Job(["alloc", name, str(n)], (0,), (f"{name}: {n} pages, all of them mine",))


def regs_job(rng: random.Random) -> Job:
    n = rng.randrange(100, 300)
    return Job(["regs", str(n), str(rng.randrange(1 << 50))], (0,), (f"{n} system calls, all registers kept",))


def ping_job(rng: random.Random) -> Job:
    name, n = word(rng), rng.randrange(2, 6)
    return Job(["ping", name, str(n)], (0,), tuple(f"{name} {i}" for i in range(1, n + 1)))


def hello_job(rng: random.Random) -> Job:
    words = [word(rng) for _ in range(rng.randrange(4))]
    return Job(["hello", *words], (0,), tuple(f"argument {i}: {w}" for i, w in enumerate(words, 1)))


def attack_job(rng: random.Random) -> Job:
    name = rng.choice(sorted(ATTACKS))
    return Job(["attack", name], (ATTACKS[name],))


def judge_programs(g: Guest, rng: random.Random) -> None:
    trouble = g.call("proc_trouble")
    if trouble:
        raise Disagree(f"there are no threads: {g.text(trouble)}")
    run(g, [exit_job(rng)], rng)            # and vmalloc has its tables
    g.call("slabs_trim")
    before = free_pages(g)
    seen = Isolation(g)

    # As many at the same time as the check has.
    makers = (*[exit_job] * 4, *[alloc_job] * 3, *[regs_job] * 2, *[ping_job] * 2, *[hello_job] * 5, *[attack_job] * 4)
    run(g, [*(make(rng) for make in makers), Job(["memory"]), Job(["heap", str(rng.randrange(50, 150))])], rng,
        Watch(seen, STOPS, LOOKS, 10))
    if seen.looks < LOOKS // 2:
        raise Disagree(f"the programs have come by {seen.looks} places of the kernel, expected {LOOKS}")
    for way in rng.sample(sorted(CHANGES), 5):
        run(g, [Job(["tlb", way], (CHANGES[way],))], rng)      # alone: a switch would empty the TLB
    expect_memory(g, before, "all programs have ended")
