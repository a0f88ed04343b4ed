"""The kernel itself, cut and published, with students of every shape taking the course."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import cut
import rules
import student_shapes as shapes
from gitrepo import Git
from rehearsal import ROOT, Folder, Source, make_source
from student_shapes import Corrections, Course, Stages, Student

LABS = 6
# A lab's check that waits, once one has gone on, for what the next lab has one write; and what it says then.
WAITING = {5: ("programs", "write fault_absent in kern/pagefault.c first")}


def tree() -> dict[str, bytes]:
    """The files of this tree that belong to the project."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        rows = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        paths = [ROOT / os.fsdecode(name) for name in rows.split(b"\0")[:-1]]
    else:
        paths = [p for p in ROOT.rglob("*") if p.relative_to(ROOT).parts[0] != "obj" and "__pycache__" not in p.parts]
    return {str(p.relative_to(ROOT)): p.read_bytes() for p in paths if p.is_file()}


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """A term of the course."""
    folder = tmp_path_factory.mktemp("real")
    files = tree()
    source = make_source(folder / "source", files)
    for name in files:
        if os.access(ROOT / name, os.X_OK):
            (source.path / name).chmod(0o755)
    if source.git("status", "--porcelain"):
        source.commit("Modes")
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
    fix.header()
    term.publish("corrections of lab 2", 2)
    term.publish("lab 3", 3)
    for path in ("kern/uart.c", "kern/kalloc.c", "kern/memmap.c", "kern/zone.c"):
        fix.staff_function(path)
    for path in ("inc/types.h", "inc/kalloc.h", "inc/kcache.h", "inc/pmm.h"):
        fix.header(path)
    for lab in (1, 2, 3):
        fix.handout(lab)
    fix.makefile()
    fix.main()
    term.publish("corrections while students are in lab 3", 3)
    for path in ("kern/kalloc.c", "kern/memmap.c"):
        fix.staff_function(path)
    fix.header("inc/zone.h")
    term.publish("lab 4, and corrections of lab 3", 4)
    for path in ("kern/uart.c", "kern/kalloc.c", "kern/slabs.c"):
        fix.staff_function(path)
    for path in ("inc/heap.h", "inc/slab.h", "inc/types.h"):
        fix.header(path)
    for lab in range(1, 5):
        fix.handout(lab)
    fix.main()
    term.publish("corrections while students are in lab 4", 4)
    fix.staff_function("kern/slabs.c")
    fix.header("inc/pmm.h")
    term.publish("lab 5, and corrections of lab 4", 5)
    for path in ("kern/uart.c", "kern/proc.c", "kern/mmap.c"):
        fix.staff_function(path)
    for path in ("inc/aspace.h", "inc/syscall.h", "inc/kalloc.h"):
        fix.header(path)
    for lab in range(1, 6):
        fix.handout(lab)
    term.publish("corrections while students are in lab 5", 5)
    fix.staff_function("kern/mmap.c")
    fix.header("inc/aspace.h")
    term.publish("lab 6, and corrections of lab 5", 6)
    for path in ("kern/uart.c", "kern/sys_fork.c", "kern/pager.c"):
        fix.staff_function(path)
    for path in ("inc/fork.h", "inc/wait.h", "inc/vma.h"):
        fix.header(path)
    for lab in range(1, LABS + 1):
        fix.handout(lab)
    term.publish("corrections while students are in lab 6", LABS)
    assert not term.warnings
    return term


@pytest.fixture
def course(real: Stages, tmp_path: Path) -> Course:
    return real.course(tmp_path / "course")


def test_every_lab_can_be_cut(real: Stages) -> None:
    assert list(rules.problems(real.files(0))) == []
    assert real.source.release("--check").returncode == 0


