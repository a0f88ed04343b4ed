"""Runs a function of ours over hostile bytes in a process of its own, with limits."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from grade import sandbox
from grade.submission import BadSubmission

SECONDS = 60
MEMORY = 1 << 30        # bytes of address space more than this process has
RESULT = 64 << 20       # bytes of a result

T = TypeVar("T")


def _in_child(write: int, function: Callable[..., Any], arguments: tuple[Any, ...], memory: int) -> None:
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sandbox.die_with_parent()
        for what, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, SECONDS)):
            resource.setrlimit(what, (value, value))
        if memory and sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        try:
            answer: tuple[str, Any] = ("is", function(*arguments))
        except BadSubmission as e:
            answer = ("refused", str(e))
        except MemoryError:
            answer = ("refused", "it takes too much memory to read")
        except RecursionError:
            answer = ("refused", "it is nested too deeply to read")
        data = pickle.dumps(answer)
        with open(write, "wb") as out:
            out.write(data)
        os._exit(0)
    except BaseException as e:      # nothing of this process may go on as a second grader
        print(f"grade: reading a submission failed: {e!r}", file=sys.stderr)
        os._exit(1)


def _size() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as f:
            return int(f.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30


def contained(function: Callable[..., T], *arguments: Any, seconds: float = SECONDS, memory: int = MEMORY) -> T:
    """function(*arguments), or BadSubmission when it takes too long or too much memory."""
    read, write = os.pipe()
    limit = _size() + memory
    child = os.fork()
    if child == 0:
        os.close(read)
        _in_child(write, function, arguments, limit)
    os.close(write)
    data = bytearray()
    end = time.monotonic() + seconds
    try:
        while len(data) <= RESULT:
            ready, _, _ = select.select([read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BadSubmission(f"it takes longer than {seconds:.0f} s to read")
            piece = os.read(read, 1 << 20)
            if not piece:
                break
            data += piece
    finally:
        os.close(read)
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(child, 0)
    if not data or len(data) > RESULT:
        raise BadSubmission("it cannot be read: reading it takes too much time or memory")
    kind, value = pickle.loads(bytes(data))     # written by our own code, in our own child
    if kind == "refused":
        raise BadSubmission(value)
    result: T = value
    return result
