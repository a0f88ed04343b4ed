"""The compiler with a memory: what the tests have compiled once is not compiled again.

They build the kernel a hundred times, each time in a folder of its own and mostly from the same text.  ccache,
if it is there, knows a translation by all that goes into it (the preprocessed text with its comments, the flags,
the compiler) and gives back what the compiler made of it then, object and warnings.  It stands first in PATH,
under the compiler's name, for the tests and for all that they start.  In the grader's sandbox it can only be read:
so it is filled before, with the stages that the grader builds.

    python3 test/compiler.py        fill it (make test does)

What is said about the compiler itself, or about time, is tested without it: with PLAIN as PATH, which the fixture plain sets.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The grader's sandbox shows the folder above the one that a tool is in.
HOME = ROOT / "obj" / "ccache"
WRITE = "BRAMBLE_CCACHE_WRITE"      # in the environment outside of sandboxes, which pass nothing on
PLAIN = os.pathsep.join(p for p in os.environ.get("PATH", "").split(os.pathsep) if p != str(HOME / "bin"))

SETTINGS = {
    "CCACHE_DIR": str(HOME / "kept"), "CCACHE_MAXSIZE": "2G", "CCACHE_CONFIGPATH": str(HOME / "none"),
    "CCACHE_NOHASHDIR": "1",            # the folder is in the debugger's information only
    "CCACHE_COMMENTS": "1",             # warnings look at some
    "CCACHE_SLOPPINESS": "locale",      # which sandboxes do not have
}
SCRIPT = """#!/bin/sh
# Made by test/compiler.py.
export {settings}
if [ -z "${write}" ]; then
    export CCACHE_READONLY=1 CCACHE_NOSTATS=1 CCACHE_TEMPDIR="${{TMPDIR:-/tmp}}"
fi
exec {command} "$@"
"""


def install() -> None:
    """Put it first in PATH.  Does nothing when there is no ccache, or no compiler."""
    ccache = shutil.which("ccache", path=PLAIN)
    prefixes = ("aarch64-linux-gnu-", "aarch64-none-elf-", "aarch64-elf-")
    compiler = next((found for p in prefixes if (found := shutil.which(p + "gcc", path=PLAIN))), None)
    if ccache is None or compiler is None or Path(compiler).resolve().name == "ccache":
        return
    script = HOME / "bin" / Path(compiler).name
    text = SCRIPT.format(settings=" ".join(f"{k}={shlex.quote(v)}" for k, v in SETTINGS.items()), write=WRITE,
                         command=shlex.join([ccache, compiler]))
    if not script.exists() or script.read_text() != text:
        script.parent.mkdir(parents=True, exist_ok=True)
        new = script.with_suffix(f".{os.getpid()}")         # several processes may be at it
        new.write_text(text)
        new.chmod(0o755)
        new.replace(script)
    os.environ["PATH"] = f"{script.parent}{os.pathsep}{PLAIN}"
    os.environ[WRITE] = "1"


def fill() -> None:
    """Build what the tests have the grader build: each lab as it is handed out and solved, from the files of this
    tree, and from those that a student would hand in."""
    sys.path[:0] = [str(ROOT), str(ROOT / "labs")]
    import grading
    from grade import build

    obj, tree = HOME / "obj", HOME / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for lab in sorted(grading.course()):
        for sol in (0, lab):
            make(ROOT, obj, lab, sol)
    last = max(grading.course())
    build.pristine(ROOT, last, tree)
    for lab in sorted(grading.course()):
        for sol in (lab - 1, lab):
            make(grading.submission(tree, lab, sol), obj, lab, 0)


def make(tree: Path, obj: Path, lab: int, sol: int) -> None:
    subprocess.run(["make", "-s", f"-j{os.cpu_count() or 1}", f"O={obj}", f"LAB={lab}", f"SOL={sol}",
                    f"{obj}/kernel8.img"], cwd=tree, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    install()
    if os.environ.get(WRITE):
        fill()
