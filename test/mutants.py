#!/usr/bin/env python3
"""How good are the checks?  Grades every mutant in labs/lab*/mutants with the grader.

A mutant is a correct solution with one mistake in it; the check that its header names must fail.

    python3 test/mutants.py                     all of them (make mutants)
    python3 test/mutants.py --quick             the same few every time
    python3 test/mutants.py D32 el-             those whose name begins so
    python3 test/mutants.py --refresh           after an edit of the solutions: write the patches anew

A mutant is a file NAME.patch: a header, an empty line, and a diff.

    mistake: D32                  the row of labs/mistakes.md, or - for one of our own
    wrong: the tables of the last level are not freed
    check: vm_free                the check that must fail; several: each of them must; *: all of the
                                  lab's; build: the build must fail
    base: plain                   the correct solution that the diff is against: reference (if the line
                                  is missing) is the finished kernel's file as the lab's solution has it,
                                  plain the one in test/fixtures/plain, or below it in labN

Results are kept by content in obj/mutants: what did not change is not run again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import difflib
import functools
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from grade import build, lab as labs, machine, run, sandbox  # noqa: E402

FIXTURES = ROOT / "test" / "fixtures"
CACHE = ROOT / "obj" / "mutants"
SEED = 1
SAMPLE = 1              # mutants of each check that --quick takes
ONE_BOOT = 500          # million instructions for each check of a boot with all checks
WHOLE_LAB = "*"         # in a header: every check of the lab
BUILD = "build"         # in a header: the build
# What the score does not depend on, in the course's files.
UNBUILT = (".md", ".svg", ".css", ".html", ".txt")


class BadMutant(Exception):
    """A mutant that cannot be used; the message says why."""


@dataclass(frozen=True)
class Mutant:
    lab: int
    name: str
    mistake: str
    wrong: str
    checks: tuple[str, ...]
    base: str
    diff: str

    @property
    def path(self) -> Path:
        return ROOT / "labs" / f"lab{self.lab}" / "mutants" / f"{self.name}.patch"


@dataclass
class Outcome:
    """What the grader said of one set of files."""
    failed: dict[str, str] = field(default_factory=dict)    # check -> its message
    passed: list[str] = field(default_factory=list)
    boot: list[str] = field(default_factory=list)           # checks that fail in one boot with all of them
    trouble: str = ""                                       # it could not be graded

    def verdict(self, should: tuple[str, ...]) -> str:
        """'' when each check of `should` failed, else what is wrong."""
        if self.trouble:
            return self.trouble
        if not self.failed:
            return "survives: every check passes"
        left = [name for name in should if name not in self.failed]
        return f"not caught by {', '.join(left)}" if left else ""


# ---- Mutants --------------------------------------------------------------------------------------


def parse(lab: int, name: str, text: str) -> Mutant:
    head, _, diff = text.partition("\n\n")
    values: dict[str, str] = {}
    for line in head.splitlines():
        key, colon, value = line.partition(":")
        if not colon or key not in ("mistake", "wrong", "check", "base") or key in values:
            raise BadMutant(f"{name}: line {line!r} of the header is not understood")
        values[key] = value.strip()
    for key in ("mistake", "wrong", "check"):
        if not values.get(key):
            raise BadMutant(f"{name}: the header has no {key}")
    checks = tuple(part.strip() for part in values["check"].split(","))
    base = values.get("base", "reference")
    if base != "reference" and not (FIXTURES / base).is_dir():
        raise BadMutant(f"{name}: there is no solution test/fixtures/{base}")
    return Mutant(lab, name, values["mistake"], values["wrong"], checks, base, diff)


def read_all() -> list[Mutant]:
    """Every mutant, by lab and name."""
    found = []
    for path in sorted(ROOT.glob("labs/lab*/mutants/*.patch")):
        found.append(parse(int(path.parent.parent.name.removeprefix("lab")), path.stem, path.read_text()))
    return found


def unifdef(text: bytes, lab: int) -> bytes:
    done = subprocess.run(["unifdef", f"-DLAB={lab}", f"-DSOL={lab}"], input=text, capture_output=True)
    if done.returncode not in (0, 1):       # 0: unchanged, 1: changed
        raise BadMutant("unifdef: " + done.stderr.decode(errors="replace").strip())
    return re.sub(rb"\n{3,}", b"\n\n", done.stdout)   # what is gone leaves its empty lines


@functools.cache
def solution(lab: int, base: str) -> dict[str, bytes]:
    """The files that a student hands in for this lab, from a correct solution."""
    files = {}
    for name in labs.load(ROOT)[lab].student:
        fixtures = (FIXTURES / base / f"lab{lab}" / name, FIXTURES / base / name)
        source = next((path for path in fixtures if path.is_file()), ROOT / name)
        files[name] = unifdef(source.read_bytes(), lab)
    return files


def mutated(mutant: Mutant) -> dict[str, bytes]:
    """The same with the mistake in it."""
    files = solution(mutant.lab, mutant.base)
    with tempfile.TemporaryDirectory(prefix="bramble-mutant-") as scratch:
        for name, data in files.items():
            target = Path(scratch, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        # Not a repository, whatever is above: git then patches the files that it finds here.
        done = subprocess.run(["git", "apply", "--recount", "-C1", "-"], input=mutant.diff.encode(), cwd=scratch,
                              env={**os.environ, "GIT_CEILING_DIRECTORIES": str(Path(scratch).parent),
                                   "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
                              capture_output=True)
        if done.returncode != 0:
            raise BadMutant("does not apply: " + done.stderr.decode(errors="replace").strip())
        result = {name: Path(scratch, name).read_bytes() for name in files}
    if result == files:
        raise BadMutant("changes nothing")
    return result


def difference(name: str, old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{name}", f"b/{name}")
    return "".join([f"diff --git a/{name} b/{name}\n", *lines])    # the line parts the files for git apply --recount


def without_numbers(diff: str) -> str:
    return re.sub(r"^@@ .*", "@@", diff, flags=re.MULTILINE)


def refresh(mutant: Mutant) -> bool:
    """Write the patch anew against the solution as it is now.  True if that changed it."""
    old, new = solution(mutant.lab, mutant.base), mutated(mutant)
    diff = "".join(difference(name, old[name].decode(), new[name].decode()) for name in old if old[name] != new[name])
    if without_numbers(diff) == without_numbers(mutant.diff):
        return False        # git finds the place though its line number changed
    head = mutant.path.read_text().partition("\n\n")[0]
    mutant.path.write_text(f"{head}\n\n{diff}")
    return True


# ---- Grading --------------------------------------------------------------------------------------


class Bench:
    """A copy of the course's tree in which one solution after the other is built and graded."""

    def __init__(self, lab: int, scratch: Path):
        self.scratch = scratch / f"lab{lab}"
        self.scratch.mkdir()
        self.tree = build.pristine(ROOT, lab, self.scratch / "tree")
        self.course = labs.load(self.tree.path)
        self.number, self.lab = lab, self.course[lab]

    def put(self, files: dict[str, bytes]) -> None:
        """Files that are as they were keep their time, so that make leaves them alone."""
        build.overlay(self.tree, {name: data for name, data in files.items()
                                  if (self.tree.path / name).read_bytes() != data})

    def grade(self, files: dict[str, bytes], wanted: tuple[str, ...], seed: int) -> Outcome:
        """Build the files and run the checks `wanted` of the lab."""
        self.put(files)
        for product in ("kernel8.img", "kernel8.elf"):
            (self.tree.path / "obj" / product).unlink(missing_ok=True)
        built = build.build(self.tree, self.number, self.number, 1)
        if not built.ok:
            return Outcome({BUILD: built.output})
        outcome = Outcome()
        exercises = [e for n in sorted(self.course) if n <= self.number for e in self.course[n].exercises]
        if not set(wanted) >= {check.name for check in self.lab.checks}:
            outcome.boot = self.one_boot(built, seed)
        for check in self.lab.checks:
            if check.name not in wanted:
                continue
            result = run.run_check(self.tree.path, built.image, built.elf, self.lab, check, check.points, seed,
                                   exercises, self.scratch / f"run-{check.name}")
            if result.kind == "error":
                outcome.trouble = f"{check.name} could not be run: {result.message}"
                return outcome
            if result.passed:
                outcome.passed.append(check.name)
            else:
                outcome.failed[check.name] = result.message
        return outcome


    def one_boot(self, built: build.Built, seed: int) -> list[str]:
        """The checks of the lab that fail when the kernel runs all of them."""
        limits = {c.name: ONE_BOOT for n in sorted(self.course) if n <= self.number for c in self.course[n].checks}
        ends = run.in_a_row(built.image, built.elf, "16M", limits, seed, self.scratch / "boot")
        return [check.name for check in self.lab.checks if ends.get(check.name, ("", 0))[0]]


