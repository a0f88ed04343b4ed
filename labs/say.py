"""Speaking to the person at the terminal: plain words, colour only where a terminal shows it."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {"bold": "1", "red": "1;31", "yellow": "1;33", "green": "32", "dim": "2"}


class Refused(Exception):
    """Nothing was done.  The message says why and, on further lines, what to do about it."""


def paint(text: str, style: str, stream: TextIO) -> str:
    """`text` in `style` where `stream` is a terminal that wants colour, else as it is."""
    if not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_CODES[style]}m{text}\033[0m"


def step(text: str) -> None:
    """One line of progress."""
    print(f"+ {text}", flush=True)


def line(text: str = "", style: str | None = None) -> None:
    print(paint(text, style, sys.stdout) if style else text, flush=True)


def warn(text: str) -> None:
    sys.stdout.flush()
    print(f"{paint('warning:', 'yellow', sys.stderr)} {text}", file=sys.stderr, flush=True)


def error(tool: str, text: str) -> None:
    sys.stdout.flush()
    print(f"{paint(tool + ':', 'red', sys.stderr)} {text}", file=sys.stderr, flush=True)
