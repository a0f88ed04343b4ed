"""Cuts the tree of one lab out of a commit of the finished kernel.

A cut drops staff's files and those of later labs, and passes every file that carries conditions on
LAB or SOL through unifdef.  It is a function of the commit alone: the working tree, the machine and
its configuration play no part.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import labs
from gitrepo import Entry, Git
from say import Refused

# What stays with staff.  The one list: a pattern that ends in / is a folder.
STAFF_ONLY = (
    "README.md",
    "staff.mk",
    "test/",
    "docs/",
    ".ci/",
    ".github/",
    "labs/release",
    "labs/cut.py",
    "labs/rules.py",
    "labs/publish.py",
    "labs/mistakes.md",
    "labs/MISTAKES.md",
    "labs/lab*/mutants/",
)
# Files that students get under another name.
RENAMED = {"labs/student.md": "README.md"}

REQUIRED = (".gitattributes", *RENAMED)
C_LIKE = (".c", ".h", ".S", ".ld")
DIRECTIVE = re.compile(rb"[ \t]*#[ \t]*(if|ifdef|ifndef|elif)\b(.*)", re.DOTALL)
END = re.compile(rb"[ \t]*#[ \t]*endif\b")
MARK = re.compile(rb"\b(LAB|SOL)\b")
_BLANK = b"blank line of the source"


def staff_only(path: str) -> bool:
    """Does `path` stay with staff?"""
    for pattern in STAFF_ONLY:
        if pattern.endswith("/"):
            depth = pattern.count("/")
            folder = "/".join(path.split("/")[:depth]) + "/"
            if path.count("/") >= depth and fnmatch.fnmatchcase(folder, pattern):
                return True
        elif fnmatch.fnmatchcase(path, pattern):
            return True
    return False


def is_text(data: bytes) -> bool:
    return b"\0" not in data[:8192]


def _runs(numbers: list[int]) -> Iterator[list[int]]:
    """The maximal runs of consecutive numbers."""
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            yield numbers[start:end]
            start = end


@dataclass(frozen=True)
class Region:
    """The lines first..last (from 0, inclusive) of one `#if` ... `#endif` on SOL in the source."""

    first: int
    last: int


class SourceFile:
    """One released file of the source, and what is left of it at each LAB and SOL."""

    def __init__(self, path: str, mode: str, data: bytes) -> None:
        self.path, self.mode, self.data = path, mode, data
        self.lines = data.split(b"\n")
        self._kept: dict[tuple[int, int], list[int]] = {}

    @cached_property
    def is_conditional(self) -> bool:
        """Do conditions on LAB or SOL stand in this file?"""
        return self.mode != "120000" and is_text(self.data) and any(True for _ in self.conditions())

    def conditions(self) -> Iterator[tuple[int, bytes]]:
        """Line number (from 0) and expression of each condition on LAB or SOL."""
        if not MARK.search(self.data):
            return
        for number, text in enumerate(self.lines):
            if (match := DIRECTIVE.match(text)) and MARK.search(match[2]):
                yield number, match[2]

    def kept(self, lab: int, sol: int) -> list[int]:
        """The numbers of the lines that LAB=lab SOL=sol leaves, as unifdef sees it."""
        if not self.is_conditional:
            return list(range(len(self.lines)))
        if (lab, sol) not in self._kept:
            self._kept[lab, sol] = self._unifdef(lab, sol)
        return self._kept[lab, sol]

    def _unifdef(self, lab: int, sol: int) -> list[int]:
        # -b blanks lines in place, which keeps their numbers; a mark tells blanked from blank.
        stream = b"\n".join(line if line.strip() else _BLANK for line in self.lines) + b"\n"
        command = ["unifdef", "-b", f"-DLAB={lab}", f"-DSOL={sol}"]
        if PurePosixPath(self.path).suffix not in C_LIKE:
            command.append("-t")  # no C comments or quotes: make, shell, Markdown
        try:
            done = subprocess.run(command, input=stream, capture_output=True)
        except FileNotFoundError:
            raise Refused("unifdef is not installed: run ./setup, or install the package unifdef") from None
        if done.returncode not in (0, 1):  # 0: unchanged, 1: changed, else trouble
            why = done.stderr.decode(errors="replace").strip().replace("<stdin>", self.path).replace("unifdef: ", "")
            raise Refused(f"unifdef cannot cut {self.path} for lab {lab}:\n{why}")
        result = done.stdout.split(b"\n")[:-1]
        if len(result) != len(self.lines):
            raise Refused(f"unifdef lost count of the lines of {self.path}")
        return [number for number, line in enumerate(result) if line]

    def tidy(self, lab: int, sol: int) -> list[int]:
        """`kept`, less the blank lines that are one too many where something was taken out."""
        kept = self.kept(lab, sol)
        if len(kept) == len(self.lines):
            return kept
        result: list[int] = []
        for run in _runs(kept):
            if run[0] != 0:  # something was taken out before this run
                lead = 0
                while lead < len(run) and not self.lines[run[lead]].strip():
                    lead += 1
                following = self.lines[run[lead]].lstrip() if lead < len(run) else b""
                if following.startswith(b"}"):
                    result = self._without_trailing_blanks(result)
                    run = run[lead:]
                elif not result or not self.lines[result[-1]].strip() or self.lines[result[-1]].endswith(b"{"):
                    run = run[lead:]
            result += run
        if self.lines[-1] == b"":  # the end of the last line: always there, once
            result = [*self._without_trailing_blanks(result), len(self.lines) - 1]
        return result

    def _without_trailing_blanks(self, numbers: list[int]) -> list[int]:
        end = len(numbers)
        while end and not self.lines[numbers[end - 1]].strip():
            end -= 1
        return numbers[:end]

    def text(self, lab: int, sol: int) -> bytes:
        if not self.is_conditional:
            return self.data
        return b"\n".join(self.lines[number] for number in self.tidy(lab, sol))

    @cached_property
    def regions(self) -> list[Region]:
        """The exercises: each outermost #if ... #endif one of whose conditions names SOL."""
        found: list[Region] = []
        stack: list[list[int]] = []  # per open #if: its line, and whether it concerns SOL
        for number, text in enumerate(self.lines):
            if match := DIRECTIVE.match(text):
                on_sol = int(re.search(rb"\bSOL\b", match[2]) is not None)
                if match[1] == b"elif" and stack:
                    stack[-1][1] |= on_sol
                elif match[1] != b"elif":
                    stack.append([number, on_sol])
            elif END.match(text) and stack:
                first, on_sol = stack.pop()
                if on_sol:
                    found = [region for region in found if region.first < first]
                    found.append(Region(first, number))
        return found

    def solution_lines(self, last: int, known: int = 0) -> set[int]:
        """The numbers of the lines that need SOL > `known` to be there."""
        if not self.is_conditional or not self.regions:
            return set()
        found: set[int] = set()
        for lab in range(1, last + 1):
            bare = set(self.kept(lab, min(known, lab)))
            for sol in range(known + 1, lab + 1):
                found |= set(self.kept(lab, sol)) - bare
        return found


