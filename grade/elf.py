"""The symbols and read-only sections of a linked AArch64 ELF file."""

from __future__ import annotations

import bisect
import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

SHT_PROGBITS, SHT_SYMTAB = 1, 2
SHF_WRITE, SHF_ALLOC = 1, 2
STT_FILE = 4
SHN_ABS = 0xFFF1          # a number, not an address
EM_AARCH64 = 183


class BadElf(Exception):
    """Not an AArch64 ELF file, or without a symbol table."""


@dataclass(frozen=True)
class Symbol:
    name: str
    address: int
    size: int
    absolute: bool = False


class Elf:
    def __init__(self, path: Path):
        data = path.read_bytes()
        self.path = path
        self.digest = hashlib.sha256(data).hexdigest()
        if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", data, 18)[0] != EM_AARCH64:
            raise BadElf(f"{path.name} is not an AArch64 ELF file")
        self.symbols: dict[str, Symbol] = {}
        self.statics: dict[tuple[str, str], Symbol] = {}    # by source file ("proc.c") and name
        self.constant: list[tuple[int, bytes]] = []     # (address, contents): code and constants
        offset, = struct.unpack_from("<Q", data, 0x28)
        size, count = struct.unpack_from("<HH", data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
        for _, kind, flags, address, at, length, link, _, _, entry in headers:
            if kind == SHT_SYMTAB:
                names = data[headers[link][4]:headers[link][4] + headers[link][5]]
                self.read_symbols(data[at:at + length], names, entry)
            elif kind == SHT_PROGBITS and flags & SHF_ALLOC and not flags & SHF_WRITE:
                self.constant.append((address, data[at:at + length]))
        if not self.symbols:
            raise BadElf(f"{path.name} has no symbol table")
        others = [s for s in self.statics.values() if s != self.symbols[s.name]]
        named = sorted((s for s in [*self.symbols.values(), *others] if not s.absolute),
                       key=lambda s: (s.address, s.size))
        self.sorted = named
        self.addresses = [s.address for s in named]

    def read_symbols(self, table: bytes, names: bytes, entry: int) -> None:
        file = ""               # the one whose local symbols follow
        for at in range(0, len(table), entry):
            name_at, info, _, section, value, size = struct.unpack_from("<IBBHQQ", table, at)
            name = names[name_at:names.index(b"\0", name_at)].decode("utf-8", "replace")
            if info & 15 == STT_FILE:
                file = name
            if not name or section == 0 or info & 15 == STT_FILE or name.startswith("$"):
                continue        # undefined, a file's name, a mapping symbol
            symbol = Symbol(name, value, size, section == SHN_ABS)
            if name not in self.symbols or info >> 4:       # a global one hides a local one
                self.symbols[name] = symbol
            if info >> 4 == 0:
                self.statics.setdefault((file, name), symbol)

    def find(self, address: int) -> Symbol | None:
        """The symbol that address lies in."""
        i = bisect.bisect_right(self.addresses, address) - 1
        if i < 0:
            return None
        symbol = self.sorted[i]
        if address >= symbol.address + max(symbol.size, 4096 if symbol.size == 0 else 0):
            return None
        return symbol