_benches: dict[int, Bench] = {}
_scratch = Path()


def start_worker(scratch: Path) -> None:
    global _scratch
    sandbox.die_with_parent()
    _scratch = Path(tempfile.mkdtemp(dir=scratch))


def work(lab: int, files: dict[str, bytes], wanted: tuple[str, ...], seed: int) -> Outcome:
    if lab not in _benches:
        _benches[lab] = Bench(lab, _scratch)
    return _benches[lab].grade(files, wanted, seed)


def version(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    except OSError:
        return ""


@functools.cache
def staff_digest(lab: int) -> str:
    """A digest of all that an outcome depends on, the student's files of the lab apart."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    course = labs.load(ROOT)
    mine = course[lab].student
    later = tuple(name for n in course if n > lab for name in (*course[n].files, course[n].folder + "/"))
    for tool in (("aarch64-linux-gnu-gcc", "--version"), (machine.qemu_binary(), "--version")):
        digest.update(version(*tool).encode())
    for name in build.files_of(ROOT):
        path = ROOT / name
        if name.startswith(build.SKIP) or "/mutants/" in name or name.endswith(UNBUILT) or name in mine \
                or name.startswith(later):
            continue
        if path.is_file() and "__pycache__" not in name:
            digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def cache_file(lab: int, files: dict[str, bytes], wanted: tuple[str, ...], seed: int) -> Path:
    digest = hashlib.sha256(f"{staff_digest(lab)} {lab} {wanted} {seed}".encode())
    for name, data in sorted(files.items()):
        digest.update(f"\0{name}\0".encode() + data)
    return CACHE / f"{digest.hexdigest()[:40]}.json"


@dataclass(frozen=True)
class Job:
    """Something to grade: a mutant, or (mutant None) a correct solution."""
    lab: int
    base: str
    mutant: Mutant | None

    @property
    def name(self) -> str:
        return self.mutant.name if self.mutant else f"({self.base})"


def should_fail(job: Job) -> tuple[str, ...]:
    every = tuple(check.name for check in labs.load(ROOT)[job.lab].checks)
    if job.mutant is None:
        return ()
    if job.mutant.checks == (WHOLE_LAB,):
        return every
    unknown = set(job.mutant.checks) - {*every, BUILD}
    if unknown:
        raise BadMutant(f"there is no check {', '.join(sorted(unknown))} in lab {job.lab}")
    return job.mutant.checks


def verdict(job: Job, outcome: Outcome) -> str:
    """'' when all is as it should be."""
    if job.mutant is not None:
        return outcome.verdict(should_fail(job))
    if outcome.trouble:
        return outcome.trouble
    return f"a correct solution fails {', '.join(outcome.failed)}" if outcome.failed else ""


def grade_all(jobs: list[Job], every: bool, seed: int, workers: int, use_cache: bool
              ) -> dict[Job, Outcome]:
    """Grade the jobs several at a time.  every: with all checks, else with those that must fail."""
    outcomes: dict[Job, Outcome] = {}
    todo: list[tuple[Job, tuple[Any, ...], Path]] = []
    for job in jobs:
        checks = tuple(check.name for check in labs.load(ROOT)[job.lab].checks)
        try:
            should = should_fail(job)
            files = mutated(job.mutant) if job.mutant else solution(job.lab, job.base)
        except BadMutant as e:
            outcomes[job] = Outcome(trouble=str(e))
            continue
        wanted = checks if every or job.mutant is None else should
        kept = cache_file(job.lab, files, wanted, seed)
        if use_cache and kept.exists():
            outcomes[job] = Outcome(**json.loads(kept.read_text()))
        else:
            todo.append((job, (job.lab, files, wanted, seed), kept))
    if not todo:
        return outcomes
    scratch = Path(tempfile.mkdtemp(prefix="bramble-mutants-"))
    CACHE.mkdir(parents=True, exist_ok=True)
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(todo)), multiprocessing.get_context("fork"), start_worker, (scratch,))
    try:
        futures = {pool.submit(work, *arguments): (job, kept) for job, arguments, kept in todo}
        for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
            job, kept = futures[future]
            outcome = outcomes[job] = future.result()
            if not outcome.trouble:
                kept.write_text(json.dumps(asdict(outcome)))
            if sys.stderr.isatty():
                print(f"\r\033[K  {done}/{len(todo)} {job.name}", end="" if done < len(todo) else "\r\033[K",
                      file=sys.stderr, flush=True)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(scratch, ignore_errors=True)
    return outcomes


# ---- The command line -----------------------------------------------------------------------------


def sample(mutants: list[Mutant]) -> list[Mutant]:
    """The first few of each check."""
    taken: dict[tuple[int, str], int] = {}
    found = []
    for mutant in mutants:
        key = mutant.lab, mutant.checks[0]
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= SAMPLE:
            found.append(mutant)
    return found


def jobs_for(mutants: list[Mutant]) -> list[Job]:
    """The mutants, after the solutions that they are made from."""
    bases = sorted({(m.lab, m.base) for m in mutants})
    return ([Job(lab, base, None) for lab, base in bases]
            + [Job(m.lab, m.base, m) for m in mutants])


def first_line(text: str) -> str:
    """Of a compiler's output the first error, of a message its first line."""
    lines = [line for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line or "undefined reference" in line
                 or "multiple definition" in line), lines[0] if lines else "")


