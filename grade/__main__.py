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

from grade import build, lab as labs, machine, one, report, run, submission

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
    parser.add_argument("--sol", type=int, metavar="K",
                        help="labs whose exercises are filled in, when DIR is the source tree "
                             "itself (staff; default: all)")
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


def progress(done: int, total: int, result: run.Result) -> None:
    if sys.stderr.isatty():
        word = report.WORDS.get(result.kind, result.kind)
        print(f"\r\033[K  {done}/{total} {result.name}: {word}", end="", file=sys.stderr, flush=True)
        if done == total:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def grade(options: argparse.Namespace, scratch: Path) -> int:
    began = time.monotonic()
    machine.check_host()
    own = options.dir.resolve() == ROOT
    course = one.prepare(ROOT, options.lab, scratch, base=options.base, sol=options.sol, own=own,
                         checks=options.check, regressions=not options.no_regressions)
    taken = submission.take(options.dir, course.needed, course.optional)
    taken.ignored = [] if course.tree.staff and own else \
        submission.edited(options.dir, course.tree.path, taken.files)
    seed = options.seed if options.seed is not None else secrets.randbelow(10**12)
    data, results = one.grade(course, taken, seed, scratch, options.jobs, progress)
    data["seconds"] = round(time.monotonic() - began, 2)
    if str(options.json) != "-":
        report.show(sys.stdout, data, results)
    if options.json:
        report.write_json(options.json, data, results)
    if one.is_our_trouble(results):
        return TROUBLE
    counted = [r for r in results if r.points] or results
    return FULL if all(r.passed for r in counted) else NOT_FULL


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
