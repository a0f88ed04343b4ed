"""The stopped kernel as a judge sees it: symbols, memory, page tables, and calls into it.

For writers of labs/labN/judge.py
---------------------------------
A judge is a function in labs/labN/judge.py, or in a file judge_*.py there, named after the check
and the point at which the machine stands still when it is called:

    boot_start_NAME(g, rng)   at the first C function, MMU off
    main_NAME(g, rng)         at main(), upper half, MMU on
    begin_NAME(g, rng)        before the check's first line
    judge_NAME(g, rng)        after the check said "passed"

Each check has at least one.  A check that has no judge_NAME is decided by what it has: its run
ends at the last point that has a function, and the kernel's own CHECK(NAME) is not needed.

g is a Guest, rng a random.Random whose seed the kernel does not know.  A judge returns when all
is well and raises Disagree("what was expected, what was found") when not; with va= and root= the report
shows the walk of that address (wanted=: the entry it should end in).  It must not believe anything
the kernel says; it has the registers, physical memory, and call():

    page = g.call("kalloc")                 # x0; raises Panicked, or Stuck when it does not return
    why = g.panics("kfree", page + 8)       # the panic's message, or None when it just returned
    g.read(va, n)  g.u64(va)  g.text(va)    # through the page tables, walked here
    g.phys(pa, n)  g.p64(pa)                # physical memory; g.write, g.phys_write to change it
    g.free_list()                           # kmem.free_list as a list of addresses, checked
    g.leaves(g.ttbr1)  g.tables(root)       # every leaf (Leaf) of a table; every table's page
    g.walk(root, va)                        # the entries on the way, root's first
    va = g.push(b"...")                     # bytes put on the kernel's stack for an argument
    g.printed()                             # what the console printed since the last printed()

tree.py (page tables), buddy.py (page frames as they are), blocks.py (made-up memory), caches.py (made-up caches),
contended.py (locks), order.py (barriers, TLBs, caches), aspace.py (made-up address spaces) and isolation.py (programs,
while they run) have more.

An exception of Panicked or Stuck that a judge does not catch fails the check with its text.
"""

from __future__ import annotations

import random

from grade.elf import Elf
from grade.gdb import CPSR, PC, SP, GdbError
from grade.machine import INSTRUCTIONS_PER_TICK, MEGA, OUTPUT_CAP, Machine, Stop
from grade.view import ADDRESS, KERNBASE, M64, PGSIZE, Disagree, View

TABLES = 0xFFFF_FFFF                # the linear map: KERNBASE plus this much (inc/memlayout.h)
RO = 1 << 7                         # ARM ARM D5.3.3
CALL_LIMIT = 200                    # million instructions that a call may take
CALLS_LIMIT = 4000                  # and all calls of a judge together
DMA = [0x3F00_7000 + 0x100 * n for n in range(15)]      # BCM2835 4.2.1.2: CS, bit 0 = active

# What EL2 and EL3 may do behind EL1's back: bits that must be clear.
INTERFERES = {
    "hcr_el2": 0x4_0800_11F9,       # ARM ARM D13.2.48: E2H, TGE, DC, VSE, VI, VF, AMO, IMO, FMO, VM
    "vttbr_el2": ~0,                # no stage 2
    "cptr_el2": 1 << 31 | 1 << 20,  # D13.2.31: TCPAC, TTA; TFP is the kernel's affair
    "hstr_el2": ~0,                 # no traps
    "mdcr_el2": 0xFE0,              # D13.3.19: traps of debug and counters
}
AS_AT_RESET = ("scr_el3", "vbar_el3", "mdcr_el3", "cptr_el3", "sctlr_el3")  # nothing here runs at EL3
AS_IN_MAIN = ("ttbr1_el1", "tcr_el1", "mair_el1", "sctlr", "vbar", "mdscr_el1")     # staff's, set once
IN_MAIN = {                         # and these are the values (inc/sysreg.h), whoever wrote them
    "tcr_el1": (0xFFFF_FFFF, 0xB510_3510), "mair_el1": (M64, 0x04FF), "sctlr": (M64, 0x30D0_181D),
}
STOPS = 12                          # one call in so many is looked at closely ...
STEPS = 24                          # ... within its first instructions
MASKS, MODE = 0x3C0, 0xF            # PSTATE: D, A, I and F; exception level and stack pointer
DEPTH = 64                          # calls followed when telling where the kernel is


