"""Runs the bench kernel, prints what operations cost, and fails when a target is missed.

    bench.py KERNEL8.IMG LAB

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
    lab: int = 1            # from which on there is such a thing
    limit: float | None = None      # where the target is not reached yet: more than this fails the run


# Peers: other teaching kernels and a study, measured in the same way.
ROWS = [
    Row("pair", "kalloc + kfree, hot, fill apart", 30, True,
        "bare list 7, xv6 17, refcounted lists 44 and 85, buddies 554 to 2,096"),
    Row("alloc", "kalloc, list in random order", 11, True, "bare list 3, xv6 4, refcounted 18-44"),
    Row("free", "kfree in random order, fill apart", 19, True, "bare list 4, xv6 13, refcounted 26-41"),
    Row("alloc_all", "kalloc of 10,000 pages: pmm included", None, True, "buddies 59-250"),
    Row("free_all", "kfree of them in random order", None, True, "buddies 74-192"),
    Row("pmm_pair", "pmm_alloc + pmm_free, buddy in use", 60, True, ""),
    Row("pmm_whole", "pmm_alloc + pmm_free, all merges", None, True,
        "study 554, list buddy 939, others 1,019 to 2,096"),
    Row("pmm_alloc", "pmm_alloc of single pages", 59, True, "study 59, others 79-250"),
    Row("pmm_free", "pmm_free of them in random order", 74, True, "study 74, others 82-192"),
    Row("pmm_mixed", "orders 0-9 at random, half in use", 31, True, "study 31, others 46-606"),
    Row("pmm_run", "pmm_free_range of single pages, a page", 2.5, True,
        "study 2.5, bare list 6, xv6 13, others 84-193"),
    Row("pmm_part", "the same of a block's inside, a page", 2.5, True, ""),
    Row("heap_mixed", "kmalloc, kmfree: 8-2048 bytes, an operation", 52, True,
        "study 52, ChCore 95, Axel 139, K&R 4,270, LiteCore 8,356"),
    Row("heap_small", "the same with 8-128 bytes", 34, True,
        "study 34, ChCore 82, Axel 130, K&R 2,556, LiteCore 3,809"),
    Row("heap_pair", "kmalloc + kmfree, its cache empty", 70, True,
        "study 70, Circle 42, Axel 343, ChCore 15,739"),
    Row("heap_lost", "bytes lost of 1,000 in use, 8-2048", 190, True,
        "LiteCore 140, study 190, K&R 210, Axel 300, ChCore 470, Circle 1,600"),
    Row("fit_mixed", "first fit: 8-2048 bytes, an operation", None, True, "LiteCore 8,356"),
    Row("fit_small", "the same with 8-128 bytes", None, True, "LiteCore 3,809"),
    Row("fit_pair", "heap_alloc + heap_free, hot", None, True, "LiteCore 72"),
    Row("fit_lost", "bytes lost of 1,000 in use, 8-2048", None, True, "LiteCore 140"),
    Row("slab_pair", "slab_alloc + slab_free, cache empty", None, True, ""),
    Row("vmalloc", "vmalloc, a page", None, True, ""),
    Row("vfree", "vfree, a page, its junk fill included", None, True, ""),
    Row("frame_pair", "alloc_frame + free_frame", None, True, "bitmap 38"),
    Row("frame_alloc", "alloc_frame, until 1 GiB is taken", None, True, "bitmap 22,500"),
    Row("frame_free", "free_frame of all that", None, True, "bitmap 20"),
    Row("frames_64", "alloc_frames(64)", None, True, ""),
    Row("lock", "spin_lock + spin_unlock, not in the above", 16, True, ""),
    Row("fill", "junk fill of a page", 460, True,
        "byte loop 12,298, stp 457 (64 bytes a turn), 361 (128)"),
    Row("zero", "zeroing a page", 170, True, "byte loop 12,298, dc zva 264, unrolled 168"),
    Row("map", "map 1 GiB by pages, per entry", 6.1, True,
        "walk for each page 43, batched 11, batched with check 6.1"),
    Row("linear", "linear map's 2 MiB blocks, all", 3300, False, "3,263 for 512 (study)"),
    Row("remap", "the same 1 GiB, tables there, per entry", None, True, ""),
    Row("null", "a system call that does nothing", 130, True,
        "ChCore 66 (no bounds check), rpi-os 129, Fudan student 165, Linux 521, xv6 1,128"),
    Row("switch", "two processes yielding, a switch", 280, True,
        "rpi-os 292, ChCore 543, Fudan student 678, Linux 2,700, xv6 8,060"),
    Row("mmap", "mmap of a page, and a store to it", 3000, True,
        "Linux 6,789, xv6 26,430, Fudan student 37,924"),
    Row("munmap", "munmap of a page, its junk fill included", None, True, ""),
    Row("munmap_empty", "munmap of 256 TiB, where nothing is", 40000, True, ""),
    Row("tick", "a tick of the timer", 600, True, "Fudan student 1,240, Linux 4,300, xv6 31,846"),
    Row("zero_fault", "first store to a page", 1200, True,
        "ChCore 2,433, Linux 3,246, Fudan student 17,194", lab=6),
    Row("cow_shared", "store to a page that others use", 1700, True, "Linux 4,134, Fudan student 21,213", lab=6),
    Row("cow_sole", "store to a page that others have used", 600, True,
        "Linux 1,274, Fudan student 37,642", lab=6),
    Row("fork", "fork, exit, wait: few pages", 50_000, True,
        "Linux 102,716, Fudan student 285,071 to 544,890, xv6 520,356, rpi-os 667,686", lab=6),
    Row("fork_page", "the same, for each further page", 200, True,
        "Linux 370, Fudan student 873, rpi-os 24,816, xv6 45,849", lab=6),
    Row("fork_late", "the thousandth fork, exit, wait", 50_000, True, "", lab=6),
    Row("exec", "exec of a tiny program", 50_000, True,
        "Linux 99,600, rpi-os 298,125, Fudan student 478,969, xv6 1,111,900", lab=6),
    Row("walk", "pgdir_walk, tables there", None, True, ""),
    Row("vm_free", "vm_free of that 1 GiB, per entry", None, True, ""),
]

# What is counted otherwise than in instructions: at least so much.
WHOLE = 89      # per cent of the free memory that is in whole 2 MiB blocks, at half occupancy


def measure(image: Path, lab: int) -> dict[str, tuple[int, int]]:
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
    if set(results) != {row.name for row in ROWS if row.lab <= lab} | {"whole"}:
        raise SystemExit(f"the bench kernel did not come to its end; it printed:\n{text}")
    return results


def report(results: dict[str, tuple[int, int]]) -> list[str]:
    """Print the table; returns the rows beyond their target, or beyond the limit that stands in for it."""
    missed = []
    print(f"{'guest instructions':40} {'measured':>9} {'target':>7}   others")
    for row in ROWS:
        if row.name not in results:
            continue
        total, count = results[row.name]
        value = total / count if row.each else total
        mark = ""
        if row.target is not None and round(value, 1) > row.target:
            worse = round(value, 1) > (row.limit or row.target)
            mark = "MISSED" if worse else "missed"
            if worse:
                missed.append(row.title)
        shown = f"{value:9.1f}" if row.each else f"{value:9.0f}"
        target = f"{row.target:g}" if row.target is not None else ""
        title = row.title + ("" if row.each else f" {count}")
        print(f"{title:40} {shown} {target:>7}   {mark + '  ' if mark else ''}{row.peers}".rstrip())
    whole = results["whole"][0]
    mark = "" if whole >= WHOLE else "MISSED"
    print(f"{'free memory in 2 MiB blocks, half in use':40} {whole:8} % {WHOLE:>7}   {mark}".rstrip())
    if mark:
        missed.append("free memory in 2 MiB blocks")
    return missed


def main() -> int:
    missed = report(measure(Path(sys.argv[1]), int(sys.argv[2])))
    for title in missed:
        print(f"target missed: {title}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
