"""What the grader takes from a folder, what it refuses, and where the pristine tree comes from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import course
from grade import build, sandbox, submission
from grade.run import printable
from grade.submission import BadSubmission, take

WANTED = ["kern/kalloc.c", "kern/vm.c"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kern").mkdir()
    for name in WANTED:
        (tmp_path / name).write_text("int x;\r\n")
    return tmp_path


def test_takes_the_named_files_only(folder: Path) -> None:
    (folder / "kern" / "main.c").write_text("mine")
    (folder / "kern" / "scratch.c").write_text("play")
    taken = take(folder, WANTED, ["kern/scratch.c", "kern/other.c"])
    assert sorted(taken.files) == ["kern/kalloc.c", "kern/scratch.c", "kern/vm.c"]
    assert taken.files["kern/vm.c"] == b"int x;\r\n"


def refused(folder: Path) -> str:
    with pytest.raises(BadSubmission) as caught:
        take(folder, WANTED)
    return str(caught.value)


def test_missing_files_are_all_named(folder: Path) -> None:
    for name in WANTED:
        (folder / name).unlink()
    said = refused(folder)
    assert "kern/kalloc.c, kern/vm.c" in said and "missing" in said


def test_no_folder(tmp_path: Path) -> None:
    assert "is not a folder" in refused(tmp_path / "nowhere")


def test_symbolic_links(folder: Path) -> None:
    (folder / "kern" / "vm.c").unlink()
    (folder / "kern" / "vm.c").symlink_to("/etc/passwd")
    assert "symbolic link" in refused(folder)


def test_a_folder_that_is_a_symbolic_link(folder: Path) -> None:
    (folder / "kern").rename(folder / "elsewhere")
    (folder / "kern").symlink_to("elsewhere")
    assert "kern is not a real folder" in refused(folder)


def test_a_pipe_does_not_hang(folder: Path) -> None:
    (folder / "kern" / "vm.c").unlink()
    os.mkfifo(folder / "kern" / "vm.c")
    assert "not an ordinary file" in refused(folder)


def test_a_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "kern" / "vm.c").unlink()
    (folder / "kern" / "vm.c").mkdir()
    assert "not an ordinary file" in refused(folder)


def test_binaries(folder: Path) -> None:
    (folder / "kern" / "vm.c").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(100))
    assert "compiled file" in refused(folder)
    (folder / "kern" / "vm.c").write_bytes(b"PK\3\4\0\0")
    assert "binary" in refused(folder)


def test_absurd_sizes(folder: Path) -> None:
    with open(folder / "kern" / "vm.c", "wb") as f:
        f.truncate(1 << 40)
    assert "larger than 1024 KiB" in refused(folder)


def test_edited_staff_files_are_listed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pristine = tmp_path_factory.mktemp("pristine")
    (pristine / "kern").mkdir()
    for name, text in {"kern/vm.c": "stub", "kern/main.c": "a\nb\n", "kern/trap.c": "t\n",
                       "Makefile": "all:\n", "linker.ld": "x"}.items():
        (pristine / name).write_text(text)
    (folder / "kern" / "main.c").write_bytes(b"a\r\nb\r\n")     # only the line ends: no edit
    (folder / "kern" / "trap.c").write_text("mine\n")
    (folder / "Makefile").symlink_to("/dev/zero")
    assert submission.edited(folder, pristine, WANTED) == ["Makefile", "kern/trap.c"]


# --- the pristine tree ------------------------------------------------------


def git(folder: Path, *args: str, email: str = "student@example.org") -> str:
    return subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", f"user.email={email}",
                           "-c", "commit.gpgsign=false", *args], check=True, capture_output=True,
                          text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A student's clone on branch dev, with work of their own on two releases of lab 1, pushed
    back to a fork's lab1."""
    staff, mine = tmp_path / "course", tmp_path / "mine"
    (staff / "kern").mkdir(parents=True)
    (staff / "labs" / "lab1").mkdir(parents=True)
    git(staff, "init", "-q", "-b", "lab1")
    for text in ("staff 1\n", "staff 2\n"):
        (staff / "kern" / "main.c").write_text(text)
        (staff / "kern" / "vm.c").write_text("stub\n")
        (staff / "labs" / "lab1" / "lab.toml").write_text("")
        (staff / ".gitignore").write_text("obj/\nlocal.mk\n")
        git(staff, "add", "-A")
        git(staff, "commit", "-qm", text, email=course.RELEASE_EMAIL)
    git(tmp_path, "clone", "-q", "-o", "uni", str(staff), str(mine))
    git(mine, "checkout", "-qb", "dev")
    (mine / "kern" / "main.c").write_text("hacked\n")
    (mine / "kern" / "vm.c").write_text("solved\n")
    git(mine, "commit", "-qam", "work")
    git(mine, "update-ref", "refs/remotes/fork/lab1", "HEAD")
    (mine / "local.mk").write_text("$(error not to be read)")
    return mine


def test_releases_are_known_by_the_same_name() -> None:
    assert build.RELEASE_EMAIL == course.RELEASE_EMAIL


def test_student_tree_is_the_release_the_branch_stands_on(clone: Path, tmp_path: Path) -> None:
    tree = build.pristine(clone, 1, tmp_path / "tree")
    assert not tree.staff and not tree.notes
    assert (tree.path / "kern" / "main.c").read_text() == "staff 2\n"
    assert (tree.path / "kern" / "vm.c").read_text() == "stub\n"
    assert not (tree.path / "local.mk").exists()


def test_without_a_release_the_tree_is_the_folder_with_a_note(clone: Path, tmp_path: Path) -> None:
    tree = build.pristine(clone, 2, tmp_path / "tree")
    assert (tree.path / "kern" / "main.c").read_text() == "hacked\n"
    assert "release of lab 2" in tree.notes[0]
    assert not (tree.path / "local.mk").exists()


def test_without_git_the_tree_is_the_folder_with_a_note(clone: Path, tmp_path: Path) -> None:
    subprocess.run(["rm", "-rf", str(clone / ".git")], check=True)
    tree = build.pristine(clone, 1, tmp_path / "tree")
    assert (tree.path / "kern" / "main.c").read_text() == "hacked\n" and tree.notes


def test_printable_takes_the_sting_out_of_terminal_escapes() -> None:
    assert "\033" not in printable(b"\033]0;title\007\033[31mred\x9b")
    assert printable(b"a\r\nb\tc\n") == "a\nb\tc\n"


@pytest.mark.skipif(sandbox.missing() is not None, reason="no bubblewrap here")
def test_sandbox_hides_the_host(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret").write_text("x")
    script = (f"test ! -e {outside}/secret && echo y > {inside}/made && ! echo z 2>/dev/null > /usr/made "
              "&& test ! -e /home && test $(ls /sys/class/net 2>/dev/null | wc -l) = 0")
    done = subprocess.run([*sandbox.prefix(inside, "sh"), "sh", "-c", script])
    assert done.returncode == 0
    assert (inside / "made").read_text() == "y\n" and not Path("/usr/made").exists()
