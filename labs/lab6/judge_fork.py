"""Lab 6's kern/fork.c from outside: address spaces that are made up here, entry by entry, and what aspace_copy makes of
them; the state of a process that is made up, and what fork_registers gives to another one."""

from __future__ import annotations

import random
import struct

from grade.aspace import EXEC, READ, WRITE, rights
from grade.blocks import signed
from grade.el0 import FP_OPEN, Own
from grade.guest import Guest
from grade.order import CLEARED, GONE, INVALIDATED, MAPPED, VISIBLE, Live, Order
from grade.spaces import (ALLOCATORS, EBUSY, ENOMEM, FILE, IMAGE_USERS, STACK, TOP, USERS_MAX, Memory, Side, failing, leaf,
                          name, users_of, writable)
from grade.tree import RO, Few
from grade.view import ADDRESS, KERNBASE, M64, PGSIZE, P2V, Disagree

ATTRIBUTES = ~(ADDRESS | 1) & M64
PROTS = (0, READ, READ | WRITE, READ | EXEC, READ | WRITE, EXEC)
MANY_USERS = (2, 3, 254, 255, 256, 257, 300, 65534, 65535, 65536, 70000)
TWO_MB, ONE_GB, ROOT_SPAN = 1 << 21, 1 << 30, 1 << 39


# --- a parent ------------------------------------------------------------


