"""Where a submission comes from: a folder, a git repository, a zip or tar file, a handin bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from grade import archive, contain, names, repository, submission
from grade.names import Entry, Sink, shown
from grade.submission import BadSubmission, Submission

MANIFEST = "manifest.json"      # what `make handin` adds
MAX_WALK = 20_000               # files looked at in a folder
MAX_FOLDER_DEPTH = 8


@dataclass(frozen=True)
class Wish:
    """What is to be taken out of a submission."""
    lab: int
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    staff: dict[str, bytes] = field(default_factory=dict)       # other files -> digest, see names.take
    ref: str | None = None
    before: datetime | None = None

    @property
    def folders(self) -> set[str]:
        return {n.rpartition("/")[0] for n in (*self.needed, *self.optional, *self.staff)}


def staff_digests(tree: Path, mine: Iterable[str]) -> dict[str, bytes]:
    """Digests of the course's own files, as far as a student gets to see them."""
    skip = set(mine)
    found = {}
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if name not in skip and path.is_file() and not path.is_symlink() and not name.startswith("obj/"):
            found[name] = names.digest(path.read_bytes())
    return found


def moment(text: str) -> datetime:
    """A date as --before takes it: 2026-11-20, '2026-11-20 23:59', with a zone or in this machine's."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadSubmission(f"{text!r} is not a date such as '2026-11-20 23:59' or 2026-11-20T23:59+01:00") from None
    return found.astimezone()


class Folder:
    """A folder that is not like the course's tree itself, but may hold it further down."""

    def __init__(self, path: Path):
        self.path = path
        self.archives: list[str] = []

    def entries(self) -> Iterator[Entry]:
        count = 0
        todo = [("", 0)]
        while todo:
            at, depth = todo.pop()
            try:
                listing = sorted(os.scandir(self.path / at), key=lambda e: e.name)
            except OSError:
                continue
            for item in listing:
                count += 1
                if count > MAX_WALK:
                    raise BadSubmission(f"there are more than {MAX_WALK} files in it")
                name = f"{at}/{item.name}" if at else item.name
                kind = ("link" if item.is_symlink() else "folder" if item.is_dir(follow_symlinks=False) else
                        "file" if item.is_file(follow_symlinks=False) else "a device or a pipe")
                if kind == "folder" and item.name != ".git" and depth < MAX_FOLDER_DEPTH:
                    todo.append((name, depth + 1))
                if kind == "file" and not names.is_noise(name) and self.is_archive(name):
                    self.archives.append(name)
                yield Entry(name, kind)

    def file(self, name: str) -> Path:
        """The path of a file inside, which no link may be part of."""
        at = self.path
        for part in name.split("/"):
            at = at / part
            if at.is_symlink():
                raise BadSubmission(f"{shown(name)} is a link")
        return at

    def is_archive(self, name: str) -> bool:
        return name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2"))

    def read(self, wanted: set[str], sink: Sink) -> None:
        for name in sorted(wanted):
            sink(name, submission.read_file(self.path, name))


def take_folder(path: Path, wish: Wish) -> Submission:
    finder = names.Finder(wish.needed, wish.optional)
    source = Folder(path)
    for entry in source.entries():
        finder.add(entry)
    root = finder.root()
    if root is None and len(source.archives) == 1:
        taken = take_archive(source.file(source.archives[0]), wish)
        taken.notes.append(f"taken from {shown(source.archives[0])} in the folder")
        return taken
    if root is None and source.archives:
        raise BadSubmission("there are several archives in it and no sources: hand in one")
    missing = finder.wanted if root is None else finder.check(root)
    if root is None or missing:
        raise names.lacks(missing)
    inner = path / root
    taken = submission.take(inner, wish.needed, wish.optional)
    for name in wish.staff:
        try:
            data = submission.read_file(inner, name, 16 * submission.MAX_SIZE)
        except BadSubmission:
            taken.ignored.append(name)
            continue
        if data is not None and names.digest(data) != wish.staff[name]:
            taken.ignored.append(name)
    taken.origin = {"kind": "folder"}
    return taken


def take_archive(path: Path, wish: Wish) -> Submission:
    try:
        source = archive.source_of(path)
        taken, apart = names.take(source, wish.needed, wish.optional, wish.staff, [MANIFEST])
    except archive.BROKEN as e:
        raise BadSubmission(f"it is broken and cannot be unpacked ({shown(str(e)) or type(e).__name__})") from None
    taken.origin = {"kind": "zip file" if isinstance(source, archive.Zip) else "tar file"}
    if MANIFEST in apart:
        read_manifest(apart[MANIFEST], taken, wish.lab)
    return taken


def read_manifest(data: bytes, taken: Submission, lab: int) -> None:
    """What make handin wrote: kept for the report, believed in nothing."""
    try:
        manifest: Any = json.loads(data)
        if not isinstance(manifest, dict) or manifest.get("format") != 1:
            raise ValueError
        files = manifest["files"]
        changed = sorted(n for n, text in taken.files.items()
                         if files.get(n, "") != hashlib.sha256(text).hexdigest())
        packed_for = manifest["lab"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        taken.notes.append("its manifest.json is not one that make handin writes")
        return
    taken.origin["kind"] = "make handin"
    for key in ("commit", "author", "date"):
        value = manifest.get(key)
        if isinstance(value, str):
            taken.origin[key] = shown(value) if not value.isprintable() else value[:200]
    if changed:
        taken.notes.append(f"{', '.join(changed)}: changed after make handin packed it")
    if packed_for != lab:
        taken.notes.append(f"packed by make handin for lab {shown(str(packed_for))[:20]}, graded as lab {lab}")


def take_repository(path: Path, wish: Wish) -> Submission:
    scratch = Path(tempfile.mkdtemp(prefix="bramble-git-"))
    try:
        found = repository.Repository(scratch / "git", scratch)
        contain.contained(repository.copy_repository, path, found.folder, memory=0)
        found.resolve(wish.ref, wish.before)
        source = repository.GitSource(found, wish.folders)
        taken, _ = names.take(source, wish.needed, wish.optional, wish.staff)
        taken.origin = {"kind": "git repository", "commit": found.commit, "date": found.date}
        if wish.ref:
            taken.origin["ref"] = wish.ref
        return taken
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def take(path: Path, wish: Wish) -> Submission:
    """The student's files of whatever is at path; BadSubmission says why not."""
    try:
        kind = path.lstat().st_mode
    except OSError as e:
        raise BadSubmission(f"it is not a folder, nor a file that can be read: {e.strerror}") from None
    if stat.S_ISLNK(kind):
        raise BadSubmission("it is a symbolic link: hand in the thing itself")
    dated = wish.ref is not None or wish.before is not None
    if stat.S_ISDIR(kind):
        bare = not (path / ".git").exists()
        git = repository.git_folder(path) if dated or bare else None
        if git is not None:
            return take_repository(git, wish)
        taken = contain.contained(take_folder, path, wish)
    elif stat.S_ISREG(kind):
        taken = contain.contained(take_archive, path, wish)
    else:
        raise BadSubmission("it is neither a folder nor a file")
    if dated:
        option = "--ref" if wish.ref is not None else "--before"
        taken.notes.append(f"no git repository, so {option} says nothing about it: taken as it is")
    return taken
