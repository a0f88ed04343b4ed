"""What the grader makes of page frames in memory: bitmap, states, rings, lists; right, wrong and random."""

from __future__ import annotations

import mmap
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import grading
from grade import buddy, lab as labs
from grade.blocks import Blocks, pieces
from grade.buddy import FRAMES, LINK, MAP_FRAMES, MEMMAP, NONE, ORDERS, ZONE, Pmm, free_pages, locked, memmap, whole
from grade.guest import Guest
from grade.machine import RAM_SIZE
from grade.view import KERNBASE, M64, PGSIZE, P2V, Disagree

END = 16 << 20              # of this machine's RAM
NAMES = ("kmem", "phystop", "frames", "nzones", "zones", *buddy.LOCKS)
OF_LAB_4 = ("heap", "memory_init", *buddy.LOCKS_OF_LAB_4)
AT = {name: 0x8_0000 + 0x1000 * i for i, name in enumerate((*NAMES, *OF_LAB_4))}


class Memory(Guest):
    """A stopped machine of which there is nothing but memory and symbols."""

    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        machine: Any = SimpleNamespace(ram=mmap.mmap(-1, RAM_SIZE))
        elf: Any = SimpleNamespace(symbols={name: SimpleNamespace(address=P2V(AT[name])) for name in names})
        super().__init__(machine, elf)
        self.phys_write(AT["phystop"], struct.pack("<Q", END))


@pytest.fixture(scope="module")
def g() -> Iterator[Memory]:
    yield Memory()


def made(g: Memory, seed: int) -> Blocks:
    """Two banks in RAM, some pages on kalloc's list, some blocks shared."""
    rng = random.Random(seed)
    b = Blocks(g, rng, [(1100, 500), (1700 + seed % 300, 900)])
    b.fill(most=6)
    for frame in rng.sample([f for f, order in b.used.items() if order == 0], 5):
        del b.used[frame]
        b.cached.add(frame)
    for frame in rng.sample(sorted(b.used), 5):
        b.users[frame] = rng.randrange(2, 100_000)
    b.write()
    return b


def test_blocks() -> None:
    assert pieces(1, 1) == {} and pieces(0, 2050) == {0: 10, 1024: 10, 2048: 1}
    assert pieces(3, 12) == {3: 0, 4: 2, 8: 2}
    rng = random.Random(1)
    for _ in range(30):
        frames = {f for f in range(3000) if rng.random() < 0.9} | set(range(500, 900 + rng.randrange(2000)))
        blocks = whole(frames)
        assert sorted(f for at, o in blocks.items() for f in range(at, at + (1 << o))) == sorted(frames)
        assert all(at % (1 << o) == 0 for at, o in blocks.items())
        assert not any(blocks.get(at ^ 1 << o) == o for at, o in blocks.items() if o < ORDERS - 1)
    assert whole(set(range(7, 4000))) == pieces(7, 4000)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_written_is_what_is_read(g: Memory, seed: int) -> None:
    b = made(g, seed)
    now = Pmm(g)
    assert now.free_frames() == b.free and now.cached == b.cached and now.users == b.users
    assert {**now.used, **now.shared} == b.used
    assert [z.end - z.first for z in now.zones][0] >= 500 and len(now.zones) == 2
    assert free_pages(g) == {P2V(f * PGSIZE) for f in b.free | b.cached}
    assert buddy.pmm_tables(g) <= {P2V(pa) for pa in range(END - (2 << 20), END, PGSIZE)}
    b.check()


def put(g: Memory, va: int, fmt: str, *values: int) -> None:
    g.phys_write(va - KERNBASE, struct.pack("<" + fmt, *values))


def zone(g: Memory, number: int, field: int, value: int) -> None:
    put(g, P2V(AT["zones"]) + number * ZONE.size + 8 * field, "Q", value)


def head(pmm: Pmm) -> tuple[int, int, int]:
    """Address of the links of zone 0; the head of a list with at least two blocks, and the first on it."""
    links = pmm.zones[0].link
    for order in range(ORDERS):
        at = pmm.zones[0].n + order
        first, last = LINK.unpack(pmm.g.phys(links - KERNBASE + at * LINK.size, LINK.size))
        if first not in (last, at):
            return links, at, first
    raise AssertionError("no list has two blocks")


def too_few_users(g: Memory, p: Pmm) -> None:
    frame = min(p.shared)
    z = p.zone_of(frame)
    assert z is not None
    put(g, z.link + (frame - z.at) * LINK.size, "I", 1)


