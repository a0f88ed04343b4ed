"""Processes and threads: what they must survive, what audit and the judge find, and that no system call is lost.

test/boot/processes.c, limits.c and audit.c are what the kernel does for these tests.
"""

from __future__ import annotations

import random
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import grading
from grade import isolation, lab as labs, procs
from grade.buddy import Pmm
from grade.elf import Elf
from grade.guest import Guest
from grade.isolation import Job
from grade.machine import Machine, Stop, machine_name, qemu_binary
from grade.sandbox import die_with_parent
from grade.view import KERNBASE, PGSIZE, Disagree
from test_boot import SAN_FILES, board, build, sources, wait_for
from test_user import LINUX, Console, LAST

ROOT = Path(__file__).resolve().parent.parent
LAB = 5
FILES = ["test/boot/processes.c", "test/boot/limits.c", "test/boot/audit.c"]
PATIENCE = 200.0    # seconds, on the slowest host
LIMIT = 20_000      # million instructions
NOP, TLBI_VAE1IS = 0xD503201F, 0xD5088320


def made(obj: Path, *arguments: str, lab: int = LAB) -> Path:
    """A kernel without checks, with what the tests do in it."""
    extra = [path for path in SAN_FILES if "SAN=1" in arguments or "DEBUG=1" in arguments and "/kasan" not in path]
    return build(obj, f"LAB={lab}", "STRICT=1", "SOURCES=" + " ".join([*sources(lab), *extra, *FILES]), *arguments)


@pytest.fixture(scope="module")
def trying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("trying"))


@pytest.fixture(scope="module")
def debugging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("debugging"), "DEBUG=1")


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("watching"), "SAN=1")


