"""Grades many submissions, several at a time, each in a process of its own.

Whatever happens in such a process (a submission that cannot be read, a mistake of the grader's, a
lack of memory) is that submission's result, and memory does not grow with their number.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grade import build, intake, lab as labs, machine, one, run, sandbox, store
from grade.submission import BadSubmission

WATCHDOG = 3600         # seconds for one submission: far beyond what limits of guest time allow
# What a child process tells by its exit status.
GRADED, KEPT, TROUBLE = 0, 10, 11


@dataclass
class Plan:
    """What all submissions of a run have in common."""
    course: one.Course
    wish: intake.Wish
    conditions: str
    seed: int | None
    out: Path               # folder of results

    def result(self, entry: Path) -> Path:
        return self.out / store.file_name(entry.name)


@dataclass
class Slot:
    """A folder in which one submission after the other is built."""
    tree: Path
    template: Path
    scratch: Path

    def fresh(self) -> None:
        """Staff's files, built already: nothing of the submission before is left."""
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.copytree(self.template, self.tree, symlinks=True)
        self.scratch.mkdir()


def make_slot(course: one.Course, folder: Path) -> Slot:
    """Copy and build the course's tree at the place where submissions will be built."""
    slot = Slot(folder / "tree", folder / "template", folder / "scratch")
    folder.mkdir()
    shutil.copytree(course.tree.path, slot.tree, symlinks=True, ignore=shutil.ignore_patterns("obj"))
    build.build(dataclasses.replace(course.tree, path=slot.tree), course.number, course.sol, os.cpu_count() or 1)
    for product in (slot.tree / "obj").glob("*"):
        if product.is_file() and product.name != "flags":
            product.unlink()            # kernels: none but the submission's own may be found there
    slot.tree.rename(slot.template)
    return slot


def assess(plan: Plan, slot: Slot, entry: Path) -> tuple[int, dict[str, Any] | None]:
    """Take and grade one submission.  Returns an exit status and the result to write, if it is new."""
    who: dict[str, Any] = {"entry": run.printable(entry.name, keep_lines=False), "lab": plan.course.number}
    try:
        taken = intake.take(entry, plan.wish)
    except BadSubmission as e:
        return GRADED, {**who, **refused(plan, run.printable(str(e), keep_lines=False))}
    content = store.content_of(taken)
    key = store.key_of(plan.conditions, content)
    old = store.read(plan.result(entry))
    if old is not None and old.get("key") == key:
        told = {"origin": taken.origin, "ignored": taken.ignored}
        changed = {k: v for k, v in told.items() if old.get(k) != v}
        return KEPT, {**old, **changed} if changed else None
    seed = plan.seed if plan.seed is not None else store.seed_of(content, plan.course.number)
    slot.fresh()
    course = dataclasses.replace(plan.course, tree=dataclasses.replace(plan.course.tree, path=slot.tree))
    data, results = one.grade(course, taken, seed, slot.scratch)
    if one.is_our_trouble(results):
        key = ""                        # next time anew
    return (GRADED if key else TROUBLE), {
        **who, "key": key, "content": content, "status": "graded" if key else "error",
        "problem": "" if key else "the grader itself failed in a check", "origin": taken.origin, **data,
        "checks": [r.json() for r in results]}


def refused(plan: Plan, why: str, status: str = "refused") -> dict[str, Any]:
    """The result of a submission that cannot be graded."""
    return {**one.refused(plan.course, why), "key": "", "content": "", "status": status, "origin": {}}


def _child(plan: Plan, slot: Slot, entry: Path) -> None:
    status = TROUBLE
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TROUBLE))
        sandbox.die_with_parent()
        tempfile.tempdir = str(slot.tree.parent)        # what is left behind goes with it
        try:
            status, data = assess(plan, slot, entry)
        except (machine.NoQemu, build.Trouble, labs.LabError, OSError) as e:
            data = refused(plan, run.printable(str(e), keep_lines=False), "error")
        except Exception:
            data = refused(plan, "the grader itself failed:\n" + traceback.format_exc(), "error")
        if data is not None:
            data = {"entry": run.printable(entry.name, keep_lines=False), "lab": plan.course.number, **data}
            store.write(plan.result(entry), data)
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


@dataclass
class Running:
    entry: Path
    slot: Slot
    until: float


Note = Callable[[Path, str, dict[str, Any] | None], None]     # entry, graded/kept/trouble, the result


class Crew:
    """The processes at work."""

    def __init__(self, plan: Plan, slots: list[Slot], note: Note):
        self.plan, self.note = plan, note
        self.free = list(slots)
        self.running: dict[int, Running] = {}

    def start(self, entry: Path) -> None:
        slot = self.free.pop()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _child(self.plan, slot, entry)
        self.running[child] = Running(entry, slot, time.monotonic() + WATCHDOG)

    def ended(self, child: int, code: int) -> None:
        was = self.running.pop(child)
        self.free.append(was.slot)
        words = {GRADED: "graded", KEPT: "kept"}
        if code < 0:
            why = ("it took longer than an hour" if time.monotonic() > was.until else
                   f"the grading process was killed (signal {-code}): is this machine out of memory?")
            store.write(self.plan.result(was.entry), {
                "entry": run.printable(was.entry.name, keep_lines=False), "lab": self.plan.course.number,
                **refused(self.plan, why, "error")})
        self.note(was.entry, words.get(code, "trouble"), store.read(self.plan.result(was.entry)))

    def look(self) -> None:
        """See to those that have ended."""
        for child in list(self.running):
            found, state = os.waitpid(child, os.WNOHANG)
            if found:
                self.ended(child, os.waitstatus_to_exitcode(state))
            elif time.monotonic() > self.running[child].until:
                os.kill(child, signal.SIGKILL)

    def work(self, entries: Iterator[Path]) -> None:
        """Grade them all."""
        try:
            entry = next(entries, None)
            while entry is not None or self.running:
                while entry is not None and self.free:
                    self.start(entry)
                    entry = next(entries, None)
                self.look()
                time.sleep(0.02)
        finally:
            self.stop()

    def stop(self) -> None:
        for child in self.running:
            os.kill(child, signal.SIGTERM)
        for child in list(self.running):
            os.waitpid(child, 0)
        self.running.clear()

