"""Takes the student's files, and nothing else, out of a submission."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MAX_SIZE = 1 << 20      # bytes of one source file


class BadSubmission(Exception):
    """Nothing can be graded; the message says what to hand in instead."""


@dataclass
class Submission:
    files: dict[str, bytes] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)    # staff files that the student edited
    notes: list[str] = field(default_factory=list)      # for the report
    origin: dict[str, str] = field(default_factory=dict)    # what it came from: kind, commit, date...


def read_file(root: Path, name: str, limit: int = MAX_SIZE) -> bytes | None:
    """A regular file below root, reached without following a symbolic link; None: not there."""
    *folders, last = name.split("/")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            try:
                deeper = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            except FileNotFoundError:
                return None
            except OSError:
                raise BadSubmission(f"{name}: {folder} is not a real folder") from None
            os.close(at)
            at = deeper
        try:
            kind = os.lstat(last, dir_fd=at).st_mode
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(kind):
            raise BadSubmission(f"{name} is a symbolic link: hand in the file itself")
        if not stat.S_ISREG(kind):
            raise BadSubmission(f"{name} is not an ordinary file")
        fd = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
        with open(fd, "rb") as f:
            data = f.read(limit + 1)
    except OSError as e:
        raise BadSubmission(f"{name} cannot be read: {e.strerror}") from None
    finally:
        os.close(at)
    if len(data) > limit:
        raise BadSubmission(f"{name} is larger than {limit >> 10} KiB: that is no source file")
    return data


def check_text(name: str, data: bytes) -> None:
    if data.startswith((b"\x7fELF", b"!<arch>")):
        raise BadSubmission(f"{name} is a compiled file, not source")
    if b"\0" in data:
        raise BadSubmission(f"{name} is a binary file, not source text")


def take(root: Path, wanted: Iterable[str], optional: Iterable[str] = ()) -> Submission:
    """The files of a submission folder.  wanted must all be there."""
    if not root.is_dir():
        raise BadSubmission(f"{root} is not a folder")
    result = Submission()
    missing: list[str] = []
    for name in dict.fromkeys(wanted):
        data = read_file(root, name)
        if data is None:
            missing.append(name)
            continue
        check_text(name, data)
        result.files[name] = data
    if missing:
        raise BadSubmission("missing from " + str(root) + ": " + ", ".join(missing)
                            + " (the folder must look like the course's tree)")
    for name in dict.fromkeys(optional):
        data = read_file(root, name)
        if data is not None:
            check_text(name, data)
            result.files[name] = data
    return result


def edited(root: Path, pristine: Path, taken: Iterable[str]) -> list[str]:
    """Staff's files that differ in the submission: they are ignored, and the student is told."""
    found = []
    mine = set(taken)
    for path in sorted(pristine.rglob("*")):
        name = path.relative_to(pristine).as_posix()
        if name in mine or path.is_symlink() or not path.is_file():
            continue
        try:
            theirs = read_file(root, name, 16 * MAX_SIZE)
        except BadSubmission:
            found.append(name)
            continue
        if theirs is not None and (theirs.replace(b"\r\n", b"\n")
                                   != path.read_bytes().replace(b"\r\n", b"\n")):
            found.append(name)
    return found
