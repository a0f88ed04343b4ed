"""A page table that a kernel makes, and the model of what should be in it; for judges of any lab.

The table's page comes from kalloc.  Everything that is written here by hand stands for what the student's
functions are asked to do; comparing is done in physical memory.
"""

from __future__ import annotations

import random
import struct

from grade.buddy import Pmm, free_pages, has_pmm, listed_pages, pmm_pages
from grade.guest import Guest
from grade.view import KERNBASE, PERIPHERALS, PGSIZE, P2V, Disagree

ADDRESS = 0x0000_FFFF_FFFF_F000
VALID, TABLE, PAGE, BLOCK = 1, 3, 3, 1      # bits 1:0
USER, RO, SHARED, AF, NG = 1 << 6, 1 << 7, 3 << 8, 1 << 10, 1 << 11
PXN, UXN = 1 << 53, 1 << 54
ADDED = PAGE | AF | SHARED                  # what map_region puts into every entry
PA_LIMIT = 1 << 48
LOWER, UPPER = 0, KERNBASE
ONES = b"\xff" * PGSIZE
ZERO = bytes(PGSIZE)
MUCH = 64 << 20             # no more memory than this is filled
TAKE_ALL = 1000             # million instructions for taking, or freeing, each page of the largest memory


# --- pages ---------------------------------------------------------------


def poison(g: Guest, pages: list[int]) -> None:
    """Fill free pages with ones, but for their links: none is zero by chance."""
    for page in pages:
        g.phys_write(page - KERNBASE + 8, ONES[8:])


def take(g: Guest, what: bytes = ZERO) -> int:
    """A page from kalloc, filled with `what`."""
    page = g.call("kalloc")
    if page % PGSIZE or not KERNBASE < page < KERNBASE + PERIPHERALS:
        raise Disagree(f"expected a page from kalloc(), found {page:#x}")
    g.phys_write(page - KERNBASE, what)
    return page


def poison_free(g: Guest) -> None:
    """So that no table that is made next is zero by chance."""
    poison(g, listed_pages(g)[:60])
    if has_pmm(g):
        pmm = Pmm(g)
        for i, order in pmm.free.items():
            pa = (pmm.start + i) * PGSIZE
            if pa + (PGSIZE << order) <= MUCH:
                g.phys_write(pa, ONES * (1 << order))


class Few:
    """Within `with`, only n pages are free: the check's own functions keep the others (pool.c)."""

    def __init__(self, g: Guest, n: int):
        self.g, self.n = g, n

    def __enter__(self) -> Few:
        before, with_pmm = free_pages(self.g), pmm_pages(self.g)
        self.g.call("pool_start", self.n, limit=TAKE_ALL)
        few, idle = free_pages(self.g), pmm_pages(self.g)
        # A kalloc that is no cache (yet) leaves the pmm's pages where they are.
        self.idle = idle if idle == with_pmm else set()
        few -= self.idle
        if len(few) != self.n or not few <= before:
            raise Disagree(f"all but {self.n} pages were taken, but {len(few)} are on the free list")
        self.kept = before - few
        return self

    def free(self) -> set[int]:
        few = free_pages(self.g) - self.idle
        if few & self.kept:
            raise Disagree("a page is on the free list that was not free")
        return few | self.kept

    def __exit__(self, *_: object) -> None:
        self.g.call("pool_end", limit=TAKE_ALL)


# --- page tables ---------------------------------------------------------