def boot(obj: Path, arguments: str) -> str:
    """What the kernel prints until it switches the machine off, or has panicked and its monitor waits.  Nobody stops the
    machine meanwhile, so time is exact: an instruction is a nanosecond, and waiting takes no time of ours."""
    with subprocess.Popen(
            [qemu_binary(), "-M", machine_name(), "-display", "none", "-nodefaults", "-no-reboot", "-serial", "null",
             "-serial", "stdio", "-global", "bcm2837.enabled-cpus=1", "-icount", "shift=0,sleep=off",
             "-kernel", str(obj / "kernel8.img"), "-append", arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent) as qemu:
        assert qemu.stdout
        said, late = b"", threading.Timer(PATIENCE, qemu.kill)
        late.start()
        while b"bramble> " not in said and (data := qemu.stdout.read1()):
            said += data
        assert late.is_alive(), said.decode("utf-8", "replace")
        late.cancel()
        qemu.kill()
    return said.decode("utf-8", "replace").replace("\r", "")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    """start(folder of the kernel, boot arguments): a machine before its first instruction."""
    running = []

    def start_one(obj: Path, arguments: str) -> Guest:
        folder = tmp_path / f"run{len(running)}"
        folder.mkdir()
        running.append(Machine(obj / "kernel8.img", arguments, folder))
        return Guest(running[-1], Elf(obj / "kernel8.elf"))

    yield start_one
    for machine in running:
        machine.close()


def to(g: Guest, symbol: str) -> str:
    """Run up to there.  Returns what was printed meanwhile."""
    g.machine.break_at(g.symbol(symbol))
    stop = g.machine.run(LIMIT)
    said = g.printed().decode("utf-8", "replace").replace("\r", "")
    assert stop is Stop.BREAKPOINT, f"{stop}\n{said}"
    return said


# --- What processes must survive ----------------------------------------------------------------------


TRIES = ["statuses", "kill", "preempted", "sleeps", "reset", "bad_programs", "random_programs", "no_memory_to_start",
         "no_memory_to_go_on", "too_many", "all_pids", "asids", "tlb", "audit"]


@pytest.fixture(scope="module")
def tried(trying: Path) -> str:
    """With little memory: all of it also works there."""
    return boot(trying, "try=all mem=8M")


@pytest.mark.parametrize("what", TRIES)
def test_what_must_go_well(tried: str, what: str) -> None:
    assert f"right: {what}\n" in tried, tried[-3000:]


def test_everything_is_tried(tried: str) -> None:
    assert re.findall(r"^try: (\w+)$", tried, re.M) == TRIES


def test_what_must_go_well_in_later_labs(tmp_path: Path) -> None:
    """In the newest, be it a draft."""
    newest = max(labs.load(ROOT))
    said = boot(made(tmp_path / "obj", lab=newest), "try=most mem=32M")
    assert re.findall(r"^right: (\w+)$", said, re.M) == [what for what in TRIES if what != "audit"], said[-3000:]


def test_a_kernel_thread_s_stack_overflow_is_told_by_name(trying: Path) -> None:
    said = boot(trying, "try=stack_overflow mem=8M")
    assert re.search(r"fault: stack overflow in deeper\+0x\w+: endless recursion\? \(sp ffff8\w+|"
                     r"fault: stack overflow in deeper\+0x\w+: endless recursion\?", said), said
    assert re.findall(r"^    [0-9a-f]{16} (\w+)\+0x", said, re.M)[:3] == ["deeper"] * 3, said


# --- No system call is lost ---------------------------------------------------------------------------


def test_a_million_system_calls(trying: Path, start: Callable[..., Guest],
                                record_property: Callable[[str, object], None]) -> None:
    """Three processes whose registers are looked at after each call, and 50,000 ticks a second."""
    lines = {"regs,400000,1": "400000 system calls, all registers kept",
             "regs,300000,2": "300000 system calls, all registers kept", "regs,300000,3": ""}
    g = start(trying, f"mem=16M hz=50000 run={'+'.join(lines)}")
    said = to(g, "power_off")
    for line in lines.values():
        assert line in said, said
    assert said.count("300000 system calls, all registers kept\n") == 2 and "status" not in said, said
    g.settle("power_off")
    ticks, millions = g.call("timer_ticks"), g.machine.ticks() // 1000
    record_property("ticks", ticks)
    print(f"{millions} million instructions, {ticks} ticks")
    assert ticks > 0.9 * millions * 50, "ticks were lost"
    assert ticks > 50_000


def test_floating_point(trying: Path) -> None:
    """Each computes with a rounding mode of its own; together they get what each gets alone, however often others
    interrupt, who also use all registers, or none."""
    jobs = [f"fp,{mode},3000" for mode in range(4)]
    alone = [re.search(r"^mode \d: .*$", boot(trying, f"mem=16M run={job}"), re.M) for job in jobs]
    together = boot(trying, f"mem=16M hz=50000 run={'+'.join([*jobs, 'regs,3000', 'ping', 'alloc,a,100'])}")
    assert len({line[0] for line in alone if line}) == 4
    for line in alone:
        assert line and f"{line[0]}\n" in together, together
    assert "3000 system calls, all registers kept" in together and "status" not in together, together


# --- A missing TLBI --------------------------------------------------------------------------------------


FREED = ["unmapped", "shrunk", "over", "again", "grown", "readonly-over"]
CHANGED = ["hidden", "readonly", "noexec"]


def without(g: Guest, function: str, wanted: Callable[[int, int], bool]) -> None:
    """The kernel in memory, before it runs, with the instructions of a function that are wanted(pc, word) made NOPs."""
    symbol = g.elf.symbols[function]
    found = 0
    for pc in range(symbol.address, symbol.address + symbol.size, 4):
        at = pc - KERNBASE
        if wanted(pc, int.from_bytes(g.machine.ram[at:at + 4], "little")):
            g.machine.ram[at:at + 4] = NOP.to_bytes(4, "little")
            found += 1
    assert found == 1, f"{found} instructions of {function}"


def calls(target: int) -> Callable[[int, int], bool]:
    def is_call(pc: int, word: int) -> bool:
        offset = (word & 0x3FFFFFF) - (word >> 25 & 1 << 1) * (1 << 25)
        return word >> 26 == 0b100101 and pc + 4 * ((offset + (1 << 25)) % (1 << 26) - (1 << 25)) == target
    return is_call


@pytest.mark.parametrize("function, unseen", [
    ("aspace_flush_page", FREED + CHANGED), ("user_free", FREED), ("user_protect", CHANGED)])
def test_a_missing_tlbi_is_seen_each_time(trying: Path, start: Callable[..., Guest], function: str,
                                          unseen: list[str]) -> None:
    """user/tlb.c, by the recipe of docs/hardware.md: 20 of 20 times; and nothing else is found."""
    g = start(trying, "try=tlb mem=16M")
    g.machine.break_at(0x80000)
    assert g.machine.run(LIMIT) is Stop.BREAKPOINT      # QEMU's loader has done its part
    if function == "aspace_flush_page":
        without(g, function, lambda pc, word: word & ~31 == TLBI_VAE1IS)
    else:
        without(g, function, calls(g.symbol("aspace_flush_page")))
    g.machine.unbreak(0x80000)
    said = to(g, "power_off")
    wrong = dict(re.findall(r"^tlb (\S+): (\d+) of 20 wrong$", said, re.M))
    assert wrong == {way: "20" if way in unseen else "0" for way in FREED + CHANGED}, said


def test_no_change_goes_unseen(tried: str) -> None:
    assert len(re.findall(r"^tlb \S+: 0 of 20 wrong$", tried, re.M)) == len(FREED + CHANGED)


# --- What audit finds ---------------------------------------------------------------------------------------


STACK, TEXT, TABLE = "3ffff000", "400000", "3fe00000"
SEEDS = [
    ("image", STACK, "kernel's image mapped for user"),
    ("image's data", STACK, "kernel's image mapped for user"),
    ("device", STACK, "device mapped for user"),
    ("local device", STACK, "device mapped for user"),
    ("no RAM", STACK, "address that is no RAM mapped for user"),
    ("far away", STACK, "address that is no RAM mapped for user"),
    ("VideoCore", STACK, "address that is no RAM mapped for user"),
    ("page of frame 0", STACK, "reserved page mapped for user"),
    ("object", STACK, "kernel allocated page mapped for user"),
    ("half of a block", STACK, "kernel allocated page mapped for user"),
    ("pmm's table", STACK, "reserved page mapped for user"),
    ("kernel stack", STACK, "kernel allocated page mapped for user"),
    ("root table", STACK, "page table mapped for user"),
    ("other's table", STACK, "page table mapped for user"),
    ("other's page", STACK, r"page \w+ is mapped 2 times, but has 1 references"),
    ("page twice", "3fffe000", r"page \w+ is mapped 2 times, but has 1 references"),
    ("free page", STACK, "free page mapped for user"),
    ("free block", STACK, "(free|kernel allocated) page mapped for user"),     # audit may have taken it
    ("too many references", STACK, r"page \w+ is mapped 1 times, but has 2 references"),
    ("writable text", TEXT, "writable and executable"),
    ("executable stack", STACK, "writable and executable"),
    ("kernel may execute", TEXT, "executable by the kernel"),
    ("for all address spaces", STACK, "mapped for all processes"),
    ("read-only stack", STACK, r"entry \w+ has not the rights of its range"),
    ("not shareable", STACK, r"entry \w+ has not the rights of its range"),
    ("device's memory type", STACK, r"entry \w+ has not the rights of its range"),
    ("not accessible", STACK, r"entry \w+ has not the rights of its range"),
    ("page 0", "0", "page 0 is mapped"),
    ("in no range", "500000", "mapped, but in no range"),
    ("another range's rights", TEXT, r"entry \w+ has not the rights of its range"),
    ("block", "30000000", "block of 200000 bytes mapped for user"),
    ("other's table linked", TABLE, "level 3 table belongs to another place, too"),
    ("its own table twice", TABLE, "level 3 table belongs to another place, too"),
    ("table goes round", TABLE, "level 3 table belongs to another place, too"),
    ("free table", TABLE, "no place for a level 3 table: free page"),
    ("object as a table", TABLE, "no place for a level 3 table: kernel allocated page"),
    ("table in a device", TABLE, "no place for a level 3 table: device"),
    ("table nowhere", TABLE, "no place for a level 3 table: address that is no RAM"),
    ("table in the image", TABLE, "no place for a level 3 table: kernel's image"),
    ("kernel stack open", r"ffff008\w+", "kernel's half open to user"),
    ("kernel stack executable by programs", r"ffff008\w+", "kernel's half open to user"),
    ("kernel stack executable", r"ffff008\w+", "kernel's half writable and executable"),
]


@pytest.mark.parametrize("seed, va, message", SEEDS, ids=[seed for seed, _, _ in SEEDS])
def test_what_audit_finds(tried: str, seed: str, va: str, message: str) -> None:
    """The error that was made, first; and none when it is gone."""
    found = re.search(rf"^seed: {seed}\n(.*\n(?:PAGE.*\n)*)seed: (\d+) errors, and 0 without it$", tried, re.M)
    assert found, tried[-3000:]
    lines = found[1].rstrip().split("\n")
    assert re.fullmatch(rf"PAGE TABLE ERROR: {va}: {message} \(pid \d+\)", lines[0]), found[0]
    assert len(lines) == min(int(found[2]), 16)


def test_every_seeded_error_is_expected(tried: str) -> None:
    made = [line for line in re.findall(r"^seed: (.*)$", tried, re.M) if "without it" not in line]
    assert sorted(made) == sorted(seed for seed, _, _ in SEEDS)


# --- DEBUG=1 and SAN=1 ---------------------------------------------------------------------------------------


PROGRAMS = ["hello,a", "args", "regs,300,5", "fp,1,300", "memory", "errors", "heap,200", "sleep,3", "ping", "maps", "io",
            "alloc,a,60", "alloc,b,60", "tlb", "attack,null_write", "attack,kernel_pointers", "attack,scatter", "exit,3"]


def programs_run(obj: Path) -> None:
    """16 at the same time is as many as run= takes."""
    for jobs in (PROGRAMS[:12], PROGRAMS[12:]):
        said = boot(obj, f"mem=32M run={'+'.join(jobs)}")
        statuses = dict(re.findall(r"^(\w+) \(pid \d+\): status (\d+)$", said, re.M))
        assert statuses == ({} if jobs is not PROGRAMS[12:] and jobs[0] == "hello,a" else {"attack": "139", "exit": "3"}), said
        assert "panic" not in said and "kasan: " not in said.replace("kasan: memory is watched", "") and "heap:" not in said


def test_programs_with_debug(debugging: Path) -> None:
    programs_run(debugging)


def test_programs_with_the_sanitizer(watching: Path) -> None:
    programs_run(watching)


def test_debug_looks_at_every_switch(debugging: Path, trying: Path) -> None:
    said = boot(debugging, "try=at_switch mem=16M")
    assert re.search(r"^panic at kern/sched\.c:\d+: PAGE TABLE ERROR: 3ffff000: kernel's image mapped for user \(pid \d+\)$",
                     said, re.M), said
    assert "nothing has been found" not in said
    said = boot(trying, "try=at_switch mem=16M")        # without it: nobody looks
    assert "PAGE TABLE ERROR" not in said, said


# --- The monitor, and all cores ------------------------------------------------------------------------------


def test_the_monitor_s_commands(trying: Path) -> None:
    console = Console(trying, "mem=32M")
    try:
        assert "run NAME" in console.command("run") and " hello " in console.command("run")
        assert "There is no process 77" in console.command("vm 77")
        assert "There is no process (which?)" in console.command("kill")
        assert "There is no process 1x" in console.command("kill 1x")
        assert "no such program" in console.command("run nothing")
        assert console.run("exit 200") == ("", 200)
        console.background("spin", "sleep 1000000")
        listed = dict(reversed(line) for line in re.findall(r"^ *(\d+) +\d+ \w+ +[1-9]\d* (\w+)$", console.command("ps"), re.M))
        assert set(listed) == {"spin", "sleep"}
        assert re.search(r"^ +\d+ +\d+ sleeping +\d+ sleep$", console.command("ps"), re.M)
        assert "is the kernel's own" in console.command("kill 1") and "kernel thread" in console.command("vm 1")
        mapped = console.command(f"vm {listed['spin']}")
        rows = re.findall(r"^ *([0-9a-f]+)-([0-9a-f]+) +\d+ pages? +(\S+)$", mapped, re.M)
        assert rows[0][0] == "400000" and rows[0][2] == "r-x" and rows[-1][1:] == ("40000000", "rw-"), mapped
        assert console.command("audit") == "The memory of all processes is in order.\n"
        console.type("run echo\nsome line\n")
        console.wait_for(b"[some line]")
        console.type("\x03")
        console.wait_until(lambda said: b"status 130" in said)
        for pid in listed.values():
            console.type(f"kill {pid}\n")
            console.wait_until(lambda said: b"status 137" in said)
            console.said = console.said.split(b"status 137", 1)[1]
        console.type("\n")
        while "spin" in (said := console.command("ps")) or "sleep " in said:
            pass
        console.type("halt\n")
        assert console.process.wait(60) == 0
    finally:
        console.close()


def test_four_cores(trying: Path, tmp_path: Path) -> None:
    """Three of which sleep."""
    with board(tmp_path, "-kernel", str(trying / "kernel8.img"), "-append",
               "mem=64M run=hello+regs,2000+alloc,a,100+exit,9") as (qemu, console):
        assert qemu.wait(PATIENCE) == 0
        said = wait_for(console, "exit (pid")
    for line in ("Hello, world!", "2000 system calls, all registers kept", "a: 100 pages, all of them mine", "status 9"):
        assert line in said, said


# --- What the judge sees ------------------------------------------------------------------------------------


def judge() -> Any:
    return labs.module(ROOT / "labs" / f"lab{LAB}" / "judge_whole.py", "judge_whole")


# What grade/procs.py knows of lab 6's struct proc, test_procs.py tries out; here is lab 5's.
LAYOUT = r"""
#include <stddef.h>
#include "memlayout.h"
#include "proc.h"
#include "vma.h"
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #field)
AT(proc, state, STATE); AT(proc, pid, PID); AT(proc, ppid, PPID); AT(proc, name, 124); AT(proc, kstack, 168);
AT(proc, as.root, 176); AT(proc, as.asid, 184); AT(proc, as.vmas, 192); AT(proc, as.pages, 216);
#if LAB >= 6
AT(proc, children, CHILDREN); AT(proc, sibling, SIBLING);
#else
AT(proc, children, CHILDREN - 8); AT(proc, sibling, SIBLING - 8);
#endif
_Static_assert(STACK_SIZE == STACK, "a kernel stack");
_Static_assert(PROT_READ == READ && PROT_WRITE == WRITE && PROT_EXEC == EXEC, "rights");
_Static_assert(PTE_USER == USER && PTE_RO == RO && PTE_SH == INNER && PTE_AF == AF, "entries");
_Static_assert(PTE_NG == NG && PTE_PXN == PXN && PTE_UXN == UXN, "entries");
"""


def test_the_judge_s_layout_is_that_of_the_headers(tmp_path: Path) -> None:
    known = {name: getattr(procs, name) for name in ("STATE", "PID", "PPID", "CHILDREN", "SIBLING", "READ", "WRITE", "EXEC")}
    known |= {name: getattr(isolation, name) for name in ("USER", "RO", "INNER", "AF", "NG", "PXN", "UXN")}
    known["STACK"] = isolation.STACK_SIZE
    source = tmp_path / "layout.c"
    source.write_text("".join(f"#define {name} {value:#x}\n" for name, value in known.items()) + LAYOUT)
    for lab in range(LAB, LAST + 1):
        done = subprocess.run([grading.CROSS + "gcc", "-std=gnu17", "-ffreestanding", "-fsyntax-only", f"-DLAB={lab}",
                               f"-DSOL={lab}", "-I", str(ROOT / "inc"), str(source)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    data = (bytes(range(200)) * 4)[:procs.PROC_OF_LAB_5.size]
    fields = dict(zip([f for f in procs.FIELDS if f != "image"], procs.PROC_OF_LAB_5.unpack(data)))
    assert procs.PROC_OF_LAB_5.size == procs.PROC.size - 8
    for name, at, size in (("pid", procs.PID, 4), ("kstack", 168, 8), ("children", procs.CHILDREN - 8, 8)):
        assert fields[name] & (1 << 8 * size) - 1 == int.from_bytes(data[at:at + size], "little"), name


def test_the_judge_knows_the_attacks(trying: Path) -> None:
    said = subprocess.run([*LINUX, trying / "user" / "attack", "--expected"], capture_output=True, text=True).stdout
    expected = {name: int(status) for name, status, _ in (line.split() for line in said.splitlines())}
    assert {name: expected.get(name) for name in judge().ATTACKS} == judge().ATTACKS
    ways = re.findall(r'^    \{"([\w-]+)", \w+, (true|false)\},$', (ROOT / "user" / "tlb.c").read_text(), re.M)
    known = {name: 139 if ends == "true" else 0 for name, ends in ways}
    assert {name: known.get(name) for name in judge().CHANGES} == judge().CHANGES


def test_what_the_judge_finds(trying: Path, start: Callable[..., Guest]) -> None:
    """Errors made in memory, with processes that have run."""
    j = judge()
    g = start(trying, "check=none mem=16M")
    to(g, "power_off")
    g.settle("power_off")
    assert g.call("proc_trouble") == 0
    j.run(g, [Job(["exit", "3"], (3,))], random.Random(1))
    seen = j.Isolation(g)
    jobs = [Job(["alloc", "one"]), Job(["alloc", "two"]), Job(["spin"])]
    for job in jobs:
        isolation.spawn(g, job)
    for _ in range(6):
        g.call("wait_us", 2000)
        seen.look("wait_us")
    assert seen.seen == {"alloc", "spin"}

    one, two, _ = (procs.family(g)[job.pid] for job in jobs)
    pages = [leaf for leaf in g.leaves(one.root, False) if leaf.va >= j.FIRST and leaf.va < 0x20000000]
    mine, text = pages[3], g.leaves(one.root, False)[0]
    table = g.walk(one.root, mine.va)[2]
    theirs = next(leaf for leaf in g.leaves(two.root, False) if leaf.va == mine.va)
    their_table = g.walk(two.root, mine.va)[2]
    pmm = Pmm(g)
    free = (pmm.start + max(pmm.free_frames())) * PGSIZE
    g.phys_write(free, bytes(PGSIZE))       # as a table it would be empty
    stack = g.walk(g.ttbr1, one.kstack)[3]
    other = g.symbol("image_start") - KERNBASE

    def found(at: int, value: int, message: str) -> None:
        before = g.p64(at)
        g.phys_write(at, value.to_bytes(8, "little"))
        with pytest.raises(Disagree, match=message):
            seen.look("nowhere")
        g.phys_write(at, before.to_bytes(8, "little"))
        seen.look("nowhere")

    flags = mine.flags
    for pa, message in ((other, "which is the kernel's"), (free, "which is free"), (stack[2] & 0xFFFFFFFFF000, "the kernel's"),
                        (0x3F201000, "no page of memory"), (0, "the kernel's|not a single page"), (one.at - KERNBASE & ~4095, "not a single"),
                        (one.root, "a page table of alloc"), (their_table[2] & 0xFFFFFFFFF000, "a page table of alloc"),
                        (theirs.pa, "which it has written there"), (pages[4].pa, "which it has written there")):
        found(mine.at, pa | flags, message)
    their_stack, my_stack = g.leaves(two.root, False)[-1], g.leaves(one.root, False)[-1]
    found(my_stack.at, their_stack.entry, r"has 1 references, expected 2: it is mapped at 0x3ffff000 of alloc \(pid \d+\) and")
    found(my_stack.at, g.leaves(one.root, False)[-2].entry, "has 1 references, expected 2")
    for bits, message in ((isolation.UXN, "written and executed"), (isolation.PXN, "executed by the kernel"), (isolation.NG, "nG is clear"),
                          (isolation.AF, "not ordinary"), (isolation.INNER, "not ordinary"), (isolation.USER, "has the rights"), (isolation.RO, "has the rights")):
        found(mine.at, mine.entry ^ bits, message)
    found(text.at, text.entry ^ isolation.RO, "written and executed")
    found(mine.at, 0, "pages mapped, expected")
    found(mine.pa, 0x1234, "which it has written there")
    found(table[1], their_table[2], "belongs to alloc")
    found(table[1], free | 3, "is free")
    found(stack[1], stack[2] | isolation.USER, "open to EL0")
    found(stack[1], stack[2] & ~isolation.UXN, "open to EL0")
    asid = one.at - KERNBASE + 184
    found(asid, two.asid, "has the ASID")
    found(g.reg("tpidr_el1") - KERNBASE + 112, procs.ZOMBIE | 0 << 32, "no process that runs")
    found(one.at - KERNBASE + 216, one.pages + 1, "pages mapped, expected")
    found(one.vmas - KERNBASE, PGSIZE, "is not mapped, though in the range")
