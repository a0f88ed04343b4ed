"""Whose each page frame is, in all of RAM, as the stopped machine has it.

    o = owners(view)
    o.kind[frame], o.who[frame]     whose it is: a Kind, and which of them (a pid, a cache's number, an order)
    o.users[frame]                  how many users the kernel counts: 0 for what is free, reserved, or no RAM
    o.mappings_of(frame)            where processes have it mapped
    o.errors[frame]                 what is wrong: leaked, mapped although it is another's, wrongly counted
    o.tell(frame)                   whose it is, in words
    o.broken                        what could not be read, or contradicts itself
    o.busy                          what the kernel was at: while it changes these things, they need not fit together

Nothing here believes the kernel: who says that a page is its own (tables, walked in physical memory; caches; areas;
files) is compared with what the allocators say.  What is broken is left out, and the rest told all the same.  The
view's memory may be a copy of a machine's: `machine.ram`, and the registers that show where the kernel is, are all that
is asked for.
"""

from __future__ import annotations

import enum
import functools
import itertools
import re
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from grade import heaps, holders, procs, stacks
from grade.buddy import (CACHED, FRAMES, FREE, LARGE, LINK, NONE, ORDERS, SHARED, SLAB, TABLE_MAX, USED, ZONE,
                         ZONES_MAX, Pmm, listed_pages, memory, variable)
from grade.procs import Proc
from grade.stacks import STRANGE
from grade.view import ADDRESS, KERNBASE, M64, PERIPHERALS, PGSIZE, Disagree, Leaf, View

RANGE = struct.Struct("<2Q")            # inc/ram.h
BANKS_MAX, USABLE_MAX = 16, 177         # kern/ram.c
NOBODY = 0xFFFF
NOTES = 100                             # of what is broken, so many are kept
SETTING_UP = {"alloc_init", "frames_init", "memory_init", "pmm_init"}   # while one runs, not all pages have come yet
# While one of these is at work, counts, states and tables need not agree.
AT_WORK = SETTING_UP | {
    "kalloc", "kfree", "kcache_refill", "kcache_drain", "pmm_alloc", "pmm_free", "pmm_free_range", "page_share",
    "page_unshare", "alloc_frame", "alloc_frames", "slab_alloc", "slab_free", "slab_destroy", "slabs_trim", "kmalloc",
    "kzalloc", "kmfree", "heap_alloc", "heap_free", "vmalloc_aligned", "vfree", "map_region", "vm_free", "user_map",
    "user_alloc", "user_free", "user_protect", "aspace_copy", "aspace_destroy", "page_fault", "exec_load", "image_get",
    "image_put", "proc_exec", "proc_exit", "proc_fork", "proc_free"}


class Kind(enum.IntEnum):
    NO_RAM = 0
    RESERVED = 1            # not the allocators': firmware's, below the image, withdrawn
    IMAGE = 2
    PMM = 3                 # its states and links
    HEAP = 4                # a region
    UNKNOWN = 5             # usable, but there is no allocator yet that would know it
    FREE = 6                # who: the block's order
    LISTED = 7              # on kalloc's list
    TABLE = 8               # who: the process, or 0 for the kernel's half
    SLAB = 9                # who: the cache's number
    RECORDS = 10            # of caches
    LARGE = 11              # who: the block's order
    STACK = 12              # who: whose
    AREA = 13               # vmalloc's; who: the area's number
    PROCESS = 14            # who: one that has it mapped
    FILE = 15               # of a program that runs; who: the image's number
    ZERO = 16
    HELD = 17               # in use; who: the number of what points to it
    LEAKED = 18             # in use, and nothing leads to it
    UNCLAIMED = 19          # of those two, but it is not known which: the allocators are being set up


NOT_USERS = {kind for kind in Kind if kind not in (Kind.UNKNOWN, Kind.PROCESS, Kind.FILE, Kind.ZERO, Kind.UNCLAIMED,
                                                   Kind.HELD, Kind.LEAKED)}


@dataclass(frozen=True)
class Mapping:
    pid: int
    va: int
    entry: int
    size: int = PGSIZE      # more: a block


