"""labs/work: every way a student may go through the labs, with corrections in between."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

import student_shapes as shapes
from rehearsal import ENVIRONMENT, Folder, make_source, source_files
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
    fix.staff_function("kern/uart.c")
    fix.staff_function("kern/kalloc.c")
    fix.header("inc/types.h")
    for lab in (1, 2, 3):
        fix.handout(lab)
    term.publish("corrections while students are in lab 3", 3)
    fix.staff_function("kern/kalloc.c")
    fix.handout(3)
    term.publish("lab 4, and corrections of lab 3", 4)
    fix.staff_function("kern/heap.c")
    fix.header("inc/types.h")
    fix.main()
    for lab in (1, 2, 3, 4):
        fix.handout(lab)
    term.publish("corrections while students are in lab 4", 4)
    assert not term.warnings
    return term


@pytest.fixture
def course(stages: Stages, tmp_path: Path) -> Course:
    return stages.course(tmp_path / "course")


def combinations() -> list[tuple[str, str, str]]:
    """Every way with three styles in turn, the plainest among them; every start, with ways and styles in turn."""
    # CRLF inside the repository, where an upload past .gitattributes put it, is for labs/work to mend:
    # plain git sees every line changed.
    plain = ("merging", "by hand")
    turns = [(w, {shapes.STYLES[0], *(shapes.STYLES * 2)[n % 5 + 1:n % 5 + 3]}) for n, w in enumerate(shapes.WAYS)]
    found = [("clone", w, s) for w, styles in turns for s in shapes.STYLES if s in styles
             if w not in plain or s != "crlf committed"]
    for number, start in enumerate(shapes.STARTS):
        found.append((start, ("careful", "late")[number % 2], shapes.STYLES[number % len(shapes.STYLES)]))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("start, way, style", combinations())
def test_no_conflict_no_correction_missed_no_commit_lost(
    start: str, way: str, style: str, course: Course, tmp_path: Path
) -> None:
    student = Student(tmp_path / "student", course, style)
    shapes.STARTS[start](student)
    student.scratch()
    shapes.WAYS[way](student, 4)
    assert student.read("local.mk") == "# mine\n"


# --- what update does ---------------------------------------------------------------------------


@pytest.fixture
def student(course: Course, tmp_path: Path) -> Student:
    """Somebody with a plain clone and lab 1 done."""
    someone = Student(tmp_path / "student", course, "in place")
    someone.clone()
    someone.solve(1, course.stages.files(0))
    return someone


def state(student: Student) -> tuple[str, str, str]:
    """What must not change when something is refused."""
    refs = student.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
    return refs, student.git("rev-parse", "HEAD"), student.git("status", "--porcelain")


def refused(student: Student, *words: str) -> str:
    before = state(student)
    text = student.work(*words, status=1)
    assert state(student) == before
    return text


def test_update_tells_what_is_new(student: Student, course: Course) -> None:
    assert "lab 1 is up to date with origin" in student.work("update")
    course.wind(2)
    old = student.git("rev-parse", "HEAD")
    text = student.work("update")
    assert "Lab 1: correct Makefile, inc/types.h, kern/main.c, kern/uart.c and 1 more" in text
    assert "lab 2 is out: make next-lab" in text and "push" not in text
    assert student.git("rev-list", "--count", "origin/lab1..HEAD") == str(len(student.made))
    assert "feature" not in text and student.git("for-each-ref", "--format=%(objectname)", "refs/backup/dev") == old
    assert "up to date" in student.work("update")


def test_update_keeps_authors_dates_and_messages(student: Student, course: Course) -> None:
    student.write("kern/scratch.c", student.read("kern/scratch.c") + "\n/* more */\n")
    student.git("add", "-A")
    message = "Subject\n\nBody with Ümlaut\n\nline"
    student.git("commit", "-q", "--author=Bob <b@x>", "--date=2001-02-03T04:05:06+0100", "-m", message)
    before = student.git("log", "-1", "--format=%an %ae %ad%n%B")
    course.wind(2)
    student.work("update")
    assert student.git("log", "-1", "--format=%an %ae %ad%n%B") == before


def test_without_work_it_is_a_fast_forward(course: Course, tmp_path: Path) -> None:
    student = Student(tmp_path / "student", course, "in place")
    student.clone()
    course.wind(2)
    student.work("update")
    assert student.git("rev-parse", "HEAD") == course.tips()["lab1"]
    student.work("next-lab")
    assert student.git("rev-parse", "HEAD") == course.tips()["lab2"]


def test_commits_that_fit_only_together_are_merged(student: Student, course: Course) -> None:
    """Somebody tried something on a line that staff correct, and took it back."""
    text = student.read("kern/main.c")
    student.write("kern/main.c", text.replace("{\n", "{\n    try_this();\n", 1))
    student.save("try")
    student.write("kern/main.c", text)
    student.save("take it back")
    course.wind(2)
    assert "merged into your history" in student.work("update")
    student.check(1)
    course.wind(len(course.stages.tips) - 1)
    student.work("next-lab")
    student.check(2)


def test_a_fork_is_pushed_with_a_lease(course: Course, tmp_path: Path) -> None:
    student = Student(tmp_path / "student", course, "in place")
    student.fork()
    student.solve(1, course.stages.files(0))
    student.git("push", "-q")
    course.wind(2)
    text = student.work("update")
    command = next(line.strip() for line in text.splitlines() if "git push" in line)
    assert command == "git push --force-with-lease fork dev"
    student.run(*command.split())
    text = student.work("next-lab")
    command = next(line.strip() for line in text.splitlines() if "git push" in line)
    assert command == "git push --force-with-lease fork dev-lab2"
    student.run(*command.split())
    assert student.git("rev-parse", "--abbrev-ref", "dev-lab2@{upstream}") == "origin/lab2"
    student.check(2)


def test_the_other_laptop_s_commits_are_not_pushed_over(course: Course, tmp_path: Path) -> None:
    student = Student(tmp_path / "student", course, "in place")
    student.fork()
    other = Folder(tmp_path / "laptop")
    student.git("clone", "-q", "-b", "dev", student.git("remote", "get-url", "fork"), str(other.path))
    other.write("kern/mine.c", "int other;\n")
    other.commit("on the laptop")
    other.git("push", "-q")
    student.git("fetch", "-q", "fork")
    student.solve(1, course.stages.files(0))
    course.wind(2)
    text = student.work("update")
    assert "fork/dev has commits that dev has not" in text and "--force" not in text


def test_next_lab_makes_one_commit_a_lab(student: Student, course: Course) -> None:
    course.wind(len(course.stages.tips) - 1)
    assert len(student.made) > 1
    student.work("next-lab")
    assert student.git("log", "--format=%s", "origin/lab2..HEAD") == "Lab 1: Boot"
    body = student.git("log", "-1", "--format=%b")
    assert "- lab 1: kern/uart.c" in body and "Hand-off: lab1" in body
    student.solve(2, course.stages.files(course.stage))
    student.scratch()
    student.work("next-lab")
    assert student.git("log", "--format=%s", "origin/lab3..HEAD").split("\n") == ["Lab 2: Pages", "Lab 1: Boot"]
    assert {"dev", "dev-lab2", "dev-lab3"} <= set(student.git("branch", "--format=%(refname:short)").split())
    student.check(3)


def test_next_lab_can_skip_one(student: Student, course: Course) -> None:
    course.wind(len(course.stages.tips) - 1)
    student.work("next-lab", "--lab", "3", "--branch", "mine")
    assert student.git("branch", "--show-current") == "mine"
    student.check(3)


def test_next_lab_builds_and_reruns_the_earlier_checks(student: Student, course: Course) -> None:
    course.wind(1)
    done = student.run("make", "next-lab")
    assert "building" in done.stdout and (student.path / "obj" / "kernel8.img").exists()
    assert "labs/lab2/README.md" in done.stdout


def test_somebody_git_has_no_name_for(course: Course, tmp_path: Path) -> None:
    """On a fresh machine, from a zip."""
    student = Student(tmp_path / "student", course, "in place")
    student.unzip()
    student.solve(1, course.stages.files(0))
    course.wind(2)
    env = {key: "" for key in ENVIRONMENT if key.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))}
    clean = {key: value for key, value in ENVIRONMENT.items() if key not in env}
    command = ["make", "update", f"COURSE={course.url}"]
    done = subprocess.run(command, cwd=student.path, env=clean, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    student.check(1)


def test_next_lab_goes_on_without_make(student: Student, course: Course) -> None:
    course.wind(1)
    student.replace("Makefile", "all:\n", "all:\n\t@exit 1\n")
    student.commit("break the build")
    done = student.run("python3", "labs/work", "next-lab")
    assert "the build failed" in done.stderr and student.git("branch", "--show-current") == "dev-lab2"


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["update", "next-lab", "handin"])
def test_a_dirty_tree(command: str, student: Student, course: Course) -> None:
    course.wind(2)
    student.write("kern/uart.c", "int half;\n")
    text = refused(student, command)
    assert "not committed; nothing was done" in text and "kern/uart.c" in text and "git commit -a" in text
    student.git("add", "-A")
    assert "not committed" in refused(student, command)


@pytest.mark.parametrize("command", ["update", "next-lab"])
def test_detached(command: str, student: Student, course: Course) -> None:
    course.wind(2)
    student.git("checkout", "-q", "--detach")
    assert "git switch -c dev" in refused(student, command)


@pytest.mark.parametrize("command", ["update", "next-lab"])
def test_a_rebase_under_way(command: str, student: Student, course: Course) -> None:
    student.git("checkout", "-q", "-b", "side", "HEAD~1")
    student.write("kern/uart.c", "other\n")
    student.commit("side")
    student.git("rebase", "-q", "dev", status=1)
    before = student.git("rev-parse", "HEAD")
    text = student.work(command, status=1)
    assert "a rebase is under way" in text and "git rebase --abort" in text
    assert student.git("rev-parse", "HEAD") == before
    student.git("rebase", "--abort")


@pytest.mark.parametrize("ignored", [False, True])
def test_files_in_the_way(ignored: bool, student: Student, course: Course) -> None:
    course.wind(1)
    student.write("kern/kalloc.c", "precious")
    if ignored:
        student.write(".git/info/exclude", "kalloc.c\n")
    text = refused(student, "next-lab")
    assert "kern/kalloc.c" in text and student.read("kern/kalloc.c") == "precious"


def test_a_lab_that_is_not_out(student: Student) -> None:
    assert "lab 2 is not out: origin" in refused(student, "next-lab")
    assert "is at lab 1 already" in refused(student, "next-lab", "--lab", "1")


def test_gone_on_before(student: Student, course: Course) -> None:
    course.wind(1)
    student.work("next-lab")
    student.git("checkout", "-q", "dev")
    text = refused(student, "next-lab")
    assert "git checkout dev-lab2" in text
    assert "cannot be the name of a branch" in refused(student, "next-lab", "--branch", "a..b")


def test_no_course(student: Student, course: Course) -> None:
    student.git("remote", "remove", "origin")
    assert "make update COURSE=URL" in refused(student, "update")
    course.wind(2)
    student.run("make", "update", f"COURSE={course.url}")
    student.check(1)


def test_a_fork_alone_is_not_the_course(course: Course, tmp_path: Path) -> None:
    """Its lab1 carries the student's commits."""
    student = Student(tmp_path / "student", course, "in place")
    student.work_on_lab1()
    student.git("remote", "remove", "origin")
    text = refused(student, "update")
    assert "fork/lab1" in text and "COURSE=URL" in text
    course.wind(2)
    student.run("make", "update", f"COURSE={course.url}")
    student.check(1)


