"""A whole class: python3 -m grade --class DIR --lab N.

Everything directly below DIR is a submission.  Results go to a folder of their own, one file each;
a run that was stopped, or killed, is taken up again by the same command.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from grade import crew, intake, machine, one, page, run, sandbox, sheet, store
from grade.submission import BadSubmission

DONE, TROUBLE, STOPPED = 0, 3, 130
PREFIXES = ("bramble-class-", "bramble-course-")     # of our scratch folders
BAR = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a whole class")
    group.add_argument("--class", dest="whole_class", type=Path, metavar="DIR",
                       help="grade everything in DIR: folders, git repositories, zip and tar files; "
                            "--jobs submissions at a time; run it again to go on after a stop")
    group.add_argument("--out", type=Path, metavar="OUTDIR",
                       help="results go there: index.html, results.csv, results/ (default: DIR-labN)")
    group.add_argument("--only", action="append", metavar="NAME",
                       help="this submission alone, without the page and the table (repeatable)")
    group.add_argument("--print", action="store_true",
                       help="with --only: print the result instead of keeping it (for GNU parallel)")
    group.add_argument("--list", action="store_true", help="print the names of those not graded yet, and end")
    group.add_argument("--collect", nargs="?", const="", metavar="FILE",
                       help="grade nothing: page and table of the results there are, and of those in FILE (-: stdin), "
                            "which --print wrote")


def submissions(folder: Path) -> list[Path]:
    """What is in DIR, less what begins with a dot, in the order people expect."""
    def order(path: Path) -> list[tuple[int, int, str]]:
        parts = re.findall(r"[0-9]{1,15}|[^0-9]+|[0-9]+", path.name.casefold())
        return [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts]

    try:
        found = [folder / name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as e:
        raise BadSubmission(f"{folder}: {e.strerror}") from None
    if not found:
        raise BadSubmission(f"there is nothing in {folder}")
    return sorted(found, key=lambda p: (order(p), p.name))


def chosen(folder: Path, only: list[str] | None) -> list[Path]:
    entries = submissions(folder)
    if not only:
        return entries
    names = {p.name: p for p in entries}
    wanted = [name.rstrip("/") for name in only]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise BadSubmission(f"there is no {unknown[0]} in {folder}")
    return [names[name] for name in wanted]


class Lines:
    """Progress: a bar on a terminal, else a line for each."""

    def __init__(self, total: int):
        self.total, self.done, self.fresh = total, 0, 0
        self.began = time.monotonic()
        self.terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.counts = {"graded": 0, "kept": 0, "refused": 0, "trouble": 0}

    def note(self, entry: Path, what: str, data: dict[str, Any] | None) -> None:
        self.done += 1
        status = data["status"] if data else "error"
        kind = "trouble" if what == "trouble" or status == "error" else "refused" if status == "refused" else what
        self.counts[kind] += 1
        self.fresh += kind != "kept"
        name = run.printable(entry.name, keep_lines=False)
        said = (f"{data['score']} of {data['max']}" if data and status == "graded" else
                (data or {}).get("problem", "no result").splitlines()[0])
        kept = " (kept)" if kind == "kept" else ""
        if kind == "trouble" or not self.terminal:
            self.wipe()
            print(f"{self.done:4d}/{self.total} {name}: {said}{kept}", file=sys.stderr)
        if self.terminal:
            self.bar(f"{name}: {said}{kept}")
        sys.stderr.flush()

    def wipe(self) -> None:
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr)

    def bar(self, text: str) -> None:
        filled = BAR * self.done // max(self.total, 1)
        left = ""
        if self.fresh >= 3 and self.done < self.total:
            seconds = (time.monotonic() - self.began) / self.fresh * (self.total - self.done)
            left = f" {seconds / 60:.0f} min left" if seconds >= 90 else f" {seconds:.0f} s left"
        line = f"[{'#' * filled}{'.' * (BAR - filled)}] {self.done}/{self.total}{left}  {text}"
        width = shutil.get_terminal_size().columns - 1
        print("\r\033[K" + line[:width], end="", file=sys.stderr)


@contextlib.contextmanager
def workplace(out: Path, alone: bool, other: Path) -> Iterator[Path]:
    """A scratch folder; alone: the only run on these results, which clears up after one that was killed.

    other: a scratch folder that somebody else makes and removes.
    """
    lock = open(out / ".lock", "a", encoding="utf-8")
    scratch = Path(tempfile.mkdtemp(prefix=PREFIXES[0]))
    try:
        if alone:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadSubmission(f"another run is at work on {out}") from None
            left = out / ".work"
            with contextlib.suppress(OSError, ValueError):
                for old in map(Path, left.read_text(encoding="utf-8").splitlines()):
                    if old.name.startswith(PREFIXES) and old.parent == scratch.parent and not old.is_symlink():
                        shutil.rmtree(old, ignore_errors=True)
            left.write_text(f"{scratch}\n{other}\n", encoding="utf-8")
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if alone:
            (out / ".work").unlink(missing_ok=True)
        lock.close()


def write_reports(out: Path, entries: list[Path], number: int, title: str) -> None:
    """results.csv and index.html, of the results there are."""
    results = [(run.printable(e.name, keep_lines=False), out / "results" / store.file_name(e.name)) for e in entries]
    sheet.write(out / "results.csv", results)
    page.write(out / "index.html", results, number, title)


def current(entry: Path, wish: intake.Wish, results: Path) -> bool:
    """Is there a result for what the submission holds now?"""
    data = store.read(results / store.file_name(entry.name))
    if data is None or data["status"] == "error" or data["lab"] != wish.lab:
        return False
    try:
        return bool(data["content"] == store.content_of(intake.take(entry, wish)))
    except BadSubmission:
        return bool(data["status"] == "refused")


def summary(lines: Lines, out: Path, notes: list[str]) -> None:
    lines.wipe()
    counts = lines.counts
    parts = [f"{counts['graded']} graded", f"{counts['kept']} kept from before" if counts["kept"] else "",
             f"{counts['refused']} cannot be graded" if counts["refused"] else "",
             f"{counts['trouble']} with trouble of ours" if counts["trouble"] else ""]
    print(f"{', '.join(p for p in parts if p)}, {time.monotonic() - lines.began:.0f} s")
    for note in notes:
        print(f"note: {note}")
    print(f"see {out / 'index.html'}")


def print_results(entries: list[Path], results: Path) -> None:
    """A line of JSON for each."""
    for entry in entries:
        data = store.read(results / store.file_name(entry.name))
        if data is not None:
            print(json.dumps({"file": store.file_name(entry.name), **data}), flush=True)


def take_in(lines: Iterable[str], entries: list[Path], results: Path) -> None:
    """Keep the results that other machines have printed, as they come."""
    files = {store.file_name(e.name) for e in entries}
    for line in lines:
        try:
            data = json.loads(line)
            name = data.pop("file")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            continue            # another program's words
        if name in files and store.is_result(data):
            store.write(results / name, data)
            print(f"{name.removesuffix('.json')}: {data['score']} of {data['max']}", file=sys.stderr)


def collect(entries: list[Path], wish: intake.Wish, out: Path, title: str, source: str) -> None:
    """Page and table of the results there are, less those of submissions that have changed since."""
    if source == "-":
        take_in(sys.stdin, entries, out / "results")
    elif source:
        with open(source, encoding="utf-8", errors="replace") as f:
            take_in(f, entries, out / "results")
    stale = [e for e in entries if not current(e, wish, out / "results")]
    for entry in stale:
        old = out / "results" / store.file_name(entry.name)
        if (store.read(old) or {}).get("status") != "error":
            old.unlink(missing_ok=True)
    write_reports(out, entries, wish.lab, title)
    print(f"{len(entries) - len(stale)} results, {len(stale)} not graded yet; see {out / 'index.html'}")


def default_out(folder: Path, number: int) -> Path:
    """Beside the class's folder."""
    whole = folder.resolve()
    return Path(os.path.relpath(whole.with_name(f"{whole.name}-lab{number}")))


