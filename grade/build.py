"""The pristine tree, the student's files laid over it, and staff's build of the two."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from grade import objects, sandbox

BUILD_SECONDS = 300         # of a whole build: only a busy host comes near
CPU_SECONDS = 20            # of the host's, for one compiler process
MEMORY = 1024 * sandbox.MIB # of address space, for one compiler process
FILE_SIZE = 64 * sandbox.MIB
OUTPUT_CAP = 200_000        # bytes of compiler output kept
RELEASE_EMAIL = "release@bramble.invalid"   # who commits releases (labs/course.py)
PRISTINE = ".pristine"      # in a folder of staff's that is one release, without git
SKIP = ("test/", "docs/", ".ci/", "obj/", ".git/")      # never needed for a build


class Trouble(Exception):
    """The host or the course is at fault, not the submission; the message says what to do."""


@dataclass
class Tree:
    """A copy of the course's files."""
    path: Path
    staff: bool                 # the finished kernel's source, whose make takes a stage to build
    notes: list[str] = field(default_factory=list)
    students: dict[str, set[str]] = field(default_factory=dict)     # file laid over: sections of staff's version


@dataclass
class Built:
    ok: bool
    output: str                 # what make and the compiler said
    image: Path
    elf: Path


def git(root: Path, *args: str) -> bytes:
    """A read-only git command in root; hooks and monitors of that repository do not run."""
    done = subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-C", str(root), *args],
        stdin=subprocess.DEVNULL, capture_output=True,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"})
    if done.returncode != 0:
        raise OSError(done.stderr.decode("utf-8", "replace").strip())
    return done.stdout


def is_work_tree(root: Path) -> bool:
    try:
        return Path(git(root, "rev-parse", "--show-toplevel").decode().strip()).resolve() == root.resolve()
    except OSError:
        return False


def release_commit(root: Path, lab: int) -> str | None:
    """The newest release, with this lab in it, that a student's branch contains."""
    try:
        rows = git(root, "log", "--topo-order", "--format=%H %ce", "HEAD").decode().split("\n")
    except OSError:
        return None
    for row in rows:
        commit, _, email = row.partition(" ")
        if email == RELEASE_EMAIL:
            try:
                git(root, "cat-file", "-e", f"{commit}:labs/lab{lab}/lab.toml")
                return commit
            except OSError:
                continue
    return None


def unpack(data: bytes, to: Path) -> None:
    """git's own archive; nothing in it leaves the folder, as git stores no such names."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            target = to / member.name
            if ".." in Path(member.name).parts or target.is_absolute() and to not in target.parents:
                continue
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                target.write_bytes(source.read() if source else b"")
                target.chmod(0o755 if member.mode & 0o100 else 0o644)


def files_of(root: Path) -> list[str]:
    """The files of a work tree, without what git ignores."""
    if is_work_tree(root):
        listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        return sorted(set(listed.decode("utf-8", "surrogateescape").split("\0")) - {""})
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def copy(root: Path, to: Path) -> None:
    for name in files_of(root):
        if name.startswith(SKIP) or "/mutants/" in name or "__pycache__" in name or name == "local.mk":
            continue
        source, target = root / name, to / name
        if source.is_symlink() or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def pristine(root: Path, lab: int, to: Path) -> Tree:
    """Copy the course's own files to a folder.

    On a student's branch they come from git: the release the branch stands on.  In the source
    tree (staff) they are the tree's files, less tests and mutants.
    """
    to.mkdir(parents=True)
    if (root / "staff.mk").exists():
        copy(root, to)
        return Tree(to, staff=True)
    commit = release_commit(root, lab) if is_work_tree(root) else None
    if commit:
        unpack(git(root, "archive", "--format=tar", commit), to)
        return Tree(to, staff=False)
    copy(root, to)
    if (root / PRISTINE).exists():
        return Tree(to, staff=False)
    return Tree(to, staff=False, notes=[
        f"git knows no release of lab {lab} here, so staff's files are taken as they are in this folder"])


def overlay(tree: Tree, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        target = tree.path / name
        if name not in tree.students:
            tree.students[name] = objects.sections_named(target.read_bytes()) if target.is_file() else set()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def refusals(tree: Tree) -> list[str]:
    """What a submission's object files have that no exercise needs."""
    script = tree.path / "linker.ld"
    reserved = objects.linker_symbols(script.read_text()) if script.is_file() else set()
    found = []
    for name, extra in sorted(tree.students.items()):
        path, source = tree.path / "obj" / f"{name}.o", tree.path / name
        if not path.is_file() or path.stat().st_mtime_ns < source.stat().st_mtime_ns:
            continue                    # it did not compile
        if (wrong := objects.problem(path, extra, reserved)):
            found.append(f"{name}: {wrong}")
    return found


LOCATED = re.compile(r"^((?:kern|lib|labs|user)/[\w./-]+\.[cS]):\d[\d:]* (?:fatal error|error|warning|Error|Warning):",
                     re.MULTILINE)


def foreign(output: str, tree: Tree) -> list[str]:
    """Staff's sources that compiler messages name.  They compile: a #line or the like is the reason."""
    return sorted(set(LOCATED.findall(output)) - set(tree.students))


def build(tree: Tree, lab: int, sol: int, jobs: int) -> Built:
    """make, with staff's Makefile, in the sandbox."""
    command = ["make", "-s", f"-j{jobs}", "O=obj", "obj/kernel8.img"]
    if tree.staff:
        command += [f"{name}={value}".upper() for name, value in (("lab", lab), ("sol", sol))]
    tools = ("make", os.environ.get("CROSS", "") + "gcc", "aarch64-linux-gnu-gcc", "aarch64-elf-gcc",
             "aarch64-none-elf-gcc", "python3")
    environment = {"PATH": sandbox.path_for(*tools[:-1]), "HOME": str(tree.path), "LC_ALL": "C",
                   "TMPDIR": str(tree.path), "PYTHONDONTWRITEBYTECODE": "1"}
    if "CROSS" in os.environ:
        environment["CROSS"] = os.environ["CROSS"]
    log = tree.path.parent / "build.log"
    if not shutil.which("make"):
        raise Trouble("make is not installed; run ./setup")
    with open(log, "wb") as out:
        status = sandbox.run(
            [*sandbox.prefix(tree.path, *tools), *command], BUILD_SECONDS, cwd=tree.path, env=environment,
            stdout=out, stderr=out,
            preexec_fn=sandbox.limits(CPU_SECONDS, FILE_SIZE, MEMORY, tree.path, tools))
    if status is None:
        with open(log, "ab") as out:
            out.write(f"\nthe build did not end within {BUILD_SECONDS} s\n".encode())
    with open(log, "rb") as f:
        text = f.read(OUTPUT_CAP).decode("utf-8", "replace").replace(f"{tree.path}/", "")
    lines = [line for line in text.splitlines() if not line.startswith("+ ")]
    obj = tree.path / "obj"
    if "Killed" in text or "CPU time limit exceeded" in text:
        lines.append(f"(a compiler process may use {CPU_SECONDS} s of processor time)")
    liars = foreign(text, tree) if status != 0 else []
    if liars:
        lines.insert(0, f"({', '.join(liars)}: staff's, and compiles; the submission makes the compiler say so)")
    wrong = refusals(tree)
    lines[:0] = [f"{w} [refused by the grader]" for w in wrong]
    result = Built(status == 0 and not wrong, "\n".join(lines), obj / "kernel8.img", obj / "kernel8.elf")
    if result.ok and not (result.image.is_file() and result.elf.is_file()):
        raise Trouble("the build left no obj/kernel8.img and obj/kernel8.elf")
    return result
