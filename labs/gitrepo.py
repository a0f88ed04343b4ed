"""A git repository, spoken to through git's plumbing commands."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Left over from a hook or an outer git command, these would lead git into another repository.
_OUTER = (
    "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES "
    "GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX GIT_QUARANTINE_PATH GIT_GRAFT_FILE"
).split()


class GitError(Exception):
    """A git command failed; the message is git's own."""


@dataclass(frozen=True)
class Entry:
    """One file of a tree."""

    mode: str
    id: str
    path: str


@dataclass(frozen=True)
class Person:
    """Who made a commit, and when (git's raw form: seconds and time zone)."""

    name: str
    email: str
    date: str

    def env(self, role: str) -> dict[str, str]:
        values = {"NAME": self.name, "EMAIL": self.email, "DATE": f"@{self.date}"}
        return {f"GIT_{role}_{key}": value for key, value in values.items()}


class Git:
    """Git commands in one folder.  With `pure`, no configuration of this machine or user counts."""

    def __init__(self, folder: Path, pure: bool = False) -> None:
        self.folder = folder
        self._written: dict[bytes, str] = {}
        self.environment = {key: value for key, value in os.environ.items() if key not in _OUTER}
        self.environment |= {"LC_ALL": "C", "GIT_NO_REPLACE_OBJECTS": "1"}
        if pure:
            self.environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def run(
        self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        command = ["git", "-c", f"core.hooksPath={os.devnull}", *arguments]
        environment = self.environment | dict(env or {})
        try:
            return subprocess.run(command, cwd=self.folder, env=environment, input=stdin, capture_output=True)
        except FileNotFoundError:
            raise GitError("git is not installed: run ./setup") from None

    def data(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        done = self.run(*arguments, stdin=stdin, env=env)
        if done.returncode != 0:
            message = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
            name = next(word for before, word in zip(("", *arguments), arguments) if "-c" not in (before, word))
            raise GitError(f"git {name}: {message or f'exit status {done.returncode}'}")
        return done.stdout

    def text(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        return self.data(*arguments, stdin=stdin, env=env).decode(errors="surrogateescape").rstrip("\n")

    def lines(self, *arguments: str) -> list[str]:
        return self.text(*arguments).splitlines()

    def ok(self, *arguments: str) -> bool:
        """Did the command end with status 0?"""
        return self.run(*arguments).returncode == 0

    def commit_id(self, name: str) -> str | None:
        """The id of the commit that `name` means, or None."""
        done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def tree_id(self, commit: str) -> str:
        return self.text("rev-parse", f"{commit}^{{tree}}")

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.ok("merge-base", "--is-ancestor", old, new)

    def files(self, tree: str) -> list[Entry]:
        """Every file of a tree or commit."""
        found = []
        for row in self.data("ls-tree", "-r", "-z", "--full-tree", tree).split(b"\0")[:-1]:
            about, path = row.split(b"\t", 1)
            mode, _, name = about.decode().split(" ")
            found.append(Entry(mode, name, path.decode(errors="surrogateescape")))
        return found

    def blobs(self, ids: Iterable[str]) -> dict[str, bytes]:
        """The contents of blobs, by id."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        stream = self.data("cat-file", "--batch", stdin="".join(f"{name}\n" for name in wanted).encode())
        found, at = {}, 0
        for name in wanted:
            end = stream.index(b"\n", at)
            header = stream[at:end].split(b" ")
            if len(header) != 3:
                raise GitError(f"git cat-file: object {name} is missing")
            size = int(header[2])
            found[name] = stream[end + 1 : end + 1 + size]
            at = end + size + 2
        return found

    def write_blob(self, data: bytes) -> str:
        if data not in self._written:       # most files are the same in several labs
            self._written[data] = self.text("hash-object", "-w", "-t", "blob", "--no-filters", "--stdin", stdin=data)
        return self._written[data]

    def write_tree(self, entries: Iterable[Entry]) -> str:
        rows = "".join(f"{entry.mode} {entry.id}\t{entry.path}\0" for entry in entries)
        with tempfile.TemporaryDirectory(prefix="bramble-index-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.data("update-index", "-z", "--index-info", stdin=rows.encode(errors="surrogateescape"), env=env)
            return self.text("write-tree", env=env)

    def write_commit(
        self, tree: str, parents: Sequence[str], message: str, author: Person, committer: Person | None = None
    ) -> str:
        options = [option for parent in parents for option in ("-p", parent)]
        env = author.env("AUTHOR") | (committer or author).env("COMMITTER")
        settings = ("-c", "commit.gpgSign=false", "-c", "i18n.commitEncoding=UTF-8")
        return self.text(*settings, "commit-tree", tree, *options, stdin=message.encode(), env=env)
