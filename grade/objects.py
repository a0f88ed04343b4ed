"""Looks at the object files that a submission was compiled to, before they count as a kernel.

linker.ld gathers sections by name and the linker takes symbols as they come, so that an object may
put code in front of staff's, add entries to staff's tables, or answer to staff's names.  What no
exercise needs is refused here, in words.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from pathlib import Path

MAX_SIZE = 8 << 20          # bytes of one object
NULL, PROGBITS, SYMTAB, STRTAB, RELA, NOBITS = 0, 1, 2, 3, 4, 8
NOTE, GROUP = 7, 17
WRITE, ALLOC, EXEC = 1, 2, 4
WEAK, IFUNC = 2, 10

# What a section may be named: its type, and the flags of WRITE, ALLOC and EXEC that it then has.
ALLOWED = [
    (r"\.text(\..+)?", PROGBITS, ALLOC | EXEC),
    (r"\.rodata(\..+)?", PROGBITS, ALLOC),
    (r"\.data(\..+)?", PROGBITS, ALLOC | WRITE),
    (r"\.bss(\..+)?", NOBITS, ALLOC | WRITE),
    (r"\.locks", PROGBITS, ALLOC | WRITE),      # SPINLOCK
    (r"\.eh_frame", PROGBITS, ALLOC),
    (r"\.debug_\w+|\.comment|\.note\.GNU-stack", PROGBITS, 0),
    (r"\.note\.gnu\.property", NOTE, ALLOC),
]
STAFFS = re.compile(r"\.text\.boot(\..*)?")     # linker.ld puts these in front of all others
NAME = re.compile(r"[A-Za-z_.$][\w.$]*", re.ASCII)
NAMED = re.compile(rb"""(?:\.section\s+"?|\.pushsection\s+"?|section\s*\(\s*")([\w.]+)""")
ASSIGNED = re.compile(r"^\s*(?:PROVIDE\s*\(\s*)?([A-Za-z_]\w*)\s*=[^=]", re.MULTILINE)


def sections_named(source: bytes) -> set[str]:
    """The sections that a source file of staff's names: a submission's version of it may too."""
    return {name.decode("ascii", "replace") for name in NAMED.findall(source)}


def linker_symbols(script: str) -> set[str]:
    """What a linker script defines, whatever an object says."""
    return set(ASSIGNED.findall(re.sub(r"/\*.*?\*/", "", script, flags=re.DOTALL)))


def text(table: bytes, at: int) -> str:
    return table[at:table.index(b"\0", at)].decode("utf-8", "replace")


def wrong_section(name: str, kind: int, flags: int, extra: Collection[str]) -> str | None:
    for pattern, wanted, rights in ALLOWED:
        if re.fullmatch(pattern, name):
            if STAFFS.fullmatch(name) and name not in extra:
                break
            if kind != wanted or flags & (WRITE | ALLOC | EXEC) != rights:
                return f"the section {name} is of another kind, or has other rights, than its name says"
            return None
    return f"something is put into the section {name}, which is not for an exercise's code or data"


def problem(path: Path, extra: Collection[str] = (), reserved: Collection[str] = ()) -> str | None:
    """What is wrong with an object, or None.

    extra: sections that it may have beside the usual ones.  reserved: names it may not define.
    """
    if path.stat().st_size > MAX_SIZE:
        return f"it compiles to more than {MAX_SIZE >> 20} MiB"
    data = path.read_bytes()
    try:
        return examine(data, extra, reserved)
    except (struct.error, IndexError, ValueError):
        return "it compiles to something that is no object file"


def examine(data: bytes, extra: Collection[str], reserved: Collection[str]) -> str | None:
    if data[:6] != b"\x7fELF\x02\x01":
        return "it compiles to something that is no object file"
    offset, = struct.unpack_from("<Q", data, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", data, 0x3A)
    if count == 0:
        return "it has too many sections"
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    names = data[headers[names_at][4]:headers[names_at][4] + headers[names_at][5]]
    for name_at, kind, flags, _, at, length, link, *_ in headers:
        name = text(names, name_at)
        if kind in (NULL, STRTAB) or kind == RELA and name.startswith(".rela."):
            continue
        if kind == SYMTAB:
            strings = data[headers[link][4]:headers[link][4] + headers[link][5]]
            wrong = wrong_symbol(data[at:at + length], strings, reserved)
        elif kind == GROUP:
            wrong = "it has section groups"
        else:
            wrong = wrong_section(name, kind, flags, extra)
        if wrong:
            return wrong
    return None


def wrong_symbol(table: bytes, strings: bytes, reserved: Collection[str]) -> str | None:
    for name_at, info, _, section, _, _ in struct.iter_unpack("<IBBHQQ", table):
        kind, binding = info & 15, info >> 4
        if section == 0 or kind in (3, 4):      # not defined here; a section; a file's name
            continue
        name = text(strings, name_at)
        if not NAME.fullmatch(name):
            return f"a symbol has the odd name {name!r}"
        if kind == IFUNC:
            return f"{name} is an indirect function"
        if binding == WEAK:
            return f"{name} is defined as a weak symbol"
        if binding and name in reserved:
            return f"{name} is defined, which is linker.ld's: choose another name, or make it static"
    return None
