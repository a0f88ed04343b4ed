"""Reads the student's files out of a git repository that may be hostile.

git never runs in it.  Objects and references are copied, names checked, into a bare repository of
our own, with our own configuration; nothing of theirs that git would obey comes along: no
configuration, hooks, attributes, alternates, grafts, replacements, index or work tree.  There git
runs in the sandbox and is asked for single trees and blobs.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from grade import sandbox
from grade.names import Entry, Sink
from grade.submission import MAX_SIZE, BadSubmission

MAX_BYTES = 512 << 20       # of objects
MAX_FILES = 100_000
MAX_TREE = 8 << 20          # bytes of one folder's listing
SECONDS = 60
MEMORY = 4 << 30            # address space of git, which maps packs whole

LOOSE = re.compile(r"[0-9a-f]{38}\Z")
PACK = re.compile(r"pack-[0-9a-f]{40}\.(pack|idx)\Z")
REF_NAME = re.compile(r"(?!.*(\.\.|//|@\{|\.lock/|\.lock\Z))[^\x00-\x20~^:?*\[\\\x7f]{1,400}\Z")
OBJECT = re.compile(rb"[0-9a-f]{40}\Z")
SYMBOLIC = re.compile(rb"ref: (refs/[^\x00-\x20~^:?*\[\\\x7f]{1,400})\Z")
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\thooksPath = /dev/null\n\tfsmonitor = false\n"


def git_folder(path: Path) -> Path | None:
    """The repository in a folder, or the folder itself when it is a bare one; None: neither."""
    inside = path / ".git"
    try:
        kind = inside.lstat().st_mode
    except OSError:
        bare = all((path / part).is_dir() for part in ("objects", "refs")) and (path / "HEAD").is_file()
        return path if bare else None
    if not stat.S_ISDIR(kind):
        raise BadSubmission(".git is no folder of its own but points elsewhere: hand in a plain clone")
    return inside


class Copy:
    """Copies what is needed out of a git folder, following no link."""

    def __init__(self, to: Path):
        self.to = to
        self.bytes = 0
        self.files = 0

    def file(self, folder: int, name: str, to: Path, limit: int = MAX_BYTES) -> bool:
        """False when it is not an ordinary file."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return False
        with open(fd, "rb") as source:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                return False
            self.files += 1
            if state.st_size > limit or self.bytes + state.st_size > MAX_BYTES or self.files > MAX_FILES:
                raise BadSubmission("the repository is too large (more than "
                                    f"{MAX_BYTES >> 20} MiB or {MAX_FILES} files)")
            to.parent.mkdir(parents=True, exist_ok=True)
            left = state.st_size
            with open(to, "wb") as target:
                while left > 0 and (piece := source.read(min(left, 1 << 20))):
                    target.write(piece)
                    left -= len(piece)
            self.bytes += state.st_size
        return True

    def text(self, folder: int, name: str, limit: int) -> bytes | None:
        scratch = self.to / "text"
        if not self.file(folder, name, scratch, limit):
            return None
        data = scratch.read_bytes()
        scratch.unlink()
        return data


def _folder(at: int, name: str) -> int | None:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    except OSError:
        return None


def _reference(data: bytes) -> bytes | None:
    """The contents of a reference if they are what they should be."""
    text = data.strip()
    symbolic = SYMBOLIC.match(text)
    return text if OBJECT.match(text) or symbolic and b".." not in text else None


def _copy_references(copy: Copy, at: int, name: str, depth: int = 0) -> None:
    """name: refs or below it; at: the open folder of that name."""
    for child in sorted(os.listdir(at)):
        full = f"{name}/{child}"
        if not REF_NAME.match(full) or child.startswith(".") or "replace" in full.split("/") or depth > 10:
            continue
        below = _folder(at, child)
        if below is not None:
            try:
                _copy_references(copy, below, full, depth + 1)
            finally:
                os.close(below)
            continue
        data = copy.text(at, child, 4096)
        if data is not None and (good := _reference(data)):
            target = copy.to / full
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(good + b"\n")


def _copy_objects(copy: Copy, at: int) -> None:
    for child in sorted(os.listdir(at)):
        below = _folder(at, child) if re.fullmatch(r"[0-9a-f]{2}|pack", child) else None
        if below is None:
            continue
        try:
            wanted = PACK if child == "pack" else LOOSE
            for name in os.listdir(below):
                if wanted.match(name):
                    copy.file(below, name, copy.to / "objects" / child / name)
        finally:
            os.close(below)


def copy_repository(source: Path, to: Path) -> None:
    """A bare repository of ours with their objects and references."""
    (to / "objects" / "pack").mkdir(parents=True)
    (to / "refs").mkdir()
    copy = Copy(to)
    at = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        head = copy.text(at, "HEAD", 4096)
        (to / "HEAD").write_bytes((_reference(head or b"") or b"ref: refs/heads/main") + b"\n")
        packed = copy.text(at, "packed-refs", 8 << 20) or b""
        lines = [row for row in packed.split(b"\n") if re.match(rb"[0-9a-f]{40} refs/(?!replace/)", row)
                 and b".." not in row]
        (to / "packed-refs").write_bytes(b"".join(row + b"\n" for row in lines))
        shallow = copy.text(at, "shallow", 1 << 20) or b""
        rows = [row for row in shallow.split(b"\n") if OBJECT.match(row)]
        if rows:
            (to / "shallow").write_bytes(b"".join(row + b"\n" for row in rows))
        for name in ("refs", "objects"):
            folder = _folder(at, name)
            if folder is None:
                continue
            try:
                if name == "refs":
                    _copy_references(copy, folder, name)
                else:
                    _copy_objects(copy, folder)
            finally:
                os.close(folder)
    finally:
        os.close(at)
    (to / "config").write_text(CONFIG)


