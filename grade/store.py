"""Where a class's results are kept: one JSON file a submission, known by what it depends on."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from grade import machine, report, sandbox
from grade.one import Course
from grade.submission import Submission

FORMAT = 1
# What a score does not depend on: in the course's tree, and (the files taken being known) of the grader itself.
UNBUILT = (".md", ".svg", ".css", ".html", ".txt", ".js", ".yml")
UNSCORED = {"__main__.py", "archive.py", "boot.py", "contain.py", "crew.py", "export.py", "gradescope.py", "intake.py",
            "names.py", "page.py", "report.py", "repository.py", "sheet.py", "store.py", "whole_class.py"}


def file_name(entry: str) -> str:
    """The result's file name for an entry of the class's folder: harmless, and one for each."""
    kept = re.compile(rb"[A-Za-z0-9@+,=~ _.-]")
    quoted = "".join(chr(c) if kept.match(bytes([c])) else f"%{c:02X}" for c in os.fsencode(entry))
    if quoted.startswith((".", "-")):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if len(quoted) > 180:
        quoted = quoted[:160] + "~" + hashlib.sha256(os.fsencode(entry)).hexdigest()[:16]
    return quoted + ".json"


def content_of(taken: Submission) -> str:
    """A digest of the student's files."""
    digest = hashlib.sha256()
    for name, data in sorted(taken.files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def seed_of(content: str, lab: int) -> int:
    """The same for the same files, so that a second run gives the same score."""
    return int(hashlib.sha256(f"seed {lab} {content}".encode()).hexdigest()[:15], 16) % 10**12


def _version(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0]


@functools.cache
def _tools() -> tuple[str, ...]:
    crosses = ("aarch64-linux-gnu-", "aarch64-none-elf-", "aarch64-elf-")
    cross = os.environ.get("CROSS")
    return (_version(machine.qemu_binary(), "--version"),
            *(_version(c + "gcc", "--version") for c in ((cross,) if cross else crosses)))


def conditions(course: Course, **options: Any) -> str:
    """A digest of everything that a result depends on, the submission apart."""
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256(json.dumps(
        [FORMAT, course.number, course.sol, [(m.number, c.name) for m, c, _ in course.wanted], course.needed,
         options, _tools(), sandbox.missing() is None], sort_keys=True).encode())
    files = [(p.relative_to(course.tree.path).as_posix(), p) for p in course.tree.path.rglob("*")
             if p.is_file() and not p.is_symlink()]
    files = [(n, p) for n, p in files if not n.endswith(UNBUILT) and not n.startswith(("grade/", "obj/"))]
    files += [("grade/" + p.name, p) for p in here.glob("*.py") if p.name not in UNSCORED]
    for name, path in sorted(files):
        digest.update(f"\0{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def key_of(conditions_: str, content: str) -> str:
    return hashlib.sha256(f"{conditions_} {content}".encode()).hexdigest()


def is_result(data: Any) -> bool:
    return (isinstance(data, dict) and data.get("format") == FORMAT and isinstance(data.get("checks"), list)
            and data.get("status") in ("graded", "refused", "error"))


def read(path: Path) -> dict[str, Any] | None:
    """A result; None when there is none or it is none of ours."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if is_result(data) else None


def write(path: Path, data: dict[str, Any]) -> None:
    report.write_text(path, json.dumps({"format": FORMAT, **data}, indent=1) + "\n")

