"""Address spaces of processes that are made up, entry by entry, and a model of them; for judges of any lab.

struct aspace (inc/aspace.h) lies on the kernel's stack, its table is a Tree, and each page is accounted for.
Functions of the student's are called with it (call), and all that they should not have changed is compared (check).
"""

from __future__ import annotations

import random
import struct

from grade.blocks import ENOMEM, signed
from grade.guest import Guest
from grade.order import Live, Order, live
from grade.tree import ADDED, LOWER, NG, PXN, RO, TABLE, USER, UXN, ZERO, Tree, take
from grade.view import ADDRESS, KERNBASE, PERIPHERALS, PGSIZE, P2V, Disagree

ENOENT, EEXIST = -2, -17
ERRORS = {ENOENT: "-ENOENT", EEXIST: "-EEXIST", ENOMEM: "-ENOMEM"}
ASPACE = struct.Struct("<6Q")               # root, asid, vmas, brk_start, brk, pages (inc/aspace.h)
FIELDS = ("root", "asid", "vmas", "brk_start", "brk", "pages")
READ, WRITE, EXEC = 1, 2, 4
PROTS = (0, READ, WRITE, READ | WRITE, EXEC, READ | EXEC)
LAST = (1 << 48) - PGSIZE                   # the highest page


def name(error: int) -> str:
    return ERRORS.get(error, str(error))


def rights(prot: int) -> str:
    words = [word for bit, word in ((READ, "PROT_READ"), (WRITE, "PROT_WRITE"), (EXEC, "PROT_EXEC")) if prot & bit]
    return " | ".join(words) or "PROT_NONE"


def attributes(prot: int) -> int:
    return (NG | PXN | (USER if prot else 0) | (0 if prot & WRITE else RO) | (0 if prot & EXEC else UXN))


def wrong(entry: int, prot: int) -> str | None:
    """What is wrong with these attributes, in words."""
    differs = (entry ^ attributes(prot)) & ~ADDRESS & ~ADDED
    for bits, missing, surplus in (
            (7 << 2, "", "the memory type is not PTE_NORMAL"), (NG, "PTE_NG is missing", ""),
            (PXN, "PTE_PXN is missing", ""), (USER, "PTE_USER is missing", "PTE_USER is set"),
            (RO, "PTE_RO is missing", "PTE_RO is set"), (UXN, "PTE_UXN is missing", "PTE_UXN is set")):
        if differs & bits:
            return surplus if entry & bits else missing
    return f"the bits {differs:#x} belong to no attribute" if differs else None


