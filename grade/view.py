"""The stopped machine as it is: symbols, registers, memory, page tables, free list, console.

Nothing here believes the kernel: page tables are walked in physical memory, and names come from the
kernel that was built.  guest.py adds calls into it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from grade.elf import Elf
from grade.machine import RAM_SIZE, Machine

KERNBASE = 0xFFFF_0000_0000_0000
PERIPHERALS = 0x3F00_0000
PGSIZE = 4096
ENTRIES = 512
ADDRESS = 0x0000_FFFF_FFFF_F000     # ARM ARM D5.3.3: output address of a descriptor
M64 = (1 << 64) - 1
TABLES_MAX = 1024                   # of one root: for all memory, page by page, it takes 500


class Disagree(Exception):
    """The machine does not bear out what the check claims.

    va and root: where in which page table; the report then shows the walk.  wanted: the entry that
    should be at its end.
    """

    def __init__(self, message: str = "", va: int | None = None, root: int | None = None,
                 wanted: int | None = None):
        super().__init__(message)
        self.va, self.root, self.wanted = va, root, wanted


class LeavesMemory(Disagree):
    """A walk leads to a table where there is no memory.  steps: so far."""

    def __init__(self, message: str, steps: list[tuple[int, int, int]]):
        super().__init__(message)
        self.steps = steps


@dataclass(frozen=True)
class Leaf:
    """A valid block or page descriptor."""
    va: int         # of the first byte it maps; sign-extended for the upper half
    pa: int
    level: int      # 1, 2 (blocks) or 3 (page)
    entry: int      # the descriptor
    at: int         # physical address of the descriptor

    @property
    def size(self) -> int:
        return PGSIZE << 9 * (3 - self.level)

    @property
    def flags(self) -> int:
        return self.entry & ~ADDRESS


def P2V(pa: int) -> int:
    return pa + KERNBASE


def V2P(va: int) -> int:
    """Physical address of a kernel pointer into the linear map."""
    if not KERNBASE <= va < KERNBASE + RAM_SIZE:
        raise Disagree(f"{va:#x} is no kernel address of memory")
    return va - KERNBASE


def is_table(entry: int, level: int) -> bool:
    return level < 3 and entry & 3 == 3


def is_leaf(entry: int, level: int) -> bool:
    return entry & 3 == (3 if level == 3 else 1) and level > 0


class View:
    def __init__(self, machine: Machine, elf: Elf):
        self.machine = machine
        self.elf = elf
        self.seen_output = 0

    # --- symbols ---------------------------------------------------------

    def has(self, name: str) -> bool:
        return name in self.elf.symbols

    def symbol(self, name: str) -> int:
        """Address of a function or variable, as linked (upper half)."""
        if name not in self.elf.symbols:
            raise Disagree(f"there is no {name} in the kernel")
        return self.elf.symbols[name].address

    def static(self, file: str, name: str) -> int:
        """The same of a static variable; others of its name may be in other files."""
        symbol = self.elf.statics.get((file, name))
        return symbol.address if symbol else self.symbol(name)

    def name(self, address: int) -> str:
        """'kalloc+0x10', or the bare address when it lies in nothing known."""
        symbol = self.elf.find(address) or self.elf.find(address | KERNBASE)
        if symbol is None:
            return f"{address:#x}"
        at = (address | KERNBASE) - (symbol.address | KERNBASE)
        return symbol.name + (f"+{at:#x}" if at else "")

    # --- registers -------------------------------------------------------

    def reg(self, name: str) -> int:
        """A register by gdb's name: x0, sp, pc, cpsr, ttbr0_el1, tcr_el1, sctlr, vbar..."""
        return self.machine.register(name)

    @property
    def level(self) -> int:
        """The exception level."""
        return self.machine.level

    @property
    def ttbr0(self) -> int:
        """Physical address of the lower half's root table."""
        return self.reg("ttbr0_el1") & ADDRESS

    @property
    def ttbr1(self) -> int:
        """Physical address of the upper half's root table."""
        return self.reg("ttbr1_el1") & ADDRESS

    # --- memory ----------------------------------------------------------

    def phys(self, pa: int, size: int) -> bytes:
        """Physical memory; devices too (then size is 4 or 8)."""
        if pa < 0 or pa + size > PERIPHERALS:
            return self.machine.gdb.read(pa, size, physical=True)
        return self.machine.ram[pa:pa + size]

    def p64(self, pa: int) -> int:
        return int.from_bytes(self.phys(pa, 8), "little")

    def phys_write(self, pa: int, data: bytes) -> None:
        if pa < 0 or pa + len(data) > PERIPHERALS:
            raise ValueError(f"{pa:#x} is not memory")
        self.machine.ram[pa:pa + len(data)] = data

    def translate(self, va: int) -> int | None:
        """Physical address of va in the tables that the processor uses now, or None."""
        if not self.reg("sctlr") & 1:
            return va
        root = self.ttbr1 if va >> 55 & 1 else self.ttbr0
        steps = self.walk(root, va)
        level, _, entry = steps[-1]
        if not is_leaf(entry, level):
            return None
        mask = (PGSIZE << 9 * (3 - level)) - 1
        return entry & ADDRESS & ~mask | va & mask

    def pieces(self, va: int, size: int) -> Iterator[tuple[int, int]]:
        """(physical address, bytes) for each page of a virtual range."""
        while size > 0:
            pa = self.translate(va)
            if pa is None:
                raise Disagree(f"the kernel's address {va:#x} is not mapped")
            part = min(size, PGSIZE - va % PGSIZE)
            yield pa, part
            va, size = va + part, size - part

    def read(self, va: int, size: int) -> bytes:
        return b"".join(self.phys(pa, n) for pa, n in self.pieces(va, size))

    def write(self, va: int, data: bytes) -> None:
        at = 0
        for pa, n in self.pieces(va, len(data)):
            self.phys_write(pa, data[at:at + n])
            at += n

    def u64(self, va: int) -> int:
        return int.from_bytes(self.read(va, 8), "little")

    def put64(self, va: int, value: int) -> None:
        self.write(va, (value & M64).to_bytes(8, "little"))

    def text(self, va: int, limit: int = 1024) -> str:
        """A NUL-terminated text, cut at limit; unreadable memory gives a remark instead."""
        out = bytearray()
        try:
            while len(out) < limit:
                part = self.read(va + len(out), min(64, PGSIZE - (va + len(out)) % PGSIZE))
                if 0 in part:
                    out += part[:part.index(0)]
                    break
                out += part
        except (Disagree, IndexError):
            out += b"<unreadable>"
        return out.decode("utf-8", "replace")

    # --- page tables -----------------------------------------------------

    def walk(self, root: int, va: int) -> list[tuple[int, int, int]]:
        """(level, entry's physical address, entry) on va's way down from root, root's first."""
        steps: list[tuple[int, int, int]] = []
        table = root & ADDRESS
        for level in range(4):
            at = table + 8 * (va >> (12 + 9 * (3 - level)) & 511)
            if at + 8 > PERIPHERALS:
                raise LeavesMemory(f"the walk of {va:#x} leaves memory at level {level}: "
                                   f"table at {table:#x}", steps)
            entry = self.p64(at)
            steps.append((level, at, entry))
            if not is_table(entry, level):
                break
            table = entry & ADDRESS
        return steps

    def scan(self, root: int, high: bool, wrong: Callable[[str], None] | None = None) -> tuple[list[Leaf], list[int]]:
        """Every leaf below a root table, in order of va, and the tables, itself first.  wrong: is told what makes no
        sense, and the rest is looked at; without it, that raises Disagree."""
        leaves: list[Leaf] = []
        tables: list[int] = []
        seen: set[int] = set()

        def complain(message: str) -> None:
            if wrong is None:
                raise Disagree(message)
            wrong(message)

        def visit(table: int, level: int, va: int) -> None:
            if table in seen:
                complain(f"the table at {table:#x} is linked twice")
                return
            if table + PGSIZE > PERIPHERALS:
                complain(f"a level {level} table lies outside memory, at {table:#x}")
                return
            if len(tables) >= TABLES_MAX:
                raise Disagree(f"there are more than {TABLES_MAX} tables below the root at {root & ADDRESS:#x}")
            data = self.phys(table, PGSIZE)
            if len(data) < PGSIZE:
                raise Disagree(f"a level {level} table lies outside memory, at {table:#x}")
            seen.add(table)
            tables.append(table)
            for i, entry in enumerate(struct.unpack("<512Q", data)):
                if not entry & 1:
                    continue
                here = va | i << (12 + 9 * (3 - level))
                if is_table(entry, level):
                    visit(entry & ADDRESS, level + 1, here)
                elif is_leaf(entry, level):
                    full = here | 0xFFFF << 48 if high else here
                    mask = (PGSIZE << 9 * (3 - level)) - 1
                    leaves.append(Leaf(full, entry & ADDRESS & ~mask, level, entry, table + 8 * i))
                else:
                    complain(f"entry {i} of the level {level} table at {table:#x} is {entry:#x}, which means nothing "
                             "there")

        visit(root & ADDRESS, 0, 0)
        return leaves, tables

    def leaves(self, root: int, high: bool | None = None) -> list[Leaf]:
        """Every leaf below a root table, in order of va.  high: addresses of the upper half
        (by default when root is TTBR1's)."""
        return self.scan(root, root == self.ttbr1 if high is None else high)[0]

    def tables(self, root: int) -> list[int]:
        """Physical addresses of a root's tables, itself first.  Disagree when one is linked twice."""
        return self.scan(root, False)[1]

    # --- the free list ---------------------------------------------------

    def runs(self, head: int, limit: int = RAM_SIZE // PGSIZE) -> list[int]:
        """A chain of struct run starting with the pointer head, as addresses.

        Disagree when a page is misaligned, outside memory, or comes twice.
        """
        pages: list[int] = []
        seen: set[int] = set()
        ram = self.machine.ram
        at = head
        while at:
            if at % PGSIZE or not KERNBASE < at < KERNBASE + PERIPHERALS:
                raise Disagree(f"the free list has a bad page {at:#x} after {len(pages)} others")
            if at in seen:
                raise Disagree(f"the free list has page {at:#x} twice")
            if len(pages) >= limit:
                raise Disagree(f"the free list has more than {limit} pages")
            seen.add(at)
            pages.append(at)
            at = int.from_bytes(ram[at - KERNBASE:at - KERNBASE + 8], "little")
        return pages

    def free_list(self, symbol: str = "kmem") -> list[int]:
        """The pages on kmem.free_list, the next one to be handed out first."""
        return self.runs(self.u64(self.symbol(symbol)))

    # --- the console -----------------------------------------------------

    def printed(self) -> bytes:
        """What the kernel printed since the last call of this."""
        text = self.machine.console()
        new, self.seen_output = text[self.seen_output:], len(text)
        return new