def show(jobs: list[Job], outcomes: dict[Job, Outcome], seconds: float) -> bool:
    """Print the matrix.  True when all is well."""
    width = max(len(job.name) for job in jobs)
    good = True
    print(f"lab  {'mutant':{width}}  should fail -> failed")
    for job in jobs:
        outcome = outcomes[job]
        wrong = verdict(job, outcome)
        good = good and not wrong
        should = ", ".join(job.mutant.checks) if job.mutant else "nothing"
        also = [name for name in outcome.boot if name not in outcome.failed]
        print(f"{job.lab:3d}  {job.name:{width}}  {should} -> {', '.join(outcome.failed) or 'nothing'}"
              + (f" (and in one boot: {', '.join(also)})" if also else ""))
        if wrong:
            print(textwrap.indent(f"WRONG: {wrong}", "       "))
        if job.mutant is not None:
            named = [text for name, text in outcome.failed.items() if name in should_fail(job)]
            if named:
                print(f"       {first_line(named[0])}")
    mutants = [job for job in jobs if job.mutant]
    killed = [job for job in mutants if not verdict(job, outcomes[job])]
    for lab in sorted({job.lab for job in jobs}):
        print(f"lab {lab}: {sum(j.lab == lab for j in killed)} of {sum(j.lab == lab for j in mutants)} killed")
    share = 100 * len(killed) / len(mutants) if mutants else 100.0
    print(f"kill rate {share:.1f} % ({len(killed)} of {len(mutants)}), {seconds:.0f} s")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description="Grade the mutants: the check that each names must fail.",
                                     epilog="Exit status: 0 when every mutant is killed by its check.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only mutants whose name begins so")
    parser.add_argument("--lab", type=int, metavar="N", help="only those of lab N")
    parser.add_argument("--quick", action="store_true", help="a sample: one mutant for each check")
    parser.add_argument("--all", action="store_true", help="grade the other checks, too (slow); without it "
                        "they only run in one boot, one after the other, and nobody judges them")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help=f"default: {SEED}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="mutants at a time")
    parser.add_argument("--no-cache", action="store_true", help="run all of them again")
    parser.add_argument("--refresh", action="store_true", help="write the patches anew, run nothing")
    options = parser.parse_args()
    try:
        course = labs.load(ROOT)
        mutants = [m for m in read_all() if options.lab in (None, m.lab)
                   and (not options.names or m.name.startswith(tuple(options.names)))
                   and (options.lab or options.names or not course[m.lab].draft)]
        if options.refresh:
            print(*(f"refreshed {m.name}" for m in mutants if refresh(m)), sep="\n")
            return 0
        machine.check_host()
        chosen = sample(mutants) if options.quick else mutants
        if not chosen:
            print("mutants: there is none of that name", file=sys.stderr)
            return 2
        began = time.monotonic()
        jobs = jobs_for(chosen)
        outcomes = grade_all(jobs, options.all, options.seed, options.jobs, not options.no_cache)
        return 0 if show(jobs, outcomes, time.monotonic() - began) else 1
    except (BadMutant, labs.LabError, machine.NoQemu, build.Trouble) as e:
        print(f"mutants: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
