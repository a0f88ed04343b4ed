"""Made-up caches for a stopped kernel, and a model of them: which objects are in use, and the order of spans.

The pages are in RAM that nobody needs once the check is over, with a pmm of their own (blocks.py).  Each call of
the student's functions is followed by a comparison of all of it with the model: spans, rings, frames' states and
links, records, and what is in the objects.  inc/slab.h says what these look like.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from grade.blocks import Blocks, end_of_ram, spare_ram
from grade.buddy import LINK, SLAB, Pmm, memory, variable, whole
from grade.guest import Guest
from grade.view import KERNBASE, M64, PGSIZE, P2V, Disagree

OBJECTS, ALIGN, MAX = 64, 16, 2048      # SPAN_OBJECTS, SLAB_ALIGN, SLAB_MAX
SPAN = struct.Struct("<6Q16x")          # next, prev, base, slab, free, all
FIELDS = struct.Struct("<Q6IQQQ")       # struct slab behind its head: empty, size ... chunks, name, construct, next
STRUCT = SPAN.size + FIELDS.size        # sizeof(struct slab)
SPAN_BITS = 0xFFFF << 48
SIZES = (16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536,
         1792, 2048)
KMALLOC_MAX = 4 << 20
SOME = 300              # free frames that are compared when a chunk is made of some


def rounded(size: int, align: int) -> int:
    """The bytes from one object to the next."""
    align = max(align, ALIGN)
    return -(-size // align) * align


def chunk_order(size: int) -> int:
    """How many pages slab_setup gives to a chunk."""
    def loss(order: int) -> int:
        space = PGSIZE << order
        n = space // size
        return (space - n * size + -(-n // OBJECTS) * SPAN.size) * 1000 // space + 8 * order if n else 1 << 60
    return min(range(4), key=lambda order: (loss(order), order))


@dataclass
class Chunk:
    first: int                          # its spans' records
    base: int                           # its pages
    used: set[int] = field(default_factory=set)


@dataclass
class Cache:
    at: int                             # the struct slab
    size: int
    name: int
    align: int = ALIGN
    construct: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    ring: list[int] = field(default_factory=list)       # addresses of records
    empty: Chunk | None = None          # which may be in use again

    def __post_init__(self) -> None:
        self.order = chunk_order(self.size)
        self.objects = (PGSIZE << self.order) // self.size
        self.spans = -(-self.objects // OBJECTS)

    def full(self, s: int) -> int:
        """`all` of a chunk's span s."""
        return (1 << min(OBJECTS, self.objects - s * OBJECTS)) - 1

    def free(self, chunk: Chunk, s: int) -> int:
        taken = sum(1 << k - s * OBJECTS for k in chunk.used if k // OBJECTS == s)
        return self.full(s) & ~taken

    def chunk_at(self, p: int) -> Chunk | None:
        return next((c for c in self.chunks if c.base <= p < c.base + (PGSIZE << self.order)), None)

    def objects_in_use(self) -> list[int]:
        return [c.base + k * self.size for c in self.chunks for k in sorted(c.used)]

    def span_of(self, record: int) -> tuple[Chunk, int]:
        """The chunk of a record on the ring, and the span's number."""
        chunk = next(c for c in self.chunks if c.first <= record < c.first + self.spans * SPAN.size)
        return chunk, (record - chunk.first) // SPAN.size


class Caches:
    """The pmm, and all caches."""

    def __init__(self, g: Guest, rng: random.Random, *banks: int):
        """banks: pages of each.  All of them are free so far."""
        self.g, self.rng = g, rng
        first, there = spare_ram(g)
        at = first + 8 + rng.randrange(there - sum(banks) - 40 * len(banks) - 100)
        self.mine = P2V((at - 8) * PGSIZE)              # pages for what the model itself needs
        made = []
        for n in banks:
            at += rng.randrange(1, 20)
            made.append((at, n))
            at += n
        self.pool = Blocks(g, rng, made)
        for start, n in made:
            self.pool.free.update(range(start, start + n))
        self.caches: list[Cache] = []
        self.exact = False      # is it looked at what slab_free does with empty chunks, and with the ring's order?
        self.large: dict[int, int] = {}                 # frame: order
        self.content: dict[int, bytes] = {}             # address of a chunk: what is in it
        self.before: dict[int, bytes] = {}              # and in some free frames, before a call

    # --- setting up ----------------------------------------------------------

    def put(self, va: int, data: bytes) -> None:
        self.g.phys_write(va - KERNBASE, data)

    def start(self) -> None:
        """Give the kernel this memory; kmalloc's caches have nothing, and there are no others."""
        g = self.g
        for first, n in self.pool.banks:
            g.phys_write(first * PGSIZE, self.rng.randbytes(n * PGSIZE))
        self.pool.write()
        # Links that were never on a list are no chunk's.
        for z in Pmm(g).zones:
            mine = z.first - z.at                       # links before are of frames before the bank
            links = [value & ~(1 << 31) for value in struct.unpack(f"<{2 * (z.n - mine)}I", g.phys(
                z.link - KERNBASE + mine * LINK.size, (z.n - mine) * LINK.size))]
            self.put(z.link, bytes(mine * LINK.size) + struct.pack(f"<{len(links)}I", *links))
        records = g.symbol("records")
        self.put(records, struct.pack("<QQQ", records, records, 0))
        self.put(g.symbol("slabs"), bytes(8))
        g.call("slabs_init")
        by_size = struct.unpack("<128Q", variable(g, "slab_by_size", 128 * 8))
        self.by_size = []
        for size in SIZES:
            at = by_size[size // ALIGN - 1]
            cache = self.adopt(at, size)
            if any(by_size[i // ALIGN] != at for i in range(SIZES[SIZES.index(size) - 1] if size > ALIGN else 0, size,
                                                            ALIGN)):
                raise Disagree("slab_by_size is not as slabs_init makes it")
            self.by_size.append(cache)

    def adopt(self, at: int, size: int, align: int = ALIGN, name: int | None = None) -> Cache:
        """A new cache that is there already."""
        found = self.fields(at)
        cache = Cache(at, size, found[7] if name is None else name, align)
        self.caches.append(cache)
        return cache

    def setup(self, size: int, align: int = 0) -> Cache:
        """A cache of the judge's own, by slab_setup."""
        at = self.mine + STRUCT * sum(self.mine <= c.at < self.mine + 8 * PGSIZE for c in self.caches)
        name = self.g.symbol("slabs")
        if self.g.call("slab_setup", at, name, size, align) & 0xFF != 1:
            raise Disagree(f"slab_setup({size}, {align}) failed")
        return self.adopt(at, rounded(size, align), max(align, ALIGN), name)

    def fields(self, at: int) -> tuple[int, ...]:
        return FIELDS.unpack(memory(self.g, at + SPAN.size, FIELDS.size, "a struct slab"))

    def make(self, cache: Cache, chunks: int, density: float) -> None:
        """Chunks with objects in use at random, and a ring in any order."""
        c, g, rng = cache, self.g, self.rng
        for _ in range(chunks):
            first = g.call("chunk_new", c.at)
            if first == 0:
                raise Disagree(f"chunk_new for {c.size}-byte objects returned NULL")
            chunk = self.learn(c, first)
            chunk.used = {k for k in range(c.objects) if rng.random() < density}
            if not chunk.used:
                chunk.used.add(rng.randrange(c.objects))
            if rng.random() < 0.3:
                chunk.used = set(range(c.objects))
        c.ring = [chunk.first + s * SPAN.size for chunk in c.chunks for s in range(c.spans) if c.free(chunk, s)]
        rng.shuffle(c.ring)
        c.empty = rng.choice([*c.chunks, None]) if self.exact else None
        self.write(c)
        self.check()

    def write(self, c: Cache) -> None:
        """The kernel's records say what the model does."""
        self.fill(c)
        around = [c.at, *c.ring, c.at]
        links = {b: (after, before) for before, b, after in zip(around, around[1:], around[2:])}
        for chunk in c.chunks:
            for s in range(c.spans):
                record = chunk.first + s * SPAN.size
                following, before = links.get(record, (self.rng.getrandbits(64), self.rng.getrandbits(64)))
                self.put(record, SPAN.pack(following, before, chunk.base + s * OBJECTS * c.size, c.at, c.free(chunk, s),
                                           c.full(s)))
        self.put(c.at, struct.pack("<QQ", around[1], around[-2]))
        self.put(c.at + SPAN.size, struct.pack("<Q", c.empty.first if c.empty else 0))
        self.put(c.at + SPAN.size + 28, struct.pack("<I", len(c.chunks)))

    def fill(self, c: Cache) -> None:
        """What is in a cache's objects, used and free ones, and behind the last."""
        for chunk in c.chunks:
            data = self.rng.randbytes(PGSIZE << c.order)
            self.content[chunk.base] = data
            self.put(chunk.base, data)

    def learn(self, c: Cache, first: int) -> Chunk:
        """A chunk that the kernel has made: of pages that were free."""
        _, _, base, slab, _, _ = SPAN.unpack(memory(self.g, first, SPAN.size, "a span"))
        if slab != c.at or (base - KERNBASE) % (PGSIZE << c.order):
            raise Disagree(f"after {self.pool.last}: the new chunk is not as chunk_new makes it")
        frame = (base - KERNBASE) // PGSIZE
        frames = set(range(frame, frame + (1 << c.order)))
        if not frames <= self.pool.free:
            raise Disagree(f"after {self.pool.last}: the new chunk at {base:#x} was not free before")
        chunk = Chunk(first, base)
        self.pool.free -= frames
        self.content[base] = memory(self.g, base, PGSIZE << c.order, "a chunk")
        for f in frames & self.before.keys():
            if self.g.phys(f * PGSIZE, PGSIZE) != self.before[f]:
                raise Disagree(f"after {self.pool.last}: what is in the new chunk at {base:#x} was changed, expected that "
                               "objects are not touched, be they free or in use")
        self.before = {}
        c.chunks.append(chunk)
        self.take_records(first)
        return chunk

    def take_records(self, first: int) -> None:
        page = (first - KERNBASE) // PGSIZE
        if page in self.pool.free:
            self.pool.free.discard(page)
            self.pool.used[page] = 0

    def forget(self, c: Cache, chunk: Chunk) -> None:
        """Its pages are free, and so are those of records that are not needed any more."""
        c.chunks.remove(chunk)
        c.ring = [r for r in c.ring if not chunk.first <= r < chunk.first + c.spans * SPAN.size]
        if c.empty is chunk:
            c.empty = None
        del self.content[chunk.base]
        frame = (chunk.base - KERNBASE) // PGSIZE
        self.pool.free.update(range(frame, frame + (1 << c.order)))
        page = (chunk.first - KERNBASE) // PGSIZE
        if not any(page == (other.first - KERNBASE) // PGSIZE for c2 in self.caches for other in c2.chunks):
            del self.pool.used[page]
            self.pool.free.add(page)

    def trimmed(self) -> None:
        """What slabs_trim does."""
        for c in self.caches:
            if c.empty and not c.empty.used:
                self.forget(c, c.empty)

    def have_gone(self) -> bool:
        """Is a page that belonged to an empty chunk no cache's any more?"""
        slabs = Pmm(self.g).slabs
        return any((c.empty.base - KERNBASE) // PGSIZE not in slabs for c in self.caches if c.empty and not c.empty.used)

    # --- comparing -----------------------------------------------------------

    def check(self) -> None:
        try:
            for c in self.caches:
                self.check_cache(c)
            self.check_frames()
        except Disagree as e:
            raise Disagree(f"after {self.pool.last}: {e}") from None

    def check_cache(self, c: Cache) -> None:
        what = f"the cache of {c.size}-byte objects"
        head = SPAN.unpack(memory(self.g, c.at, SPAN.size, "a struct slab"))
        empty, *numbers, name, construct, _ = self.fields(c.at)
        reciprocal = (1 << 32) // c.size + (1 if (1 << 32) % c.size else 0)
        wanted = [c.size, reciprocal, c.objects, c.spans, c.order]
        if (numbers[:5], name, construct) != (wanted, c.name, c.construct) or head[4:] != (0, 0):
            raise Disagree(f"{what} is not as slab_setup makes it")
        if numbers[5] != len(c.chunks):
            raise Disagree(f"{what} counts {numbers[5]} chunks, expected {len(c.chunks)}")
        if empty != (c.empty.first if c.empty else 0):
            stale = c.empty is None or c.empty.used
            if not stale or empty and not any(empty == k.first for k in c.chunks):
                raise Disagree(f"{what}: empty is {empty:#x}, expected {c.empty.first if c.empty else 0:#x}")
            c.empty = next((k for k in c.chunks if k.first == empty), None)
        for chunk in c.chunks:
            for s in range(c.spans):
                found = SPAN.unpack(memory(self.g, chunk.first + s * SPAN.size, SPAN.size, "a span"))
                if found[4] != c.free(chunk, s):
                    raise Disagree(f"{what}: free of span {s} of the chunk at {chunk.base:#x} is {found[4]:#x}, expected "
                                   f"{c.free(chunk, s):#x}")
                if found[2:4] != (chunk.base + s * OBJECTS * c.size, c.at) or found[5] != c.full(s):
                    raise Disagree(f"{what}: base, slab or all of span {s} of the chunk at {chunk.base:#x} was changed")
            if memory(self.g, chunk.base, PGSIZE << c.order, "a chunk") != self.content[chunk.base]:
                raise Disagree(f"{what}: what is in its chunk at {chunk.base:#x} was changed, expected that objects are "
                               "not touched, be they free or in use")
        ring = self.read_ring(c)
        if ring != c.ring:
            self.settle_ring(c, ring, what)

    def read_ring(self, c: Cache) -> list[int]:
        ring: list[int] = []
        before = c.at
        at = SPAN.unpack(memory(self.g, c.at, SPAN.size, "a struct slab"))[0]
        known = {chunk.first + s * SPAN.size for chunk in c.chunks for s in range(c.spans)}
        while at != c.at:
            if at not in known or len(ring) >= len(known):
                raise Disagree(f"the ring of {c.size}-byte objects has {at:#x} behind {len(ring)} spans, expected one "
                               "of the cache's spans, once")
            following, prev, *_ = SPAN.unpack(memory(self.g, at, SPAN.size, "a span"))
            if prev != before:
                raise Disagree(f"the ring of {c.size}-byte objects is broken behind {len(ring)} spans: prev is {prev:#x}")
            ring.append(at)
            before, at = at, following
        if SPAN.unpack(memory(self.g, c.at, SPAN.size, "a struct slab"))[1] != before:
            raise Disagree(f"the ring of {c.size}-byte objects: head.prev is not its last span")
        return ring

    def settle_ring(self, c: Cache, ring: list[int], what: str) -> None:
        """In which order the spans of one chunk come to the ring's end, or to an empty ring, is free."""
        if sorted(ring) != sorted(c.ring):
            raise Disagree(f"{what} has {len(ring)} spans on its ring, expected the {len(c.ring)} that have a free object")
        at = next(i for i, (a, b) in enumerate(zip(ring, c.ring)) if a != b)
        owners = {c.span_of(record)[0].base for record in [*ring[at:], *c.ring[at:]]}
        if len(owners) > 1:
            raise Disagree(f"{what} has its spans in another order on the ring than expected, from place {at} on")
        c.ring = ring

    def check_frames(self) -> None:
        now, pool = Pmm(self.g), self.pool
        pool.steady()
        slabs = {}
        for c in self.caches:
            for chunk in c.chunks:
                frame = (chunk.base - KERNBASE) // PGSIZE
                slabs.update(dict.fromkeys(range(frame, frame + (1 << c.order)), chunk.first))
        for name, found, wanted in (("free", now.free_frames(), pool.free), ("a cache's", now.slabs, set(slabs)),
                                    ("a block in use", set(now.used), set(pool.used)),
                                    ("a large object", set(now.large), set(self.large))):
            for frame in sorted(found ^ wanted)[:1]:
                raise Disagree(f"{now.frame(frame)} is {name}, expected it not to be" if frame in found else
                               f"expected {now.frame(frame)} to be {name}, found it is not (its state: "
                               f"{now.state[frame]:#x})")
        for kind, blocks in ((now.used, pool.used), (now.large, self.large)):
            for frame, order in blocks.items():
                if kind[frame] != order:
                    raise Disagree(f"the block at {now.frame(frame)} has order {kind[frame]}, expected {order}")
        for z in now.zones:
            links = memory(self.g, z.link, z.n * LINK.size, "the links of a zone")
            for frame, first in slabs.items():
                if z.first <= frame < z.end:
                    found = struct.unpack_from("<Q", links, (frame - z.at) * LINK.size)[0]
                    if found != (first - KERNBASE) + SPAN_BITS:
                        raise Disagree(f"link.chunk of {now.frame(frame)} is {found:#x}, expected the span at {first:#x}")
        pool.compare_list()
        self.check_locks()

    def check_locks(self) -> None:
        for name in ("slab_lock", "heap_lock", "pmm_lock", "kmem_lock"):
            serving, following = struct.unpack("<HH", variable(self.g, name, 4))
            if serving != following:
                raise Disagree(f"{name} is still locked, expected spin_unlock before each return")

    # --- calls ---------------------------------------------------------------

    def alloc(self, c: Cache, call: Callable[[], int] | None = None, clean: bool = True) -> int | None:
        """slab_alloc, or another function that takes an object of this cache.  clean: it writes nothing there."""
        had = {chunk.first for chunk in c.chunks}
        if not c.ring and clean:
            self.before = {f: self.g.phys(f * PGSIZE, PGSIZE) for f in sorted(self.pool.free)[:SOME]}
        front = c.span_of(c.ring[0]) if c.ring else None
        p = call() if call else self.pool.call("slab_alloc", c.at)
        if front is None:
            return self.of_new_chunk(c, p, had)
        chunk, s = front
        k, rest = divmod(p - chunk.base, c.size)
        if p == 0 or rest or k // OBJECTS != s or not 0 <= k < c.objects:
            raise Disagree(f"{self.pool.last} returned {p:#x}, expected an object of the ring's first span: of "
                           f"{c.size} bytes, between {chunk.base + s * OBJECTS * c.size:#x} and "
                           f"{chunk.base + min(c.objects, (s + 1) * OBJECTS) * c.size:#x}")
        if k in chunk.used:
            raise Disagree(f"{self.pool.last} returned {p:#x}, which is in use already")
        chunk.used.add(k)
        if not c.free(chunk, s):
            c.ring.pop(0)
        self.check()
        return p

    def of_new_chunk(self, c: Cache, p: int, had: set[int]) -> int | None:
        free = self.pool.free
        if not any(order >= c.order for order in whole(free).values()):
            self.trimmed()
        elif len(free) <= 1 << c.order and self.have_gone():    # there was no page for records
            self.trimmed()
        possible = any(order >= c.order for order in whole(self.pool.free).values())
        if p == 0:
            self.before = {}
            if possible and len(self.pool.free) > 1 << c.order:
                raise Disagree(f"{self.pool.last} returned NULL, expected an object of a new chunk: the pmm has "
                               f"{len(self.pool.free)} free pages")
            self.check()
            return None
        if not possible:
            raise Disagree(f"{self.pool.last} returned {p:#x}, expected NULL: the cache has no free object, and the pmm "
                           "no pages for a chunk")
        frame = (p - KERNBASE) // PGSIZE
        state = Pmm(self.g)
        if state.state[frame] != SLAB if 0 <= frame < state.n else True:
            raise Disagree(f"{self.pool.last} returned {p:#x}, expected an object of a new chunk")
        zone = state.zone_of(frame)
        assert zone is not None
        link = struct.unpack("<Q", self.g.phys(zone.link - KERNBASE + (frame - zone.at) * LINK.size, 8))[0]
        first = link - SPAN_BITS + KERNBASE
        if first in had:
            raise Disagree(f"{self.pool.last} returned {p:#x}, of a chunk in which all objects are in use")
        chunk = self.learn(c, first)
        k, rest = divmod(p - chunk.base, c.size)
        if rest or not 0 <= k < c.objects:
            raise Disagree(f"{self.pool.last} returned {p:#x}, where no object begins")
        chunk.used.add(k)
        c.ring = [first + s * SPAN.size for s in range(c.spans) if c.free(chunk, s)]
        self.check()
        return p

    def release(self, c: Cache, p: int, function: str = "slab_free") -> None:
        """slab_free, or kmfree, of an object in use."""
        self.release_of(c, p, lambda: self.pool.call(function, *((c.at, p) if function == "slab_free" else (p,))))

    def release_all(self, c: Cache) -> None:
        for p in c.objects_in_use():
            self.release(c, p)

    def release_of(self, c: Cache, p: int, call: Callable[[], int]) -> None:
        """By this call."""
        chunk = c.chunk_at(p)
        assert chunk is not None
        k = (p - chunk.base) // c.size
        s = k // OBJECTS
        record = chunk.first + s * SPAN.size
        if not c.free(chunk, s):
            c.ring.insert(0, record)
        chunk.used.remove(k)
        if self.exact and not chunk.used and c.empty is not chunk:
            before = c.empty
            c.empty = chunk
            mine = [chunk.first + i * SPAN.size for i in range(c.spans)]
            c.ring = [r for r in c.ring if r not in mine] + mine
            if before is not None and not before.used:
                self.forget(c, before)
        call()
        if not self.exact:
            self.adopt_ring(c)
        self.check()

    def adopt_ring(self, c: Cache) -> None:
        """Empty chunks may be gone or not, one may be the one to keep, and the ring may be in any order."""
        slabs = Pmm(self.g).slabs
        for chunk in [k for k in c.chunks if not k.used and (k.base - KERNBASE) // PGSIZE not in slabs]:
            self.forget(c, chunk)
        c.empty = next((k for k in c.chunks if k.first == self.fields(c.at)[0]), None)
        ring = self.read_ring(c)
        if sorted(ring) == sorted(c.ring):
            c.ring = ring

    def refuses(self, function: str, p: int, why: str, *before: int) -> None:
        """A panic that says p, and nothing has changed."""
        p &= M64
        self.pool.last = f"{function}({p:#x})"
        message = self.g.panics(function, *before, p)
        what = f"{self.pool.last}, which {why}:"
        if message is None:
            raise Disagree(f"{what} it returned, expected a panic")
        if message.startswith("fault"):
            raise Disagree(f"{what} expected a panic, found a {message}")
        if f"{p:x}" not in message:
            raise Disagree(f"{what} expected a panic that says the address, found \"{message}\"")
        self.check()

    def alloc_large(self, size: int) -> int | None:
        """kmalloc of what only the pmm has."""
        order = max(0, (size - 1).bit_length() - 12)
        best = self.pool.smallest(order)
        p = self.pool.call("kmalloc", size)
        if p == 0 or best is None:
            if (p == 0) != (best is None):
                raise Disagree(f"{self.pool.last} returned {p:#x}, expected " + ("NULL, as the pmm has no such block"
                               if p else f"a block of order {order}"))
            self.check()
            return None
        frame, rest = divmod(p - KERNBASE, PGSIZE)
        frames = set(range(frame, frame + (1 << order)))
        if rest or frame % (1 << order) or not frames <= self.pool.free:
            raise Disagree(f"{self.pool.last} returned {p:#x}, expected a free block of order {order}")
        self.pool.free -= frames
        self.large[frame] = order
        self.check()
        return p

    def free_large(self, p: int) -> None:
        frame = (p - KERNBASE) // PGSIZE
        self.pool.free.update(range(frame, frame + (1 << self.large.pop(frame))))
        self.pool.call("kmfree", p)
        self.check()

    def class_of(self, size: int) -> Cache:
        return next(c for c in self.by_size if c.size >= size)

    def odd_pointers(self, c: Cache) -> list[tuple[int, str]]:
        """What is no object in use of this cache."""
        rng, found = self.rng, []
        for chunk in c.chunks:
            end = chunk.base + (PGSIZE << c.order)
            for k in rng.sample(range(c.objects), min(4, c.objects)):
                p = chunk.base + k * c.size
                if k not in chunk.used:
                    found.append((p, "is free already"))
                for off in {1, 8, c.size - 1, rng.randrange(1, c.size), c.size // 2 or 1}:
                    found.append((p + off, "is inside of an object"))
            for p in {chunk.base + c.objects * c.size, end - 1, end - ALIGN}:
                if chunk.base + c.objects * c.size <= p < end:
                    found.append((p, "is behind the last object"))
        for p in rng.sample(c.objects_in_use(), min(3, len(c.objects_in_use()))):
            found += [(p - KERNBASE, "is a physical address"), (p ^ 1 << 48, "is no address of the linear map"),
                      (p + (1 << 40), "is no memory"), (p ^ 1 << 63, "is no memory")]
        return found + self.foreign()

    def foreign(self) -> list[tuple[int, str]]:
        """What no cache has."""
        g, rng = self.g, self.rng
        pool = self.pool
        found = [(P2V(f * PGSIZE) + off, "is a free page") for f in sorted(pool.free)[:2] for off in (0, 64)]
        found += [(P2V(f * PGSIZE) + off, "is a page of the pmm") for f in sorted(pool.used)[:2] for off in (0, 128)]
        first, n = pool.banks[0]
        found += [(P2V((first - 1) * PGSIZE), "is before all memory"), (P2V((first + n) * PGSIZE), "is in no zone"),
                  (P2V(end_of_ram(g)), "is behind all memory"), (8, "is no memory"), (M64 - 15, "is no memory"),
                  (rng.getrandbits(64), "is no memory"), (rng.getrandbits(64) & -16, "is no memory"),
                  (g.symbol("slabs"), "is a variable"), (g.home[31] & -16, "is on the stack"),
                  (self.mine, "is nobody's"), (KERNBASE, "is nobody's")]
        return found

