"""The build: every stage without a warning, and the same image byte for byte in any folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import compiler
import labs

ROOT = Path(__file__).resolve().parent.parent
LAST = max(lab.number for lab in labs.read(ROOT))

# What is handed out, what a student has who solved all before, and the reference.
STAGES = sorted({(lab, sol) for lab in range(1, LAST + 1) for sol in (0, lab - 1, lab)})


def tree(to: Path) -> Path:
    """The work tree's files, as git knows them."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True).stdout
    present = [n for n in names.decode().split("\0") if n and (ROOT / n).exists()]
    to.mkdir(parents=True)
    with subprocess.Popen(["tar", "c", "-C", ROOT, "--", *present], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "x", "-C", to], stdin=tar.stdout, check=True)
    return to


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-s", "-j2", "-C", folder, *arguments], capture_output=True, text=True,
                          timeout=300)


def image(folder: Path, *arguments: str) -> bytes:
    done = make(folder, "obj/kernel8.img", *arguments)
    assert done.returncode == 0, done.stderr
    return (folder / "obj" / "kernel8.img").read_bytes()


def test_the_image_is_the_same_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with the compiler's memory (compiler.py), which holds what was compiled in still other folders."""
    first = image(tree(tmp_path / "a"))
    monkeypatch.setenv("PATH", compiler.PLAIN)
    second = image(tree(tmp_path / "another" / "place" / "b"))
    assert first == second
    assert str(tmp_path).encode() not in first


@pytest.mark.parametrize("lab, sol", STAGES)
def test_no_stage_has_a_warning(tmp_path: Path, lab: int, sol: int) -> None:
    done = make(ROOT, f"O={tmp_path}", f"LAB={lab}", f"SOL={sol}", "STRICT=1")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert (tmp_path / "kernel8.asm").stat().st_size > 0 and (tmp_path / "kernel8.hdr").stat().st_size > 0


def test_without_the_sanitizer_too(tmp_path: Path) -> None:
    done = make(ROOT, f"O={tmp_path}", "UBSAN=0", "STRICT=1")
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr


def test_strict_is_strict(tmp_path: Path) -> None:
    """The switch reaches the compiler: a conversion that loses bits stops the build."""
    source = tree(tmp_path / "tree")
    with open(source / "kern" / "scratch.c", "a") as f:
        f.write("\nint lossy(long n);\nint\nlossy(long n)\n{\n    return n;\n}\n")
    assert make(source, "obj/kern/scratch.c.o").returncode == 0
    done = make(source, "obj/kern/scratch.c.o", "STRICT=1")
    assert done.returncode != 0 and "-Werror=conversion" in done.stderr, done.stderr


def test_a_student_file_may_warn_but_not_guess(tmp_path: Path) -> None:
    """Without STRICT: a warning is shown and no more; an undeclared function is an error."""
    source = tree(tmp_path / "tree")
    scratch = source / "kern" / "scratch.c"
    text = scratch.read_text()
    scratch.write_text(text + "\nstatic int unused;\n")
    done = make(source, "obj/kern/scratch.c.o")
    assert done.returncode == 0 and "unused" in done.stderr
    scratch.write_text(text + "\nint f(void);\nint\nf(void)\n{\n    return g();\n}\n")
    done = make(source, "obj/kern/scratch.c.o")
    assert done.returncode != 0 and "implicit" in done.stderr


def test_another_stage_rebuilds(tmp_path: Path) -> None:
    """The same folder, another LAB: nothing of the stage before is left."""
    obj = f"O={tmp_path}"
    for lab in (LAST, 1, LAST):
        assert make(ROOT, obj, f"LAB={lab}", f"{tmp_path}/kernel8.img").returncode == 0
        symbols = make(ROOT, obj, f"LAB={lab}", "all")
        assert symbols.returncode == 0
        has_kalloc = " kalloc\n" in (tmp_path / "kernel8.hdr").read_text()
        assert has_kalloc == (lab >= 2)
