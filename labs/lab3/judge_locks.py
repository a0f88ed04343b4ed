"""Lab 3's locks from outside: who finds a lock taken waits, changes nothing meanwhile, and gives it back."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from grade.blocks import EINVAL, QUICK, Blocks, number, signed
from grade.buddy import LARGEST, LINK, MAP_FRAMES, MEMMAP, ORDERS, ZONE, locked, memory, variable
from grade.gdb import CPSR
from grade.guest import Guest
from grade.machine import Stop
from grade.view import KERNBASE, PGSIZE, Disagree

FIQ = 0x40                  # PSTATE: F; nobody takes IRQs yet, and of FIQs there are none
TURNS = 60                  # instructions for which a waiting core is followed ...
FAR = 4000                  # instructions that are followed before a lock is taken, and after it is released
LOOP = 12                   # ... and of these the last half are no more than this many, again and again


class Contended:
    """Calls that find a lock taken, by nobody: they wait until it is set free here."""

    def __init__(self, g: Guest, rng: random.Random, lock: str, data: Callable[[], bytes]):
        """data: what the lock protects, as it is now."""
        self.g, self.rng, self.lock, self.data = g, rng, lock, data
        self.at = g.symbol(lock)
        self.function = ""
        self.last = b""         # the data when they were looked at last
        self.held = False       # and whether the lock was held then

    def word(self) -> tuple[int, int]:
        serving, following = struct.unpack("<HH", variable(self.g, self.lock, 4))
        return serving, following

    def put(self, serving: int, following: int) -> None:
        self.g.phys_write(self.at - KERNBASE, struct.pack("<HH", serving & 0xFFFF, following & 0xFFFF))

    def call(self, function: str, *arguments: int, limit: int = QUICK) -> int:
        """A call of g's, on the way of which the lock is set free."""
        machine, gdb = self.g.machine, self.g.machine.gdb
        self.function, self.last, self.held = function, self.data(), False
        mine = self.rng.choice((0, 1, 0xFFFE, 0xFFFF, self.rng.randrange(0x10000)))
        self.put(mine, mine + 1)
        self.g.home[CPSR] ^= FIQ if self.rng.random() < 0.5 else 0
        name, _ = self.g.enter(function, *arguments)
        before = self.word()
        if not self.follow(lambda: self.word() != before, FAR):
            stop = Stop.BREAKPOINT if machine.pc in machine.breakpoints else machine.run(limit)
            self.g.leave(name, stop, limit)
            raise Disagree(f"{function} was called while {self.lock} was taken, expected it to wait, found that it "
                           "returned: it does not take the lock")
        self.wait()
        serving, following = self.word()
        self.put(serving + 1, following)
        gdb.watch_stores(self.at, 2)
        stop = machine.run(limit)
        gdb.unwatch(self.at, 2)
        if stop is Stop.BREAKPOINT and machine.pc not in machine.breakpoints:
            self.last = self.data()
            self.follow(self.outside, FAR)
            stop = Stop.BREAKPOINT if machine.pc in machine.breakpoints else machine.run(limit)
        x0 = self.g.leave(name, stop, limit)
        serving, following = self.word()
        if serving != following:
            raise Disagree(f"after {function}, {self.lock} is still locked, expected spin_unlock before each return")
        return x0

    def taking(self, function: str, *arguments: int, limit: int = QUICK) -> int:
        """A call of g's that takes the lock, which is free."""
        before = self.word()
        x0 = self.g.call(function, *arguments, limit=limit)
        if self.word() == before:
            raise Disagree(f"{function} did not take {self.lock}")
        return x0

    def follow(self, until: Callable[[], bool], most: int) -> bool:
        """Instruction by instruction, until this is so.  False: it has gone too far, or the call has ended."""
        machine = self.g.machine
        for _ in range(most):
            machine.gdb.step()
            if until():
                return True
            if machine.pc in machine.breakpoints or machine.finished():
                return False
        return False

    def outside(self) -> bool:
        """For the rest of the call: what the lock protects is left alone but while it is held.  (Never True.)"""
        serving, following = self.word()
        now = self.data()
        if serving == following and now != self.last and not self.held:
            raise Disagree(f"{self.function} changed what {self.lock} protects after it had released it")
        self.held = serving != following
        self.last = now
        return False

    def wait(self) -> None:
        """The call has drawn its number: it goes round and round now."""
        places: list[int] = []
        for _ in range(TURNS):
            self.g.machine.gdb.step()
            places.append(self.g.machine.pc)
            if places[-1] in self.g.machine.breakpoints:
                break
        if len(places) < TURNS or len(set(places[TURNS // 2:])) > LOOP:
            raise Disagree(f"{self.function} was called while {self.lock} was taken, expected it to wait, found that "
                           f"it went on to {self.g.name(places[-1])}")
        if self.data() != self.last:
            raise Disagree(f"{self.function} changed what {self.lock} protects before it had the lock")


def tables(g: Guest, b: Blocks) -> bytes:
    """All that pmm_lock protects."""
    zones = variable(g, "zones", len(b.zones))
    links = [memory(g, link, (n + ORDERS) * LINK.size, "the links of a zone")
             for _, n, link, *_ in ZONE.iter_unpack(zones) if 0 < n <= b.n]
    return b"".join([memory(g, struct.unpack_from("<Q", b.frames, 24)[0], b.n, "frames.state"), zones, *links])


def bits(g: Guest, at: int) -> bytes:
    """All that memmap_lock protects."""
    fields = MEMMAP.unpack(memory(g, at, MEMMAP.size, "the struct memmap"))
    return b"".join([struct.pack("<6Q", *fields[:6]),
                     *(memory(g, va, MAP_FRAMES // 8, "a bitmap") for va in fields[4:6])])


def on_the_memmap(g: Guest, rng: random.Random) -> None:
    at = g.call("memmap_get")
    lock = Contended(g, rng, "memmap_lock", lambda: bits(g, at))
    start = rng.randrange(1, 1 << 20) * PGSIZE

    def expect(call: Callable[..., int], wanted: int, function: str, *arguments: int) -> None:
        x0 = call(function, *arguments)
        found = signed(x0) if wanted < 0 else x0 & (0xFFFF_FFFF if wanted == 0 else ~0)
        if function != "memmap_reserve" and found != wanted:
            raise Disagree(f"{function}: expected {number(wanted)}, found {number(found)}")
        name = locked(g)
        if name is not None:
            raise Disagree(f"after {function}, {name} is still locked, expected spin_unlock before each return")

    expect(g.call, 0, "memmap_init", start, start + 99 * PGSIZE)
    expect(lock.call, 0, "memmap_init", start, start + 9 * PGSIZE)
    expect(lock.call, 0, "memmap_reserve", start, start + PGSIZE)
    expect(lock.call, start + PGSIZE, "alloc_frame")
    expect(lock.call, start + 2 * PGSIZE, "alloc_frames", 7)
    expect(lock.call, 0, "free_frame", start + PGSIZE)
    for mask in (0, FIQ):
        g.home[CPSR] = g.home[CPSR] & ~FIQ | mask
        expect(g.call, EINVAL, "memmap_init", start, start + 5)
        expect(lock.taking, 0, "memmap_init", start, start + 9 * PGSIZE)
        expect(g.call, 0, "memmap_reserve", start + PGSIZE, start)
        expect(lock.taking, 0, "memmap_reserve", start, start + PGSIZE)
        expect(lock.taking, start + PGSIZE, "alloc_frame")
        expect(g.call, 0, "alloc_frames", 8)
        expect(g.call, 0, "alloc_frames", 0)
        expect(lock.taking, start + 2 * PGSIZE, "alloc_frames", 7)
        expect(g.call, 0, "alloc_frame")
        expect(lock.taking, 0, "free_frame", start + PGSIZE)
        for wrong in (start, start + PGSIZE, start + 2 * PGSIZE + 1, start - PGSIZE, start + 9 * PGSIZE):
            expect(g.call, EINVAL, "free_frame", wrong)


def on_the_pmm(g: Guest, rng: random.Random) -> None:
    b = Blocks(g, rng, [(rng.randrange(9), 200), (300 + rng.randrange(9), 2 * LARGEST)], LARGEST * PGSIZE)
    b.fill(most=6)
    b.write()
    contended = Contended(g, rng, "pmm_lock", lambda: tables(g, b))
    b.caller = contended.call
    exercise(b, rng)
    for mask in (0, FIQ):
        g.home[CPSR] = g.home[CPSR] & ~FIQ | mask
        b.caller = contended.taking
        exercise(b, rng)
        b.caller = g.call
        b.alloc(ORDERS)
        b.alloc(ORDERS - 1)
        used, free = rng.choice(sorted(b.used)), rng.choice(sorted(b.free))
        for wrong in (b.pa(free), b.pa(used) + 1, b.pa(b.n), b.base - PGSIZE, b.pa(299)):
            b.expect(EINVAL, "pmm_free", wrong, 0)
            b.expect(EINVAL, "pmm_free_range", wrong, 1)
            b.expect(EINVAL, "page_share", wrong)
            b.expect(EINVAL, "page_unshare", wrong)
            b.refs(wrong & -PGSIZE)
        b.expect(EINVAL, "pmm_free", b.pa(used), b.used[used] ^ 1)
        b.expect(EINVAL, "pmm_free_range", b.pa(used), 0)


def exercise(b: Blocks, rng: random.Random) -> None:
    """Each function, and it succeeds."""
    b.alloc(rng.randrange(3))
    b.put(rng.choice(sorted(b.used)))
    frame = rng.choice(sorted(b.used))
    b.share(frame)
    b.share(frame)
    b.refs(b.pa(frame))
    b.unshare(frame)
    b.unshare(frame)
    b.unshare(frame)
    frame = rng.choice(sorted(b.used))
    b.cut(frame, 1 << b.used[frame])


def judge_pmm_locks(g: Guest, rng: random.Random) -> None:
    on_the_memmap(g, rng)
    on_the_pmm(g, rng)
