"""Page frames as the stopped machine has them, from lab 3 on: the bitmap, the pmm's records, what is free.

inc/memmap.h and inc/zone.h say what these look like.  Nothing here believes them: what contradicts itself
raises Disagree, in words.  Frames are numbers within the pmm's table (frame_index), or within the map.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from grade.machine import RAM_SIZE
from grade.view import KERNBASE, M64, PERIPHERALS, PGSIZE, P2V, Disagree, View

ORDERS = 11
LARGEST = 1 << ORDERS - 1
USED, SLAB, LARGE, SHARED, FREE, CACHED, NONE = 0x00, 0x10, 0x20, 0x40, 0x80, 0xC0, 0xFF
NAMES = {USED: "in use", SHARED: "shared", FREE: "free", CACHED: "cached", SLAB: "a cache's", LARGE: "a large object"}
PAGES = (CACHED, SLAB)                  # of these, each page is for itself
MAP_FRAMES = 0x40000                    # MEMMAP_FRAMES
TABLE_MAX = 1 << 20                     # frames that a table may describe, for reading it
ZONES_MAX = 16
LOCKS = ("memmap_lock", "pmm_lock", "kmem_lock")
LOCKS_OF_LAB_4 = ("heap_lock", "slab_lock", "vmalloc_lock")

FRAMES = struct.Struct("<4Q")           # bias, first, n, state
ZONE = struct.Struct("<10Q")            # orders, base, n, link, state, free, pages, watermark[3]
LINK = struct.Struct("<II")             # next or users, prev
MEMMAP = struct.Struct("<7Q")           # start_addr, end_addr, start_frame, max_frames, bitmap, reserved, hint


def memory(g: View, va: int, size: int, what: str) -> bytes:
    """Bytes at an address of the linear map."""
    if not KERNBASE <= va <= KERNBASE + PERIPHERALS - size:
        raise Disagree(f"{what} is at {va:#x}, where there is no memory")
    return g.machine.ram[va - KERNBASE:va - KERNBASE + size]


def variable(g: View, name: str, size: int) -> bytes:
    return memory(g, g.symbol(name), size, name)


def word(g: View, va: int, what: str, limit: int = 64) -> str:
    """A text at an address of the linear map, up to its NUL."""
    data = memory(g, va, min(limit, max(KERNBASE + PERIPHERALS - va, 1)), what)
    return data.split(b"\0")[0].decode("utf-8", "replace")


# --- the bitmap ----------------------------------------------------------


@dataclass
class Memmap:
    """The map of frames; bit i of an int is frame i, which is start + i."""
    start: int
    n: int
    used: int
    reserved: int
    hint: int

    @property
    def free(self) -> int:
        return ~self.used & (1 << self.n) - 1


def memmap(g: View, at: int) -> Memmap:
    """The struct memmap at this address, checked."""
    start_addr, end_addr, start, n, used_at, reserved_at, hint = MEMMAP.unpack(
        memory(g, at, MEMMAP.size, "the struct memmap"))
    if not 0 < n <= MAP_FRAMES:
        raise Disagree(f"the memmap's max_frames is {n:#x}, expected 1 to {MAP_FRAMES:#x}")
    if start_addr != start * PGSIZE & M64 or end_addr != (start + n) * PGSIZE & M64:
        raise Disagree(f"the memmap describes [{start_addr:#x}, {end_addr:#x}), but start_frame {start:#x} and "
                       f"max_frames {n:#x} say [{start * PGSIZE:#x}, {(start + n) * PGSIZE:#x})")
    for va, name in ((used_at, "bitmap"), (reserved_at, "reserved")):
        if va % 8:
            raise Disagree(f"the memmap's {name} begins at {va:#x}, expected a multiple of 8")
    used, reserved = (int.from_bytes(memory(g, va, MAP_FRAMES // 8, f"the memmap's {name}"), "little")
                      for va, name in ((used_at, "bitmap"), (reserved_at, "reserved")))
    behind = used >> n ^ (1 << MAP_FRAMES - n) - 1
    if behind:
        raise Disagree(f"bit {n + lowest(behind)} of the bitmap is 0, expected all from max_frames, {n}, on to be 1")
    loose = reserved & ~used & (1 << n) - 1
    if loose:
        raise Disagree(f"frame {lowest(loose)} of the memmap is reserved, but its bit in the bitmap is 0")
    return Memmap(start, n, used & (1 << n) - 1, reserved & (1 << n) - 1, hint)


def lowest(bits: int) -> int:
    """The number of the lowest bit that is 1."""
    return (bits & -bits).bit_length() - 1


# --- the pmm -------------------------------------------------------------


@dataclass
class Zone:
    base: int
    n: int                  # links, from base on
    link: int               # address
    state: int              # address
    free: int
    pages: int
    first: int              # what of the table is the zone's own: this frame ...
    end: int                # ... up to this one
    at: int                 # the frame at base


class Pmm:
    """frames, zones and their lists at one moment.  Reading them checks them."""

    def __init__(self, g: View):
        self.g = g
        bias, first, self.n, self.table = FRAMES.unpack(variable(g, "frames", FRAMES.size))
        self.start = (first - KERNBASE & M64) // PGSIZE     # the absolute number of frame 0
        if (first % (LARGEST * PGSIZE) or self.n % LARGEST or not 0 < self.n <= TABLE_MAX
                or bias != self.table - first // PGSIZE & M64):
            raise Disagree(f"frames is not as it was set up: first is {first:#x}, n is {self.n:#x}, state is "
                           f"{self.table:#x}, bias is {bias:#x}")
        self.state = memory(g, self.table, self.n, "frames.state")
        self.zones = self.read_zones()
        self.kinds: dict[int, dict[int, int]] = {kind: {} for kind in NAMES}        # frame: order
        self.users: dict[int, int] = {}                     # of shared blocks
        self.read_states()
        for i, z in enumerate(self.zones):
            self.read_lists(i, z)

    def read_zones(self) -> list[Zone]:
        count = int.from_bytes(variable(self.g, "nzones", 8), "little")
        if not 0 < count <= ZONES_MAX:
            raise Disagree(f"nzones is {count}")
        zones: list[Zone] = []
        end = 0
        for i, fields in enumerate(ZONE.iter_unpack(variable(self.g, "zones", (count + 1) * ZONE.size))):
            orders, base, n, link, state, free, pages, *_ = fields
            if i == count:
                if n:
                    raise Disagree(f"zone {i}, behind the last, has n = {n:#x}, expected 0")
                break
            at = (base - self.start * PGSIZE & M64) // PGSIZE
            if (orders != ORDERS or base % (LARGEST * PGSIZE) or at >= self.n or not end < at + n <= self.n
                    or state != self.table + at):
                raise Disagree(f"zone {i} is not as it was set up: orders is {orders}, base is {base:#x}, n is {n:#x}, "
                               f"state is {state:#x}")
            zones.append(Zone(base, n, link, state, free, pages, max(at, end), at + n, at))
            end = at + n
        return zones

    def frame(self, i: int) -> str:
        return f"frame {i:#x} (at {(self.start + i) * PGSIZE:#x})"

    @property
    def used(self) -> dict[int, int]:
        return self.kinds[USED]

    @property
    def shared(self) -> dict[int, int]:
        return self.kinds[SHARED]

    @property
    def free(self) -> dict[int, int]:
        return self.kinds[FREE]

    @property
    def cached(self) -> set[int]:
        return set(self.kinds[CACHED])

    @property
    def slabs(self) -> set[int]:
        """The frames that caches have for their objects (lab 4)."""
        return set(self.kinds[SLAB])

    @property
    def large(self) -> dict[int, int]:
        """The blocks that kmalloc has handed out as they are (lab 4)."""
        return self.kinds[LARGE]

    def zone_of(self, i: int) -> Zone | None:
        return next((z for z in self.zones if z.first <= i < z.end), None)

    def free_frames(self) -> set[int]:
        return {f for i, order in self.free.items() for f in range(i, i + (1 << order))}

    def read_states(self) -> None:
        """Blocks are aligned, in one zone each, and none lies in another; those that are free are merged."""
        known = set(NAMES) if self.g.has("slab_lock") else set(NAMES) - {SLAB, LARGE}
        end, last, zone = 0, 0, self.zones[0]
        for found in re.finditer(rb"[^\xff]", self.state, re.DOTALL):
            i = found.start()
            kind, order = self.state[i] & 0xF0, self.state[i] & 0xF
            if kind not in known or order >= (1 if kind in PAGES else ORDERS):
                raise Disagree(f"{self.frame(i)} has the state {self.state[i]:#x}, which means nothing")
            if i < end:
                raise Disagree(f"{self.frame(i)} begins a block, {NAMES[kind]}, of order {order}, inside of the block "
                               f"of order {self.state[last] & 0xF} at {self.frame(last)}")
            if i % (1 << order):
                raise Disagree(f"a block of order {order}, {NAMES[kind]}, begins at {self.frame(i)}, expected it to "
                               "be aligned to its size")
            last, end = i, i + (1 << order)
            if not (zone.first <= i and end <= zone.end):
                within = self.zone_of(i)
                if within is None or end > within.end:
                    raise Disagree(f"a block of order {order}, {NAMES[kind]}, at {self.frame(i)} does not lie in a "
                                   "zone")
                zone = within
            self.kinds[kind][i] = order
        for i, order in self.free.items():
            if order < ORDERS - 1 and not i >> order & 1 and self.free.get(i ^ 1 << order) == order:
                raise Disagree(f"two free blocks of order {order}, at {self.frame(i)} and "
                               f"{self.frame(i ^ 1 << order)}, are buddies, expected them to be merged")

    def read_lists(self, number: int, z: Zone) -> None:
        """The rings of one zone hold the blocks whose states say so, once each."""
        links = memory(self.g, z.link, (z.n + ORDERS) * LINK.size, f"the links of zone {number}")
        listed = 0
        for order in range(ORDERS):
            what = f"the list of order {order} in zone {number}"
            head = at = z.n + order
            length = 0
            while True:
                following = LINK.unpack_from(links, at * LINK.size)[0]
                if following != head and following >= z.n:
                    raise Disagree(f"{what} goes on to link {following:#x} after {length} blocks, expected a frame of "
                                   f"the zone or the head, {head:#x}")
                if LINK.unpack_from(links, following * LINK.size)[1] != at:
                    raise Disagree(f"{what} is broken after {length} blocks: link {at:#x} has the next {following:#x}, "
                                   "but that one's prev is "
                                   f"{LINK.unpack_from(links, following * LINK.size)[1]:#x}")
                if following == head:
                    break
                if self.state[z.at + following] != FREE + order:
                    raise Disagree(f"{what} has {self.frame(z.at + following)}, the state of which is "
                                   f"{self.state[z.at + following]:#x}, expected {FREE + order:#x}")
                if length > z.n:
                    raise Disagree(f"{what} goes round in a circle")
                at, length = following, length + 1
            listed += length
        mine = [(i, order) for i, order in self.free.items() if z.first <= i < z.end]
        if len(mine) != listed:
            raise Disagree(f"{len(mine)} blocks of zone {number} have the state of a free one, but {listed} are on its "
                           "lists")
        pages = sum(1 << order for _, order in mine)
        if z.free != pages:
            raise Disagree(f"zone {number} counts {z.free} free pages, expected {pages}, which its lists have")
        for i in self.shared:
            if z.first <= i < z.end:
                self.users[i] = LINK.unpack_from(links, (i - z.at) * LINK.size)[0]
                if not 2 <= self.users[i] < 1 << 31:
                    raise Disagree(f"{self.frame(i)} is shared, but its users are {self.users[i]:#x}")


def whole(frames: set[int]) -> dict[int, int]:
    """The blocks, frame: order, that a buddy allocator has when these frames are free and all is merged."""
    blocks: dict[int, int] = {}
    level = set(frames)
    for order in range(ORDERS):
        size = 1 << order
        pairs = {i for i in level if not i & size and i + size in level} if order < ORDERS - 1 else set()
        for i in level:
            if i & ~size not in pairs:
                blocks[i] = order
        level = pairs
    return blocks


# --- locks, and all that is free -----------------------------------------


def locked(g: View) -> str | None:
    """The name of a lock that is taken now, or None."""
    for name in (*LOCKS, *(later for later in LOCKS_OF_LAB_4 if g.has(later))):
        serving, following = struct.unpack("<HH", variable(g, name, 4))
        if serving != following:
            return name
    return None


def has_pmm(g: View) -> bool:
    return g.has("nzones") and variable(g, "nzones", 8) != bytes(8)


def pmm_pages(g: View) -> set[int]:
    """The pages, by address, that are free with the pmm."""
    if not has_pmm(g):
        return set()
    pmm = Pmm(g)
    return {P2V((pmm.start + f) * PGSIZE) for f in pmm.free_frames()}


def pmm_tables(g: View) -> set[int]:
    """The pages, by address, that the pmm has for what it knows."""
    if not has_pmm(g):
        return set()
    pmm = Pmm(g)
    tables = [(pmm.table, pmm.n), *((z.link, (z.n + ORDERS) * LINK.size) for z in pmm.zones)]
    return {page for va, size in tables for page in range(va & -PGSIZE, va + size, PGSIZE)}


def heap_pages(g: View) -> set[int]:
    """The pages, by address, that the heap began with at boot, from lab 4 on: they are usable no more."""
    first = int.from_bytes(variable(g, "heap", 16)[8:], "little") if g.has("memory_init") else 0
    if first == 0:
        return set()
    size = int.from_bytes(memory(g, first, 16, "the heap's first region")[8:], "little")
    if first % PGSIZE or size % PGSIZE or size > LARGEST * PGSIZE:
        raise Disagree(f"the heap's first region is at {first:#x} and has {size:#x} bytes, expected a few whole pages")
    return set(range(first, first + size, PGSIZE))


def listed_pages(g: View) -> list[int]:
    """kmem.free_list, checked, without asking the processor for each page."""
    return g.runs(int.from_bytes(variable(g, "kmem", 8), "little"), RAM_SIZE // PGSIZE)


def free_pages(g: View) -> set[int]:
    """Every free page, by address: on kmem.free_list, or from lab 3 on in a free block of the pmm."""
    listed, blocks = set(listed_pages(g)), pmm_pages(g)
    both = listed & blocks
    if both:
        raise Disagree(f"the page {min(both):#x} is on kmem.free_list, and in a free block of the pmm as well")
    return listed | blocks
