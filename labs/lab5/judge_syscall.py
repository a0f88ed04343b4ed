"""Lab 5's syscall and user_trap from outside: which functions they call, how often, and with what.  None of those is
run: what they return is made up."""

from __future__ import annotations

import random
import struct

from grade.el0 import IRQ, Called, Own
from grade.guest import Guest
from grade.view import M64, Disagree

FRAME = struct.Struct("<36Q")       # inc/trap.h: x0 to x30, sp, elr, spsr, esr, far
NAMES = [*(f"x{i}" for i in range(31)), "sp", "elr", "spsr", "esr", "far"]
ESR = NAMES.index("esr")
GUARD = 64                          # bytes around the frame
NUMBERS, ENOSYS, GETPID = 512, -38 & M64, 172
USER_SYNC, USER_IRQ = 8, 9          # vectors
FP, SVC, DABORT = 0x07, 0x15, 0x24  # exception classes
SOME = 60                           # numbers of each kind that is none of the table's


class Frames:
    """A frame in memory, and the functions that may be called for it."""

    def __init__(self, g: Guest, rng: random.Random, own: Own):
        self.g, self.rng, self.own = g, rng, own
        table = struct.unpack(f"<{NUMBERS}Q", g.read(g.symbol("syscall_table"), 8 * NUMBERS))
        self.table = {n: at for n, at in enumerate(table) if at}
        self.others = [g.symbol(name) for name in ("irq_handle", "fpu_use", "user_fault")]
        for at in (*self.table.values(), *self.others):
            g.machine.break_at(at)      # once, and not at each call
        self.around = rng.randbytes(2 * GUARD + FRAME.size)
        self.at = g.push(self.around) + GUARD

    def make(self, number: int, esr: int = 0) -> list[int]:
        frame = [self.rng.getrandbits(64) for _ in NAMES]
        frame[8], frame[ESR] = number & M64, esr
        return frame

    def put(self, frame: list[int]) -> None:
        self.g.write(self.at - GUARD, self.around)
        self.g.write(self.at, FRAME.pack(*frame))

    def get(self) -> list[int]:
        return list(FRAME.unpack(self.g.read(self.at, FRAME.size)))

    def expect(self, what: str, wanted: list[int]) -> None:
        for name, found, value in zip(NAMES, self.get(), wanted):
            if found != value:
                raise Disagree(f"{what}: expected {name} of the frame to be {value:#x}, found {found:#x}")
        data = self.g.read(self.at - GUARD, len(self.around))
        if data[:GUARD] != self.around[:GUARD] or data[-GUARD:] != self.around[-GUARD:]:
            raise Disagree(f"{what}: expected nothing around the frame to change, found that something has")

    def names(self, calls: list[Called]) -> str:
        return ", ".join(self.g.name(call.at) for call in calls) or "none"

    # --- syscall ---------------------------------------------------------

    def syscall(self, number: int) -> None:
        frame = self.make(number)
        self.put(frame)
        _, calls = self.own.calls("syscall", self.at, stops=self.table.values())
        what = f"syscall, x8 = {number}" if 0 <= number < NUMBERS else f"syscall, x8 = {number & M64:#x}"
        function = self.table.get(number)
        if [call.at for call in calls] != ([function] if function else []):
            expected = f"{self.g.name(function)} to be called once" if function else "no function to be called"
            raise Disagree(f"{what}: expected {expected}, found {self.names(calls)}"
                           + ("" if calls else ": write syscall in kern/syscall.c"))
        for call in calls:
            if call.memory != struct.pack("<6Q", *frame[:6]):
                found = ", ".join(f"{x:#x}" for x in struct.unpack("<6Q", call.memory)) if call.memory else "no memory"
                raise Disagree(f"{what}: expected a pointer to x0 to x5 of the frame, "
                               + ", ".join(f"{x:#x}" for x in frame[:6]) + f", found {found}")
        frame[0] = calls[0].result if calls else ENOSYS
        self.expect(what, frame)

    def disguised(self, number: int) -> int:
        """A number that is none, though some of its bits are."""
        rng = self.rng
        return rng.choice((number + NUMBERS * rng.randrange(1, 9), number + (rng.randrange(1, 9) << 32),
                           number | 1 << rng.randrange(9, 64), -number, ~number,
                           number + NUMBERS * rng.getrandbits(54) | 1 << 63, number + (rng.getrandbits(32) << 32 | 1 << 32)))

    # --- user_trap -------------------------------------------------------

    def by_syscall(self, frame: list[int]) -> tuple[list[Called], list[int]]:
        """What the student's syscall makes of a frame: the calls, and the frame after it."""
        self.put(frame)
        _, calls = self.own.calls("syscall", self.at, stops=self.table.values())
        return calls, self.get()

    def need_syscall(self) -> None:
        calls, _ = self.by_syscall(self.make(GETPID))
        if [call.at for call in calls] != [self.table[GETPID]]:
            raise Disagree(f"syscall, x8 = {GETPID}: expected {self.g.name(self.table[GETPID])} to be called, found "
                           f"{self.names(calls)}: write syscall in kern/syscall.c first")

    def user_trap(self, vector: int, class_: int, pending: str, number: int = GETPID) -> None:
        g, rng, others = self.g, self.rng, self.others
        frame = self.make(number, class_ << 26 | rng.getrandbits(26))
        svc = vector == USER_SYNC and class_ == SVC
        before, after = self.by_syscall(frame) if svc else ([], frame)
        self.own.system("esr_el1", frame[ESR])
        self.put(frame)
        if pending == "mailbox":
            self.own.interrupt(IRQ)
        x0, calls = self.own.calls("user_trap", self.at, vector, stops=[*self.table.values(), *others],
                                   ticking=pending == "timer")
        self.own.quiet()
        what = (f"user_trap(frame, {vector}), esr {frame[ESR]:#x} (class {class_:#x}), x8 = {number}, "
                f"{'no' if pending == 'none' else 'an'} interrupt pending")
        wanted = [call.at for call in before] if svc else [
            others[0 if vector == USER_IRQ else 1 if class_ == FP else 2]]
        if [call.at for call in calls] != wanted:
            expected = ", ".join(g.name(at) for at in wanted) or "no function"
            raise Disagree(f"{what}: expected {expected} to be called{', by syscall' if svc else ''}, found "
                           + self.names(calls) + ("" if calls else ": write user_trap in kern/syscall.c"))
        if svc and calls:
            if calls[0].memory != before[0].memory:
                raise Disagree(f"{what}: expected syscall(frame), found that {g.name(wanted[0])} gets other arguments")
            if after[0] == before[0].result:
                after[0] = calls[0].result
        if wanted == others[2:] and calls[0].argument != self.at:
            raise Disagree(f"{what}: expected user_fault(frame), {self.at:#x}, found {calls[0].argument:#x}")
        self.expect(what, after)
        if x0 & 0xFF != 1:
            raise Disagree(f"{what}: expected true, found {x0 & 0xFF}")


