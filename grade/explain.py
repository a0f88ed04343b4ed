"""Why a kernel did not boot, what a page table holds, and what the processor's registers say of an exception, in words
for the student."""

from __future__ import annotations

import re
from collections.abc import Iterable

MILESTONES = {
    "": "it never got to the kernel's first C code (boot_start)",
    "el1": "it got to EL1 and no further",
    "bss": "it cleared the BSS and got no further",
    "mmu": "it got as far as turning the MMU on",
    "main": "it got as far as main()",
    "monitor": "it got as far as the monitor",
}


def milestone(log: bytes) -> str:
    """The last milestone that staff's code reported, '' when there is none."""
    found = re.findall(r"^boot: (\w+)$", log.decode("ascii", "replace"), re.MULTILINE)
    return found[-1] if found else ""


def failure(log: bytes) -> str | None:
    """What staff's boot code found wrong, in its own words."""
    found = re.search(r"^boot: FAILED: ([ -~]{1,300})$", log.decode("ascii", "replace"), re.MULTILINE)
    return found[1] if found else None


def no_boot(log: bytes, level: int, calls: list[str], what: str, exercises: Iterable[object]) -> str:
    """One line: how far the kernel came, where it is now, and which exercise that touches.

    what: why it stopped ("still running after..."); calls: functions under way, innermost first.
    """
    said = failure(log)
    if said:
        return said
    names = [c.split("+")[0] for c in calls]
    reached = milestone(log)
    text = f"{what}; {MILESTONES.get(reached, f'last milestone: {reached}')}"
    if level > 1:
        text += f"; the processor is still at EL{level}"
    for exercise in exercises:
        name, file = getattr(exercise, "name", ""), getattr(exercise, "file", "")
        if name in names:
            return text + f"; look at {name} in {file}"
    if not reached:
        text += "; look at el2_to_el1 and clear_bss in kern/entry.S"
    return text


# --- page tables ---------------------------------------------------------

ADDRESS = 0x0000_FFFF_FFFF_F000
ACCESS = ("EL1 rw", "EL0 and EL1 rw", "EL1 ro", "EL0 and EL1 ro")      # AP[2:1], ARM ARM D5.4.5
SHARING = ("not shared", "SH reserved", "outer shareable", "inner shareable")


def describe_entry(entry: int, level: int) -> str:
    """What the processor makes of a descriptor (ARM ARM D5.3)."""
    if not entry & 1:
        return "nothing here" if entry == 0 else "not valid (bit 0 is clear)"
    if level < 3 and entry & 2:
        odd = "" if entry >> 48 == 0 else ", and bits 63:48 are set: is this a kernel address?"
        return f"table at {entry & ADDRESS:#x}{odd}"
    if level == 0 or level == 3 and not entry & 2:
        return "reserved: bits 1:0 are 01" + (", those of a block" if level == 3 else "")
    kind = "page" if level == 3 else "block"
    flags = [ACCESS[entry >> 6 & 3], SHARING[entry >> 8 & 3]]
    flags += [] if entry >> 10 & 1 else ["no AF"]
    flags += [name for bit, name in ((11, "nG"), (53, "PXN"), (54, "UXN")) if entry >> bit & 1]
    if entry >> 2 & 7:
        flags.append(f"AttrIndx {entry >> 2 & 7}")
    return f"{kind} {entry & ADDRESS:#x}: " + ", ".join(flags)


def draw_walk(steps: Iterable[tuple[int, int, int]], va: int, wanted: int | None = None) -> str:
    """The walk of va, a line for each level, and a mark at the entry that it ends in."""
    lines = [f"the walk of {va:#x}", "           index  entry at     entry"]
    listed = list(steps)
    for level, at, entry in listed:
        mark = "-->" if (level, at, entry) == listed[-1] else "   "
        index = va >> 39 - 9 * level & 511
        lines.append(f"{mark} level {level}  [{index:3}]  {at:#010x}  {entry:#018x}  {describe_entry(entry, level)}")
    if wanted is not None:
        level = listed[-1][0] if listed else 3
        if level == 3:
            what = describe_entry(wanted, 3)
            lines.append(f"    expected there:        {wanted:#018x}  {what}")
        else:
            lines.append(f"    expected at level 3:   {wanted:#018x}  {describe_entry(wanted, 3)}")
    return "\n".join(lines)


# What a byte of MAIR_EL1 says (ARM ARM D13.2.97); inc/sysreg.h has the first two.
MEMORY_TYPES = {0xFF: "normal memory", 0x04: "device nGnRE", 0x00: "device nGnRnE", 0x44: "normal memory, not cached"}


def memory_type(entry: int, mair: int) -> str:
    byte = mair >> 8 * (entry >> 2 & 7) & 0xFF
    return MEMORY_TYPES.get(byte, "memory of another type") + f" (MAIR has {byte:#04x} for AttrIndx {entry >> 2 & 7})"


