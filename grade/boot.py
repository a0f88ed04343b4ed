"""What `make qemu` runs: the kernel with its console on this terminal.

QEMU has the terminal to itself (but for memview's window, whose keys go the same way); this watches from the side what staff's code says on the PL011
(obj/boot.log) and what comes out of the console (obj/console.log), and explains in plain words
when a kernel does not boot or stays silent.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path
from typing import Any

from grade import explain, lab as labs, sandbox
from grade.elf import BadElf, Elf
from grade.view import KERNBASE
from grade.machine import NoQemu, machine_name, qemu_binary
from grade.qmp import Qmp, QmpError

ROOT = Path(__file__).resolve().parent.parent
SILENCE = 3.0           # seconds without output or progress before the machine is looked at
BUSY = 6.0              # seconds of its CPU time that must have gone into that silence: a slow
                        # kfree may take five for all memory; one that waits takes none ...
PATIENCE = 30.0         # ... and is looked at after as many seconds, on any host
QUIET_END = 1.0         # input has ended and the monitor is silent: that was all
LOG_CAP = 16 << 20
# What memview's keys are called in QEMU's window, and what a terminal sends for them.
KEYS = {**{key: key for key in "aefq"}, "spc": " ", "bracket_left": "[", "bracket_right": "]",
        "up": "\033[A", "down": "\033[B", "right": "\033[C", "left": "\033[D"}
PRESSED = re.compile(rb"key qcode (\w+), down 1")       # in QEMU's trace of input_event_key_qcode


def port() -> int:
    """gdb's TCP port on this host: another one for each user."""
    return 25000 + os.getuid() % 5000


def names(obj: Path) -> Elf | None:
    try:
        return Elf(obj / "kernel8.elf")
    except (OSError, BadElf):
        return None


def exercises() -> list[Any]:
    try:
        return [e for _, lab in sorted(labs.load(ROOT).items()) for e in lab.exercises]
    except labs.LabError:
        return []


class Terminal:
    """Remembers how the terminal is set, and sets it so again: QEMU may be killed."""

    def __init__(self) -> None:
        self.modes: list[Any] | None = None
        self.flags: list[tuple[int, int]] = []
        for fd in (0, 1, 2):
            try:
                self.flags.append((fd, fcntl.fcntl(fd, fcntl.F_GETFL)))
                if fd == 0 and os.isatty(0):
                    self.modes = termios.tcgetattr(0)
            except (OSError, termios.error):
                pass

    def pass_all_keys(self) -> None:
        """Each key at once, as QEMU does it when it has the terminal."""
        if self.modes is not None:
            tty.setraw(0, termios.TCSANOW)
            modes = termios.tcgetattr(0)
            modes[1] |= termios.OPOST
            termios.tcsetattr(0, termios.TCSANOW, modes)

    def restore(self) -> None:
        for fd, flags in self.flags:
            try:
                fcntl.fcntl(fd, fcntl.F_SETFL, flags)
            except OSError:
                pass
        if self.modes is not None:
            before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            try:
                termios.tcsetattr(0, termios.TCSADRAIN, self.modes)
            except termios.error:
                pass
            signal.signal(signal.SIGTTOU, before)