def judge_syscall(g: Guest, rng: random.Random) -> None:
    own = Own(g, rng)
    frames = Frames(g, rng, own)
    numbers = [*frames.table, *frames.table, *rng.sample([n for n in range(NUMBERS) if n not in frames.table], SOME),
               NUMBERS, M64, 1 << 63, *(n + (1 << 32) for n in frames.table)]
    numbers += [frames.disguised(rng.choice([*frames.table])) for _ in range(3 * SOME)]
    rng.shuffle(numbers)
    for number in [GETPID, *numbers]:
        frames.syscall(number)
    own.done()
    g.restore()


def judge_user_trap(g: Guest, rng: random.Random) -> None:
    own = Own(g, rng)
    frames = Frames(g, rng, own)
    trips = [(USER_IRQ, class_, pending) for class_ in (SVC, FP, DABORT, rng.randrange(64))
             for pending in ("none", "mailbox", "timer")]
    trips += [(USER_SYNC, SVC, pending) for pending in ("none", "mailbox", "timer") for _ in range(6)]
    trips += [(USER_SYNC, class_, rng.choice(("none", "mailbox", "timer")))
              for class_ in (*range(64), FP, FP, DABORT, DABORT)]
    rng.shuffle(trips)
    frames.user_trap(USER_IRQ, 0, "none")
    frames.need_syscall()
    for vector, class_, pending in trips:
        frames.user_trap(vector, class_, pending, rng.choice((GETPID, *frames.table, rng.getrandbits(64))))
    own.done()
    g.restore()