class Space:
    """An address space: the table as a Tree, which knows what should be in it, and struct aspace."""

    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        self.tree = Tree(g, rng, LOWER)
        self.frames: dict[int, bytes] = {}      # pages of the judge's, by address, and what is in them
        self.fields = [P2V(self.tree.root), rng.getrandbits(64), P2V(rng.randrange(PERIPHERALS) & -8),
                       rng.getrandbits(48), rng.getrandbits(48), rng.getrandbits(40)]
        self.at = g.push(ASPACE.pack(*self.fields))
        self.last = ""

    @property
    def asid(self) -> int:
        return self.fields[1] & 0xFFFF

    # --- what is there ---------------------------------------------------

    def frame(self, users: int = 1) -> int:
        """A page of random contents; its physical address."""
        data = self.rng.randbytes(PGSIZE)
        page = take(self.g, data)
        for _ in range(users - 1):
            if signed(self.g.call("page_share", page - KERNBASE)) < 2:
                raise Disagree("page_share of a page in use failed: write it in kern/pmm.c first (lab 3)")
        self.frames[page] = data
        self.tree.held.add(page)
        return page - KERNBASE

    def table(self) -> int:
        return take(self.g, ZERO) - KERNBASE

    def put(self, va: int, prot: int, pa: int | None = None, users: int = 1) -> int:
        """Map a page by hand.  Returns its physical address."""
        pa = self.frame(users) if pa is None else pa
        table = self.tree.root
        for level in range(3):
            at = table + 8 * (va >> 39 - 9 * level & 511)
            if not self.g.p64(at) & 1:
                self.g.phys_write(at, struct.pack("<Q", self.table() | TABLE))
            table = self.g.p64(at) & ADDRESS
        self.set(va, pa | attributes(prot) | ADDED)
        return pa

    def set(self, va: int, entry: int) -> None:
        self.tree.put(va, 3, entry)
        self.tree.entries[va] = entry

    def entry(self, va: int) -> int:
        """The entry for va; 0: there is no table for it."""
        steps = self.g.walk(self.tree.root, va)
        return steps[-1][2] if len(steps) == 4 else 0

    def place(self) -> int:
        if self.rng.random() < 0.2:
            va = self.rng.choice((LAST, 0, PGSIZE, 0x40_0000, 0x3FFF_F000))
            if va not in self.tree.entries:
                return va
        return self.tree.place(1)

    def missing(self, va: int) -> int:
        """Tables that a page there would need."""
        return len(self.tree.tables_for([va]) - self.tree.tables_for([*self.tree.entries, *self.tree.walked]))

    # --- comparing -------------------------------------------------------

    def pages(self) -> int:
        return ASPACE.unpack(self.g.read(self.at, ASPACE.size))[5]

    def check(self, more: int = 0, free: set[int] | None = None) -> None:
        """All is as it should be, and as->pages has changed by so many."""
        try:
            self.tree.check(free)
        except Disagree as e:
            raise Disagree(f"after {self.last}: {e}", e.va, e.root, e.wanted) from None
        self.fields[5] = self.fields[5] + more & (1 << 64) - 1
        now = ASPACE.unpack(self.g.read(self.at, ASPACE.size))
        for field, is_, wanted in zip(FIELDS, now, self.fields):
            if is_ != wanted:
                raise Disagree(f"after {self.last}: as->{field} is {is_:#x}, expected {wanted:#x}")
        for page, data in self.frames.items():
            if self.g.phys(page - KERNBASE, PGSIZE) != data:
                raise Disagree(f"after {self.last}: what is in the page at {page:#x} has changed")

    def check_users(self, pa: int, users: int) -> None:
        """As many as if there were no other than who mapped it."""
        found = self.g.call("page_refs", pa)
        if found != users:
            raise Disagree(f"after {self.last}: the page at {pa:#x} has {found} users, expected {users}")

    def disagree(self, va: int, text: str) -> Disagree:
        return Disagree(f"after {self.last}: {text}", va, self.tree.root)

    def expect(self, result: int, expected: int, why: str) -> None:
        if result != expected:
            raise Disagree(f"{self.last} returned {name(result)}, expected {name(expected)}: {why}")

    def mapped(self, va: int, pa: int | None, prot: int, also: int = 0) -> int:
        """The call has mapped a page at va: is the entry right?  Where it leads."""
        entry, own = self.entry(va), self.g.call("user_pte", prot)
        if not entry & 1:
            raise self.disagree(va, f"{va:#x} is not mapped")
        if pa is not None and entry & ADDRESS != pa:
            raise self.disagree(va, f"{va:#x} is mapped to {entry & ADDRESS:#x}, expected {pa:#x}")
        if entry & ADDED != ADDED:
            raise self.disagree(va, f"the entry for {va:#x} is {entry:#x}: expected PTE_PAGE, PTE_AF and PTE_SH")
        # A wrong user_pte has its own check; so has what user_map makes of it.
        known = {given & ~ADDRESS & ~ADDED for given in (own, also) if given}
        if entry & ~ADDRESS & ~ADDED not in known and wrong(entry, prot):
            raise self.disagree(va, f"the entry for {va:#x} is {entry:#x}, expected "
                                    f"{entry & ADDRESS | attributes(prot) | ADDED:#x}: {wrong(entry, prot)}")
        self.tree.entries[va] = entry
        return entry & ADDRESS

    # --- calling ---------------------------------------------------------

    def call(self, function: str, *arguments: int, order: Order | None = None) -> int:
        if order:
            return signed(order.follow(function, self.at, *arguments))
        return signed(self.g.call(function, self.at, *arguments))

    def live(self, va: int) -> Live:
        return live(self.g, self.tree.root, va, self.asid)

    def end(self) -> None:
        """Give back what is left, by hand."""
        self.tree.prune()
        self.g.call("kfree", P2V(self.tree.root))
        for page in self.frames:
            while self.g.call("page_refs", page - KERNBASE) > 1:
                self.g.call("page_unshare", page - KERNBASE)
            self.g.call("kfree", page)
