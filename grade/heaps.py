"""What the kernel's own allocators have, from lab 4 on, as the stopped machine has it: caches (inc/slab.h), the heap's
regions (inc/heap.h), vmalloc's areas (inc/vmalloc.h).  Nothing here believes them: what contradicts itself raises
Disagree, in words."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from grade.buddy import LARGEST, memory, variable, word
from grade.caches import FIELDS, MAX, SPAN, SPAN_BITS
from grade.view import KERNBASE, M64, PGSIZE, Disagree, View

VMALLOC_START, VMALLOC_STOP = KERNBASE + (1 << 39), KERNBASE + (1 << 39) + (1 << 36)
HEAP = struct.Struct("<3Q")             # regions, first, free_list
REGION = struct.Struct("<2Q")           # next, size
BLOCK = struct.Struct("<3Q")            # size, tag, next
AREA = struct.Struct("<3Q")             # start, npages, next
RECORDS = struct.Struct("<3Q")          # next, prev, unused: the beginning of a page of records (kern/slabs.c)
MANY = 100_000                          # of anything on one list


@dataclass
class Cache:
    """A struct slab."""
    at: int
    name: str
    size: int
    objects: int            # in a chunk
    order: int              # pages of a chunk: 2^order
    chunks: int
    free: int               # objects of all chunks that are free
    spans: dict[int, int] = field(default_factory=dict)     # those on the ring: their records, and `free`

    @property
    def in_use(self) -> int:
        return self.chunks * self.objects - self.free

    def __str__(self) -> str:
        return f"{self.name} ({self.size} bytes)"


@dataclass(frozen=True)
class Region:
    at: int
    size: int
    free: int               # bytes in free blocks


@dataclass(frozen=True)
class Area:
    start: int
    npages: int

    @property
    def end(self) -> int:
        """Here the page begins that is not mapped."""
        return self.start + self.npages * PGSIZE


def chain(g: View, at: int, layout: struct.Struct, following: int, what: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """A list, linked by field number `following`: address and fields of each."""
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) > MANY:
            raise Disagree(f"the list of {what}s goes round in a circle behind {len(seen)} of them")
        seen.add(at)
        fields = layout.unpack(memory(g, at, layout.size, f"a {what}"))
        yield at, fields
        at = fields[following]


def pointer(g: View, name: str) -> int:
    return int.from_bytes(variable(g, name, 8), "little")


# --- caches --------------------------------------------------------------


def caches(g: View) -> list[Cache]:
    """All of them, as the kernel lists them: the newest first."""
    found: list[Cache] = []
    at = pointer(g, "slabs")
    while at:
        if any(at == c.at for c in found):
            raise Disagree("the list of caches goes round in a circle")
        _, size, _, objects, spans, order, chunks, name, _, following = FIELDS.unpack(
            memory(g, at + SPAN.size, FIELDS.size, "a struct slab"))
        if not 0 < size <= MAX or order > 10 or objects != (PGSIZE << order) // size:
            raise Disagree(f"the cache at {at:#x} is not as slab_setup makes it")
        cache = Cache(at, word(g, name, "the name of a cache"), size, objects, order, chunks, 0)
        cache.spans = dict(ring(g, cache, spans * chunks))
        cache.free = sum(free.bit_count() for free in cache.spans.values())
        found.append(cache)
        at = following
    return found


def ring(g: View, cache: Cache, most: int) -> Iterator[tuple[int, int]]:
    """The spans with a free object: where the record is, and its `free`."""
    before, n = cache.at, 0
    at = SPAN.unpack(memory(g, cache.at, SPAN.size, "a struct slab"))[0]
    while at != cache.at:
        following, prev, _, slab, free, whole = SPAN.unpack(memory(g, at, SPAN.size, f"a span of {cache}"))
        if prev != before or slab != cache.at or free & ~whole or n >= most:
            raise Disagree(f"the ring of {cache} is broken behind {n} spans, at {at:#x}")
        yield at, free
        before, at, n = at, following, n + 1


def span_of(g: View, link: int) -> tuple[int, int] | None:
    """What the link of a cache's page says: its chunk's first record, and the cache's address.  None: no such thing."""
    if not link >> 63:
        return None
    record = link - SPAN_BITS + KERNBASE
    try:
        return record, SPAN.unpack(memory(g, record, SPAN.size, "a span"))[3]
    except Disagree:
        return None


def records_pages(g: View) -> list[int]:
    """The pages of records in which some are unused, by address; the others are known by their spans."""
    head = g.static("slabs.c", "records")
    found: list[int] = []
    at = RECORDS.unpack(memory(g, head, RECORDS.size, "records"))[0]
    while at != head:
        if at % PGSIZE or len(found) > MANY or at in found:
            raise Disagree(f"the ring of records' pages is broken behind {len(found)} of them, at {at:#x}")
        found.append(at)
        at = RECORDS.unpack(memory(g, at, RECORDS.size, "a page of records"))[0]
    return found


# --- the heap ------------------------------------------------------------


def regions(g: View) -> list[Region]:
    first, _, free_list = HEAP.unpack(variable(g, "heap", HEAP.size))
    sizes = {at: size for at, (_, size) in chain(g, first, REGION, 0, "region of the heap")}
    for at, size in sizes.items():
        if at % PGSIZE or size % PGSIZE or not 0 < size <= LARGEST * PGSIZE:
            raise Disagree(f"a region of the heap is at {at:#x} and has {size:#x} bytes, expected whole pages")
    free = dict.fromkeys(sizes, 0)
    for at, (size, _, _) in chain(g, free_list, BLOCK, 2, "free block of the heap"):
        region = next((r for r, n in sizes.items() if r <= at and at + size <= r + n), None)
        if region is None:
            raise Disagree(f"the heap's list has a free block of {size:#x} bytes at {at:#x}, which lies in no region")
        free[region] += size
    return [Region(at, size, free[at]) for at, size in sizes.items()]


# --- vmalloc -------------------------------------------------------------


def areas(g: View) -> list[Area]:
    found: list[Area] = []
    for _, (start, npages, _) in chain(g, pointer(g, "areas"), AREA, 2, "area of vmalloc"):
        last = found[-1].end if found else VMALLOC_START - PGSIZE
        if start % PGSIZE or not last < start < VMALLOC_STOP or npages * PGSIZE > VMALLOC_STOP - start:
            raise Disagree(f"area {len(found)} of vmalloc begins at {start:#x} and has {npages} pages, after "
                           f"{last & M64:#x}")
        found.append(Area(start, npages))
    return found


def area_at(areas_: list[Area], va: int) -> Area | None:
    return next((a for a in areas_ if a.start <= va < a.end), None)