def rights_of(entry: int, user: bool) -> str:
    """What EL0 (user), or EL1, may do there: rwx."""
    r = not user or entry >> 6 & 1
    w = r and not entry >> 7 & 1
    x = not entry >> (54 if user else 53) & 1
    return ("r" if r else "-") + ("w" if w else "-") + ("x" if x else "-")


def describe_leaf(entry: int, mair: int) -> str:
    """All attributes of a valid block or page."""
    flags = ("AF set" if entry >> 10 & 1 else "AF clear") + ", " + ("not global (nG)" if entry >> 11 & 1 else "global")
    return (f"{memory_type(entry, mair)}, {SHARING[entry >> 8 & 3]}, {flags}; EL1 {rights_of(entry, False)}, "
            f"EL0 {rights_of(entry, True)}")


# --- exceptions ----------------------------------------------------------

# As kern/trap.c has them: ESR's exception classes and, of aborts, bits 5:2 of the fault status (ARM ARM D13.2.37).
CLASSES = {
    0x00: "unknown instruction, or one not allowed at this exception level", 0x01: "wfi or wfe trapped",
    0x07: "floating point used in the kernel (its access is trapped)", 0x0E: "illegal execution state",
    0x15: "system call (svc)", 0x16: "hypervisor call (hvc)", 0x17: "secure monitor call (smc)",
    0x18: "access to a system register not allowed", 0x20: "instruction abort", 0x21: "instruction abort",
    0x22: "the program counter is not 4-byte aligned", 0x24: "data abort", 0x25: "data abort",
    0x26: "the stack pointer is not 16-byte aligned", 0x2F: "SError: an asynchronous external abort",
    0x30: "breakpoint", 0x31: "breakpoint", 0x32: "software step", 0x33: "software step", 0x34: "watchpoint",
    0x35: "watchpoint", 0x3C: "brk instruction",
}
ABORTS = {
    0x0: "address size fault", 0x1: "translation fault: nothing is mapped there",
    0x2: "access flag fault: the entry's AF bit is clear", 0x3: "permission fault",
    0x4: "external abort: no memory or device answers there",
    0x5: "external abort on a table walk: a table entry points nowhere", 0x8: "alignment fault",
}
UNKNOWN, SVC, BRK = 0x00, 0x15, 0x3C
INSTRUCTION_ABORTS, DATA_ABORTS = (0x20, 0x21), (0x24, 0x25)
FROM_EL0 = (0x20, 0x24)
TRANSLATION, ACCESS_FLAG, PERMISSION, ALIGNMENT = 0x1, 0x2, 0x3, 0x8
MODES = {0: "EL0", 4: "EL1 with SP_EL0", 5: "EL1", 8: "EL2 with SP_EL0", 9: "EL2", 12: "EL3 with SP_EL0", 13: "EL3"}


def exception_class(esr: int) -> int:
    return esr >> 26 & 0x3F


def is_abort(esr: int) -> bool:
    return exception_class(esr) in INSTRUCTION_ABORTS + DATA_ABORTS


def abort_kind(esr: int) -> int:
    return (esr & 0x3F) >> 2


def access(esr: int) -> str:
    """What the aborted instruction was doing."""
    if exception_class(esr) in INSTRUCTION_ABORTS:
        return "executing"
    return "writing" if esr >> 6 & 1 else "reading"


def describe_syndrome(esr: int, far: int) -> str:
    """ESR and FAR in words, as kern/trap.c puts them; and of aborts the level."""
    kind = CLASSES.get(exception_class(esr), "exception of an unexpected class")
    if not is_abort(esr):
        return f"{kind}, number {esr & 0xFFFF:#x}" if exception_class(esr) in (SVC, BRK) else kind
    what = ABORTS.get(abort_kind(esr), "memory fault")
    level = f", level {esr & 3}" if abort_kind(esr) <= PERMISSION else ""
    place = "an address that FAR does not tell" if esr >> 10 & 1 else f"address {far:#x}"
    return f"{access(esr)} {place}: {what}{level} ({kind}{' from EL0' if exception_class(esr) in FROM_EL0 else ''})"


def describe_spsr(spsr: int) -> str:
    flags = "".join(name for bit, name in zip((31, 30, 29, 28), "NZCV") if spsr >> bit & 1) or "none"
    masked = "".join(name for bit, name in zip((9, 8, 7, 6), "DAIF") if spsr >> bit & 1) or "none"
    mode = "AArch32" if spsr >> 4 & 1 else MODES.get(spsr & 0xF, f"no mode ({spsr & 0xF:#x})")
    odd = "".join(f", {name}" for bit, name in ((21, "single step"), (20, "illegal state")) if spsr >> bit & 1)
    return f"{mode}, flags {flags}, masked {masked}{odd}"
