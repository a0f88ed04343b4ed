"""What each lab consists of: the reader of labs/labN/lab.toml.

Everything that needs to know which files belong to which lab asks here: the Makefile, the release,
the student's tools and the grader.  A lab whose lab.toml says `draft = true` is one that staff still
work on: it can be built and graded if asked for by number, but is not released, nor the last one.

On the command line:

    python3 labs/labs.py last         the number of the last lab that is no draft
    python3 labs/labs.py later N      the files that labs after N bring in
    python3 labs/labs.py student N    the files a student hands in for labs 1 to N
"""

from __future__ import annotations

import itertools
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOML_PATH = re.compile(r"labs/lab([1-9][0-9]*)/lab\.toml\Z")


class LabError(Exception):
    """A lab.toml that cannot be used; the message names the file and what to change."""


@dataclass(frozen=True)
class Exercise:
    """A function, or a piece of assembly, that the student writes."""

    name: str
    file: str


@dataclass(frozen=True)
class Check:
    """One row of the score table; labs/labN/check.c and judge.py hold what it does."""

    name: str
    points: int
    clause: str
    exercises: tuple[str, ...]
    memory: str
    ticks: int


@dataclass(frozen=True)
class Lab:
    """One lab: the files it brings in, the files the student edits, its exercises and checks."""

    number: int
    title: str
    files: tuple[str, ...]  # one that ends in / is a whole folder
    student: tuple[str, ...]
    optional: tuple[str, ...]
    exercises: tuple[Exercise, ...]
    checks: tuple[Check, ...]
    draft: bool = False

    @property
    def folder(self) -> str:
        return f"labs/lab{self.number}"


class _Table:
    """A TOML table whose values are taken out one by one with their types checked."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.rest = dict(values)
        self.where = where

    def _take(self, key: str, kind: type, name: str, default: Any) -> Any:
        value = self.rest.pop(key, default)
        if value is None:
            raise LabError(f'{self.where}: "{key}" is missing')
        if not isinstance(value, kind) or isinstance(value, bool):
            raise LabError(f'{self.where}: "{key}" must be {name}')
        return value

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._take(key, str, "a text", default))

    def number(self, key: str, default: int | None = None) -> int:
        value = int(self._take(key, int, "a whole number", default))
        if value < 0:
            raise LabError(f'{self.where}: "{key}" must not be negative')
        return value

    def flag(self, key: str) -> bool:
        value = self.rest.pop(key, False)
        if not isinstance(value, bool):
            raise LabError(f'{self.where}: "{key}" must be true or false')
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._take(key, list, "a list of texts", [])
        if not all(isinstance(value, str) for value in values):
            raise LabError(f'{self.where}: "{key}" must be a list of texts')
        if len(set(values)) != len(values):
            raise LabError(f'{self.where}: "{key}" names something twice')
        return tuple(values)

    def paths(self, key: str) -> tuple[str, ...]:
        values = self.texts(key)
        for value in values:
            if value.startswith("/") or ".." in value.split("/") or re.search(r"[\s\\]", value):
                raise LabError(f'{self.where}: "{key}": {value!r} is not a path inside the tree')
        return values

    def tables(self, key: str, default: list[Any] | None = None) -> list[_Table]:
        values = self._take(key, list, "a list of tables", [] if default is None else default)
        if not all(isinstance(value, dict) for value in values):
            raise LabError(f'{self.where}: "{key}" must be a list of tables')
        return [_Table(value, f"{self.where}: {key} {i}") for i, value in enumerate(values, 1)]

    def done(self) -> None:
        if self.rest:
            raise LabError(f"{self.where}: unknown key {sorted(self.rest)[0]!r}")


def parse(number: int, text: str) -> Lab:
    """The lab described by `text`, the contents of labs/lab<number>/lab.toml."""
    where = f"labs/lab{number}/lab.toml"
    try:
        table = _Table(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{where}: {error}") from None
    exercises = []
    for row in table.tables("exercises"):
        exercises.append(Exercise(row.text("name"), row.text("file")))
        row.done()
    checks = []
    for row in table.tables("check"):
        checks.append(
            Check(
                row.text("name"),
                row.number("points"),
                row.text("clause"),
                row.texts("exercises"),
                row.text("memory", "all"),
                row.number("ticks", 2000),
            )
        )
        row.done()
    lab = Lab(
        number,
        table.text("title"),
        table.paths("files"),
        table.paths("student"),
        table.paths("optional"),
        tuple(exercises),
        tuple(checks),
        table.flag("draft"),
    )
    table.done()
    _validate(lab, where)
    return lab


def _validate(lab: Lab, where: str) -> None:
    names = [exercise.name for exercise in lab.exercises]
    for exercise in lab.exercises:
        if exercise.file not in lab.student:
            raise LabError(f'{where}: exercise {exercise.name}: {exercise.file} is not listed under "student"')
    for kind, values in (("exercise", names), ("check", [check.name for check in lab.checks])):
        for value in values:
            if values.count(value) > 1:
                raise LabError(f"{where}: two {kind}s are called {value}")
    for check in lab.checks:
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", check.name):
            raise LabError(f"{where}: check {check.name!r} is not a C name in small letters")
        if not re.fullmatch(r"all|[1-9][0-9]*[KMG]", check.memory):
            raise LabError(f'{where}: check {check.name}: memory {check.memory!r} is neither "all" nor a size')
    points = sum(check.points for check in lab.checks)
    if lab.checks and points != 100:
        raise LabError(f"{where}: the points add up to {points}, not to 100")


def parse_all(texts: Mapping[int, str]) -> list[Lab]:
    """The labs in order, from the text of each lab.toml; checks what only all of them together show."""
    if not texts:
        raise LabError("no lab here: labs/lab1/lab.toml is missing")
    missing = sorted(set(range(1, max(texts) + 1)) - set(texts))
    if missing:
        raise LabError(f"labs/lab{missing[0]}/lab.toml is missing, though there is a lab {max(texts)}")
    labs = [parse(number, texts[number]) for number in sorted(texts)]
    for lab, following in itertools.pairwise(labs):
        if lab.draft and not following.draft:
            raise LabError(f"{lab.folder}/lab.toml: a draft, though lab {following.number} is none")
    if labs[0].draft:
        raise LabError(f"{labs[0].folder}/lab.toml: the first lab cannot be a draft")
    owner: dict[str, int] = {}
    for lab in labs:
        for path in lab.files:
            if path in owner:
                raise LabError(f"{lab.folder}/lab.toml: {path} is lab {owner[path]}'s already")
            owner[path] = lab.number
    exercises = {exercise.name for lab in labs for exercise in lab.exercises}
    for lab in labs:
        for check in lab.checks:
            for name in check.exercises:
                if name not in exercises:
                    raise LabError(f"{lab.folder}/lab.toml: check {check.name}: there is no exercise {name}")
        for path in lab.student + lab.optional:
            if (first := lab_of(labs, path)) > lab.number:
                raise LabError(f"{lab.folder}/lab.toml: {path} does not come in before lab {first}")
    return labs


def within(path: str, entry: str) -> bool:
    """Does this entry of `files` mean `path`?  One that ends in / is a folder, with all that is in it."""
    return path == entry or (entry.endswith("/") and path.startswith(entry))


def lab_of(labs: Sequence[Lab], path: str) -> int:
    """The lab that brings `path` in: its folder's, or that of the longest entry of `files`, or lab 1."""
    if match := re.match(r"labs/lab([1-9][0-9]*)/", path):
        return int(match[1])
    found = [(len(entry), lab.number) for lab in labs for entry in lab.files if within(path, entry)]
    return max(found, default=(0, 1))[1]


