"""A recording of a run: written as a page for the browser, which holds its data, and read from there."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from grade import picture
from grade.owners import Kind, Owners

HERE = Path(__file__).resolve().parent
DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)
ERRORS = 12             # that are told of one moment
CELL = {
    Kind.NO_RAM: "NONE", Kind.RESERVED: "RESERVED", Kind.IMAGE: "KERNEL", Kind.PMM: "KERNEL", Kind.HEAP: "KERNEL",
    Kind.UNKNOWN: "KERNEL", Kind.FREE: "FREE", Kind.LISTED: "CACHED", Kind.TABLE: "TABLE", Kind.SLAB: "OBJECTS",
    Kind.RECORDS: "KERNEL", Kind.LARGE: "OBJECTS", Kind.STACK: "KERNEL", Kind.AREA: "KERNEL", Kind.PROCESS: "PROCESS",
    Kind.FILE: "SHARED", Kind.ZERO: "SHARED", Kind.HELD: "KERNEL", Kind.LEAKED: "LEAKED", Kind.UNCLAIMED: "KERNEL",
}


def cell_of(o: Owners, frame: int) -> str:
    """What the frame is drawn as: picture.py's names."""
    errors = {e.kind for e in o.errors.get(frame, ())}
    if errors - {"leaked"}:
        return "WRONG"
    kind = o.kind_of(frame)
    if kind is Kind.PROCESS:
        return "SHARED" if o.users[frame] > 1 else f"PROCESS{o.who[frame] % 10}"
    if kind in (Kind.FILE, Kind.ZERO) and o.users[frame] < 2:
        return "KERNEL"
    return CELL[kind]


def words_of(o: Owners, frame: int) -> str:
    """All that is known of it."""
    text = "free" if o.kind_of(frame) is Kind.FREE else o.tell(frame)
    users = o.users[frame]
    if users > 1:
        text += f", {users} users"
    places = o.mappings.get(frame, ())
    if places:
        text += ": " + ", ".join(f"process {m.pid} at {m.va:x}" for m in places[:4])
        text += f" and {len(places) - 4} more" if len(places) > 4 else ""
    for error in o.errors.get(frame, ()):
        text += "; " + error.text
    return text


class Recording:
    """States by number, and for each moment the runs of frames that are in another state than before."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}
        self.moments: list[dict[str, Any]] = []
        self.now: list[int] = []        # the state of each frame
        self.cells: list[str] = []
        self.seen: list[tuple[Any, ...]] = []

    def state(self, o: Owners, frame: int) -> int:
        key = (cell_of(o, frame), words_of(o, frame))
        return self.numbers.setdefault(key, len(self.numbers))

    def look(self, o: Owners, time: int, printed: str) -> None:
        """One more moment, at so many microseconds."""
        changes: list[list[int]] = []
        if len(self.now) != o.n:
            self.now, self.seen, self.cells = [-1] * o.n, [()] * o.n, ["NONE"] * o.n
        for frame in range(o.n):
            free = o.kind[frame] == Kind.FREE
            seen = (o.kind[frame], 0 if free else o.who[frame], o.users[frame], tuple(o.mappings.get(frame, ())),
                    tuple(o.errors.get(frame, ())))
            if seen == self.seen[frame]:
                continue
            self.seen[frame] = seen
            state = self.state(o, frame)
            if state == self.now[frame]:
                continue
            self.now[frame] = state
            self.cells[frame] = cell_of(o, frame)
            if changes and changes[-1][0] + changes[-1][1] == frame and changes[-1][2] == state:
                changes[-1][1] += 1
            else:
                changes.append([frame, 1, state])
        errors = [[frame, e.text] for frame, found in sorted(o.errors.items()) for e in found]
        self.moments.append({"t": time, "changes": changes, "errors": errors[:ERRORS], "nerrors": len(errors),
                             "broken": o.broken[:3], "said": printed, "n": o.n})

    def page(self, title: str, kernel: str) -> str:
        """For a browser.  kernel: its digest."""
        states = [None] * len(self.numbers)
        for (cell, words), i in self.numbers.items():
            states[i] = [cell, words]       # type: ignore[call-overload]
        data = {"title": title, "kernel": kernel, "states": states, "moments": self.moments, "names": picture.NAMES,
                "colours": {name: f"#{rgb}" for name, rgb in picture.HEX.items()}}
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        return (HERE / "memrec.html").read_text("utf-8").replace("@TITLE@", html.escape(title)) \
            .replace("@STYLE@", (HERE / "memrec.css").read_text("utf-8")) \
            .replace("@SCRIPT@", (HERE / "memrec.js").read_text("utf-8")).replace("@DATA@", text)


class NoRecording(Exception):
    """The file is there, and is none."""


def history(path: Path, kernel: str, frame: int) -> tuple[str, list[tuple[int, str]]] | None:
    """What was recorded, and what the frame was from which microsecond on.  None if nothing was, of this kernel."""
    try:
        found = DATA.search(path.read_text("utf-8"))
        data = json.loads(found[1]) if found else {}
        if data.get("kernel") != kernel:
            return None
        states = [(m["t"], data["states"][state][1]) for m in data["moments"] for first, n, state in m["changes"]
                  if first <= frame < first + n]
        return data["title"], states
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise NoRecording(f"{path} is no recording of make memrec's: {e}") from None