def edits() -> dict[str, tuple[Any, str]]:
    def state(pick: Any, value: int) -> Any:
        return lambda g, p: put(g, p.table + pick(p), "B", value)

    def link(what: str) -> Any:
        def change(g: Memory, p: Pmm) -> None:
            links, at, first = head(p)
            if what == "astray":
                put(g, links + at * LINK.size, "I", 0x7000_0000)
            elif what == "circle":
                put(g, links + first * LINK.size, "II", first, first)
            elif what == "prev":
                put(g, links + first * LINK.size + 4, "I", 1)
            else:           # the first one is left out
                after = LINK.unpack(g.phys(links - KERNBASE + first * LINK.size, LINK.size))[0]
                put(g, links + at * LINK.size, "I", after)
                put(g, links + after * LINK.size + 4, "I", at)
        return change

    def first_of(kind: str) -> Any:
        return lambda p: min(getattr(p, kind))

    return {
        "a state that means nothing": (state(first_of("used"), 0x2B), "means nothing"),
        "an order too large": (state(first_of("used"), 0x0B), "means nothing"),
        "a list page of an order": (state(first_of("used"), 0xC1), "means nothing"),
        "a block in a block": (state(lambda p: next(f for f, o in p.free.items() if o) + 1, 0), "inside of the block"),
        "a block that is not aligned": (state(lambda p: next(f | 1 for f, o in p.used.items() if not o), 3),
                                        "aligned|inside"),
        "a block in no zone": (state(lambda p: 0, 0), "does not lie in a zone"),
        "free, but on no list": (state(lambda p: next(f for f, o in p.used.items() if not o), 0x80), "on its lists|merged"),
        "on a list, but in use": (state(first_of("free"), 0), "expected 0x8"),
        "a link that leads nowhere": (link("astray"), "expected a frame of the zone or the head"),
        "a circle": (link("circle"), "broken after|circle"),
        "a wrong prev": (link("prev"), "is broken after 0 blocks"),
        "a block that was left out": (link("left out"), "on its lists"),
        "free pages miscounted": (lambda g, p: zone(g, 1, 5, p.zones[1].free - 1), "zone 1 counts .* expected"),
        "fewer orders": (lambda g, p: zone(g, 0, 0, 10), "zone 0 is not as it was set up: orders is 10"),
        "no zones": (lambda g, p: put(g, P2V(AT["nzones"]), "Q", 0), "nzones is 0"),
        "too many zones": (lambda g, p: put(g, P2V(AT["nzones"]), "Q", 1 << 60), "nzones is"),
        "zones that overlap": (lambda g, p: zone(g, 1, 2, 5), "zone 1 is not as it was set up"),
        "a zone behind the last": (lambda g, p: zone(g, 2, 2, 5), "behind the last"),
        "a wild table": (lambda g, p: put(g, P2V(AT["frames"]) + 24, "Q", 0x1000), "frames is not as"),
        "an endless table": (lambda g, p: put(g, P2V(AT["frames"]) + 16, "Q", 1 << 50), "frames is not as"),
        "wild links": (lambda g, p: zone(g, 0, 3, 0xDEAD_BEEF_0000), "there is no memory"),
        "too few users": (too_few_users, "its users are 0x1"),
    }


@pytest.mark.parametrize("edit", edits())
def test_what_contradicts_itself_is_told(g: Memory, edit: str) -> None:
    change, words = edits()[edit]
    made(g, 3)
    change(g, Pmm(g))
    with pytest.raises(Disagree, match=words):
        Pmm(g)


def test_buddies_that_are_not_merged(g: Memory) -> None:
    b = made(g, 4)
    b.free, b.used, b.users, b.cached = set(), {}, {}, set()
    b.free.update(range(1280, 1284))
    b.free_blocks = lambda: {1280: 1, 1282: 1}      # type: ignore[assignment]
    with pytest.raises(Disagree, match="two free blocks of order 1, .* are buddies, expected them to be merged"):
        b.write()