class Tampered(Disagree):
    """The machine is no longer the one that staff's kernel set up."""


class Panicked(Disagree):
    """The function that a judge called panicked.  message: the panic's text."""

    def __init__(self, function: str, message: str):
        super().__init__(f"{function} panicked: {message}")
        self.message = message


class Stuck(Disagree):
    """The function that a judge called did not return."""


class Handover(Exception):
    """The call has come before which the machine is to be handed to a debugger."""


class Guest(View):
    def __init__(self, machine: Machine, elf: Elf):
        super().__init__(machine, elf)
        self.home: list[int] = []           # registers to call functions from
        self.at: list[int] = []
        self.return_to = 0
        self.made = 0                       # calls so far
        self.halt_at: int | None = None     # the call before which to stop for a debugger
        self.calls_end = 0                  # the guest's clock when all calls have used up their time
        self.dice = random.Random()         # where to look closely; the kernel does not know
        self.reset: dict[str, int] = {}     # registers as they were at reset
        self.steady: dict[str, int] = {}    # and in main, before any C of a student's ran translated
        self.frozen: list[tuple[int, bytes]] = []   # the entries through which the image is reached

    # --- calling the kernel ----------------------------------------------

    def settle(self, return_to: str) -> None:
        """Remember the registers here as the ones to call from; called functions return to the
        symbol return_to, which must have a breakpoint."""
        self.at = self.machine.gdb.read_core()
        self.home = list(self.at)
        self.home[SP] &= ~15
        self.return_to = self.symbol(return_to)
        self.calls_end = self.machine.ticks() + CALLS_LIMIT * MEGA // INSTRUCTIONS_PER_TICK

    def restore(self) -> None:
        """Put the registers back as they were at settle()."""
        self.machine.gdb.write_core(self.at)

    def push(self, data: bytes) -> int:
        """Put bytes on the kernel's stack, where they stay; returns their address (16-aligned)."""
        self.home[SP] = self.home[SP] - len(data) & ~15
        self.write(self.home[SP], data)
        return self.home[SP]

    def call(self, function: str | int, *arguments: int, limit: int = CALL_LIMIT,
             **registers: int) -> int:
        """Call a function of the kernel; returns x0.

        At most 8 arguments (pointers and integers; negative ones allowed).  limit is in
        million instructions.  Further registers by name: g.call("f", 1, x29=frame).
        """
        name, address = self.enter(function, *arguments, **registers)
        close = bool(self.steady) and self.dice.randrange(STOPS) == 0
        if close:
            address = self.step_into(address)
        stop = self.machine.run(limit, pc=address) if address != self.return_to else Stop.BREAKPOINT
        return self.leave(name, stop, limit, close)

    def enter(self, function: str | int, *arguments: int, **registers: int) -> tuple[str, int]:
        """The first half of call(): the machine is about to run the function.  Returns its name and address."""
        name = function if isinstance(function, str) else self.name(function)
        address = self.symbol(function) if isinstance(function, str) else function
        if not self.home:
            raise RuntimeError("call() before settle()")
        core = list(self.home)
        for i, value in enumerate(arguments):
            core[i] = value & M64
        for register, value in registers.items():
            core[int(register.removeprefix("x"))] = value & M64
        core[30], core[PC] = self.return_to, address
        self.machine.gdb.write_core(core)
        self.about_to_run(name)
        return name, address

    def about_to_run(self, name: str) -> None:
        """The machine stands before this function: a place for a debugger, if this is the call that it is asked for."""
        self.made += 1
        if self.made == self.halt_at:
            raise Handover(name)

    def leave(self, name: str, stop: Stop, limit: int, close: bool = False) -> int:
        """The second half: the function has run until this stop.  Returns x0.  close: look round."""
        if self.machine.clock > self.calls_end:
            raise Stuck(f"the calls up to {name} took more than {CALLS_LIMIT} million instructions together")
        panic: str | None = None
        pc = 0
        while stop is Stop.BREAKPOINT:
            core = self.machine.gdb.read_core()
            pc = core[PC]
            if not self.has("panicked") or pc != self.symbol("panicked"):
                break
            if panic is None:       # the kernel unwinds to where it was called from
                panic = self.text(core[0])
            stop = self.machine.run(limit, pc=pc)
        if panic is not None:
            raise Panicked(name, panic)
        if stop is not Stop.BREAKPOINT:
            raise Stuck(f"{name} did not return: {self.describe(stop, limit)}")
        if pc != self.return_to or core[SP] != self.home[SP]:
            raise Stuck(f"{name} did not return but went to {self.name(pc)}")
        if (core[CPSR] ^ self.home[CPSR]) & MASKS:
            raise Disagree(f"after {name}, other interrupts are masked than before: expected PSTATE's D, A, I, F to be "
                           f"{self.home[CPSR] >> 6 & 15:#x} again, found {core[CPSR] >> 6 & 15:#x}")
        wrong = self.changed() if close else None
        if (core[CPSR] ^ self.home[CPSR]) & MODE:
            wrong = "the processor is in another state"
        if wrong:
            raise Tampered(f"after {name}, {wrong}")
        return core[0]

    def step_into(self, address: int) -> int:
        """Run the first few instructions of a call one by one, and look round.  Returns the pc."""
        gdb = self.machine.gdb
        for _ in range(self.dice.randrange(1, STEPS)):
            gdb.step()
            address = gdb.read_core()[PC]
            if address in self.machine.breakpoints or self.machine.finished():
                return address
        if (wrong := self.changed()):
            raise Tampered(f"in {self.name(address)}, {wrong}")
        return address

    def panics(self, function: str | int, *arguments: int, **more: int) -> str | None:
        """The message of the panic that a call ends in, or None when it returns."""
        try:
            self.call(function, *arguments, **more)
        except Panicked as e:
            return e.message
        return None

    def describe(self, stop: Stop, limit: int) -> str:
        """Why a run stopped, in words, with the place."""
        if stop is Stop.GONE:
            return "QEMU ended unexpectedly"
        if stop is Stop.POWER_OFF:
            return "the machine was powered off" + self.place()
        if stop is Stop.RESET:
            return "the machine was reset" + self.place()
        if stop is Stop.TIME:
            return f"still running after {limit} million instructions" + self.place()
        if stop is Stop.ASLEEP:
            return "the processor sleeps (wfi) and nothing will wake it" + self.place()
        if stop is Stop.FAULTING:
            return ("an exception in the exception handler itself, again and again"
                    + self.place())
        if stop is Stop.FLOOD:
            return f"it printed more than {OUTPUT_CAP >> 10} KiB" + self.place()
        if stop is Stop.HOST_TIME:
            return "this host is too slow for it" + self.place()
        return "stopped" + self.place()

    def calls(self) -> list[str]:
        """The functions under way, innermost first, by the frame pointers."""
        names = [self.name(self.machine.pc)]
        frame = self.reg("x29")
        try:
            for _ in range(DEPTH):
                up, back = self.u64(frame), self.u64(frame + 8)
                if self.elf.find(back | KERNBASE) is None:
                    break
                names.append(self.name(back))
                if up <= frame:
                    break
                frame = up
        except (Disagree, GdbError, IndexError):
            pass
        return names

    def place(self) -> str:
        """', in memset called from kfree called from ...' for a message."""
        names = [n.split("+")[0] for n in self.calls()]
        text = ", in " + " called from ".join(names[:4])
        return text + (" and so on" if len(names) > 4 else "")

    # --- is it still the kernel that was built? --------------------------

    def at_reset(self) -> None:
        """Remember what no code has touched yet."""
        if not self.machine.gdb.registers:
            self.machine.gdb.describe()
        self.reset = {name: self.reg(name) for name in AS_AT_RESET if name in self.machine.gdb.registers}

    def interference(self) -> str | None:
        """What code at EL2 or EL3 does, or could do, to EL1 unseen, or None."""
        for name, bits in INTERFERES.items():
            value = self.reg(name)
            if value & bits:
                return f"EL2 translates or traps what EL1 does ({name.upper()} is {value:#x})"
        for name, value in self.reset.items():
            if self.reg(name) != value:
                return f"EL3 was changed ({name.upper()} is {self.reg(name):#x}, was {value:#x} at reset)"
        return None

    def overwritten(self) -> str | None:
        """Where code or constants in memory are not as linked, or None."""
        if not any(a <= self.symbol("main") < a + len(d) for a, d in self.elf.constant):
            return "the kernel's code is not read-only"
        for address, data in self.elf.constant:
            pa = address & (KERNBASE ^ M64)
            now = self.phys(pa, len(data))
            if now != data:
                at = next(i for i, (a, b) in enumerate(zip(now, data)) if a != b)
                return (f"the kernel's code or constants were overwritten at {address + at:#x} "
                        f"({self.name(address + at)})")
        return None

    def in_main(self) -> str | None:
        """In main, as it is entered: is the kernel mapped where it was linked, code and constants
        read-only?  Remembers how, and staff's registers; returns what is wrong, or None."""
        for name, (mask, value) in IN_MAIN.items():
            if self.reg(name) & mask != value:
                return f"{name.upper()} is {self.reg(name):#x} in main, not as the kernel sets it"
        if self.has("vectors") and self.reg("vbar") != self.symbol("vectors"):
            return f"VBAR is {self.reg('vbar'):#x} in main, not the kernel's vectors"
        root = self.ttbr1
        pages = [p for a, d in self.elf.constant for p in range(a & -PGSIZE, a + len(d), PGSIZE)]
        entries: set[int] = set()
        for va in pages:
            steps = self.walk(root, va)
            level, _, entry = steps[-1]
            entries.update(at for _, at, _ in steps)
            if level != 3 or entry & 3 != 3 or entry & ADDRESS != va & (KERNBASE ^ M64) or not entry & RO:
                return f"{self.name(va)} is not mapped where it was linked, read-only"
        self.frozen = [(at, self.phys(at, 8)) for at in sorted(entries)]
        self.steady = {name: self.reg(name) for name in AS_IN_MAIN}
        return self.interference() or self.overwritten()

    def changed(self) -> str | None:
        """What staff's code set up and is no longer so, or None: cheap enough for every stop."""
        for name, value in self.steady.items():
            if self.reg(name) != value:
                return f"{name.upper()} is {self.reg(name):#x}; the kernel's own was {value:#x}"
        for at, data in self.frozen:
            if self.machine.ram[at:at + 8] != data:
                return "the kernel's own code is mapped in another way"
        return self.interference() or self.overwritten()

    def linear_map(self) -> str | None:
        """Is the linear map one, and is the image writable nowhere else?  What is wrong, or None."""
        image = [(a & (KERNBASE ^ M64), len(d)) for a, d in self.elf.constant]
        try:
            leaves = self.leaves(self.ttbr1)
        except Disagree as e:
            return f"in the kernel's own tables, {e}"
        for leaf in leaves:
            if KERNBASE <= leaf.va <= KERNBASE + TABLES and leaf.pa != leaf.va - KERNBASE:
                return f"{leaf.va:#x} of the linear map leads to {leaf.pa:#x}"
            if not leaf.entry & RO and any(leaf.pa < pa + n and pa < leaf.pa + leaf.size for pa, n in image):
                return f"the kernel's code or constants can be written, at {leaf.va:#x}"
        return None

    def tampering(self) -> str | None:
        """What is wrong with the machine that no honest kernel does, or None.

        Code and constants must be as linked, and mapped there; the processor at EL1, its registers
        as staff's code set them; EL2 and EL3 out of the way; nothing else writing to memory.
        """
        if self.level != 1:
            return f"the kernel runs at EL{self.level}, not at EL1"
        wrong = self.changed() or (self.linear_map() if self.steady else None)
        if wrong:
            return wrong
        for channel, cs in enumerate(DMA):
            if int.from_bytes(self.machine.gdb.read(cs, 4, physical=True), "little") & 1:
                return f"DMA channel {channel} is at work"
        pc = self.machine.pc
        if self.translate(pc) != pc & (KERNBASE ^ M64):
            return f"{self.name(pc)} is not mapped where it was linked"
        return None
