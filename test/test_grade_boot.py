"""make qemu: the console on a terminal or a pipe, and what it says about kernels that fail."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

import grading

COMMAND = [sys.executable, "-m", "grade.boot", "--obj"]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished kernel of lab 1."""
    obj = tmp_path_factory.mktemp("obj")
    subprocess.run(["make", "-s", "-j2", "LAB=1", f"O={obj}", f"{obj}/kernel8.img"], check=True,
                   cwd=grading.ROOT, stdout=subprocess.DEVNULL)
    return obj


def tiny(folder: Path, **pieces: str) -> Path:
    image, elf = grading.tiny(folder, **pieces)
    image.rename(folder / "kernel8.img")
    elf.rename(folder / "kernel8.elf")
    return folder


def run(obj: Path, *options: str, typed: str = "") -> tuple[int, str, float]:
    began = time.monotonic()
    done = subprocess.run([*COMMAND, str(obj), *options], input=typed, capture_output=True, text=True,
                          cwd=grading.ROOT, timeout=60)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_graded_run_powers_off(kernel: Path) -> None:
    status, said, _ = run(kernel, "--args", "check=none mem=64M")
    assert status == 0 and "64 MiB" in said


def test_input_that_ends_ends_the_run(kernel: Path) -> None:
    status, said, seconds = run(kernel)
    assert status == 0 and "bramble>" in said and "input has ended" in said and seconds < 20


def test_what_is_piped_in_reaches_the_monitor(kernel: Path) -> None:
    status, said, _ = run(kernel, typed="help\nhalt\n")
    assert status == 0 and "input has ended" not in said and "halt" in said


def test_no_image(tmp_path: Path) -> None:
    status, said, _ = run(tmp_path)
    assert status == 2 and "run make first" in said


def test_no_qemu(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEMU", "qemu-not-here")
    status, said, _ = run(kernel)
    assert status == 3 and "./setup" in said


def test_failed_boot_is_explained_in_staffs_words(tmp_path: Path) -> None:
    obj = tiny(tmp_path, before='log_("boot: FAILED: still at EL2: write it\\n"); power_off()')
    status, said, _ = run(obj)
    assert status == 1 and "make qemu: still at EL2: write it" in said


def test_silent_console_is_explained(tmp_path: Path) -> None:
    obj = tiny(tmp_path, before='log_("boot: monitor\\n"); doze()')
    status, said, _ = run(obj)
    assert status == 1 and "nothing came out of the console: write uart_putc in kern/uart.c" in said


def test_loop_before_the_monitor_is_explained(tmp_path: Path) -> None:
    obj = tiny(tmp_path, before="spin()")
    status, said, seconds = run(obj)
    assert status == 1 and "no progress" in said and "in spin (pc 0xffff" in said and "main()" in said
    assert seconds < 30


def test_reset_is_a_failure(tmp_path: Path) -> None:
    status, said, _ = run(tiny(tmp_path, before="power_reset()"))
    assert status == 1


def on_a_terminal(obj: Path, *keys: tuple[float, bytes]) -> tuple[int, bytes, bool]:
    """Exit status, output, and whether the terminal's settings came back."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([*COMMAND, str(obj)], cwd=grading.ROOT, stdin=theirs, stdout=theirs,
                               stderr=theirs, start_new_session=True)
    out = b""
    todo = list(keys)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 40:
        if select.select([ours], [], [], 0.1)[0]:
            out += os.read(ours, 65536)
        if todo and b"bramble>" in out and time.monotonic() - began > todo[0][0]:
            os.write(ours, todo.pop(0)[1])
    process.kill()
    status = process.wait()
    while select.select([ours], [], [], 0.1)[0]:
        out += os.read(ours, 65536)
    same = termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    return status, out, same


def test_terminal(kernel: Path) -> None:
    status, out, same = on_a_terminal(kernel, (1, b"help\r"), (1.5, b"halt\r"))
    assert status == 0 and same, out
    assert b"To leave: halt" in out and out.count(b"bramble>") == 2


def test_ctrl_a_x(kernel: Path) -> None:
    status, out, same = on_a_terminal(kernel, (1, b"\x01x"))
    assert status == 0 and same, out


def test_gdb_waits_and_says_how_to_go_on(kernel: Path) -> None:
    with subprocess.Popen([*COMMAND, str(kernel), "--gdb", "--args", "check=none"], cwd=grading.ROOT,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "make gdb" in process.stdout.readline()
        done = subprocess.run(
            ["gdb-multiarch", "-q", "-batch", "-ex", "set architecture aarch64", "-ex",
             f"target remote localhost:{25000 + os.getuid() % 5000}", "-ex", "hbreak boot_start",
             "-ex", "p/x $pc", "-ex", "break *0x80000", "-ex", "continue", "-ex", "p $x0",
             "-ex", "delete", "-ex", "continue", str(kernel / "kernel8.elf")],
            capture_output=True, text=True, timeout=40)
        assert "= 256" in done.stdout, done.stdout + done.stderr
        assert process.wait(20) == 0
