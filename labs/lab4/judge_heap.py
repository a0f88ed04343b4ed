"""Lab 4's heap from outside: regions and blocks made up in spare RAM, and a model of them.

The pmm has a bank there too (grade/blocks.py), so it is known what the heap can grow by, and seen what it takes.
"""

from __future__ import annotations

import random
import struct
from bisect import bisect_left, insort
from collections.abc import Iterable

from grade.blocks import QUICK, Blocks, spare_ram
from grade.buddy import FRAMES, MEMMAP, NONE, ORDERS, Pmm, memmap, variable
from grade.guest import Guest
from grade.view import KERNBASE, M64, P2V, PGSIZE, Disagree

ALIGN, HEADER, REGION = 16, 16, 16      # HEAP_ALIGN, BLOCK_HEADER, sizeof(struct region)
LEAST = 32                              # BLOCK_MIN
GROW = 4                                # HEAP_ORDER
PAGES = 1 << GROW                       # HEAP_PAGES
MAX = (PGSIZE << ORDERS - 1) - REGION - HEADER
FREE, USED = 0x66726565, 0x75736564     # BLOCK_FREE, BLOCK_USED
TOO_LARGE = (MAX + 1, MAX + 15, PGSIZE << ORDERS - 1, 1 << 31, 1 << 32, (1 << 32) + 64, 1 << 63, M64 - 4095, M64 - 47,
             M64 - 32, M64 - 31, M64 - 16, M64 - 15, M64 - 14, M64)


def tag(at: int, size: int, kind: int) -> int:
    """block_tag"""
    return at ^ (size << 32 | size >> 32) & M64 ^ kind


def need(size: int) -> int:
    """The size of the block for so many bytes."""
    return size + HEADER + ALIGN - 1 & -ALIGN


