"""One submission: the student's files over a pristine tree, staff's build, every check."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grade import build, lab as labs, run, sandbox, submission

# A line that tells the compiler to speak of another file (C11 6.10.4, and GCC's own short form).
LINE_DIRECTIVE = re.compile(rb'^[ \t]*(?:#|%:|\?\?=)[ \t]*(?:line\b|[0-9]+[ \t]*(?:"|$))', re.MULTILINE)
ROW_MEMORY = "16M"      # nearly all checks run with so much, and can so in a row
COMMENT = re.compile(rb"/\*.*?\*/", re.DOTALL)


@dataclass
class Course:
    """What is graded: a lab, its files and checks, as the pristine tree has them."""
    tree: build.Tree
    labs: dict[int, Any]
    number: int
    sol: int                            # labs whose exercises the tree has filled in
    wanted: list[tuple[Any, Any, int]]  # lab, check, points
    needed: list[str]                   # what a submission must hold
    optional: list[str]
    named: bool                         # checks were asked for by name

    @property
    def lab(self) -> Any:
        return self.labs[self.number]

    @property
    def exercises(self) -> list[Any]:
        return [e for n in sorted(self.labs) if n <= self.number for e in self.labs[n].exercises]


def prepare(root: Path, number: int | None, scratch: Path, *, base: str = "submission",
            sol: int | None = None, own: bool = False, checks: list[str] | None = None,
            regressions: bool = True) -> Course:
    """Copy the course's own files to scratch/tree and find out what is to be graded.

    own: the submission is the tree at root itself.
    """
    here = labs.load(root)
    if number is None:
        number = max(n for n, found in here.items() if not found.draft)
    if number not in here:
        raise submission.BadSubmission(f"there is no lab {number} here (there are: "
                                       + ", ".join(map(str, sorted(here))) + ")")
    tree = build.pristine(root, number, scratch / "tree")
    course = labs.load(tree.path)
    if number not in course:
        raise build.Trouble(f"the release that this branch stands on has no lab {number}")
    if sol is None:
        sol = number if own and tree.staff else 0
    # A student's branch is built as a whole, and what a later lab extends needs that lab's files too.
    taken_from = [n for n in sorted(course) if n <= number or own and not tree.staff]
    if base == "reference":
        if not tree.staff:
            raise submission.BadSubmission("--base reference needs staff's source tree")
        sol, taken_from = number - 1, [number]
    wanted = [(course[n], c, c.points if n == number else 0)
              for n in sorted(course, reverse=True)
              if n == number or n < number and regressions for c in course[n].checks]
    if checks:
        unknown = set(checks) - {c.name for _, c, _ in wanted}
        if unknown:
            raise submission.BadSubmission(
                f"lab {number} has no check {', '.join(sorted(unknown))}; the checks are: "
                + ", ".join(c.name for _, c, _ in wanted))
        wanted = [w for w in wanted if w[1].name in checks]
    if not wanted:
        raise build.Trouble(f"labs/lab{number}/lab.toml lists no checks")
    return Course(tree, course, number, sol, wanted, [f for n in taken_from for f in course[n].student],
                  [f for n in taken_from for f in course[n].optional], bool(checks))


def worker() -> None:
    """In a process that runs checks: Ctrl-C is the parent's affair; end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sandbox.die_with_parent()


Progress = Callable[[int, int, run.Result], None]


