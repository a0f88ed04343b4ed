"""Why a kernel did not boot, and what a page table holds, in words for the student."""

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
