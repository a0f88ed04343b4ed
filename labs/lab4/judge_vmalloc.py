"""Lab 4's vmalloc and vfree from outside: the kernel's tables and the list of areas against a model, and what happens
in which order while an area goes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

from grade.buddy import ORDERS, Pmm, free_pages, memory, variable
from grade.guest import Guest
from grade.order import GONE, LIMIT, Order, Owners, live
from grade.tree import ADDED, ADDRESS, NG, PXN, RO, TABLE, USER, UXN
from grade.view import KERNBASE, M64, PGSIZE, P2V, Disagree

START = KERNBASE + (1 << 39)        # inc/vmalloc.h
STOP = START + (1 << 36)
AREA = struct.Struct("<3Q")         # start, npages, next
IGNORED = 0xF << 55                 # bits of an entry that are software's
MANY = 200                          # areas on a list, more than there can be


class Space:
    """The areas that there should be."""

    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        self.areas = dict(self.listed())        # start: pages
        self.others = set(self.areas)           # not the judge's
        records = [g.call("kmalloc", AREA.size) for _ in range(64)]
        if not records[0]:
            raise Disagree(f"kmalloc({AREA.size}) returned NULL: write kmalloc in kern/slab.c first")
        for record in records[1:]:              # so that kmalloc has room for more of them, whatever comes
            g.call("kmfree", record)
        self.last = "before the first call"
        self.all = self.whole()

    # --- the machine -----------------------------------------------------

    def listed(self) -> list[tuple[int, int]]:
        """The list as it is: (start, pages)."""
        found: list[tuple[int, int]] = []
        at = int.from_bytes(variable(self.g, "areas", 8), "little")
        while at:
            if at % 8 or len(found) > MANY:
                raise Disagree(f"areas: the list is broken after {len(found)} areas: it goes on to {at:#x}")
            start, npages, at = AREA.unpack(memory(self.g, at, AREA.size, "a struct area"))
            found.append((start, npages))
        return found

    def mapped(self) -> tuple[dict[int, int], set[int]]:
        """What the MMU finds from VMALLOC_START on: entries by address, and the tables' addresses."""
        entries: dict[int, int] = {}
        tables: set[int] = set()

        def visit(table: int, level: int, va: int) -> None:
            if table in tables:
                raise Disagree(f"the table at {table:#x} has two places in the tables", va, self.g.ttbr1)
            tables.add(table)
            for i, entry in enumerate(struct.unpack("<512Q", memory(self.g, P2V(table), PGSIZE, "a table"))):
                here = va | i << 39 - 9 * level
                if not entry & 1:
                    continue
                if level == 3:
                    entries[here] = entry
                elif entry & 3 == TABLE:
                    visit(entry & ADDRESS, level + 1, here)
                else:
                    raise Disagree(f"a block is mapped at {here:#x}, expected single pages", here, self.g.ttbr1)

        top = self.g.p64(self.g.ttbr1 + 8 * (START >> 39 & 511))
        if top & 1:
            visit(top & ADDRESS, 1, START)
        return entries, tables

    def whole(self) -> set[int]:
        """The pages, by physical address, that are free, or here."""
        self.g.call("slabs_trim")
        entries, tables = self.mapped()
        return {v - KERNBASE for v in free_pages(self.g)} | tables | {e & ADDRESS for e in entries.values()}

    # --- comparing -------------------------------------------------------

    def check(self) -> None:
        listed, model = self.listed(), sorted(self.areas.items())
        if listed != model:
            i = next((i for i, (a, b) in enumerate(zip(listed, model)) if a != b), min(len(listed), len(model)))
            is_, wanted = ([f"{n} pages at {at:#x}" for at, n in areas[i:i + 1]] or ["none"] for areas in (listed, model))
            raise Disagree(f"after {self.last}: areas, expected {wanted[0]} as number {i} of {len(model)}, by address, "
                           f"found {is_[0]}")
        entries, tables = self.mapped()
        root = self.g.ttbr1
        wanted_pages = {at + i * PGSIZE for at, n in model for i in range(n)}
        for va in sorted(wanted_pages ^ set(entries)):
            if va in entries:
                behind = next((at for at, n in model if va == at + n * PGSIZE), None)
                raise Disagree(f"after {self.last}: {va:#x} is mapped, " + (
                    f"which is the page behind the area at {behind:#x}" if behind else "where there is no area"), va, root)
            raise Disagree(f"after {self.last}: {va:#x} is not mapped, expected all pages of the area to be", va, root)
        pmm = Pmm(self.g)
        seen = set(tables)
        for table in tables:
            if pmm.used.get(table // PGSIZE - pmm.start) != 0:
                raise Disagree(f"after {self.last}: there is a table at {table:#x}, but that is not a page in use")
        for va, entry in sorted(entries.items()):
            pa = entry & ADDRESS
            wrong = None
            if pa in seen:
                wrong = f"leads to {pa:#x}, which has another place in the tables already"
            elif pmm.used.get(pa // PGSIZE - pmm.start) != 0:
                wrong = f"leads to {pa:#x}, which is not a single page in use"
            elif not any(at in self.others and at <= va < at + n * PGSIZE for at, n in model):
                wrong = self.wrong_flags(entry)
            if wrong:
                raise Disagree(f"after {self.last}: the entry for {va:#x} {wrong}", va, root,
                               pa | ADDED | PXN | UXN)
            seen.add(pa)

    def wrong_flags(self, entry: int) -> str | None:
        if entry & USER:
            return "lets user programs access it"
        if entry & RO:
            return "is read-only"
        if not entry & PXN or not entry & UXN:
            return "lets it be executed"
        if entry & NG:
            return "has nG set: expected it to be the same for all processes"
        flags = entry & ~ADDRESS & ~IGNORED & M64
        return None if flags == ADDED | PXN | UXN else f"has the flags {flags:#x}, expected {ADDED | PXN | UXN:#x}"

    def check_whole(self) -> None:
        lost = self.all - self.whole()
        if lost:
            raise Disagree(f"after {self.last}: {len(lost)} pages are lost, such as that at {min(lost):#x}: neither "
                           "free, nor of an area, nor a table")

    # --- calling ---------------------------------------------------------

    def place(self, npages: int, align: int) -> int:
        """Where an area belongs; 0: there is no room."""
        at = START
        for start, n in sorted(self.areas.items()):
            here = -(-at // align) * align
            if here + (npages + 1) * PGSIZE <= start:
                return here
            at = start + (n + 1) * PGSIZE
        here = -(-at // align) * align
        return here if here + (npages + 1) * PGSIZE <= STOP else 0

    def call(self, size: int, align: int) -> int:
        plain = align == PGSIZE and self.rng.random() < 0.5
        self.last = f"vmalloc({size:#x})" if plain else f"vmalloc_aligned({size:#x}, {align:#x})"
        return self.g.call("vmalloc", size, limit=LIMIT) if plain else \
            self.g.call("vmalloc_aligned", size, align, limit=LIMIT)

    def take(self, size: int, align: int = PGSIZE) -> int:
        npages = -(-size // PGSIZE)
        wanted, found = self.place(npages, align), self.call(size, align)
        if found != wanted:
            raise Disagree(f"{self.last} returned {found:#x}, expected {wanted:#x}, the lowest address with room for "
                           f"{npages} pages and one that is not mapped")
        self.areas[found] = npages
        self.check()
        return found

    def refuse(self, size: int, align: int, why: str) -> None:
        found = self.call(size, align)
        if found:
            raise Disagree(f"{self.last} returned {found:#x}, expected NULL: {why}")
        self.check()

    def use(self, start: int) -> None:
        """The kernel's own memcpy reads through the MMU what is in the pages."""
        buffer = self.g.push(bytes(64))
        for i in {0, self.areas[start] - 1}:
            va, data = start + i * PGSIZE, self.rng.randbytes(64)
            self.g.phys_write(self.g.walk(self.g.ttbr1, va)[-1][2] & ADDRESS, data)
            self.g.call("memcpy", buffer, va, 64)
            if self.g.read(buffer, 64) != data:
                raise Disagree(f"what the kernel reads at {va:#x} is not in the page that is mapped there: an old "
                               "translation is in the TLB", va, self.g.ttbr1)

    def vfree(self, start: int, closely: bool = False) -> None:
        npages = self.areas.pop(start)
        self.last = f"vfree({start:#x}), of {npages} pages"
        pages = [self.g.walk(self.g.ttbr1, start + i * PGSIZE)[-1][2] & ADDRESS for i in range(npages)]
        if closely:
            Down(self, start, npages).follow("vfree", start)
        else:
            self.g.call("vfree", start, limit=LIMIT)
        self.check()
        free = free_pages(self.g)
        kept = [pa for pa in pages if P2V(pa) not in free]     # nobody has asked for pages meanwhile
        if kept:
            raise Disagree(f"after {self.last}: its page at {kept[0]:#x} is not free")
        buffer = self.g.push(bytes(8))
        for i in range(npages):
            if self.g.panics("memcpy", buffer, start + i * PGSIZE, 8) is None:
                raise Disagree(f"after {self.last}: {start + i * PGSIZE:#x} can still be read: an old translation is "
                               "in the TLB")

    def any_size(self) -> int:
        return self.rng.randrange(1, self.rng.choice((PGSIZE, 3 * PGSIZE, 8 * PGSIZE)))


# --- in which order ------------------------------------------------------


class Down(Order):
    """An area while a call takes it down: is nothing given away before its time?"""

    def __init__(self, space: Space, start: int, npages: int):
        g = space.g
        super().__init__(g, space.last, [live(g, g.ttbr1, start + i * PGSIZE) for i in range(npages)])
        self.start, self.owners = start, Owners(g)
        self.lock, self.areas = (g.symbol(name) - KERNBASE for name in ("vmalloc_lock", "areas"))
        self.record = self.areas                                    # what points to the area's record

    def look(self) -> str | None:
        for entry in self.live:
            if entry.stage != GONE and self.is_free(entry.page):
                return f"the page at {entry.page:#x} is given back while {entry.va:#x} {entry.why()}"
        late = next((entry for entry in self.live if entry.stage != GONE), None)
        if late and not self.on_list():
            return ("the area is not on the list any more, so that others can have its addresses, while "
                    f"{late.va:#x} {late.why()}")
        return None

    def is_free(self, pa: int) -> bool:
        """Can others have the page?"""
        state, _, listed = self.owners.of(pa)
        return pa != 0 and (state != 0 or listed)

    def on_list(self) -> bool:
        """Or is it only that vmalloc_lock is held, so that nobody can look?"""
        word = self.g.machine.ram[self.lock:self.lock + 4]
        if word[:2] != word[2:] or self.is_area(self.u64(self.record)):
            return True
        at, turns = self.areas, 0
        while (record := self.u64(at)) and turns < MANY:
            if self.is_area(record):
                self.record = at
                return True
            at, turns = record - KERNBASE + AREA.size - 8, turns + 1
        return False

    def is_area(self, record: int) -> bool:
        return record >= KERNBASE and self.u64(record - KERNBASE) == self.start


# --- little memory -------------------------------------------------------


def eat(g: Guest) -> None:
    """Nobody has a free page."""
    g.call("slabs_trim")
    for order in reversed(range(ORDERS)):
        while g.call("pmm_alloc", order):
            pass


def singles(g: Guest) -> Iterator[int]:
    """Pages in use, of which no two are side by side."""
    pages = [g.call("pmm_alloc", 0) for _ in range(60)]
    taken = [pa for i, pa in enumerate(sorted(filter(None, pages))) if i % 2]
    return iter(taken)


def missing_tables(g: Guest, start: int, npages: int) -> int:
    """Tables that these pages need and do not have."""
    return len({(level, va >> 48 - 9 * level) for va in range(start, start + npages * PGSIZE, PGSIZE)
                for level in range(len(g.walk(g.ttbr1, va)), 4)})


def short_of_memory(s: Space, pages: Iterator[int], npages: int, align: int) -> None:
    start = s.place(npages, align)
    free = 0
    while free < npages + missing_tables(s.g, start, npages):
        before = missing_tables(s.g, start, npages)
        s.refuse(npages * PGSIZE, align, f"there are only {free} pages")
        s.check_whole()
        free -= before - missing_tables(s.g, start, npages)     # they may stay
        s.g.call("pmm_free", next(pages), 0)
        free += 1
    found = s.call(npages * PGSIZE, align)
    if found != start:
        raise Disagree(f"{s.last} returned {found:#x}, expected {start:#x}: there are enough pages, though no two of "
                       "them side by side")
    s.areas[start] = npages
    s.check()


def half_way(s: Space, pages: Iterator[int]) -> None:
    """A call that fails with some pages mapped: these too are taken down in order."""
    start, npages = s.place(3, PGSIZE), 3
    if missing_tables(s.g, start, npages):
        return
    for _ in range(2):
        s.g.call("pmm_free", next(pages), 0)
    s.last = f"vmalloc_aligned({npages * PGSIZE:#x}, {PGSIZE:#x}), with two pages free"
    found = Down(s, start, npages).follow("vmalloc_aligned", npages * PGSIZE, PGSIZE)
    if found:
        raise Disagree(f"{s.last} returned {found:#x}, expected NULL")
    s.check()


def wrong_sizes(s: Space, rng: random.Random) -> None:
    for size in (0, M64, M64 - rng.randrange(PGSIZE), M64 - PGSIZE - rng.randrange(9), 1 << 63, STOP - START,
                 STOP - START + 1, STOP - START - PGSIZE, rng.randrange(1 << 37, 1 << 63), START, -START & M64):
        s.refuse(size, PGSIZE, "there is no room for so much")
    for align in (0, 1, PGSIZE // 2, PGSIZE + 1, 3 * PGSIZE, M64, rng.randrange(PGSIZE + 1, 2 * PGSIZE),
                  1 << 63 | PGSIZE):
        s.refuse(PGSIZE, align, "the alignment makes no sense")
    for align in (1 << 40, 1 << 63, 1 << rng.randrange(41, 63)):
        s.refuse(PGSIZE, align, "there is no such address")


def judge_vmalloc(g: Guest, rng: random.Random) -> None:
    s = Space(g, rng)
    s.check()
    for size in rng.sample((1, PGSIZE - 1, PGSIZE, PGSIZE + 1, 2 * PGSIZE, 9 * PGSIZE - 5), 6):
        s.use(s.take(size))
    wrong_sizes(s, rng)
    for _ in range(8):
        s.use(s.take(s.any_size(), PGSIZE << rng.randrange(10)))
    s.use(s.take(1, 1 << rng.randrange(21, 36)))
    s.use(s.take(rng.randrange(513, 530) * PGSIZE))
    s.check_whole()
    pages = singles(g)
    eat(g)
    s.all = s.whole()
    short_of_memory(s, pages, rng.randrange(2, 5), PGSIZE)
    short_of_memory(s, pages, rng.randrange(1, 4), 1 << rng.randrange(21, 31))


def judge_vfree(g: Guest, rng: random.Random) -> None:
    s = Space(g, rng)
    s.check()
    s.last = "vfree(NULL)"
    g.call("vfree", 0)
    s.check()
    for _ in range(12):
        s.use(s.take(s.any_size(), PGSIZE << rng.randrange(4)))
    page = g.call("kalloc")
    mine: Callable[[], list[int]] = lambda: [start for start in s.areas if start not in s.others]
    for turn in range(3):
        g.call("kcache_drain", 64)
        for start in rng.sample(mine(), 4):
            s.vfree(start)
        closely = s.take((turn + 1) * PGSIZE)
        s.use(closely)
        s.vfree(closely, closely=True)
        wide = max(mine(), key=lambda start: s.areas[start])
        for bad, why in ((closely, "no area begins there any more"), (wide + 1, "it is not where an area begins"),
                         (wide + s.areas[wide] * PGSIZE, "it is the page behind an area"),
                         (wide + (s.areas[wide] - 1) * PGSIZE + (s.areas[wide] == 1), "it is inside of an area"),
                         (page, "it is a page from kalloc"), (rng.randrange(1, M64), "no area begins there"),
                         (P2V(g.walk(g.ttbr1, wide)[-1][2] & ADDRESS), "it is a page of an area, in the linear map")):
            if bad in s.areas:
                continue
            s.last = f"vfree({bad:#x})"
            message = g.panics("vfree", bad)
            if message is None or message.startswith("fault"):
                raise Disagree(f"{s.last} {'returned' if message is None else 'faulted'}, expected a panic: {why}")
            s.check()
        for _ in range(4):
            s.use(s.take(s.any_size(), PGSIZE << rng.randrange(4)))
    for start in rng.sample(mine(), len(mine())):
        s.last = f"vfree({start:#x}), of {s.areas.pop(start)} pages"
        g.call("vfree", start)
    s.check()
    s.take(rng.randrange(513, 520) * PGSIZE)
    for start in mine():
        s.last = f"vfree({start:#x}), of {s.areas.pop(start)} pages"
        g.call("vfree", start)
    s.check()
    g.call("kfree", page)
    s.check_whole()
    pages = singles(g)
    eat(g)
    half_way(s, pages)