class Boot:
    def __init__(self, obj: Path, arguments: str, cpus: int, debug: bool, window: bool = False):
        self.obj, self.debug = obj, debug
        self.one_check = "check=" in arguments
        self.boot_log, self.console_log = obj / "boot.log", obj / "console.log"
        self.interactive = os.isatty(0)
        for log in (self.boot_log, self.console_log):
            log.write_bytes(b"")
        ours, theirs = socket.socketpair()
        self.window, pressed = os.pipe() if window and tells_keys() else (None, None)
        passed = [fd for fd in (theirs.fileno(), pressed) if fd is not None]
        command = [
            qemu_binary(), "-M", machine_name(), *([] if window else ["-display", "none"]), "-nodefaults", "-no-reboot",
            "-serial", f"file:{self.boot_log}",
            "-chardev", f"stdio,id=console,mux={'on' if self.interactive else 'off'},signal=off,"
                        f"logfile={self.console_log}",
            "-serial", "chardev:console",
            *(["-mon", "chardev=console,mode=readline"] if self.interactive else []),
            "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control",
            *([] if cpus == 4 else ["-global", "bcm2837.enabled-cpus=1"]),
            *(["-gdb", f"tcp:127.0.0.1:{port()}"] if debug else []), "-S",
            *(trace_of_keys(f"/dev/fd/{pressed}") if pressed is not None else []),
            "-kernel", str(obj / "kernel8.img"), "-append", arguments]
        self.typed: int | None = None       # where to hand on what is not typed for QEMU itself
        stdin: int | None = None
        if not self.interactive or window:
            stdin, self.typed = os.pipe()
        self.process = subprocess.Popen(command, stdin=stdin, pass_fds=passed,
                                        preexec_fn=sandbox.die_with_parent)
        theirs.close()
        for fd in (stdin, pressed):
            if fd is not None:
                os.close(fd)
        self.ended = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else None
        self.log_seen = (0, 0)
        self.changed = time.monotonic()
        self.cpu_then = 0.0
        try:
            self.qmp: Qmp | None = Qmp(ours)
            if not debug:       # QMP tells of a power off or reset only once it is listening
                self.qmp.command("cont")
        except QmpError:
            self.qmp = None

    # --- what goes on ----------------------------------------------------

    def log(self) -> bytes:
        return self.boot_log.read_bytes()

    def cpu_seconds(self) -> float:
        """CPU time that QEMU itself has used (not the host on its behalf), where the system tells."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) / float(os.sysconf("SC_CLK_TCK"))
        except (OSError, ValueError, IndexError):
            return time.monotonic()

    def look(self) -> None:
        """Note whether anything came out since the last look."""
        sizes = (self.boot_log.stat().st_size, self.console_log.stat().st_size)
        if sizes != self.log_seen:
            self.log_seen, self.changed = sizes, time.monotonic()
            self.cpu_then = self.cpu_seconds()
        if sizes[1] > LOG_CAP:      # a flood: the terminal has it; the file need not grow
            os.truncate(self.console_log, 0)

    def silent(self) -> bool:
        """Has the kernel neither printed nor got on for long, given the host's load?"""
        quiet = time.monotonic() - self.changed
        return quiet > PATIENCE or quiet > SILENCE and self.cpu_seconds() - self.cpu_then > BUSY

    def pause(self, seconds: float, listen: bool) -> list[int]:
        """Wait for QEMU's end or, when we listen, for input.  Where input has come."""
        watched = [fd for fd in (self.ended, self.window) if fd is not None]
        if listen:
            watched.append(0)
        if not watched:
            time.sleep(min(seconds, 0.05))
        return select.select(watched, [], [], seconds if watched else 0)[0]

    def hand_on(self, source: int) -> bool:
        """Give the kernel what came on our standard input, or from the window.  False when that has ended."""
        assert self.typed is not None
        data = os.read(source, 4096)
        ended = not data
        if source == self.window:
            data = "".join(KEYS.get(key.decode(), "") for key in PRESSED.findall(data)).encode()
        try:
            os.write(self.typed, data)
        except OSError:
            return False
        return not ended

    # --- the end ---------------------------------------------------------

    def position(self) -> str:
        """Where the kernel is, for a message; pauses it."""
        if self.qmp is None:
            return ""
        try:
            self.qmp.command("stop")
            pc, level = self.qmp.processor()
        except QmpError:
            return ""
        elf = names(self.obj)
        symbol = elf.find(pc) or elf.find(pc | KERNBASE) if elf else None
        self.calls = [symbol.name] if symbol else []
        where = f"in {symbol.name}" if symbol else "outside the kernel's code"
        return f"{where} (pc {pc:#x}, EL{level})"

    def explain_silence(self) -> str:
        self.calls: list[str] = []
        where = self.position()
        level = 2 if "EL2" in where else 1
        quiet = time.monotonic() - self.changed
        what = f"no output and no progress for {quiet:.0f} seconds; the kernel is {where}"
        return explain.no_boot(self.log(), level, self.calls, what, exercises())

    def no_console(self) -> str:
        for exercise in exercises():
            if exercise.name == "uart_putc":
                return f"nothing came out of the console: write uart_putc in {exercise.file}"
        return "nothing came out of the console"

    def watch(self) -> tuple[int, str]:
        """Until the run is over.  Exit status and what to tell, if anything."""
        input_open = self.typed is not None
        while self.process.poll() is None:
            reached = explain.milestone(self.log())
            settled = reached == "monitor" and self.log_seen[1] > 0
            ready = self.pause(0.5 if settled and self.interactive else 0.05,
                               listen=input_open and (self.interactive or reached == "monitor"))
            if 0 in ready:
                input_open = self.hand_on(0)
            if self.window in ready and not self.hand_on(self.window):
                self.window = None
            self.look()
            if self.debug:
                continue
            quiet = time.monotonic() - self.changed
            if reached == "monitor":
                if self.log_seen[1] == 0 and quiet > 0.5:
                    return 1, self.no_console()
                if not (self.interactive or input_open or self.window) and quiet > QUIET_END:
                    return 0, "the input has ended"
            elif self.silent():
                return 1, self.explain_silence()
        self.look()
        return self.verdict()

    def verdict(self) -> tuple[int, str]:
        """QEMU has ended by itself."""
        if self.qmp is not None:
            self.qmp.poll()
        reason = self.qmp.shutdown_reason() if self.qmp else None
        said = explain.failure(self.log())
        if said:
            return 1, said
        if reason == "guest-reset":
            return 1, "the kernel panicked" if explain.milestone(self.log()) else "the kernel reset the machine"
        if reason == "guest-shutdown" and self.log_seen[1] == 0:
            return 1, self.no_console()
        if self.one_check and b"boot: check failed" in self.log():
            return 1, ""        # it has said why
        if self.process.returncode != 0:
            return 3, f"QEMU ended with status {self.process.returncode}"
        return 0, ""

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def has_window() -> bool:
    """Can QEMU show the machine's screen here?"""
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    kinds = subprocess.run([qemu_binary(), "-display", "help"], capture_output=True, text=True, check=False).stdout.split()
    return not {"gtk", "sdl", "cocoa"}.isdisjoint(kinds)