def test_the_model_finds_what_is_amiss(g: Memory) -> None:
    changes: tuple[tuple[Callable[[Blocks], object], str], ...] = (
            (lambda b: b.free.discard(max(b.free)), "is free, expected it not to be"),
            (lambda b: b.free.add(1), "expected frame 0x1 .* to be free, found it is not"),
            (lambda b: b.used.pop(max(b.used.keys() - b.users.keys())), "expected no block in use to begin"),
            (lambda b: b.used.update({1: 0}), "expected a block of order 0 in use to begin at frame 0x1 "),
            (lambda b: b.users.update({min(b.users): 7}), "users, expected 7"),
            (lambda b: b.cached.pop(), "expected that of no page of kalloc's list"),
            (lambda b: put(g, P2V(AT["pmm_lock"]), "HH", 4, 5), "pmm_lock is still locked"),
            (lambda b: put(g, P2V(AT["kmem"]) + 8, "Q", 99), "kmem.count is 0x63, but the list has 5"),
            (lambda b: zone(g, 0, 6, 1), "pages or watermark of zone 0 was changed"))
    for change, words in changes:
        b = made(g, 5)
        change(b)
        with pytest.raises(Disagree, match=words):
            b.check()
        put(g, P2V(AT["pmm_lock"]), "HH", 5, 5)
    assert locked(g) is None


def test_what_lab_4_adds(g: Memory) -> None:
    """Pages of caches, large objects, the heap's first region and three locks: no other lab's kernel has them."""
    later = Memory((*NAMES, *OF_LAB_4))
    single, block = (min(f for f, o in made(later, 2).used.items() if bool(o) == large) for large in (False, True))
    for guest in (g, later):
        pmm = Pmm(guest) if guest is later else (made(g, 2), Pmm(g))[1]
        put(guest, pmm.table + single, "B", 0x10)
        put(guest, pmm.table + block, "B", 0x20 + pmm.used[block])
    with pytest.raises(Disagree, match="has the state 0x[12].*, which means nothing"):
        Pmm(g)
    now = Pmm(later)
    assert now.slabs == {single} and now.large == {block: Pmm(later).state[block] & 0xF}
    put(later, pmm.table + single, "B", 0x11)
    with pytest.raises(Disagree, match="means nothing"):
        Pmm(later)
    assert buddy.heap_pages(g) == buddy.heap_pages(later) == set()
    put(later, P2V(AT["heap"]), "QQ", 1, P2V(0x20_0000))
    put(later, P2V(0x20_0000), "QQ", 0, 3 * PGSIZE)
    assert buddy.heap_pages(later) == set(range(P2V(0x20_0000), P2V(0x20_3000), PGSIZE))
    for first, size, words in ((P2V(0x20_0000), 100, "a few whole pages"), (P2V(0x20_0010), PGSIZE, "a few whole"),
                               (P2V(0x20_0000), 1 << 40, "a few whole pages"), (16, PGSIZE, "there is no memory")):
        put(later, P2V(0x20_0000), "QQQQ", 0, size, 0, size)
        put(later, P2V(AT["heap"]) + 8, "Q", first)
        with pytest.raises(Disagree, match=words):
            buddy.heap_pages(later)
    assert locked(later) is None
    put(later, P2V(AT["slab_lock"]), "HH", 0, 1)
    assert locked(later) == "slab_lock" and locked(g) is None


def test_a_page_that_is_free_twice(g: Memory) -> None:
    b = made(g, 6)
    page = P2V(min(b.free) * PGSIZE)
    put(g, page, "Q", 0)
    put(g, P2V(AT["kmem"]), "Q", page)
    with pytest.raises(Disagree, match="is on kmem.free_list, and in a free block of the pmm as well"):
        free_pages(g)


def test_any_memory_at_all(g: Memory) -> None:
    """Whatever the kernel has there, it is told in words, and soon."""
    rng = random.Random(7)
    wild = (0, 1, M64, KERNBASE, P2V(END), P2V(RAM_SIZE), 1 << 63, 0x0101_0101_0101_0101)
    for round_ in range(400):
        if round_ % 40 == 0:
            made(g, round_)
            sane = {name: g.phys(AT[name], 1024) for name in NAMES}
            tables = g.phys(END - (2 << 20), 64 << 10)
        for _ in range(rng.randrange(1, 4)):
            where = rng.choice((*(AT[n] + 8 * rng.randrange(24) for n in ("frames", "zones", "nzones", "kmem")),
                                *(END - (2 << 20) + rng.randrange(64 << 10) for _ in range(9))))
            g.phys_write(where, struct.pack("<Q", rng.choice((*wild, rng.getrandbits(64), rng.getrandbits(12)))))
        for look in (Pmm, free_pages, buddy.pmm_tables):
            try:
                look(g)
            except Disagree as e:
                assert str(e)
        for name, data in sane.items():
            g.phys_write(AT[name], data)
        if round_ % 3 == 0:
            g.phys_write(END - (2 << 20), tables)


# --- the bitmap ----------------------------------------------------------


