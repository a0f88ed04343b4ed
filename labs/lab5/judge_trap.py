"""Lab 5's trap_entry and trap_return from outside: between a program of the judge's own at EL0, with registers that
nobody knows, and the kernel's trap, which is reached and never run."""

from __future__ import annotations

import random
import struct

from grade.el0 import EL0T, FIQ, FLAGS, FP_OPEN, IRQ, MASKS, Own
from grade.gdb import CPSR, PC, SP
from grade.guest import Guest
from grade.view import Disagree

FRAME = struct.Struct("<36Q")       # inc/trap.h: x0 to x30, sp, elr, spsr, esr, far
NAMES = [*(f"x{i}" for i in range(31)), "sp", "elr", "spsr", "esr", "far"]
ABOVE, BELOW = 512, 2048            # bytes around a frame that are filled
FP = [f"v{i}" for i in range(32)]
KINDS = {"svc": 8, "brk": 8, "udf": 8, "load": 8, "store": 8, "IRQ": 9, "FIQ": 10}     # the vector of each
ROUNDS = 3
SAVED = range(19, 30)               # what a function of C preserves: x19 to x29


class Trap:
    """A place for a frame on the kernel's stack, and a state of the rest of the machine that has to stay."""

    def __init__(self, g: Guest, rng: random.Random, own: Own):
        self.g, self.rng, self.own = g, rng, own
        self.top = g.home[SP] - 2 * ABOVE - 16 * rng.randrange(64)
        self.frame = self.top - FRAME.size
        low = self.frame - BELOW
        g.write(low, rng.randbytes(self.top + ABOVE - low))
        self.size = g.symbol("boot_stack_top") - self.top
        self.above = g.read(self.top, self.size)
        self.current = g.reg("tpidr_el1")
        self.tpidr = rng.getrandbits(64)
        own.system("tpidr_el0", self.tpidr)
        self.fp: dict[str, int] = {}
        own.system("cpacr", 0)
        if rng.random() < 0.5:
            own.system("cpacr", FP_OPEN)
            self.fp = {name: rng.getrandbits(128) for name in FP}
            for name, value in self.fp.items():
                g.machine.set_register(name, value)

    def random_core(self, pc: int, masks: int) -> list[int]:
        values = [self.rng.getrandbits(64) for _ in range(32)]
        return [*values, pc, self.rng.getrandbits(32) & FLAGS | masks]

    def random_frame(self, elr: int, masks: int) -> list[int]:
        frame = [self.rng.getrandbits(64) for _ in NAMES]
        frame[32], frame[33] = elr, self.rng.getrandbits(32) & FLAGS | masks | EL0T
        return frame

    def read(self) -> list[int]:
        return list(FRAME.unpack(self.g.read(self.frame, FRAME.size)))

    def expect(self, name: str, found: int, wanted: int, why: str = "") -> None:
        if found != wanted:
            raise Disagree(f"expected {name} to be {wanted:#x}{why}, found {found:#x}")

    def untouched(self, where: str) -> None:
        """What nobody has a reason to change."""
        g = self.g
        now = g.read(self.top, self.size)
        if now != self.above:
            at = next(i for i, (a, b) in enumerate(zip(now, self.above)) if a != b)
            raise Disagree(f"{where}: expected nothing above the frame to change, found the byte changed that is {at} "
                           "bytes above its end")
        self.expect(f"TPIDR_EL0 {where}", g.reg("tpidr_el0"), self.tpidr, ", as the program had set it")
        self.expect(f"TPIDR_EL1 {where}", g.reg("tpidr_el1"), self.current, ", which says who runs")
        if not g.reg("cpacr") & FP_OPEN == (FP_OPEN if self.fp else 0):
            raise Disagree(f"{where}: expected CPACR_EL1 to stay as it is, found {g.reg('cpacr'):#x}")
        for name, value in self.fp.items():
            self.expect(f"{name} {where}", g.reg(name), value, ", as the program had set it")

    # --- at EL0 ----------------------------------------------------------

    def at_el0(self, wanted: list[int], landing: int, what: str) -> None:
        """The processor should be in the program, in the state of that frame."""
        g = self.g
        core = g.machine.gdb.read_core()
        if core[PC] != landing or core[CPSR] & 0xF != EL0T:
            raise Disagree(f"{what}: expected to come to EL0, to the frame's elr {landing:#x}, found EL"
                           f"{core[CPSR] >> 2 & 3} at {g.name(core[PC])}")
        for name, found, value in zip(NAMES, core, wanted[:31]):
            self.expect(f"{name} of the program", found, value, ", as in the frame")
        self.expect("the program's SP", core[SP], wanted[31], ", sp of the frame")
        self.expect("the program's PSTATE (NZCV, DAIF)", core[CPSR] & (FLAGS | MASKS), wanted[33],
                    ", spsr of the frame")
        self.expect("SP_EL1, when the program goes on", g.reg("sp_el1"), self.top, ", the frame's end")
        self.untouched("when the program goes on")

    def stray(self, pc: int, what: str) -> None:
        """An exception where none should be."""
        if pc == self.g.symbol("trap_entry"):
            raise Disagree(f"{what}: expected to come to EL0, to the frame's elr, found an exception of EL0 at "
                           f"{self.g.reg('elr_el1'):#x}, ESR {self.g.reg('esr_el1'):#x}")

    # --- trap_entry ------------------------------------------------------

    def exception(self, kind: str) -> list[int]:
        """The program runs into one.  Returns the frame as it should become; the machine is at trap_entry."""
        g, own = self.g, self.own
        asynchronous = kind in ("IRQ", "FIQ")
        pc = own.place("here" if asynchronous else kind)
        core = self.random_core(pc, 0 if asynchronous else self.rng.getrandbits(32) & MASKS)
        if asynchronous:
            own.interrupt(IRQ if kind == "IRQ" else FIQ)
        own.enter(core, self.top)
        if own.run({"trap_entry"}) != g.symbol("trap_entry"):
            raise Disagree(f"a program's {kind}: expected an exception, found {g.name(g.machine.pc)}")
        if g.reg("sp") != self.frame or g.reg("x1") != KINDS[kind]:
            raise Disagree(f"a program's {kind}: the vectors went to trap_entry with SP {g.reg('sp'):#x} and x1 "
                           f"{g.reg('x1'):#x}")
        return [*core[:SP], core[SP], *(g.reg(name) for name in ("elr_el1", "spsr_el1", "esr_el1", "far_el1"))]

    def at_trap(self, kind: str, wanted: list[int]) -> None:
        g, what = self.g, f"a program's {kind}"
        g.about_to_run("trap_entry")
        pc = self.own.run({"trap", "trap_return", "trap_entry"}, what)
        if pc != g.symbol("trap"):
            raise Disagree(f"{what}: expected trap to be called, found {g.name(pc)}")
        core = g.machine.gdb.read_core()
        found = self.read()
        for name, is_, value in zip(NAMES, found, wanted):
            self.expect(f"{what}: {name} in the frame", is_, value, ", as the program left it")
        self.expect(f"{what}: trap's first argument (x0)", core[0], self.frame, ", the frame")
        self.expect(f"{what}: trap's second argument (x1)", core[1], KINDS[kind], ", the vector's number")
        if core[SP] % 16 or not self.frame - BELOW < core[SP] <= self.frame:
            raise Disagree(f"{what}: expected SP to be at the frame, {self.frame:#x}, when trap is called, found "
                           f"{core[SP]:#x}")
        self.expect(f"{what}: PSTATE's D, A, I, F in trap", core[CPSR] & MASKS, MASKS, ", all masked")
        self.untouched("in trap")

    def back(self, kind: str) -> None:
        """trap returns, after it has changed the frame; whatever C need not preserve is junk."""
        g, rng, what = self.g, self.rng, f"a program's {kind}, when trap returns"
        landing = self.own.place("here")
        wanted = self.random_frame(landing, rng.getrandbits(32) & MASKS)
        g.write(self.frame, FRAME.pack(*wanted))
        core = g.machine.gdb.read_core()
        core[PC] = core[30]
        core[:19] = [rng.getrandbits(64) for _ in range(19)]
        core[CPSR] = core[CPSR] & ~FLAGS | rng.getrandbits(32) & FLAGS
        g.machine.gdb.write_core(core)
        pc = self.own.run({"trap_return", "trap", "trap_entry", landing}, what)
        if pc == landing:       # it has a trap_return of its own
            self.at_el0(wanted, landing, what)
            self.own.leave()
            return
        self.stray(pc, what)
        if pc != g.symbol("trap_return"):
            raise Disagree(f"{what}: expected it to go on with trap_return, found {g.name(pc)}")
        self.expect(f"{what}: SP in trap_return", g.reg("sp"), self.frame, ", the frame")
        for name, is_, value in zip(NAMES, self.read(), wanted):
            self.expect(f"{what}: {name} in the frame", is_, value, ", as trap has left it")
        self.untouched("in trap_return")

    # --- trap_return -----------------------------------------------------

    def trap_return(self) -> None:
        g, rng = self.g, self.rng
        landing = self.own.place("here")
        wanted = self.random_frame(landing, rng.getrandbits(32) & MASKS)
        g.write(self.frame, FRAME.pack(*wanted))
        core = self.random_core(g.symbol("trap_return"), g.home[CPSR] & ~FLAGS)
        core[SP] = self.frame
        g.machine.gdb.write_core(core)
        g.about_to_run("trap_return")
        pc = self.own.run({landing, "trap_entry"}, "trap_return")
        self.stray(pc, "trap_return")
        self.at_el0(wanted, landing, "trap_return")
        self.own.leave()


def judge_trap_entry(g: Guest, rng: random.Random) -> None:
    own = Own(g, rng)
    kinds = [*KINDS] * ROUNDS
    rng.shuffle(kinds)
    for kind in kinds:
        trap = Trap(g, rng, own)
        wanted = trap.exception(kind)
        trap.at_trap(kind, wanted)
        own.quiet()
        trap.back(kind)
    own.done()
    g.restore()


def judge_trap_return(g: Guest, rng: random.Random) -> None:
    own = Own(g, rng)
    for _ in range(8 * ROUNDS):
        Trap(g, rng, own).trap_return()
    own.done()
    g.restore()
