"""labs/work: every way a student may go through the labs, with corrections in between."""

from __future__ import annotations

from pathlib import Path

import pytest

import student_shapes as shapes
from rehearsal import Folder, make_source
from student_shapes import Corrections, Course, Stages, Student


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """A term of the little course."""
    folder = tmp_path_factory.mktemp("term")
    source = make_source(folder / "source")
    term = Stages(Folder(folder / "course"), source)
    fix = Corrections(source)
    term.publish("lab 1", 1)
    term.publish("lab 2", 2)
    fix.handout(1)
    fix.staff_function("kern/uart.c")
    fix.header()
    fix.main()
    fix.makefile()
    term.publish("corrections of lab 1", 2)
    fix.staff_function("kern/kalloc.c")
    fix.handout(2)
    term.publish("corrections of lab 2", 2)
    fix.header()
    term.publish("lab 3", 3)
    assert not term.warnings
    return term


@pytest.fixture
def course(stages: Stages, tmp_path: Path) -> Course:
    return stages.course(tmp_path / "course")


def combinations() -> list[tuple[str, str, str]]:
    """Every style with every way; every start with two ways, and the styles in turn."""
    # CRLF inside the repository, where an upload past .gitattributes put it, is for labs/work to mend:
    # plain git sees every line changed.
    plain = ("merging", "by hand")
    found = [("clone", w, s) for w in shapes.WAYS for s in shapes.STYLES if w not in plain or s != "crlf committed"]
    for number, start in enumerate(shapes.STARTS):
        for way in ("careful", "late"):
            found.append((start, way, shapes.STYLES[number % len(shapes.STYLES)]))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("start, way, style", combinations())
def test_no_conflict_no_correction_missed_no_commit_lost(
    start: str, way: str, style: str, course: Course, tmp_path: Path
) -> None:
    student = Student(tmp_path / "student", course, style)
    shapes.STARTS[start](student)
    student.scratch()
    shapes.WAYS[way](student, 3)
    assert student.read("local.mk") == "# mine\n"
