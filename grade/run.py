"""One check: a fresh machine, the check's verdict, and the judge's.

The verdict is taken with the machine stopped at check_end by a breakpoint, so that nothing the
kernel prints matters; and as a student's code may call check_end as well, it counts only when
the judge, which works from outside with inputs that the kernel cannot know, agrees.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import subprocess
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grade import boot, explain, lab as labs
from grade.elf import BadElf, Elf
from grade.gdb import GdbClosed, GdbError
from grade.guest import Guest, Handover, Tampered
from grade.view import KERNBASE, Disagree, LeavesMemory
from grade.machine import INSTRUCTIONS_PER_TICK, MEGA, RAM_SIZE, Machine, NoQemu, Stop
from grade.qmp import QmpError

GUEST_SEED = 1_000_000      # the kernel is told seed modulo this; the judge draws from all of it
DEBUG = False               # hand a call of the judge's that goes wrong to gdb (grade --gdb)
JUDGE_SECONDS = 120         # of the host's processor, for a judge's own work
ROW_LIMIT = 5000            # million instructions for checks in a row, all together
CONSOLE_TAIL = 4000         # bytes of console kept for the report


@dataclass
class Result:
    """The outcome of one check."""
    name: str
    lab: int
    points: int             # what it is worth here: 0 for an earlier lab's
    score: int
    passed: bool
    kind: str               # passed failed boot panic time flood power-off reset judge tampered build error
    message: str            # what was expected and found
    clause: str
    seed: int
    arguments: str          # boot arguments that show it again
    instructions: int = 0   # millions, check only
    console: str = ""       # the tail
    drawing: str = ""       # the page-table walk at fault, line by line
    again: str = ""         # the command that shows it in a debugger

    def json(self) -> dict[str, Any]:
        return asdict(self)


class Ended(Exception):
    """The run is decided: not passed."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def printable(data: bytes | str, keep_lines: bool = True) -> str:
    """Text without control characters, which could do something to a terminal."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    text = text.replace("\r\n", "\n")
    allowed = "\n\t" if keep_lines else ""
    return "".join(c if c in allowed or c.isprintable() else "\N{REPLACEMENT CHARACTER}"
                   for c in text)


def arguments(check: Any, seed: int) -> str:
    memory = "" if check.memory in ("", "all") else f" mem={check.memory}"
    return f"check={check.name} seed={seed % GUEST_SEED}{memory}"


def boot_limit(memory: str, least: int) -> int:
    """Million instructions until a check begins: more for more memory."""
    size = re.fullmatch(r"(\d+)([KMG])", memory)
    scale = {"K": 1 / 1024, "M": 1, "G": 1024}
    megabytes = int(size[1]) * scale[size[2]] if size else 960
    return max(150 + int(megabytes / 2), least)


def rerun(result: Result) -> str:
    """The command that runs just this check again, in gdb, up to where it failed."""
    if result.passed or result.kind in ("build", "error", "tampered"):
        return ""
    if result.kind == "judge":      # the kernel itself saw nothing wrong
        return f'make grade GRADE="--check {result.name} --seed {result.seed} --gdb"'
    return f'make gdb ARGS="{result.arguments}"'


@contextlib.contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """Disagree when the body uses more of this process's time: the kernel may build what it likes in
    memory, for a judge to read."""
    def over(*_: object) -> None:
        raise Disagree(f"what the kernel has in memory takes the grader more than {seconds:.0f} s to look at")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class Run:
    """The stages of a check's run, each of which may raise Ended."""

    def __init__(self, machine: Machine, guest: Guest, check: Any, judges: dict[str, Any],
                 seed: int, exercises: list[Any]):
        self.machine, self.guest, self.check = machine, guest, check
        self.judges, self.exercises = judges, exercises
        self.random = random.Random(f"{seed} {check.name}")
        guest.dice = random.Random(f"{seed} {check.name} stops")
        self.instructions = 0
        self.drawing = ""

    def draw(self, root: int, va: int, wanted: int | None = None) -> None:
        """Remember how the walk of va looks now, for the report."""
        steps: list[tuple[int, int, int]] = []
        try:
            steps = self.guest.walk(root, va)
        except LeavesMemory as e:
            steps = e.steps
        except (GdbError, IndexError):
            pass
        self.drawing = explain.draw_walk(steps, va, wanted) if steps else ""

    def judge(self, point: str) -> None:
        """Let the lab's judge look at the machine, if it has a function for this point."""
        function = self.judges.get(point)
        if function is None:
            return
        try:
            function(self.guest, self.random)
        except Tampered as e:
            raise Ended("tampered", str(e)) from None
        except Disagree as e:
            if e.va is not None and e.root is not None:
                self.draw(e.root, e.va, e.wanted)
            raise Ended("judge", str(e) or "the judge disagrees") from None

    def last(self, point: str) -> bool:
        """Is this the last point that the check has a judge for?"""
        order = labs.POINTS_IN_A_RUN
        return not any(p in self.judges for p in order[order.index(point) + 1:])

    def at(self, symbol: str) -> bool:
        return self.guest.has(symbol) and self.machine.pc == self.guest.symbol(symbol)

    def trouble_in_boot(self, stop: Stop, limit: int) -> Ended:
        log = self.machine.boot_log()
        if stop is Stop.GONE:
            return Ended("boot", explain.failure(log) or "QEMU ended unexpectedly")
        what = self.guest.describe(stop, limit)
        why = explain.no_boot(log, self.machine.level, self.guest.calls(), what, self.exercises)
        return Ended("boot", f"the kernel did not get as far as this check: {why}")

    def boot(self) -> bool:
        """From reset to check_begin.  True when the check is decided before."""
        limit = boot_limit(self.check.memory, self.check.ticks)
        self.guest.at_reset()
        entry = self.guest.symbol("boot_start") & ~KERNBASE
        self.machine.break_at(entry)
        stop = self.machine.run(limit)
        if stop is not Stop.BREAKPOINT:
            raise self.trouble_in_boot(stop, limit)
        wrong = self.guest.overwritten()        # what entry.S did to the processor: the judge of lab 1, and main
        if wrong:
            raise Ended("tampered", wrong)
        self.judge("boot_start")
        if self.last("boot_start"):
            return True
        self.machine.unbreak(entry)
        for symbol in ("main", "check_begin", "check_end", "panicked"):
            self.machine.break_at(self.guest.symbol(symbol))
        stop = self.machine.run(limit)
        if stop is Stop.BREAKPOINT and self.at("main"):
            wrong = self.guest.in_main()
            if wrong:
                raise Ended("tampered", wrong)
            self.guest.settle("main")
            self.judge("main")
            if self.last("main"):
                return True
            self.guest.restore()
            self.machine.unbreak(self.guest.symbol("main"))
            stop = self.machine.run(limit)
        if stop is not Stop.BREAKPOINT:
            raise self.trouble_in_boot(stop, limit)
        if self.at("panicked"):
            message = self.guest.text(self.machine.register("x0"))
            self.machine.unbreak(self.guest.symbol("panicked"))
            self.machine.run(limit)     # let the report reach the console
            raise Ended("panic", f"the kernel panicked before this check: {message}")
        if not self.at("check_begin"):
            raise Ended("judge", "check_end was called before the check had begun")
        return False

    def execute(self) -> str | None:
        """From check_begin to check_end.  Returns the failure, None when the check passed."""
        at = self.machine.register("x0")
        if self.guest.has("checks_start") and not self.guest.symbol("checks_start") <= at < self.guest.symbol("checks_end"):
            raise Ended("judge", "check_begin was called with a check that is none of the kernel's")
        name = self.guest.text(self.guest.u64(at), 64)
        if name != self.check.name:
            raise Ended("judge", f"the kernel began a check {name!r} instead of this one")
        self.judge("begin")
        self.machine.unbreak(self.guest.symbol("check_begin"))
        self.machine.unbreak(self.guest.symbol("panicked"))
        if self.guest.has("check_fail") and self.guest.has("check_table"):
            self.machine.break_at(self.guest.symbol("check_fail"))
        limit = self.check.ticks
        before = self.machine.ticks()
        stop = self.machine.run(limit)
        if stop is Stop.BREAKPOINT and self.at("check_fail"):   # the check's last look, before it puts things back
            self.machine.unbreak(self.guest.symbol("check_fail"))
            self.look()
            stop = self.machine.run(limit)
        if stop is not Stop.BREAKPOINT:
            kind = {Stop.POWER_OFF: "power-off", Stop.RESET: "reset", Stop.GONE: "error",
                    Stop.FLOOD: "flood"}
            raise Ended(kind.get(stop, "time"), "the check did not come to its end: "
                        + self.guest.describe(stop, limit))
        self.instructions = (self.machine.ticks() - before) * INSTRUCTIONS_PER_TICK // MEGA
        failure = self.machine.register("x1")
        return self.guest.text(failure) if failure else None

    def look(self) -> None:
        """Draw the walk that the failing check is about.  Of use to people only: no verdict."""
        try:
            table = self.guest.symbol("check_table")        # struct check_table: root, va
            root, va = self.guest.u64(table), self.guest.u64(table + 8)
        except Disagree:
            return
        if KERNBASE <= root < KERNBASE + RAM_SIZE:
            self.draw(root - KERNBASE, va)

    def whole(self) -> None:
        if self.boot():
            return
        failure = self.execute()
        if failure is not None:
            raise Ended("failed", failure)
        wrong = self.guest.tampering()
        if wrong:
            raise Ended("tampered", wrong)
        self.machine.break_at(self.guest.symbol("panicked"))
        self.guest.settle("check_end")
        self.guest.printed()
        with processor_time(JUDGE_SECONDS):
            self.judge("judge")
        wrong = self.guest.tampering()
        if wrong:
            raise Ended("tampered", wrong)