class Tree:
    """A root table, and what should be in it."""

    def __init__(self, g: Guest, rng: random.Random, half: int = LOWER, ignore: int = 0):
        self.g, self.rng, self.half, self.ignore = g, rng, half, ignore
        self.all = free_pages(g)            # before this tree was there
        self.root = take(g) - KERNBASE
        self.entries: dict[int, int] = {}   # page's va (48 bits): entry
        self.walked: list[int] = []         # pages that have tables, if no entry
        self.held: set[int] = set()         # pages from kalloc that are somebody's, mapped or not
        poison_free(g)

    def tables_for(self, pages: list[int]) -> set[tuple[int, int]]:
        """(level, number) of each table below the root that these pages need."""
        return {(level, va >> 48 - 9 * level) for va in pages for level in (1, 2, 3)}

    def read(self) -> tuple[dict[int, int], list[int]]:
        """Entries that are no table's, by va; and the tables below the root."""
        entries: dict[int, int] = {}
        tables: list[int] = []

        def visit(table: int, level: int, va: int) -> None:
            data = self.g.phys(table, PGSIZE)
            if data == ZERO:
                return
            for i, entry in enumerate(struct.unpack("<512Q", data)):
                if entry == 0:
                    continue
                here = va | i << 39 - 9 * level
                if level == 3 or entry & 3 != TABLE:
                    entries[here] = entry
                    continue
                below = entry & ADDRESS
                if entry >> 48 or P2V(below) not in self.all or below in tables:
                    raise Disagree(f"the level {level} entry for {here | self.half:#x} is {entry:#x}: "
                                   "expected it to lead to a page from kalloc() of its own",
                                   here | self.half, self.root)
                tables.append(below)
                visit(below, level + 1, here)

        visit(self.root, 0, 0)
        return entries, tables

    def check(self, free: set[int] | None = None, loose: bool = False) -> None:
        """Is all as it should be?  free: the free pages; loose: more tables than needed are fine."""
        entries, tables = self.read()
        for va in sorted({*entries, *self.entries}):
            is_, wanted = entries.get(va, 0), self.entries.get(va, 0)
            if (is_ ^ wanted) & ~self.ignore:
                raise Disagree(f"expected the entry for {va | self.half:#x} to be {wanted:#x}, "
                               f"found {is_:#x}", va | self.half, self.root, wanted or None)
        needed = len(self.tables_for([*self.entries, *self.walked]))
        if not loose and len(tables) != needed:
            raise Disagree(f"expected {needed} tables below the root, found {len(tables)}")
        if free is None:
            free = free_pages(self.g)
        mine = {P2V(t) for t in [self.root, *tables]}
        lost = self.all - free - mine - self.held
        if lost:
            raise Disagree(f"{len(lost)} pages are lost, neither free nor a table: {min(lost):#x}")
        both = free & mine
        if both:
            raise Disagree(f"the page {min(both):#x} is free and a table at once")
        if self.held & (free | mine):
            raise Disagree(f"the page {min(self.held & (free | mine)):#x} is free, or a table, but it was in use")

    def prune(self) -> None:
        """Free the tables below the root, by hand: vm_free is another exercise."""
        for table in self.read()[1]:
            self.g.call("kfree", P2V(table))
        self.g.phys_write(self.root, ZERO)
        self.entries.clear()

    def end(self) -> None:
        self.prune()
        self.g.call("kfree", P2V(self.root))

    def place(self, n: int) -> int:
        """A va with n pages that are not mapped, near others or far."""
        while True:
            indexes = [self.rng.choice(c) for c in ((3, 200), (0, 511), (510, 511))]
            last = self.rng.choice((self.rng.randrange(512), 511, 510))
            va = ((indexes[0] << 9 | indexes[1]) << 9 | indexes[2]) << 21 | last << 12
            if not any(va + i * PGSIZE in self.entries for i in range(n)):
                return va

    def pages(self, va: int, size: int) -> list[int]:
        return list(range(va & -PGSIZE, va + size, PGSIZE)) if size else []

    def map(self, va: int, size: int, pa: int, perm: int) -> int:
        result = self.g.call("map_region", P2V(self.root), va | self.half, size, pa, perm)
        return (result & 0xFFFF_FFFF) - (1 << 32 if result & 1 << 31 else 0)

    def put(self, va: int, level: int, entry: int) -> None:
        """Write the entry for va in an existing table of the level."""
        self.g.phys_write(self.g.walk(self.root, va)[level][1], struct.pack("<Q", entry))

    def describe(self, va: int, size: int, pa: int, perm: int) -> str:
        return f"map_region(pgdir, {va | self.half:#x}, {size:#x}, {pa:#x}, {perm:#x})"

    def expect_mapped(self, va: int, size: int, pa: int, perm: int) -> None:
        result = self.map(va, size, pa, perm)
        if result != 0:
            raise Disagree(f"{self.describe(va, size, pa, perm)}: expected 0, found {result}",
                           va | self.half, self.root)
        for i, page in enumerate(self.pages(va, size)):
            self.entries[page] = (pa & -PGSIZE) + i * PGSIZE | perm | ADDED
        self.check()

    def expect_refused(self, va: int, size: int, pa: int, perm: int) -> None:
        result = self.map(va, size, pa, perm)
        if result != -1:
            raise Disagree(f"{self.describe(va, size, pa, perm)}: expected -1, found {result}",
                           va | self.half, self.root)
        self.check()

    def any_pa(self, n: int) -> int:
        return self.rng.randrange((PA_LIMIT >> 12) - n) << 12

    def any_perm(self) -> int:
        return self.rng.choice((0, USER, USER | RO, 4 | NG, RO))