class Heap:
    """The model: regions, and the blocks in each."""

    def __init__(self, g: Guest, rng: random.Random, pages: int):
        """A bank of so many pages, all of them nobody's so far."""
        self.g, self.rng = g, rng
        start, there = spare_ram(g)
        self.first_frame = start + rng.randrange(there - pages)
        self.pool = Blocks(g, rng, [(self.first_frame, pages)])
        self.at = g.symbol("heap") - KERNBASE
        self.regions: dict[int, int] = {}               # address: bytes
        self.first = 0                                  # mem_init's
        self.starts: list[int] = []                     # of blocks, ascending
        self.blocks: dict[int, tuple[int, bool]] = {}   # address: size, in use?
        self.memory: dict[int, bytes] = {}              # what is in those in use
        self.smashed: dict[int, bytes] = {}             # headers that somebody wrote over
        self.fences: dict[int, bytes] = {}              # nobody's memory, and what is there

    # --- the model -----------------------------------------------------------

    def page(self, i: int) -> int:
        """The address of a page of the bank."""
        return P2V((self.first_frame + i) * PGSIZE)

    def put(self, at: int, size: int, used: bool) -> None:
        if at not in self.blocks:
            insort(self.starts, at)
        self.blocks[at] = size, used
        self.memory.pop(at, None)

    def drop(self, at: int) -> None:
        self.starts.remove(at)
        del self.blocks[at]
        self.memory.pop(at, None)

    def region(self, page: int, pages: int, free: float = 0.4, most: int = 400) -> None:
        """A region from this page of the bank on, with blocks of all sizes up to `most`; this share is free."""
        at = self.page(page)
        self.regions[at] = pages * PGSIZE
        self.first = self.first or at
        at, stop, was_free = at + REGION, at + pages * PGSIZE, False
        while at < stop:
            size = self.rng.randrange(LEAST, most + ALIGN) & -ALIGN
            if at + size > stop - LEAST:
                size = stop - at
            was_free = not was_free and self.rng.random() < free
            self.put(at, size, not was_free)
            at += size

    def whole(self, page: int, pages: int, used: bool = False) -> None:
        """The same with one block."""
        at = self.page(page)
        self.regions[at] = pages * PGSIZE
        self.first = self.first or at
        self.put(at + REGION, pages * PGSIZE - REGION, used)

    def some(self, used: bool) -> list[int]:
        return [at for at in self.starts if self.blocks[at][1] == used]

    def fit(self, size: int) -> int | None:
        """The first free block that has so many bytes."""
        return next((at for at in self.starts if not self.blocks[at][1] and self.blocks[at][0] >= size), None)

    def region_of(self, at: int) -> int | None:
        return next((r for r, size in self.regions.items() if r < at < r + size), None)

    # --- the machine ---------------------------------------------------------

    def ram(self, va: int, data: bytes) -> None:
        self.g.phys_write(va - KERNBASE, data)

    def fill(self, at: int) -> None:
        """Bytes that the kernel cannot know into the memory of a block in use."""
        size = self.blocks[at][0] - HEADER
        self.memory[at] = self.rng.randbytes(size)
        self.ram(at + HEADER, self.memory[at])

    def header(self, at: int) -> bytes:
        if at in self.smashed:
            return self.smashed[at]
        size, used = self.blocks[at]
        return struct.pack("<QQ", size, tag(at, size, USED if used else FREE))

    def write(self) -> None:
        """Give the kernel this heap, and this pmm, in place of its own."""
        self.pool.write()
        order = list(self.regions)
        self.rng.shuffle(order)
        for r, size in self.regions.items():
            self.ram(r, self.rng.randbytes(size))
        for r, following in zip(order, [*order[1:], 0]):
            self.ram(r, struct.pack("<QQ", following, self.regions[r]))
        free = self.some(used=False)
        for at, following in zip(free, [*free[1:], 0]):
            self.ram(at, self.header(at) + struct.pack("<Q", following))
        for at in self.some(used=True):
            self.ram(at, self.header(at))
            self.fill(at)
        self.ram(P2V(self.at), struct.pack("<QQQ", order[0] if order else 0, self.first, free[0] if free else 0))
        self.release_lock()
        self.put_fences()
        self.check()

    def put_fences(self) -> None:
        """Before and behind regions, where the pmm has nothing."""
        self.fences = {}
        taken = {page for r, size in self.regions.items() for page in range(r, r + size, PGSIZE)}
        pool = self.pool
        for r, size in self.regions.items():
            for page in (r - PGSIZE, r + size):
                frame = (page - KERNBASE) // PGSIZE
                if page not in taken and frame not in pool.free and pool.block_of(frame) is None:
                    if self.first_frame <= frame < self.first_frame + pool.banks[0][1]:
                        self.fences[page] = self.rng.randbytes(PGSIZE)
                        self.ram(page, self.fences[page])

    def release_lock(self) -> None:
        self.g.phys_write(self.g.symbol("heap_lock") - KERNBASE, bytes(4))

    def check(self, regions: bool = True) -> None:
        """Is the heap as the model says?"""
        try:
            if regions:
                self.check_regions()
            self.check_blocks()
            serving, following = struct.unpack("<HH", variable(self.g, "heap_lock", 4))
            if serving != following:
                raise Disagree("heap_lock is still locked, expected spin_unlock before each return")
        except Disagree as e:
            raise Disagree(f"after {self.pool.last}: {e}") from None
        self.pool.check()

    def listed(self) -> list[int]:
        """The regions on the list."""
        found: list[int] = []
        at = struct.unpack("<Q", variable(self.g, "heap", 8))[0]
        while at:
            if at in found:
                raise Disagree(f"the region {at:#x} is on heap.regions twice")
            if at not in self.regions and (at % PGSIZE or not self.page(0) <= at < self.page(self.pool.banks[0][1])):
                raise Disagree(f"heap.regions has {at:#x}, which is no region")
            found.append(at)
            at = struct.unpack("<Q", self.g.phys(at - KERNBASE, 8))[0]
        return found

    def check_regions(self) -> None:
        first = struct.unpack("<8xQ", variable(self.g, "heap", 16))[0]
        if first != self.first:
            raise Disagree(f"heap.first is {first:#x}, expected {self.first:#x}")
        listed = self.listed()
        for r in set(listed) ^ self.regions.keys():
            raise Disagree(f"the region {r:#x} is on heap.regions, expected it not to be" if r in listed else
                           f"expected the region {r:#x} on heap.regions, found it is not there")
        for r, size in self.regions.items():
            found = struct.unpack("<8xQ", self.g.phys(r - KERNBASE, 16))[0]
            if found != size:
                raise Disagree(f"the size of the region {r:#x} is {found:#x}, expected {size:#x}")

    def check_blocks(self) -> None:
        ram = self.g.machine.ram
        listed = struct.unpack("<16xQ", variable(self.g, "heap", 24))[0]
        last = "heap.free_list"
        for at in self.starts:
            size, used = self.blocks[at]
            pa = at - KERNBASE
            if ram[pa:pa + HEADER] != self.header(at):
                found, found_tag = struct.unpack("<QQ", ram[pa:pa + HEADER])
                kinds = {tag(at, found, USED): "in use", tag(at, found, FREE): "free"}
                raise Disagree(f"expected a block of {size:#x} bytes at {at:#x}, {'in use' if used else 'free'}, found "
                               f"the header of one of {found:#x} bytes, {kinds.get(found_tag, 'with a wrong tag')}")
            if used:
                if ram[pa + HEADER:pa + size] != self.memory[at]:
                    now = ram[pa + HEADER:pa + size]
                    off = next(i for i, (a, b) in enumerate(zip(now, self.memory[at])) if a != b)
                    raise Disagree(f"the memory at {at + HEADER + off:#x}, in the block in use at {at:#x}, has changed")
            else:
                if listed != at:
                    raise Disagree(f"expected the free block {at:#x} behind {last}, found {listed:#x}")
                listed = struct.unpack("<Q", ram[pa + 16:pa + 24])[0]
                last = f"{at:#x} on the free list"
        if listed:
            raise Disagree(f"expected NULL behind {last}, found {listed:#x}")
        for page, data in self.fences.items():
            if ram[page - KERNBASE:page - KERNBASE + PGSIZE] != data:
                raise Disagree(f"the page {page:#x}, which is not the heap's, has changed")

    # --- calls ---------------------------------------------------------------

    def take(self, at: int, size: int) -> None:
        """In the model: the lower end of this free block is in use now."""
        have, wanted = self.blocks[at][0], need(size)
        if have - wanted >= LEAST:
            self.put(at + wanted, have - wanted, False)
            have = wanted
        self.put(at, have, True)
        self.fill(at)

    def can_grow(self, size: int) -> int | None:
        """By a block of which order?"""
        needed = max(0, (need(size) + REGION - 1).bit_length() - 12)
        for order in (max(needed, GROW), needed):
            if order < ORDERS and self.pool.smallest(order) is not None:
                return order
        return None

    def alloc(self, size: int, first: bool = True) -> int | None:
        """heap_alloc.  Returns the block.  first: it must be in the first free block that has so much."""
        fits = 0 < size <= MAX
        at = self.fit(need(size)) if fits else None
        order = self.can_grow(size) if fits and at is None else None
        p = self.pool.call("heap_alloc", size)
        last = self.pool.last
        if at is None and order is None:
            if p:
                raise Disagree(f"{last}: expected NULL, found {p:#x}")
        elif p == 0:
            why = f"the block {at:#x} is free" if at is not None else f"the pmm has a block of order {order}"
            raise Disagree(f"{last}: expected memory, as {why}, found NULL")
        elif order is not None:
            at = self.grown(order)
        elif not first and self.blocks.get(p - HEADER, (0, True))[1] is False:
            at = p - HEADER
            if self.blocks[at][0] < need(size):
                raise Disagree(f"{last}: found {p:#x}, where only {self.blocks[at][0] - HEADER:#x} bytes are free")
        if at is not None:
            if p != at + HEADER:
                raise Disagree(f"{last}: expected {at + HEADER:#x}, in the first free block that is large enough, "
                               f"found {p:#x}")
            self.take(at, size)
        self.check()
        return at

    def grown(self, order: int) -> int:
        """There must be one more region.  Returns its block."""
        pool = self.pool
        best = pool.smallest(order)
        assert best is not None
        new = [r for r in self.listed() if r not in self.regions]
        if len(new) != 1:
            raise Disagree(f"after {pool.last}: expected one more region, found {len(new)}")
        frame = (new[0] - KERNBASE) // PGSIZE
        if pool.free_blocks().get(frame) != best[0]:
            raise Disagree(f"after {pool.last}: expected a new region of 2^{order} pages from the pmm, where a free "
                           f"block of order {best[0]} begins, found it at {new[0]:#x}")
        pool.free.difference_update(range(frame, frame + (1 << order)))
        pool.used[frame] = order
        self.regions[new[0]] = PGSIZE << order
        self.put(new[0] + REGION, (PGSIZE << order) - REGION, False)
        return new[0] + REGION

    def free(self, at: int) -> None:
        """heap_free of this block."""
        r = self.region_of(at)
        assert r is not None
        end = r + self.regions[r]
        size = self.blocks[at][0]
        p = at + HEADER
        following = at + size
        if following < end and not self.blocks[following][1]:
            size += self.blocks[following][0]
            self.drop(following)
        i = bisect_left(self.starts, at)
        before = self.starts[i - 1] if i else 0
        if before > r and not self.blocks[before][1]:
            size += self.blocks[before][0]
            self.drop(at)
            at = before
        self.put(at, size, False)
        if r != self.first and size == self.regions[r] - REGION:
            self.drop(at)
            del self.regions[r]
            frame = (r - KERNBASE) // PGSIZE
            self.pool.release(range(frame, frame + (end - r) // PGSIZE))
        self.pool.call("heap_free", p)
        self.check()

    def free_all(self) -> None:
        used = self.some(used=True)
        self.rng.shuffle(used)
        for at in used:
            self.free(at)

    def refuse(self, p: int, why: str, says: bool = False) -> None:
        """heap_free(p) panics, and nothing has changed; whether the heap was as it should be is not asked.  says: the
        panic has the address."""
        self.pool.last = f"heap_free({p & M64:#x})"
        before = self.everything()
        message = self.g.panics("heap_free", p, limit=QUICK)
        if message is None:
            raise Disagree(f"{self.pool.last} returned, expected a panic, as that {why}")
        if says and f"{p:x}" not in message.lower() and f"{p - HEADER:x}" not in message.lower():
            raise Disagree(f"{self.pool.last} panicked with {message!r}, expected the address in it")
        self.release_lock()     # whoever panics with a lock fails another check
        if self.everything() != before:
            raise Disagree(f"{self.pool.last} panicked, as it should, but has changed the heap before")

    def everything(self) -> list[bytes]:
        """All that the heap has, and the states of the pmm's frames."""
        ram = self.g.machine.ram
        states = FRAMES.unpack(self.pool.frames)[3] - KERNBASE
        return [variable(self.g, "heap", 24), ram[states:states + self.pool.n],
                *(ram[r - KERNBASE:r - KERNBASE + size] for r, size in self.regions.items()),
                *(ram[page - KERNBASE:page - KERNBASE + PGSIZE] for page in self.fences)]

    def sizes(self) -> None:
        for at in self.some(used=True):
            wanted = self.blocks[at][0] - HEADER
            found = self.pool.call("heap_size", at + HEADER)
            if found != wanted:
                raise Disagree(f"{self.pool.last}: expected {wanted:#x}, found {found:#x}")


# --- the beginning -------------------------------------------------------


def read_heap(g: Guest) -> tuple[int, int, int]:
    regions, first, free_list = struct.unpack("<QQQ", variable(g, "heap", 24))
    return regions, first, free_list


def judge_mem_init(g: Guest, rng: random.Random) -> None:
    pages = 200
    for npages in (1, 2, 16, rng.randrange(3, 60), rng.randrange(60, pages - 2), 0):
        h = Heap(g, rng, pages)
        if rng.random() < 0.5:          # there was another heap before
            h.region(0, rng.randrange(1, 9))
            h.region(20, rng.randrange(1, 9))
        h.write()
        h = Heap(g, rng, pages)
        h.pool.write()
        h.pool.last = "setting up"
        start = rng.randrange(1, pages - npages)
        if npages:
            h.whole(start, npages)
            g.phys_write(h.page(start) - KERNBASE, rng.randbytes(npages * PGSIZE))
            h.put_fences()
        pa = h.page(start) - KERNBASE
        h.pool.call("mem_init", pa, pa + npages * PGSIZE)
        h.check()


class Early:
    """memory_init, with a memmap made up around the place where the heap is to begin."""

    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        self.at = g.call("memmap_get")
        fields = MEMMAP.unpack(g.phys(self.at - KERNBASE, MEMMAP.size))
        self.own = fields[4], fields[5]         # bitmap, reserved
        self.size = 0x40000 // 8

    def bits(self, start: int, n: int, used: set[int], reserved: set[int], at: tuple[int, int]) -> None:
        """The memmap describes n frames from `start` on, and its bitmaps are there."""
        everything = (1 << self.size * 8) - 1
        outside = everything ^ (1 << n) - 1
        words = [outside | sum(1 << i - start for i in which) for which in (used | reserved, reserved)]
        for va, own, word in zip(at, self.own, words):
            data = word.to_bytes(self.size, "little")
            self.g.phys_write(own - KERNBASE, data)
            self.g.phys_write(va - KERNBASE, data)
        self.g.phys_write(self.at - KERNBASE,
                          MEMMAP.pack(start * PGSIZE, (start + n) * PGSIZE, start, n, *at, self.rng.randrange(n)))

    def merge(self, at: tuple[int, int]) -> None:
        """Whether memmap_reserve goes by the pointers or knows its arrays: the bits are in their own place then."""
        for va, own in zip(at, self.own):
            data = (int.from_bytes(self.g.phys(own - KERNBASE, self.size), "little")
                    | int.from_bytes(self.g.phys(va - KERNBASE, self.size), "little"))
            self.g.phys_write(own - KERNBASE, data.to_bytes(self.size, "little"))
        fields = MEMMAP.unpack(self.g.phys(self.at - KERNBASE, MEMMAP.size))
        self.g.phys_write(self.at - KERNBASE, MEMMAP.pack(*fields[:4], *self.own, fields[6]))

    def run(self, at: tuple[int, int], free: int, around: tuple[int, int]) -> None:
        """With so many free frames where the heap begins; `around`: frames described before that place and from it
        on."""
        g, rng = self.g, self.rng
        behind = max(g.symbol("end"), max(at) + self.size)
        place = -(-(behind - KERNBASE) // PGSIZE)
        start, n = place - around[0], around[0] + around[1]
        used = {i for i in range(start, start + n) if rng.random() < 0.5}
        used -= set(range(place, place + free))
        used |= {place + free}
        used = {i for i in used if start <= i < start + n}
        reserved = {i for i in used if rng.random() < 0.3}
        self.bits(start, n, used, reserved, at)
        g.phys_write(g.symbol("heap") - KERNBASE, rng.randbytes(24))
        saved = g.phys(place * PGSIZE, PAGES * PGSIZE)
        g.call("memory_init", limit=QUICK)
        wanted = min(free, PAGES, max(0, around[1]))
        what = (f"memory_init(), image and bitmaps ending at {behind - KERNBASE:#x} and {free} free frames from "
                f"{place * PGSIZE:#x} on")
        self.merge(at)
        now = memmap(g, self.at)
        for name, found, before in (("in use", now.used, used | reserved), ("reserved", now.reserved, reserved)):
            marked = before | set(range(place, place + wanted))
            bad = found ^ sum(1 << i - start for i in marked)
            if bad:
                i = start + (bad & -bad).bit_length() - 1
                raise Disagree(f"after {what}: expected the frame at {i * PGSIZE:#x} {'' if i in marked else 'not '}to "
                               f"be {name}, found otherwise")
        regions, first, free_list = read_heap(g)
        r = P2V(place * PGSIZE) if wanted else 0
        block = r + REGION if wanted else 0
        if (regions, first, free_list) != (r, r, block):
            raise Disagree(f"after {what}: expected heap.regions, first and free_list to be {r:#x}, {r:#x} and "
                           f"{block:#x}, found {regions:#x}, {first:#x} and {free_list:#x}")
        if wanted:
            size = wanted * PGSIZE
            expected = struct.pack("<QQ", 0, size)
            expected += struct.pack("<QQQ", size - REGION, tag(block, size - REGION, FREE), 0)
            if g.phys(place * PGSIZE, len(expected)) != expected:
                raise Disagree(f"after {what}: expected a region of {size:#x} bytes there with one free block, found "
                               f"{g.phys(place * PGSIZE, len(expected)).hex()}")
        g.phys_write(place * PGSIZE, saved)


def at_boot(g: Guest) -> None:
    """The heap with which the kernel has booted."""
    fields = MEMMAP.unpack(g.phys(g.call("memmap_get") - KERNBASE, MEMMAP.size))
    behind = max(g.symbol("end"), max(fields[4:6]) + 0x40000 // 8)
    start = -(-behind // PGSIZE) * PGSIZE
    _, first, _ = read_heap(g)
    pmm = Pmm(g)

    def is_nobodys(va: int) -> bool:
        i = (va - KERNBASE) // PGSIZE - pmm.start
        return not 0 <= i < pmm.n or pmm.state[i] == NONE and not any(
            f <= i < f + (1 << o) for kind in pmm.kinds.values() for f, o in kind.items())

    if first == 0:
        if not is_nobodys(start):
            raise Disagree(f"the kernel has booted with an empty heap, expected a region at {start:#x}, which is free "
                           "memory")
        return
    size = struct.unpack("<8xQ", g.phys(first - KERNBASE, 16))[0]
    if first != start or size % PGSIZE or not 0 < size <= PAGES * PGSIZE:
        raise Disagree(f"the kernel has booted with a heap of {size:#x} bytes at {first:#x}, expected up to "
                       f"{PAGES * PGSIZE:#x} at {start:#x}")
    if size < PAGES * PGSIZE and not is_nobodys(first + size):
        raise Disagree(f"the kernel has booted with a heap of {size:#x} bytes, expected it to have the page at "
                       f"{first + size:#x} too, which was free")
    for page in range(first, first + size, PGSIZE):
        if not is_nobodys(page):
            raise Disagree(f"the kernel's heap has the page {page:#x}, but the pmm has it too")


def judge_memory_init(g: Guest, rng: random.Random) -> None:
    at_boot(g)
    early = Early(g, rng)
    for free in (PAGES, 0, rng.randrange(1, PAGES), PAGES + 1, 60):
        early.run(early.own, free, (rng.randrange(100), 61 + rng.randrange(100)))
    early.run(early.own, 7, (20, 7))
    start, there = spare_ram(g)
    size = early.size
    for turn in range(6):
        low = P2V((start + rng.randrange(there - 60)) * PGSIZE) + 8 * rng.randrange(PGSIZE // 8)
        high = low + size + 8 * rng.randrange(900)
        if turn == 0:
            low = P2V((start + 5) * PGSIZE)     # both end with a page
            high = low + size
        pairs = ((low, high), (high, low), (low, early.own[1]), (early.own[0], low))
        at = pairs[turn] if turn < len(pairs) else rng.choice(pairs)
        early.run(at, rng.choice((PAGES, rng.randrange(PAGES), 40)), (rng.randrange(80), 41 + rng.randrange(80)))


# --- blocks --------------------------------------------------------------


def any_size(rng: random.Random, most: int) -> int:
    return rng.choice((rng.randrange(1, 40), rng.randrange(1, 260), rng.randrange(1, most)))


def made(g: Guest, rng: random.Random, *regions: tuple[int, float, int], gap: int = 0) -> Heap:
    """A heap with regions of (pages, share that is free, largest block) that are so far apart, or a bit more; a pmm
    with nothing."""
    h = Heap(g, rng, sum(pages + 3 for pages, _, _ in regions) + 2)
    at = 1
    for pages, free, most in rng.sample(regions, len(regions)):
        h.region(at, pages, free, most)
        at += pages + max(gap, rng.choice((0, 0, 1, 2)))
    h.write()
    return h


def judge_heap_alloc(g: Guest, rng: random.Random) -> None:
    for regions in (((rng.randrange(1, 9), 0.5, 500),), ((3, 0.6, 300), (5, 0.5, 1000), (1, 0.7, 100))):
        h = made(g, rng, *regions)
        for _ in range(60):
            h.alloc(any_size(rng, 700))
        for at in rng.sample(h.some(used=False), min(15, len(h.some(used=False)))):
            if at in h.blocks and not h.blocks[at][1]:      # all of it, or all but a little
                h.alloc(max(1, h.blocks[at][0] - HEADER - rng.randrange(70)))
        for size in (0, *TOO_LARGE, MAX, MAX - 1):
            h.alloc(size)
        h.sizes()
    h = Heap(g, rng, 40)
    h.whole(3, rng.randrange(1, 30))
    h.write()
    while h.alloc(any_size(rng, 3000)) is not None:
        pass
    for size in (1, 16, 17):
        while h.alloc(size) is not None and h.some(used=False):
            if len(h.starts) > 900:
                break
    h = Heap(g, rng, 20)                                    # nothing
    h.write()
    for size in (1, 0, rng.randrange(1, PGSIZE), MAX, M64):
        h.alloc(size)


def judge_heap_free(g: Guest, rng: random.Random) -> None:
    for regions in (((2, 0.0, 200),), ((rng.randrange(1, 9), 0.5, 700),)):
        h = made(g, rng, *regions)
        h.free_all()
    for turn in range(3):
        h = made(g, rng, (4, 0.4, 400), (3, 0.4, 900), (2, 0.5, 200), gap=turn)
        stay = {max(at for at in h.some(used=True) if h.region_of(at) == r) for r in h.regions if r != h.first}
        used = [at for at in h.some(used=True) if at not in stay]
        for at in rng.sample(used, len(used)):
            h.free(at)


    # The last block of a region: what follows is another region that begins with a free block, or nobody's memory
    # that looks like a free block.
    h = Heap(g, rng, 20)
    for page, sizes in ((2, ((64, True), (96, False), (48, True))), (4, ((80, False), (64, True)))):
        pages = 2
        at = h.page(page) + REGION
        h.regions[h.page(page)] = pages * PGSIZE
        for size, used_here in sizes:
            h.put(at, size, used_here)
            at += size
        h.put(at, h.page(page + pages) - at, True)
    h.first = h.page(2)
    h.write()
    behind = h.page(6)
    size = rng.randrange(LEAST, 900, ALIGN)
    h.fences[behind] = (struct.pack("<QQQ", size, tag(behind, size, FREE), 0) + h.fences[behind])[:PGSIZE]
    h.ram(behind, h.fences[behind])
    for page in (4, 6):
        h.free(max(at for at in h.starts if at < h.page(page)))


def judge_heap_grow(g: Guest, rng: random.Random) -> None:
    def alloc(size: int) -> int | None:
        return h.alloc(size, first=False)       # which block it takes is judge_heap_alloc's matter

    h = Heap(g, rng, 700)
    h.pool.free = set(range(h.first_frame, h.first_frame + 700))
    h.write()
    for order in rng.sample(range(9), 9):                   # what a block of each order holds, and one byte more
        most = (PGSIZE << order) - REGION - HEADER
        alloc(most - rng.choice((0, rng.randrange(ALIGN))))
        if order < 8:
            alloc(most + 1)
        h.free_all()
    for _ in range(4):
        h = Heap(g, rng, rng.randrange(60, 300))
        taken = rng.choice((0, 2))
        if taken:
            h.region(1, taken, 0.3, 900)
        h.pool.fill(free=0.55, hole=0.2, most=rng.randrange(2, 8))
        for frame in range(h.first_frame, h.first_frame + taken + 2):
            h.pool.free.discard(frame)
            for head in [f for f in h.pool.used if f <= frame < f + (1 << h.pool.used[f])]:
                del h.pool.used[head]
        h.write()
        for _ in range(60):
            used = h.some(used=True)
            if used and rng.random() < 0.45:
                h.free(rng.choice(used))
            else:
                alloc(rng.randrange(1, rng.choice((600, 5 * PGSIZE, 40 * PGSIZE))))
        for size in rng.sample((0, *TOO_LARGE), 4):
            alloc(size)
        while alloc(PGSIZE - REGION - HEADER) is not None:
            if len(h.starts) > 400:
                break
        h.free_all()
    # As large as can be.
    h = Heap(g, rng, (2 << ORDERS - 1) + 50)
    first = h.first_frame + -h.first_frame % (1 << ORDERS - 1)
    h.pool.free = set(range(first, first + (1 << ORDERS - 1)))
    h.write()
    for size in (MAX, MAX - rng.randrange(1, 5000)):
        at = alloc(size)
        assert at is not None
        alloc(20000)
        h.free(at)
        h.free_all()
    alloc(MAX + 1)


# --- mistakes ------------------------------------------------------------


def odd_pointers(h: Heap, rng: random.Random) -> Iterable[tuple[int, str]]:
    """What heap_free must not take."""
    for at in rng.sample(h.some(used=False), min(12, len(h.some(used=False)))):
        yield at + HEADER, "is free already"
        yield at + rng.randrange(HEADER, h.blocks[at][0]), "is in the middle of a free block"
    for at in rng.sample(h.some(used=True), min(12, len(h.some(used=True)))):
        yield at, "is a block's header"
        yield at + HEADER + rng.randrange(1, ALIGN), "is not aligned"
        if h.blocks[at][0] > LEAST:
            yield at + rng.randrange(LEAST, h.blocks[at][0], ALIGN), "is in the middle of a block"
        yield at + HEADER - KERNBASE, "is a physical address"
        yield at + HEADER + (1 << 40), "is no memory"
        yield at + HEADER ^ 1 << 63, "is no memory"
    for r, size in h.regions.items():
        yield r, "is the beginning of a region"
        yield r + REGION, "is the header of a region's first block"
        yield r + size, "is the end of a region"
        yield r + size + HEADER, "is behind a region"
    for page in h.fences:
        yield page + rng.randrange(0, PGSIZE, ALIGN), "is nobody's memory"
    for p in (0, 1, 8, 16, 32, M64, M64 - 15, KERNBASE, KERNBASE + 16, rng.getrandbits(64), rng.getrandbits(64) & -16,
              h.g.symbol("heap"), h.g.symbol("heap_free"), h.g.symbol("end"), h.g.home[31] & -16):
        yield p, "is none of the heap's memory"


def smash(h: Heap, at: int, rng: random.Random) -> None:
    """The header of a block in use, overwritten in ways of which each is noticed."""
    size, right = h.blocks[at][0], tag(at, h.blocks[at][0], USED)
    other = rng.choice(h.starts)
    ways = [(size, right ^ 1 << rng.randrange(64)), (size ^ 1 << rng.randrange(64), right), (0, 0), (M64, M64),
            (size, tag(at, size, FREE)), (size, 0), (0, right), (size + ALIGN, right), (size, tag(at + 16, size, USED)),
            (rng.getrandbits(64), rng.getrandbits(64)), (0x6161616161616161, 0x6161616161616161)]
    if other != at:
        ways.append((h.blocks[other][0], tag(other, h.blocks[other][0], USED)))
    for found in rng.sample(ways, 6):
        h.smashed[at] = struct.pack("<QQ", *found)
        h.ram(at, h.header(at))
        h.refuse(at + HEADER, "has a header that was overwritten")
    h.smashed.clear()
    h.ram(at, h.header(at))


def judge_heap_refuse(g: Guest, rng: random.Random) -> None:
    h = made(g, rng, (rng.randrange(1, 5), 0.4, 600), (2, 0.5, 300), gap=1)
    for p, why in list(odd_pointers(h, rng)):
        h.refuse(p, why)
    used = h.some(used=True)
    for at in rng.sample(used, min(5, len(used))):
        smash(h, at, rng)
    # Blocks that look right, in no region.
    for page in h.fences:
        at = page + rng.randrange(0, PGSIZE - 512, ALIGN)
        size = rng.randrange(LEAST, 256, ALIGN)
        data = bytearray(h.fences[page])
        for b in (at, at + size):       # and one behind it
            data[b - page:b - page + HEADER] = struct.pack("<QQ", size, tag(b, size, USED))
        h.fences[page] = bytes(data)
        h.ram(page, h.fences[page])
        h.refuse(at + HEADER, "is in no region of the heap, though it looks like a block")
    # Once, and not again; nor after its neighbours were freed as well.
    gone: list[int] = []
    stay = max(used)
    for at in rng.sample(used, len(used)):
        r = h.region_of(at)
        if at == stay or r != h.first and not {b for b in used if h.region_of(b) == r} - {at, *gone}:
            continue                    # with it, its region would go
        h.pool.call("heap_free", at + HEADER)
        gone.append(at)
        for old in {at, rng.choice(gone)}:
            h.refuse(old + HEADER, "has been freed", says=True)
    again: set[int] = set()
    for _ in range(10):
        again.add(h.pool.call("heap_alloc", any_size(rng, 300)))
        for old in rng.sample(gone, min(3, len(gone))):
            if old + HEADER not in again:
                h.refuse(old + HEADER, "has been freed")
    # A region that has gone, most likely.
    h = Heap(g, rng, 100)
    h.pool.free = set(range(h.first_frame + 3, h.first_frame + 90))
    h.write()
    blocks = [p for p in (h.pool.call("heap_alloc", rng.randrange(1, 500)) for _ in range(5)) if p]
    for p in blocks:
        h.pool.call("heap_free", p)
    for p in blocks:
        h.refuse(p, "has been freed, and so has all of its region")
