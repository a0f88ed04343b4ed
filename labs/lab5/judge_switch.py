"""Lab 5's context_switch from outside: threads that are a set of registers and a stack, made up by the judge, which
go on at places of the kernel's code where nobody ever arrives."""

from __future__ import annotations

import random
import struct

from grade.el0 import FLAGS, Own
from grade.gdb import CPSR, PC, SP
from grade.guest import Guest
from grade.view import Disagree

CONTEXT = struct.Struct("<14Q")     # inc/sched.h: x19 to x28, x29, x30, SP, TPIDR_EL0
KEPT = [*range(19, 31), SP]         # of a core's registers, those of a context, in its order
GUARD = 40                          # bytes around each context, at least
STACK = 1024                        # bytes of each thread's stack
THREADS = 7
SWITCHES = 60


class Thread:
    """A thread, and the state that it was left in."""

    def __init__(self, number: int, context: int, stack: int):
        self.number, self.context, self.stack = number, context, stack
        self.left: list[int] = []       # x19 to x30, SP, TPIDR_EL0


class Threads:
    def __init__(self, g: Guest, rng: random.Random, own: Own):
        self.g, self.rng, self.own = g, rng, own
        stacks = g.push(rng.randbytes(THREADS * STACK))
        self.size = THREADS * (CONTEXT.size + 2 * GUARD)
        self.contexts = g.push(rng.randbytes(self.size))
        slot = CONTEXT.size + 2 * GUARD
        self.threads = [Thread(i, self.contexts + i * slot + 8 * rng.randrange(GUARD // 8, GUARD // 4),
                               stacks + i * STACK) for i in range(THREADS)]
        first, stop = g.symbol("context_switch") - 256, g.symbol("context_switch") + 1024
        places = [s.address for s in g.elf.symbols.values()
                  if g.symbol("image_start") < s.address < g.symbol("etext") and s.address % 4 == 0
                  and not first <= s.address < stop]
        self.places = rng.sample(sorted(set(places) - g.machine.breakpoints), 2 * THREADS)
        for thread in self.threads:
            thread.left = [*(rng.getrandbits(64) for _ in range(11)), self.place(thread), self.sp(thread),
                           rng.getrandbits(64)]
            g.write(thread.context, CONTEXT.pack(*thread.left))

    def place(self, thread: Thread) -> int:
        """Where it goes on, and no other thread does."""
        return self.places[2 * thread.number + self.rng.randrange(2)]

    def sp(self, thread: Thread) -> int:
        """With room for what context_switch may put there."""
        return thread.stack + STACK // 2 + 16 * self.rng.randrange(STACK // 64)

    def switch(self, a: Thread, b: Thread) -> None:
        """a, in a new state, calls context_switch(a's, b's)."""
        g, rng = self.g, self.rng
        what = f"context_switch(thread {a.number}'s, thread {b.number}'s)"
        core = [rng.getrandbits(64) for _ in range(31)]
        core[0], core[1], core[30] = a.context, b.context, self.place(a)
        core += [self.sp(a), g.symbol("context_switch"), g.home[CPSR] & ~FLAGS | rng.getrandbits(32) & FLAGS]
        tpidr = rng.getrandbits(64)
        a.left = [*(core[i] for i in KEPT), tpidr]
        self.own.system("tpidr_el0", tpidr)
        current = g.reg("tpidr_el1")
        contexts = g.read(self.contexts, self.size)
        stacks = {t: g.read(t.stack, STACK) for t in self.threads}
        g.machine.gdb.write_core(core)
        g.about_to_run("context_switch")
        pc = self.own.run(self.places, what)
        if pc == core[30] and a is not b:
            raise Disagree(f"{what}: expected it to return where thread {b.number} had left, found that it has returned "
                           "to its caller: write context_switch in kern/switch.S")
        found = g.machine.gdb.read_core()
        for name, is_, wanted in zip([*(f"x{i}" for i in range(19, 31)), "SP", "TPIDR_EL0"],
                                     [*(found[i] for i in KEPT), g.reg("tpidr_el0")], b.left):
            if is_ != wanted:
                raise Disagree(f"{what}: expected {name} to be {wanted:#x}, as thread {b.number} had left it, found "
                               f"{is_:#x}")
        if pc != b.left[11]:
            raise Disagree(f"{what}: expected it to return to {b.left[11]:#x}, where thread {b.number} had left, found "
                           f"{pc:#x}")
        if (found[CPSR] ^ core[CPSR]) & ~FLAGS:
            raise Disagree(f"{what}: expected the same interrupts to be masked, found PSTATE {found[CPSR]:#x}, was "
                           f"{core[CPSR]:#x}")
        if g.reg("tpidr_el1") != current:
            raise Disagree(f"{what}: expected TPIDR_EL1 to stay as it is, {current:#x}, found {g.reg('tpidr_el1'):#x}")
        self.memory(what, a, b, contexts, stacks)

    def memory(self, what: str, a: Thread, b: Thread, contexts: bytes, stacks: dict[Thread, bytes]) -> None:
        """Only a's context has changed, and what is below a stack pointer."""
        g = self.g
        now = bytearray(g.read(self.contexts, self.size))
        at = a.context - self.contexts
        now[at:at + CONTEXT.size] = contexts[at:at + CONTEXT.size]
        if now != contexts:
            i = next(i for i, (x, y) in enumerate(zip(now, contexts)) if x != y)
            raise Disagree(f"{what}: expected only *from to be written, found a byte changed that is {i - at} bytes from "
                           "its start")
        for thread, before in stacks.items():
            first = thread.left[12] - thread.stack if thread in (a, b) else 0
            if g.read(thread.stack, STACK)[first:] != before[first:]:
                raise Disagree(f"{what}: expected nothing to change on thread {thread.number}'s stack"
                               f"{' from SP on' if first else ''}, found that something has")


def judge_context_switch(g: Guest, rng: random.Random) -> None:
    own = Own(g, rng)
    made = Threads(g, rng, own)
    order = [1, 1, 0, 1, 2, 0, 1, 2, *range(1, THREADS), *reversed(range(THREADS)),
             *(rng.randrange(THREADS) for _ in range(SWITCHES))]
    running = made.threads[0]
    for number in order:
        following = made.threads[number]
        made.switch(running, following)
        running = following
    own.done()
    g.restore()
