"""SAN=1 and DEBUG=1: wrong accesses are found and named, and a kernel that makes none passes its checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import labs
from grade.elf import Elf
from grade.guest import Guest
from grade.machine import Machine, Stop
from test_boot import SAN_FILES, build, sources
from test_build import tree

ROOT = Path(__file__).resolve().parent.parent
LAST = max(lab.number for lab in labs.read(ROOT))
LIMIT = 10_000              # million instructions: with DEBUG=1, every switch looks at all tables


def boot(obj: Path, folder: Path, arguments: str) -> str:
    """What the kernel prints up to the monitor."""
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
    files = [*sources(LAST), *SAN_FILES, "test/boot/san.c"]
    if "SAN=1" not in arguments:
        files = [path for path in files if "/kasan" not in path]
    return build(obj, "STRICT=1", "SOURCES=" + " ".join(files), *arguments)


# --- Mistakes that are found --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeded(tmp_path_factory.mktemp("watched"), "SAN=1")


@pytest.fixture(scope="module", params=["slab", "heap"])
def debugged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeded(tmp_path_factory.mktemp("debugged"), "DEBUG=1", f"KMALLOC={request.param}")


IN_NAME = "the variable name of 10 bytes, of test/boot/san.c"
IN_TABLE = "the variable table of 40 bytes, of test/boot/san.c"
MADE = r"bytes that make_object\+0x\w+ allocated"
GONE = rf"{MADE} and drop_object\+0x\w+ freed"
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
    ("heap_write", rf"out of bounds: heap_write\+0x\w+ writes 1 byte at \w+, right behind the 100 {MADE}"),
    ("heap_read", rf"out of bounds: heap_read\+0x\w+ reads 1 byte at \w+, right behind the 24 {MADE}"),
    ("heap_far", rf"heap_far\+0x\w+ writes 1 byte at \w+, 11 bytes behind the 5000 {MADE}"),
    ("heap_before", rf"heap_before\+0x\w+ writes 1 byte at \w+, 1 byte before the 100 {MADE}"),
    ("heap_through", rf"heap_through\+0x\w+ writes 10 bytes at \w+, 30 bytes before the 70 {MADE}"),
    ("heap_memset", rf"heap_memset\+0x\w+ writes 34 bytes at \w+, of .* is right behind the 33 {MADE}"),
    ("heap_memcpy", rf"heap_memcpy\+0x\w+ writes 20 bytes at \w+, of .* is right behind the 10 {MADE}"),
    ("heap_stale_read", rf"use after free: heap_stale_read\+0x\w+ reads 1 byte at \w+, 16 bytes into the 100 {GONE}"),
    ("heap_stale_write", rf"use after free: heap_stale_write\+0x\w+ writes 1 byte at \w+, 99 bytes into the 100 {GONE}"),
    ("heap_large", r"right behind the 1048576 bytes that heap_large\+0x\w+ allocated"),
    ("cache_write", r"cache_write\+0x\w+ writes 1 byte at \w+, right behind the 40 bytes that cache_write\+0x\w+ all"),
    ("cache_stale_read", r"use after free: .* the 40 bytes that cache_\w+\+0x\w+ allocated and cache_\w+\+0x\w+ freed"),
])
def test_what_is_found(watched: Path, tmp_path: Path, what: str, message: str) -> None:
    said = boot(watched, tmp_path / "run", f"try={what} mem=64M")
    assert re.search(f"try: {what}\n\nkasan: .*{message}", said), said
    assert "nothing happened" not in said
    calls = re.findall(r"^    [0-9a-f]{16} (\w+)\+0x", said, re.M)
    assert what in calls and "scratch" in calls, said


DEBUG_FINDS = [
    ("heap_write", rf"out of bounds: the byte at 0x\w+ was overwritten, right behind the 100 {MADE}"),
    ("heap_far", rf"out of bounds: the byte at 0x\w+ was overwritten, 11 bytes behind the 5000 {MADE}"),
    ("heap_before", rf"somebody has written right before it; it is at the beginning of the 100 {MADE}"),
    ("heap_through", r"somebody has written over the 48 bytes before 0x\w+"),
    ("heap_memset", rf"the byte at 0x\w+ was overwritten, right behind the 33 {MADE}"),
    ("heap_stale_write", rf"use after free: the byte at 0x\w+ was overwritten, 99 bytes into the 100 {GONE}"),
    ("cache_write", r"the byte at 0x\w+ was overwritten, right behind the 40 bytes that cache_write\+0x\w+ allocated"),
]
BOTH_FIND = [
    ("heap_twice", rf"kmfree\(0x\w+\): double free: it is at the beginning of the 100 {GONE}"),
    ("heap_twice_late", rf"kmfree\(0x\w+\): double free: it is at the beginning of the 100 {GONE}"),
    ("heap_inside", rf"kmfree\(0x\w+\): not what was allocated: it is 32 bytes into the 100 {MADE}"),
    ("cache_twice", r"double free: .* the 40 bytes that cache_twice\+0x\w+ allocated and cache_twice\+0x\w+ freed"),
]


def found_by_the_heap(obj: Path, folder: Path, what: str, message: str) -> None:
    said = boot(obj, folder, f"try={what} mem=64M")
    assert re.search(f"try: {what}\n\nheap: .*{message}", said), said
    assert "nothing happened" not in said and re.search(rf"^ +\w+ {what}\+0x", said, re.M), said


@pytest.mark.parametrize("what, message", BOTH_FIND)
def test_what_kmfree_finds(watched: Path, tmp_path: Path, what: str, message: str) -> None:
    found_by_the_heap(watched, tmp_path / "run", what, message)


@pytest.mark.parametrize("what, message", DEBUG_FINDS + BOTH_FIND)
def test_what_debug_finds(debugged: Path, tmp_path: Path, what: str, message: str) -> None:
    found_by_the_heap(debugged, tmp_path / "run", what, message)


def right(obj: Path, folder: Path) -> None:
    for what in ("nothing_wrong", "objects_right", "heap_foreign", "exhaust", "leak"):
        said = boot(obj, folder / what, f"try={what} mem=16M")
        assert "kasan:" not in said.replace("kasan: memory is watched", "") and "heap:" not in said, said
        if what == "heap_foreign":  # of which nothing is known but to the allocator
            assert re.search(r"panic at kern/\w+\.c:\d+: \w+\(0x\w+\)", said), said
        else:
            assert "try: nothing happened" in said, said
        if what == "exhaust":
            assert "as many again" in said, said
        if what == "leak":
            rows = re.findall(r"^ *(\d+) +(\d+) (\w+)\+0x", said, re.M)
            assert rows == [("2100", "7", "make_object"), ("50", "1", "leak")], said


def test_what_is_right_is_left_alone(watched: Path, tmp_path: Path) -> None:
    right(watched, tmp_path)


def test_what_is_right_is_left_alone_by_debug_too(debugged: Path, tmp_path: Path) -> None:
    right(debugged, tmp_path)


# --- Kernels without one --------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", range(1, LAST + 1))
def test_the_checks_pass(tmp_path: Path, lab: int) -> None:
    said = boot(build(tmp_path / "obj", f"LAB={lab}", "SAN=1", "STRICT=1"), tmp_path / "run", "")
    assert "kasan: memory is watched" in said and said.count("passed!") > 3, said
    assert "FAILED" not in said and said.count("kasan") == 1, said


def test_a_check_finds_it_in_a_student_s_kernel(tmp_path: Path) -> None:
    """vm_free looks into a table that it has just freed; kalloc fills pages before it hands them out."""
    root = tree(tmp_path / "tree")
    for path, old, new in [
        ("kern/vm.c", "    for (size_t i = 0; i < NPTE; i++) {\n        uint64_t pte = table[i];",
         "    kfree((char *)table);\n    for (size_t i = 0; i < NPTE; i++) {\n        uint64_t pte = table[i];"),
        ("kern/kalloc.c", "    return (char *)page;",
         "    if (page)\n        memset(page, 5, PGSIZE);\n    return (char *)page;")]:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))
    said = boot(build(tmp_path / "obj", "LAB=2", "SAN=1", root=root), tmp_path / "run", "mem=16M")
    assert re.search(r"check_vm_free: FAILED\n    kasan: use of a free page: free_table\+0x\w+ reads 8 bytes at \w+, "
                     r"at the beginning of a page that \w+\+0x\w+ took and free_table\+0x\w+ freed", said), said


@pytest.mark.parametrize("heap", ["slab", "heap"])
def test_the_checks_pass_with_debug(tmp_path: Path, heap: str) -> None:
    said = boot(build(tmp_path / "obj", "DEBUG=1", "STRICT=1", f"KMALLOC={heap}"), tmp_path / "run", "")
    assert "FAILED" not in said and "heap:" not in said, said


def test_a_handout_fails_no_worse(tmp_path: Path) -> None:
    """Exercises that nobody has written are reported as such, and nothing else is."""
    said = boot(build(tmp_path / "obj", f"SOL={LAST - 1}", "SAN=1", "STRICT=1"), tmp_path / "run", "")
    assert "kasan: memory is watched" in said and said.count("kasan") == 1, said


@pytest.mark.parametrize("memory", ["1M", "3M", "16M"])
def test_with_little_memory(watched: Path, tmp_path: Path, memory: str) -> None:
    said = boot(watched, tmp_path / "run", f"mem={memory}")
    assert "kasan: memory is watched" in said or memory == "1M", said