def finished(labs: Sequence[Lab]) -> list[Lab]:
    """Those that are no drafts."""
    return [lab for lab in labs if not lab.draft]


def read(root: Path, drafts: bool = False) -> list[Lab]:
    """The labs found in the tree at `root`, on request with those that are drafts."""
    texts: dict[int, str] = {}
    for path in root.glob("labs/lab*/lab.toml"):
        if match := TOML_PATH.search(path.relative_to(root).as_posix()):
            texts[int(match[1])] = path.read_text(encoding="utf-8")
    labs = parse_all(texts)
    return labs if drafts else finished(labs)


def later(labs: Sequence[Lab], number: int) -> list[str]:
    """The files that labs after `number` bring in; make's pattern for whole folders."""
    found: list[str] = []
    for lab in labs:
        if lab.number > number:
            found += [f"{path}%" if path.endswith("/") else path for path in (*lab.files, f"{lab.folder}/")]
    return found


def student_files(labs: Sequence[Lab], number: int) -> tuple[list[str], list[str]]:
    """The files a student hands in for labs 1 to `number`: those that must be there, and optional ones."""
    needed = dict.fromkeys(path for lab in labs[:number] for path in lab.student)
    optional = dict.fromkeys(path for lab in labs[:number] for path in lab.optional)
    return list(needed), [path for path in optional if path not in needed]


def main(arguments: Sequence[str]) -> int:
    root = Path(__file__).resolve().parent.parent
    try:
        match arguments:
            case ["last"]:
                print(read(root)[-1].number)
            case ["later", number]:
                print(*later(read(root, drafts=True), int(number)))
            case ["student", number]:
                needed, optional = student_files(read(root), int(number))
                print(*needed, *optional)
            case ["-h" | "--help"]:
                print((__doc__ or "").strip())
            case _:
                print("usage: labs.py last | later N | student N", file=sys.stderr)
                return 2
    except ValueError:
        print(f"labs.py: {arguments[-1]!r} is not the number of a lab", file=sys.stderr)
        return 2
    except (LabError, OSError) as error:
        print(f"labs.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
