"""What points to page frames, where the kernel keeps no book of it: registers, variables, stacks, objects, and pages
that are held by one of those.  A page in use that is found nowhere has been lost.

A pointer is a number that leads into the page in the linear map, or the page's physical address; in a page, an entry of
a page table as well.  By chance another number may look like one.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping

from grade import stacks
from grade.buddy import memory
from grade.heaps import SPAN, SPAN_BITS, Cache
from grade.procs import Proc
from grade.stacks import STACK_SIZE, STRANGE
from grade.view import ADDRESS, KERNBASE, P2V, PGSIZE, View

# In these, what looks like a page's address is where some memory ends.
LIMITS, LIMITS_OF_RAM = ("usable_ranges", "zones", "frames"), ("banks", "reserved")
OBJECTS = 64                            # of a span
Piece = tuple[bytes, Callable[[int], str]]      # memory, and what is at an offset in it


Parts = Mapping[int, Iterable[int]]     # by frame: all of its block, if that has more than one


def holders(g: View, left: set[int], pieces: Iterable[Piece], parts: Parts) -> Iterator[tuple[int, str]]:
    """The frames of `left` that something leads to, each once, and what; they are taken out of it.  What leads to a part
    of a block leads to all of it."""
    held: list[int] = []
    for data, name in pieces:
        for frame, at in pointers(data, left, parts, tables=False):
            held.append(frame)
            yield frame, name(at)
        if not left:
            return
    while held and left:
        page = held.pop() * PGSIZE
        for frame, _ in pointers(g.phys(page, PGSIZE), left, parts, tables=True):
            held.append(frame)
            yield frame, f"the page at {page:#x}"


def pointers(data: bytes, left: set[int], parts: Parts, tables: bool) -> Iterator[tuple[int, int]]:
    """The frames that these bytes lead to, and at which offset.  tables: may they be entries of a page table?"""
    words = array("Q", data[:len(data) & -8])
    for word in set(words):
        pa = word - KERNBASE if word >> 48 == 0xFFFF else word
        if tables and word & 3 == 3:
            pa = word & ADDRESS
        elif pa == word and pa % PGSIZE:
            continue
        if pa // PGSIZE in left:
            for frame in left.intersection(parts.get(pa // PGSIZE, (pa // PGSIZE,))):
                left.discard(frame)
                yield frame, words.index(word) * 8


# --- where to look -------------------------------------------------------


def always(what: str) -> Callable[[int], str]:
    return lambda _: what


def registers(g: View) -> Iterator[Piece]:
    try:
        found = [g.reg(f"x{i}") for i in range(31)] if g.level else []
    except STRANGE:
        return
    yield struct.pack(f"<{len(found)}Q", *found), lambda at: f"register x{at // 8}"


def variables(g: View) -> Iterator[Piece]:
    """The image's, without its stacks."""
    try:
        start, stop = g.symbol("data"), g.symbol("bss_end")
        data = bytearray(memory(g, start, stop - start, "the kernel's variables"))
    except STRANGE:
        return
    limits = [g.elf.symbols.get(name) for name in LIMITS]
    limits += [g.elf.statics.get(("ram.c", name)) for name in LIMITS_OF_RAM]
    for symbol in limits:
        if symbol:
            data[symbol.address - start:symbol.address - start + symbol.size] = bytes(symbol.size)
    yield bytes(data), lambda at: f"the kernel's {g.name(start + at)}"


def live_stacks(g: View, procs: Iterable[Proc]) -> Iterator[Piece]:
    """Of each kernel stack what is in use."""
    try:
        now, sp, in_kernel = stacks.current(g), g.reg("sp"), g.level == 1
        boot = g.symbol("boot_stack")
    except STRANGE:
        return
    threads = [(str(p), p.kstack or boot, sp if p.at == now else p.sp) for p in procs if p.at != now or in_kernel]
    for who, bottom, top in threads or [("the boot", boot, sp)]:
        if bottom <= top < bottom + STACK_SIZE:
            try:
                data = g.read(top & -8, bottom + STACK_SIZE - (top & -8))
            except STRANGE:
                continue
            yield data, always(f"something on the kernel stack of {who}")


def objects(g: View, links: Mapping[int, Cache]) -> Iterator[Piece]:
    """The objects that are in use, of caches.  links: what leads to the chunks, and whose they are."""
    for link, cache in links.items():
        for k in range(-(-cache.objects // OBJECTS)):
            try:
                record = memory(g, link - SPAN_BITS + KERNBASE + k * SPAN.size, SPAN.size, "a span")
                _, _, base, _, free, whole = SPAN.unpack(record)
                data = memory(g, base, min(OBJECTS, whole.bit_length()) * cache.size, "objects")
            except STRANGE:
                break
            for i in range(whole.bit_length()):
                if whole >> i & 1 and not free >> i & 1:
                    at = i * cache.size
                    yield data[at:at + cache.size], always(f"the object at {base + at:#x} of {cache}")


def blocks(g: View, ranges: Iterable[tuple[int, int]]) -> Iterator[Piece]:
    """Large objects, and the heap."""
    for start, end in ranges:
        yield g.phys(start, end - start), always(f"something from {P2V(start):#x} on")
