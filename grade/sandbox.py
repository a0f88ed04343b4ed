"""Keeping a student's build and kernel away from the host.

bubblewrap when it works here: no network, no other processes, nothing but the system's programs to
read, nothing but one scratch folder to write.  Where it does not work, Landlock (Linux 5.13 and
later) keeps files apart, and from Linux 6.12 on TCP and signals too.  Resource limits in any case.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1 << 20
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix", "/gnu",
          "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
DEVICES = ("/dev/null", "/dev/urandom")
TMP_SIZE = 64 * MIB
PROCESSES = 128             # of one build or QEMU
FILES = 256                 # open at a time
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

try:
    _libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True)
except OSError:
    _libc = None


def die_with_parent() -> None:
    """End this process when its parent ends (Linux)."""
    if sys.platform == "linux" and _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def path_for(*tools: str) -> str:
    """A PATH with the system's folders and those that the named tools live in, in the order of PATH itself."""
    folders = {str(Path(found).parent) for t in tools if (found := shutil.which(t))}
    given = [f for f in os.environ.get("PATH", "").split(os.pathsep) if f in folders]
    return os.pathsep.join(dict.fromkeys([*given, *sorted(folders), "/usr/local/bin", "/usr/bin", "/bin"]))


def tool_folders(tools: tuple[str, ...]) -> list[str]:
    """The folders that tools outside the system's folders need to be seen."""
    found = (shutil.which(t) for t in tools)
    real = (Path(f).resolve() for f in found if f)
    return sorted({str(r.parent.parent) for r in real
                   if not str(r).startswith(tuple(f + "/" for f in SYSTEM))})


@functools.cache
def has_size() -> bool:
    """Does this bubblewrap know --size?"""
    done = subprocess.run(["bwrap", "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    return b"--size" in done.stdout + done.stderr


def command(scratch: Path, *tools: str) -> list[str]:
    """bubblewrap's arguments: everything read-only but scratch, and no network."""
    size = ["--size", str(TMP_SIZE)] if has_size() else []
    args = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc",
            *size, "--tmpfs", "/tmp", *size, "--tmpfs", "/dev"]
    for device in DEVICES:
        args += ["--dev-bind", device, device]
    for folder in SYSTEM:
        if Path(folder).is_symlink():
            args += ["--symlink", os.readlink(folder), folder]
        elif Path(folder).exists():
            args += ["--ro-bind", folder, folder]
    for folder in tool_folders(tools):
        args += ["--ro-bind", folder, folder]
    args += ["--bind", str(scratch), str(scratch), "--chdir", str(scratch), "--remount-ro", "/"]
    if Path("/usr/bin/prlimit").exists():       # counted within the sandbox's own user namespace
        args += ["/usr/bin/prlimit", f"--nproc={PROCESSES}:{PROCESSES}", "--"]
    return args


@functools.cache
def missing() -> str | None:
    """None when bubblewrap works here, else why not (a sentence for the report)."""
    if os.environ.get("GRADE_SANDBOX") == "none":
        return "switched off by GRADE_SANDBOX=none"
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed"
    try:
        with tempfile.TemporaryDirectory(prefix="bramble-sandbox-") as scratch:
            done = subprocess.run([*command(Path(scratch).resolve()), "true"],
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


def note() -> str | None:
    """For the report: what protects this host less than it should, or None."""
    why = missing()
    if why is None:
        return None
    abi = landlock_abi()
    if abi >= 6:
        return (f"no sandbox: {why}; Landlock kept the build and the kernel from files, TCP and other processes, "
                "but not from seeing which processes there are, nor from other kinds of network")
    if abi > 0:
        return (f"no sandbox: {why}; Landlock kept the build and the kernel from files, but not from the network "
                "and other processes")
    return (f"no sandbox: {why}; the build and the kernel ran with resource limits only: the build could read and "
            "write what you can, and use the network (try it as a user of its own, or in a container)")


def limits(cpu: int, file_size: int, memory: int = 0, scratch: Path | None = None,
           tools: tuple[str, ...] = ()) -> Callable[[], None]:
    """For Popen's preexec_fn: seconds of CPU, bytes a file, bytes of address space.

    A write beyond file_size fails instead of killing the writer: output is capped.  With scratch,
    and without bubblewrap, files outside it are kept away as far as this system can.
    """
    bar = landlock(scratch.resolve(), tools) if scratch is not None and missing() else None

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
        cap(resource.RLIMIT_NOFILE, FILES)
        if memory and sys.platform == "linux":
            cap(resource.RLIMIT_AS, memory)
        if bar is not None:
            bar()

    return apply


def run(command_: list[str], seconds: float, **more: Any) -> int | None:
    """Run a command in a process group of its own, to its end; None: it took too long and was killed,
    with all that it had started."""
    with subprocess.Popen(command_, start_new_session=True, stdin=subprocess.DEVNULL, **more) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass


# --- Landlock ------------------------------------------------------------
# Linux, Documentation/userspace-api/landlock.rst; the numbers are in include/uapi/linux/landlock.h.

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446     # system calls, the same on every processor
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL_RIGHTS = (1 << 16) - 1                                  # from version 5 on
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
TCP, SCOPES = 3, 3                                          # bind and connect; abstract sockets, signals


@functools.cache
def landlock_abi() -> int:
    """Landlock's version here; 0: there is none."""
    if sys.platform != "linux" or _libc is None or os.environ.get("GRADE_LANDLOCK") == "none":
        return 0
    return max(0, int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def landlock(scratch: Path, tools: tuple[str, ...]) -> Callable[[], None] | None:
    """A function that shuts the calling process in for good, or None."""
    abi = landlock_abi()
    if abi == 0 or _libc is None:
        return None
    libc = _libc
    rights = RIGHTS.get(abi, ALL_RIGHTS)
    read = EXECUTE | READ_FILE | READ_DIR
    rules = [(str(scratch), rights), ("/proc/self", READ_FILE | READ_DIR),
             *((device, READ_FILE | WRITE_FILE) for device in DEVICES),
             *((folder, read) for folder in (*SYSTEM, *tool_folders(tools)))]
    attributes = (ctypes.c_uint64 * 3)(rights, TCP if abi >= 4 else 0, SCOPES if abi >= 6 else 0)
    size = ctypes.c_size_t(24 if abi >= 6 else 16 if abi >= 4 else 8)

    def apply() -> None:
        ruleset = libc.syscall(CREATE_RULESET, ctypes.byref(attributes), size, 0)
        if ruleset < 0:
            raise OSError("Landlock refuses to work")
        for path, allowed in rules:
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            if not os.path.isdir(path):
                allowed &= OF_A_FILE
            rule = struct.pack("=Qi", allowed & rights, fd)
            done = libc.syscall(ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0)
            os.close(fd)
            if done != 0:
                raise OSError(f"Landlock refuses a rule for {path}")
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.syscall(RESTRICT_SELF, ruleset, 0) != 0:
            raise OSError("Landlock refuses to restrict this process")
        os.close(ruleset)

    return apply