def test_no_solution_line_and_no_mark_in_any_commit(real: Stages) -> None:
    """Told by a reading of the source of its own, not by what release thinks."""
    secret: set[str] = set()
    elsewhere: set[str] = set()
    for path, data in tree().items():
        if b"\0" in data or path.startswith(("test/", "docs/")) or "/mutants/" in path:
            continue
        hidden = [False]
        for line in data.decode().splitlines():
            text = line.strip()
            if re.match(r"#\s*if", text):
                hidden.append(hidden[-1] or bool(re.search(r"\bSOL\b", text)))
            elif re.match(r"#\s*else", text) and len(hidden) > 1:
                hidden[-1] = hidden[-2]
            elif re.match(r"#\s*endif", text) and len(hidden) > 1:
                hidden.pop()
            elif hidden[-1] and len(re.sub(r"\s", "", text)) >= 8:
                secret.add(text)
            elif not hidden[-1]:
                elsewhere.add(text)
    secret -= elsewhere
    assert len(secret) > 50
    seen: set[str] = set()
    for row in real.store.git("log", "--all", "--format=%H").split():
        for entry in Git(real.store.path).files(row):
            assert not re.match(r"(test|docs|\.ci|labs/.*/mutants)/|staff\.mk|labs/(release|student\.md)", entry.path)
            if entry.id in seen:
                continue
            seen.add(entry.id)
            data = Git(real.store.path).blobs([entry.id])[entry.id]
            if b"\0" in data:
                continue
            for number, line in enumerate(data.decode().splitlines(), 1):
                assert line.strip() not in secret, f"{entry.path}:{number}: {line}"
                assert not re.search(r"\b(LAB|SOL)\b", line), f"{entry.path}:{number}: {line}"


def test_replay_elsewhere(real: Stages, tmp_path: Path) -> None:
    other = Source(tmp_path / "another" / "path")
    other.path.parent.mkdir()
    real.source.git("clone", "-q", str(real.source.path), str(other.path))
    other.release("--to", tmp_path / "again", "--replay")
    assert Folder(tmp_path / "again").tips() == real.tips[-1]
    for early, late in zip(real.tips, real.tips[1:]):
        for name, tip in early.items():
            real.store.git("merge-base", "--is-ancestor", tip, late[name])
    for tips in real.tips:
        for lab in range(2, len(tips) + 1):
            real.store.git("merge-base", "--is-ancestor", tips[f"lab{lab - 1}"], tips[f"lab{lab}"])


def test_later_labs_leave_what_students_wrote_alone(real: Stages) -> None:
    """They go on with their own files, so no later lab changes anything in these."""
    for tips in real.tips:
        for lab in range(2, len(tips) + 1):
            earlier = {path for n in range(1, lab) for path in real.files(-1).labs[n - 1].student}
            for path in earlier & real.store.names(tips[f"lab{lab - 1}"]):
                assert (real.store.show(tips[f"lab{lab}"], path) == real.store.show(tips[f"lab{lab - 1}"], path)), path


def test_solutions_and_catch_up_branches(real: Stages, tmp_path: Path) -> None:
    """What they hold is what make LAB=N SOL=K builds, and corrections reach them."""
    source = Source(tmp_path / "source")
    real.source.git("clone", "-q", str(real.source.path), str(source.path))
    source.release("--to", tmp_path / "solved", "--solutions", "--from", real.commits[4])
    source.release("--to", tmp_path / "solved", "--solutions")
    words = [word for lab in range(1, LABS) for word in ("--catch-up", str(lab))]
    source.release("--to", tmp_path / "course", "--upto", str(LABS), *words, "--from", real.commits[4])
    source.release("--to", tmp_path / "course")
    files = real.files(-1)
    wanted = {f"sol{lab}": (lab, lab) for lab in range(1, LABS + 1)}
    assert Folder(tmp_path / "solved").tips().keys() == wanted.keys()
    wanted |= {f"lab{lab}": (lab, 0) for lab in range(1, LABS + 1)}
    wanted |= {f"lab{lab}-catchup{lab - 1}": (lab, lab - 1) for lab in range(2, LABS + 1)}
    for store in (Folder(tmp_path / "solved"), Folder(tmp_path / "course")):
        git = Git(store.path)
        for name, tip in store.tips().items():
            assert git.tree_id(tip) == cut.Cut(files, *wanted.pop(name)).write(git)
    assert not wanted
    course = Folder(tmp_path / "course")
    assert "page->next" in course.show("lab3-catchup2", "kern/kalloc.c")
    assert "Lab 3: your code here" in course.show("lab3-catchup2", "kern/pmm.c")
    assert "kcache_refill" not in course.show("lab3-catchup2", "kern/kalloc.c")
    assert "kcache_refill" in course.show("lab4-catchup3", "kern/kalloc.c")
    assert "Lab 4: your code here" in course.show("lab4-catchup3", "kern/slab.c")