def trace_of_keys(file: str) -> list[str]:
    return ["-trace", f"input_event_key_qcode,file={file}"]


@functools.cache
def tells_keys() -> bool:
    """Can QEMU tell which keys are pressed in its window?  The kernel has no driver for a keyboard."""
    return subprocess.run([qemu_binary(), "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio",
                           *trace_of_keys(os.devnull)], input=b'{"execute":"qmp_capabilities"}{"execute":"quit"}',
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def memview(arguments: str) -> tuple[str, bool]:
    """The boot arguments to look at memory with, and whether in a window."""
    if "memview=" in arguments:
        return arguments, "memview=screen" in arguments and has_window()
    small = "" if "mem=" in arguments else " mem=16M"
    if has_window():
        print(f"Memory is shown in QEMU's window. Keys are typed {'there, or ' if tells_keys() else ''}here.", flush=True)
        return f"{arguments}{small} memview=screen", True
    print("There is no window for the screen here (no display, or no package qemu-system-gui): memory is shown as text.",
          flush=True)
    return f"{arguments}{small} memview=text", False


def gdb_binary() -> str | None:
    """A gdb that knows AArch64."""
    return shutil.which("gdb-multiarch") or shutil.which("aarch64-linux-gnu-gdb") \
        or shutil.which("aarch64-elf-gdb") or shutil.which("gdb")


COMMANDS = ROOT / "grade" / "gdbcommands.py"       # that gdb has besides its own
# gdb stops where a check fails, at the line that says so: in the check itself, or where the panic is.
STOP_AT_FAILURE = ("break check_fail", "break check_take_panic if !'kern/check.c'::panic_expected",
                   "continue", "up")


def gdb_command(gdb: str) -> list[str]:
    """gdb with commands that know the kernel; a gdb without Python says so and does without."""
    return [gdb, "-q", "-ex", "set architecture aarch64", "-ex", "set confirm off", "-x", str(COMMANDS)]


def connect(obj: Path, arguments: str, cpus: int) -> int:
    """gdb on the machine that make qemu-gdb started; with boot arguments, on one of its own that runs
    to where its check fails."""
    gdb = gdb_binary()
    if gdb is None:
        print("gdb is not installed; run ./setup", file=sys.stderr)
        return 3
    command = gdb_command(gdb)
    if not arguments:
        os.execv(gdb, [*command, "-ex", f"target remote localhost:{port()}", str(obj / "kernel8.elf")])
    try:
        qemu = [qemu_binary(), "-M", machine_name(), "-display", "none", "-nodefaults", "-no-reboot",
                *([] if cpus == 4 else ["-global", "bcm2837.enabled-cpus=1"]), "-icount", "shift=0",
                "-serial", f"file:{obj / 'boot.log'}", "-serial", f"file:{obj / 'console.log'}",
                "-gdb", "stdio", "-S", "-kernel", str(obj / "kernel8.img"), "-append", arguments]
    except NoQemu as e:
        print(e, file=sys.stderr)
        return 3
    print(f"The kernel's console is in {obj / 'console.log'}. Where the check fails, gdb stops: bt, up, print, list; "
          "quit to leave.", flush=True)
    last = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []    # it ends with gdb
    command += ["-ex", "target remote | exec " + shlex.join([*last, *qemu])]
    for line in STOP_AT_FAILURE:
        command += ["-ex", line]
    os.execv(gdb, [*command, str(obj / "kernel8.elf")])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m grade.boot", description=__doc__)
    parser.add_argument("--obj", type=Path, default=Path("obj"), help="where kernel8.img is")
    parser.add_argument("--args", default="", help="boot arguments: check=NAME seed=N mem=64M")
    parser.add_argument("--cpus", type=int, choices=[1, 4], default=int(os.environ.get("CPUS") or 1))
    parser.add_argument("--gdb", action="store_true", help="wait for gdb before the first instruction")
    parser.add_argument("--connect", action="store_true", help="be that gdb; with --args, run QEMU as well, up to where the check fails")
    parser.add_argument("--memview", action="store_true", help="show memory, in QEMU's window if there can be one")
    options = parser.parse_args()
    if options.connect:
        if options.args and not (options.obj / "kernel8.img").is_file():
            print(f"there is no {options.obj / 'kernel8.img'}: run make first", file=sys.stderr)
            return 2
        return connect(options.obj, options.args, options.cpus)
    if not (options.obj / "kernel8.img").is_file():
        print(f"there is no {options.obj / 'kernel8.img'}: run make first", file=sys.stderr)
        return 2
    if "," in str(options.obj):
        print("QEMU cannot take a folder with a comma in its name", file=sys.stderr)
        return 2
    terminal = Terminal()
    boot: Boot | None = None
    status, message = 3, ""
    if terminal.modes is not None:
        print("QEMU starts. To leave: halt in the monitor, or Ctrl-A then x.", flush=True)
    if options.gdb:
        print(f"The kernel waits for gdb: run make gdb in another terminal (or gdb-multiarch "
              f"{shlex.quote(str(options.obj / 'kernel8.elf'))} and: target remote localhost:{port()}).",
              flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        arguments, window = memview(options.args) if options.memview else (options.args, False)
        if window:
            terminal.pass_all_keys()
        boot = Boot(options.obj, arguments, options.cpus, options.gdb, window)
        status, message = boot.watch()
    except NoQemu as e:
        message = str(e)
    except KeyboardInterrupt:
        status = 130
    finally:
        if boot is not None:
            boot.end()
        terminal.restore()
    if message:
        sys.stdout.flush()
        mark = "\033[1m" if sys.stderr.isatty() and status else ""
        print(f"\n{mark}make qemu: {message}{mark and chr(27) + '[0m'}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