@dataclass(frozen=True)
class Error:
    kind: str               # leaked, foreign, count
    text: str


class Owners:
    def __init__(self, g: View):
        self.g = g
        self.broken: list[str] = []
        self.errors: dict[int, list[Error]] = {}
        self.mappings: dict[int, list[Mapping]] = {}
        self.parts: dict[int, range] = {}                       # by frame: the block in use that it is a part of
        self.blocks: list[tuple[int, Mapping]] = []             # of processes, which have none: where, and which
        self.procs: dict[int, Proc] = {}
        self.caches: list[heaps.Cache] = []
        self.areas: list[heaps.Area] = []
        self.images: list[procs.Image] = []
        self.file_pages: dict[int, tuple[int, int]] = {}        # by frame: image and page
        self.holders: dict[str, int] = {}                       # what points to pages, and its number
        self.cache_links: dict[int, int] = {}                   # by frame: what the link of a cache's page says
        self.levels: dict[int, tuple[int, int]] = {}            # of tables: level, and from which address on
        self.zero = 0
        self.has_pmm = self.counts = False
        phystop = self.number("phystop")
        if phystop % PGSIZE or phystop > PERIPHERALS:
            self.broken.append(f"phystop is {phystop:#x}, which no Pi has: memory has not been looked for yet, or a "
                               "check has made up its own")
            phystop = 0
        self.n = n = phystop // PGSIZE
        self.kind = bytearray(n)
        self.who = array("H", [NOBODY]) * n
        self.users = array("I", [0]) * n
        self.mapped = array("I", [0]) * n       # how often processes have it mapped

    # --- reading ---------------------------------------------------------

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """What goes wrong within `with` is noted, and the rest of it left out."""
        try:
            yield
        except STRANGE as e:
            self.broken.append(str(e) if isinstance(e, Disagree) else f"{what}: what is there makes no sense")

    def note(self, message: str) -> None:
        if len(self.broken) < NOTES:
            self.broken.append(message)

    def mappings_of(self, frame: int) -> list[Mapping]:
        """Where processes have it mapped, in a block, too."""
        within = [m for pa, m in self.blocks if pa <= frame * PGSIZE < pa + m.size]
        return [*self.mappings.get(frame, ()), *within]

    def number(self, name: str) -> int:
        try:
            return int.from_bytes(variable(self.g, name, 8), "little")
        except STRANGE:
            return 0

    def set(self, frame: int, n: int, kind: Kind, who: int = NOBODY, users: int = 0) -> None:
        """What is known of frames in a row; those outside of RAM are no matter."""
        stop = min(frame + n, self.n)
        frame = max(frame, 0)
        if frame < stop:
            self.kind[frame:stop] = bytes([kind]) * (stop - frame)
            self.who[frame:stop] = array("H", [who]) * (stop - frame)
            self.users[frame:stop] = array("I", [users]) * (stop - frame)

    def error(self, frame: int, kind: str, text: str) -> None:
        self.errors.setdefault(frame, []).append(Error(kind, text))

    def kind_of(self, frame: int) -> Kind:
        return Kind(self.kind[frame]) if 0 <= frame < self.n else Kind.NO_RAM

    def claim(self, frame: int, kind: Kind, who: int, what: str) -> None:
        """Somebody has this page, for `what`.  Is it to be had?"""
        now = self.kind_of(frame)
        if now in (Kind.UNCLAIMED, Kind.UNKNOWN):
            self.kind[frame], self.who[frame] = kind, who
        elif now is not Kind.IMAGE or kind is not Kind.TABLE or who != 0:
            self.error(frame, "foreign", f"it is {what}, too")

    # --- what the kernel is at -------------------------------------------

    def under_way(self, names: set[str]) -> str | None:
        """The first of these functions that a thread is in, the running one first."""
        g = self.g
        try:
            now = stacks.current(g)
            current = next((p for p in self.procs.values() if p.at == now), None)
            threads = [stacks.running(g, current)]
            threads += [stacks.waiting(g, p) for p in self.procs.values()
                        if p is not current and p.state != procs.ZOMBIE]
        except STRANGE:
            return None
        for thread in threads:
            try:
                for call in stacks.calls(g, thread):
                    if not call.user and stacks.function(g, call.pc) in names:
                        return stacks.function(g, call.pc)
            except STRANGE:
                pass
        return None

    @functools.cached_property
    def busy(self) -> str | None:
        return self.under_way(AT_WORK)

    @functools.cached_property
    def settled(self) -> bool:
        """Have the allocators all pages that they will have?"""
        return self.under_way(SETTING_UP) is None

    # --- in words --------------------------------------------------------

    def tell(self, frame: int) -> str:
        """Whose it is."""
        kind = self.kind_of(frame)
        who = self.who[frame] if frame < self.n else NOBODY
        if kind is Kind.NO_RAM:
            return "no RAM" if frame * PGSIZE < PERIPHERALS else "no RAM: devices"
        if kind is Kind.FREE:
            first = frame & -(1 << who)
            return f"free, in the block of order {who} at {first * PGSIZE:#x}" if who else "free, a block of order 0"
        if kind is Kind.TABLE:
            level, va = self.levels.get(frame, (0, 0))
            return f"a level {level} page table of {self.process(who) if who else 'the kernel'}, for {va:#x} on"
        if kind is Kind.SLAB:
            return f"objects of the cache {self.caches[who]}" if who < len(self.caches) else \
                "a cache's, but of none that is known"
        if kind is Kind.LARGE:
            return f"a large object of kmalloc's, of order {who}"
        if kind is Kind.STACK:
            return f"a page of the kernel stack of {self.process(who)}"
        if kind is Kind.AREA:
            return f"a page of vmalloc's, in the area at {self.areas[who].start:#x}" if who < len(self.areas) else \
                "a page of vmalloc's, in no area that is known"
        if kind is Kind.PROCESS:
            return f"a page of {self.process(who)}"
        if kind is Kind.FILE:
            image, page = self.file_pages[frame]
            return f"page {page} of the program {self.images[image].name}"
        if kind is Kind.HELD:
            return f"in use; {list(self.holders)[who]} leads to it"
        return {
            Kind.RESERVED: "reserved, not for allocators", Kind.IMAGE: "the kernel's image",
            Kind.PMM: "reserved, for the pmm's own records", Kind.HEAP: "the heap's",
            Kind.UNKNOWN: "usable, but " + ("in no block of the pmm" if self.has_pmm else "no allocator has it yet"),
            Kind.LISTED: "free, on kalloc's list",
            Kind.RECORDS: "records of caches", Kind.ZERO: "the page of zeroes",
            Kind.UNCLAIMED: "in use, while the allocators are being set up",
        }.get(kind, "in use, and nothing leads to it: leaked")

    def process(self, pid: int) -> str:
        return str(self.procs[pid]) if pid in self.procs else f"process {pid}"

    def keeps(self, frame: int) -> int:
        """How often the kernel itself is a user of it."""
        return (frame in self.file_pages) + (frame == self.zero and frame > 0)


