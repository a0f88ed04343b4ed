"""Packs what a student hands in: the lab's files as committed, and a manifest."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import labs
from gitrepo import Git
from say import Refused

FORMAT = 1


@dataclass(frozen=True)
class Handin:
    """What was packed."""

    archive: Path
    lab: int
    commit: str
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def pack(git: Git, root: Path, release: str | None, archive: Path | None) -> Handin:
    """Writes the archive from HEAD.  `release` is the course's commit the work stands on, if known."""
    tree = labs.read(root)
    lab = tree[-1].number
    commit = git.text("rev-parse", "HEAD")
    entries = {entry.path: entry for entry in git.files(commit)}
    needed, optional = labs.student_files(tree, lab)
    if missing := [path for path in needed if path not in entries]:
        where = release or "COMMIT"
        raise Refused(
            f"lab {lab} cannot be handed in without {', '.join(missing)}.\n"
            f"Bring the file back with  git checkout {where[:12]} -- {missing[0]}  or commit your own, then try again"
        )
    paths = needed + [path for path in optional if path in entries]
    contents = git.blobs(entries[path].id for path in paths)
    if links := [path for path in paths if entries[path].mode == "120000"]:
        raise Refused(f"{links[0]} is a symbolic link; hand in the file itself")
    files = {path: contents[entries[path].id] for path in paths}
    manifest = {
        "format": FORMAT,
        "lab": lab,
        "commit": commit,
        "release": release,
        "author": git.text("log", "-1", "--format=%an <%ae>", commit),
        "date": git.text("log", "-1", "--format=%cI", commit),
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    target = archive or root / "obj" / f"handin-lab{lab}.tar.gz"
    date = int(git.text("log", "-1", "--format=%ct", commit))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, f"handin-lab{lab}", files, date)
    except OSError as error:
        raise Refused(f"cannot write {target}: {error.strerror}; name another place with --output") from None
    return Handin(target, lab, commit, tuple(paths), tuple(_left_out(git, release, commit, paths)))


def _write(target: Path, folder: str, files: dict[str, bytes], date: int) -> None:
    """The archive: the same commit gives the same bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(files.items()):
            info = tarfile.TarInfo(f"{folder}/{path}")
            info.size, info.mtime, info.mode = len(data), date, 0o644
            tar.addfile(info, io.BytesIO(data))
    partial = target.with_name(target.name + ".part")
    partial.write_bytes(gzip.compress(stream.getvalue(), mtime=date))
    partial.replace(target)


def _left_out(git: Git, release: str | None, commit: str, paths: Sequence[str]) -> list[str]:
    """What the student changed and does not hand in."""
    if release is None:
        return []
    return [path for path in git.lines("diff-tree", "-r", "--name-only", release, commit) if path not in paths]
