"""Names in archives, repositories and folders: which are refused, and which are the wanted files.

Nothing is ever written under a name that came with a submission: names are only compared with
the course's own.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from grade.submission import MAX_SIZE, BadSubmission, Submission, check_text

MAX_NAME = 1024         # characters of a path
MAX_DEPTH = 12          # folders around the course's tree
NOISE = ("__MACOSX/", "._", ".DS_Store")


@dataclass(frozen=True)
class Entry:
    """Something in a submission, by its cleaned name."""
    name: str
    kind: str = "file"          # file, folder, link, or what it is in words
    size: int = 0


Sink = Callable[[str, bytes | None], None]      # name, data (None: larger than MAX_SIZE)


class Source(Protocol):
    """What a submission came in."""

    def entries(self) -> Iterable[Entry]:
        """All there is."""

    def read(self, names: set[str], sink: Sink) -> None:
        """Hand each of these files to sink."""


def shown(name: str) -> str:
    """A name as a message may print it."""
    return ascii(name)[1:-1][:200]


def clean(name: str) -> str:
    """The name without ./ and doubled slashes; '' for the top folder."""
    if len(name) > MAX_NAME:
        raise BadSubmission(f"there is a name of {len(name)} characters in it: {shown(name)[:60]}...")
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise BadSubmission(f"there is a name with control characters in it: {shown(name)}")
    if name.startswith("/") or name[1:3] in (":/", ":\\"):
        raise BadSubmission(f"there is an absolute name in it: {shown(name)}")
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if ".." in parts:
        raise BadSubmission(f"there is a name in it that leads out of it: {shown(name)}")
    return "/".join(parts)


def folded(name: str) -> str:
    """Names that some system takes for the same are equal here: case, composed or not, invisible."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")


def is_noise(name: str) -> bool:
    return name.startswith(NOISE[0]) or name.rsplit("/", 1)[-1].startswith(NOISE[1:])


class Finder:
    """Gathers the entries that matter, of however many there are."""

    def __init__(self, wanted: Iterable[str], optional: Iterable[str], staff: Iterable[str] = ()):
        self.wanted = list(dict.fromkeys(wanted))
        self.optional = [n for n in dict.fromkeys(optional) if n not in self.wanted]
        self.staff = set(staff) - set(self.wanted) - set(self.optional)
        self.ends = {folded(n.rsplit("/", 1)[-1]) for n in (*self.wanted, *self.optional)}
        self.stems = {folded(part) for n in (*self.wanted, *self.optional) for part in n.split("/")[:-1]}
        self.staff_ends = {n.rsplit("/", 1)[-1] for n in self.staff}
        self.found: dict[str, Entry] = {}
        self.twice: set[str] = set()

    def add(self, entry: Entry) -> None:
        name = entry.name
        if not name or is_noise(name) or name.count("/") > MAX_DEPTH:
            return
        last = name.rsplit("/", 1)[-1]
        if entry.kind == "folder":
            return
        if folded(last) in self.ends or last in self.staff_ends or entry.kind != "file" and folded(last) in self.stems:
            if name in self.found:
                self.twice.add(name)
            self.found[name] = entry

    def root(self) -> str | None:
        """The folder that looks like the course's tree ('' or 'a/b/'), None when there is none."""
        votes: dict[str, int] = {}
        for name in self.found:
            for wanted in self.wanted:
                if name == wanted or name.endswith("/" + wanted):
                    prefix = name.removesuffix(wanted)
                    votes[prefix] = votes.get(prefix, 0) + 1
        if not votes:
            return None
        order = sorted(votes, key=lambda p: (-votes[p], p.count("/"), p))
        if len(order) > 1 and all((votes[p], p.count("/")) == (votes[order[0]], order[0].count("/"))
                                  for p in order[:2]):
            raise BadSubmission(f"there are two copies of your work in it, {shown(order[0])} and "
                                f"{shown(order[1])}: hand in one")
        return order[0]

    def check(self, root: str) -> list[str]:
        """Refuse what is no ordinary file, or there twice.  Returns what is missing, in words."""
        same: dict[str, list[str]] = {}
        for name in self.found:
            same.setdefault(folded(name), []).append(name)
        missing = []
        for name in (*self.wanted, *self.optional):
            full = root + name
            for above in (full.rsplit("/", k)[0] for k in range(1, full.count("/") + 1)):
                if above in self.found:
                    raise BadSubmission(f"{shown(above)} is {self.found[above].kind}, not a folder")
            if full in self.twice:
                raise BadSubmission(f"{name} is in it twice")
            twins = [n for n in same.get(folded(full), []) if n != full]
            if full not in self.found:
                if name in self.wanted:
                    missing.append(name + (f" (there is {shown(twins[0])}: mind the exact name)" if twins else ""))
                continue
            if twins:
                raise BadSubmission(f"{shown(full)} and {shown(twins[0])} are both in it, which on other systems "
                                    "are one file: hand in one")
            entry = self.found[full]
            if entry.kind == "link":
                raise BadSubmission(f"{name} is a link: hand in the file itself")
            if entry.kind != "file":
                raise BadSubmission(f"{name} is {entry.kind}, not an ordinary file")
            if entry.size > MAX_SIZE:
                raise too_large(name)
        return missing


def too_large(name: str) -> BadSubmission:
    return BadSubmission(f"{name} is larger than {MAX_SIZE >> 10} KiB: that is no source file")


def lacks(missing: list[str]) -> BadSubmission:
    return BadSubmission("missing from it: " + ", ".join(missing)
                         + " (what is handed in must look like the course's tree; make handin packs it so)")


def digest(data: bytes) -> bytes:
    """Of a text, however its lines end."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).digest()


def take(source: Source, wanted: Iterable[str], optional: Iterable[str], staff: dict[str, bytes],
         extra: Iterable[str] = ()) -> tuple[Submission, dict[str, bytes]]:
    """The wanted files of a submission, whatever folder they are in.

    staff: name -> digest of the course's other files, to tell which were edited.
    extra: names at the same level to return apart, if they are there.
    """
    finder = Finder(wanted, [*optional, *extra], staff)
    for entry in source.entries():
        finder.add(entry)
    root = finder.root()
    missing = finder.wanted if root is None else finder.check(root)
    if root is None or missing:
        raise lacks(missing)
    names = {root + n: n for n in (*finder.wanted, *finder.optional, *finder.staff) if root + n in finder.found}
    taken, apart = Submission(), {}

    def sink(full: str, data: bytes | None) -> None:
        name = names[full]
        if name in finder.staff:
            if data is None or digest(data) != staff[name]:
                taken.ignored.append(name)
        elif data is None:
            raise too_large(name)
        elif name in extra:
            apart[name] = data
        else:
            check_text(name, data)
            taken.files[name] = data

    source.read({full for full, name in names.items()
                 if name not in finder.staff or finder.found[full].kind == "file"}, sink)
    lost = [n for n in names.values() if n not in taken.files and n not in finder.staff and n not in apart]
    if lost:
        raise BadSubmission(f"it is broken: {', '.join(lost)} cannot be read")
    taken.files = {n: taken.files[n] for n in (*finder.wanted, *finder.optional) if n in taken.files}
    taken.ignored.sort()
    return taken, apart
