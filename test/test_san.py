"""SAN=1: wrong accesses are found and named, and a kernel that makes none passes its checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import labs
from grade.elf import Elf
from grade.guest import Guest
from grade.machine import Machine, Stop
from test_boot import ROOT, build, sources

LAST = max(lab.number for lab in labs.read(ROOT))
LIMIT = 5000                # million instructions


def boot(obj: Path, folder: Path, arguments: str, *typed: str) -> str:
    """What the kernel prints up to the monitor, and what the monitor answers."""
    folder.mkdir()
    with Machine(obj / "kernel8.img", arguments, folder) as machine:
        g = Guest(machine, Elf(obj / "kernel8.elf"))
        machine.break_at(g.symbol("monitor"))
        stop = machine.run(LIMIT)
        said = g.printed().decode("utf-8", "replace").replace("\r", "")
        assert stop is Stop.BREAKPOINT, f"{stop}\n{said}"
        print(f"{machine.ticks() / 1000:.0f} million instructions")
        return said


def seeded(obj: Path, *arguments: str) -> Path:
    """A kernel without checks that makes the mistakes of test/boot/san.c."""
    files = [*sources(LAST), *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("kern/kasan*.c")), "test/boot/san.c"]
    return build(obj, "SOURCES=" + " ".join(files), *arguments)


# --- Mistakes that are found --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeded(tmp_path_factory.mktemp("watched"), "SAN=1")


IN_NAME = "the variable name of 10 bytes, of test/boot/san.c"
IN_TABLE = "the variable table of 40 bytes, of test/boot/san.c"
DROPPED = r"a page that take_page\+0x\w+ took and drop_page\+0x\w+ freed"


@pytest.mark.parametrize("what, message", [
    ("global_write", rf"out of bounds: global_write\+0x\w+ writes 1 byte at \w+, right behind {IN_NAME}"),
    ("global_read", rf"out of bounds: global_read\+0x\w+ reads 1 byte at \w+, 3 bytes behind {IN_TABLE}"),
    ("global_before", rf"out of bounds: global_before\+0x\w+ writes 1 byte at \w+, 1 byte before {IN_TABLE}"),
    ("global_memset", rf"global_memset\+0x\w+ writes 11 bytes at \w+, of which the one at \w+ is right behind {IN_NAME}"),
    ("global_memcpy", r"global_memcpy\+0x\w+ writes 9 bytes at .* right behind the variable pad of 8 bytes"),
    ("global_memmove", rf"global_memmove\+0x\w+ reads 14 bytes at .* right behind {IN_NAME}"),
    ("global_strlen", rf"strlen\+0x\w+ reads 1 byte at \w+, right behind {IN_NAME}\n.*\n.*\n +\w+ global_strlen"),
    ("global_strlcpy", rf"strlcpy\+0x\w+ writes 1 byte at \w+, right behind {IN_NAME}\n.*\n.*\n +\w+ global_strlcpy"),
    ("string_literal", "reads 1 byte at .*, right behind a string of 5 bytes, of test/boot/san.c"),
    ("page_write", rf"use of a free page: page_write\+0x\w+ writes 1 byte at \w+, 100 bytes into {DROPPED}"),
    ("page_read", rf"use of a free page: page_read\+0x\w+ reads 8 bytes at \w+, 4088 bytes into {DROPPED}"),
    ("page_twice", rf"double free: kfree\(0x\w+\) at the beginning of {DROPPED}"),
    ("page_wild", r"use of a free page: page_wild\+0x\w+ writes 1 byte at \w+, 5 bytes into a page that nobody has taken"),
    ("block_read", r"block_read\+0x\w+ reads 1 byte at \w+, 7 bytes into a page that block_read\+0x\w+ took"),
])
def test_what_is_found(watched: Path, tmp_path: Path, what: str, message: str) -> None:
    said = boot(watched, tmp_path / "run", f"try={what} mem=64M")
    assert re.search(f"try: {what}\n\nkasan: .*{message}", said), said
    assert "nothing happened" not in said
    calls = re.findall(r"^    [0-9a-f]{16} (\w+)\+0x", said, re.M)
    assert what in calls and "scratch" in calls, said


def test_what_is_right_is_left_alone(watched: Path, tmp_path: Path) -> None:
    said = boot(watched, tmp_path / "run", "try=nothing_wrong mem=64M")
    assert "try: nothing happened" in said and "kasan: memory is watched" in said, said


# --- Kernels without one --------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", range(1, LAST + 1))
def test_the_checks_pass(tmp_path: Path, lab: int) -> None:
    said = boot(build(tmp_path / "obj", f"LAB={lab}", "SAN=1", "STRICT=1"), tmp_path / "run", "")
    assert "kasan: memory is watched" in said and said.count("passed!") > 3, said
    assert "FAILED" not in said and said.count("kasan") == 1, said


def test_a_handout_fails_no_worse(tmp_path: Path) -> None:
    """Exercises that nobody has written are reported as such, and nothing else is."""
    said = boot(build(tmp_path / "obj", f"SOL={LAST - 1}", "SAN=1", "STRICT=1"), tmp_path / "run", "")
    assert "FAILED" in said and said.count("kasan") == 1, said


@pytest.mark.parametrize("memory", ["1M", "2M", "16M"])
def test_with_little_memory(watched: Path, tmp_path: Path, memory: str) -> None:
    said = boot(watched, tmp_path / "run", f"try=nothing_wrong mem={memory}")
    assert "try: nothing happened" in said or memory == "1M", said
