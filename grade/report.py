"""What the student and staff get to read: a table on the terminal, and JSON."""

from __future__ import annotations

import json
import os
import tempfile
import textwrap
from pathlib import Path
from typing import Any, TextIO

from grade.run import Result

WIDTH = 88
GREEN, RED, DIM, BOLD = "32", "31", "2", "1"
WORDS = {
    "passed": "passed", "failed": "FAILED", "boot": "NO BOOT", "panic": "PANIC", "time": "NO END",
    "flood": "FLOOD",
    "power-off": "POWERED OFF", "reset": "RESET", "judge": "FAILED", "tampered": "TAMPERED",
    "build": "NOT BUILT", "error": "ERROR",
}


class Paint:
    """Colour, on terminals only."""

    def __init__(self, out: TextIO):
        self.on = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def __call__(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.on else text


def wrapped(text: str, indent: str = "    ") -> str:
    return "\n".join(textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=indent,
                                   break_long_words=False, break_on_hyphens=False)
                     for line in text.splitlines())


def row(result: Result, width: int, paint: Paint) -> str:
    worth = f"{result.score:3d}/{result.points:<3d}" if result.points else "   -   "
    word = WORDS.get(result.kind, result.kind)
    return f"  {result.name:{width}}  {worth}  " + paint(GREEN if result.passed else RED, word)


def details(result: Result, paint: Paint) -> str:
    head = f"{result.name}: {WORDS.get(result.kind, result.kind).lower()}"
    lines = [paint(BOLD, head), wrapped(f"({result.clause})"), wrapped(result.message)]
    if result.kind not in ("failed", "judge") and result.console.strip():
        tail = result.console.strip().splitlines()[-12:]
        lines += [paint(DIM, "    the console's last lines:")]
        lines += [paint(DIM, "      | " + line[:WIDTH]) for line in tail]
    if result.kind in ("judge", "tampered"):    # the kernel itself saw nothing wrong
        lines.append(f'    again: make grade GRADE="--check {result.name} --seed {result.seed}"')
    else:
        lines.append(f'    again: make qemu ARGS="{result.arguments}"')
    return "\n".join(lines)


def show(out: TextIO, data: dict[str, Any], results: list[Result]) -> None:
    """The whole report.  data: what write_json gets."""
    paint = Paint(out)
    width = max((len(r.name) for r in results), default=0)
    own = [r for r in results if r.points]
    earlier = [r for r in results if not r.points]
    if data["build"]["output"] and not data["build"]["ok"]:
        print(paint(BOLD, "It does not compile. The compiler said:"), file=out)
        print(textwrap.indent(data["build"]["output"], "  "), file=out)
        print(file=out)
    print(f"  {'check':{width}}  points   result", file=out)
    for result in own:
        print(row(result, width, paint), file=out)
    broken = [r for r in earlier if not r.passed]
    if earlier:
        print(f"  {'(earlier labs, worth no points here:':{width}} "
              f"{len(earlier) - len(broken)} of {len(earlier)} pass)", file=out)
        for result in broken:
            print(row(result, width, paint), file=out)
    if data["build"]["ok"]:
        groups: dict[tuple[str, str], list[Result]] = {}
        for result in own + broken:
            if not result.passed:
                groups.setdefault((result.kind, result.message), []).append(result)
        for same in groups.values():        # what several checks say alike is told once
            print("\n" + details(same[0], paint), file=out)
            if len(same) > 1:
                print(wrapped("the same: " + ", ".join(r.name for r in same[1:])), file=out)
    print(file=out)
    for note in data["notes"]:
        print(wrapped("note: " + note, "  "), file=out)
    if data["ignored"]:
        print(wrapped("note: these files are staff's; your changes to them do not count: "
                      + ", ".join(data["ignored"]), "  "), file=out)
    full = data["score"] == data["max"]
    print(paint(BOLD + ";" + (GREEN if full else RED),
                f"  lab {data['lab']}: {data['score']} of {data['max']} points")
          + f"   (seed {data['seed']}, {data['seconds']:.1f} s)", file=out)


def write_text(path: Path, text: str) -> None:
    """In one step: the file is never there in part."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with open(fd, "w", encoding="utf-8", errors="replace", newline="") as f:
            f.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_json(path: Path, data: dict[str, Any], results: list[Result]) -> None:
    text = json.dumps({**data, "checks": [r.json() for r in results]}, indent=1) + "\n"
    if str(path) == "-":
        print(text, end="")
    else:
        write_text(path, text)