def owners(g: View) -> Owners:
    o = Owners(g)
    if o.n == 0:
        return o
    if g.has("procs"):
        with o.reading("the processes"):
            o.procs = procs.processes(g, o.note)
    with o.reading("what RAM there is"):
        read_ram(o)
    with o.reading("the allocators"):
        read_allocators(o)
    if g.has("slab_lock"):
        read_objects(o)
    with o.reading("the kernel's page tables"):
        read_kernel_tables(o)
    if procs.is_lazy(g):
        with o.reading("the programs that run"):
            read_files(o)
    leaves: list[tuple[Proc, list[Leaf]]] = []
    for p in o.procs.values():
        if p.root:
            with o.reading(f"the page tables of {p}"):
                leaves.append((p, read_tables(o, p)))
    for p, of_p in leaves:              # when it is known which pages are tables
        read_leaves(o, p, of_p)
    if o.counts and o.procs:
        compare_counts(o)
    if o.has_pmm and Kind.UNKNOWN in o.kind and o.settled:
        for first, end in runs(o, Kind.UNKNOWN):
            for frame in range(first, end):
                o.error(frame, "leaked", "it is in no block of the pmm, neither free nor in use")
    find_holders(o)
    return o


# --- what the allocators say ---------------------------------------------


def frames_of(start: int, end: int) -> tuple[int, int]:
    """First frame, and how many, of a range of addresses."""
    return start // PGSIZE, -(-end // PGSIZE) - start // PGSIZE