def test_a_stale_fork_is_named(course: Course, tmp_path: Path) -> None:
    student = Student(tmp_path / "student", course, "in place")
    student.fork_as_origin()
    student.git("remote", "remove", "upstream")
    course.wind(2)
    text = student.work("update")
    assert "was taken for the course" in text and "COURSE=" in text
    student.run("make", "update", f"COURSE={course.url}")
    student.check(1)


def test_the_course_s_own_address(tmp_path: Path) -> None:
    """labs/course, released along, finds the course for somebody who knows only a fork."""
    files = source_files() | {"labs/course": f"{tmp_path}/repo\n"}
    source = make_source(tmp_path / "source", files)
    source.release("--to", tmp_path / "repo", "--upto", "1")
    source.git("clone", "-q", "--bare", str(tmp_path / "repo"), str(tmp_path / "fork"))
    clone = Folder(tmp_path / "clone")
    source.git("clone", "-q", "-b", "lab1", str(tmp_path / "fork"), str(clone.path))
    source.replace("kern/main.c", "booting", "Booting")
    source.commit()
    source.release("--to", tmp_path / "repo")
    clone.run("make", "update")
    assert "Booting" in clone.read("kern/main.c")


def test_an_unreachable_course(student: Student, course: Course, tmp_path: Path) -> None:
    student.git("remote", "add", "gone", str(tmp_path / "gone"))
    assert "cannot reach the remote gone; going on" in student.work("update")
    course.path.rename(tmp_path / "moved")
    text = refused(student, "update")
    assert "cannot reach origin" in text and "nothing was changed" in text