def main(options: argparse.Namespace, root: Path) -> int:
    folder: Path = options.whole_class
    if options.print and not options.only:
        raise BadSubmission("--print goes with --only")
    entries = submissions(folder)
    selected = chosen(folder, options.only)
    machine.check_host()
    with contextlib.ExitStack() as stack:
        preparing = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIXES[1])))
        course = one.prepare(root, options.lab, preparing, base=options.base, sol=options.sol or 0,
                             checks=options.check, regressions=not options.no_regressions)
        out: Path = preparing / "out" if options.print else options.out or default_out(folder, course.number)
        if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
            raise BadSubmission(f"results do not belong into {folder}, which holds submissions: name another --out")
        (out / "results").mkdir(parents=True, exist_ok=True)
        wish = intake.Wish(course.number, tuple(course.needed), tuple(course.optional),
                           intake.staff_digests(course.tree.path, [*course.needed, *course.optional]),
                           options.ref, intake.moment(options.before) if options.before else None)
        if options.list:
            for entry in selected:
                if not current(entry, wish, out / "results"):
                    print(entry.name)
            return DONE
        if options.collect is not None:
            collect(entries, wish, out, course.lab.title, options.collect)
            return DONE
        scratch = stack.enter_context(workplace(out, not options.only, preparing))
        plan = crew.Plan(course, wish, store.conditions(course, base=options.base, seed=options.seed),
                         options.seed, out / "results")
        slots = [crew.make_slot(course, scratch / f"slot{n}") for n in range(min(options.jobs, len(selected)))]
        lines = Lines(len(selected))
        try:
            crew.Crew(plan, slots, lines.note).work(iter(selected))
        except KeyboardInterrupt:
            lines.wipe()
            print(f"stopped after {lines.done} of {lines.total}; the same command goes on from here", file=sys.stderr)
            return STOPPED
        finally:
            if options.print:
                print_results(selected, out / "results")
            elif not options.only:
                write_reports(out, entries, course.number, course.lab.title)
        if not options.only:
            missing = sandbox.missing()
            summary(lines, out, [f"no sandbox: {missing}"] if missing else [])
    return TROUBLE if lines.counts["trouble"] else DONE