def run_all(todo: list[tuple[Any, ...]], jobs: int, progress: Progress) -> list[run.Result]:
    """Several checks at a time, each worker a process; results in todo's order."""
    if jobs == 1:
        results = []
        for job in todo:
            results.append(run.run_check(*job))
            progress(len(results), len(todo), results[-1])
        return results
    context = multiprocessing.get_context("fork")
    pool = concurrent.futures.ProcessPoolExecutor(min(jobs, len(todo)), context, worker)
    try:
        futures = [pool.submit(run.run_check, *job) for job in todo]
        for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
            progress(done, len(todo), future.result())
        return [f.result() for f in futures]
    except BaseException:
        for process in list(getattr(pool, "_processes", {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def earlier(course: Course, built: build.Built, seed: int, scratch: Path) -> dict[str, run.Result]:
    """The checks of earlier labs, without points, that pass in one boot.  The others need a machine of their own, and
    their judge to say what is wrong."""
    checks = {c.name: (m, c) for m, c, points in course.wanted if m.number < course.number and c.memory == ROW_MEMORY}
    if course.named or not checks:
        return {}
    ends = run.in_a_row(built.image, built.elf, ROW_MEMORY, {name: c.ticks for name, (_, c) in checks.items()}, seed,
                        scratch / "run-earlier")
    return {name: run.Result(name, m.number, 0, 0, True, "passed", "", c.clause, seed, run.arguments(c, seed), ends[name][1])
            for name, (m, c) in checks.items() if ends.get(name, ("unreached", 0))[0] == ""}


def unbuilt(lab: Any, check: Any, points: int, seed: int) -> run.Result:
    return run.Result(check.name, lab.number, points, 0, False, "build", "blocked: it does not compile",
                      check.clause, seed, run.arguments(check, seed))


def renames(files: dict[str, bytes]) -> list[str]:
    """The files with a #line in them: what the compiler then says of file and line is their word."""
    return [name for name, data in sorted(files.items())
            if LINE_DIRECTIVE.search(COMMENT.sub(b" ", data.replace(b"\\\n", b"").replace(b"\\\r\n", b"")))]


def grade(course: Course, taken: submission.Submission, seed: int, scratch: Path, jobs: int = 1,
          progress: Progress = lambda *_: None, say: Callable[[str], None] = lambda _: None
          ) -> tuple[dict[str, Any], list[run.Result]]:
    """Grade the files in course.tree, which is changed by it.  Returns the report and its checks."""
    began = time.monotonic()
    build.overlay(course.tree, taken.files)
    say("compiling")
    built = build.build(course.tree, course.number, course.sol, jobs)
    if built.ok:
        say("running checks")
        good = earlier(course, built, seed, scratch)
        rest = iter(run_all([(course.tree.path, built.image, built.elf, m, c, p, seed, course.exercises,
                              scratch / f"run-{m.number}-{c.name}") for m, c, p in course.wanted if c.name not in good],
                            jobs, lambda done, total, result: progress(done + len(good), total + len(good), result)))
        results = [good[c.name] if c.name in good else next(rest) for _, c, _ in course.wanted]
    else:
        results = [unbuilt(m, c, p, seed) for m, c, p in course.wanted]
    notes = list(course.tree.notes) + list(taken.notes)
    liars = renames(taken.files)
    if liars:
        notes.append(f"{', '.join(liars)}: there is a #line in it; file names and line numbers in the compiler's "
                     "and the kernel's messages are then the submission's word, not staff's")
    less = sandbox.note()
    if less:
        notes.append(less)
    data: dict[str, Any] = {
        "lab": course.number, "title": course.lab.title, "score": sum(r.score for r in results),
        "max": sum(p for _, _, p in course.wanted), "seed": seed,
        "seconds": round(time.monotonic() - began, 2),
        "build": {"ok": built.ok, "output": run.printable(built.output)},
        "ignored": [run.printable(n, keep_lines=False) for n in taken.ignored],
        "notes": [run.printable(n, keep_lines=False) for n in notes]}
    if taken.origin:
        data["origin"] = taken.origin
    return data, results


def refused(course: Course, why: str) -> dict[str, Any]:
    """The report of a submission that cannot be graded."""
    return {"problem": why, "lab": course.number, "title": course.lab.title, "score": 0,
            "max": sum(p for _, _, p in course.wanted), "seed": 0, "seconds": 0,
            "build": {"ok": False, "output": ""}, "ignored": [], "notes": [], "checks": []}


def is_our_trouble(results: list[run.Result]) -> bool:
    """Did the grader itself fail in a check?"""
    return any(r.kind == "error" and "grader itself" in r.message for r in results)