@dataclass
class Repository:
    """A copy made by copy_repository, and the git that reads it."""
    folder: Path
    scratch: Path
    commit: str = ""
    date: str = ""

    def git(self, *arguments: str, limit: int = MAX_TREE, given: bytes = b"") -> bytes | None:
        """What git prints; None when it fails."""
        out = self.scratch / "git.out"
        environment = {
            "PATH": sandbox.path_for("git"), "HOME": "/nonexistent", "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_PAGER": "cat"}
        try:
            with open(out, "wb") as sink, tempfile.TemporaryFile() as source:
                source.write(given)
                source.seek(0)
                done = subprocess.run(
                    [*sandbox.prefix(self.scratch, "git"), "git", "--git-dir", str(self.folder), "--no-pager",
                     *arguments], cwd=self.scratch, env=environment, stdin=source, stdout=sink,
                    stderr=subprocess.DEVNULL, timeout=SECONDS,
                    preexec_fn=sandbox.limits(cpu=SECONDS, file_size=limit + 1, memory=MEMORY))
            data = out.read_bytes()
        except subprocess.TimeoutExpired:
            raise BadSubmission("git takes too long to read the repository") from None
        if len(data) > limit:
            raise BadSubmission("the repository is too large to read")
        return data if done.returncode == 0 else None

    def resolve(self, ref: str | None, before: datetime | None) -> None:
        """Find the commit to grade.  A branch comes before a tag of the same name."""
        names = ["HEAD"] if ref is None or ref == "HEAD" else (
            [ref] if ref.startswith("refs/") else
            [f"refs/heads/{ref}", f"refs/remotes/origin/{ref}", f"refs/remotes/{ref}", f"refs/tags/{ref}"])
        if ref and re.fullmatch(r"[0-9a-f]{7,40}", ref):
            names.append(ref)
        commit = b""
        for name in names:
            if name != "HEAD" and not REF_NAME.match(name):
                continue
            found = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")
            if found and OBJECT.match(found.strip()):
                commit = found.strip()
                break
        if not commit:
            raise BadSubmission(f"the repository has no {ref}" if ref else "the repository has no commit at its HEAD")
        if before is not None:
            found = self.git("rev-list", "-1", f"--min-age={int(before.timestamp())}", commit.decode())
            if not found or not OBJECT.match(found.strip()):
                raise BadSubmission(f"the repository has no commit before {before.isoformat(sep=' ')}"
                                    + (f" on {ref}" if ref else ""))
            commit = found.strip()
        self.commit = commit.decode()
        seconds = (self.git("log", "-1", "--no-show-signature", "--format=%ct", self.commit) or b"").strip()
        if re.fullmatch(rb"[0-9]{1,11}", seconds):
            self.date = datetime.fromtimestamp(int(seconds), timezone.utc).isoformat(sep=" ")

    def folder_entries(self, folder: str) -> Iterator[tuple[Entry, str]]:
        """One folder of the commit, without what is below."""
        listing = self.git("ls-tree", "-z", "-l", "--end-of-options", f"{self.commit}:{folder}")
        for row in (listing or b"").split(b"\0"):
            head, tab, name = row.partition(b"\t")
            parts = head.split()
            if not tab or len(parts) != 4:
                continue
            mode, _, blob, size = parts
            kinds = {b"040000": "folder", b"120000": "link", b"160000": "a submodule"}
            full = (folder + "/" if folder else "") + name.decode("utf-8", "surrogateescape")
            yield (Entry(full, kinds.get(mode, "file"), int(size) if size.isdigit() else 0), blob.decode("ascii"))


class GitSource:
    """The folders of a commit that may hold what is wanted."""

    def __init__(self, repository: Repository, folders: set[str]):
        self.repository = repository
        self.folders = {parent for f in folders for parent in self.chain(f)}
        self.blobs: dict[str, str] = {}
        self.sizes: dict[str, int] = {}

    @staticmethod
    def chain(folder: str) -> Iterator[str]:
        while True:
            yield folder
            if not folder:
                return
            folder = folder.rpartition("/")[0]

    def entries(self) -> Iterator[Entry]:
        there = {""}
        for folder in sorted(self.folders, key=lambda f: (f.count("/"), f)):
            if folder not in there:
                continue
            for entry, blob in self.repository.folder_entries(folder):
                if entry.kind == "folder":
                    there.add(entry.name)
                elif entry.kind == "file":
                    self.blobs[entry.name], self.sizes[entry.name] = blob, entry.size
                yield entry

    def read(self, names: set[str], sink: Sink) -> None:
        for name in sorted(names):
            if self.sizes[name] > MAX_SIZE:
                sink(name, None)
        small = [n for n in sorted(names) if self.sizes[n] <= MAX_SIZE]
        if not small:
            return
        asked = "".join(self.blobs[n] + "\n" for n in small).encode()
        data = self.repository.git("cat-file", "--batch", given=asked,
                                   limit=sum(self.sizes[n] + 100 for n in small)) or b""
        at = 0
        for name in small:
            end = data.find(b"\n", at)
            head = data[at:end].split() if end >= 0 else []
            if head[:2] != [self.blobs[name].encode(), b"blob"] or int(head[2]) != self.sizes[name]:
                raise BadSubmission(f"the repository is broken: git cannot read {name}")
            at = end + 1 + self.sizes[name] + 1
            sink(name, data[end + 1:at - 1])