def test_a_tree_inside_another_repository(course: Course, tmp_path: Path) -> None:
    outer = Folder(tmp_path / "home")
    outer.path.mkdir()
    outer.git("init", "-q")
    student = Student(tmp_path / "home" / "bramble", course, "in place")
    student.unzip()
    outer.commit("everything at home")
    done = student.run("make", "update", f"COURSE={course.url}", status=2)
    assert "part of the repository" in done.stderr


def test_a_zip_without_an_address(course: Course, tmp_path: Path) -> None:
    student = Student(tmp_path / "student", course, "in place")
    student.unzip()
    text = student.work("update", status=1)
    assert "no git history here" in text and "COURSE=URL" in text and not (student.path / ".git").exists()
    assert "git init" in student.work("handin", status=1)


def test_an_unrelated_history(course: Course, tmp_path: Path) -> None:
    """Something else entirely is not grafted."""
    student = Student(tmp_path / "student", course, "in place")
    student.unzip()
    for name in ("kern", "inc", "setup", "Makefile", "README.md", "lib"):
        student.run("rm", "-rf", name)
    student.write("labs/lab1/README.md", "other\n")
    student.write("labs/work", student.read("labs/work") + "#\n")
    for path in ("say", "gitrepo", "course", "carry", "handin", "labs"):
        student.write(f"labs/{path}.py", student.read(f"labs/{path}.py") + "#\n")
    student.git("init", "-q", "-b", "main")
    student.save("mine")
    student.named_course = True
    assert "resemble none of its releases" in refused(student, "update")