class Family:
    """An address space, and copies of it."""

    def __init__(self, m: Memory):
        m.fresh()
        self.m, self.g, self.rng = m, m.g, m.rng
        rng = m.rng
        self.parent = Side(m, "from", rng.getrandbits(64), (rng.getrandbits(48), rng.getrandbits(48)))
        self.parent.set("image", m.g.push(bytes(IMAGE_USERS) + struct.pack("<Q", 1)))
        self.children: list[Side] = []

    # --- making it -------------------------------------------------------

    def page(self, va: int, prot: int) -> None:
        """A page of its own; or one that others have, or the page of zeroes, which it cannot write yet."""
        m, kind = self.m, self.rng.randrange(4)
        if kind == 0:
            m.set_users(m.zero, m.frames[m.zero].users + 1)
            self.parent.put(va, m.zero, prot & ~WRITE)
        elif kind == 1:
            self.parent.put(va, m.frame(self.rng.choice(MANY_USERS)), prot & ~WRITE)
        else:
            self.parent.put(va, m.frame(), prot)

    def range(self, start: int, pages: int, prot: int, dense: bool = False) -> int:
        self.parent.range(start, start + pages * PGSIZE, prot, self.rng.randrange(STACK + 1))
        for va in range(start, start + pages * PGSIZE, PGSIZE):
            if dense or self.rng.randrange(4):
                self.page(va, prot)
            elif self.rng.randrange(2):
                self.invalid(va)
        return start + pages * PGSIZE

    def invalid(self, va: int) -> None:
        """An entry whose bit 0 is clear: it means nothing, whatever it looks like."""
        entry = leaf(self.m.frame(), READ | WRITE) & ~1
        self.g.phys_write(self.parent.tables_for(va), struct.pack("<Q", entry))

    def long(self, start: int) -> int:
        """A range in which there are no tables for most of it; its last page is there."""
        stop = start + TWO_MB * 4
        self.parent.range(start, stop, READ | WRITE, STACK)
        self.page(stop - PGSIZE, READ | WRITE)
        if self.rng.randrange(2):
            self.page(start + PGSIZE, READ | WRITE)
        return stop

    def sparse(self, n: int) -> Family:
        """Ranges here and there, with tables of their own; over the ends of tables; with neighbours of other rights."""
        rng = self.rng
        places = {0x40_0000, 5 * TWO_MB - PGSIZE, ONE_GB - 2 * PGSIZE, ROOT_SPAN - PGSIZE, rng.randrange(2, 500) * ROOT_SPAN,
                  rng.randrange(1, 500) * ROOT_SPAN + rng.randrange(1, 500) * ONE_GB - PGSIZE,
                  rng.randrange(ROOT_SPAN, TOP - ROOT_SPAN) & -PGSIZE}
        places = {PGSIZE, *rng.sample(sorted(places), n)}
        end = 0
        for start in sorted(places):
            if start < end:
                continue
            prot = rng.randrange(len(PROTS))
            end = self.range(start, rng.randrange(1, 4), PROTS[prot])
            if rng.randrange(2):
                end = self.range(end, 1, PROTS[prot ^ 1])
        if end < TOP - TWO_MB * 8:
            self.long(max(end, rng.randrange(TOP - ROOT_SPAN, TOP - TWO_MB * 8) & -PGSIZE))
        self.range(TOP - 2 * PGSIZE, 2, rng.choice(PROTS), dense=True)
        return self

    def small(self, last: int) -> Family:
        """Few pages of its own, in one table; the last range, of two pages, has these rights."""
        for start, pages, prot in ((0x40_0000, 1, READ | EXEC), (0x40_6000, 2, READ | WRITE), (0x40_9000, 1, READ),
                                   (0x41_0000 + self.rng.randrange(200) * PGSIZE, 2, last)):
            self.parent.range(start, start + pages * PGSIZE, prot, self.rng.randrange(STACK + 1))
            for va in range(start, start + pages * PGSIZE, PGSIZE):
                self.parent.put(va, self.m.frame(), prot)
        return self

    def full(self) -> Family:
        """All entries of a table, and a neighbour on both sides."""
        m, start = self.m, self.rng.randrange(3, 400) * TWO_MB - PGSIZE
        self.parent.range(start, start + TWO_MB + 2 * PGSIZE, READ | WRITE, FILE)
        for va in range(start, start + TWO_MB + 2 * PGSIZE, PGSIZE):
            self.parent.put(va, m.zero, READ)
        for va in self.rng.sample(sorted(self.parent.entries), 5):
            self.parent.put(va, m.frame(), READ | WRITE)
        m.set_users(m.zero, m.frames[m.zero].users + len(self.parent.entries) - 5)
        return self

    # --- copying ---------------------------------------------------------

    def copy(self, of: Side, order: Order | None = None) -> Side:
        """It must succeed.  The model learns what should be."""
        m = self.m
        to = Side(m, "to")
        self.children.append(to)
        m.last = f"aspace_copy(to, from), of {of}"
        of.name = "from"
        call = order.follow_barriers if order else m.g.call
        m.expect(signed(call("aspace_copy", to.at, of.at)), 0, "there is memory")
        for va, entry in of.entries.items():
            of.entries[va] = to.entries[va] = entry | RO
            m.frames[entry & ADDRESS].users += 1
        to.ranges = list(of.ranges)
        for field in ("brk_start", "brk", "pages"):
            to.fields[field] = of.fields[field]
        to.fields["image"] = to.field("image")      # proc_fork's
        return to

    def check(self, ignore: int, objects: int | None = None) -> None:
        sides = [self.parent, *self.children]
        for i, side in enumerate(sides[1:]):
            side.name = f"copy {i + 1}" if len(sides) > 2 else "to"
        self.m.check(*sides, ignore=ignore, objects=objects)

    def tables(self) -> int:
        """How many tables a copy needs."""
        return len({(level, va >> 48 - 9 * level) for va in self.parent.entries for level in (1, 2, 3)})


def need_aspace_copy(m: Memory) -> None:
    family = Family(m)
    family.range(0x40_0000, 1, READ, dense=True)
    to = Side(m, "to")
    result = signed(m.g.call("aspace_copy", to.at, family.parent.at))
    if result != 0 or not to.entry(0x40_0000) & 1:
        raise Disagree(f"aspace_copy(to, from), of one page, returned {name(result)} and mapped "
                       f"{'it' if to.entry(0x40_0000) & 1 else 'nothing'}: write aspace_copy in kern/fork.c first")


def judge_aspace_copy(g: Guest, rng: random.Random) -> None:
    m = Memory(g, rng)
    need_aspace_copy(m)
    for turn in range(5):
        family = Family(m)
        if turn == 1:
            family.full()
        elif turn:
            family.sparse(4)
        family.copy(family.parent)
        family.check(ATTRIBUTES, objects=len(family.parent.ranges))
        family.copy(family.parent if turn % 2 else family.children[0])
        family.check(ATTRIBUTES, objects=2 * len(family.parent.ranges))


# --- copy_protect --------------------------------------------------------


