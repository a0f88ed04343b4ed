"""A run of the kernel, recorded from outside: whose each page frame was, from moment to moment.

The kernel runs in QEMU as it is, be it broken; every so many milliseconds of its own time it is stopped, and all of
its memory is looked at (owners.py). What comes of it is a page that plays the run back in any browser, without
a network, and pictures for handouts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from grade import picture
from grade.elf import BadElf, Elf
from grade.gdb import GdbError
from grade.machine import Machine, NoQemu, Stop
from grade.owners import owners
from grade.qmp import QmpError
from grade.recording import Recording
from grade.view import Disagree, View

SCENE = "mem=8M run=scene,fork,4,150"


class TooMuch(Exception):
    """A message for who asked for it."""


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
    write(options.out, recording.page(f"Bramble: {arguments}", elf.digest))
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
