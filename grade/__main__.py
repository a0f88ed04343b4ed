"""The command line: python3 -m grade DIR --lab N."""

from __future__ import annotations

import argparse
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

from grade import (build, export, gradescope, intake, lab as labs, machine, one, report, run, submission,
                   whole_class)

ROOT = Path(__file__).resolve().parent.parent

FULL, NOT_FULL, USAGE, TROUBLE = 0, 1, 2, 3


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m grade",
        description="Grade a submission: take the student's files out of DIR, build them with the "
                    "course's own, boot every check in QEMU.",
        epilog="Exit status: 0 full marks, 1 not, 2 bad usage or a submission that cannot be "
               "graded, 3 trouble with this machine or the course's files.")
    parser.add_argument("dir", type=Path, metavar="DIR", nargs="?", default=Path("."),
                        help="the submission: a folder like the course's tree, a git repository, a zip or "
                             "tar file, what make handin packs (default: this folder)")
    parser.add_argument("--lab", type=int, metavar="N", help="which lab (default: the last one here)")
    parser.add_argument("--check", action="append", metavar="NAME", help="only this check (repeatable)")
    parser.add_argument("--seed", type=int, metavar="S", help="repeat a run (default: drawn anew)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too (-: stdout)")
    parser.add_argument("--base", choices=["submission", "reference"], default="submission",
                        help="reference: earlier labs' files from the finished kernel (staff)")
    parser.add_argument("--sol", type=int, metavar="K",
                        help="labs whose exercises are filled in, when DIR is the source tree "
                             "itself (staff; default: all)")
    parser.add_argument("--jobs", type=int, metavar="J", default=os.cpu_count() or 1,
                        help="checks at a time (default: all processors)")
    parser.add_argument("--no-regressions", action="store_true", help="leave earlier labs' checks out")
    parser.add_argument("--gdb", action="store_true",
                        help="with one --check: where the judge finds a call that goes wrong, gdb before that call")
    parser.add_argument("--keep", action="store_true", help="keep the build folder and say where it is")
    formats = parser.add_argument_group("one submission, in other formats")
    formats.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML")
    formats.add_argument("--gradescope", type=Path, metavar="FILE", help="Gradescope's results.json")
    formats.add_argument("--visibility", choices=gradescope.VISIBILITY, default="visible",
                         help="of the checks there, for students")
    formats.add_argument("--summary", type=Path, metavar="FILE",
                         help="append Markdown, as for GitHub's $GITHUB_STEP_SUMMARY")
    whole_class.add_arguments(parser)
    parser.add_argument("--ref", metavar="REF", help="of a git repository: this branch, tag or commit")
    parser.add_argument("--before", metavar="DATE",
                        help="of a git repository: the last commit up to then, such as '2026-11-20 23:59'")
    options = parser.parse_args(words)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if options.gdb and len(options.check or ()) != 1:
        parser.error("--gdb goes with one --check NAME")
    if options.gdb:
        options.jobs, run.DEBUG = 1, True
    if options.seed is not None and options.seed < 0:
        parser.error("--seed must not be negative")
    return options


def say(text: str) -> None:
    """On a terminal, in place of what was said before."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def progress(done: int, total: int, result: run.Result) -> None:
    word = report.WORDS.get(result.kind, result.kind)
    say(f"  {done}/{total} {result.name}: {word}" if done < total else "")


def write_formats(options: argparse.Namespace, data: dict[str, Any]) -> None:
    """The files in other people's formats that are asked for."""
    if options.junit:
        report.write_text(options.junit, export.junit(data))
    if options.gradescope:
        gradescope.write(options.gradescope, data, options.visibility)
    if options.summary:
        with open(options.summary, "a", encoding="utf-8", errors="replace") as out:
            out.write(export.summary(data))


def take(options: argparse.Namespace, course: one.Course, own: bool) -> submission.Submission:
    """The student's files of the submission.  own: it is this tree itself."""
    if own and options.ref is None and options.before is None:
        taken = submission.take(options.dir, course.needed, course.optional)
        if not course.tree.staff:
            taken.ignored = submission.edited(options.dir, course.tree.path, taken.files)
        return taken
    staff = intake.staff_digests(course.tree.path, [*course.needed, *course.optional])
    before = intake.moment(options.before) if options.before else None
    wish = intake.Wish(course.number, tuple(course.needed), tuple(course.optional), staff, options.ref, before)
    try:
        return intake.take(options.dir.resolve(), wish)
    except submission.BadSubmission as e:
        raise submission.BadSubmission(f"{options.dir}: {e}") from None


def grade(options: argparse.Namespace, scratch: Path) -> int:
    began = time.monotonic()
    machine.check_host()
    own = options.dir.resolve() == ROOT
    course = one.prepare(ROOT, options.lab, scratch, base=options.base, sol=options.sol, own=own,
                         checks=options.check, regressions=not options.no_regressions)
    try:
        taken = take(options, course, own)
    except submission.BadSubmission as e:
        write_formats(options, one.refused(course, run.printable(str(e))))
        raise
    seed = options.seed if options.seed is not None else secrets.randbelow(10**12)
    try:
        data, results = one.grade(course, taken, seed, scratch, options.jobs, progress, lambda text: say(f"  {text} ..."))
    finally:
        say("")
    data["seconds"] = round(time.monotonic() - began, 2)
    if str(options.json) != "-":
        report.show(sys.stdout, data, results)
    if options.json:
        report.write_json(options.json, data, results)
    write_formats(options, {**data, "checks": [r.json() for r in results]})
    if one.is_our_trouble(results):
        return TROUBLE
    counted = [r for r in results if r.points] or results
    return FULL if all(r.passed for r in counted) else NOT_FULL


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    scratch = Path(tempfile.mkdtemp(prefix="bramble-grade-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TROUBLE))
    try:
        return whole_class.main(options, ROOT) if options.whole_class else grade(options, scratch)
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
