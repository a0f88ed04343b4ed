"""The machinery on a kernel of forty lines: gdbstub, QMP, limits, calls, page tables."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import grading
from grade.elf import BadElf, Elf
from grade.gdb import CPSR, checksum, escape, unescape
from grade.guest import Guest, Panicked, Stuck
from grade.view import KERNBASE, Disagree
from grade.machine import POISON, Machine, NoQemu, Stop


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return grading.tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def guest(built: tuple[Path, Path], tmp_path: Path) -> Iterator[Guest]:
    """Stopped at check_end."""
    with Machine(built[0], "check=tiny", tmp_path) as machine:
        g = Guest(machine, Elf(built[1]))
        for name in ("check_end", "panicked"):
            machine.break_at(g.symbol(name))
        assert machine.run(50) is Stop.BREAKPOINT
        g.settle("check_end")
        yield g


def start(folder: Path, **pieces: str) -> Machine:
    folder.joinpath("build").mkdir()
    folder.joinpath("run").mkdir()
    image, _ = grading.tiny(folder / "build", **pieces)
    return Machine(image, "", folder / "run")


def test_packets() -> None:
    assert checksum(b"OK") == b"9a"
    assert unescape(escape(bytes(range(256)))) == bytes(range(256)).replace(b"*", b"*")
    assert unescape(b"0* ") == b"0000"


def test_stops_with_the_mmu_off_and_on(built: tuple[Path, Path], tmp_path: Path) -> None:
    with Machine(built[0], "", tmp_path) as m:
        g = Guest(m, Elf(built[1]))
        assert m.ram[0x100000:0x100008] == POISON
        m.break_at(g.symbol("boot_start") - KERNBASE)
        assert m.run(50) is Stop.BREAKPOINT
        assert m.level == 2 and m.pc == g.symbol("boot_start") - KERNBASE
        assert g.tampering() == "the kernel runs at EL2, not at EL1"
        m.break_at(g.symbol("check_begin"))
        m.break_at(g.symbol("check_end"))
        assert m.run(50) is Stop.BREAKPOINT
        assert (m.level, g.name(m.pc)) == (1, "check_begin")
        assert g.text(g.u64(g.reg("x0"))) == "tiny"
        assert m.console() == b"hi\n"
        assert m.boot_log().splitlines()[-1] == b"boot: main"
        assert m.run(50) is Stop.BREAKPOINT
        assert g.name(m.pc) == "check_end" and g.tampering() is None
        assert m.run(50) is Stop.POWER_OFF
        assert m.run(50) is Stop.POWER_OFF
        assert g.calls()[0].startswith("power_off")


def test_call(guest: Guest) -> None:
    assert guest.call("add", 2, 40) == 42
    assert guest.call("add", -1, 0) == (1 << 64) - 1
    assert guest.call(guest.symbol("add"), 1, 1) == 2
    guest.printed()
    for byte in b"A\x00\xff":
        guest.call("uart_putc", byte)
    assert guest.printed() == b"A\x00\xff"


def test_a_call_that_does_not_return(guest: Guest) -> None:
    with pytest.raises(Stuck, match="spin did not return: still running after 20 million.*in spin"):
        guest.call("spin", limit=20)
    assert guest.call("add", 1, 2) == 3
    with pytest.raises(Panicked, match="boom panicked: oh no"):
        guest.call("boom", guest.push(b"oh no\0"))
    with pytest.raises(Stuck, match="add did not return: the machine was reset"):
        guest.call("add", 1, 2)


def test_a_call_that_sleeps(guest: Guest) -> None:
    with pytest.raises(Stuck, match="doze did not return: .*sleeps"):
        guest.call("doze", limit=20)
    with pytest.raises(Stuck, match="sleeps"):
        guest.call("add", 1, 2)


def test_a_jump_past_the_return_is_no_return(guest: Guest) -> None:
    with pytest.raises(Stuck, match="went to check_end"):
        guest.call("jump_to_the_end")


def test_panics(guest: Guest) -> None:
    assert guest.panics("add", 1, 2) is None
    assert guest.panics("boom", guest.push(b"why\0")) == "why"


def test_memory(guest: Guest) -> None:
    va = guest.symbol("kmem")
    guest.put64(va, 0x1122334455667788)
    assert guest.u64(va) == guest.p64(va - KERNBASE) == 0x1122334455667788
    assert guest.machine.gdb.read(va, 8) == struct.pack("<Q", 0x1122334455667788)
    pushed = guest.push(b"x" * 5000)
    assert pushed % 16 == 0 and guest.read(pushed, 5000) == b"x" * 5000
    with pytest.raises(Disagree, match="not mapped"):
        guest.read(0xFFFF_8000_0000_0000, 8)
    assert "<unreadable>" in guest.text(0x123456789000)


def test_page_tables(guest: Guest) -> None:
    root, l1, l2, l3 = 0x2000000, 0x2001000, 0x2002000, 0x2003000
    for table in (root, l1, l2, l3):
        guest.phys_write(table, bytes(4096))
    guest.phys_write(root + 8 * 511, struct.pack("<Q", l1 | 3))
    guest.phys_write(l1 + 8, struct.pack("<Q", l2 | 3))
    guest.phys_write(l2 + 16, struct.pack("<Q", 0x400000 | 0x701))
    guest.phys_write(l2 + 24, struct.pack("<Q", l3 | 3))
    guest.phys_write(l3 + 32, struct.pack("<Q", 0x0060_0000_0345_6743))
    assert sorted(guest.tables(root)) == [root, l1, l2, l3]
    block, page = guest.leaves(root, high=True)
    assert (block.pa, block.level, block.size) == (0x400000, 2, 2 << 20)
    assert block.va == 0xFFFF_FF80_4040_0000
    assert (page.va, page.pa, page.size, page.entry) == \
        (0xFFFF_FF80_4060_4000, 0x3456000, 4096, 0x0060_0000_0345_6743)
    assert [level for level, _, _ in guest.walk(root, page.va)] == [0, 1, 2, 3]
    assert guest.walk(root, 0x1000)[-1][0] == 0
    guest.phys_write(l1 + 16, struct.pack("<Q", l2 | 3))
    with pytest.raises(Disagree, match="linked twice"):
        guest.leaves(root)
    guest.phys_write(l1 + 16, struct.pack("<Q", 0x7000_0000_0003))
    with pytest.raises(Disagree, match="outside memory"):
        guest.leaves(root)


def test_free_list(guest: Guest) -> None:
    pages = [KERNBASE + n * 4096 for n in (0x1000, 0x1234, 0x1001)]
    for page, after in zip(pages, [*pages[1:], 0]):
        guest.put64(page, after)
    guest.put64(guest.symbol("kmem"), pages[0])
    assert guest.free_list() == pages
    guest.put64(pages[2], pages[1])
    with pytest.raises(Disagree, match="twice"):
        guest.free_list()
    guest.put64(pages[2], 0x0101010101010101)
    with pytest.raises(Disagree, match="bad page 0x101010101010101 after 3"):
        guest.free_list()


def put_code(guest: Guest, function: str, *words: int) -> None:
    guest.phys_write(guest.symbol(function) - KERNBASE, struct.pack(f"<{len(words)}I", *words))


def test_a_call_that_leaves_other_interrupts_masked(guest: Guest) -> None:
    put_code(guest, "add", 0xD50341FF, 0xD65F03C0)          # msr daifclr, #1; ret
    guest.home[CPSR] |= 0x3C0
    with pytest.raises(Disagree, match="after add, other interrupts are masked .* 0xf again, found 0xe"):
        guest.call("add")
    guest.home[CPSR] &= ~0x40
    guest.call("add")


def test_a_store_that_is_watched(guest: Guest) -> None:
    put_code(guest, "add", 0xF9000020, 0xD65F03C0)          # str x0, [x1]; ret
    va = guest.symbol("kmem")
    guest.machine.gdb.watch_stores(va, 8)
    name, address = guest.enter("add", 5, va)
    assert guest.machine.run(5, pc=address) is Stop.BREAKPOINT
    assert guest.machine.pc in (address, address + 4)
    guest.machine.gdb.unwatch(va, 8)
    assert guest.leave(name, guest.machine.run(5), 5) == 5
    assert guest.u64(va) == 5


def test_overwritten_code_is_seen(guest: Guest) -> None:
    assert guest.tampering() is None
    guest.phys_write(guest.symbol("add") - KERNBASE + 4, b"\x1f\x20\x03\xd5")
    assert "(add+0x4)" in (guest.tampering() or "")


def test_endless_loop_meets_the_guest_time_limit(tmp_path: Path) -> None:
    with start(tmp_path, before="spin()") as m:
        assert m.run(30) is Stop.TIME
        assert 30_000 <= m.ticks()


def test_the_limit_counts_guest_time_even_when_the_guest_is_through(tmp_path: Path) -> None:
    with start(tmp_path, before="for (uint64_t i = 0; i < 2000000; i++) counter = i") as m:
        m.break_at(Elf(tmp_path / "build" / "tiny.elf").symbols["check_begin"].address)
        m.POLL = 5.0
        assert m.run(3) is Stop.TIME


def test_a_sleeping_guest_is_noticed(tmp_path: Path) -> None:
    with start(tmp_path, before="doze()") as m:
        began = time.monotonic()
        assert m.run(1000) is Stop.ASLEEP
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("code", ['asm volatile("msr vbar_el1, xzr; .word 0")',
                                  'asm volatile("msr vbar_el1, %0; svc 0" : : "r"(1ul << 50))'])
def test_endless_exceptions_are_noticed(tmp_path: Path, code: str) -> None:
    """No instruction completes, so guest time stands still."""
    with start(tmp_path, before=code) as m:
        began = time.monotonic()
        assert m.run(1000) is Stop.FAULTING
        assert time.monotonic() - began < 30


def test_reset_and_power_off_are_told_apart(tmp_path: Path) -> None:
    with start(tmp_path, before="power_reset()") as m:
        assert m.run(50) is Stop.RESET


def test_a_flood_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grade.machine.OUTPUT_CAP", 128 << 10)
    with start(tmp_path, before="for (;;) uart_putc(88)") as m:
        assert m.run(1000) is Stop.FLOOD
        assert m.console() == b"X" * (128 << 10)


def test_nothing_is_left_behind(built: tuple[Path, Path], tmp_path: Path) -> None:
    machine = Machine(built[0], "", tmp_path)
    assert machine.process is not None
    pid = machine.process.pid
    machine.close()
    machine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_qemu_ends_with_a_killed_grader(built: tuple[Path, Path], tmp_path: Path) -> None:
    program = ("import sys, time; from pathlib import Path; from grade.machine import Machine\n"
               "m = Machine(Path(sys.argv[1]), '', Path(sys.argv[2]))\n"
               "print(m.process.pid, flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", program, str(built[0]), str(tmp_path)],
                          cwd=grading.ROOT, stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout is not None
        qemu = int(grader.stdout.readline())
        os.kill(grader.pid, signal.SIGKILL)
        grader.wait()
    for _ in range(100):
        stat = Path(f"/proc/{qemu}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("QEMU outlived the grader")


def test_missing_qemu_is_named(built: tuple[Path, Path], tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEMU", "qemu-not-here")
    with pytest.raises(NoQemu, match="setup"):
        Machine(built[0], "", tmp_path)


def test_no_elf(tmp_path: Path) -> None:
    path = tmp_path / "kernel8.elf"
    path.write_bytes(b"\x7fELF\x01\x01" + bytes(60))
    with pytest.raises(BadElf):
        Elf(path)
