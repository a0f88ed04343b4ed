"""What a student gets to read, and the commands that show a failure again."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import grading
import mutants
from grade import explain, report, run
from grade.view import Disagree

LAB = 2


def mutant(name: str, folder: Path) -> Path:
    """A submission with the mistake in it."""
    found = next(m for m in mutants.read_all() if m.name == name)
    grading.submission(folder, found.lab, found.lab)
    for file, data in mutants.mutated(found).items():
        (folder / file).write_bytes(data)
    return folder


def graded(name: str, check: str, folder: Path) -> tuple[dict[str, object], str]:
    _, data, said = grading.grade(mutant(name, folder / "s"), LAB, "--check", check, "--seed", "77",
                                  "--no-regressions")
    return grading.by_name(data)[check], said


def test_a_wrong_entry_is_drawn(tmp_path: Path) -> None:
    check, said = graded("D6-leaf-without-AF", "map_attributes", tmp_path)
    drawing = str(check["drawing"]).splitlines()
    va = re.search(r"the entry for (0x[0-9a-f]+)", str(check["message"]))
    assert va and drawing[0] == f"the walk of {va[1]}"
    assert [line[4:11] for line in drawing[2:]] == [f"level {n}" for n in range(4)]
    assert [line.startswith("-->") for line in drawing[2:]] == [False, False, False, True]
    assert "no AF" in drawing[-1] and "--> level 3" in said
    assert 'make gdb ARGS="check=map_attributes seed=77 mem=16M"' in said
    assert grading.course()[LAB].checks[5].clause.split(",")[0] in " ".join(said.split())


def test_a_walk_that_leaves_memory_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    check, said = graded("D9-table-not-zeroed", "pgdir_walk", tmp_path)
    assert "0xffffffffffffffff  table at 0xfffffffff000, and bits 63:48 are set" in said, said
    assert "-->" in str(check["drawing"])


def test_a_fault_shows_its_report_without_registers(tmp_path: Path) -> None:
    _, said = graded("D9-table-not-zeroed", "walk_corners", tmp_path)
    assert "|   called from" in said and "check_walk_corners" in said and "walk of" in said
    assert "x20=" not in said


def test_no_drawing_where_no_table_is_the_matter(tmp_path: Path) -> None:
    check, said = graded("A9-junk-an-eighth", "kfree_junk", tmp_path)
    assert check["drawing"] == "" and "on the console" not in said
    assert len(said.splitlines()) < 16, said


def test_entries_in_words() -> None:
    assert explain.describe_entry(0, 3) == "nothing here"
    assert explain.describe_entry(0x742, 3) == "not valid (bit 0 is clear)"
    assert explain.describe_entry(0x1003, 1) == "table at 0x1000"
    assert "kernel address" in explain.describe_entry(0xFFFF_0000_0000_1003, 0)
    assert "those of a block" in explain.describe_entry(0x701, 3)
    assert explain.describe_entry(0x0060_0000_0012_3F83, 3) == \
        "page 0x123000: EL1 ro, inner shareable, nG, PXN, UXN".replace("inner shareable", "inner shareable")
    assert explain.describe_entry(0x40_0741, 2).startswith("block 0x400000: EL0 and EL1 rw")
    drawn = explain.draw_walk([(0, 0x1000, 0x2003), (1, 0x2008, 0)], 1 << 30, 0x703)
    assert drawn.splitlines()[3].startswith("--> level 1  [  1]") and "expected at level 3" in drawn


def result(**more: object) -> run.Result:
    made = run.Result("c", 2, 5, 0, False, "failed", "expected 1, found 2", "a clause", 7, "check=c seed=7")
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_commands_that_show_it_again() -> None:
    assert run.rerun(result()) == 'make gdb ARGS="check=c seed=7"'
    assert run.rerun(result(kind="judge")) == 'make grade GRADE="--check c --seed 7 --gdb"'
    assert run.rerun(result(kind="build")) == run.rerun(result(passed=True)) == ""


def test_a_flood_of_errors_is_cut() -> None:
    out = io.StringIO()
    data = {"lab": 2, "score": 0, "max": 5, "seed": 1, "seconds": 1.0, "notes": [], "ignored": [],
            "build": {"ok": False, "output": "\n".join(f"kern/vm.c:{i}: error" for i in range(900))}}
    report.show(out, data, [result(kind="build")])
    assert "kern/vm.c:29: error" in out.getvalue() and "kern/vm.c:30:" not in out.getvalue()
    assert "870 lines more" in out.getvalue()


def test_a_judges_work_is_bounded() -> None:
    began = time.process_time()
    with pytest.raises(Disagree, match="takes the grader more than"):
        with run.processor_time(0.2):
            while time.process_time() - began < 5:
                pass
    with run.processor_time(0.05):
        pass
    began = time.process_time()
    while time.process_time() - began < 0.1:
        pass


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel of which map_region leaves tables behind, built."""
    tree = tmp_path_factory.mktemp("teach") / "tree"
    shutil.copytree(grading.ROOT, tree, ignore=shutil.ignore_patterns(".git", "obj*", "__pycache__"))
    found = next(m for m in mutants.read_all() if m.name == "D28-tables-kept")
    for file, data in mutants.mutated(found).items():
        (tree / file).write_bytes(data)
    subprocess.run(["make", "-s", "obj/kernel8.img"], cwd=tree, check=True, capture_output=True)
    return tree


def test_the_status_of_make_qemu(broken: Path) -> None:
    for check, status in (("map_remap", 1), ("map_region", 0)):
        done = subprocess.run(["/usr/bin/env", "python3", "-m", "grade.boot", "--args",
                               f"check={check} seed=77 mem=16M"], cwd=broken, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        assert (f"check_{check}: FAILED" in done.stdout) == bool(status)


def test_make_gdb_stops_where_the_check_fails(broken: Path) -> None:
    done = subprocess.run(["make", "-s", "gdb", "ARGS=check=map_remap seed=77 mem=16M"], cwd=broken,
                          input="bt 4\nquit\n", capture_output=True, text=True, timeout=120,
                          env={**os.environ, "TERM": "dumb"})
    assert "check_fail" in done.stdout and "map_refused" in done.stdout, done.stdout + done.stderr
    assert "labs/lab2/check_map.c" in done.stdout
    time.sleep(0.3)
    left = subprocess.run(["pgrep", "-f", f"file:{'obj/console.log'} -gdb stdio"], capture_output=True).stdout
    assert not left or shutil.which("setpriv") is None
