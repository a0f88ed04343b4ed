"""One run of a kernel in QEMU, held from outside.

The guest's RAM is a memfd that the grader maps too, so physical memory is an array of bytes
here.  The gdbstub and QMP come over socket pairs.  Guest time is counted in instructions
(-icount shift=0: one instruction is one nanosecond of the guest's clock), so a limit means the
same on every host.  The machine is paused when it powers off or resets, to be looked at.

Not with sleep=off, which lets the clock jump to the next timer's time whenever all cores are idle: one that gdb
has just stopped counts as idle, so each breakpoint would be a tick of the guest's; and while an interrupt is
pending and masked there is no next time, and the clock would be at its end.  So a guest that waits does so in
real time, and a stop takes some microseconds of the guest's time.
"""

from __future__ import annotations

import enum
import functools
import mmap
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from grade import sandbox
from grade.gdb import Gdb, GdbClosed, GdbError
from grade.qmp import Qmp, QmpError

RAM_SIZE = 1 << 30
POISON_SIZE = 16 << 20
POISON = b"\xb5\xad\xbe\xd6\xa5\xd5\xb7\xfb"    # no zero byte, no sensible pointer
OUTPUT_CAP = 256 << 10                          # bytes a run may print
SYSTEM_TIMER = 0x3F003004                       # BCM2835 §12.1: CLO, CHI, at 1 MHz
INSTRUCTIONS_PER_TICK = 1000                    # of that timer, under -icount shift=0
MEMORY = 2 * RAM_SIZE + (2 << 30)               # QEMU's address space: twice what it uses
MEGA = 1_000_000
WFI = 0xD503207F


class NoQemu(Exception):
    """QEMU is missing or does not start: trouble of the host, not of the submission."""


class Stop(enum.Enum):
    """Why a run came to a halt."""
    BREAKPOINT = "breakpoint"
    POWER_OFF = "power off"
    RESET = "reset"
    TIME = "guest time limit"
    ASLEEP = "asleep"
    FAULTING = "exceptions without end"
    FLOOD = "console flooded"
    HOST_TIME = "host time limit"
    GONE = "QEMU ended"


def qemu_binary() -> str:
    name = os.environ.get("QEMU") or "qemu-system-aarch64"
    found = shutil.which(name)
    if not found:
        raise NoQemu(f"{name} is not installed; run ./setup "
                     "(on Debian and Ubuntu it comes with the package qemu-system-arm)")
    return found


