"""A few instructions of a judge's own, at EL0 and at EL1 of the stopped kernel; for judges of any lab.

They are in a page table of their own, below: a page that EL0 may execute, and one that EL1 may.  Where they are nobody
knows, and the memory is none that the kernel has (the check runs with mem=).  So registers can be set which gdb can
only read, and what a program meets is met by a program:

    own = Own(g, rng)
    own.system("tpidr_el0", 0x1234)             at EL1: msr
    own.enter(core, kernel_stack)               to EL0 with these registers (core[PC]: own.place("svc"))
    stop = own.run({"trap", ...})               until one of these symbols, or of the addresses, is reached
    own.leave()                                 at EL1 again, in vectors.S
    own.calls("syscall", frame, stops=...)      a call, and which of these functions it calls with what
    own.done()                                  the lower half is empty again
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from grade.gdb import CPSR, PC, SP
from grade.guest import Guest
from grade.machine import Stop
from grade.tree import AF, NG, PAGE, PXN, RO, SHARED, TABLE, USER, UXN
from grade.view import KERNBASE, M64, PERIPHERALS, PGSIZE, Disagree

BEYOND = 64 << 20           # RAM from here on the kernel has not got
LIMIT = 2                   # million instructions that anything here may take
FLAGS, MASKS = 0xF000_0000, 0x3C0       # PSTATE: NZCV; D, A, I and F
EL0T = 0                    # PSTATE.M
MSR, ERET, HERE = 0xD510_0000, 0xD69F_03E0, 0x1400_0000    # HERE: b .
BR_X10 = 0xD61F_0140
ASPACE = struct.Struct("<6Q")           # inc/aspace.h: root, asid, ...
# op0, op1, CRn, CRm, op2 (ARM ARM D13.2 and D13.8)
REGISTERS = {
    "sp_el0": (3, 0, 4, 1, 0), "tpidr_el0": (3, 3, 13, 0, 2), "elr_el1": (3, 0, 4, 0, 1), "spsr_el1": (3, 0, 4, 0, 0),
    "esr_el1": (3, 0, 5, 2, 0), "far_el1": (3, 0, 6, 0, 0), "cpacr": (3, 0, 1, 0, 2),
    "cntv_ctl_el0": (3, 3, 14, 3, 1), "cntv_cval_el0": (3, 3, 14, 3, 2),
}
MANY = 4                    # functions that a call may call
ARGUMENTS = 48              # bytes that are looked at where a function's first argument points
CORE0_TIMERS, CNTV = 0x4000_0040, 1 << 3    # QA7 4.6: which of its timers interrupt core 0
LOCAL_TIMER, EVERY_20_US = 0x4000_0034, 1 << 28 | 768       # QA7 4.11: goes round at 38.4 MHz, and interrupts nobody
# QA7 4.7, 4.8: core 0's mailbox 0 interrupts it (as an IRQ, as a FIQ) while there is something in it.
MAILBOX_CONTROL, MAILBOX_SET, MAILBOX_CLEAR = 0x4000_0050, 0x4000_0080, 0x4000_00C0
IRQ, FIQ = 1 << 0, 1 << 4
FP_OPEN = 3 << 20                       # CPACR_EL1.FPEN


def instruction(kind: str, rng: random.Random) -> int:
    immediate, a, b = rng.randrange(1 << 16), rng.randrange(31), rng.randrange(31)
    return {"svc": 0xD400_0001 | immediate << 5, "brk": 0xD420_0000 | immediate << 5, "udf": immediate,
            "load": 0xF940_0000 | a << 5 | b, "store": 0xF900_0000 | a << 5 | b, "here": HERE}[kind]


def msr(name: str, register: int = 0) -> int:
    """The instruction that writes a system register: ARM ARM C6.2.194."""
    op0, op1, n, m, op2 = REGISTERS[name]
    return MSR | op0 - 2 << 19 | op1 << 16 | n << 12 | m << 8 | op2 << 5 | register


@dataclass(frozen=True)
class Called:
    """A function of the kernel was about to run."""
    at: int
    argument: int       # its first
    memory: bytes       # where that points, if it does
    result: int         # what it was made to return


class Own:
    KINDS = ("svc", "brk", "udf", "load", "store", "here")

    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        pages = rng.sample(range(BEYOND // PGSIZE, PERIPHERALS // PGSIZE), 6)
        tables, (code, user) = [page * PGSIZE for page in pages[:4]], [page * PGSIZE for page in pages[4:]]
        self.va = rng.randrange(1, 1 << 35) * PGSIZE                        # of EL1's page; EL0's is beside it
        self.user = self.va ^ PGSIZE
        for page in (*tables, code, user):
            g.phys_write(page, bytes(PGSIZE))
        for level, table in enumerate(tables[:3]):
            entry = tables[level + 1] | TABLE
            g.phys_write(table + 8 * (self.va >> 39 - 9 * level & 511), entry.to_bytes(8, "little"))
        flags = PAGE | RO | SHARED | AF | NG
        for va, entry in ((self.va, code | flags | UXN), (self.user, user | flags | USER | PXN)):
            g.phys_write(tables[3] + 8 * (va >> 12 & 511), entry.to_bytes(8, "little"))
        self.system_at = {name: self.va + 8 * i for i, name in enumerate(REGISTERS)}
        self.eret = self.va + 8 * len(REGISTERS)
        self.tick = self.eret + 4
        words = [*(word for name in REGISTERS for word in (msr(name), HERE)), ERET,
                 msr("cntv_cval_el0", 31), msr("cntv_ctl_el0", 9), BR_X10]
        g.phys_write(code, struct.pack(f"<{len(words)}I", *words))
        self.kinds = [rng.choice(self.KINDS) for _ in range(PGSIZE // 4)]
        g.phys_write(user, struct.pack("<1024I", *(instruction(kind, rng) for kind in self.kinds)))
        self.user_pa = user
        g.call("aspace_use", g.push(ASPACE.pack(KERNBASE + tables[0], *[0] * 5)))

    def done(self) -> None:
        """Everything is as it was before."""
        self.quiet()
        self.system("cpacr", 0)
        self.g.call("aspace_use", 0)

    # --- at EL1 ----------------------------------------------------------

    def system(self, name: str, value: int) -> None:
        """Write a system register.  The core's are as they were, then."""
        gdb = self.g.machine.gdb
        before = gdb.read_core()
        core = list(before)
        core[0], core[PC] = value & M64, self.system_at[name]
        gdb.write_core(core)
        gdb.step()
        if self.g.reg("pc") != core[PC] + 4:
            raise Disagree("the kernel's own address space is not in use while a judge has one")
        gdb.write_core(before)

    def device(self, address: int, value: int) -> None:
        """Write a device's register."""
        self.g.machine.gdb.write(address, value.to_bytes(4, "little"), physical=True)

    def interrupt(self, kind: int) -> None:
        """An IRQ or FIQ is pending from here on."""
        self.device(MAILBOX_CONTROL, kind)
        self.device(MAILBOX_SET, 1)

    def quiet(self) -> None:
        self.device(MAILBOX_CONTROL, 0)
        self.device(MAILBOX_CLEAR, 0xFFFF_FFFF)

    # --- at EL0 ----------------------------------------------------------

    def place(self, kind: str) -> int:
        """The address of an instruction of this kind, for EL0."""
        return self.user + 4 * self.rng.choice([i for i, k in enumerate(self.kinds) if k == kind])

    def word(self, va: int) -> int:
        """The instruction there."""
        return int.from_bytes(self.g.phys(self.user_pa + va - self.user, 4), "little")

    def enter(self, core: list[int], kernel_stack: int) -> None:
        """From EL1 to EL0: core's registers are the program's (SP is SP_EL0), with core[CPSR] for PSTATE; the
        kernel's stack ends here."""
        gdb = self.g.machine.gdb
        self.system("elr_el1", core[PC])
        self.system("spsr_el1", core[CPSR] & (FLAGS | MASKS))
        start = gdb.read_core()
        start[SP], start[PC] = kernel_stack, self.eret
        gdb.write_core(start)
        gdb.step()
        if self.g.level != 0:
            raise Disagree("the processor does not leave EL1")
        gdb.write_core([*core[:CPSR], core[CPSR] & (FLAGS | MASKS)])

    def leave(self) -> None:
        """From EL0 to EL1, to where vectors.S leaves off."""
        gdb = self.g.machine.gdb
        core = gdb.read_core()
        core[PC] = self.place("svc")
        gdb.write_core(core)
        if self.run({"trap_entry"}) != self.g.symbol("trap_entry"):
            raise Disagree("expected svc to lead to trap_entry")

    # --- running ---------------------------------------------------------

    def run(self, places: Iterable[str | int], what: str = "") -> int:
        """Go on until one of these places is reached, or something else that the grader looks for.  Returns the
        address; Disagree when it takes too long, or panics."""
        machine = self.g.machine
        wanted = {self.g.symbol(place) if isinstance(place, str) else place for place in places}
        mine = wanted - machine.breakpoints
        for va in mine:
            machine.break_at(va)
        stop = machine.run(LIMIT)
        for va in mine:
            machine.unbreak(va)
        if stop is not Stop.BREAKPOINT:
            raise Disagree(f"{what}{': ' if what else ''}{self.g.describe(stop, LIMIT)}")
        pc = machine.pc
        if pc not in wanted and self.g.has("panicked") and pc == self.g.symbol("panicked"):
            raise Disagree(f"{what}{': ' if what else ''}{self.g.text(self.g.reg('x0'))}")
        return pc

    def calls(self, function: str, *arguments: int, stops: Iterable[int], ticking: bool = False
              ) -> tuple[int, list[Called]]:
        """Call a function of the kernel, and let none of the functions `stops` run: each returns at once, with
        something random.  Returns x0, and the calls of those.

        ticking: the timer's interrupt is pending all the while, as soon as the function begins.
        """
        g, machine, stops = self.g, self.g.machine, set(stops)
        limit = 10 * LIMIT if ticking else LIMIT
        found: list[Called] = []
        mine = stops - machine.breakpoints
        for va in mine:
            machine.break_at(va)
        name, pc = g.enter(function, *arguments)
        if ticking:
            self.ticking(pc)
            pc = self.tick
        stop = machine.run(limit, pc=pc)
        while stop is Stop.BREAKPOINT and machine.pc in stops and len(found) < MANY:
            core = machine.gdb.read_core()
            after = [self.rng.getrandbits(64) for _ in range(19)] + core[19:]
            try:
                memory = g.read(core[0], ARGUMENTS)
            except (Disagree, IndexError):
                memory = b""
            found.append(Called(core[PC], core[0], memory, after[0]))
            after[PC] = pc = core[30]
            machine.gdb.write_core(after)
            stop = machine.run(limit, pc=pc)
        for va in mine:
            machine.unbreak(va)
        try:
            return g.leave(name, stop, limit), found
        finally:
            if ticking:
                self.system("cntv_ctl_el0", 0)
                self.device(LOCAL_TIMER, 0)

    def ticking(self, function: int) -> None:
        """About to be called, with its arguments in place: by way of setting the timer off.

        Whenever the machine stops with a timer that waits for something, QEMU's clock may go on to that; and a timer
        that has gone off waits for the end of all times.  So another one, of which nobody takes notice, waits for
        something nearer, again and again.
        """
        gdb = self.g.machine.gdb
        self.device(LOCAL_TIMER, EVERY_20_US)
        self.device(CORE0_TIMERS, CNTV)
        core = gdb.read_core()
        core[9], core[10], core[PC] = 1, function, self.tick
        gdb.write_core(core)