def in_a_row(image: Path, elf: Path, memory: str, limits: dict[str, int], seed: int,
             scratch: Path) -> dict[str, tuple[str, int]]:
    """Checks in one boot, one after the other, as make qemu runs them: without judges, and up to the first that hangs,
    but much cheaper than a machine for each.

    limits: the checks, and million instructions for each of them.  scratch: a folder made here for this run alone.
    Returns, for each that came to its end, what failed ('': nothing) and its million instructions.
    """
    ends: dict[str, tuple[str, int]] = {}
    limit = boot_limit(memory, max(limits.values()))
    scratch.mkdir(parents=True)
    try:
        names = Elf(elf)
        with Machine(image, f"mem={memory} seed={seed % GUEST_SEED}", scratch) as machine:
            guest, begun = Guest(machine, names), 0
            for symbol in ("check_begin", "check_end"):
                machine.break_at(guest.symbol(symbol))
            for _ in range(10 * len(limits)):           # the kernel may call them as often as it likes
                left = ROW_LIMIT - machine.ticks() * INSTRUCTIONS_PER_TICK // MEGA
                if len(ends) == len(limits) or left <= 0 or machine.run(min(limit, left)) is not Stop.BREAKPOINT:
                    break
                name = guest.text(guest.u64(machine.register("x0")), 64)
                limit = limits.get(name, limit)
                if machine.pc == guest.symbol("check_begin"):
                    begun = machine.ticks()
                elif name in limits:
                    failure = machine.register("x1")
                    spent = (machine.ticks() - begun) * INSTRUCTIONS_PER_TICK // MEGA
                    ends.setdefault(name, (guest.text(failure) or "failed" if failure else "", spent))
    except (Disagree, GdbError, BadElf, QmpError):
        pass        # the kernel is far gone; what has come to its end has
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ends


