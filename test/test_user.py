"""User programs: the same under Linux (qemu-aarch64) and in Bramble, and attacks that must fail in the right way."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import labs

from grade.machine import machine_name, qemu_binary
from grade.sandbox import die_with_parent
from test_boot import sources
from test_build import LAST, tree

ROOT = Path(__file__).resolve().parent.parent
LINUX = ["qemu-aarch64", "-cpu", "cortex-a53"]
PROMPT = b"bramble> "
PATIENCE = 600.0    # seconds for one command, on the slowest host

KEPT = 8            # pages that kmalloc may keep or give back, when memory had run out

SIGNALS = [n for n in range(1, 32) if n not in (19, 20, 21, 22)]    # Linux would stop the program
SAME = [
    "hello", "hello a b", "args", "args one two three", "regs", "regs 20000 7", "tlb", "fp", "fp 1", "fp 2 3000",
    "fp 3", "sleep 10", "sleep 0", "ping", "ping a 3", "exit", "exit 7", "exit 300", "exit -0",
    *(f"exit -{n}" for n in SIGNALS), "maps", "memory", "alloc a 500", "errors", "io", "heap", "heap 500", "attack", "attack nonsense",
    "glibc", "glibc x y",
]
NOT_SAME = {
    "echo": "reads: see test_echo",
    "spin": "never ends: see test_spin",
    "scene": "never ends: see test_memview.py",
    "zeroes": "never ends: see test_fork.py, where a page has many users",
    "bomb": "takes all that there is: see test_fork.py",
    **{name: "see test_fork.py, which compares it" for name in ("forks", "racers", "scenario", "tests")},
}
LARGE = {"tests": 112 << 10}    # bytes; others have less than
SMALL = 48 << 10

# These leave the kernel without memory, so that its caches may shrink and grow. From lab 6 on, pages are given when they are
# used, and who uses one that there is no memory for is ended.
EXHAUSTING = ("mmap_all", "brk_all", "cut_all")
STARVED = 137       # 128 + SIGKILL
LAZY = LAST >= 6

# A program of another C library: what that needs of the kernel before main is more than ours does.
GLIBC = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char *argv[])
{
    char *big = malloc(1 << 20), *small = malloc(10);
    memset(big, 'x', 1 << 20);
    strcpy(small, "malloc");
    printf("Hello from glibc, %d arguments, %s, %.15f, %ld\n", argc - 1, small, sqrt(2.0), sysconf(_SC_PAGESIZE));
    for (int i = 1; i < argc; i++)
        fprintf(stderr, "[%s]\n", argv[i]);
    free(big);
    return argc;
}
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel without checks, so that its monitor comes at once, with the program `glibc` besides its own."""
    obj = tmp_path_factory.mktemp("kernel")
    (obj / "user").mkdir()
    subprocess.run([f"{compiler_prefix()}gcc", "-static", "-s", "-O1", "-x", "c", "-", "-o", obj / "user" / "glibc",
                    "-lm"], input=GLIBC, text=True, check=True)
    make(obj, f"{obj}/kernel8.img", f"OTHER_PROGRAMS={obj}/user/glibc",
         "SOURCES=" + " ".join([*sources(LAST), "kern/scratch.c"]))
    return obj


def compiler_prefix() -> str:
    for prefix in ("aarch64-linux-gnu-", "aarch64-none-elf-", "aarch64-elf-"):
        if shutil.which(f"{prefix}gcc"):
            return prefix
    raise AssertionError("no cross compiler")


