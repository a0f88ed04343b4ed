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
COMPILER_LINES = 30     # of a compiler's output shown on the terminal; JSON has all of it
FEW, MANY = 4, 14       # lines of the console: of a failed check; of a kernel that crashed
BOOT_LINES = 6          # lines that every boot prints
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


def tail(result: Result) -> list[str]:
    """What of the console says something about a failure: the report of a fault or panic, without its
    registers; else the last lines; nothing when all it has is what every boot prints."""
    lines = [line.rstrip() for line in result.console.splitlines()
             if line.strip() and not line.startswith(("check_", "    again: make qemu"))]
    start = next((i for i, line in enumerate(lines) if line.startswith(("fault: ", "panic at "))), None)
    if start is not None and result.kind in ("failed", "panic", "boot"):
        report = lines[start + 1:]
        end = next((i for i, line in enumerate(report) if line.strip() == "registers"), len(report))
        return report[:min(end, MANY)]
    if result.kind in ("failed", "judge", "tampered"):
        return lines[-FEW:] if len(lines) > BOOT_LINES else []
    return lines[-MANY:]


def details(result: Result, paint: Paint) -> str:
    head = f"{result.name}: {WORDS.get(result.kind, result.kind).lower()}"
    lines = [paint(BOLD, head), paint(DIM, wrapped(f"The contract: {result.clause}.")), wrapped(result.message)]
    if result.drawing:
        lines.append("")
        for line in result.drawing.splitlines():
            lines.append("    " + (paint(RED, line) if line.startswith("-->") else line))
        lines.append("")
    shown = tail(result)
    if shown:
        lines.append(paint(DIM, "    on the console:"))
        lines += [paint(DIM, "      | " + line[:WIDTH]) for line in shown]
    if result.again:
        lines.append(f"    in gdb:     {result.again}")
    if result.kind not in ("judge", "tampered"):
        lines.append(f'    by itself:  make qemu ARGS="{result.arguments}"')
    elif not result.again:
        lines.append(f'    by itself:  make grade GRADE="--check {result.name} --seed {result.seed}"')
    return "\n".join(lines)


def compiler(output: str) -> str:
    """What the compiler said, but not all of what it said after that."""
    lines = output.splitlines()
    more = len(lines) - COMPILER_LINES
    if more > 0:
        lines[COMPILER_LINES:] = [f"... and {more} lines more; fix the first mistake first"]
    return textwrap.indent("\n".join(line[:400] for line in lines), "  ")


def show(out: TextIO, data: dict[str, Any], results: list[Result]) -> None:
    """The whole report.  data: what write_json gets."""
    paint = Paint(out)
    width = max((len(r.name) for r in results), default=0)
    own = [r for r in results if r.points]
    earlier = [r for r in results if not r.points]
    if data["build"]["output"] and not data["build"]["ok"]:
        print(paint(BOLD, "It does not compile. The compiler said:"), file=out)
        print(compiler(data["build"]["output"]), file=out)
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
