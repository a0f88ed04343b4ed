"""The rules that keep a release safe and free of conflicts, checked on the cuts themselves.

`problems` finds what makes a release impossible: marks or solutions that would reach students, and
changes of a later lab beside an exercise.  `endangered` finds the corrections that students who have
done an exercise cannot take without a conflict.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

import labs
from cut import MARK, REQUIRED, Cut, Region, Source, SourceFile, is_text

LATER_LAB_DISTANCE = 5  # lines that a later lab keeps away from an exercise
CORRECTION_DISTANCE = 3  # a correction nearer than this to an exercise is warned about
SOLUTION_LINE = 8  # non-space characters that make a line of a solution recognisable
ATTRIBUTES = b"* text=auto eol=lf"

_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = re.compile(rb"/\*.*?(\*/|\Z)|//.*")
_NAME = re.compile(rb"([A-Za-z_]\w*)\s*\(")
_LABEL = re.compile(rb"([A-Za-z_]\w*):")


@dataclass(frozen=True)
class Spot:
    """An exercise in a cut file: lines core_first..core_last are the marked region, first..last the
    function around it (all from 0, inclusive; last = first - 1: between two lines)."""

    path: str
    name: str
    lab: int
    core_first: int
    core_last: int
    first: int
    last: int
    region: Region


@dataclass(frozen=True)
class Danger:
    """A correction of line `line` (from 1) of a published file that lies on or beside an exercise."""

    spot: Spot
    line: int

    def __str__(self) -> str:
        spot = self.spot
        return (
            f"{spot.path}:{self.line}: this correction is inside or within {CORRECTION_DISTANCE} lines of an exercise, "
            f"{spot.name} of lab {spot.lab}.\n"
            f"Students who have written {spot.name} will get a conflict in {spot.path} at `make update` or `make "
            f"next-lab`\nand must merge these lines by hand: tell them, or move the change away from the exercise."
        )


def _enclosing_function(lines: list[bytes], first: int, last: int) -> tuple[int, int, str | None]:
    """The C function around lines first..last: its first and last line and its name, if there is one."""
    opening = first
    while opening >= 0 and not lines[opening].startswith(b"{"):
        if opening < first and lines[opening].startswith(b"}"):
            return first, last, None
        opening -= 1
    closing = max(last, opening + 1)
    while closing < len(lines) and not lines[closing].startswith(b"}"):
        closing += 1
    if opening < 0 or closing == len(lines):
        return first, last, None
    start = opening
    while start > 0 and lines[start - 1].strip() and not re.search(rb"(\*/|;|^\}|^#.*)\s*$", lines[start - 1]):
        start -= 1
    name = _NAME.search(b" ".join(lines[start:opening]))
    return min(start, first), max(closing, last), name[1].decode() if name else None


def _label_above(lines: list[bytes], at: int) -> tuple[int, str] | None:
    """The last assembly label at or above line `at`: its line and name."""
    for number in range(min(at, len(lines) - 1), -1, -1):
        if match := _LABEL.match(lines[number]):
            return number, match[1].decode()
    return None


def spots(cut: Cut, helpers: bool = False) -> list[Spot]:
    """Where the exercises are in a cut, in order.  With `helpers`, also where a solution has something
    outside any function and nothing is handed out: a place, but no exercise."""
    found = []
    for path, file in cut.origin.items():
        if not file.is_conditional or not file.regions:
            continue
        kept = file.tidy(cut.lab, cut.sol)
        lines = [file.lines[number] for number in kept]
        solved = file.kept(cut.lab, cut.lab)
        for region in file.regions:
            if not any(region.first < number < region.last for number in (*kept, *solved)):
                continue  # of a later lab
            first = bisect_left(kept, region.first)
            last = bisect_left(kept, region.last) - 1  # first - 1 when nothing is handed out there
            start, end, name = _enclosing_function(lines, first, last)
            if name is None and path.endswith(".S") and (label := _label_above(lines, first)):
                start, name = label
            if name is None and last < first and not helpers:
                continue
            name = name or path
            found.append(Spot(path, name, _lab_of_region(file, cut, region), first, last, start, end, region))
    return found


def _lab_of_region(file: SourceFile, cut: Cut, region: Region) -> int:
    """The lab whose solution fills the region."""

    def inside(sol: int) -> list[int]:
        return [number for number in file.kept(cut.lab, sol) if region.first < number < region.last]

    return next((sol for sol in range(1, cut.lab + 1) if inside(sol) != inside(sol - 1)), cut.lab)


def _changes(old: list[bytes], new: list[bytes]) -> Iterator[tuple[int, int]]:
    """The changed places as first..last in old's line numbers; an insertion is the two lines around it."""
    for tag, first, end, _, _ in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "insert":
            yield first - 1, first
        elif tag != "equal":
            yield first, end - 1


def endangered(old: Cut, new: Cut) -> list[Danger]:
    """The changes from `old`, as published, to `new` that touch an exercise of `old`."""
    found = []
    for spot in spots(old):
        before = old.text(spot.path).split(b"\n")
        after = new.text(spot.path).split(b"\n") if spot.path in new.origin else []
        if before == after:
            continue
        for first, last in _changes(before, after):
            if first <= spot.last + CORRECTION_DISTANCE and last >= spot.first - CORRECTION_DISTANCE:
                found.append(Danger(spot, max(first, 0) + 1))
                break
    return found


