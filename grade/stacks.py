"""Which calls are under way in a thread of the stopped kernel, and which exceptions: by its frame records
(inc/backtrace.h) and the trap frames on its stack (inc/trap.h).  Of a process, the program's own calls as well."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from grade.gdb import GdbError
from grade.procs import Proc
from grade.view import ADDRESS, KERNBASE, M64, PGSIZE, Disagree, View, is_leaf

STACK_SIZE = 0x4000                     # inc/memlayout.h
EMERGENCY_SIZE = 0x2000                 # linker.ld
FRAME = struct.Struct("<36Q")           # x0 to x30, sp, elr, spsr, esr, far
X29, X30, SP = 29, 30, 31
RECORD = struct.Struct("<2Q")           # the caller's record, and where the function returns to
SAVE = ("save", "save_bad")             # vectors.S: from there trap is called
DEPTH = 64                              # calls that are followed
BEGINNINGS = ("kthread_entry", "process_entry", "trap_return")
STRANGE = (Disagree, GdbError, IndexError, struct.error)    # what comes of reading memory that makes no sense


@dataclass(frozen=True)
class TrapFrame:
    at: int
    x: tuple[int, ...]
    sp: int
    elr: int
    spsr: int
    esr: int
    far: int

    @property
    def level(self) -> int:
        """The exception level that it came from."""
        return self.spsr >> 2 & 3


@dataclass(frozen=True)
class Call:
    """pc: where it is, or where it has called the next inner one.  user: in the program."""
    pc: int
    user: bool = False


@dataclass
class Thread:
    """A thread's registers: those in the core, or those that it goes on with."""
    proc: Proc | None       # None: there are no threads, or it is not known which one this is
    pc: int
    fp: int
    lr: int
    sp: int
    level: int


def current(g: View) -> int:
    """Where the running thread's struct proc is, whatever is there."""
    return g.reg("tpidr_el1")


def running(g: View, proc: Proc | None) -> Thread:
    """What the core is at work on."""
    return Thread(proc, g.reg("pc"), g.reg("x29"), g.reg("x30"), g.reg("sp"), g.level)


def waiting(g: View, p: Proc) -> Thread:
    """One that does not run: it goes on in context_switch's caller, or begins."""
    if beginning(g, p):
        return Thread(p, p.lr, 0, 0, p.sp, 1)
    return Thread(p, p.lr - 4 & M64, p.fp, p.lr, p.sp, 1)


def beginning(g: View, p: Proc) -> str | None:
    """Where it begins, if it has not run yet."""
    return next((name for name in BEGINNINGS if g.has(name) and g.symbol(name) == p.lr), None)


# --- memory --------------------------------------------------------------


def stack_of(g: View, p: Proc | None, sp: int) -> tuple[int, int] | None:
    """From where to where the kernel stack reaches that sp lies on (at its end, if it is empty)."""
    stacks = [(p.kstack, STACK_SIZE)] if p and p.kstack else []
    for name, size in (("boot_stack", STACK_SIZE), ("emergency_stack", EMERGENCY_SIZE)):
        if g.has(name):         # with the MMU off, at its physical address
            stacks += [(g.symbol(name), size), (g.symbol(name) - KERNBASE & M64, size)]
    return next(((bottom, bottom + size) for bottom, size in stacks if bottom <= sp <= bottom + size), None)


def user_read(g: View, root: int, va: int, size: int) -> bytes:
    """What the process has at va."""
    out = b""
    while len(out) < size:
        at = va + len(out)
        level, _, entry = g.walk(root, at)[-1]
        if at >> 48 or not is_leaf(entry, level):
            raise Disagree(f"{at:#x} is not mapped")
        span = PGSIZE << 9 * (3 - level)
        out += g.phys(entry & ADDRESS & -span | at % span, min(size - len(out), PGSIZE - at % PGSIZE))
    return out


# --- trap frames ---------------------------------------------------------


