"""Address spaces that are made up in the stopped kernel, several at a time: tables, ranges, and pages with as many users as
they should have; and the model of all of it.  For judges of lab 6 on.

    m = Memory(g, rng)
    a = Side(m, "from", rng.getrandbits(64))
    a.range(0x400000, 0x403000, READ | WRITE, ANON)
    a.put(0x400000, m.frame(users=2), READ)         a page, mapped with the entry for these rights
    m.check(a)                                      all is as the model says, and every other page is free

Nothing is put back at the end: a judge's machine is not used any more.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from grade.aspace import attributes, rights
from grade.blocks import signed
from grade.buddy import LINK, SHARED as SHARED_STATE, USED as USED_STATE, Pmm, listed_pages, memory
from grade.gdb import PC, SP
from grade.guest import Guest, Stuck
from grade.machine import Stop
from grade.tree import ADDED, RO, TABLE, ZERO, poison_free, take
from grade.view import ADDRESS, KERNBASE, M64, PGSIZE, P2V, V2P, Disagree, is_table

ENOMEM, EFAULT, EBUSY = -12, -14, -16
ERRORS = {ENOMEM: "-ENOMEM", EFAULT: "-EFAULT", EBUSY: "-EBUSY", -2: "-ENOENT", -17: "-EEXIST", -22: "-EINVAL"}
FILE, HEAP, ANON, STACK = range(4)              # inc/vma.h
ASPACE = struct.Struct("<7Q")                   # inc/aspace.h
FIELDS = ("root", "asid", "vmas", "brk_start", "brk", "pages", "image")
VMA = struct.Struct("<2Q2iQ")                   # start, end, prot, kind, next
IMAGE_USERS = 376                               # offset of users in struct image (inc/pager.h)
TOP = 1 << 48
MANY = 200                                      # ranges, more than a judge makes
OBJECTS = 48                                    # for ranges, that are to be had without a page
LIMIT = 60                                      # million instructions for a call
USERS_MAX = (1 << 31) - 1
# Functions of others in which neither an entry changes nor a TLB is told.
QUIET = ("memset", "memcpy", "page_zero", "page_fill", "page_copy", "kalloc", "kfree", "kmalloc", "kmfree", "kzalloc", "vma_add",
         "vma_clear", "page_share", "page_unshare", "page_refs", "pager_page")
ALLOCATORS = ("kalloc", "kmalloc", "kzalloc", "pmm_alloc", "slab_alloc")
SPAN, SLAB = struct.Struct("<6Q"), struct.Struct("<64x Q 6I Q Q Q")     # inc/slab.h


def name(error: int) -> str:
    return ERRORS.get(error, str(error))


def leaf(pa: int, prot: int) -> int:
    return pa | attributes(prot) | ADDED


def writable(entry: int) -> bool:
    return bool(entry & 1) and not entry & RO


# --- calls that are watched ----------------------------------------------


Handler = Callable[[list[int]], "int | None"]


def watched(g: Guest, function: str, *arguments: int, stops: dict[str, Handler]) -> int:
    """Call it.  Whenever one of `stops` is about to run, its handler gets the registers; what it returns, if anything, that
    function returns at once."""
    machine = g.machine
    handlers = {g.symbol(stop): handler for stop, handler in stops.items()}
    mine = set(handlers) - machine.breakpoints
    label, pc = g.enter(function, *arguments)
    for va in mine:
        machine.break_at(va)
    try:
        stop = machine.run(LIMIT, pc=pc)
        while stop is Stop.BREAKPOINT and (pc := machine.pc) in handlers:
            core = machine.gdb.read_core()
            result = handlers[pc](core)
            if result is not None:
                core[0], core[PC] = result & M64, core[30]
                machine.gdb.write_core(core)
                pc = core[30]
            stop = machine.run(LIMIT, pc=pc)
    finally:
        for va in mine:
            machine.unbreak(va)
    return signed(g.leave(label, stop, LIMIT))


def failing(g: Guest, nth: int, functions: tuple[str, ...], error: int, function: str, *arguments: int) -> tuple[int, bool]:
    """Call it; the nth call of one of `functions` fails.  What these call themselves does not count.  The result, and whether
    there were so many."""
    machine = g.machine
    places = {g.symbol(f) for f in functions if g.has(f)}
    label, pc = g.enter(function, *arguments)
    count = 0

    def go_on(until: set[int], pc: int) -> Stop:
        mine = until - machine.breakpoints
        for va in mine:
            machine.break_at(va)
        try:
            return machine.run(LIMIT, pc=pc)
        finally:
            for va in mine:
                machine.unbreak(va)

    stop = go_on(places, pc)
    while stop is Stop.BREAKPOINT and machine.pc in places:
        core = machine.gdb.read_core()
        count += 1
        if count == nth:
            core[0], core[PC] = error & M64, core[30]
            machine.gdb.write_core(core)
            stop = machine.run(LIMIT, pc=core[PC])
            break
        stop, pc = go_on({core[30]}, core[PC]), core[30]
        while stop is Stop.BREAKPOINT and machine.pc == pc and g.reg("sp") < core[SP]:
            stop = go_on({pc}, pc)
        if stop is not Stop.BREAKPOINT or machine.pc != pc:
            break
        if pc == g.return_to:
            raise Stuck(f"{label} was left by a jump")
        stop = go_on(places, pc)
    return signed(g.leave(label, stop, LIMIT)), count >= nth


# --- memory --------------------------------------------------------------


@dataclass
class Frame:
    data: bytes
    users: int


class Memory:
    """Whose each page is, from the last fresh() on: a side's table, a frame, or free."""

    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        self.sides: list[Side] = []
        self.frames: dict[int, Frame] = {}      # by physical address
        objects = [g.call("kmalloc", VMA.size) for _ in range(OBJECTS)]
        if 0 in objects:
            raise Disagree(f"kmalloc({VMA.size}) returned NULL with memory free: write kmalloc in kern/slab.c first (lab 4)")
        for at in objects[:-1]:
            g.call("kmfree", at)
        if signed(g.call("pager_init")) != 0:
            raise Disagree("kalloc() returned NULL with memory free")
        self.zero = g.p64(g.symbol("zero_page") - KERNBASE)
        self.fresh()

    def fresh(self) -> None:
        """Begin anew: whatever there was is no more looked at."""
        g = self.g
        for side in self.sides:
            g.call("vma_clear", side.at)
        self.sides, self.frames = [], {}
        self.last = "nothing"                   # the last call
        g.call("slabs_trim")
        poison_free(g)
        pmm = Pmm(g)
        self.table, self.start, self.zones = pmm.table - KERNBASE, pmm.start, pmm.zones
        self.all = self.free_now(pmm)
        self.frames[self.zero] = Frame(ZERO, pmm.users.get(self.zero // PGSIZE - pmm.start, 1))
        self.objects = self.objects_now()

    # --- frames ----------------------------------------------------------

    def frame(self, users: int = 1, data: bytes | None = None) -> int:
        """A page of the judge's, of random contents, with so many users.  Its physical address."""
        data = self.rng.randbytes(PGSIZE) if data is None else data
        pa = take(self.g, data) - KERNBASE
        self.frames[pa] = Frame(data, 1)
        self.set_users(pa, users)
        return pa

    def set_users(self, pa: int, users: int) -> None:
        """The pmm has it like this from here on, whoever wrote that."""
        frame = pa // PGSIZE - self.start
        zone = next(z for z in self.zones if z.first <= frame < z.end)
        self.g.phys_write(self.table + frame, bytes([SHARED_STATE if users > 1 else USED_STATE]))
        if users > 1:
            self.g.phys_write(zone.link - KERNBASE + (frame - zone.at) * LINK.size, struct.pack("<I", users))
        self.frames[pa].users = users

    def refresh(self, pa: int) -> None:
        """The judge itself has written to it."""
        self.frames[pa].data = self.g.phys(pa, PGSIZE)

    def adopt(self, pa: int, users: int, what: str) -> None:
        """The call has taken this page, for what is to be `what`: it is a frame from here on."""
        if pa in self.frames:
            raise Disagree(f"after {self.last}: {what} is the page at {pa:#x}, which is another one's")
        if P2V(pa) not in self.all:
            raise Disagree(f"after {self.last}: {what} is the page at {pa:#x}, which was not free before")
        self.frames[pa] = Frame(self.g.phys(pa, PGSIZE), users)

    # --- comparing -------------------------------------------------------

    def free_now(self, pmm: Pmm | None = None) -> set[int]:
        pmm = pmm or Pmm(self.g)
        return {*listed_pages(self.g), *(P2V((pmm.start + f) * PGSIZE) for f in pmm.free_frames())}

    def objects_now(self) -> int:
        """How many objects of caches are in use."""
        g, count = self.g, 0
        at = int.from_bytes(g.read(g.symbol("slabs"), 8), "little")
        for _ in range(MANY):
            if not at:
                return count
            _, _, _, objects, _, _, chunks, _, _, following = SLAB.unpack(memory(g, at, SLAB.size, "a cache"))
            count += chunks * objects
            span = g.p64(at - KERNBASE)
            for _ in range(10 * MANY):
                if span == at:
                    break
                next_one, _, _, _, free, _ = SPAN.unpack(memory(g, span, SPAN.size, "a span"))
                count -= free.bit_count()
                span = next_one
            at = following
        raise Disagree("there are too many caches")

    def check(self, *sides: Side, ignore: int = 0, objects: int | None = None, free: set[int] | None = None) -> None:
        """Is all as it should be?  ignore: bits of entries.  objects: how many there should be more than at first.
        free: what counts as free, if not what is."""
        try:
            self.compare(sides, ignore, objects, free)
        except Disagree as e:
            raise Disagree(f"after {self.last}: {e}", e.va, e.root, e.wanted) from None

    def compare(self, sides: tuple[Side, ...], ignore: int, objects: int | None, given: set[int] | None) -> None:
        if given is None:
            self.g.call("slabs_trim")
        pmm = Pmm(self.g)
        free = self.free_now(pmm) if given is None else given
        tables: dict[int, str] = {}
        for side in sides:
            for table in side.compare(ignore):
                if table in tables:
                    raise Disagree(f"the table at {table:#x} belongs to {side.name} and to {tables[table]}")
                tables[table] = side.name
        for pa, frame in self.frames.items():
            self.compare_frame(pmm, pa, frame, free)
        mine = {P2V(pa) for pa in [*tables, *self.frames]}
        both = mine & free
        if both:
            raise Disagree(f"the page at {min(both):#x} is free, but it is in use")
        lost = self.all - free - mine
        if lost:
            raise Disagree(f"{len(lost)} pages are lost, neither free nor in use, such as {min(lost):#x}")
        if objects is not None and self.objects_now() != self.objects + objects:
            raise Disagree(f"{self.objects_now() - self.objects} objects of kmalloc's are in use that were not at first, "
                           f"expected {objects}, one for each range")

    def compare_frame(self, pmm: Pmm, pa: int, frame: Frame, free: set[int]) -> None:
        number = pa // PGSIZE - pmm.start
        users = pmm.users.get(number, 1 if number in pmm.used else 0)
        what = "zero_page" if pa == self.zero else f"the page at {pa:#x}"
        if P2V(pa) in free and not users:
            raise Disagree(f"{what} is free, expected it to have {frame.users} users")
        if users != frame.users:
            raise Disagree(f"{what} has {users} users, expected {frame.users}")
        if self.g.phys(pa, PGSIZE) != frame.data:
            raise Disagree(f"what is in {what} has changed")

    def expect(self, result: int, wanted: int, why: str) -> None:
        if result != wanted:
            raise Disagree(f"{self.last} returned {name(result)}, expected {name(wanted)}: {why}")


# --- an address space ----------------------------------------------------


class Side:
    def __init__(self, m: Memory, name: str, asid: int = 0, brk: tuple[int, int] = (0, 0)):
        self.m, self.g, self.name = m, m.g, name
        self.root = self.table()
        self.entries: dict[int, int] = {}       # by va: what should be there
        self.ranges: list[tuple[int, int, int, int]] = []       # start, end, prot, kind
        self.nodes: list[int] = []              # where the ranges are, if made here
        self.fields = {"root": P2V(self.root), "asid": asid, "vmas": 0, "brk_start": brk[0], "brk": brk[1], "pages": 0, "image": 0}
        self.at = self.g.push(ASPACE.pack(*self.fields.values()))
        m.sides.append(self)

    def __str__(self) -> str:
        return f"{len(self.entries)} pages in {len(self.ranges)} ranges"

    @property
    def asid(self) -> int:
        return self.fields["asid"] & 0xFFFF

    def table(self) -> int:
        return take(self.g, ZERO) - KERNBASE

    def set(self, field: str, value: int) -> None:
        self.fields[field] = value
        self.g.phys_write(self.at - KERNBASE + 8 * FIELDS.index(field), struct.pack("<Q", value))

    def field(self, field: str) -> int:
        return self.g.p64(self.at - KERNBASE + 8 * FIELDS.index(field))

    # --- making it -------------------------------------------------------

    def range(self, start: int, stop: int, prot: int, kind: int) -> int:
        """Add one behind all others.  Where its record is."""
        at = self.g.call("kmalloc", VMA.size)
        V2P(at)                                 # is it one?
        self.m.objects += 1
        self.g.phys_write(at - KERNBASE, VMA.pack(start, stop, prot, kind, 0))
        if self.nodes:
            self.g.phys_write(self.nodes[-1] - KERNBASE + 24, struct.pack("<Q", at))
        else:
            self.set("vmas", at)
        self.nodes.append(at)
        self.ranges.append((start, stop, prot, kind))
        return at

    def range_of(self, va: int) -> tuple[int, int, int, int]:
        return next(r for r in self.ranges if r[0] <= va < r[1])

    def node_of(self, va: int) -> int:
        return next(at for at, r in zip(self.nodes, self.ranges) if r[0] <= va < r[1])

    def tables_for(self, va: int) -> int:
        """See that there are tables for it.  Where its entry is."""
        table = self.root
        for level in range(3):
            at = table + 8 * (va >> 39 - 9 * level & 511)
            if not self.g.p64(at) & 1:
                self.g.phys_write(at, struct.pack("<Q", self.table() | TABLE))
            table = self.g.p64(at) & ADDRESS
        return table + 8 * (va >> 12 & 511)

    def put(self, va: int, pa: int, prot: int) -> None:
        """Map the page by hand; it counts as one of pages."""
        self.g.phys_write(self.tables_for(va), struct.pack("<Q", leaf(pa, prot)))
        if va not in self.entries:
            self.set("pages", self.fields["pages"] + 1)
        self.entries[va] = leaf(pa, prot)

    def entry(self, va: int) -> int:
        """The entry for va; 0: there is no table for it."""
        steps = self.g.walk(self.root, va)
        return steps[-1][2] if len(steps) == 4 else 0

    def slot(self, va: int) -> int:
        """Where that is."""
        return self.g.walk(self.root, va)[3][1]

    # --- comparing -------------------------------------------------------

    def read(self) -> tuple[dict[int, int], list[int]]:
        """Valid entries, by va, and all tables, the root first."""
        entries: dict[int, int] = {}
        tables = [self.root]

        def visit(table: int, level: int, va: int) -> None:
            data = self.g.phys(table, PGSIZE)
            if data == ZERO:
                return
            for i, entry in enumerate(struct.unpack("<512Q", data)):
                here = va | i << 39 - 9 * level
                if not entry & 1:
                    continue
                if level == 3:
                    entries[here] = entry
                    continue
                below = entry & ADDRESS
                if (not is_table(entry, level) or entry >> 48 or below in tables or below in self.m.frames
                        or P2V(below) not in self.m.all):
                    raise Disagree(f"the level {level} entry for {here:#x} of {self.name} is {entry:#x}: expected that of a "
                                   "table, which is a page from kalloc() of its own", here, self.root)
                tables.append(below)
                visit(below, level + 1, here)

        visit(self.root, 0, 0)
        return entries, tables

    def compare(self, ignore: int) -> list[int]:
        """Raises what is wrong.  Returns the tables."""
        entries, tables = self.read()
        for va in sorted({*entries, *self.entries}):
            found, wanted = entries.get(va, 0), self.entries.get(va, 0)
            if (found ^ wanted) & ~ignore:
                raise Disagree(f"the entry for {va:#x} of {self.name} is {found:#x}, expected {wanted:#x}", va, self.root,
                               wanted or None)
        for field, value in self.fields.items():
            if field != "vmas" and self.field(field) != value:
                raise Disagree(f"{field} of {self.name} is {self.field(field):#x}, expected {value:#x}")
        self.compare_ranges()
        image = self.fields["image"]
        if image and int.from_bytes(memory(self.g, image + IMAGE_USERS, 4, "the image"), "little") != 1:
            raise Disagree(f"the image that {self.name} has was shared, or given back")
        return tables

    def compare_ranges(self) -> None:
        found, at = [], self.field("vmas")
        places: list[int] = []
        while at and len(found) <= len(self.ranges):
            *fields, following = VMA.unpack(memory(self.g, at, VMA.size, f"a range of {self.name}"))
            found.append(tuple(fields))
            places.append(at)
            at = following
        if self.nodes and places != self.nodes:
            raise Disagree(f"the list of ranges of {self.name} has changed")
        if found != self.ranges:
            wrong = next((i for i, (a, b) in enumerate(zip(found, self.ranges)) if a != b), min(len(found), len(self.ranges)))
            raise Disagree(f"{self.name} has {len(found)} ranges, expected {len(self.ranges)}; number {wrong} is "
                           f"{words(found, wrong)}, expected {words(self.ranges, wrong)}")


def words(ranges: list[tuple[int, ...]], i: int) -> str:
    if i >= len(ranges):
        return "none"
    start, stop, prot, kind = ranges[i]
    return f"{start:#x} to {stop:#x}, {rights(prot)}, kind {kind}"


@contextmanager
def users_of(m: Memory, pa: int, users: int) -> Iterator[None]:
    """Within `with`, the page has so many users."""
    before = m.frames[pa].users
    m.set_users(pa, users)
    yield
    m.set_users(pa, before)