def ranges_at(g: View, va: int, most: int) -> list[tuple[int, int]]:
    """struct ranges, up to one that is empty."""
    found = []
    for start, end in RANGE.iter_unpack(memory(g, va, most * RANGE.size, "a list of ranges")):
        if start >= end or end > PERIPHERALS:
            break
        found.append((start, end))
    return found


def banks(g: View) -> list[tuple[int, int]]:
    n = int.from_bytes(memory(g, g.static("ram.c", "nbanks"), 8, "nbanks"), "little")
    return ranges_at(g, g.static("ram.c", "banks"), min(n, BANKS_MAX))


def usable(g: View) -> list[tuple[int, int]]:
    return ranges_at(g, g.symbol("usable_ranges"), USABLE_MAX)


def image_range(g: View) -> tuple[int, int]:
    return g.symbol("image_start") - KERNBASE, g.symbol("end") - KERNBASE


def read_ram(o: Owners) -> None:
    for start, end in banks(o.g):
        o.set(*frames_of(start, end), Kind.RESERVED)
    for start, end in usable(o.g):
        o.set(*frames_of(start, end), Kind.UNKNOWN)
    start, end = image_range(o.g)
    o.set(*frames_of(0, start), Kind.RESERVED)
    o.set(*frames_of(start, end), Kind.IMAGE)


def read_allocators(o: Owners) -> None:
    g = o.g
    o.has_pmm = 0 < o.number("nzones") <= ZONES_MAX
    if o.has_pmm:
        with o.reading("the pmm"):
            read_states(o)
        with o.reading("the pmm"):
            Pmm(g)              # raises the first thing that contradicts another
    if not g.has("kmem"):
        return
    listed: list[int] = []
    with o.reading("kalloc's list"):
        listed = listed_pages(g)
    if listed and not o.has_pmm and o.settled:
        for start, end in usable(g):
            o.set(*frames_of(start, end), Kind.UNCLAIMED, NOBODY, 1)
    for va in listed:
        frame = (va - KERNBASE) // PGSIZE
        if o.kind_of(frame) not in (Kind.UNCLAIMED, Kind.UNKNOWN, Kind.LISTED):
            o.broken.append(f"kalloc's list has {va:#x}: {o.tell(frame)}")
        elif frame < o.n:
            o.set(frame, 1, Kind.LISTED)


