"""What whole solutions score: a correct one of another make, one without the corners."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import grading
import pytest
from test_build import LAST

SOLUTIONS = grading.ROOT / "test" / "fixtures"


def score(folder: Path, lab: int, sol: int, fixture: str = "", *options: str) -> dict[str, Any]:
    """The grade of a course's tree whose labs up to sol are solved, with a fixture's files over it."""
    made = grading.submission(folder / "submission", lab, sol)
    if fixture:
        shutil.copytree(SOLUTIONS / fixture / "kern", made / "kern", dirs_exist_ok=True)
        for number in range(3, lab + 1):
            shutil.copytree(SOLUTIONS / fixture / f"lab{number}", made, dirs_exist_ok=True)
    _, data, said = grading.grade(made, lab, "--seed", "3", "--no-regressions", *options)
    assert data, said
    return data


def failures(data: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["message"] for check in data["checks"] if not check["passed"]}


@pytest.mark.parametrize("lab", range(2, LAST + 1))
def test_another_correct_solution_has_full_marks(tmp_path: Path, lab: int) -> None:
    """Of another make than the reference; in lab 2 with a lock that it does not ask for."""
    data = score(tmp_path, lab, lab, "plain")
    assert not failures(data)
    assert data["score"] == 100


CORNERS = {
    2: {"walk_corners", "map_unaligned", "map_remap", "map_range", "map_nomem"},
    # pmm_locks calls the functions wrongly, too, and expects their errors.
    3: {"alloc_frames", "pmm_refuse", "range_refuse", "page_share", "pmm_locks", "kcache_drain"},
    # So does heap_locks.
    4: {"heap_grow", "heap_refuse", "slab_refuse", "heap_locks", "vfree"},
    # What a program under QEMU hardly notices: instruction caches, other cores while an entry changes, interrupts that
    # come together with another exception.
    5: {"user_map", "user_free", "user_protect", "user_trap"},
    # A fork without memory keeps what it has got so far, and a copy takes the place of a page that a TLB may still know.
    6: {"copy_nomem", "fault_cow", "forks"},
}


@pytest.mark.parametrize("lab", [lab for lab in CORNERS if lab <= LAST])
def test_ordinary_cases_keep_most_points(tmp_path: Path, lab: int) -> None:
    """From lab 4 on of its own mistakes: what its page tables lack has been graded in lab 2."""
    data = score(tmp_path, lab, lab, "ordinary", *(("--base", "reference") if lab >= 4 else ()))
    assert 65 <= data["score"] <= 75, failures(data)
    assert set(failures(data)) == CORNERS[lab]


def test_a_file_that_a_later_lab_extends_is_the_student_s(tmp_path: Path) -> None:
    """With the reference for all earlier labs, lab 3 is graded with the student's own kern/kalloc.c."""
    made = grading.submission(tmp_path / "submission", 3, 3)
    for lab in (1, 2):
        for name in {*grading.course()[lab].student} - {*grading.course()[3].student}:
            (made / name).unlink()
    options = ("--base", "reference", "--check", "kcache_refill", "--check", "kfree_shared")
    _, data, said = grading.grade(made, 3, *options)
    assert not failures(data), said
    shutil.copy(SOLUTIONS / "plain" / "kern" / "kalloc.c", made / "kern")
    _, data, said = grading.grade(made, 3, *options)
    assert {*failures(data)} == {"kcache_refill", "kfree_shared"}, said


def test_a_kalloc_of_lab_2_in_lab_4(tmp_path: Path) -> None:
    """It boots, and only checks of what kalloc is in lab 3 fail, with a line that says so."""
    made = grading.submission(tmp_path / "submission", 4, 4)
    shutil.copy(SOLUTIONS / "plain" / "kern" / "kalloc.c", made / "kern")
    lacking = {"kcache_refill", "kcache_drain", "kfree_twice", "kfree_shared", "heap_locks", "vmalloc", "vfree"}
    others = {"free_list", "map_nomem", "pmm_locks", "frames_whole", "memory_init", "heap_grow", "slab_free", "kmfree"}
    words = [word for check in sorted(lacking | others) for word in ("--check", check)]
    _, data, said = grading.grade(made, 4, "--seed", "3", *words)
    assert {*failures(data)} == lacking, said
    assert all("kern/kalloc.c" in message for message in failures(data).values()), said