# --- conflicts ----------------------------------------------------------------------------------


def test_a_conflict_leaves_everything_and_shows_both_ways(student: Student, course: Course) -> None:
    student.write("kern/main.c", student.read("kern/main.c").replace("{\n", "{\n    mine();\n", 1))
    student.save("in staff's file")
    course.wind(2)
    for command, branch in (("update", "dev"), ("next-lab", "dev-lab2")):
        text = refused(student, command)
        assert "kern/main.c" in text and "One way" in text and "The other way" in text
        commands = [line.strip() for line in text.splitlines() if line.startswith("    git ")]
        commands.insert(0, commands.pop())  # the diff of the other way, from where one stands
        for line in commands:
            words = line.split("&&")[0].split()
            if words[:2] == ["git", "merge"]:
                student.run(*words, status=1)
                student.write("kern/main.c", "both();\n")
            elif words[1] == "add":
                student.run(*words)
                student.git("commit", "-q", "--no-edit")
            elif words[1] == "diff":
                assert "Corrected" in student.run(*words).stdout
            elif words[1] in ("checkout", "branch"):
                student.run(*words)
        assert student.git("branch", "--show-current") == branch
        assert "up to date" in student.work("update")
        assert student.read("kern/main.c") == "both();\n"
        if command == "update":
            student.git("reset", "-q", "--hard", student.made[-1])


# --- handin -------------------------------------------------------------------------------------


def unpacked(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]


def test_handin(student: Student, course: Course, tmp_path: Path) -> None:
    student.scratch()
    student.replace("Makefile", "# The build.", "# My build.")
    student.save("the build")
    text = student.work("handin")
    assert "obj/handin-lab1.tar.gz" in text and "Makefile" in text.split("not handed in")[1]
    archive = student.path / "obj" / "handin-lab1.tar.gz"
    files = unpacked(archive)
    manifest = json.loads(files.pop("handin-lab1/manifest.json"))
    assert set(files) == {f"handin-lab1/kern/{name}" for name in ("uart.c", "entry.S", "scratch.c")}
    assert manifest["lab"] == 1 and manifest["commit"] == student.git("rev-parse", "HEAD")
    assert manifest["release"] == course.tips()["lab1"]
    for path, digest in manifest["files"].items():
        assert hashlib.sha256(files[f"handin-lab1/{path}"]).hexdigest() == digest
        assert files[f"handin-lab1/{path}"].decode() == student.read(path)
    again = tmp_path / "again.tgz"
    student.work("handin", "--output", str(again))
    assert again.read_bytes() == archive.read_bytes(), "the same commit, the same bytes"
    assert not student.git("status", "--porcelain")


def test_handin_of_a_later_lab_has_all_labs(student: Student, course: Course) -> None:
    course.wind(1)
    student.work("next-lab")
    student.work("handin")
    files = unpacked(student.path / "obj" / "handin-lab2.tar.gz")
    assert {"handin-lab2/kern/uart.c", "handin-lab2/kern/kalloc.c"} <= set(files)


def test_handin_refuses(student: Student, tmp_path: Path) -> None:
    student.git("rm", "-q", "kern/uart.c")
    student.git("commit", "-q", "-m", "oops")
    assert "cannot be handed in without kern/uart.c" in refused(student, "handin")
    student.write("kern/uart.c", "int back;\n")
    assert "git does not know kern/uart.c" in refused(student, "handin")
    student.save("back")
    assert "name another place" in refused(student, "handin", "--output", "/proc/none/x.tgz")


def test_usage(student: Student) -> None:
    done = student.run("python3", "labs/work", "dance", status=2)
    assert "invalid choice" in done.stderr
    assert "make next-lab" in student.run("python3", "labs/work", "--help").stdout