@functools.cache
def machine_name() -> str:
    """raspi3b, or raspi3 on a QEMU that knows no other name."""
    try:
        listed = subprocess.run([qemu_binary(), "-machine", "help"], capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as e:
        raise NoQemu(f"QEMU does not start: {e}") from None
    names = {line.split()[0] for line in listed.splitlines() if line.split()}
    for name in ("raspi3b", "raspi3"):
        if name in names:
            return name
    raise NoQemu("this QEMU knows no Raspberry Pi 3: install qemu-system-arm (version 5.1 or newer)")


@functools.cache
def seccomp() -> tuple[str, ...]:
    """QEMU's own filter of system calls, if it was built with one: it starts no program."""
    try:
        said = subprocess.run([qemu_binary(), "-help"], capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if b"-sandbox on" not in said:
        return ()
    return ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")


def shared_memory(size: int, folder: Path) -> tuple[int, str]:
    """A file descriptor for the guest's RAM and the name that QEMU opens it by."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("bramble-ram", 0)
        os.ftruncate(fd, size)
        return fd, f"/proc/self/fd/{fd}"
    fd, name = tempfile.mkstemp(dir=folder, prefix="ram.")
    os.ftruncate(fd, size)
    return fd, name


class Machine:
    """A QEMU process, stopped before its first instruction.  Use as a context manager."""

    POLL = 0.02             # seconds between two looks at a running guest's clock
    STILL = 0.4             # seconds after which the guest's clock should have moved on ...
    SLOW = 10_000           # ... by so many ticks a second; else it sleeps, faults, or waits for a device
    SLOWEST = 4             # million instructions a second that the slowest host makes
    CPU_SECONDS = 900       # of QEMU's, at most

    def __init__(self, image: Path, arguments: str, scratch: Path):
        """image: kernel8.img; arguments: the boot arguments; scratch: a folder of its own."""
        self.console_file = scratch / "console.log"
        self.boot_file = scratch / "boot.log"
        self.error_file = scratch / "qemu.log"
        self.fd, ram_name = shared_memory(RAM_SIZE, scratch)
        self.ram = mmap.mmap(self.fd, RAM_SIZE)
        self.ram[:POISON_SIZE] = POISON * (POISON_SIZE // len(POISON))
        self.process: subprocess.Popen[bytes] | None = None
        self.breakpoints: set[int] = set()
        self.clock = 0          # ticks when it was last set running
        self.slept = False      # waits for an interrupt for good, whatever its pc is set to
        ours: list[socket.socket] = []
        theirs: list[socket.socket] = []
        try:
            for _ in range(2):
                pair = socket.socketpair()
                ours.append(pair[0])
                theirs.append(pair[1])
            self.launch(image, arguments, scratch, ram_name, theirs)
            for end in theirs:
                end.close()
            self.connect(*ours)
        except BaseException:
            for end in ours + theirs:
                end.close()
            self.close()
            raise

    def launch(self, image: Path, arguments: str, scratch: Path, ram: str,
               theirs: list[socket.socket]) -> None:
        qemu = qemu_binary()
        gdb, qmp = (s.fileno() for s in theirs)
        command = [
            *sandbox.prefix(scratch, qemu), qemu,
            "-M", f"{machine_name()},memory-backend=ram",
            "-object", f"memory-backend-file,id=ram,size={RAM_SIZE},mem-path={ram},share=on",
            "-global", "bcm2837.enabled-cpus=1", "-icount", "shift=0",
            "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot", "-no-shutdown", *seccomp(),
            "-serial", f"file:{self.boot_file}", "-serial", f"file:{self.console_file}",
            "-chardev", f"socket,id=gdb,fd={gdb}", "-gdb", "chardev:gdb",
            "-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control",
            "-S", "-kernel", str(scratch / "kernel8.img"), "-append", arguments]
        shutil.copyfile(image, scratch / "kernel8.img")
        with open(self.error_file, "wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd=scratch,
                pass_fds=(self.fd, gdb, qmp), restore_signals=False,
                env={"PATH": sandbox.path_for(qemu), "LC_ALL": "C"},
                preexec_fn=sandbox.limits(self.CPU_SECONDS, OUTPUT_CAP, MEMORY, scratch, (qemu,)))

    def connect(self, gdb: socket.socket, qmp: socket.socket) -> None:
        try:
            self.qmp = Qmp(qmp)
            self.gdb = Gdb(gdb)
        except (QmpError, GdbError, OSError) as e:
            said = self.error_file.read_text("utf-8", "replace").strip()
            raise NoQemu(f"QEMU does not start: {said or e}") from None

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End QEMU and give everything back.  May be called twice."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        for name in ("qmp", "gdb"):
            if hasattr(self, name):
                getattr(self, name).close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            try:
                self.ram.close()
            except BufferError:     # somebody still holds a memoryview of it
                pass

    # --- looking ---------------------------------------------------------

    def ticks(self) -> int:
        """The guest's clock: 1 tick is 1000 instructions."""
        if self.gdb.running:
            low, high = self.qmp.physical_words(SYSTEM_TIMER, 2)
            return high << 32 | low
        return int.from_bytes(self.gdb.read(SYSTEM_TIMER, 8, physical=True), "little")

    def console(self) -> bytes:
        """What the student's console (the mini UART) printed, up to OUTPUT_CAP."""
        return self.console_file.read_bytes() if self.console_file.exists() else b""

    def boot_log(self) -> bytes:
        """What staff's code said on the PL011: milestones, for people, never a verdict."""
        return self.boot_file.read_bytes() if self.boot_file.exists() else b""

    def register(self, name: str) -> int:
        return self.gdb.read_register(name)

    def set_register(self, name: str, value: int) -> None:
        self.gdb.write_register(name, value)

    @property
    def pc(self) -> int:
        return self.register("pc")

    @property
    def level(self) -> int:
        """The exception level (PSTATE.EL)."""
        return self.register("cpsr") >> 2 & 3

    # --- running ---------------------------------------------------------

    def break_at(self, va: int) -> None:
        if va not in self.breakpoints:
            self.gdb.set_breakpoint(va)
            self.breakpoints.add(va)

    def unbreak(self, va: int) -> None:
        if va in self.breakpoints:
            self.gdb.clear_breakpoint(va)
            self.breakpoints.remove(va)

    def run(self, limit: int, pc: int | None = None) -> Stop:
        """Continue until something happens, at most limit million instructions from now.

        pc: the program counter, if the caller knows it.
        """
        if self.finished():
            return self.end()
        if self.slept:
            return Stop.ASLEEP
        try:
            self.clock = self.ticks()
            end = self.clock + limit * MEGA // INSTRUCTIONS_PER_TICK
            host = time.monotonic() + 60 + limit / self.SLOWEST
            stop = self.run_until(end, host, self.pc if pc is None else pc)
            if stop is Stop.BREAKPOINT and self.flooded():
                return Stop.FLOOD
            if stop is Stop.BREAKPOINT and self.ticks() > end:
                return Stop.TIME
            return stop
        except (GdbClosed, QmpError):
            self.qmp.poll()
            return Stop.GONE

    def run_until(self, end: int, deadline: float, pc: int) -> Stop:
        if pc in self.breakpoints:     # step off it, or it would only hit again
            self.gdb.step()
            if self.pc in self.breakpoints:
                return Stop.BREAKPOINT
            if self.finished():
                return self.end()
        clock = last = self.ticks()
        since = time.monotonic()
        slow = 0                            # looks in a row at which the clock had hardly moved
        self.gdb.start()
        while self.gdb.wait(self.POLL) is None:
            now, clock = time.monotonic(), self.ticks()
            flooded = self.flooded()
            if now - since > self.STILL:
                slow = slow + 1 if clock - last < self.SLOW * (now - since) else 0
                since, last = now, clock
            if clock <= end and now <= deadline and not flooded and slow < 2:
                continue
            self.gdb.interrupt()
            if self.finished():
                return self.end()
            if flooded:
                return Stop.FLOOD
            if self.pc in self.breakpoints:
                return Stop.BREAKPOINT
            if clock > end:
                return Stop.TIME
            if now > deadline:
                return Stop.HOST_TIME
            if clock == self.ticks() and self.asleep():
                self.slept = True
                return Stop.ASLEEP
            if self.faulting():
                return Stop.FAULTING
            slow = 0
            self.gdb.start()
        if self.finished():
            return self.end()
        return Stop.BREAKPOINT

    def flooded(self) -> bool:
        return self.console_file.exists() and self.console_file.stat().st_size >= OUTPUT_CAP

    def asleep(self) -> bool:
        """Does the processor wait for an interrupt (which never came)?"""
        try:
            before = self.gdb.read(self.pc - 4, 4)
        except GdbError:
            return False
        return int.from_bytes(before, "little") == WFI

    def faulting(self) -> bool:
        """Does the exception handler's first instruction fault, and so on for ever?"""
        before = self.pc
        for _ in range(16):
            self.gdb.step()
            if self.pc != before:
                return False
        return self.level > 0 and self.register(f"elr_el{self.level}") == before

    def finished(self) -> bool:
        """Has the guest powered off or reset?"""
        self.qmp.poll()
        return self.qmp.shutdown_reason() is not None or self.qmp.closed

    def end(self) -> Stop:
        reason = self.qmp.shutdown_reason()
        return {"guest-shutdown": Stop.POWER_OFF, "guest-reset": Stop.RESET}.get(reason or "", Stop.GONE)


def check_host() -> None:
    """Raise NoQemu, with the remedy, when nothing can be run here."""
    if sys.platform == "win32":
        raise NoQemu("use WSL: the grader needs a POSIX system")
    qemu_binary()
    machine_name()
    seccomp()
    sandbox.missing()