def frame_at(g: View, at: int) -> TrapFrame:
    *x, sp, elr, spsr, esr, far = FRAME.unpack(g.read(at, FRAME.size))
    return TrapFrame(at, tuple(x), sp, elr, spsr, esr, far)


def user_frame(g: View, p: Proc) -> TrapFrame:
    """A process's registers at EL0, while it is in the kernel."""
    return frame_at(g, p.kstack + STACK_SIZE - FRAME.size)


def kernel_frames(g: View, t: Thread) -> list[TrapFrame]:
    """Those of exceptions in the kernel itself, innermost first.  vectors.S puts where the stack was before into each:
    right behind the frame, but for the one of a stack that was no more."""
    stack = stack_of(g, t.proc, t.sp)
    if stack is None:
        return []
    first = t.sp + 15 & -16
    words = struct.unpack(f"<{(stack[1] - first) // 8}Q", g.read(first, stack[1] - first & -8))
    found = [frame_at(g, first + 8 * i) for i in range(0, max(len(words) - 35, 0), 2)
             if words[i + SP] == first + 8 * i + FRAME.size]
    if g.has("emergency_stack_top") and stack[1] & ~KERNBASE == g.symbol("emergency_stack_top") & ~KERNBASE:
        last = frame_at(g, stack[1] - FRAME.size)
        if last.at >= first and last not in found:
            found.append(last)
    return found


# --- calls ---------------------------------------------------------------


def records(g: View, fp: int, stack: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Frame records from fp on: where, the next one, and the address to return to."""
    last = 0
    while fp % 16 == 0 and last < fp and stack[0] <= fp <= stack[1] - RECORD.size:
        up, back = RECORD.unpack(g.read(fp, RECORD.size))
        yield fp, up, back
        last, fp = fp, up


def function(g: View, pc: int) -> str:
    return g.name(pc).split("+")[0]


def in_kernel(g: View, pc: int) -> bool:
    """Is it code of the kernel's, wherever it runs?"""
    return g.has("etext") and g.symbol("image_start") <= pc | KERNBASE < g.symbol("etext")


def calls(g: View, t: Thread) -> list[Call]:
    """Innermost first; the program's, if any, last."""
    if t.level == 0:
        return user_calls(g, t.proc, t.pc, t.fp, t.lr)
    found: list[Call] = []
    frames = kernel_frames(g, t)
    pc, fp, lr, after = t.pc, t.fp, t.lr, 0
    while True:                 # from one exception to the next
        found.append(Call(pc))
        stack = stack_of(g, t.proc, fp) or (0, 0)
        following = list(itertools.islice(records(g, fp, stack), DEPTH))
        # A function that has not made its record yet has its return address in x30 alone.
        # (None returns to where a function begins: that is where a new thread comes from.)
        if in_kernel(g, lr - 4) and function(g, lr - 4) != function(g, pc) and "+" in g.name(lr) \
                and (not following or following[0][2] != lr):
            found.append(Call(lr - 4))
        trapped = None
        for at, up, back in following:
            if back:
                found.append(Call(back - 4))
            if back and function(g, back - 4) in SAVE:
                trapped = next((f for f in frames if f.at > at and f.x[X29] == up), None)
            if trapped:
                break
        if trapped is None or trapped.at <= after:
            break
        pc, fp, lr, after = trapped.elr, trapped.x[X29], trapped.x[X30], trapped.at
    if t.proc and t.proc.root and t.proc.kstack:
        f = user_frame(g, t.proc)
        found += user_calls(g, t.proc, f.elr, f.x[X29], f.x[X30])
    return found


def user_calls(g: View, p: Proc | None, pc: int, fp: int, lr: int) -> list[Call]:
    found = [Call(pc, user=True)]
    root = p.root if p and p.root else g.ttbr0
    try:
        last = 0
        while fp % 16 == 0 and last < fp and len(found) < DEPTH:
            up, back = RECORD.unpack(user_read(g, root, fp, RECORD.size))
            if not back:
                break
            found.append(Call(back - 4, user=True))
            last, fp = fp, up
    except STRANGE:
        pass
    return found