def read_states(o: Owners) -> None:
    """The states of all frames.  Blocks that make no sense are left out: Pmm says what is wrong with them."""
    g = o.g
    _, first, n, table = FRAMES.unpack(variable(g, "frames", FRAMES.size))
    if not 0 < n <= TABLE_MAX or first % PGSIZE:
        raise Disagree(f"frames is not as it was set up: first is {first:#x}, n is {n:#x}")
    start = (first - KERNBASE & M64) // PGSIZE
    states = memory(g, table, n, "frames.state")
    zones = ZONE.iter_unpack(variable(g, "zones", o.number("nzones") * ZONE.size))
    o.set(*frames_of(table - KERNBASE, table - KERNBASE + n), Kind.PMM)
    links: list[tuple[int, int, bytes]] = []
    for _, base, count, link, *_ in zones:
        size = (count + ORDERS) * LINK.size
        links.append((base // PGSIZE, count, memory(g, link, size, "the links of a zone")))
        o.set(*frames_of(link - KERNBASE, link - KERNBASE + size), Kind.PMM)

    def link_of(frame: int) -> int:
        for base, count, data in links:
            if base <= frame < base + count:
                return int.from_bytes(data[(frame - base) * LINK.size:][:LINK.size], "little")
        return 0

    for found in re.finditer(rb"[^\xff]", states, re.DOTALL):
        state = states[found.start()]
        kind, order, frame = state & 0xF0, state & 0xF, start + found.start()
        if order >= ORDERS or state == NONE:
            continue
        if kind == FREE:
            o.set(frame, 1 << order, Kind.FREE, order)
        elif kind == CACHED:
            o.set(frame, 1, Kind.LISTED)
        elif kind == SLAB and g.has("slab_lock"):
            o.set(frame, 1, Kind.SLAB, NOBODY, 1)
            o.cache_links[frame] = link_of(frame)
        elif kind == LARGE and g.has("slab_lock"):
            o.set(frame, 1 << order, Kind.LARGE, order, 1)
        elif kind in (USED, SHARED):
            o.set(frame, 1 << order, Kind.UNCLAIMED, NOBODY, link_of(frame) & 0xFFFF_FFFF if kind == SHARED else 1)
            if order:
                block = range(frame, frame + (1 << order))
                o.parts.update(dict.fromkeys(block, block))
    o.counts = True


# --- who has them --------------------------------------------------------


def read_objects(o: Owners) -> None:
    """Caches and the heap."""
    g = o.g
    with o.reading("the caches"):
        o.caches = heaps.caches(g)
    number = {c.at: i for i, c in enumerate(o.caches)}
    records: set[int] = set()
    for frame, link in o.cache_links.items():
        span = heaps.span_of(g, link)
        if span is None or span[1] not in number:
            o.error(frame, "state", f"its state is a cache's, but its link, {link:#x}, leads to none")
            continue
        records.add(span[0] & -PGSIZE)
        o.who[frame] = number[span[1]]
    with o.reading("the records of caches"):
        records.update(heaps.records_pages(g))
    for va in records:
        o.claim((va - KERNBASE) // PGSIZE, Kind.RECORDS, NOBODY, "a page of records")
    with o.reading("the heap"):
        for region in heaps.regions(g):
            for frame in range(*span_of(region.at - KERNBASE, region.size)):
                if o.kind_of(frame) is Kind.RESERVED:
                    o.set(frame, 1, Kind.HEAP)      # memory_init's
                else:
                    o.claim(frame, Kind.HEAP, NOBODY, "the heap's")
    with o.reading("vmalloc's areas"):
        o.areas = heaps.areas(g)


def span_of(pa: int, size: int) -> tuple[int, int]:
    return pa // PGSIZE, (pa + size) // PGSIZE


def kernel_root(g: View) -> int:
    """The upper half's root: what the processor uses, or will use."""
    try:
        if g.ttbr1:
            return g.ttbr1
    except STRANGE:
        pass
    return g.static("kvm.c", "root") - KERNBASE


def read_kernel_tables(o: Owners) -> None:
    g = o.g
    leaves, tables = g.scan(kernel_root(g), True, o.note)
    claim_tables(o, tables, 0)
    stack_of = {p.kstack + i * PGSIZE: p.pid for p in o.procs.values() for i in range(stacks.STACK_SIZE // PGSIZE)}
    area = 0
    for leaf in leaves:
        if leaf.va < heaps.VMALLOC_START:
            continue
        while area < len(o.areas) and o.areas[area].end <= leaf.va:
            area += 1
        within = area < len(o.areas) and o.areas[area].start <= leaf.va
        if leaf.va in stack_of:
            kind, who, what = Kind.STACK, stack_of[leaf.va], ", as a stack"
        else:
            kind, who, what = Kind.AREA, area if within else NOBODY, ""
        o.claim(leaf.pa // PGSIZE, kind, who, f"mapped by the kernel at {leaf.va:#x}{what}")


def claim_tables(o: Owners, tables: list[int], pid: int) -> None:
    whose = o.process(pid) if pid else "the kernel"
    first = KERNBASE if pid == 0 else 0
    places = {tables[0] // PGSIZE: (0, first)} if tables else {}
    for table in tables:                # parents come before their children
        level, va = places.get(table // PGSIZE, (0, first))
        if level == 3:
            continue
        for i, entry in enumerate(struct.unpack("<512Q", o.g.phys(table, PGSIZE))):
            if entry & 3 == 3:
                places.setdefault((entry & ADDRESS) // PGSIZE, (level + 1, va + (i << 39 - 9 * level)))
    for table in tables:
        frame = table // PGSIZE
        o.claim(frame, Kind.TABLE, pid, f"a page table of {whose}")
        if o.kind_of(frame) in (Kind.TABLE, Kind.IMAGE):
            o.levels.setdefault(frame, places.get(frame, (0, first)))


def read_files(o: Owners) -> None:
    g = o.g
    o.zero = o.number("zero_page") // PGSIZE
    if o.zero:
        o.claim(o.zero, Kind.ZERO, NOBODY, "the page of zeroes")
    o.images = procs.images(g)
    for i, image in enumerate(o.images):
        for k, pa in enumerate(image.pages):
            if pa:
                o.claim(pa // PGSIZE, Kind.FILE, i, f"page {k} of the program {image.name}")
                o.file_pages.setdefault(pa // PGSIZE, (i, k))


def read_tables(o: Owners, p: Proc) -> list[Leaf]:
    leaves, tables = o.g.scan(p.root, False, lambda text: o.note(f"{p}: {text}"))
    claim_tables(o, tables, p.pid)
    return leaves


def read_leaves(o: Owners, p: Proc, leaves: list[Leaf]) -> None:
    for leaf in leaves:
        frame = leaf.pa // PGSIZE
        mapping = Mapping(p.pid, leaf.va, leaf.entry, leaf.size)
        if leaf.level < 3:
            o.blocks.append((leaf.pa, mapping))
            o.error(frame, "foreign", f"{p} has a block of {leaf.size:#x} bytes mapped from here on, at {leaf.va:#x}")
            continue
        kind = o.kind_of(frame)
        if kind in NOT_USERS:
            o.error(frame, "foreign", f"{p} has it mapped at {leaf.va:#x}")
        elif kind in (Kind.UNCLAIMED, Kind.UNKNOWN):
            o.kind[frame], o.who[frame] = Kind.PROCESS, p.pid
        if frame < o.n:
            o.mapped[frame] += 1
        o.mappings.setdefault(frame, []).append(mapping)


def compare_counts(o: Owners) -> None:
    """A page has as many users as entries lead to it, and one more if the kernel keeps it."""
    for frame in {*o.mappings, *o.file_pages, *({o.zero} if o.zero else ())}:
        if o.kind_of(frame) not in (Kind.PROCESS, Kind.FILE, Kind.ZERO):
            continue
        users, mapped, keeps = o.users[frame], o.mapped[frame], o.keeps(frame)
        if users != mapped + keeps:
            o.error(frame, "count", f"it counts {many(users, 'user')}, but has {many(mapped, 'mapping')}"
                    + (", and the kernel keeps it" if keeps else ""))


def many(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


# --- pages that nobody claims --------------------------------------------


def runs(o: Owners, kind: Kind) -> Iterator[tuple[int, int]]:
    """Frames in a row of this kind: the first, and the one behind the last."""
    return (m.span() for m in re.finditer(re.escape(bytes([kind])) + b"+", o.kind))


def find_holders(o: Owners) -> None:
    """Who points to the pages in use that nobody has claimed; what nobody points to is leaked."""
    left = {frame for first, end in runs(o, Kind.UNCLAIMED) for frame in range(first, end)}
    if not left or not o.settled:
        return
    links = {link: o.caches[o.who[frame]] for frame, link in o.cache_links.items() if o.who[frame] < len(o.caches)}
    blocks = [(first * PGSIZE, end * PGSIZE) for kind in (Kind.LARGE, Kind.HEAP) for first, end in runs(o, kind)]
    pieces = itertools.chain(holders.registers(o.g), holders.variables(o.g), holders.live_stacks(o.g, o.procs.values()),
                             holders.objects(o.g, links), holders.blocks(o.g, blocks))
    for frame, holder in holders.holders(o.g, left, pieces, o.parts):
        o.kind[frame] = Kind.HELD
        o.who[frame] = o.holders.setdefault(holder, min(len(o.holders), NOBODY - 1))
    for frame in left:
        o.kind[frame] = Kind.LEAKED
        o.error(frame, "leaked", "it is in use, and nothing leads to it")
