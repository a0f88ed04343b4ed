"""A run of the kernel, recorded from outside: whose each page frame was, from moment to moment.

The kernel runs in QEMU as it is, be it broken; every so many milliseconds of its own time it is stopped, and all of
its memory is looked at (owners.py). What comes of it is a page that plays the run back in any browser, without
a network, and pictures for handouts.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from grade import picture
from grade.elf import BadElf, Elf
from grade.gdb import GdbError
from grade.machine import Machine, NoQemu, Stop
from grade.owners import Kind, Owners, owners
from grade.qmp import QmpError
from grade.view import Disagree, View

HERE = Path(__file__).resolve().parent
SCENE = "mem=8M run=scene,fork,4,150"
ERRORS = 12             # that are told of one moment
CELL = {
    Kind.NO_RAM: "NONE", Kind.RESERVED: "RESERVED", Kind.IMAGE: "KERNEL", Kind.PMM: "KERNEL", Kind.HEAP: "KERNEL",
    Kind.UNKNOWN: "KERNEL", Kind.FREE: "FREE", Kind.LISTED: "CACHED", Kind.TABLE: "TABLE", Kind.SLAB: "OBJECTS",
    Kind.RECORDS: "KERNEL", Kind.LARGE: "OBJECTS", Kind.STACK: "KERNEL", Kind.AREA: "KERNEL", Kind.PROCESS: "PROCESS",
    Kind.FILE: "SHARED", Kind.ZERO: "SHARED", Kind.HELD: "KERNEL", Kind.LEAKED: "LEAKED", Kind.UNCLAIMED: "KERNEL",
}


class TooMuch(Exception):
    """A message for who asked for it."""


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

    def page(self, title: str) -> str:
        states = [None] * len(self.numbers)
        for (cell, words), i in self.numbers.items():
            states[i] = [cell, words]       # type: ignore[call-overload]
        data = {"title": title, "states": states, "moments": self.moments, "names": picture.NAMES,
                "colours": {name: f"#{rgb}" for name, rgb in picture.HEX.items()}}
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        return (HERE / "memrec.html").read_text("utf-8").replace("@TITLE@", html.escape(title)) \
            .replace("@STYLE@", (HERE / "memrec.css").read_text("utf-8")) \
            .replace("@SCRIPT@", (HERE / "memrec.js").read_text("utf-8")).replace("@DATA@", text)


def record(machine: Machine, view: View, every: int, most: int, bar: bool) -> Recording:
    """Moments `every` milliseconds apart, until there are `most` or the run has ended."""
    recording = Recording()
    said = 0
    while True:
        stop = machine.run(every)
        text = machine.console()
        recording.look(owners(view), machine.ticks(), text[said:].decode("utf-8", "replace"))
        said = len(text)
        if bar:
            done = len(recording.moments)
            print(f"\r[{'#' * (30 * done // most):30}] moment {done} of {most}", end="", file=sys.stderr, flush=True)
        if stop is not Stop.TIME or len(recording.moments) >= most:
            break
    if bar:
        print(file=sys.stderr)
    return recording


def has_scene(elf: Elf) -> bool:
    return "nprograms" in elf.symbols


def write(path: Path, data: str | bytes) -> None:
    """Whole, or not at all."""
    new = path.with_name(path.name + ".new")
    if isinstance(data, str):
        new.write_text(data, "utf-8")
    else:
        new.write_bytes(data)
    new.replace(path)


def run(options: argparse.Namespace) -> int:
    image, names = options.obj / "kernel8.img", options.obj / "kernel8.elf"
    if not image.is_file() or not names.is_file():
        raise TooMuch(f"there is no {image}: run make first")
    elf = Elf(names)
    arguments = options.args or (SCENE if has_scene(elf) else "mem=16M")
    with tempfile.TemporaryDirectory(prefix="bramble-memrec-") as folder:
        with Machine(image, arguments, Path(folder)) as machine:
            recording = record(machine, View(machine, elf), options.every, options.moments, sys.stderr.isatty())
    if not any(m["n"] for m in recording.moments):
        raise TooMuch("the kernel had found no memory by then: it did not come as far as bootinfo_init")
    write(options.out, recording.page(f"Bramble: {arguments}"))
    last = recording.moments[-1]
    print(f"{options.out}: {len(recording.moments)} moment{'s' * (len(recording.moments) > 1)}, {last['t'] / 1000:.0f} ms of the kernel's time, "
          f"{last['nerrors']} errors at the end. Open it in a browser.")
    if options.still:
        write(options.still, picture.still(recording.cells, f"{arguments}, after {last['t'] // 1000} ms"))
        print(f"{options.still}: the last moment")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m grade.memrec", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--obj", type=Path, default=Path("obj"), help="where kernel8.img and kernel8.elf are")
    parser.add_argument("--args", default="", help="boot arguments: run=NAME,ARG check=NAME seed=N mem=16M")
    parser.add_argument("--every", type=int, default=20, metavar="MS", help="of the kernel's time, between two moments (20)")
    parser.add_argument("--moments", type=int, default=150, metavar="N", help="how many, unless the run ends before (150)")
    parser.add_argument("--out", "-o", type=Path, default=Path("memory.html"), help="the page (memory.html)")
    parser.add_argument("--still", type=Path, metavar="FILE.png", help="a picture of the last moment, too")
    options = parser.parse_args(argv)
    if options.every < 1 or options.moments < 1:
        parser.error("--every and --moments are 1 or more")
    try:
        return run(options)
    except (TooMuch, NoQemu, BadElf, OSError, Disagree, GdbError, QmpError) as e:
        print(f"memrec: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