class Protecting(Order):
    """While pages become read-only: what could be written before leaves the TLBs after that."""

    def __init__(self, m: Memory, side: Side):
        live = [Live(va, side.slot(va), entry, MAPPED, entry & ADDRESS, side.asid)
                for va, entry in side.entries.items() if writable(entry)]
        super().__init__(m.g, f"aspace_copy(to, from), of {side}", live)
        self.root = side.root

    def stores(self) -> None:
        for entry in self.live:
            now, before = self.u64(entry.slot), entry.now
            if now != before:
                entry.now = now
                if writable(now):
                    entry.stage = MAPPED
                elif writable(before):
                    entry.stage = CLEARED

    def expect_gone(self) -> None:
        """Of what has become read-only, no old translation may still be used."""
        for entry in self.live:
            if entry.stage not in (MAPPED, GONE):
                why = {CLEARED: "no dsb makes the walkers of other cores see that before a tlbi",
                       VISIBLE: entry.missed.removeprefix("was unmapped, but ")
                       or "after that nothing has dropped its old translation from the TLBs (aspace_flush)",
                       INVALIDATED: "no dsb has waited until other cores have done with its old translation"}
                raise Disagree(f"after {self.what}: {entry.va:#x} has become read-only, but {why[entry.stage]}", entry.va,
                               self.root)


def protected(m: Memory, sides: list[Side]) -> None:
    """The entries of what is mapped there at all."""
    for side in sides:
        for va, wanted in side.entries.items():
            found = side.entry(va)
            if (found ^ wanted) & (ADDRESS | 1):
                continue                            # judge_aspace_copy says that
            if found != wanted:
                prot = rights(side.range_of(va)[2])
                raise Disagree(f"after {m.last}: the entry for {va:#x} of {side.name}, in a range with {prot}, is {found:#x}, "
                               f"expected {wanted:#x}", va, side.root, wanted)


def judge_copy_protect(g: Guest, rng: random.Random) -> None:
    m = Memory(g, rng)
    need_aspace_copy(m)
    for turn in range(4):
        family = Family(m)
        family = family.sparse(4) if turn < 3 else family.full()
        family.copy(family.parent)
        protected(m, [family.parent, *family.children])
        family.copy(family.parent if turn % 2 else family.children[0])
        protected(m, [family.parent, *family.children])
    family = Family(m).small(READ | WRITE)
    order = Protecting(m, family.parent)
    family.copy(family.parent, order)
    order.expect_gone()
    protected(m, [family.parent, *family.children])


# --- copy_nomem ----------------------------------------------------------


class Failing:
    def __init__(self, family: Family):
        self.family, self.m, self.g = family, family.m, family.m.g
        self.parent, self.to = family.parent, Side(family.m, "to")

    def undone(self, result: int, how: str, free: set[int] | None = None) -> None:
        """It has failed: is all as before?  Entries may have become read-only."""
        m, parent, to = self.m, self.parent, self.to
        m.last = f"aspace_copy(to, from), of {parent}, {how}"
        m.expect(result, ENOMEM, "memory has run out in it")
        for va, entry in parent.entries.items():
            if parent.entry(va) == entry | RO:
                parent.entries[va] = entry | RO
        for field in ("brk_start", "brk", "image"):
            to.fields[field] = to.field(field)      # of no meaning
        if to.field("vmas"):
            raise Disagree(f"after {m.last}: to has ranges, expected it to have nothing but its root")
        if self.g.phys(to.root, PGSIZE) != bytes(PGSIZE) and any(
                e & 1 for e in struct.unpack("<512Q", self.g.phys(to.root, PGSIZE))):
            raise Disagree(f"after {m.last}: the root of to is not empty")
        m.check(parent, to, objects=0, free=free)

    def short(self, n: int) -> None:
        """With n pages, which are too few."""
        with Few(self.g, n) as few:
            before = few.free()
            result = signed(self.g.call("aspace_copy", self.to.at, self.parent.at))
            self.undone(result, f"{n} pages being free", few.free())
            if few.free() != before:
                raise Disagree(f"{self.m.last} failed, but not all pages are free again")

    def each(self, functions: tuple[str, ...], error: int, what: str) -> None:
        """Each call of these fails once."""
        for nth in range(1, 1000):
            result, happened = failing(self.g, nth, functions, error, "aspace_copy", self.to.at, self.parent.at)
            if not happened:
                return
            self.undone(result, f"where call {nth} of {what} fails")
        raise Disagree(f"{self.m.last} calls {what} without end")

    def closely(self) -> None:
        """The translations of what has become read-only are gone even so."""
        m, parent = self.m, self.parent
        last = max(parent.entries)
        order = Protecting(m, parent)
        with users_of(m, parent.entries[last] & ADDRESS, USERS_MAX):
            result = signed(order.follow_barriers("aspace_copy", self.to.at, parent.at))
            self.undone(result, f"where the page at {last:#x} can have no more users")
        order.expect_gone()


