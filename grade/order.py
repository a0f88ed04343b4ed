"""A call that is followed instruction by instruction: in which order does it change page tables, TLBs and caches?

For judges of any lab.  Entries of a page table that are looked at are Live; each goes through the stages from
MAPPED to GONE as the call clears it, makes the walkers see that (dsb), has the TLBs of all cores drop it (tlbi)
and waits for that (dsb).  A page whose instructions are to be seen is Code, with stages for each of its cache lines.
A judge derives from Order: changed() is told of each change of an entry, look() may look at anything after each
instruction; both return what is wrong, or None.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from grade.buddy import LINK, Pmm, Zone, has_pmm
from grade.guest import Guest
from grade.machine import Stop
from grade.tree import ADDRESS
from grade.view import KERNBASE, PGSIZE, P2V, Disagree

FAR = 30_000                        # instructions for which a call is followed
LIMIT = 60                          # million instructions for a call

# ARM ARM C5.5 and C6.2: `dsb` with its option in bits 11:8, `tlbi` at EL1 with CRm in 11:8, op2 in 7:5, Xt in 4:0.
DSB, DSB_MASK = 0xD503_309F, 0xFFFF_F0FF
TLBI, TLBI_MASK = 0xD508_8000, 0xFFFF_F000
SHARED_STORES = (2, 3, 10, 11, 14, 15)      # OSHST, OSH, ISHST, ISH, ST, SY
SHARED_ALL = (3, 11, 15)                    # OSH, ISH, SY
LOCAL, BROADCAST = (7,), (1, 3)             # CRm: this core; outer, inner shareable
ALL, ASID = 0, 2                            # op2: VMALLE1, ASIDE1; others:
PAGE_ASID, PAGE_ANY, WITH_TABLES = (1, 5), (3, 7), (1, 3)       # VAE1, VALE1; VAAE1, VAALE1; those without L
PAGE_BITS = 0xF_FFFF_FFFF                   # Xt 35:0: the page's number; 63:48: the ASID

# C5.3: cache maintenance by address, Xt in bits 4:0; and `ic` of all.
XT_MASK = 0xFFFF_FFE0
DC_CLEAN = (0xD50B_7B20, 0xD50B_7A20, 0xD50B_7E20)              # dc cvau, cvac, civac
IC_LINE, IC_ALL_CORES, IC_THIS_CORE = 0xD50B_7520, 0xD508_711F, 0xD508_751F
LINE = 64                                   # bytes: CTR_EL0 of the A53

MAPPED, CLEARED, VISIBLE, INVALIDATED, GONE = range(5)
WHY = {
    MAPPED: "is still mapped",
    CLEARED: "was unmapped, but no dsb makes the walkers of other cores see that before a tlbi",
    VISIBLE: "was unmapped, but its translation has not been dropped from the TLBs (tlbi)",
    INVALIDATED: "was unmapped, but no dsb has waited until other cores have done with its translation",
}
OTHER_ASID = "was unmapped, but the tlbi was for another ASID or page"
TOO_EARLY = "was unmapped, but the tlbi came before a dsb had made the walkers of other cores see that"
THIS_CORE = "was unmapped, but its translation has been dropped from the TLB of this core only"

DIRTY, CLEANED, CLEAN, DROPPED, SYNCED = range(5)
NOT_SYNCED = {
    DIRTY: "the data cache has not been cleaned (dc cvau)",
    CLEANED: "after dc cvau, no dsb ish has waited for it before ic ivau",
    CLEAN: "the instruction caches of all cores have not been invalidated (ic ivau)",
    DROPPED: "after ic ivau, no dsb ish has waited for it",
}


def is_dsb(word: int) -> bool:
    """A dsb that has other cores see at least the stores before it?"""
    return word & DSB_MASK == DSB & DSB_MASK and word >> 8 & 15 in SHARED_STORES


@dataclass
class Live:
    """An entry, or what hangs below one, and how far it has got out of the TLBs."""
    va: int
    slot: int                   # physical address of the entry
    now: int                    # the entry
    stage: int
    page: int                   # what it has led to last
    asid: int | None = None     # None: global
    span: int = PGSIZE          # more: a table for so many bytes
    missed: str = ""            # a tlbi that was not enough

    def why(self) -> str:
        return self.missed if self.stage == VISIBLE and self.missed else WHY[self.stage]

    def hit(self, op2: int, xt: int) -> bool:
        """Does a TLBI with this operand concern it?"""
        if op2 == ALL:
            return True
        mine = self.asid is None or xt >> 48 == self.asid
        if op2 == ASID:
            return self.asid is not None and mine
        if op2 not in (*PAGE_ASID, *PAGE_ANY) or not (mine or op2 in PAGE_ANY):
            return False
        same = (xt & PAGE_BITS) // (self.span // PGSIZE) == (self.va >> 12 & PAGE_BITS) // (self.span // PGSIZE)
        return same and (self.span == PGSIZE or op2 in WITH_TABLES)


@dataclass
class Code:
    """A page of which instruction fetches are to see what is in it."""
    pa: int
    lines: list[int] = field(default_factory=lambda: [DIRTY] * (PGSIZE // LINE))
    this_core: bool = False     # only its own instruction cache was told

    def missing(self) -> str | None:
        stage = min(self.lines)
        if stage == SYNCED:
            return None
        if stage == CLEAN and self.this_core:
            return "the instruction caches of other cores have not been invalidated (ic iallu is for this core only)"
        done = sum(line > stage for line in self.lines)
        return NOT_SYNCED[stage] + (f" for {len(self.lines) - done} of its {len(self.lines)} lines" if done else "")

    def advance(self, stages: Iterable[int]) -> None:
        ahead = set(stages)
        self.lines = [line + 1 if line in ahead else line for line in self.lines]

    def line(self, va: int, before: int) -> None:
        """An instruction for the line at this address: those at this stage get on."""
        at = va - P2V(self.pa)
        if 0 <= at < PGSIZE and self.lines[at // LINE] == before:
            self.lines[at // LINE] += 1


def barriers(g: Guest) -> set[int]:
    """Where the kernel has a dsb or a tlbi."""
    found: set[int] = set()
    first, last = g.symbol("image_start"), g.symbol("etext")
    for address, data in g.elf.constant:
        for at, word in enumerate(struct.unpack(f"<{len(data) // 4}I", data[:len(data) & -4])):
            va = address + 4 * at
            if first <= va < last and (word & DSB_MASK == DSB & DSB_MASK or word & TLBI_MASK == TLBI):
                found.add(va)
    return found


class Owners:
    """Who has a page frame, read straight from memory: to notice that somebody else can have it now."""

    def __init__(self, g: Guest):
        self.ram = g.machine.ram
        self.list = g.symbol("kmem") - KERNBASE
        self.table = self.start = 0         # where frame 0 has its state; the number of the pmm's first frame
        self.zones: list[Zone] = []
        if has_pmm(g):
            pmm = Pmm(g)
            self.table, self.start, self.zones = pmm.table - KERNBASE - pmm.start, pmm.start, pmm.zones

    def of(self, pa: int) -> tuple[int, int, bool]:
        """Its state and users with the pmm; is it the first on kalloc's list?"""
        frame, users = pa // PGSIZE, 0
        state = self.ram[self.table + frame] if self.table else 0
        if state & 0xF0 == 0x40:            # FRAME_SHARED
            zone = next(z for z in self.zones if z.first <= frame - self.start < z.end)
            at = zone.link - KERNBASE + (frame - self.start - zone.at) * LINK.size
            users = LINK.unpack(self.ram[at:at + LINK.size])[0]
        head = int.from_bytes(self.ram[self.list:self.list + 8], "little")
        return state, users, head == P2V(pa)


