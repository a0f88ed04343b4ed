"""Calls of a kernel's functions that find a lock taken: do they wait, and hold it for as long as they should?

For judges of any lab.  A call is followed from outside: to where it draws its ticket (inc/spinlock.h), round its
waiting loop, to where it releases the lock that was set free for it, and a little further.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from grade.blocks import QUICK
from grade.buddy import variable
from grade.gdb import CPSR
from grade.guest import Guest
from grade.machine import Stop
from grade.view import KERNBASE, Disagree

FIQ = 0x40                  # PSTATE: F; nobody takes IRQs yet, and of FIQs there are none
TURNS = 60                  # instructions for which a waiting core is followed ...
FAR = 4000                  # instructions that are followed before a lock is taken, and after it is released
LOOP = 12                   # ... and of these the last half are no more than this many, again and again


class Contended:
    """Calls that find a lock taken, by nobody: they wait until it is set free here."""

    def __init__(self, g: Guest, rng: random.Random, lock: str, data: Callable[[], bytes], far: int = FAR):
        """data: what the lock protects, as it is now.  far: instructions to follow after a release."""
        self.g, self.rng, self.lock, self.data, self.far = g, rng, lock, data, far
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
        machine = self.g.machine
        self.function, self.last, self.held = function, self.data(), False
        mine = self.rng.choice((0, 1, 0xFFFE, 0xFFFF, self.rng.randrange(0x10000)))
        self.put(mine, mine + 1)
        self.g.home[CPSR] ^= FIQ if self.rng.random() < 0.5 else 0
        name, _ = self.g.enter(function, *arguments)
        before = self.word()
        stop = self.store(4, limit)
        if stop is not None or not self.follow(lambda: self.word() != before, TURNS):
            self.g.leave(name, stop or machine.run(limit), limit)
            raise Disagree(f"{function} was called while {self.lock} was taken, expected it to wait, found that it "
                           "returned: it does not take the lock")
        self.wait()
        serving, following = self.word()
        self.put(serving + 1, following)
        stop = self.store(2, limit)
        if stop is None:
            self.last = self.data()
            self.follow(self.outside, self.far)
            stop = Stop.BREAKPOINT if machine.pc in machine.breakpoints else machine.run(limit)
        x0 = self.g.leave(name, stop, limit)
        serving, following = self.word()
        if serving != following:
            raise Disagree(f"after {function}, {self.lock} is still locked, expected spin_unlock before each return")
        return x0

    def store(self, size: int, limit: int) -> Stop | None:
        """Run up to a store to the lock's first bytes.  None: it is there; else how the call ended before."""
        machine = self.g.machine
        machine.gdb.watch_stores(self.at, size)
        stop = machine.run(limit)
        machine.gdb.unwatch(self.at, size)
        return stop if stop is not Stop.BREAKPOINT or machine.pc in machine.breakpoints else None

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
