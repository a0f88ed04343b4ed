"""Lab 4's caches and kmalloc from outside: chunks made up in spare RAM, and a model of them (grade/caches.py)."""

from __future__ import annotations

import random

from grade.caches import ALIGN, KMALLOC_MAX, MAX, SIZES, STRUCT, Cache, Caches, rounded
from grade.guest import Guest
from grade.view import KERNBASE, M64, PGSIZE, P2V, Disagree

NO_SIZES = (0, MAX + 1, MAX + 16, PGSIZE, 1 << 31, 1 << 32, (1 << 32) + 64, 1 << 63, M64 - 15, M64)
NO_ALIGNS = (17, 24, 48, 96, 3 * 1024, 2 * PGSIZE, PGSIZE + 16, 1 << 32, (1 << 32) + 16, 1 << 63, M64, M64 - 15)
TOO_LARGE = (KMALLOC_MAX + 1, KMALLOC_MAX + PGSIZE, 1 << 31, 1 << 32, (1 << 32) + 100, 1 << 63, M64 - 4096, M64 - 4095,
             M64 - 99, M64 - 31, M64 - 16, M64 - 15, M64 - 14, M64)


def any_form(rng: random.Random) -> tuple[int, int]:
    """The size and alignment of objects."""
    return (rng.choice((rng.randrange(1, 100), rng.randrange(1, 600), rng.randrange(1, MAX + 1))),
            rng.choice((0, 0, 1, 8, 16, 32, 64, 256, PGSIZE)))


def some_caches(m: Caches, n: int, most: int = 4) -> list[Cache]:
    """Caches of the judge's own, with chunks made up."""
    made = []
    for i in range(n):
        size, align = any_form(m.rng) if i else (m.rng.choice((16, 17, 24, 48)), 0)
        made.append(m.setup(size, align))
        m.make(made[-1], m.rng.randrange(1, most), m.rng.random())
    return made


