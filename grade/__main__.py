"""The command line: python3 -m grade DIR --lab N."""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from grade import build, lab as labs, machine, report, run, sandbox, submission

ROOT = Path(__file__).resolve().parent.parent

FULL, NOT_FULL, USAGE, TROUBLE = 0, 1, 2, 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m grade",
        description="Grade a submission: take the student's files out of DIR, build them with the "
                    "course's own, boot every check in QEMU.",
        epilog="Exit status: 0 full marks, 1 not, 2 bad usage or a submission that cannot be "
               "graded, 3 trouble with this machine or the course's files.")
    parser.add_argument("dir", type=Path, metavar="DIR", nargs="?", default=Path("."),
                        help="the submission: a folder like the course's tree (default: this one)")
    parser.add_argument("--lab", type=int, metavar="N", help="which lab (default: the last one here)")
    parser.add_argument("--check", action="append", metavar="NAME", help="only this check (repeatable)")
    parser.add_argument("--seed", type=int, metavar="S", help="repeat a run (default: drawn anew)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too (-: stdout)")
    parser.add_argument("--base", choices=["submission", "reference"], default="submission",
                        help="reference: earlier labs' files from the finished kernel (staff)")
    parser.add_argument("--sol", type=int, metavar="K", default=0,
                        help="labs whose exercises are filled in, when DIR is the source tree (staff)")
    parser.add_argument("--jobs", type=int, metavar="J", default=os.cpu_count() or 1,
                        help="checks at a time (default: all processors)")
    parser.add_argument("--no-regressions", action="store_true", help="leave earlier labs' checks out")
    parser.add_argument("--keep", action="store_true", help="keep the build folder and say where it is")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if options.seed is not None and options.seed < 0:
        parser.error("--seed must not be negative")
    return options


def worker() -> None:
    """In a process that runs checks: Ctrl-C is the parent's affair; end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sandbox.die_with_parent()


def progress(done: int, total: int, result: run.Result) -> None:
    if sys.stderr.isatty():
        word = report.WORDS.get(result.kind, result.kind)
        print(f"\r\033[K  {done}/{total} {result.name}: {word}", end="", file=sys.stderr, flush=True)
        if done == total:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def run_all(todo: list[tuple[Any, ...]], jobs: int) -> list[run.Result]:
    """Several checks at a time, each worker a process; results in todo's order."""
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


def unbuilt(lab: Any, check: Any, points: int, seed: int) -> run.Result:
    return run.Result(check.name, lab.number, points, 0, False, "build", "blocked: it does not compile",
                      check.clause, seed, run.arguments(check, seed))


def grade(options: argparse.Namespace, scratch: Path) -> int:
    began = time.monotonic()
    machine.check_host()
    here = labs.load(ROOT)
    number = options.lab if options.lab is not None else max(here)
    if number not in here:
        raise submission.BadSubmission(f"there is no lab {number} here (there are: "
                                       + ", ".join(map(str, sorted(here))) + ")")
    tree = build.pristine(ROOT, number, scratch / "tree")
    course = labs.load(tree.path)
    if number not in course:
        raise build.Trouble(f"the release that this branch stands on has no lab {number}")
    lab = course[number]
    sol = options.sol
    taken_from = [n for n in sorted(course) if n <= number]
    if options.base == "reference":
        if not tree.staff:
            raise submission.BadSubmission("--base reference needs staff's source tree")
        sol, taken_from = number - 1, [number]
    taken = submission.take(options.dir,
                            [f for n in taken_from for f in course[n].student],
                            [f for n in taken_from for f in course[n].optional])
    taken.ignored = [] if tree.staff and options.dir.resolve() == ROOT else \
        submission.edited(options.dir, tree.path, taken.files)
    build.overlay(tree, taken.files)
    built = build.build(tree, number, sol, os.cpu_count() or 1)

    seed = options.seed if options.seed is not None else secrets.randbelow(10**12)
    wanted = [(course[n], c, c.points if n == number else 0)
              for n in sorted(course, reverse=True) if n == number
              or n < number and not options.no_regressions for c in course[n].checks]
    if options.check:
        unknown = set(options.check) - {c.name for _, c, _ in wanted}
        if unknown:
            raise submission.BadSubmission(
                f"lab {number} has no check {', '.join(sorted(unknown))}; the checks are: "
                + ", ".join(c.name for _, c, _ in wanted))
        wanted = [w for w in wanted if w[1].name in options.check]
    exercises = [e for n in sorted(course) if n <= number for e in course[n].exercises]
    if not wanted:
        raise build.Trouble(f"labs/lab{number}/lab.toml lists no checks")
    if built.ok:
        results = run_all([(tree.path, built.image, built.elf, m, c, p, seed, exercises,
                            scratch / f"run-{m.number}-{c.name}") for m, c, p in wanted], options.jobs)
    else:
        results = [unbuilt(m, c, p, seed) for m, c, p in wanted]

    notes = list(tree.notes)
    if sandbox.missing():
        notes.append(f"no sandbox: {sandbox.missing()}; the build and the kernel ran with resource "
                     "limits only")
    data: dict[str, Any] = {
        "lab": number, "title": lab.title, "score": sum(r.score for r in results),
        "max": sum(p for _, _, p in wanted), "seed": seed,
        "seconds": round(time.monotonic() - began, 2),
        "build": {"ok": built.ok, "output": run.printable(built.output)},
        "ignored": [run.printable(n, keep_lines=False) for n in taken.ignored], "notes": notes}
    if str(options.json) != "-":
        report.show(sys.stdout, data, results)
    if options.json:
        report.write_json(options.json, data, results)
    if any(r.kind == "error" and "grader itself" in r.message for r in results):
        return TROUBLE
    own = [r for r in results if r.points] or results
    return FULL if all(r.passed for r in own) else NOT_FULL


def main() -> int:
    options = arguments()
    scratch = Path(tempfile.mkdtemp(prefix="bramble-grade-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TROUBLE))
    try:
        return grade(options, scratch)
    except submission.BadSubmission as e:
        print(f"grade: {run.printable(str(e))}", file=sys.stderr)
        return USAGE
    except (machine.NoQemu, build.Trouble, labs.LabError) as e:
        print(f"grade: {e}", file=sys.stderr)
        return TROUBLE
    except BrokenProcessPool:
        print("grade: a grading process was killed (is this machine out of memory? try --jobs 1)",
              file=sys.stderr)
        return TROUBLE
    except OSError as e:
        print(f"grade: {e}", file=sys.stderr)
        return TROUBLE
    except KeyboardInterrupt:
        print("grade: stopped", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"kept: {scratch}", file=sys.stderr)
        else:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
