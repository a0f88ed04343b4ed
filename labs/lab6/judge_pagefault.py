"""Lab 6's kern/pagefault.c from outside: ranges and pages that are made up here, and what becomes of a page that is touched.
Where one of the functions calls another one, that is stopped, and returns what the judge wants: so each is judged alone."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from grade.aspace import EXEC, READ, WRITE, rights
from grade.blocks import signed
from grade.guest import Guest
from grade.order import CLEARED, GONE, MAPPED, Live, Order, Owners
from grade.spaces import (ALLOCATORS, ANON, EFAULT, ENOMEM, FILE, HEAP, QUIET, STACK, TOP, USERS_MAX, VMA, Memory, Side,
                          failing, leaf, name, users_of, watched, writable)
from grade.tree import ADDED, ZERO, Few
from grade.view import ADDRESS, KERNBASE, M64, PGSIZE, P2V, Disagree

KINDS = ("VMA_FILE", "VMA_HEAP", "VMA_ANON", "VMA_STACK")
ACCESSES = (READ, WRITE, EXEC)
PROTS = (0, READ, READ | WRITE, READ | EXEC)
MANY_USERS = (2, 3, 255, 256, 257, 300, 65535, 65536, 65537, USERS_MAX)
# inc/pager.h, inc/elf.h: file, size; entry, end, phdr, phnum, nsegments; then segments; users, next, npages, page[]
IMAGE, SEGMENT, IMAGE_END = struct.Struct("<2Q5Q"), struct.Struct("<4Qi4x"), struct.Struct("<I4x2Q")
SEGMENTS, END_AT, PAGES_AT = 56, 376, 400
FILE_ORDER = 3                              # the file has so many pages: 2^3


# --- a program -----------------------------------------------------------


@dataclass
class Segment:
    va: int
    data: bytes
    memsz: int
    prot: int

    @property
    def start(self) -> int:
        return self.va & -PGSIZE

    @property
    def loaded(self) -> int:
        """From here on there is nothing of the file."""
        return -(-(self.va + len(self.data)) // PGSIZE) * PGSIZE

    @property
    def stop(self) -> int:
        return -(-(self.va + self.memsz) // PGSIZE) * PGSIZE


class Program:
    """A struct image: two segments, none of whose pages anybody has asked for."""

    def __init__(self, m: Memory):
        self.m, self.g, rng = m, m.g, m.rng
        file = m.g.call("pmm_alloc", FILE_ORDER)
        if not file:
            raise Disagree("pmm_alloc returned 0 with memory free")
        for pa in range(file, file + (PGSIZE << FILE_ORDER), PGSIZE):
            m.all.discard(P2V(pa))
        self.segments: list[Segment] = []
        words, at = [], rng.randrange(PGSIZE)
        for va, prot in ((0x40_0000, READ | EXEC), (0x40_8000, READ | WRITE)):
            data = bytes(byte or 1 for byte in rng.randbytes(PGSIZE + 1 + rng.randrange(PGSIZE)))
            segment = Segment(va + rng.randrange(PGSIZE), data, len(data) + 2 * PGSIZE + rng.randrange(PGSIZE), prot)
            self.segments.append(segment)
            self.g.phys_write(file + at, data)
            words.append(SEGMENT.pack(segment.va, len(data), segment.memsz, at, prot))
            at += len(data) + rng.randrange(PGSIZE)
        pages = sum((s.loaded - s.start) // PGSIZE for s in self.segments)
        image = IMAGE.pack(P2V(file), PGSIZE << FILE_ORDER, 0, 0, 0, 0, len(words)) + b"".join(words)
        image = image.ljust(END_AT, b"\0") + IMAGE_END.pack(1, 0, pages) + bytes(8 * pages)
        self.at = self.g.push(image)

    def segment(self, prot: int) -> Segment:
        return self.segments[0 if prot & EXEC else 1]

    def index(self, va: int) -> int | None:
        """Which of the image's pages is for va.  None: the file has nothing for it."""
        before = 0
        for s in self.segments:
            if s.start <= va < s.loaded:
                return before + (va - s.start) // PGSIZE
            before += (s.loaded - s.start) // PGSIZE
        return None

    def page(self, va: int) -> int:
        """The image's page for va; 0: it has none yet."""
        index = self.index(va)
        return 0 if index is None else self.g.p64(self.at - KERNBASE + PAGES_AT + 8 * index)

    def give(self, va: int, pa: int) -> None:
        index = self.index(va)
        assert index is not None
        self.g.phys_write(self.at - KERNBASE + PAGES_AT + 8 * index, struct.pack("<Q", pa))

    def contents(self, va: int) -> bytes:
        """What belongs there."""
        page = bytearray(PGSIZE)
        for s in self.segments:
            first, last = max(va, s.va), min(va + PGSIZE, s.va + len(s.data))
            if first < last:
                page[first - va:last - va] = s.data[first - s.va:last - s.va]
        return bytes(page)

    def adopt(self) -> None:
        """What the image has got meanwhile is a frame, and the image is its user."""
        for s in self.segments:
            for va in range(s.start, s.loaded, PGSIZE):
                pa = self.page(va)
                if pa and pa not in self.m.frames:
                    self.m.adopt(pa, 1, f"the image's page for {va:#x}")
                    if self.m.frames[pa].data != self.contents(va):
                        raise Disagree(f"after {self.m.last}: what is in the image's page for {va:#x} is not what the file has")