def trace(m: Caches, c: Cache, turns: int, free: str = "slab_free") -> None:
    """Objects taken and given back at random: more and more, then fewer and fewer."""
    for turn in range(turns):
        used = c.objects_in_use()
        if used and m.rng.random() < (0.25 if turn < turns // 2 else 0.75):
            m.release(c, m.rng.choice(used), free)
        else:
            m.alloc(c)


def judge_slab_create(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, 60)
    m.start()
    behind = m.class_of(STRUCT)

    def create(size: int, align: int) -> int:
        name = g.push(b"made up")
        p = m.pool.call("slab_create", name, size, align)
        if p == 0:
            raise Disagree(f"{m.pool.last} returned NULL, expected a cache")
        cache = m.adopt(p, rounded(size, align), max(align, ALIGN), name)
        m.alloc(behind, lambda: p, clean=False)
        chunk = behind.chunk_at(p)                      # what is in it, is the cache's
        assert chunk is not None
        m.content[chunk.base] = g.phys(chunk.base - KERNBASE, PGSIZE << behind.order)
        m.check()
        follow(m, cache)
        return p

    def follow(m: Caches, cache: Cache) -> None:
        """On the list of all caches, first."""
        first = g.u64(g.symbol("slabs"))
        if first != cache.at:
            raise Disagree(f"after {m.pool.last}: slabs is {first:#x}, expected the new cache, {cache.at:#x}")

    m.check = _without_objects(m, behind)               # type: ignore[method-assign]
    for form in [any_form(rng) for _ in range(12)] + [(MAX, PGSIZE), (1, 0), (MAX, 0), (ALIGN, 2), (1, PGSIZE)]:
        create(*form)
    before = g.u64(g.symbol("slabs"))
    wrong = [(size, rng.choice((0, 16))) for size in NO_SIZES] + [(rng.randrange(1, MAX), align) for align in NO_ALIGNS]
    for size, align in [*wrong, (0, 24)]:
        none(m, "slab_create", g.symbol("slabs"), size, align)
        if g.u64(g.symbol("slabs")) != before:
            raise Disagree(f"after {m.pool.last}: a cache is on the list of all caches, expected none")
    while behind.ring:                                  # nothing left
        m.alloc(behind)
    exhaust(m)
    none(m, "slab_create", g.symbol("slabs"), 100, 0)
    none(m, "slab_create", g.symbol("slabs"), 0, 0)


def _without_objects(m: Caches, behind: Cache) -> object:
    """A check that does not look into the objects of this cache, as kmalloc's callers write there."""
    check = m.check

    def loose() -> None:
        for chunk in behind.chunks:
            m.content[chunk.base] = m.g.phys(chunk.base - KERNBASE, PGSIZE << behind.order)
        check()
    return loose


def none(m: Caches, function: str, *arguments: int) -> None:
    """A call that returns NULL and changes nothing."""
    p = m.pool.call(function, *arguments)
    if p != 0:
        raise Disagree(f"{m.pool.last} returned {p:#x}, expected NULL")
    m.check()


def exhaust(m: Caches) -> list[int]:
    """All free pages are somebody's from now on."""
    taken = []
    while m.pool.free:
        order = max(o for o in m.pool.free_blocks().values())
        pa = m.g.call("pmm_alloc", order)
        if pa == 0:
            raise Disagree(f"pmm_alloc({order}) returned 0, expected a block")
        frame = pa // PGSIZE
        m.pool.free.difference_update(range(frame, frame + (1 << order)))
        m.pool.used[frame] = order
        taken.append(frame)
    m.check()
    return taken


def judge_slab_alloc(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, rng.randrange(20, 40), rng.randrange(60, 100))
    m.start()
    made = some_caches(m, 5)
    for _ in range(120):
        m.alloc(rng.choice(made))
    for c in made:                                      # full, and on into a new chunk
        for _ in range(150):
            if not c.ring:
                break
            m.alloc(c)
        m.alloc(c)
    fresh = m.setup(*any_form(rng))
    m.alloc(fresh)
    taken = exhaust(m)
    for c in (*made, fresh, m.setup(*any_form(rng))):
        while c.ring and len(c.ring) < 3 and sum(bin(c.free(k, s)).count("1") for k in c.chunks for s in range(c.spans)) < 90:
            m.alloc(c)
        if not c.ring:
            m.alloc(c)
            m.alloc(c)
    for frame in taken:                                 # one block after the other, from either bank
        order = m.pool.used.pop(frame)
        m.pool.free.update(range(frame, frame + (1 << order)))
        g.call("pmm_free", frame * PGSIZE, order)
        m.alloc(rng.choice(made))
    m = Caches(g, rng, 9)                               # an empty chunk of another cache is all there is
    m.start()
    keeper, c = m.setup(1000), m.setup(1000)
    m.make(keeper, 1, 0.0)
    m.release_all(keeper)
    exhaust(m)
    for _ in range(3):
        m.alloc(c)


def judge_slab_free(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, rng.randrange(20, 40), rng.randrange(240, 300))
    m.start()
    m.exact = True
    made = some_caches(m, 4, 5)
    for c in made[1:]:
        trace(m, c, 60)
    two = m.setup(1000 + rng.randrange(1000))           # chunks come and go
    m.make(two, 6, 0.5)
    trace(m, two, 80)
    used = two.objects_in_use()
    rng.shuffle(used)
    for p in used:
        m.release(two, p)
        if rng.random() < 0.3 and two.ring:
            m.alloc(two)
    m.release_all(two)
    for _ in range(6):
        p = m.alloc(two)
        assert p is not None
        m.release(two, p)
    for c in made:                                      # by chunks, the last object last
        m.make(c, 2, 0.4)
        for chunk in rng.sample(c.chunks, len(c.chunks)):
            if len(chunk.used) > 60:
                continue
            for k in sorted(chunk.used, key=lambda _: rng.random()):
                m.release(c, chunk.base + k * c.size)


def judge_slab_refuse(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, 40, 60)
    m.start()
    made = some_caches(m, 4, 3)
    odd = m.setup(rng.choice((80, 96, 112, 208, 704)))  # with space behind the last object
    m.make(odd, 2, 0.5)
    for c in (*made, odd):
        found = m.odd_pointers(c)
        for p, why in rng.sample(found, min(30, len(found))):
            m.refuses("slab_free", p, why, c.at)
        other = rng.choice([d for d in made if d is not c])
        for p in rng.sample(other.objects_in_use(), 1):
            m.refuses("slab_free", p, "is another cache's", c.at)
        m.refuses("slab_free", 0, "is NULL", c.at)
    twin = m.setup(odd.size)
    m.make(twin, 1, 0.5)
    m.refuses("slab_free", rng.choice(twin.objects_in_use()), "is another cache's", odd.at)
    for c in (odd, made[1]):                            # once, and not again; nor when the chunk has gone
        gone = []
        for p in rng.sample(c.objects_in_use(), min(25, len(c.objects_in_use()))):
            m.release(c, p)
            gone.append(p)
            m.refuses("slab_free", p, "is free already", c.at)
            m.refuses("slab_free", rng.choice(gone), "is free already", c.at)
    c = m.setup(1500)
    m.make(c, 4, 1.0)
    gone = c.objects_in_use()
    m.release_all(c)
    for p in gone:
        m.refuses("slab_free", p, "is free already, and maybe its chunk has gone", c.at)


def judge_slab_destroy(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, 60, 60)
    m.start()
    behind = m.class_of(STRUCT)
    m.check = _without_objects(m, behind)               # type: ignore[method-assign]
    for turn in range(10):
        size, align = any_form(rng)
        p = g.call("slab_create", g.symbol("slabs"), size, align)
        if p == 0:
            raise Disagree(f"slab_create({size}, {align}) returned NULL, expected a cache")
        m.alloc(behind, lambda p=p: p, clean=False)     # type: ignore[misc]
        c = m.adopt(p, rounded(size, align), max(align, ALIGN))
        if turn % 3:
            m.make(c, rng.randrange(1, 4), 0.1 if size < 50 else 0.5)
            listed(m, c)
            while len(c.objects_in_use()) > 1 and len(c.objects_in_use()) < 100:
                m.release(c, rng.choice(c.objects_in_use()))
            listed(m, c)
            m.release_all(c)
        if c.chunks and rng.random() < 0.3:
            g.call("slabs_trim")
            m.trimmed()
        for chunk in list(c.chunks):
            m.forget(c, chunk)
        m.caches.remove(c)
        chunk_of_it = behind.chunk_at(p)
        assert chunk_of_it is not None
        before = m.pool.last = f"slab_destroy({p:#x})"
        m.release_of(behind, p, lambda: m.pool.call("slab_destroy", p))
        at = g.u64(g.symbol("slabs"))
        while at:
            if at == p:
                raise Disagree(f"after {before}: it is still on the list of all caches")
            at = g.u64(at + STRUCT - 8)


def listed(m: Caches, c: Cache) -> None:
    """It is not destroyed while an object is in use."""
    m.pool.last = f"slab_destroy({c.at:#x})"
    message = m.g.panics("slab_destroy", c.at)
    if message is None or message.startswith("fault"):
        raise Disagree(f"{m.pool.last} with {len(c.objects_in_use())} objects in use: expected a panic, found "
                       + (f"a {message}" if message else "that it returned"))
    m.check()
    at = m.g.u64(m.g.symbol("slabs"))
    while at and at != c.at:
        at = m.g.u64(at + STRUCT - 8)
    if not at:
        raise Disagree(f"{m.pool.last} panicked, but the cache is not on the list of all caches any more")


# --- kmalloc -------------------------------------------------------------


def kmalloc(m: Caches, size: int, function: str = "kmalloc") -> int | None:
    if size <= MAX:
        return m.alloc(m.class_of(size), lambda: m.pool.call(function, size))
    return m.alloc_large(size)


def any_size(rng: random.Random) -> int:
    return rng.choice((rng.randrange(1, 130), rng.randrange(1, 130), rng.randrange(1, MAX + 100),
                       rng.choice(SIZES) + rng.choice((-1, 0, 1)), rng.randrange(1, 6 * PGSIZE)))


def judge_kmalloc(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, rng.randrange(90, 130), rng.randrange(200, 300))
    m.start()
    for size in SIZES:
        for near in (size - 1, size, size + 1):
            kmalloc(m, near)
    for c in rng.sample(m.by_size, 5):
        m.make(c, 1, rng.random())
    own = m.setup(*any_form(rng))                       # while there is memory for it
    m.make(own, 1, 0.5)
    pieces = [p for p in (kmalloc(m, any_size(rng)) for _ in range(50)) if p]
    for size in (0, *TOO_LARGE, KMALLOC_MAX):
        none(m, "kmalloc", size)
    for order in range(6):
        for size in (PGSIZE << order, (PGSIZE << order) + 1, (PGSIZE << order) - 1):
            kmalloc(m, size)
    sizes(m, pieces)
    sizes(m, own.objects_in_use()[:3])
    for frame in list(m.large):
        sizes(m, [P2V(frame * PGSIZE)])
    if (found := g.call("kmalloc_size", 0)) != 0:
        raise Disagree(f"kmalloc_size(NULL): expected 0, found {found}")
    exhaust(m)
    for size in (PGSIZE, MAX + 1, 3 * PGSIZE):
        none(m, "kmalloc", size)
    c = min(m.by_size, key=lambda c: len(c.ring))
    for _ in range(80):
        if kmalloc(m, c.size) is None:
            break
    # The largest of all, and in the second bank only.
    m = Caches(g, rng, 30, (2 << 10) - 1)
    m.start()
    for size in (KMALLOC_MAX, KMALLOC_MAX // 2 + 1, KMALLOC_MAX - 1, KMALLOC_MAX - PGSIZE):
        p = kmalloc(m, size)
        if p:
            sizes(m, [p])
    none(m, "kmalloc", KMALLOC_MAX + 1)


def sizes(m: Caches, pieces: list[int]) -> None:
    for p in pieces:
        c = next((c for c in m.caches if c.chunk_at(p)), None)
        wanted = c.size if c else PGSIZE << m.large[(p - KERNBASE) // PGSIZE]
        found = m.pool.call("kmalloc_size", p)
        if found != wanted:
            raise Disagree(f"{m.pool.last}: expected {wanted}, found {found}")
        m.check()


def judge_kzalloc(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, 200)
    m.start()
    for size in [any_size(rng) for _ in range(12)] + [1, MAX, MAX + 1, PGSIZE, 3 * PGSIZE + 1]:
        if size <= MAX:
            c = m.class_of(size)
            if not c.chunks and rng.random() < 0.7:
                m.make(c, 1, 0.5)
            zeroed(m, c, size)
            continue
        p = g.call("kzalloc", size)
        zero(m, p, size)
        m.large[(p - KERNBASE) // PGSIZE] = order = max(0, (size - 1).bit_length() - 12)
        m.pool.free.difference_update(range((p - KERNBASE) // PGSIZE, ((p - KERNBASE) // PGSIZE) + (1 << order)))
        m.check()
    for size in (0, *TOO_LARGE):
        none(m, "kzalloc", size)
    exhaust(m)
    none(m, "kzalloc", PGSIZE)


def zero(m: Caches, p: int, size: int) -> None:
    m.pool.last = f"kzalloc({size})"
    if p == 0 or p % ALIGN or m.g.phys(p - KERNBASE, size).strip(b"\0"):
        raise Disagree(f"{m.pool.last} returned {p:#x}, expected {size} bytes that are 0")


def zeroed(m: Caches, c: Cache, size: int) -> None:
    """kzalloc of an object; nothing is written beyond it."""
    def call() -> int:
        p = m.pool.call("kzalloc", size)
        zero(m, p, size)
        frame = (p - KERNBASE) // PGSIZE & -1 << c.order
        base = P2V(frame * PGSIZE)
        off = p - base
        now = m.g.phys(base - KERNBASE, PGSIZE << c.order)
        before = m.content.get(base)
        if before is not None:
            if now[:off] != before[:off] or now[off + c.size:] != before[off + c.size:]:
                raise Disagree(f"{m.pool.last} returned {p:#x}, and has written before or behind that object")
            m.content[base] = now
        return p
    m.alloc(c, call, clean=False)


def judge_kmfree(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, rng.randrange(30, 50), rng.randrange(150, 200))
    m.start()
    for c in rng.sample(m.by_size, 8):
        m.make(c, rng.randrange(1, 3), rng.random())
    own = m.setup(*any_form(rng))
    m.make(own, 2, 0.4)
    for _ in range(90):
        if rng.random() < 0.45:
            kmalloc(m, any_size(rng))
            continue
        used = [(c, p) for c in m.caches for p in c.objects_in_use()[:3]]
        if m.large and rng.random() < 0.4:
            m.free_large(P2V(rng.choice(sorted(m.large)) * PGSIZE))
        elif used:
            m.release(*rng.choice(used), "kmfree")
    m.pool.call("kmfree", 0)
    m.check()
    for size in (MAX + 1, 2 * PGSIZE, 5 * PGSIZE, 9 * PGSIZE):
        kmalloc(m, size)
    for c in (own, *rng.sample(m.by_size, 3)):
        found = m.odd_pointers(c)
        for p, why in rng.sample(found, min(25, len(found))):
            m.refuses("kmfree", p, why)
    for frame, order in list(m.large.items()):
        at, size = P2V(frame * PGSIZE), PGSIZE << order
        for off in {1, 8, 16, PGSIZE // 2, size // 2, size - 16, rng.randrange(1, size)}:
            m.refuses("kmfree", at + off, "is inside of what is in use")
        m.free_large(at)
        m.refuses("kmfree", at, "is free already")
    pa = g.call("pmm_alloc", 1)
    if pa:
        frame = pa // PGSIZE
        m.pool.free -= {frame, frame + 1}
        m.pool.used[frame] = 1
        m.refuses("kmfree", P2V(pa), "is a block that pmm_alloc gave")
    last = rng.choice([(c, p) for c in m.caches for p in c.objects_in_use()])
    m.release(*last, "kmfree")
    m.refuses("kmfree", last[1], "is free already")
