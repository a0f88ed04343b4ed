"""Lab 3's bitmap from outside: memmap.c, with ranges made up here, against sets of bits.

The memmap touches no memory but its own, and is out of use once the kernel has booted.
"""

from __future__ import annotations

import random

from grade.blocks import EINVAL, QUICK, number, signed
from grade.buddy import MAP_FRAMES, locked, lowest, memmap
from grade.guest import Guest
from grade.view import M64, PGSIZE, Disagree

WORDWISE = 400              # thousand instructions for a search through all of MAP_FRAMES
NEARBY = 15                 # and for one that finds what it wants where the last one ended


def runs(bits: int, n: int) -> int:
    """Where n ones in a row begin."""
    have = 1
    while have < n and bits:
        step = min(have, n - have)
        bits &= bits >> step
        have += step
    return bits


def longest(bits: int) -> int:
    n = 0
    while bits:
        bits &= bits >> 1
        n += 1
    return n


class Map:
    """The memmap, and what should be in it."""

    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        self.at = g.call("memmap_get")
        self.start = self.n = self.used = self.reserved = 0
        self.last = ""
        self.cost = 0           # of the last call, in thousand instructions

    def call(self, function: str, *arguments: int) -> int:
        self.last = f"{function}({', '.join(f'{a:#x}' if a > 9 else str(a) for a in arguments)})"
        x0 = self.g.call(function, *arguments, limit=QUICK)
        self.cost = self.g.machine.ticks() - self.g.machine.clock
        return x0

    def check(self) -> None:
        try:
            now = memmap(self.g, self.at)
            name = locked(self.g)
            if name is not None:
                raise Disagree(f"{name} is still locked, expected spin_unlock before each return")
            if (now.start, now.n) != (self.start, self.n):
                raise Disagree(f"expected frames {self.start:#x} to {self.start + self.n - 1:#x} to be described, "
                               f"found {now.start:#x} to {now.start + now.n - 1:#x}")
            if now.hint > now.n:
                raise Disagree(f"hint is {now.hint:#x}, behind the end of the map, which has {now.n:#x} frames")
            for found, wanted, what in ((now.used, self.used, "bitmap"), (now.reserved, self.reserved, "reserved")):
                if found != wanted:
                    i = lowest(found ^ wanted)
                    raise Disagree(f"expected bit {i} of {self.n} in {what} to be {wanted >> i & 1} (frame "
                                   f"{self.start + i:#x}), found {found >> i & 1}")
        except Disagree as e:
            raise Disagree(f"after {self.last}: {e}") from None

    def result(self, x0: int, wanted: int) -> None:
        if signed(x0) != wanted:
            raise Disagree(f"{self.last}: expected {number(wanted)}, found {number(signed(x0))}")
        self.check()

    def init(self, start: int, stop: int) -> None:
        first, last = -(-start // PGSIZE), stop // PGSIZE
        if first < last:
            self.start, self.n = first, min(last - first, MAP_FRAMES)
            self.used = self.reserved = int(first == 0)
        self.result(self.call("memmap_init", start, stop), 0 if first < last else EINVAL)

    def any(self, n: int, first: int | None = None) -> None:
        """A map of n frames anywhere, with odd ends."""
        if first is None:
            first = self.rng.choice((0, 1, self.rng.randrange(1 << 20), self.rng.randrange(1 << 50)))
        below = self.rng.choice((0, 0, self.rng.randrange(PGSIZE))) if first else 0
        self.init(first * PGSIZE - below, (first + n) * PGSIZE + self.rng.choice((0, 1, self.rng.randrange(PGSIZE))))

    def reserve(self, start: int, stop: int) -> None:
        low, high = max(start, self.start * PGSIZE), min(stop, (self.start + self.n) * PGSIZE)
        if start < stop and low < high:
            first, last = low // PGSIZE - self.start, -(-high // PGSIZE) - self.start
            bits = (1 << last) - (1 << first)
            self.used |= bits
            self.reserved |= bits
        self.call("memmap_reserve", start, stop)
        self.check()

    def reserve_frames(self, first: int, n: int) -> None:
        """Frames counted from the map's first."""
        self.reserve((self.start + first) * PGSIZE, (self.start + first + n) * PGSIZE)

    @property
    def free(self) -> int:
        return ~self.used & (1 << self.n) - 1

    def alloc(self, n: int | None) -> int | None:
        """alloc_frames(n), or alloc_frame().  Returns the first frame, counted from the map's, or None."""
        count = 1 if n is None else n
        where = runs(self.free, count) if 0 < count <= self.n else 0
        pa = self.call("alloc_frame") if n is None else self.call("alloc_frames", count)
        if pa == 0:
            if where:
                raise Disagree(f"{self.last}: expected "
                               + ("a free frame" if count == 1 else f"{count} free frames in a row")
                               + f", such as {(self.start + lowest(where)) * PGSIZE:#x}, found 0")
            self.check()
            return None
        frame, rest = divmod(pa, PGSIZE)
        i = frame - self.start
        if rest or not 0 <= i < self.n:
            raise Disagree(f"{self.last}: returned {pa:#x}, expected the address of a frame of the map, "
                           f"[{self.start * PGSIZE:#x}, {(self.start + self.n) * PGSIZE:#x})"
                           + ("" if where else ", or rather 0, as there is no such run"))
        if count == 0:
            raise Disagree(f"{self.last}: returned {pa:#x}, expected 0")
        if not where >> i & 1:
            wrong = "reserved" if self.reserved >> i & 1 else "in use"
            run = (1 << count) - 1 << i if 0 < count <= self.n else 0
            raise Disagree(f"{self.last}: returned {pa:#x}, " + (f"a frame that is {wrong}" if self.used >> i & 1 else
                           f"but {(self.used & run).bit_count() or 'some'} of the {count} frames there are in use or "
                           "beyond the end"))
        self.used |= (1 << count) - 1 << i
        self.check()
        return i

    def give_back(self, i: int) -> None:
        self.used &= ~(1 << i)
        self.result(self.call("free_frame", (self.start + i) * PGSIZE), 0)

    def refuse(self, pa: int) -> None:
        self.result(self.call("free_frame", pa & M64), EINVAL)

    def taken(self) -> list[int]:
        """Frames that may be given back."""
        bits = self.used & ~self.reserved
        return [i for i in range(self.n) if bits >> i & 1]


def judge_memmap_init(g: Guest, rng: random.Random) -> None:
    m = Map(g, rng)
    m.any(100)
    for n in (1, 7, 8, 9, 63, 64, 65, rng.randrange(66, 5000), MAP_FRAMES - 1, MAP_FRAMES):
        m.any(n)
        m.reserve_frames(rng.randrange(n), rng.randrange(1, 90))
        m.alloc(rng.randrange(1, 9))
    m.init(0, rng.randrange(2, 99) * PGSIZE)
    for _ in range(3):                                  # more than it can describe
        first = rng.choice((0, rng.randrange(1 << 40)))
        m.init(first * PGSIZE, (first + MAP_FRAMES + rng.randrange(1, 1 << 19)) * PGSIZE + rng.randrange(PGSIZE))
    m.init(M64 - 9 * PGSIZE, M64)
    m.any(200)
    m.alloc(5)
    at = rng.randrange(1, 1 << 40) * PGSIZE
    for start, stop in ((at, at), (at + PGSIZE, at), (at + 1, at + PGSIZE), (at, at + PGSIZE - 1),
                        (at + rng.randrange(1, PGSIZE), at + PGSIZE + rng.randrange(PGSIZE)), (at + 8 * PGSIZE, at),
                        (0, 0), (0, PGSIZE - 1), (M64, M64), (M64 - 5, M64), (M64, PGSIZE)):
        if -(-start // PGSIZE) >= stop // PGSIZE:
            m.init(start, stop)
    m.init(at + 1, at + 2 * PGSIZE)


def judge_memmap_reserve(g: Guest, rng: random.Random) -> None:
    m = Map(g, rng)
    for n in (5, 64, rng.randrange(65, 300), rng.randrange(300, 3000)):
        m.any(n)
        start, end = m.start * PGSIZE, (m.start + m.n) * PGSIZE
        for a, b in ((start, start), (start + 5, start + 5), (end - 1, start), (end, end + PGSIZE), (end, M64)):
            m.reserve(a, b)
        if start >= PGSIZE:
            m.reserve(0, start)
            m.reserve(start - PGSIZE, start)
            m.reserve(start - 1, start + 1)
        for _ in range(9):
            a = start + rng.randrange(n) * PGSIZE + rng.choice((0, 1, PGSIZE - 1, rng.randrange(PGSIZE)))
            m.reserve(a, a + rng.choice((1, 2, PGSIZE, PGSIZE + 1, rng.randrange(1, 4 * PGSIZE),
                                         rng.randrange(1, max(2, n // 9 * PGSIZE)))))
        mine = m.alloc(None)
        if mine is not None:
            m.reserve_frames(mine, 1)                   # in use already
        for i in [i for i in range(n) if m.reserved >> i & 1][:4]:
            m.refuse((m.start + i) * PGSIZE)
        m.reserve(end - 1, M64)
        m.reserve(0, M64)
        if m.alloc(None) is not None:
            raise Disagree("alloc_frame found a frame although all are reserved")


def judge_alloc_frame(g: Guest, rng: random.Random) -> None:
    m = Map(g, rng)
    for n in (1, 8, rng.randrange(9, 50), rng.randrange(64, 90)):
        m.any(n)
        for _ in range(n // 12):
            m.reserve_frames(rng.randrange(n), rng.randrange(1, 5))
        while m.alloc(None) is not None:
            pass
        m.alloc(None)
        for i in rng.sample(m.taken(), min(4, len(m.taken()))):
            m.give_back(i)
        while m.alloc(None) is not None:
            pass


def exact_fits(m: Map, rng: random.Random) -> None:
    """One run alone, at places that matter to bytes and words; and the same with one frame more."""
    for first, n in ((0, 3), (6, 4), (63, 2), (60, 70), (64, 64), (rng.randrange(200), rng.randrange(1, 130)),
                     (320 - rng.randrange(1, 99), 0)):
        m.any(320)
        n = n or 320 - first                            # up to the map's end
        if m.start == 0 and first == 0:
            first = 1
        m.reserve_frames(0, first)
        m.reserve_frames(first + n, 320)
        m.alloc(n + 1)
        m.alloc(0)
        m.alloc(rng.choice((321, 1 << 32, M64, 1 << 63)))
        m.alloc(n)
        m.alloc(1)


def across(m: Map, rng: random.Random) -> None:
    """The only run begins before the place where the last search ended, and ends behind it."""
    m.any(300)
    taken, before, behind = rng.randrange(40, 150), rng.randrange(1, 20), rng.randrange(1, 20)
    first = m.alloc(taken)
    if first is None:
        return
    m.reserve_frames(first + taken + behind, 300)
    for i in range(first + taken - before, first + taken):
        m.give_back(i)
    m.alloc(before + behind + 1)
    m.alloc(before + behind)


def mixed(m: Map, rng: random.Random, n: int, calls: int) -> None:
    """Nearly full, so that runs lie on both sides of where the last search ended, and across."""
    m.any(n)
    for _ in range(n // 60):
        m.reserve_frames(rng.randrange(n), rng.randrange(1, 4))
    for _ in range(calls):
        most = longest(m.free)
        if rng.random() < 0.15:
            m.alloc(rng.choice((M64, M64 - rng.randrange(n), 1 << 63, 1 << 52, (1 << 32) + 1, MAP_FRAMES)))
        if most > n // 8:
            m.alloc(rng.choice((most // 2, max(1, most - rng.randrange(9)))))
        elif rng.random() < 0.5:
            m.alloc(rng.choice((most, most, most + 1, rng.randrange(1, 9))))
        else:
            taken = m.taken()
            first = rng.choice(taken)
            for i in range(first, first + rng.randrange(1, 7)):
                if i in taken:
                    m.give_back(i)


def searches(m: Map, rng: random.Random) -> None:
    """All that a map can describe: word by word, and from where the last search ended."""
    m.init(0, MAP_FRAMES * PGSIZE)
    where = MAP_FRAMES - rng.randrange(200, 900)
    m.reserve_frames(0, where)
    m.alloc(30)
    if m.cost > WORDWISE:
        raise Disagree(f"{m.last} took {m.cost},000 instructions to find the only free frames at the end of the map, "
                       f"expected a search word by word, in fewer than {WORDWISE},000")
    for n in (1, 9, 1):
        m.alloc(n)
        if m.cost > NEARBY:
            raise Disagree(f"{m.last} took {m.cost},000 instructions although frames are free where the last search "
                           f"ended, expected it to begin there, in fewer than {NEARBY},000")
    m.init(0, MAP_FRAMES * PGSIZE)
    for i in range(4096, MAP_FRAMES, 8192):
        m.reserve_frames(i + rng.randrange(-99, 99), 1)
    m.alloc(8192 + 300)
    if m.cost > 2 * WORDWISE:       # it wraps around
        raise Disagree(f"{m.last} took {m.cost},000 instructions to find that no run is so long, expected a search "
                       f"word by word, in fewer than {2 * WORDWISE},000")


def judge_alloc_frames(g: Guest, rng: random.Random) -> None:
    m = Map(g, rng)
    exact_fits(m, rng)
    across(m, rng)
    mixed(m, rng, rng.randrange(20, 64), 40)
    mixed(m, rng, rng.randrange(200, 500), 60)
    searches(m, rng)


def judge_free_frame(g: Guest, rng: random.Random) -> None:
    m = Map(g, rng)
    for n in (9, rng.randrange(65, 200)):
        m.any(n, rng.randrange(2, 1 << 50))
        m.reserve_frames(rng.randrange(n), 2)
        start, end = m.start * PGSIZE, (m.start + n) * PGSIZE
        m.alloc(n // 3)
        m.alloc(None)
        for _ in range(12):
            taken = m.taken()
            if not taken or rng.random() < 0.3:
                m.alloc(rng.choice((1, 2)))
                continue
            i = rng.choice(taken)
            pa = start + i * PGSIZE
            m.refuse(pa + rng.choice((1, 8, PGSIZE - 1)))
            m.give_back(i)
            m.refuse(pa)
        for i in (lowest(m.reserved), m.reserved.bit_length() - 1):
            m.refuse(start + i * PGSIZE)
        free = m.free
        for pa in (end, end + PGSIZE, start - PGSIZE, start + (MAP_FRAMES - 1) * PGSIZE, start + MAP_FRAMES * PGSIZE,
                   start + (1 << 52), M64 - PGSIZE + 1, 0, start + lowest(free) * PGSIZE if free else 1,
                   rng.randrange(1 << 52) * PGSIZE):
            i = (pa & M64) // PGSIZE - m.start
            if not (0 <= i < n and m.used >> i & 1 and not m.reserved >> i & 1):
                m.refuse(pa)