# --- an address space ----------------------------------------------------


class Space:
    """One with a program, or with ranges of memory; replaced: these are where the program has its segments."""

    def __init__(self, m: Memory, program: bool = False, replaced: bool = False):
        m.fresh()
        self.m, self.g, self.rng = m, m.g, m.rng
        self.side = Side(m, "as", m.rng.getrandbits(64), (m.rng.getrandbits(48), m.rng.getrandbits(48)))
        self.program = Program(m) if program else None
        if self.program:
            for s in self.program.segments:
                self.side.range(s.start, s.stop, s.prot, ANON if replaced else FILE)
            self.side.set("image", self.program.at)

    def place(self, pages: int) -> int:
        """Where a range of so many pages may begin."""
        rng = self.rng
        if rng.randrange(4) == 0:
            return TOP - pages * PGSIZE
        span = rng.choice((1 << 21, 1 << 30, 1 << 39))
        return rng.randrange(1, TOP // span) * span - PGSIZE * rng.randrange(pages)

    def addresses(self, prot: int, in_file: bool) -> range:
        """Of pages of the program's, in the file, or behind what is there."""
        assert self.program
        s = self.program.segment(prot)
        return range(s.start, s.loaded, PGSIZE) if in_file else range(s.loaded, s.stop, PGSIZE)

    def address(self, prot: int) -> int:
        return self.rng.choice(self.addresses(prot, True))

    def where(self, va: int) -> str:
        _, _, prot, kind = self.side.range_of(va)
        return f"in a range of kind {KINDS[kind]} with {rights(prot)}"

    def mapped(self, va: int, pa: int, prot: int) -> None:
        """The page is mapped there now.  A wrong user_pte has a check of its own."""
        found, own = self.side.entry(va), self.g.call("user_pte", prot) & ~ADDRESS | pa | ADDED
        self.side.entries[va] = own if found == own else leaf(pa, prot)

    def own(self, va: int, prot: int, data: bytes, of: str) -> int:
        """A page of its own is mapped there, with this in it."""
        m, entry = self.m, self.side.entry(va)
        if not entry & 1:
            raise Disagree(f"after {m.last}: {va:#x} is not mapped", va, self.side.root)
        pa = entry & ADDRESS
        m.adopt(pa, 1, f"what is mapped at {va:#x}")
        if m.frames[pa].data != data:
            raise Disagree(f"after {m.last}: what is in the page at {pa:#x}, mapped at {va:#x}, is not {of}", va, self.side.root)
        self.mapped(va, pa, prot)
        return pa

    def check(self, free: set[int] | None = None) -> None:
        if self.program:
            self.program.adopt()
        self.m.check(self.side, objects=0, free=free)


# --- fault_absent --------------------------------------------------------


class Absent:
    """A call of fault_absent, and what it has to do.  Should it call fault_cow, that is stopped, and returns `cow`."""

    def __init__(self, s: Space, va: int, access: int):
        self.s, self.m, self.g, self.side = s, s.m, s.g, s.side
        self.va, self.access = va, access
        _, _, self.prot, self.kind = s.side.range_of(va)
        self.in_file = bool(self.kind == FILE and s.program and s.program.index(va) is not None)
        self.asked = 0                          # calls of fault_cow
        self.cow = 0
        self.what = f"fault_absent(as, v, {va:#x}, {rights(access)}), {s.where(va)}"

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        return self.side.at, self.side.node_of(self.va), self.va, self.access

    def fault_cow(self, core: list[int]) -> int | None:
        """It is to be called for a page of the file that is mapped by then."""
        self.asked += 1
        self.m.last = self.what
        if not self.in_file or self.access != WRITE:
            raise Disagree(f"{self.what} calls fault_cow, expected it not to: there is no page of a file to be written")
        if (core[0], core[2]) != (self.side.at, self.va) or self.g.read(core[1], 24) != VMA.pack(*self.range, 0)[:24]:
            raise Disagree(f"{self.what} calls fault_cow({core[0]:#x}, {core[1]:#x}, {core[2]:#x}), expected "
                           f"fault_cow(as, v, {self.va:#x})")
        pa = self.s.program.page(self.va) if self.s.program else 0
        entry = self.side.entry(self.va)
        if not entry & 1 or entry & ADDRESS != pa or writable(entry):
            raise Disagree(f"{self.what} calls fault_cow where the entry is {entry:#x}: expected the file's page there, "
                           "read-only", self.va, self.side.root)
        return self.cow

    @property
    def range(self) -> tuple[int, int, int, int]:
        return self.side.range_of(self.va)

    def call(self, how: str = "") -> int:
        self.m.last = self.what + how
        return watched(self.g, "fault_absent", *self.arguments, stops={"fault_cow": self.fault_cow})

    def done(self, result: int, free: set[int] | None = None) -> None:
        """It has succeeded: what there should be now."""
        m, s, side = self.m, self.s, self.side
        m.expect(result, 0, "there is memory")
        side.fields["pages"] += 1
        if self.in_file:
            assert s.program
            s.program.adopt()
            pa = s.program.page(self.va)
            if not pa:
                raise Disagree(f"after {m.last}: the image has no page for it: nobody has asked (pager_page)")
            if self.access == WRITE and not self.asked:
                s.own(self.va, self.prot, m.frames[pa].data, "what the file has for it")
            else:
                m.frames[pa].users += 1
                s.mapped(self.va, pa, self.prot & ~WRITE)
        elif self.access == WRITE:
            s.own(self.va, self.prot, ZERO, "zero")
        else:
            m.frames[m.zero].users += 1
            s.mapped(self.va, m.zero, self.prot & ~WRITE)
        s.check(free)

    def ok(self) -> None:
        self.done(self.call())

    def undone(self, result: int, how: str, free: set[int] | None = None) -> None:
        self.m.last = self.what + how
        self.m.expect(result, ENOMEM, "memory has run out in it")
        self.s.check(free)

    # --- closely ---------------------------------------------------------

    def closely(self) -> None:
        """Followed instruction by instruction, fault_cow too if it is called: what can be reached is right."""
        data = self.s.program.contents(self.va) if self.in_file and self.s.program else ZERO
        self.m.last = self.what
        order = Coming(self, data)
        self.done(signed(order.follow("fault_absent", *self.arguments)))


class Coming(Order):
    """While a page comes: whatever is mapped is right, and nobody else's if it can be written."""

    over = QUIET

    def __init__(self, a: Absent, data: bytes):
        self.root, self.before = a.side.root, {pa for pa in a.m.frames}
        self.data, self.va = data, a.va
        super().__init__(a.g, a.what, [Live(a.va, a.side.slot(a.va), 0, GONE, 0, a.side.asid)])

    def changed(self, entry: Live, before: int) -> str | None:
        if not entry.now & 1:
            return None
        pa = entry.now & ADDRESS
        if self.g.phys(pa, PGSIZE) != self.data:
            return f"the page at {pa:#x} is mapped at {entry.va:#x} before all of it is as it should be"
        if writable(entry.now) and pa in self.before:
            return f"the entry for {entry.va:#x} becomes {entry.now:#x}: a page can be written that others use"
        return None


def need_fault_absent(m: Memory) -> None:
    s = Space(m)
    s.side.range(0x40_0000, 0x40_1000, READ | WRITE, ANON)
    result = signed(m.g.call("fault_absent", s.side.at, s.side.nodes[0], 0x40_0000, READ))
    if result != 0:
        raise Disagree(f"fault_absent(as, v, 0x400000, PROT_READ) returned {name(result)}, with memory free: write fault_absent in "
                       "kern/pagefault.c first")


def some_access(rng: random.Random, prot: int) -> int:
    return rng.choice([access for access in (*ACCESSES, WRITE) if access & prot])


def nomem_setting(m: Memory, program: bool, access: int) -> Absent:
    s = Space(m, program)
    va = s.address(WRITE) if program else s.place(1)
    if not program:
        s.side.range(va, va + PGSIZE, READ | WRITE, m.rng.choice((HEAP, ANON, STACK)))
    return Absent(s, va, access)


def absent_nomem(m: Memory, program: bool, access: int) -> None:
    """With ever more pages, until there are enough; and with each allocation failing once."""
    g = m.g
    for n in range(12):
        a = nomem_setting(m, program, access)
        with Few(g, n) as few:
            before = few.free()
            result = a.call(how := f", {n} pages being free")
            if result == 0 and n:
                a.done(result, few.free())
                break
            a.undone(result, how, few.free())
            kept = {P2V(a.s.program.page(a.va))} if program and a.s.program and a.s.program.page(a.va) else set()
            left = before - few.free() - kept - {P2V(table) for table in a.side.read()[1]}
            if left:
                raise Disagree(f"{m.last} failed, but {len(left)} pages are not free again")
    else:
        raise Disagree(f"{m.last} failed, though there is memory")
    for nth in range(1, 20):
        a = nomem_setting(m, program, access)
        result, happened = failing(g, nth, ALLOCATORS, 0, "fault_absent", *a.arguments)
        if not happened:
            break
        a.undone(result, f", where allocation {nth} fails")


def absent_too_many(m: Memory, program: bool, access: int) -> None:
    """The page can have no more users."""
    a = nomem_setting(m, program, access)
    pa = m.zero
    if program and a.s.program:
        pa = m.frame(1, a.s.program.contents(a.va))
        a.s.program.give(a.va, pa)
    with users_of(m, pa, USERS_MAX):
        result = a.call(how := f", where the page at {pa:#x} can have no more users")
        a.undone(result, how)


def judge_fault_absent(g: Guest, rng: random.Random) -> None:
    m = Memory(g, rng)
    need_fault_absent(m)
    s = Space(m, program=True)
    turns = [(prot, in_file, access) for prot in (READ | EXEC, READ | WRITE) for in_file in (True, False)
             for access in ACCESSES if prot & access]
    for prot, in_file, access in rng.sample(turns, len(turns)) + rng.choices(turns, k=4):
        free = [va for va in s.addresses(prot, in_file) if va not in s.side.entries]
        if free:
            Absent(s, rng.choice(free), access).ok()
    for prot in (READ | WRITE, READ | EXEC, READ):
        s = Space(m)
        start = s.place(3)
        s.side.range(start, start + 3 * PGSIZE, prot, rng.choice((HEAP, ANON, STACK)))
        for va in range(start, start + 3 * PGSIZE, PGSIZE):
            Absent(s, va, some_access(rng, prot)).ok()
    s = Space(m, program=True, replaced=True)
    for prot in (READ | EXEC, READ | WRITE, READ | WRITE):
        va = s.address(prot)
        if va not in s.side.entries:
            Absent(s, va, some_access(rng, prot)).ok()
    # fault_cow fails.
    a = nomem_setting(m, True, WRITE)
    a.cow = ENOMEM
    result = a.call(how := ", fault_cow returning -ENOMEM")
    if a.asked:
        a.undone(result, how)
    else:
        a.done(result)
    for access in (READ, WRITE):
        absent_nomem(m, False, access)
        absent_too_many(m, True, access)
    absent_nomem(m, True, READ)
    absent_too_many(m, False, READ)
    for program in (False, True) if cow_works(m) else (False,):
        a = nomem_setting(m, program, WRITE)
        a.side.tables_for(a.va)
        if a.s.program:
            a.s.program.give(a.va, m.frame(1, a.s.program.contents(a.va)))
        a.closely()


# --- fault_cow -----------------------------------------------------------


class Copying(Order):
    """While a page is copied: the old entry leaves table and TLBs before the copy's is there, and the copy is complete by then."""

    over = QUIET

    def __init__(self, s: Space, va: int):
        side = s.side
        self.old, self.data = side.entries[va] & ADDRESS, s.m.frames[side.entries[va] & ADDRESS].data
        super().__init__(s.g, s.m.last, [Live(va, side.slot(va), side.entries[va], MAPPED, self.old, side.asid)])
        self.owners, self.free = Owners(s.g), s.m.free_now()
        self.was = self.owners.of(self.old)
        self.dropped = False
        self.root = side.root

    def stores(self) -> None:
        entry = self.live[0]
        now, before = self.u64(entry.slot), entry.now
        if now == before:
            return
        entry.now = now
        if now & 1:
            self.wrong = self.wrong or self.valid(entry, before)
        if before & 1 and before & ADDRESS == self.old:     # the old translation is what has to go
            entry.stage = CLEARED

    def valid(self, entry: Live, before: int) -> str | None:
        """The entry is valid now."""
        pa = entry.now & ADDRESS
        if pa == self.old:
            return None
        if before & 1:
            return (f"the entry for {entry.va:#x} was {before:#x} and became {entry.now:#x} while it was live: expected it to be "
                    "invalid first (break before make)")
        if entry.stage != GONE:
            return f"the entry becomes {entry.now:#x} while {entry.va:#x} {entry.why()} (break before make)"
        if self.g.phys(pa, PGSIZE) != self.data:
            return f"the page at {pa:#x} is mapped at {entry.va:#x} before all of it has been copied"
        return None

    def look(self) -> str | None:
        """Before it is somebody else's alone, it has been copied."""
        if self.dropped or self.owners.of(self.old) == self.was:
            return None
        self.dropped = True
        if not any(self.g.phys(page - KERNBASE, PGSIZE) == self.data for page in self.free):
            return f"the page at {self.old:#x} is given back (kfree) before all of it has been copied"
        return None

    def expect_gone(self) -> None:
        entry = self.live[0]
        if entry.stage not in (MAPPED, GONE) and not self.cut:
            raise Disagree(f"after {self.what}: the entry for {entry.va:#x} has changed, but the old one may still be in a TLB: "
                           f"{entry.va:#x} {entry.why()}", entry.va, self.root)


class Cow:
    """A range, all of whose pages cannot be written yet."""

    def __init__(self, m: Memory, users: list[int]):
        self.s = Space(m)
        self.m, self.g, self.side = m, m.g, self.s.side
        self.start = self.s.place(len(users))
        self.side.range(self.start, self.start + len(users) * PGSIZE, READ | WRITE, m.rng.randrange(STACK + 1))
        for i, n in enumerate(users):
            self.side.put(self.start + i * PGSIZE, m.frame(n), READ)

    def page(self, va: int) -> int:
        return self.side.entries[va] & ADDRESS

    def call(self, va: int, order: bool = False, how: str = "") -> int:
        arguments = self.side.at, self.side.node_of(va), va
        users = self.m.frames[self.page(va)].users
        self.m.last = f"fault_cow(as, v, {va:#x}), of a page with {users} users{how}"
        if not order:
            return signed(self.g.call("fault_cow", *arguments))
        copying = Copying(self.s, va)
        result = signed(copying.follow("fault_cow", *arguments))
        copying.expect_gone()
        return result

    def done(self, va: int, result: int, free: set[int] | None = None) -> None:
        m, pa = self.m, self.page(va)
        m.expect(result, 0, "it needs no memory" if m.frames[pa].users == 1 else "there is memory")
        if m.frames[pa].users == 1:
            found = self.side.entry(va)
            if found & 1 and found & ADDRESS != pa:
                raise Disagree(f"after {m.last}: {va:#x} is mapped to {found & ADDRESS:#x}, expected the page at {pa:#x} to stay, "
                               "as nobody else uses it", va, self.side.root)
            self.s.mapped(va, pa, READ | WRITE)
        else:
            m.frames[pa].users -= 1
            self.s.own(va, READ | WRITE, m.frames[pa].data, "a copy of the one that was there")
        self.s.check(free)

    def ok(self, va: int, order: bool = False) -> None:
        self.done(va, self.call(va, order))


def cow_works(m: Memory) -> bool:
    """Does fault_cow make a copy at all?"""
    c = Cow(m, [2])
    try:
        c.ok(c.start)
    except Disagree:
        return False
    return True


def need_fault_cow(m: Memory) -> None:
    c = Cow(m, [2])
    result = c.call(c.start)
    if result != 0:
        raise Disagree(f"{m.last} returned {name(result)}, with memory free: write fault_cow in kern/pagefault.c first")


def judge_fault_cow(g: Guest, rng: random.Random) -> None:
    m = Memory(g, rng)
    need_fault_cow(m)
    users = [1, *rng.sample(MANY_USERS, 7), 1]
    rng.shuffle(users)
    c = Cow(m, users)
    for i in rng.sample(range(len(users)), len(users)):
        c.ok(c.start + i * PGSIZE)
    # The page of zeroes; two who have a page in common.
    c = Cow(m, [1, 2, 1])
    c.side.put(c.start, m.zero, READ)
    m.set_users(m.zero, m.frames[m.zero].users + 1)
    c.side.put(c.start + 2 * PGSIZE, c.page(c.start + PGSIZE), READ)
    for i in (0, 1, 2):
        c.ok(c.start + i * PGSIZE)
    # No memory.
    c = Cow(m, [2, 1, 300])
    with Few(g, 0) as few:
        for i in (0, 2):
            result = c.call(c.start + i * PGSIZE, how=", no page being free")
            m.expect(result, ENOMEM, "there is no page for a copy")
            c.s.check(few.free())
        va = c.start + PGSIZE
        c.done(va, c.call(va, how=", no page being free"), few.free())
    c.ok(c.start)
    # In which order.
    c = Cow(m, [rng.choice((2, 300)), 1])
    c.ok(c.start, order=True)
    c.ok(c.start + PGSIZE, order=True)


# --- page_fault ----------------------------------------------------------


NO_TABLE, ABSENT, INVALID, OWN, SHARED, SOLE = range(6)
STATES = ("there is no table for it", "nothing is mapped there", "an entry is there that is not valid",
          "a page is mapped there with the range's rights", "a page with two users is mapped there, read-only",
          "a page with one user is mapped there, read-only")


class Fault:
    """A call of page_fault: which of the other functions it calls.  None of them runs."""

    def __init__(self, s: Space, va: int, access: int, result: int):
        self.s, self.m, self.g, self.side = s, s.m, s.g, s.side
        self.va, self.access, self.result = va, access, result
        self.found: list[tuple[str, list[int]]] = []

    def stop(self, function: str, core: list[int]) -> int:
        self.found.append((function, list(core)))
        return self.result

    def call(self, how: str) -> int:
        self.m.last = f"page_fault(as, {self.va:#x}, {rights(self.access)}), {how}"
        return watched(self.g, "page_fault", self.side.at, self.va, self.access, stops={
            function: lambda core, function=function: self.stop(function, core) for function in ("fault_absent", "fault_cow")})

    def nothing(self, wanted: int, how: str, why: str) -> None:
        result = self.call(how)
        for function, _ in self.found:
            raise Disagree(f"{self.m.last} calls {function}, expected it not to: {why}")
        self.m.expect(result, wanted, why)
        self.s.check()

    def other(self, function: str, how: str) -> bool:
        """It does what this function is for.  False: not by calling it."""
        result, page = self.call(how), self.va & -PGSIZE
        if not self.found:
            return self.by_itself(function, result)
        if [f for f, _ in self.found] != [function]:
            raise Disagree(f"{self.m.last} calls {', '.join(f for f, _ in self.found)}, expected it to call {function}")
        core = self.found[0][1]
        arguments = ([self.side.at, None, page, self.access] if function == "fault_absent" else [self.side.at, None, page])
        for i, (found, wanted) in enumerate(zip(core, arguments)):
            if wanted is not None and found & (0xFFFF_FFFF if i == 3 else M64) != wanted:
                raise Disagree(f"{self.m.last} calls {function} with argument {i + 1} = {found:#x}, expected {wanted:#x}")
        if self.g.read(core[1], 24) != VMA.pack(*self.side.range_of(page), 0)[:24]:
            raise Disagree(f"{self.m.last} calls {function} with v = {core[1]:#x}, expected the range that the address is in")
        self.m.expect(result, self.result, f"{function} returned that")
        self.s.check()
        return True

    def by_itself(self, function: str, result: int) -> bool:
        self.m.expect(result, 0, f"there is memory; it does not call {function}")
        if not self.side.entry(self.va & -PGSIZE) & 1:
            raise Disagree(f"after {self.m.last}: nothing is mapped, and {function} was not called")
        if function == "fault_cow" or self.access == WRITE:
            if not writable(self.side.entry(self.va & -PGSIZE)):
                raise Disagree(f"after {self.m.last}: it cannot be written, and {function} was not called")
        return False


def fault_space(m: Memory, prot: int, state: int) -> tuple[Space, int]:
    """A range whose neighbours have other rights; and a page of it."""
    s = Space(m)
    start = s.place(5)
    other = READ | WRITE if prot == 0 else 0
    for first, last, its, kind in ((0, 1, other, ANON), (1, 4, prot, m.rng.choice((HEAP, ANON, STACK))), (4, 5, other, ANON)):
        s.side.range(start + first * PGSIZE, start + last * PGSIZE, its, kind)
    va = start + m.rng.randrange(1, 4) * PGSIZE
    put(s, va, prot, state)
    return s, va


def put(s: Space, va: int, prot: int, state: int) -> None:
    if state in (ABSENT, INVALID):
        at = s.side.tables_for(va)
        s.g.phys_write(at, struct.pack("<Q", s.rng.getrandbits(63) << 1 if state == INVALID else 0))
    elif state != NO_TABLE:
        s.side.put(va, s.m.frame(2 if state == SHARED else 1), prot if state == OWN else prot & ~WRITE)


def fault(s: Space, va: int, prot: int, state: int, access: int) -> bool:
    rng = s.rng
    at = va + rng.choice((0, PGSIZE - 1, rng.randrange(PGSIZE)))
    f = Fault(s, at, access, rng.choice((0, 0, ENOMEM)))
    how = f"{s.where(va)}, where {STATES[state]}"
    if not prot & access:
        f.nothing(EFAULT, how, "its range has not the right to it")
    elif state in (NO_TABLE, ABSENT, INVALID):
        return f.other("fault_absent", how)
    elif access == WRITE and state in (SHARED, SOLE):
        return f.other("fault_cow", how)
    else:
        f.nothing(0, how, "the entry has the right to it")
    return True


def need_page_fault(m: Memory) -> None:
    s, va = fault_space(m, READ, OWN)
    result = signed(m.g.call("page_fault", s.side.at, va, READ))
    if result != 0:
        raise Disagree(f"page_fault(as, {va:#x}, PROT_READ), where the page is mapped already, returned {name(result)}, expected "
                       "0: write page_fault in kern/pagefault.c first")


def judge_page_fault(g: Guest, rng: random.Random) -> None:
    m = Memory(g, rng)
    need_page_fault(m)
    for prot in PROTS:
        settings = [(state, access) for state in range(len(STATES)) for access in ACCESSES if prot & WRITE or state < SHARED]
        for state in {state for state, _ in settings}:
            s, va = fault_space(m, prot, state)
            for access in [access for at, access in settings if at == state]:
                if not fault(s, va, prot, state, access):
                    s, va = fault_space(m, prot, state)     # it has done the work of the other function itself
    # A program's pages; and where there is no range.
    s = Space(m, program=True)
    for prot, state in ((READ | EXEC, NO_TABLE), (READ | WRITE, NO_TABLE), (READ | WRITE, SHARED), (READ | EXEC, OWN)):
        va = s.address(prot)
        if va not in s.side.entries:
            put(s, va, prot, state)
            fault(s, va, prot, state, rng.choice(ACCESSES))
    s, va = fault_space(m, 0, OWN)                          # its neighbours may be written
    start, stop = s.side.ranges[0][0], s.side.ranges[-1][1]
    for gap in {start - 1, stop, stop + rng.randrange(PGSIZE), start - PGSIZE, rng.randrange(PGSIZE), va ^ 1 << 30, TOP - 1}:
        if gap < TOP and not start <= gap < stop:
            Fault(s, gap, rng.choice(ACCESSES), 0).nothing(EFAULT, "where there is no range", "there is no range")