def problems(source: Source) -> Iterator[str]:
    """Everything that forbids a release of this source, one text each."""
    yield from _tree_problems(source)
    yield from _condition_problems(source)
    secret = solution_texts(source)
    previous: Cut | None = None
    for lab in range(1, source.last + 1):
        cut = Cut(source, lab, 0)
        yield from _cut_problems(cut)
        yield from leaks(cut, secret)
        if previous is not None:
            yield from _near_exercise(previous, cut)
        previous = cut


def _tree_problems(source: Source) -> Iterator[str]:
    for path in REQUIRED:
        if path not in source.entries:
            yield f"{path} is missing; every branch needs it"
    attributes = source.contents[source.entries[".gitattributes"].id] if ".gitattributes" in source.entries else b""
    if attributes and ATTRIBUTES not in attributes.splitlines():
        yield f".gitattributes lacks the line `{ATTRIBUTES.decode()}`"
    for lab in source.labs:
        where = f"{lab.folder}/lab.toml"
        for path in lab.files:
            if not any(labs.within(entry, path) for entry in source.entries):
                yield f"{where}: {path}, listed under files, does not exist"
        for path in (*lab.student, *lab.optional):
            if path not in source.released:
                yield f"{where}: {path} does not reach the students"
        for exercise in lab.exercises:
            if exercise.file in source.released and not source.released[exercise.file].regions:
                yield f"{where}: exercise {exercise.name}: {exercise.file} has no #if on SOL"
    for path, entry in source.entries.items():
        if entry.mode == "160000":
            yield f"{path} is a submodule, which a release does not know"


def _condition_problems(source: Source) -> Iterator[str]:
    for path, file in source.released.items():
        if not file.is_conditional:
            continue
        for number, expression in file.conditions():
            where = f"{path}:{number + 1}"
            if expression.rstrip(b"\r\n").endswith(b"\\"):
                yield f"{where}: a condition on LAB or SOL must stand on one line"
            words = set(_WORD.findall(_COMMENT.sub(b" ", expression)))
            if other := sorted(words - {b"LAB", b"SOL", b"defined"}):
                yield f"{where}: the condition mixes LAB or SOL with {other[0].decode()}: nest two #if instead"


def _cut_problems(cut: Cut) -> Iterator[str]:
    for path in cut.origin:
        if MARK.search(path.encode()):
            yield f"lab {cut.lab}: the name {path} contains the mark LAB or SOL"
        data = cut.text(path)
        if not is_text(data):
            continue
        if b"\r\n" in data:
            yield f"lab {cut.lab}: {path}: has CRLF line ends"
        if MARK.search(data):
            for number, line in enumerate(data.split(b"\n"), 1):
                if match := MARK.search(line):
                    yield f"lab {cut.lab}: {path}:{number}: the mark {match[1].decode()} remains"


def solution_texts(source: Source, known: int = 0) -> dict[bytes, str]:
    """The lines that only solutions of labs after `known` contain, stripped, and where each stands."""
    secret: dict[bytes, str] = {}
    elsewhere: set[bytes] = set()
    for path, file in source.released.items():
        hidden = file.solution_lines(source.last, known)
        if not hidden and not is_text(file.data):
            continue
        for number, line in enumerate(file.lines):
            text = line.strip()
            if number not in hidden:
                elsewhere.add(text)
            elif len(re.sub(rb"\s", b"", text)) >= SOLUTION_LINE:
                secret.setdefault(text, f"{path}:{number + 1}")
    return {text: where for text, where in secret.items() if text not in elsewhere}


def leaks(cut: Cut, secret: dict[bytes, str]) -> Iterator[str]:
    """The lines of a cut that give a solution away."""
    for path in cut.origin:
        for number, line in enumerate(cut.text(path).split(b"\n"), 1):
            if (text := line.strip()) in secret:
                yield f"lab {cut.lab}: {path}:{number}: a line of the solution at {secret[text]}"


def _near_exercise(old: Cut, new: Cut) -> Iterator[str]:
    for spot in spots(old):
        if spot.path not in new.origin:
            yield f"lab {new.lab}: {spot.path}, with exercise {spot.name} of lab {spot.lab}, is gone"
            continue
        before, after = old.text(spot.path).split(b"\n"), new.text(spot.path).split(b"\n")
        if before == after:
            continue
        low = min(spot.core_first - LATER_LAB_DISTANCE, spot.first - 1)
        high = max(spot.core_last + LATER_LAB_DISTANCE, spot.last + 1)
        for first, last in _changes(before, after):
            if first <= high and last >= low:
                yield (
                    f"lab {new.lab}: {spot.path}:{max(first, 0) + 1}: changes a line within {LATER_LAB_DISTANCE} lines "
                    f"of exercise {spot.name} of lab {spot.lab}: move it further away or into a file of its own"
                )
                break