def bitmap(g: Memory, start: int, n: int, used: int, reserved: int) -> int:
    """The address of a struct memmap."""
    at, size = P2V(0x10_0000), MAP_FRAMES // 8
    behind = (1 << MAP_FRAMES) - (1 << n)
    bits = at + 64
    put(g, at, "7Q", start * PGSIZE, (start + n) * PGSIZE, start, n, bits, bits + size, 0)
    g.phys_write(bits - KERNBASE, (used | behind).to_bytes(size, "little") + reserved.to_bytes(size, "little"))
    return at


def test_bitmap(g: Memory) -> None:
    now = memmap(g, bitmap(g, 77, 1000, 1 << 999 | 0b1011, 0b1000))
    assert (now.start, now.n, now.used, now.reserved) == (77, 1000, 1 << 999 | 0b1011, 0b1000)
    assert now.free == ((1 << 999) - 1) & ~0b1011
    assert memmap(g, bitmap(g, 0, MAP_FRAMES, 0, 0)).n == MAP_FRAMES


def test_a_bitmap_that_contradicts_itself(g: Memory) -> None:
    at = bitmap(g, 77, 1000, 0b10, 0b11)
    with pytest.raises(Disagree, match="frame 0 of the memmap is reserved, but its bit in the bitmap is 0"):
        memmap(g, at)
    for field, value, words in ((3, 0, "max_frames is 0"), (3, 1 << 40, "max_frames is"), (1, 5, "but start_frame"),
                                (2, 78, "but start_frame"), (4, 0x1234, "multiple of 8"), (5, 0x1238, "no memory"),
                                (4, P2V(RAM_SIZE), "no memory")):
        at = bitmap(g, 77, 1000, 0, 0)
        put(g, at + 8 * field, "Q", value)
        with pytest.raises(Disagree, match=words):
            memmap(g, at)
    at = bitmap(g, 77, 1000, 0, 0)
    put(g, at + 64 + 1000 // 8, "B", 0)
    with pytest.raises(Disagree, match="bit 1000 of the bitmap is 0, expected all from max_frames, 1000, on"):
        memmap(g, at)
    for wild in (0, M64, 0x8000):
        with pytest.raises(Disagree, match="no memory"):
            memmap(g, wild)


LAYOUT = r"""
#include <stddef.h>
#include "heap.h"
#include "kalloc.h"
#include "memmap.h"
#include "vmalloc.h"
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #field)
_Static_assert(sizeof(struct frames) == 32 && sizeof(struct zone) == 80 && sizeof(struct link) == 8, "sizes");
_Static_assert(sizeof(struct memmap) == 56 && sizeof(struct kmem) == 16 && sizeof(struct pmm_stats) > 0, "sizes");
AT(frames, bias, 0); AT(frames, first, 8); AT(frames, n, 16); AT(frames, state, 24);
AT(zone, orders, 0); AT(zone, base, 8); AT(zone, n, 16); AT(zone, link, 24); AT(zone, state, 32);
AT(zone, free, 40); AT(zone, pages, 48); AT(zone, watermark, 56);
AT(link, users, 0); AT(link, prev, 4); AT(link, chunk, 0); AT(heap, first, 8); AT(region, size, 8);
AT(memmap, start_addr, 0); AT(memmap, end_addr, 8); AT(memmap, start_frame, 16); AT(memmap, max_frames, 24);
AT(memmap, bitmap, 32); AT(memmap, reserved, 40); AT(memmap, hint, 48);
AT(kmem, free_list, 0); AT(kmem, count, 8); AT(spinlock, serving, 0); AT(spinlock, next, 2);
_Static_assert(PMM_ORDERS == 11 && ZONES_MAX == 16 && MEMMAP_FRAMES == 0x40000, "numbers");
_Static_assert(KCACHE_MAX == 64 && KCACHE_BATCH == 32, "numbers");
_Static_assert(FRAME_SHARED == 0x40 && FRAME_FREE == 0x80 && FRAME_CACHED == 0xc0, "states");
_Static_assert(FRAME_SLAB == 0x10 && FRAME_LARGE == 0x20, "states");
"""


def test_the_layout_is_that_of_the_headers(tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    source.write_text(LAYOUT)
    done = subprocess.run([grading.CROSS + "gcc", "-std=gnu17", "-ffreestanding", "-fsyntax-only", "-DLAB=4", "-DSOL=4",
                           "-I", str(grading.ROOT / "inc"), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_each_check_has_its_judge() -> None:
    for number, lab in grading.course().items():
        for check in lab.checks:
            assert labs.judges(grading.ROOT, number, check.name), check.name
    assert (FRAMES.size, ZONE.size, LINK.size, MEMMAP.size, NONE) == (32, 80, 8, 56, 0xFF)
