"""Keeping a student's build and kernel away from the host.

bubblewrap when it works here: no network, nothing but the system's folders to read, nothing
but one scratch folder to write.  Resource limits in any case.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix", "/gnu")
PR_SET_PDEATHSIG = 1

try:
    _libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True)
except OSError:
    _libc = None


def die_with_parent() -> None:
    """End this process when its parent ends (Linux)."""
    if sys.platform == "linux" and _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def path_for(*tools: str) -> str:
    """A PATH with the system's folders and those that the named tools live in."""
    folders = [str(Path(found).parent) for t in tools if (found := shutil.which(t))]
    return os.pathsep.join(dict.fromkeys([*folders, "/usr/local/bin", "/usr/bin", "/bin"]))


def command(scratch: Path, *tools: str) -> list[str]:
    """bubblewrap's arguments: everything read-only but scratch, and no network."""
    args = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session",
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for folder in SYSTEM:
        if Path(folder).is_symlink():
            args += ["--symlink", os.readlink(folder), folder]
        elif Path(folder).is_dir():
            args += ["--ro-bind", folder, folder]
    for tool in tools:      # a tool outside the system's folders brings its own prefix along
        found = shutil.which(tool)
        if found:
            real = Path(found).resolve()
            if not str(real).startswith(tuple(f + "/" for f in SYSTEM)):
                args += ["--ro-bind", str(real.parent.parent), str(real.parent.parent)]
    return args + ["--bind", str(scratch), str(scratch), "--chdir", str(scratch)]


@functools.cache
def missing() -> str | None:
    """None when bubblewrap works here, else why not (a sentence for the report)."""
    if os.environ.get("GRADE_SANDBOX") == "none":
        return "switched off by GRADE_SANDBOX=none"
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed"
    try:
        done = subprocess.run(["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/",
                               "--proc", "/proc", "true"],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"bubblewrap does not start: {e}"
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return "bubblewrap does not work here" + (f" ({said[-1]})" if said else "")
    return None


def prefix(scratch: Path, *tools: str) -> list[str]:
    """What to put before a command that runs a student's work in scratch."""
    return [] if missing() else command(scratch.resolve(), *tools)


def limits(cpu: int, file_size: int, memory: int = 0) -> Callable[[], None]:
    """For Popen's preexec_fn: seconds of CPU, bytes a file, bytes of address space.

    A write beyond file_size fails instead of killing the writer: output is capped.
    """
    def cap(what: int, value: int) -> None:
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(what, (value, value))

    def apply() -> None:
        die_with_parent()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        cap(resource.RLIMIT_CORE, 0)
        cap(resource.RLIMIT_CPU, cpu)
        cap(resource.RLIMIT_FSIZE, file_size)
        if memory and sys.platform == "linux":
            cap(resource.RLIMIT_AS, memory)

    return apply
