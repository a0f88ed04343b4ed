"""Lab 6: fork and all that comes with it, tried by user programs: under Linux and in Bramble, with much memory, with
little, and with each allocation that fails."""

from __future__ import annotations

import difflib
import itertools
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import test_user
from grade.machine import machine_name, qemu_binary
from test_boot import sources
from test_user import PROMPT, Console, make, on_linux, split_status

SAME = ["tests", "tests all", "forks", "forks 5", "racers 40", "racers 40 7 20", "scenario"]
ONLY_HERE = ("programs",)   # of the scenarios: there it is the host's kernel that looks for a program

LAB = 6
VMALLOC_START = 0xffff008000000000
KILLED = 137    # 128 + SIGKILL: the kernel had no memory for it


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    One of these commands does as much as all of test_user's together. And what a shell starts in the background
    ignores two signals: not so the programs that are tested here.
    """
    monkeypatch.setattr(test_user, "PATIENCE", 900.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGQUIT, before[1])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel without checks, so that its monitor comes at once."""
    obj = tmp_path_factory.mktemp("kernel")
    make(obj, f"{obj}/kernel8.img", f"LAB={LAB}", "SOURCES=" + " ".join([*sources(LAB), "kern/scratch.c"]))
    return obj


@pytest.fixture
def boot(kernel: Path) -> Iterator[Callable[[str], Console]]:
    """boot(boot arguments): a console."""
    started: list[Console] = []

    def start(arguments: str) -> Console:
        started.append(Console(kernel, arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


def run(console: Console, line: str) -> tuple[str, int]:
    """What the program prints, and its status; without the kernel's own lines about processes that have ended."""
    return split_status(console.command(f"run {line}"))


class State(NamedTuple):
    """What must be the same before and after."""

    pages: int                  # that nobody has, or only kmalloc's caches or vmalloc's tables
    shared: int                 # blocks of memory that have several users
    objects: dict[str, int]     # of kmalloc's that are in use, by size
    areas: int                  # of vmalloc's
    processes: str              # ps
    audit: str


def state(console: Console) -> State:
    mem, slabinfo = console.command("mem"), console.command("slabinfo")
    free = re.search(r"^free +(\d+) of \d+ pages, and (\d+) with kalloc\nshared +(\d+) blocks", mem, re.M)
    caches = [[int(n) for n in row] for row in re.findall(r"kmalloc +(\d+) +(\d+) +\d+ +\d+ +(\d+)$", slabinfo, re.M)]
    assert free
    pages = int(free[1]) + int(free[2]) + sum(pages for _, _, pages in caches) + tables(console)
    return State(pages, int(free[3]),
                 {str(size): used for size, used, _ in caches if used}, slabinfo.count("area at"),
                 console.command("ps"), console.command("audit"))


def tables(console: Console) -> int:
    """Of the last level, which stay: for the kernel stacks of as many processes as there have ever been."""
    for n in itertools.count():
        if "level 3" not in console.command(f"pt {VMALLOC_START + (n << 21):x}"):
            return n
    raise AssertionError


def settled(console: Console, expected: State | None = None) -> State:
    """The state, as soon as those have ended whom nobody waited for."""
    for _ in range(1000):
        found = state(console)
        if found == expected or (found.processes.count("\n") == 4 and state(console) == found):
            return found
    raise AssertionError(found)


def nothing_lost(before: State, after: State) -> bool:
    """
    A page may be missing: one of records that kmalloc keeps for an empty chunk which it also keeps. So what is tried is
    tried twice, or a thousand times.
    """
    return after._replace(pages=before.pages) == before and abs(after.pages - before.pages) <= 1


def warm(console: Console, *lines: str) -> State:
    """The state after these programs have run for the first time."""
    for line in lines:
        assert run(console, line)[1] == 0, line
    found = settled(console)
    assert "in order" in found.audit, found
    return found


# --- The same as under Linux ------------------------------------------------------------------------------


def test_the_same_as_on_linux(kernel: Path, boot: Callable[[str], Console]) -> None:
    """All programs, and not a page or an object is lost over all of that."""
    console = boot("mem=64M")
    scenarios = on_linux(kernel, "scenario")[0].split()
    before, wrong = warm(console, "racers 20"), []
    for line in [*SAME, *(f"scenario {name}" for name in scenarios if name not in ONLY_HERE)]:
        here, there = run(console, line), on_linux(kernel, line)
        if here != there or here[1] != 0:
            wrong += [f"{line}: status {here[1]} here, {there[1]} on Linux", *differences(here[0], there[0])]
        run(console, line)
    assert not wrong, "\n".join(wrong)
    after = settled(console, before)
    assert nothing_lost(before, after), "\n".join(guilty(kernel, console, ""))


def differences(here: str, there: str) -> list[str]:
    return [line for line in difflib.unified_diff(here.split("\n"), there.split("\n"), "here", "Linux", n=0, lineterm="")]


def test_only_here(kernel: Path, boot: Callable[[str], Console]) -> None:
    """Each such test says why it cannot run under Linux."""
    console = boot("mem=64M")
    before = warm(console, "racers 20")
    for _ in range(2):
        said, status = run(console, "tests here")
        assert status == 0 and " 0 failed" in said, said
    after = settled(console, before)
    assert nothing_lost(before, after), "\n".join(guilty(kernel, console, "only here"))


def guilty(kernel: Path, console: Console, kind: str) -> Iterator[str]:
    """Something has been lost: which tests lose something each time?"""
    for line in on_linux(kernel, "tests")[0].split("\n"):
        if kind in line:
            name = line.split()[0]
            run(console, f"tests {name}")
            before = settled(console)
            for _ in range(3):
                run(console, f"tests {name}")
            after = settled(console, before)
            if not nothing_lost(before, after):
                yield f"{name}:\nbefore {before}\nafter  {after}"
    yield "something is missing"


def test_there_are_many(kernel: Path) -> None:
    """The tests, by what they are about."""
    names = [line.split()[0] for line in on_linux(kernel, "tests")[0].split("\n")]
    assert len(names) == len(set(names)) >= 100
    for about, least in {"exec": 15, "fork": 8, "wait": 15, "kill": 10, "cow": 15, "rights": 8, "registers": 5}.items():
        assert sum(name.startswith(about + "_") for name in names) >= least, about


def test_much_memory(boot: Callable[[str], Console]) -> None:
    """Where there is as much as the machine can have: a mapping of 900 MB, of which little is touched."""
    console = boot("")
    pages = re.search(r"^free +\d+ of (\d+) pages", console.command("mem"), re.M)
    assert pages and int(pages[1]) * 4096 > 900 << 20
    before = warm(console, "tests map_sparse")
    assert run(console, "tests map_sparse") == ("map_sparse: ok", 0)
    assert nothing_lost(before, settled(console, before))


@pytest.mark.parametrize("memory", ["8M", "6M", "5M"])
def test_little_memory(boot: Callable[[str], Console], memory: str) -> None:
    """Where all of it is not as much as the stack may become: 5M leaves a few hundred pages."""
    console = boot(f"mem={memory}")
    before = warm(console, "forks 3", "attack cut_all")
    assert run(console, "hello") == ("Hello, world!", 0)
    assert run(console, "forks 3") == ("a tree of depth 3: every mark is in place", 0)
    assert run(console, "attack cut_all") == ("", 0)
    assert run(console, "attack mmap_all") == ("", KILLED)
    assert nothing_lost(before, settled(console, before))


# --- Many at a time ---------------------------------------------------------------------------------------


def test_racers(boot: Callable[[str], Console]) -> None:
    """A thousand rounds: nobody loses a mark, and nothing is lost."""
    console = boot("mem=64M hz=1000")
    before = warm(console, "racers 30")
    assert run(console, "racers 1000 1 40") == ("1000 rounds: every mark is in place", 0)
    assert nothing_lost(before, settled(console, before))


def test_racers_without_memory(boot: Callable[[str], Console]) -> None:
    """The same where there is not enough for all: some have to end, perhaps all; but nobody loses a mark."""
    console, killed = boot("mem=14M hz=1000"), 0
    before = warm(console, "racers 30")
    for seed in range(1, 4):
        said = console.command(f"run racers 300 {seed} 200")
        output, status = split_status(said)
        killed += said.count("killed: out of memory")
        assert status == KILLED or (status == 0 and output.endswith("every mark is in place")), said
        assert nothing_lost(before, settled(console, before))
    assert killed > 0


def bomb(console: Console, times: int) -> None:
    """Where memory runs out, it may hit the first of them."""
    said, status = run(console, f"bomb {times}")
    assert said == "no more processes; but here I am" or status == KILLED, said


@pytest.mark.parametrize("memory", ["64M", "16M"])
def test_bomb(boot: Callable[[str], Console], memory: str) -> None:
    """First there are no more processes, then there is no more memory. The kernel survives it, and so do others."""
    console = boot(f"mem={memory}")
    warm(console, "forks 3")
    bomb(console, 1)
    before = settled(console)
    for _ in range(2):
        bomb(console, 10)
        settled(console, before)
        assert run(console, "forks 2") == ("a tree of depth 2: every mark is in place", 0)
        assert nothing_lost(before, settled(console, before))


def test_audit_at_any_moment(boot: Callable[[str], Console]) -> None:
    """While racers run, and are killed: no page is ever mapped more or less often than it is counted."""
    console = boot("mem=32M hz=1000")
    before = warm(console, "racers 30")
    console.background("racers 100000 3 30")
    for _ in range(40):
        assert "in order" in console.command("audit")
    processes = console.command("ps")
    assert processes.count(" racers\n") > 5
    killed = 0
    while racers := re.findall(r"^ *(\d+) +\d+ \w+ +\d+ racers$", console.command("ps"), re.M):
        console.command(f"kill {racers[0]}")    # the parent of most, then those that it leaves
        killed += 1
        assert killed < 1000 and "in order" in console.command("audit")
    assert nothing_lost(before, settled(console, before))


def test_a_page_with_many_users(boot: Callable[[str], Console]) -> None:
    """The page of zeroes, mapped a hundred thousand times."""
    console = boot("mem=512M")
    before = warm(console, "racers 30")
    free = console.free()
    console.background("zeroes 100000")
    console.wait_for(b"100000 pages are zero")
    assert "in order" in console.command("audit")
    assert free - console.free() < 300          # which are tables
    pid = re.search(r"^ *(\d+) +\d+ \w+ +(\d+) zeroes$", console.command("ps"), re.M)
    assert pid and int(pid[2]) >= 100000
    console.type(f"kill {pid[1]}\n")
    console.wait_until(lambda said: b"status 137" in said and PROMPT in said)
    console.said = b""
    assert nothing_lost(before, settled(console, before))


def test_text_is_shared_between_runs(boot: Callable[[str], Console]) -> None:
    """Two runs of a program have its text and constants in the same page frames, and their data in others."""
    console = boot("mem=64M")
    console.background("spin", "spin")
    pids = re.findall(r"^ *(\d+) +\d+ \w+ +\d+ spin$", console.command("ps"), re.M)
    assert len(pids) == 2
    frames: list[dict[int, str]] = []
    for pid in pids:
        frames.append({})
        ranges = re.findall(r"^ *([0-9a-f]+)-([0-9a-f]+) +\d+ pages (\S+)$", console.command(f"vm {pid}"), re.M)
        for start, end, rights in ranges:
            for va in range(int(start, 16), int(end, 16), 4096):
                walk = console.command(f"vm {pid} {va:x}")
                frame = re.findall(r"\b([0-9a-f]{4,})\b", walk)
                frames[-1][va] = f"{rights} {frame[-1]}" if frame else walk
    assert any(rights.startswith("r-x") for rights in frames[0].values())
    for va, frame in frames[0].items():
        assert (frames[1][va] == frame) == (not frame.startswith("rw")), f"{va:x}: {frame} {frames[1][va]}"


# --- Allocations that fail ---------------------------------------------------------------------------------


def test_every_allocation_fails_once(kernel: Path, boot: Callable[[str], Console]) -> None:
    """In each scenario, one after the other; and after each all is as it was before."""
    console, tried = boot("mem=32M"), 0
    names = on_linux(kernel, "scenario")[0].split()
    lines = [f"scenario {name}" for name in names]
    before = warm(console, *lines)
    for name in names:
        for n in itertools.count(1):
            said = console.command(f"failnth {n} scenario {name}")
            calls = re.search(r"^(\d+) allocations, (one|none) failed$", said, re.M)
            assert calls, said
            output, status = split_status(said)
            fine = f"{name}: all as it should be" in output
            not_started = re.search(r"^(there is no memory|scenario: out of memory)", said, re.M)
            assert status == KILLED or (status == 0 and (fine or not_started)), said
            after = settled(console, before)
            assert after == before, f"{name}, allocation {n}: {said}\nbefore {before}\nafter  {after}"
            if calls[2] == "none":
                break
            tried += 1
    assert tried > 300, tried


@pytest.mark.parametrize("n", [1, 20, 60])
def test_failing_from_the_boot_on(kernel: Path, n: int) -> None:
    """The boot argument failnth=N: the N-th allocation from when the program is started."""
    said = subprocess.run(
        [qemu_binary(), "-M", machine_name(), "-display", "none", "-nodefaults", "-no-reboot", "-serial", "null",
         "-serial", "stdio", "-global", "bcm2837.enabled-cpus=1", "-kernel", kernel / "kernel8.img",
         "-append", f"mem=32M failnth={n} run=scenario,children"], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=900).stdout
    assert "panic" not in said
    assert re.search(r"out of memory|all as it should be", said), said
