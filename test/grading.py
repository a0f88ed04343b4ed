"""Submissions and tiny kernels for the grader's tests."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import labs

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures" / "grade"

CROSS = next((p for p in ("aarch64-linux-gnu-", "aarch64-none-elf-", "aarch64-elf-")
              if shutil.which(p + "gcc")), "aarch64-linux-gnu-")


def tiny(folder: Path, before: str = "", behave: str = "", verdict: str = "(char *)0",
         name: str = "tiny") -> tuple[Path, Path]:
    """Build test/fixtures/grade/tiny.c with the given pieces of C.  Returns (image, ELF)."""
    elf, image = folder / "tiny.elf", folder / "tiny.img"
    subprocess.run(
        [CROSS + "gcc", "-O1", "-ffreestanding", "-fno-pie", "-no-pie", "-nostdlib", "-mstrict-align",
         "-mgeneral-regs-only", "-fno-stack-protector", "-mbranch-protection=none",
         "-fno-omit-frame-pointer", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096",
         f'-DCHECK_NAME="{name}"', f"-DBEFORE={before}", f"-DBEHAVE={behave}",
         f"-DVERDICT={verdict}", "-Wl,-T," + str(FIXTURES / "tiny.ld"), "-Wl,--no-warn-rwx-segments",
         "-o", str(elf), str(FIXTURES / "tiny.S"), str(FIXTURES / "tiny.c")], check=True)
    subprocess.run([CROSS + "objcopy", "-O", "binary", str(elf), str(image)], check=True)
    return image, elf


@functools.cache
def course() -> dict[int, Any]:
    return {lab.number: lab for lab in labs.read(ROOT)}


def submission(folder: Path, lab: int, sol: int) -> Path:
    """The student's files of labs 1 to lab, as they are with the labs up to sol solved."""
    for number in range(1, lab + 1):
        for name in (*course()[number].student, *course()[number].optional):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(["unifdef", f"-DLAB={lab}", f"-DSOL={sol}", str(ROOT / name)],
                                  capture_output=True)
            assert done.returncode in (0, 1), done.stderr
            target.write_bytes(done.stdout)
    return folder


def replace_body(path: Path, start: str, body: str) -> None:
    """Give the function whose definition contains the text start another body."""
    text = path.read_text()
    at = text.index("{", text.index(start))
    path.write_text(text[:at] + "{\n" + body + "\n}" + text[text.index("\n}", at) + 2:])


def grade(folder: Path, lab: int, *options: str, env: dict[str, str] | None = None
          ) -> tuple[int, dict[str, Any], str]:
    """Run the command line.  Returns (exit status, the JSON, both outputs)."""
    result = folder.parent / "result.json"
    result.unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-m", "grade", str(folder), "--lab", str(lab), "--json",
                           str(result), *options], cwd=ROOT, capture_output=True, text=True,
                          timeout=300, env={**os.environ, **(env or {})})
    data = json.loads(result.read_text()) if result.exists() else {}
    return done.returncode, data, done.stdout + done.stderr


def by_name(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in data["checks"]}
