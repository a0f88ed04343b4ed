"""A long random trace of kmalloc and kmfree, in the guest: no object overlaps another, and no page is lost."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import labs
from grade import buddy
from grade.elf import Elf
from grade.guest import Guest
from grade.machine import Machine, Stop
from test_boot import ROOT, build, sources

LAST = max(lab.number for lab in labs.read(ROOT))
CALLS = 1_000_000
LIMIT = 20_000              # million instructions between two stops: a bound for what hangs


def stop_at(g: Guest, name: str) -> str:
    """Run up to there.  Returns what was printed meanwhile."""
    stop = g.machine.run(LIMIT)
    said = g.printed().decode("utf-8", "replace")
    assert stop is Stop.BREAKPOINT and g.machine.pc == g.symbol(name), f"{stop}\n{said}"
    return said


def heap_blocks(g: Guest) -> list[tuple[int, int]]:
    """The heap's free blocks: (address, bytes); and it has but the region that it began with."""
    regions, first, block = struct.unpack("<3Q", buddy.variable(g, "heap", 24))
    assert regions == first and (first == 0 or g.u64(first) == 0), "the heap has more than one region"
    blocks = []
    while block:
        blocks.append((block, g.u64(block)))
        block = g.u64(block + 16)
    return blocks


@pytest.mark.parametrize("kmalloc", ["slab", "heap"])
def test_a_million_calls(kmalloc: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    obj = build(tmp_path / "obj", f"KMALLOC={kmalloc}", "SOURCES=" + " ".join([*sources(LAST), "test/boot/trace.c"]))
    (tmp_path / "run").mkdir()
    with Machine(obj / "kernel8.img", f"calls={CALLS} seed=1 mem=8M", tmp_path / "run") as machine:
        g = Guest(machine, Elf(obj / "kernel8.elf"))
        for name in ("trace_begin", "trace_look", "trace_end", "monitor"):
            machine.break_at(g.symbol(name))
        stop_at(g, "trace_begin")
        free, blocks, began = buddy.free_pages(g), heap_blocks(g), machine.ticks()
        for _ in range(8):
            stop_at(g, "trace_look")
            buddy.Pmm(g)        # raises what contradicts itself
            assert buddy.free_pages(g) <= free
        said = stop_at(g, "trace_end")
        millions = (machine.ticks() - began) / 1000
        record_property("million_instructions", millions)
        print(f"{millions:.0f} million instructions\n{said}")
        assert buddy.free_pages(g) == free, "pages are lost"
        assert heap_blocks(g) == blocks
        counts = re.search(r"trace: (\d+) calls, (\d+) times no memory, taken away (\d+) times", said)
        assert counts is not None, said
        calls, failures, hungry = map(int, counts.groups())
        assert calls >= CALLS and failures > 1000 and hungry > 100, said