class Source:
    """One commit of the finished kernel."""

    def __init__(self, git: Git, commit: str) -> None:
        self.git, self.commit = git, commit
        self.entries = {entry.path: entry for entry in git.files(commit)}
        self.contents = git.blobs(entry.id for entry in self.entries.values() if entry.mode != "160000")
        texts = {}
        for path, entry in self.entries.items():
            if match := labs.TOML_PATH.fullmatch(path):
                texts[int(match[1])] = self.contents[entry.id].decode(errors="replace")
        try:
            self.labs = labs.parse_all(texts)
        except labs.LabError as error:
            raise Refused(f"{error}\n(in commit {commit[:10]})") from None
        self.last = len(labs.finished(self.labs))
        self.released = {
            path: SourceFile(path, entry.mode, self.contents[entry.id])
            for path, entry in self.entries.items()
            if entry.mode != "160000" and not staff_only(path)
        }

    def lab_of(self, path: str) -> int:
        """The lab that brings `path` in."""
        return labs.lab_of(self.labs, path)


class Cut:
    """The tree of lab `lab` with the exercises of the labs up to `sol` filled in."""

    def __init__(self, source: Source, lab: int, sol: int) -> None:
        self.source, self.lab, self.sol = source, lab, sol
        self.origin = {
            RENAMED.get(path, path): file
            for path, file in sorted(source.released.items())
            if source.lab_of(path) <= lab
        }

    def text(self, path: str) -> bytes:
        return self.origin[path].text(self.lab, self.sol)

    def write(self, git: Git) -> str:
        """Writes the tree to `git`'s objects; returns its id."""
        entries = []
        for path, file in self.origin.items():
            if file.is_conditional:
                name = git.write_blob(self.text(path))
            else:
                name = self.source.entries[file.path].id
            entries.append(Entry(file.mode, name, path))
        return git.write_tree(entries)