def judge_copy_nomem(g: Guest, rng: random.Random) -> None:
    m = Memory(g, rng)
    need_aspace_copy(m)
    few = Failing(Family(m).sparse(3))
    tables = few.family.tables()
    for n in sorted({0, tables - 1, *rng.sample(range(tables), min(4, tables))}):
        few.short(n)
    failing_ = Failing(Family(m).small(READ))
    failing_.closely()
    failing_.each(ALLOCATORS, 0, "the allocators")
    few = Failing(Family(m).sparse(2))
    few.each(("page_share",), EBUSY, "page_share")


# --- fork_registers ------------------------------------------------------

# inc/sched.h, inc/trap.h, inc/proc.h, inc/fpu.h
CONTEXT, FRAME, FPU = struct.Struct("<14Q"), struct.Struct("<36Q"), struct.Struct("<66Q")
FRAME_NAMES = [*(f"x{i}" for i in range(31)), "sp", "elr", "spsr", "esr", "far"]
LR, CONTEXT_SP, TPIDR = 11, 12, 13
KSTACK_AT, FPU_AT, PROC_SIZE = 168, 232, 800
STACK_SIZE = 0x4000
GUARD = 64
FPCR, FPSR = 0x07C0_0000, 0xF800_009F       # the bits that can be set: ARM ARM C5.2.7, C5.2.9