class Order:
    # Functions that are not followed, but run at once: what is looked at is not in them.
    over: tuple[str, ...] = ()

    def __init__(self, g: Guest, what: str, live: list[Live], code: list[Code] | None = None):
        """what: the call, for messages."""
        self.g, self.what, self.live, self.code = g, what, live, code or []
        self.wrong: str | None = None
        self.cut = False                # it went on for so long that its end was not followed

    # --- for judges to fill in -------------------------------------------

    def changed(self, entry: Live, before: int) -> str | None:
        """The entry was `before`, and is entry.now."""
        return None

    def look(self) -> str | None:
        return None

    def enough(self) -> bool:
        """Whatever comes now, it cannot be wrong."""
        return False

    # --- following -------------------------------------------------------

    def u64(self, at: int) -> int:
        ram = self.g.machine.ram
        return int.from_bytes(ram[at:at + 8], "little")

    def follow(self, function: str, *arguments: int) -> int:
        """Call it.  Raises what is wrong first."""
        machine, ram = self.g.machine, self.g.machine.ram
        name, pc = self.g.enter(function, *arguments)
        over = {self.g.symbol(f) for f in self.over if self.g.has(f)}
        stop: Stop | None = None
        for step in range(FAR):
            at = pc - KERNBASE
            word = int.from_bytes(ram[at:at + 4], "little") if 0 <= at < len(ram) else 0
            self.instruction(word)
            machine.gdb.step()
            pc = machine.pc
            if pc in over:
                stop, pc = self.run_over(pc)
            self.stores()
            self.wrong = self.wrong or self.look()
            if pc in machine.breakpoints or self.wrong or step % 64 == 63 and machine.finished():
                stop = stop or Stop.BREAKPOINT
                break
            if stop or self.enough():
                break
        else:
            self.cut = True
        if self.wrong:
            raise Disagree(f"in {self.what}: {self.wrong}")
        if stop is None or machine.finished():
            stop = machine.run(LIMIT)
        return self.g.leave(name, stop, LIMIT)

    def follow_barriers(self, function: str, *arguments: int) -> int:
        """The same, but stop only where other cores get to see something, at each dsb and tlbi of the kernel's: enough where
        it matters between which of these an entry changes, and not when."""
        machine, ram = self.g.machine, self.g.machine.ram
        places = barriers(self.g) - machine.breakpoints
        name, pc = self.g.enter(function, *arguments)
        for va in places:
            machine.break_at(va)
        try:
            stop = machine.run(LIMIT, pc=pc)
            while stop is Stop.BREAKPOINT and (pc := machine.pc) in places:
                self.stores()
                self.instruction(int.from_bytes(ram[pc - KERNBASE:pc - KERNBASE + 4], "little"))
                stop = machine.run(LIMIT, pc=pc)
        finally:
            for va in places:
                machine.unbreak(va)
        self.stores()
        if self.wrong:
            raise Disagree(f"in {self.what}: {self.wrong}")
        return self.g.leave(name, stop, LIMIT)

    def run_over(self, pc: int) -> tuple[Stop | None, int]:
        """A function has just been called: go on where it returns.  Why the call ended, if it did; the pc."""
        machine, back = self.g.machine, self.g.reg("x30")
        mine = back not in machine.breakpoints
        machine.break_at(back)
        stop = machine.run(LIMIT, pc=pc)
        if mine:
            machine.unbreak(back)
        return None if stop is Stop.BREAKPOINT else stop, machine.pc

    def stores(self) -> None:
        for entry in self.live:
            now, before = self.u64(entry.slot), entry.now
            if now == before:
                continue
            entry.now = now
            if now & 1:
                self.wrong = self.wrong or self.changed(entry, before)
                entry.stage, entry.page = MAPPED, now & ADDRESS
            else:
                if before & 1:
                    entry.stage = CLEARED
                self.wrong = self.wrong or self.changed(entry, before)

    def instruction(self, word: int) -> None:
        """The next instruction: what it does to TLBs and caches."""
        option = word >> 8 & 15
        if word & DSB_MASK == DSB & DSB_MASK:
            for entry in self.live:
                if entry.stage == CLEARED and option in SHARED_STORES:
                    entry.stage = VISIBLE
                elif entry.stage == INVALIDATED and option in SHARED_ALL:
                    entry.stage = GONE
            for page in self.code:
                page.advance([CLEANED] * (option in SHARED_STORES) + [DROPPED] * (option in SHARED_ALL))
        elif word & TLBI_MASK == TLBI:
            self.tlbi(option, word >> 5 & 7, self.operand(word))
        elif word in (IC_ALL_CORES, IC_THIS_CORE):
            for page in self.code:
                if word == IC_ALL_CORES:
                    page.advance([CLEAN])
                else:
                    page.this_core = True
        elif word & XT_MASK in DC_CLEAN:
            for page in self.code:
                page.line(self.operand(word), DIRTY)
        elif word & XT_MASK == IC_LINE:
            for page in self.code:
                page.line(self.operand(word), CLEAN)

    def operand(self, word: int) -> int:
        return self.g.reg(f"x{word & 31}") if word & 31 != 31 else 0

    def tlbi(self, where: int, op2: int, xt: int) -> None:
        for entry in self.live:
            if where in BROADCAST and entry.hit(op2, xt):
                if entry.stage == VISIBLE:
                    entry.stage = INVALIDATED
                elif entry.stage == CLEARED:
                    entry.missed = TOO_EARLY
            elif entry.stage == VISIBLE:
                entry.missed = THIS_CORE if where in LOCAL and entry.hit(op2, xt) else OTHER_ASID


def live(g: Guest, root: int, va: int, asid: int | None = None) -> Live:
    """The entry for va in the last table, valid or not."""
    _, slot, entry = g.walk(root, va)[3]
    return Live(va, slot, entry, MAPPED if entry & 1 else GONE, entry & ADDRESS, asid)