def debug(image: Path, elf: Path, judges: dict[str, Any], check: Any, seed: int, exercises: list[Any],
          scratch: Path, call: int) -> None:
    """The same run again, as far as a judge's call that went wrong; then gdb, which steps into it."""
    gdb = boot.gdb_binary()
    if gdb is None:
        raise NoQemu("gdb is not installed; run ./setup")
    with Machine(image, arguments(check, seed), scratch) as machine:
        guest = Guest(machine, Elf(elf))
        guest.halt_at = call
        try:
            Run(machine, guest, check, judges, seed, exercises).whole()
        except Handover as e:
            for va in list(machine.breakpoints):
                machine.unbreak(va)
            place = scratch / "gdb"
            machine.qmp.command("chardev-add", id="person", backend={"type": "socket", "data": {
                "addr": {"type": "unix", "data": {"path": str(place)}}, "server": True, "wait": False}})
            machine.qmp.human("gdbserver chardev:person")
            print(f"\nThe judge is about to call {e}; its arguments are in place. step goes through it, finish runs "
                  "it to its end; quit to leave.", flush=True)
            subprocess.run([*boot.gdb_command(gdb), "-ex", f"target remote {place}", str(elf)])


def run_check(tree: Path, image: Path, elf: Path, lab: Any, check: Any, points: int, seed: int,
              exercises: list[Any], scratch: Path) -> Result:
    """Boot one check of lab in a machine of its own.

    exercises: of all labs so far, for messages.  scratch: a folder made here for this run alone.
    """
    result = Result(check.name, lab.number, points, 0, False, "error", "", check.clause, seed,
                    arguments(check, seed))
    scratch.mkdir(parents=True)
    try:
        judges = labs.judges(tree, lab.number, check.name)
        with Machine(image, result.arguments, scratch) as machine:
            run = Run(machine, Guest(machine, Elf(elf)), check, judges, seed, exercises)
            try:
                run.whole()
                result.passed, result.kind, result.score = True, "passed", points
            except Ended as e:
                result.kind, result.message = e.kind, printable(str(e), keep_lines=False)
            except (GdbClosed, QmpError):
                result.message = "QEMU ended in the middle of the check"
            result.instructions, result.drawing = run.instructions, printable(run.drawing)
            result.again = rerun(result)
            result.console = printable(machine.console()[-CONSOLE_TAIL:])
            call = run.guest.made
        if DEBUG and result.kind == "judge" and call:
            shutil.rmtree(scratch)
            scratch.mkdir()
            debug(image, elf, judges, check, seed, exercises, scratch, call)
    except (NoQemu, labs.LabError):
        raise
    except (Disagree, GdbError, BadElf) as e:
        result.message = printable(str(e), keep_lines=False)
    except Exception:           # a judge's own mistake must not stop the others
        result.message = "the grader itself failed:\n" + traceback.format_exc()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return result