class Registers:
    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        self.own = Own(g, rng)
        self.current = g.reg("tpidr_el1")
        self.stack = P2V(g.call("pmm_alloc", 2))
        self.around = g.push(bytes(PROC_SIZE + 2 * GUARD))
        self.child = self.around + GUARD
        self.frame = g.push(bytes(FRAME.size + 2 * GUARD)) + GUARD
        self.scratch = g.push(bytes(FPU.size))

    def fpu(self) -> bytes:
        words = [self.rng.getrandbits(64) for _ in range(66)]
        words[64] &= FPCR
        words[65] &= FPSR
        return FPU.pack(*words)

    def load(self, fpu: bytes) -> None:
        """Into the core, access to which is open from here on."""
        self.own.system("cpacr", FP_OPEN)
        self.g.write(self.scratch, fpu)
        self.g.call("fpu_load", self.scratch)

    def core(self) -> bytes:
        self.g.call("fpu_save", self.scratch)
        return self.g.read(self.scratch, FPU.size)

    def turn(self, live: bool, sp: int, need: bool = False) -> None:
        """live: the parent's floating-point registers are in the core, and what memory has is old."""
        g, rng = self.g, self.rng
        fpu, other = self.fpu(), self.fpu()
        self.load(fpu if live else other)
        if not live:
            self.own.system("cpacr", 0)
        g.write(self.current + FPU_AT, other if live else fpu)
        tpidr = rng.getrandbits(64)
        self.own.system("tpidr_el0", tpidr)
        frame = FRAME.pack(*(rng.getrandbits(64) for _ in FRAME_NAMES))
        around_frame = rng.randbytes(GUARD) + frame + rng.randbytes(GUARD)
        g.write(self.frame - GUARD, around_frame)
        proc = bytearray(rng.randbytes(PROC_SIZE + 2 * GUARD))
        proc[GUARD + KSTACK_AT:GUARD + KSTACK_AT + 8] = self.stack.to_bytes(8, "little")
        g.write(self.around, bytes(proc))
        stack = rng.randbytes(STACK_SIZE)
        g.phys_write(self.stack - KERNBASE, stack)
        parent = g.read(self.current, PROC_SIZE)

        what = f"fork_registers(child, frame, {sp:#x}), the floating-point registers being in {'the core' if live else 'memory'}"
        g.call("fork_registers", self.child, self.frame, sp)
        now = bytearray(g.read(self.around, len(proc)))
        own = g.read(self.stack + STACK_SIZE - FRAME.size, FRAME.size)
        if need and now == proc and own == stack[-FRAME.size:]:
            raise Disagree(f"{what}: found nothing of the child changed: write fork_registers in kern/fork.c first")
        self.see_frame(what, frame, own, sp)
        if g.phys(self.stack - KERNBASE, STACK_SIZE)[:-FRAME.size] != stack[:-FRAME.size]:
            raise Disagree(f"{what}: expected nothing below the child's frame to change, found that something has")
        self.see_child(what, proc, now, tpidr, fpu)
        self.see_parent(what, parent, tpidr, fpu)
        if g.read(self.frame - GUARD, len(around_frame)) != around_frame:
            raise Disagree(f"{what}: expected the parent's frame to stay, found it changed")

    def see_frame(self, what: str, frame: bytes, own: bytes, sp: int) -> None:
        wanted = list(FRAME.unpack(frame))
        wanted[0] = 0
        if sp:
            wanted[31] = sp
        for label, found, value in zip(FRAME_NAMES[:34], FRAME.unpack(own), wanted):
            if found != value:
                raise Disagree(f"{what}: expected {label} of the child's frame to be {value:#x}, found {found:#x}")

    def see_child(self, what: str, proc: bytearray, now: bytearray, tpidr: int, fpu: bytes) -> None:
        context = CONTEXT.unpack_from(now, GUARD)
        for index, label, value in ((LR, "lr", self.g.symbol("process_entry")),
                                    (CONTEXT_SP, "sp", self.stack + STACK_SIZE - FRAME.size), (TPIDR, "tpidr", tpidr)):
            if context[index] != value:
                raise Disagree(f"{what}: expected context.{label} of the child to be {value:#x}, found {context[index]:#x}")
        at = GUARD + FPU_AT
        self.see_fpu(what, "the child", bytes(now[at:at + FPU.size]), fpu)
        for first, size in ((GUARD, CONTEXT.size), (at, FPU.size)):
            proc[first:first + size] = now[first:first + size]
        if now != proc:
            i = next(i for i, (a, b) in enumerate(zip(now, proc)) if a != b) - GUARD
            raise Disagree(f"{what}: expected nothing of the child but its frame, context and fpu to change, found that byte "
                           f"{i} of struct proc has")

    def see_parent(self, what: str, parent: bytes, tpidr: int, fpu: bytes) -> None:
        g = self.g
        if g.reg("cpacr") & FP_OPEN:
            self.see_fpu(what, "the parent, in the core", self.core(), fpu)
        else:
            self.see_fpu(what, "the parent", g.read(self.current + FPU_AT, FPU.size), fpu)
        if g.reg("tpidr_el0") != tpidr:
            raise Disagree(f"{what}: expected TPIDR_EL0 to stay {tpidr:#x}, found {g.reg('tpidr_el0'):#x}")
        now = g.read(self.current, PROC_SIZE)
        if now[:FPU_AT] != parent[:FPU_AT] or now[FPU_AT + FPU.size:] != parent[FPU_AT + FPU.size:]:
            raise Disagree(f"{what}: expected nothing of the parent but fpu to change, found that something has")

    def see_fpu(self, what: str, whose: str, found: bytes, wanted: bytes) -> None:
        for i, (a, b) in enumerate(zip(FPU.unpack(found), FPU.unpack(wanted))):
            if a != b:
                label = f"V{i // 2}" if i < 64 else ("FPCR", "FPSR")[i - 64]
                raise Disagree(f"{what}: expected {label} of {whose} to have {b:#x}, found {a:#x}")


def judge_fork_registers(g: Guest, rng: random.Random) -> None:
    registers = Registers(g, rng)
    for turn in range(12):
        sp = rng.getrandbits(rng.choice((64, 48, 12, 1))) if turn % 3 else 0
        registers.turn(turn % 2 == 0, sp, need=turn == 0)
    registers.own.done()
    g.restore()
