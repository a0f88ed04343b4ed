"""Runs the bench kernel, prints what operations cost, and fails when a target is missed.

    bench.py KERNEL8.IMG

Costs are guest instructions, counted exactly: the same kernel gives the same numbers every time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from grade.machine import machine_name, qemu_binary  # noqa: E402


@dataclass(frozen=True)
class Row:
    name: str               # as bench.c prints it
    title: str
    target: float | None
    each: bool              # per operation, or the total
    peers: str
    binding: bool = True    # a miss is a failure


# Peers: other teaching kernels and a study, measured in the same way.
ROWS = [
    Row("pair", "kalloc + kfree, hot, fill apart", 30, True,
        "bare list 7, xv6 17, refcounted lists 44 and 85, buddies 554 to 2,096"),
    Row("alloc", "kalloc, list in random order", 11, True,
        "bare list 3, xv6 4, refcounted 18-44, buddies 59-250", binding=False),
    Row("free", "kfree in random order, fill apart", 19, True,
        "bare list 4, xv6 13, refcounted 26-41, buddies 74-192", binding=False),
    Row("fill", "junk fill of a page", 460, True,
        "byte loop 12,298, stp 457 (64 bytes a turn), 361 (128)"),
    Row("zero", "zeroing a page", 170, True, "byte loop 12,298, dc zva 264, unrolled 168"),
    Row("map", "map 1 GiB by pages, per entry", 6.1, True,
        "walk for each page 43, batched 11, batched with check 6.1"),
    Row("linear", "linear map's 2 MiB blocks, all", 3300, False, "3,263 for 512 (study)"),
    Row("remap", "the same 1 GiB, tables there, per entry", None, True, ""),
    Row("walk", "pgdir_walk, tables there", None, True, ""),
    Row("vm_free", "vm_free of that 1 GiB, per entry", None, True, ""),
]


def measure(image: Path) -> dict[str, tuple[int, int]]:
    """name: (instructions, operations), from one run in QEMU."""
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder) / "console"
        subprocess.run(
            [qemu_binary(), "-M", machine_name(), "-global", "bcm2837.enabled-cpus=1",
             "-icount", "shift=0,sleep=off", "-display", "none", "-nodefaults", "-no-reboot",
             "-serial", "null", "-serial", f"file:{console}", "-kernel", str(image)],
            stdin=subprocess.DEVNULL, timeout=120, check=True)
        text = console.read_text("utf-8", "replace")
    results = {}
    for line in text.splitlines():
        if line.startswith("bench: "):
            name, total, count = line.split()[1:]
            results[name] = int(total), int(count)
    if set(results) != {row.name for row in ROWS}:
        raise SystemExit(f"the bench kernel did not come to its end; it printed:\n{text}")
    return results


def report(results: dict[str, tuple[int, int]]) -> list[str]:
    """Print the table; returns the rows that miss a binding target."""
    missed = []
    print(f"{'guest instructions':40} {'measured':>9} {'target':>7}   others")
    for row in ROWS:
        total, count = results[row.name]
        value = total / count if row.each else total
        mark = ""
        if row.target is not None and value > row.target:
            mark = "MISSED" if row.binding else "later"
            if row.binding:
                missed.append(row.title)
        shown = f"{value:9.2f}" if value % 1 else f"{value:9.0f}"
        target = f"{row.target:g}" if row.target is not None else ""
        title = row.title + ("" if row.each else f" {count}")
        print(f"{title:40} {shown} {target:>7}   {mark + '  ' if mark else ''}{row.peers}".rstrip())
    return missed


def main() -> int:
    missed = report(measure(Path(sys.argv[1])))
    for title in missed:
        print(f"target missed: {title}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
