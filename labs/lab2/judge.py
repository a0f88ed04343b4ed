"""Lab 2 from outside. grade/guest.py says what a judge is and what it may use.

The check has passed and given all pages back.  Now the inputs are drawn here, the functions called
from here, and memory is compared with what plain Python makes of the contract.
"""

from __future__ import annotations

import random
import struct
import tomllib
from pathlib import Path

from grade.buddy import free_pages, heap_pages, pmm_tables
from grade.guest import Guest
from grade.tree import (ADDED, ADDRESS, AF, BLOCK, LOWER, NG, PAGE, PA_LIMIT, PXN, RO, SHARED, TABLE, UPPER, USER, UXN,
                        VALID, Few, Tree, take)
from grade.view import KERNBASE, PERIPHERALS, PGSIZE, P2V, Disagree

RAM_ALL = 0x3C00_0000       # what QEMU's firmware leaves the ARM
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


# --- the free list -------------------------------------------------------


def usable(g: Guest, check: str) -> range:
    """The pages that belong to the allocator: from the image's end to the end of memory."""
    labs = tomllib.loads((Path(__file__).parent / "lab.toml").read_text("utf-8"))
    memory = next(c["memory"] for c in labs["check"] if c["name"] == check)
    limit = RAM_ALL if memory == "all" else int(memory[:-1]) * SIZES[memory[-1]]
    first = -(-g.symbol("end") // PGSIZE) * PGSIZE
    return range(first, P2V(min(limit, RAM_ALL)), PGSIZE)


def judge_free_list(g: Guest, rng: random.Random) -> None:
    pages, expected = free_pages(g), usable(g, "free_list")
    tables = pmm_tables(g)                              # from lab 3 on
    heap = heap_pages(g) & set(expected)                # from lab 4 on
    missing, foreign = set(expected) - pages - tables - heap, pages - set(expected)
    if foreign:
        raise Disagree(f"the free list holds {len(foreign)} pages that are not usable, such as "
                       f"{min(foreign):#x}")
    if pages & tables:
        raise Disagree(f"the page {min(pages & tables):#x} is free, but the pmm's own tables are there")
    if pages & heap:
        raise Disagree(f"the page {min(pages & heap):#x} is free, but the heap's first region is there")
    if missing:
        raise Disagree(f"expected {len(expected) - len(tables | heap)} free pages, found {len(pages)}: missing "
                       f"are {min(missing):#x} and others up to {max(missing):#x}")
    mine: list[int] = []
    free = set(pages)
    for _ in range(40):
        if mine and rng.random() < 0.4:
            page = mine.pop(rng.randrange(len(mine)))
            g.call("kfree", page)
            free.add(page)
        else:
            page = g.call("kalloc")
            if page not in free:
                raise Disagree(f"kalloc() returned {page:#x}, which was not free")
            free.remove(page)
            mine.append(page)
    for page in mine:
        g.call("kfree", page)
    run_dry(g, rng.randrange(1, 4))
    if pages != free_pages(g):
        raise Disagree("after as many kfree as kalloc, expected the same pages to be free")


def run_dry(g: Guest, n: int) -> None:
    """With n pages free, kalloc gives these, and then NULL."""
    with Few(g, n) as few:
        there = few.free() - few.kept
        got = [g.call("kalloc") for _ in range(n + 2)]
        if got[n:] != [0, 0] or set(got[:n]) != there:
            raise Disagree(f"with {n} pages free, expected kalloc() to return these and then NULL, found "
                           + ", ".join(f"{page:#x}" for page in got))
        for page in got[:n]:
            g.call("kfree", page)


def judge_kfree_junk(g: Guest, rng: random.Random) -> None:
    kept = [True] * PGSIZE
    contents = rng.randbytes(PGSIZE)
    # Junk may happen to be what a byte was already, but not what it was and its complement.
    for before in (contents, bytes(b ^ 0xFF for b in contents)):
        page = take(g, before)
        g.call("kfree", page)
        if page not in free_pages(g):
            raise Disagree(f"kfree({page:#x}) did not put it on kmem.free_list")
        after = g.phys(page - KERNBASE, PGSIZE)
        kept = [k and a == b for k, a, b in zip(kept, after, before)]
    if any(kept[8:]):
        raise Disagree(f"expected the freed page to be filled with junk, found {sum(kept[8:])} bytes "
                       "of it unchanged")


def judge_kfree_bad(g: Guest, rng: random.Random) -> None:
    pages = free_pages(g)
    page = take(g)
    bad = [0, page + 8, page + rng.randrange(1, PGSIZE), page - KERNBASE, P2V(0),
           g.symbol("main") & -PGSIZE, P2V(PERIPHERALS + 0x20_0000), P2V(RAM_ALL),
           usable(g, "kfree_bad").stop,
           P2V(rng.randrange(1 << 31, 1 << 40) & -PGSIZE)]
    rng.shuffle(bad)
    for pointer in bad:
        message = g.panics("kfree", pointer)
        if message is None:
            raise Disagree(f"kfree({pointer:#x}) returned, expected a panic")
        if message.startswith("fault"):
            raise Disagree(f"kfree({pointer:#x}) faulted ({message}), expected a panic")
    g.call("kfree", page)
    if free_pages(g) != pages:
        raise Disagree("bad calls of kfree changed the free list")


# --- page tables ---------------------------------------------------------


def judge_pgdir_walk(g: Guest, rng: random.Random) -> None:
    for half in (LOWER, UPPER):
        tree = Tree(g, rng, half)
        mapped: list[int] = []
        for _ in range(6):
            va = tree.place(1)
            there = tree.tables_for([va]) <= tree.tables_for(mapped)
            found = g.call("pgdir_walk", P2V(tree.root), va | half, 0)
            if not there and found:
                raise Disagree(f"pgdir_walk(pgdir, {va | half:#x}, 0) returned {found:#x}, expected NULL",
                               va | half, tree.root)
            made = g.call("pgdir_walk", P2V(tree.root), va | half | rng.randrange(PGSIZE), 1)
            mapped.append(va)
            level, at, _entry = g.walk(tree.root, va)[-1]
            if level != 3 or made != P2V(at) or there and found != made:
                raise Disagree(f"pgdir_walk(pgdir, {va | half:#x}, 1) returned {made:#x}, which is not "
                               "where the processor looks for it", va | half, tree.root)
            tree.entries[va] = rng.getrandbits(64) | VALID
            g.phys_write(at, struct.pack("<Q", tree.entries[va]))
            for alloc in (0, 1):
                if g.call("pgdir_walk", P2V(tree.root), va | half, alloc) != made:
                    raise Disagree(f"pgdir_walk(pgdir, {va | half:#x}, {alloc}) returned another entry "
                                   "than before")
            tree.check()
        tree.end()


def judge_walk_corners(g: Guest, rng: random.Random) -> None:
    for level in (1, 2):
        tree = Tree(g, rng)
        va = tree.place(1)
        g.call("pgdir_walk", P2V(tree.root), va ^ 1 << 39 - 9 * level, 1)
        tree.put(va, level, tree.any_pa(1) | AF | BLOCK)
        tree.entries = tree.read()[0]
        before = tree.read()
        for alloc in (0, 1):
            found = g.call("pgdir_walk", P2V(tree.root), va, alloc)
            if found:
                raise Disagree(f"pgdir_walk returned {found:#x} through a level {level} block, "
                               "expected NULL")
        if tree.read() != before:
            raise Disagree("pgdir_walk changed the table, in which a block was in the way")
        tree.put(va, level, P2V(0) & ADDRESS | rng.getrandbits(30) << 12 | 0x742)
        if g.call("pgdir_walk", P2V(tree.root), va, 0):
            raise Disagree(f"pgdir_walk followed a level {level} entry that is not valid, expected NULL")
        tree.put(va, level, 0)
        tree.entries = {}
        tree.check(loose=True)
        tree.end()
    for n in range(3):
        tree = Tree(g, rng)
        with Few(g, n) as few:
            found = g.call("pgdir_walk", P2V(tree.root), tree.place(1), 1)
            if found:
                raise Disagree(f"pgdir_walk returned {found:#x} with {n} pages free and 3 tables "
                               "missing, expected NULL")
            tree.check(few.free(), loose=True)
            tree.prune()            # what is left is given back together
        tree.end()


def judge_map_region(g: Guest, rng: random.Random) -> None:
    for half in (LOWER, UPPER):
        tree = Tree(g, rng, half, ignore=AF | SHARED)
        first = rng.randrange(10, 400)
        for i, (one, two) in enumerate(((5, 7), (5, 511), (511, 511))):     # from one table to the next
            last = ((first + 2 * i << 9 | one) << 9 | two) << 21 | rng.choice((510, 511)) << 12
            tree.expect_mapped(last, 4 * PGSIZE, tree.any_pa(4), tree.any_perm())
        for n in (1, 3, *(rng.randrange(1, 9) for _ in range(5))):
            tree.expect_mapped(tree.place(n), n * PGSIZE, tree.any_pa(n), tree.any_perm())
        tree.expect_mapped(tree.place(1), 0, tree.any_pa(1), 0)
        tree.end()


def judge_map_attributes(g: Guest, rng: random.Random) -> None:
    tree = Tree(g, rng)
    flags = [b for b in (*range(2, 12), *range(52, 64))]
    for _ in range(10):
        perm = sum(1 << b for b in rng.sample(flags, rng.randrange(1, 8)))
        tree.expect_mapped(tree.place(1), PGSIZE, tree.any_pa(1) + rng.randrange(PGSIZE), perm)
    tree.end()


def judge_map_mmu(g: Guest, rng: random.Random) -> None:
    """The kernel's own memcpy reads through the new tables."""
    tree = Tree(g, rng, ignore=SHARED)
    data = [take(g, rng.randbytes(PGSIZE)) for _ in range(6)]
    buffer = g.push(bytes(64))
    g.call("user_root", P2V(tree.root))
    try:
        for page in data:
            va, at = tree.place(1), rng.randrange(PGSIZE - 64)
            result = tree.map(va, PGSIZE, page - KERNBASE, PXN | UXN | rng.choice((0, RO, USER)))
            if result != 0:
                raise Disagree(f"map_region of a page at {va:#x}: expected 0, found {result}")
            tree.entries[va] = 0
            g.call("memcpy", buffer, va + at, 64)
            if g.read(buffer, 64) != g.phys(page - KERNBASE + at, 64):
                raise Disagree(f"what was read at {va:#x} is not in the page that is mapped there")
        fault = g.panics("memcpy", buffer, tree.place(1), 8)
        if not fault:
            raise Disagree("reading an address that was never mapped worked")
    finally:
        g.call("user_root_none")
    tree.end()
    for page in data:
        g.call("kfree", page)


def judge_map_unaligned(g: Guest, rng: random.Random) -> None:
    for half in (LOWER, UPPER):
        tree = Tree(g, rng, half)
        for offset, size in ((0xFF0, 0x20), (0xFFF, 1), (1, 0xFFF), (1, 0x1000),
                             (rng.randrange(PGSIZE), rng.randrange(1, 5 * PGSIZE)),
                             (rng.randrange(PGSIZE), rng.randrange(1, 5 * PGSIZE))):
            va = tree.place(6) + offset
            tree.expect_mapped(va, size, tree.any_pa(6) + rng.randrange(PGSIZE), tree.any_perm())
        tree.end()


def judge_map_remap(g: Guest, rng: random.Random) -> None:
    for half in (LOWER, UPPER):
        tree = Tree(g, rng, half)
        n = rng.randrange(2, 6)
        va = tree.place(2 * n)
        tree.expect_mapped(va + n * PGSIZE, PGSIZE, tree.any_pa(1), tree.any_perm())
        for at in range(n):
            tree.expect_refused(va + (n - at) * PGSIZE, n * PGSIZE, tree.any_pa(n), tree.any_perm())
        tree.expect_mapped(va, n * PGSIZE, tree.any_pa(n), tree.any_perm())
        tree.put(va, 3, rng.getrandbits(63) << 1)       # not valid: nothing is mapped there any more
        del tree.entries[va]
        tree.expect_mapped(va, PGSIZE, tree.any_pa(1), tree.any_perm())
        tree.end()
    for level in (1, 2):
        tree = Tree(g, rng)
        va = 5 << 39 | 6 << 30 | 7 << 21
        tree.expect_mapped(va ^ 1 << 39 - 9 * level, PGSIZE, 0, 0)
        block = tree.any_pa(1) | AF | BLOCK
        tree.put(va, level, block)
        tree.entries[va & -1 << 39 - 9 * level] = block
        tables = len(tree.read()[1])
        for at, n in ((va, 1), (va + PGSIZE, 2)):
            result = tree.map(at, n * PGSIZE, 0, 0)
            if result != -1:
                raise Disagree(f"map_region with a level {level} block in the way: expected -1, found {result}")
            if len(tree.read()[1]) != tables:
                raise Disagree(f"map_region with a level {level} block in the way changed the tables")
            tree.check(loose=True)
        tree.end()


def judge_map_range(g: Guest, rng: random.Random) -> None:
    top = PA_LIMIT - PGSIZE
    tree = Tree(g, rng)
    for va, size, pa in ((top, 2 * PGSIZE, 0), (top + rng.randrange(1, PGSIZE), PGSIZE, 0),
                         (tree.place(1), 1 << 63, 0), (tree.place(1), PGSIZE, PA_LIMIT),
                         (tree.place(1), PGSIZE, rng.randrange(1 << 48, 1 << 64)),
                         (tree.place(4), 4 * PGSIZE, PA_LIMIT - 2 * PGSIZE)):
        tree.expect_refused(va, size, pa, tree.any_perm())
    tree.expect_mapped(top, PGSIZE, PA_LIMIT - PGSIZE, 0)
    tree.end()
    tree = Tree(g, rng, UPPER)
    for va, size in ((top, 2 * PGSIZE), (top + PGSIZE - 1, 2), (0, UPPER)):
        tree.expect_refused(va, size, 0, tree.any_perm())
    tree.expect_mapped(top, PGSIZE, 0, 0)
    tree.end()


def judge_map_nomem(g: Guest, rng: random.Random) -> None:
    tree = Tree(g, rng, rng.choice((LOWER, UPPER)))
    # Tables that were there before stay, even if they are empty.
    va = 9 << 39 | 511 << 21 | 511 << 12
    tree.expect_mapped(va, PGSIZE, 0, 0)
    tree.put(va, 3, 0)
    del tree.entries[va]
    tree.walked.append(va)
    with Few(g, 0) as few:
        if tree.map(va, 2 * PGSIZE, 0, 0) != -1:
            raise Disagree("map_region with no page free and a table missing: expected -1")
        tree.check(few.free())
    for _ in range(4):
        n = rng.randrange(1, 6)
        va, pa, perm = tree.place(n), tree.any_pa(n), tree.any_perm()
        pages = tree.pages(va, n * PGSIZE)
        missing = len(tree.tables_for(pages) - tree.tables_for([*tree.entries, *tree.walked]))
        for free in range(missing):
            with Few(g, free) as few:
                result = tree.map(va, n * PGSIZE, pa, perm)
                if result != -1:
                    raise Disagree(f"{tree.describe(va, n * PGSIZE, pa, perm)} with {free} pages free, "
                                   f"where {missing} tables are missing: expected -1, found {result}")
                tree.check(few.free())
        tree.expect_mapped(va, n * PGSIZE, pa, perm)
    tree.end()


# --- vm_free -------------------------------------------------------------


class Grown:
    """A tree made by hand out of pages from kalloc: everything in it is to go."""

    def __init__(self, g: Guest, rng: random.Random, counts: tuple[int, ...]):
        self.g, self.rng = g, rng
        self.levels: list[list[int]] = [[take(g)]]
        self.pages = [self.levels[0][0]]
        for level, count in enumerate(counts[1:], 1):
            self.levels.append([])
            for _ in range(count):
                page = take(g)
                self.pages.append(page)
                self.levels[level].append(page)
                self.link(level - 1, page - KERNBASE | (TABLE if level < 4 else self.attributes() | PAGE))

    def attributes(self) -> int:
        return AF | SHARED | self.rng.choice((0, USER, RO, NG)) | self.rng.choice((0, UXN | PXN, 1 << 55))

    def link(self, level: int, entry: int) -> None:
        """Put the entry somewhere into a table of the level."""
        while True:
            at = self.rng.choice(self.levels[level]) - KERNBASE + 8 * self.rng.choice(
                (0, 511, self.rng.randrange(512)))
            if self.g.p64(at) == 0:
                self.g.phys_write(at, struct.pack("<Q", entry))
                return


def judge_vm_free(g: Guest, rng: random.Random) -> None:
    for counts in ((1,), (1, 2, 4, 8), (1, 2, 4, 8, 16), (1, 3, 5, 7, 11)):
        before = free_pages(g)
        grown = Grown(g, rng, counts)
        decoy = take(g)
        if len(counts) > 4:
            for page in grown.levels[4]:
                words = [decoy - KERNBASE | rng.choice((0x43, 0x743, 3)) for _ in range(512)]
                g.phys_write(page - KERNBASE, struct.pack("<512Q", *words))
        if len(counts) > 3:
            for foreign in (PERIPHERALS, 0x4000_0000, g.symbol("main") - KERNBASE & -PGSIZE, 0):
                grown.link(3, foreign | grown.attributes() | PAGE)
            for level in (1, 2):
                grown.link(level, decoy - KERNBASE | AF | BLOCK)
            for level in range(4):
                grown.link(level, decoy - KERNBASE | 0x742)
        g.call("vm_free", grown.pages[0], 0)
        after = free_pages(g)
        missing = before - after - {decoy}
        if missing:
            names = [f"level {level} table" if level < 4 else "page" for level in range(5)]
            level = next((i for i, pages in enumerate(grown.levels) if missing & set(pages)), 4)
            raise Disagree(f"vm_free: expected {len(grown.pages)} pages to be freed, found that "
                           f"{len(missing)} are missing, among them a {names[level]}")
        if decoy in after:
            raise Disagree("vm_free freed a page to which only a block, an invalid entry or the contents "
                           "of a page point")
        g.call("kfree", decoy)


def judge_vm_free_tlb(g: Guest, rng: random.Random) -> None:
    """The kernel has read through the tables; afterwards it must not any more."""
    base = rng.randrange(1, 1 << 18) << 21
    tables = [take(g) for _ in range(4)]
    for level, table in enumerate(tables[:3]):
        at = table - KERNBASE + 8 * (base >> 39 - 9 * level & 511)
        g.phys_write(at, struct.pack("<Q", tables[level + 1] - KERNBASE | TABLE))
    foreign = g.symbol("main") - KERNBASE & -PGSIZE
    entry = struct.pack("<Q", foreign | USER | RO | PXN | UXN | ADDED)
    g.phys_write(tables[3] - KERNBASE, entry * 512)
    where = [base + PGSIZE * i for i in rng.sample(range(512), 4)]
    g.call("user_root", tables[0])
    for va in where:
        if g.call("user_load", va) != g.p64(foreign):
            raise Disagree(f"the load at {va:#x} did not go through TTBR0's tables")
    g.call("user_root_stale")
    g.call("vm_free", tables[0], 0)
    stale = [va for va in where if g.panics("user_load", va) is None]
    g.call("user_root_none")
    if stale:
        raise Disagree(f"after vm_free, {stale[0]:#x} can still be read: an old translation is in the TLB")