def make(obj: Path, *arguments: str) -> str:
    return subprocess.run(["make", "-s", "-j2", "-C", ROOT, f"O={obj}", *arguments], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def names() -> list[str]:
    everything = labs.read(ROOT, drafts=True)
    files = [*sorted(ROOT.glob("user/*.c")), *sorted(ROOT.glob("user/*/main.c"))]
    return [path.parent.name if path.name == "main.c" else path.stem for path in files
            if labs.lab_of(everything, path.relative_to(ROOT).as_posix()) <= LAST]


class Console:
    """A booted Bramble, and its monitor's prompt."""

    def __init__(self, obj: Path, arguments: str = "") -> None:
        self.process = subprocess.Popen(
            [qemu_binary(), "-M", machine_name(), "-display", "none", "-nodefaults", "-no-reboot",
             "-serial", "null", "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
             "-global", "bcm2837.enabled-cpus=1", "-kernel", str(obj / "kernel8.img"), "-append", arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.said = b""
        self.wait_for(PROMPT)

    def wait_until(self, reached: Callable[[bytes], bool]) -> None:
        """Until what has been said, and not been taken yet, is so."""
        assert self.process.stdout
        end = time.monotonic() + PATIENCE
        while not reached(self.said):
            assert time.monotonic() < end, self.said.decode(errors="replace")
            if select.select([self.process.stdout], [], [], 1.0)[0]:
                data = os.read(self.process.stdout.fileno(), 1 << 16)
                assert data, self.said.decode(errors="replace")
                self.said += data

    def wait_for(self, text: bytes) -> str:
        """What is said before `text` comes."""
        self.wait_until(lambda said: text in said)
        before, self.said = self.said.split(text, 1)
        return before.decode(errors="replace").replace("\r", "")

    def type(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def command(self, line: str) -> str:
        """What the command prints, and what the kernel says meanwhile; its echo apart."""
        self.type(line + "\n")
        before, _, after = self.wait_for(PROMPT).partition(line + "\n")
        return before + after

    def run(self, line: str) -> tuple[str, int]:
        """What the program prints, and its status."""
        return split_status(self.command(f"run {line}"))

    def background(self, *lines: str) -> None:
        """Start programs that go on while others run."""
        for line in lines:
            self.type(f"run {line} &\n")
        self.wait_until(lambda said: said.count(b" runs\r\n") == said.count(PROMPT) == len(lines))
        self.said = b""

    def free(self) -> int:
        """Pages that nobody has."""
        found = re.search(r"^free +([0-9]+) of [0-9]+ pages, and ([0-9]+) with kalloc", self.command("mem"), re.M)
        assert found
        return int(found[1]) + int(found[2])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def split_status(said: str) -> tuple[str, int]:
    """Bramble's own lines about a program's end are no part of its output."""
    status = re.search(r"^\w+ \(pid \d+\): status (\d+)$", said, re.M)
    output = re.sub(r"^\w+ \(pid \d+\): (status|signal|killed).*\n", "", said, flags=re.M)
    return output.rstrip("\n"), int(status[1]) if status else 0


@pytest.fixture(scope="module")
def console(kernel: Path) -> Iterator[Console]:
    """For tests that leave the machine as it was."""
    one = Console(kernel, "mem=64M")
    yield one
    one.close()


@pytest.fixture
def another(kernel: Path) -> Iterator[Callable[[str], Console]]:
    """another(boot arguments): a console of the test's own."""
    started: list[Console] = []

    def start(arguments: str) -> Console:
        started.append(Console(kernel, arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


def no_signal_ignored() -> None:
    """What shells and nohup have ignored for those they start is not to be so for the programs tested here."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def on_linux(kernel: Path, line: str, typed: str = "") -> tuple[str, int]:
    program, *arguments = line.split()
    done = subprocess.run([*LINUX, kernel / "user" / program, *arguments], input=typed, text=True, timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=no_signal_ignored)
    output = re.sub(r"^qemu: uncaught target signal .*\n", "", done.stdout, flags=re.M)
    return output.rstrip("\n"), done.returncode if done.returncode >= 0 else 128 - done.returncode


# --- The same here and there ------------------------------------------------------------------------


def test_every_program_is_compared() -> None:
    """Or there is a reason."""
    compared = {line.split()[0] for line in SAME}
    assert compared | set(NOT_SAME) >= set(names())


def test_the_same_as_on_linux(kernel: Path, console: Console) -> None:
    wrong = []
    for line in SAME:
        here, there = console.run(line), on_linux(kernel, line)
        if here != there:
            wrong.append(f"{line}: here {here}, on Linux {there}")
    assert not wrong, "\n".join(wrong)


def test_echo(kernel: Path, console: Console) -> None:
    lines = ["one line", "another", "x" * 63, "and the last", ""]
    console.type("run echo\n")
    for line in lines:
        console.type(line + "\n")
        if line:
            console.wait_for(f"[{line}]".encode())
    console.wait_for(PROMPT)
    said, status = on_linux(kernel, "echo", "\n".join([*lines, "more"]))
    assert said.split("\n") == [f"[{line}]" for line in lines[:-1]] and status == 0


def test_files_are_what_they_should_be(kernel: Path) -> None:
    """Static, never both writable and executable, small, and without a byte that only fills a page."""
    for name in names():
        data = (kernel / "user" / name).read_bytes()
        assert data[:6] == b"\x7fELF\x02\x01" and struct.unpack_from("<2H", data, 16) == (2, 183)
        assert len(data) < LARGE.get(name, SMALL), name
        assert str(ROOT).encode() not in data
        phoff, = struct.unpack_from("<Q", data, 32)
        count, = struct.unpack_from("<H", data, 56)
        end, rights = 0, []
        for i in range(count):
            kind, flags, offset, va, _, filesz, memsz, _ = struct.unpack_from("<2I6Q", data, phoff + 56 * i)
            if kind != 1:
                continue
            assert offset % 4096 == va % 4096 and 0x400000 <= va < 0x500000 and filesz <= memsz
            assert offset - end < 16, name
            end = offset + filesz
            rights.append(flags)
        assert rights == [5, 4, 6], name


def test_make_knows_what_the_image_is_made_of(tmp_path: Path) -> None:
    """What changed is made anew, and no more than that."""
    source = tree(tmp_path / "tree")

    def linked() -> set[str]:
        said = subprocess.run(["make", "-j2", "-C", source, "obj/programs.S.o"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        assert ("+ as  obj/programs.S\n" in said) == ("+ uld" in said)
        return set(re.findall(r"^\+ uld obj/user/(\w+)\.elf$", said, re.M))

    programs = set(names())
    assert linked() == programs and linked() == set()
    for changed, expected_of_it in (("user/hello.c", {"hello"}), ("user/attack/null_read.c", {"attack"}),
                                    ("user/libc/libc.h", programs), ("kern/main.c", set())):
        (source / changed).touch()
        assert linked() == expected_of_it, changed
    (source / "user" / "ping.c").rename(source / "user" / "pong.c")
    assert linked() == {"pong"}
    assert '"pong"' in (said := (source / "obj" / "programs.S").read_text()) and '"ping"' not in said


# --- Several at a time --------------------------------------------------------------------------------


def test_spin(another: Callable[[str], Console]) -> None:
    """Who never asks the kernel for anything is interrupted, and can be ended."""
    console = another("mem=64M")
    console.background("spin")
    assert console.run("hello") == ("Hello, world!", 0)
    pid = re.search(r"^ *(\d+) +\d+ \w+ +\d+ spin$", console.command("ps"), re.M)
    assert pid
    console.type(f"kill {pid[1]}\n")
    console.wait_until(lambda said: b"status 137" in said and PROMPT in said)
    console.said = b""
    console.type("run spin\n")
    console.wait_for(b"run spin\r\n")
    console.type("\x03")
    assert split_status(console.wait_for(PROMPT)) == ("", 130)


def test_nothing_is_lost(kernel: Path, tmp_path: Path) -> None:
    """A million system calls, while others do the same and the timer interrupts ten thousand times a second."""
    lines = ["regs 300000 1", "regs 300000 2", "regs 400000 3", "fp 1 20000", "fp 2 20000"]
    run = "+".join(line.replace(" ", ",") for line in lines)
    said = subprocess.run(
        [qemu_binary(), "-M", machine_name(), "-display", "none", "-nodefaults", "-no-reboot", "-serial", "null",
         "-serial", "stdio", "-global", "bcm2837.enabled-cpus=1", "-kernel", kernel / "kernel8.img",
         "-append", f"mem=64M hz=10000 run={run}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE).stdout
    for line in lines:
        assert on_linux(kernel, line)[0] in said, said
    assert "status" not in said, said


def test_a_race_for_memory(another: Callable[[str], Console]) -> None:
    """There is enough for two of three. Nobody gets another's page, and all come back."""
    console = another("mem=32M")
    console.run("alloc first")
    before = console.free()
    wanted = before * 9 // 20
    console.background(*(f"alloc {name} {wanted}" for name in "abc"))
    console.wait_until(lambda said: said.count(b"all of them mine") + said.count(b"killed: out of memory") == 3)
    pages = [int(n) for n in re.findall(rb"[abc]: (\d+) pages, all of them mine", console.said)]
    console.said = b""
    assert len(pages) == (2 if LAZY else 3) and min(pages) > 0 and sum(pages) > before / 2
    while "alloc" in console.command("ps"):
        pass
    assert abs(console.free() - before) < KEPT
    assert "in order" in console.command("audit")


# --- Attacks --------------------------------------------------------------------------------------------


def expected(kernel: Path) -> list[tuple[str, int, bool]]:
    """Each attack's name, its status, and whether Linux agrees."""
    said, _ = on_linux(kernel, "attack --expected")
    rows = [line.split() for line in said.split("\n")]
    return [(name, int(status), where == "everywhere") for name, status, where in rows]


def test_attacks(kernel: Path, another: Callable[[str], Console]) -> None:
    """Each ends as it should, costs not a page, and harms nobody: two others watch their registers and memory."""
    attacks = expected(kernel)
    assert len(attacks) >= 40
    console = another("mem=64M hz=1000")
    console.background("regs 1000000000000 1", "regs 1000000000000 2")
    console.run("attack")
    before, wrong = console.free(), []
    least = before - KEPT
    for name, status, _ in attacks:
        if name == "read_pointers":
            console.type(f"run attack {name}\nsomething to read\n")
            said, got = split_status(console.wait_for(PROMPT))
        else:
            said, got = console.run(f"attack {name}")
        if got != status and not (LAZY and name in EXHAUSTING and got == STARVED):
            wrong.append(f"{name}: status {got} instead of {status}: {said}")
        free = console.free()
        if free != before and (name not in EXHAUSTING or free < least):
            wrong.append(f"{name}: {before - free} pages are gone")
        before = free
    assert not wrong, "\n".join(wrong)
    assert console.command("ps").count(" regs\n") == 2
    assert "in order" in console.command("audit")


def test_attacks_on_linux(kernel: Path) -> None:
    """Where Linux is said to agree, it does."""
    wrong = []
    for name, status, everywhere in expected(kernel):
        if everywhere:
            said, got = on_linux(kernel, f"attack {name}", "something to read\n")
            if got != status:
                wrong.append(f"{name}: status {got} instead of {status}: {said}")
    assert not wrong, "\n".join(wrong)
