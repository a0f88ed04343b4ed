"""Why a kernel did not boot, in words for the student."""

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