def test_a_correction_inside_an_exercise_warns(real: Stages, tmp_path: Path) -> None:
    other = Source(tmp_path / "source")
    real.source.git("clone", "-q", str(real.source.path), str(other.path))
    spots = rules.spots(cut.Cut(real.files(-1), LABS, 0))
    assert {spot.name for spot in spots} >= {
        exercise.name for lab in real.files(-1).labs[:LABS] for exercise in lab.exercises}
    for spot in spots:
        lines = other.read(spot.path).split("\n")
        lines[spot.region.last - 1] += " /* corrected */"
        other.write(spot.path, "\n".join(lines))
    other.commit("inside")
    shutil.copytree(real.store.path, tmp_path / "course")
    done = other.release("--to", tmp_path / "course", "--dry-run")
    for spot in spots:
        warning = rf"{spot.path}:\d+: this correction is inside .*{spot.name} of lab {spot.lab}"
        assert re.search(warning, done.stderr), spot.name


def combinations() -> list[tuple[str, str, str]]:
    """Fewer than with the little course (test_student.py)."""
    found = [("clone", w, ("rewritten", "helpers")[n % 2]) for n, w in enumerate(shapes.WAYS)]
    found += [("clone", "careful", "helpers"), ("clone", "skipping", "rewritten"), ("clone", "by hand", "crlf"),
              ("clone", "careful", "crlf committed"), ("clone", "skipping", "crlf")]
    ways = ("careful", "late", "early")
    starts = ("on lab1", "autocrlf", "template", "zip of Windows")
    found += [(start, ways[n % 3], shapes.STYLES[n % len(shapes.STYLES)]) for n, start in enumerate(starts)]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("start, way, style", combinations())
def test_no_conflict_no_correction_missed_no_commit_lost(
    start: str, way: str, style: str, course: Course, tmp_path: Path
) -> None:
    student = Student(tmp_path / "student", course, style)
    shapes.STARTS[start](student)
    student.scratch()
    shapes.WAYS[way](student, LABS)


def test_with_git_and_make_alone(course: Course, tmp_path: Path) -> None:
    """Clone, solve lab 1, update, next-lab, solve lab 2, grade, and so on, hand in: as the handout says it."""
    student = Student(tmp_path / "student", course, "helpers")
    student.clone()
    student.solve(1, course.stages.files(0))
    course.wind(len(course.stages.tips) - 1)
    student.run("make", "update")
    student.check(1)
    for lab in range(2, LABS + 1):
        done = student.run("make", "next-lab")
        name, message = WAITING.get(lab - 1, (None, ""))
        points = sum(c.points for c in course.stages.files(-1).labs[lab - 2].checks if c.name != name)
        assert f"lab {lab - 1}: {points} of 100" in done.stdout, done.stdout
        assert re.findall(r"^ *(\w+) .* FAILED$", done.stdout, re.M) == ([name] if name else []), done.stdout
        assert message in " ".join(done.stdout.split()), done.stdout
        assert done.stderr.count("warning") == (1 if name else 0), done.stderr
        student.check(lab)
        student.solve(lab, course.stages.files(course.stage))
        student.run("make", "handin")
        student.check(lab)
    done = student.run("make", "grade")
    assert "100 of 100" in done.stdout, done.stdout
    earlier = sum(len(lab.checks) for lab in course.stages.files(-1).labs[: LABS - 1])
    assert f"{earlier} of {earlier} pass" in done.stdout, done.stdout
    alone = student.run("python3", "-m", "grade", ".", "--lab", "2", "--no-regressions").stdout
    assert "100 of 100" in alone, alone  # though kalloc leans on lab 3's files by now
    titles = [f"Lab {lab.number}: {lab.title}" for lab in course.stages.files(-1).labs[:LABS]]
    work = student.git("log", "--format=%s", f"origin/lab{LABS}..HEAD").split("\n")
    assert [row for row in work if not row.startswith(f"lab {LABS}: ")] == titles[-2::-1]
    with tarfile.open(student.path / "obj" / f"handin-lab{LABS}.tar.gz") as tar:
        packed = {info.name.partition("/")[2]: tar.extractfile(info) for info in tar}
        mine = packed["kern/kalloc.c"]
        assert mine and mine.read().decode() == student.read("kern/kalloc.c")
        assert {"kern/vm.c", "kern/pmm.c", "kern/memmap.c", "kern/kcache.c", "kern/heap.c"} <= packed.keys()
