#!/usr/bin/env python3
"""Is right work ever failed?  Runs the checks of correct solutions with one seed after the other.

A judge draws its inputs from the seed; one in a thousand may be such that the judge itself is wrong.

    python3 test/seeds.py                       ten seeds, each check of each lab (make seeds)
    python3 test/seeds.py slab --seeds 200      only checks whose name begins so
    python3 test/seeds.py --lab 4 --base plain  only this lab, only this solution
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "test"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from grade import build, lab as labs, machine, run, sandbox  # noqa: E402
from mutants import BadMutant, solution  # noqa: E402

BASES = ("reference", "plain")      # of mutants.py: all points


@dataclass(frozen=True)
class Built:
    """A correct solution of a lab, compiled."""
    number: int
    base: str
    tree: Path
    image: Path
    elf: Path
    course: dict[int, Any]

    def run(self, name: str, seed: int, scratch: Path) -> str:
        """One check with one seed. Why it fails; '': it passes."""
        lab = self.course[self.number]
        check = next(c for c in lab.checks if c.name == name)
        exercises = [e for n in sorted(self.course) if n <= self.number for e in self.course[n].exercises]
        result = run.run_check(self.tree, self.image, self.elf, lab, check, check.points, seed, exercises, scratch)
        return "" if result.passed else result.message or result.kind


def compiled(number: int, base: str, scratch: Path) -> Built:
    tree = build.pristine(ROOT, number, scratch / f"{base}{number}")
    build.overlay(tree, solution(number, base))
    made = build.build(tree, number, number, os.cpu_count() or 1)
    if not made.ok:
        raise BadMutant(f"lab {number}, {base}: {made.output}")
    return Built(number, base, tree.path, made.image, made.elf, labs.load(tree.path))


_made: list[Built] = []     # what the workers have when they are forked; a course cannot be sent to them


def work(which: int, name: str, seed: int, scratch: Path) -> str:
    return _made[which].run(name, seed, scratch / f"{which}-{name}-{seed}")


def run_all(todo: list[tuple[int, str, int]], jobs: int, scratch: Path) -> list[str]:
    """What fails, a line each; told as soon as it is found."""
    found = []
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), sandbox.die_with_parent) as pool:
        futures = {pool.submit(work, *item, scratch): item for item in todo}
        for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
            which, name, seed = futures[future]
            built = _made[which]
            why = future.result()
            if why:
                found.append(f"lab {built.number}, {built.base}: {name} with seed {seed}: {why}")
                print(("\r\033[K" if sys.stderr.isatty() else "") + found[-1], flush=True)
            if sys.stderr.isatty():
                print(f"\r\033[K  {done}/{len(todo)} {name}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the checks of correct solutions with one seed after the other.",
                                     epilog="Exit status: 0 when every one of them passes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only checks whose name begins so")
    parser.add_argument("--lab", type=int, metavar="N", help="only those of lab N")
    parser.add_argument("--base", choices=BASES, help="only this solution")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="how many for each check (10)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first of them (drawn anew)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="checks at a time")
    options = parser.parse_args()
    first = options.first or random.randrange(1, run.GUEST_SEED)
    scratch = Path(tempfile.mkdtemp(prefix="bramble-seeds-"))
    try:
        machine.check_host()
        checks = {n: [c.name for c in lab.checks if c.name.startswith(tuple(options.names) or "")]
                  for n, lab in sorted(labs.load(ROOT).items()) if options.lab in (None, n)}
        if not any(checks.values()):
            print("seeds: there is no such check", file=sys.stderr)
            return 2
        _made.extend(compiled(n, base, scratch) for n in checks if checks[n] for base in BASES if options.base in (None, base))
        todo = [(which, name, first + k) for k in range(options.seeds) for which, built in enumerate(_made)
                for name in checks[built.number]]
        found = run_all(todo, options.jobs, scratch)
        print(f"{len(todo)} runs, seeds {first} to {first + options.seeds - 1}: {len(found)} failed")
        return 1 if found else 0
    except (BadMutant, labs.LabError, machine.NoQemu, build.Trouble) as e:
        print(f"seeds: {e}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
