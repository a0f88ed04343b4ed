"""labs/release: what is cut, what is refused, and how published branches move."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

import pytest

import cut
import labs
import publish
import rules
from gitrepo import Git
from rehearsal import ROOT, Folder, Source, make_source, source_files


def published(path: Path) -> Folder:
    return Folder(path)


def correct(source: Source, path: str, old: str, new: str) -> str:
    source.replace(path, old, new)
    return source.commit(f"Correct {path}")


# --- the cut ------------------------------------------------------------------------------------


def test_what_a_branch_holds(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "c")
    course = published(tmp_path / "c")
    assert set(course.tips()) == {"lab1", "lab2", "lab3", "lab4"}
    one, two, three, four = (course.names(f"lab{n}") for n in (1, 2, 3, 4))
    for names in (one, two, three, four):
        assert not [n for n in names if re.match(r"test/|docs/|\.ci/|staff|labs/release|labs/.*mutants", n)]
        assert {"README.md", ".gitattributes", ".gitignore", "setup", "Makefile", "kern/main.c"} <= names
        assert "labs/student.md" not in names
    assert "kern/kalloc.c" not in one and "kern/kalloc.c" in two and "kern/pmm.c" not in two
    assert "labs/lab2/README.md" not in one and {"kern/pmm.c", "inc/pmm.h"} <= three
    assert "inc/heap.h" not in three and {"kern/heap.c", "inc/heap.h"} <= four
    assert course.show("lab1", "README.md") == "# Bramble\n\nFor students.\n"
    assert course.show("lab2", "README.md") == "# Bramble\n\nFor students.\n\nYou're on your way.\n"
    assert course.show("lab1", ".gitattributes").startswith("* text=auto eol=lf\n")
    assert "100755 blob" in course.git("ls-tree", "lab1", "setup")


def test_conditions_go_and_leave_clean_text(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "c")
    course = published(tmp_path / "c")
    assert "alloc_init" not in course.show("lab1", "kern/main.c")
    assert "    alloc_init();\n    check_all();\n" in course.show("lab2", "kern/main.c")
    assert "pmm_init" in course.show("lab3", "kern/main.c")
    assert course.show("lab1", "kern/uart.c").endswith("n (int)(read(AUX_MU_IO) & UART_MASK);\n}\n")
    kalloc = course.show("lab2", "kern/kalloc.c")
    assert "{\n    /* Lab 2: your code here. */\n    return NULL;\n}\n" in kalloc and "JUNK" not in kalloc
    assert "BLOCK_HEADER" not in course.show("lab3", "inc/types.h")
    for lab in ("lab1", "lab2", "lab3", "lab4"):
        for name in course.names(lab):
            if name.endswith(".bin"):
                continue
            text = course.show(lab, name)
            assert not re.search(r"\b(LAB|SOL)\b", text), name
            assert "\n\n\n" not in text or name.endswith(".py") or name == "labs/work", name
    assert course.run("git", "cat-file", "blob", "lab1:lib/logo.bin", status=0)


def test_tidy_drops_only_the_blank_lines_of_what_is_gone() -> None:
    def at(text: str, lab: int, sol: int = 0) -> str:
        return cut.SourceFile("a.c", "100644", text.encode()).text(lab, sol).decode()

    assert at("a;\n\n#if LAB >= 2\nb;\n#endif\n\nc;\n", 1) == "a;\n\nc;\n"
    assert at("a;\n\n#if LAB >= 2\nb;\n#endif\n\nc;\n", 2) == "a;\n\nb;\n\nc;\n"
    assert at("{\n#if LAB >= 2\nb;\n#endif\n\nc;\n}\n", 1) == "{\nc;\n}\n"
    assert at("{\na;\n\n#if LAB >= 2\nb;\n#endif\n}\n", 1) == "{\na;\n}\n"
    assert at("a;\n\n#if LAB >= 2\nb;\n#endif\n", 1) == "a;\n"
    assert at("#if LAB >= 2\nb;\n#endif\n\na;\n", 1) == "a;\n"
    assert at("a;\n\n\n#if LAB >= 1\nb;\n#endif\n", 1) == "a;\n\n\nb;\n"
    assert at("a;\n#if LAB >= 1\nb;\n#endif\n\n#if LAB >= 1\nc;\n#endif\n", 1) == "a;\nb;\n\nc;\n"
    assert at("a;\n#if LAB >= 2\n\nb;\n\n#endif\nc;\n", 1) == "a;\nc;\n"
    assert at("a; /* don't */\n#if SOL >= 1\nb;\n#else\nc;\n#endif\n", 1, 1) == "a; /* don't */\nb;\n"
    assert at("a;\n#if LAB >= 2\nb;\n#endif", 1) == "a;"
    assert at("a\t;\n\f\n", 1) == "a\t;\n\f\n"


def test_makefiles_and_texts_with_quotes_are_cut_as_plain_text() -> None:
    text = "# don't\n#if LAB >= 2\nCFLAGS += -DX='\"y\n#endif\nall:\n"
    assert cut.SourceFile("Makefile", "100644", text.encode()).text(1, 0) == b"# don't\nall:\n"


def test_solution_lines_are_found_by_what_unifdef_keeps() -> None:
    text = b"a;\n#if LAB >= 2\n#if SOL >= 2\nx;\n#else\ny;\n#endif\n#endif\n#if SOL < 1\nh;\n#else\nz;\n#endif\n"
    file = cut.SourceFile("a.c", "100644", text)
    assert file.solution_lines(3) == {3, 11}
    assert file.solution_lines(3, known=1) == {3}
    assert [(r.first, r.last) for r in file.regions] == [(2, 6), (8, 12)]


def test_exercises_are_found_with_the_function_around(source: Source) -> None:
    files = cut.Source(Git(source.path), source.git("rev-parse", "HEAD"))
    found = {spot.name: spot for spot in rules.spots(cut.Cut(files, 2, 0))}
    assert set(found) == {"el2_to_el1", "uart_putc", "kalloc", "kfree"}
    lines = files.released["kern/kalloc.c"].text(2, 0).decode().split("\n")
    spot = found["kalloc"]
    assert lines[spot.first] == "char *" and lines[spot.last] == "}" and spot.lab == 2
    assert lines[spot.core_first].strip() == "/* Lab 2: your code here. */"
    assert found["el2_to_el1"].lab == 1


# --- what makes a release impossible ------------------------------------------------------------

BAD = {
    "mark in a comment": ("kern/main.c", "The boot order.", "See LAB.", "kern/main.c:1: the mark LAB remains"),
    "mark in make": ("Makefile", "# The build.", "# SOL=1", "Makefile:1: the mark SOL remains"),
    "mixed condition": ("kern/main.c", "#if LAB >= 3", "#if LAB >= 3 && DEBUG", "kern/main.c:12: the condition mixes"),
    "mixed with defined": ("kern/main.c", "#if LAB >= 3", "#if defined(X) || SOL", "mixes LAB or SOL with X"),
    "two lines": ("kern/main.c", "#if LAB >= 3", "#if LAB >= 3 && \\\n    LAB < 9", "must stand on one line"),
    "no endif": ("kern/pmm.c", "#endif\n", "", "unifdef cannot cut kern/pmm.c"),
    "solution elsewhere": (
        "kern/kalloc.c", "#else\n    /* Lab 2: your code here. */\n    return NULL;",
        "#endif\n#if LAB >= 2\n    /* Lab 2: your code here. */\n    return NULL;", None,
    ),
    "CRLF": ("inc/pmm.h", ";\n", ";\r\n", "inc/pmm.h: has CRLF line ends"),
    "attributes": (".gitattributes", "* text=auto eol=lf", "* text=auto", ".gitattributes lacks the line"),
    "toml": ("labs/lab2/lab.toml", "points = 100", "points = 90", "the points add up to 90"),
    "toml syntax": ("labs/lab2/lab.toml", 'title = "', "title = ", "labs/lab2/lab.toml:"),
    "missing file": ("labs/lab3/lab.toml", "inc/pmm.h", "inc/pm.h", "inc/pm.h, listed under files, does not exist"),
    "later lab beside an exercise": (
        "kern/uart.c", "AUX_MU_BAUD, 270);\n", "AUX_MU_BAUD, 270);\n#if LAB >= 2\n    more();\n#endif\n", None,
    ),
    "later lab at an exercise": (
        "kern/uart.c", "/* Receives one", "#if LAB >= 2\nint more;\n#endif\n/* Receives one",
        "lab 2: kern/uart.c:25: changes a line within 5 lines of exercise uart_putc of lab 1",
    ),
}  # fmt: skip


def test_helpers_of_a_solution_are_no_exercise(source: Source) -> None:
    helper = "#if SOL >= 2\nstatic int help;\n#endif\n\n"
    text = helper + "int\nf(void)\n{\n#if SOL >= 2\n    g();\n#endif\n    return 0;\n}\n"
    source.write("kern/kalloc.c", text)
    files = cut.Source(Git(source.path), source.commit())
    names = [spot.name for spot in rules.spots(cut.Cut(files, 2, 0)) if spot.path == "kern/kalloc.c"]
    assert names == ["f"]


@pytest.mark.parametrize("what", BAD)
def test_a_source_that_breaks_a_rule(what: str, source: Source, tmp_path: Path) -> None:
    path, old, new, message = BAD[what]
    text = source.read(path)
    assert old in text
    source.write(path, text.replace(old, new, 1))
    if "\r" in new:
        source.write(".gitattributes", "* text=auto eol=lf\n*.h -text\n")
    source.commit()
    done = source.release("--to", tmp_path / "c", status=0 if message is None else 1)
    if message is None:
        return
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "c").exists() and not source.git("tag")
    assert source.release("--check", status=1).stderr.count(message)


def test_a_leak_is_seen(source: Source) -> None:
    """The check looks at the cut text itself, not at how it came about."""
    files = cut.Source(Git(source.path), source.git("rev-parse", "HEAD"))
    secret = rules.solution_texts(files)
    assert b"free_list = r->next;" in secret and b"return NULL;" not in secret
    assert not [leak for lab in (1, 2, 3) for leak in rules.leaks(cut.Cut(files, lab, 0), secret)]
    assert any("kern/kalloc.c" in leak for leak in rules.leaks(cut.Cut(files, 2, 2), secret))
    assert list(rules.leaks(cut.Cut(files, 2, 1), rules.solution_texts(files, known=1))) == []
    assert list(rules.leaks(cut.Cut(files, 2, 2), rules.solution_texts(files, known=1)))


def test_the_working_tree_plays_no_part(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "a", "--no-record")
    source.write("kern/main.c", "broken")
    source.write("kern/untracked.c", "LAB")
    done = source.release("--to", tmp_path / "b", "--no-record")
    assert "uncommitted changes are not part of the release: kern/main.c" in done.stderr
    assert published(tmp_path / "a").tips() == published(tmp_path / "b").tips()


def test_ids_do_not_depend_on_the_machine(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "a")
    other = Source(tmp_path / "elsewhere" / "deep")
    other.path.parent.mkdir()
    source.git("clone", "-q", str(source.path), str(other.path))
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\nname=X\nemail=x@y\n[core]\nautocrlf=true\nhooksPath=/bad\n"
        "[commit]\ngpgSign=true\n[init]\ndefaultBranch=odd\n"
    )
    env = {"GIT_CONFIG_GLOBAL": str(config), "TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "GIT_DIR": "/nowhere"}
    words = ("--source", other.path, "--to", tmp_path / "b", "--no-record")
    other.run(sys.executable, ROOT / "labs" / "release", *words, env=env | {"GIT_AUTHOR_DATE": "1 +0000"})
    assert published(tmp_path / "a").tips() == published(tmp_path / "b").tips()


# --- moving forward -----------------------------------------------------------------------------


def test_corrections_are_appended_and_merged_forward(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "c", "--upto", "2")
    course = published(tmp_path / "c")
    first = course.tips()
    assert course.git("rev-parse", "lab2^") == first["lab1"]
    correct(source, "kern/main.c", "booting", "Booting")
    done = source.release("--to", tmp_path / "c")
    second = course.tips()
    assert set(second) == {"lab1", "lab2"}, "what is not out stays in"
    assert "--upto 3 hands out the next one" in done.stdout
    assert course.git("rev-parse", "lab1^@") == first["lab1"]
    assert course.git("rev-parse", "lab2^@").split() == [first["lab2"], second["lab1"]]
    assert "Booting" in course.show("lab2", "kern/main.c")
    correct(source, "labs/lab2/README.md", "1. Read.", "1. Read on.")
    source.release("--to", tmp_path / "c", "-m", "say what to read")
    third = course.tips()
    assert third["lab1"] == second["lab1"] and course.git("rev-parse", "lab2^@") == second["lab2"]
    assert course.git("log", "-1", "--format=%s", "lab2") == "Lab 2: say what to read"
    done = source.release("--to", tmp_path / "c")
    assert "nothing to publish" in done.stdout and course.tips() == third
    source.write("docs/guide.md", "for staff only")
    source.commit()
    assert "nothing to publish" in source.release("--to", tmp_path / "c").stdout
    assert source.git("tag").split() == ["release-1", "release-2", "release-3"]


def test_sequences_of_publications(source: Source, tmp_path: Path) -> None:
    """Whatever is played: lab N in lab N+1, forward only, and a replay with the same ids."""
    draw = random.Random(20240607)
    course = published(tmp_path / "c")
    upto = 1
    before: dict[str, str] = {}
    for turn in range(10):
        code = ["kern/main.c", "inc/types.h", "kern/uart.c", "kern/pmm.c", "kern/heap.c"]
        path = draw.choice(["Makefile", "labs/lab1/README.md", "labs/lab2/README.md", *code])
        comment = f"/* {turn} */\n" if path in code else f"# {turn}\n"
        if draw.random() < 0.8:
            source.write(path, comment + source.read(path))
            source.commit(f"turn {turn}")
        upto = min(4, upto + (draw.random() < 0.25))
        words = ["--upto", str(upto)] + (["--catch-up", "1"] if upto > 1 and draw.random() < 0.3 else [])
        source.release("--to", course.path, *words)
        tips = course.tips()
        for name, tip in before.items():
            course.git("merge-base", "--is-ancestor", tip, tips[name])
        for lab in range(1, upto):
            course.git("merge-base", "--is-ancestor", tips[f"lab{lab}"], tips[f"lab{lab + 1}"])
        files = cut.Source(Git(source.path), source.git("rev-parse", "HEAD"))
        for name, tip in tips.items():
            wanted = publish.parse_branch(name).cut(files).write(Git(course.path))
            assert wanted == course.git("rev-parse", f"{tip}^{{tree}}")
        before = tips
    assert upto == 4 and len(source.git("tag").split()) > 4
    other = Source(tmp_path / "other")
    source.git("clone", "-q", str(source.path), str(other.path))
    other.release("--to", tmp_path / "again", "--replay")
    assert published(tmp_path / "again").tips() == before


def test_replay_uses_the_tool_of_its_time(tmp_path: Path) -> None:
    """A later change of labs/release itself does not change what was published."""
    files = source_files()
    for name in ("release", "cut.py", "publish.py", "rules.py"):
        files[f"labs/{name}"] = (ROOT / "labs" / name).read_bytes()
    source = make_source(tmp_path / "source", files)
    (source.path / "labs" / "release").chmod(0o755)
    tool = source.path / "labs" / "release"
    source.run(sys.executable, tool, "--to", tmp_path / "c")
    text = source.read("labs/cut.py")
    source.write("labs/cut.py", text.replace('    "staff.mk",\n', '    "staff.mk",\n    "setup",\n'))
    done = source.run(sys.executable, tool, "--to", tmp_path / "c")
    assert "using labs/release as it is in" in done.stdout and "nothing to publish" in done.stdout
    source.commit("setup stays with staff")
    source.run(sys.executable, tool, "--to", tmp_path / "c")
    course = published(tmp_path / "c")
    assert "setup" not in course.names("lab1") and "setup" in course.names("lab1~1")
    source.run(sys.executable, tool, "--to", tmp_path / "d", "--replay")
    assert published(tmp_path / "d").tips() == course.tips()


def test_replay_refuses(source: Source, tmp_path: Path) -> None:
    assert "no tag of this clone records" in source.release("--to", tmp_path / "x", "--replay", status=1).stderr
    source.release("--to", tmp_path / "c")
    assert "wants an empty repository" in source.release("--to", tmp_path / "c", "--replay", status=1).stderr
    tag = source.git("cat-file", "tag", "release-1")
    lab1 = json.loads(tag.split("\n\n", 2)[2])["after"]["lab1"]
    forged = tag.replace(lab1, lab1[::-1])
    source.write("forged", forged)
    source.git("update-ref", "refs/tags/release-1", source.git("hash-object", "-t", "tag", "-w", "forged"))
    done = source.release("--to", tmp_path / "y", "--replay", status=1)
    assert "other ids than recorded" in done.stderr and not (tmp_path / "y").exists()


def test_a_rehearsal_elsewhere_does_not_disturb_the_record(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "real", "--upto", "1")
    correct(source, "kern/main.c", "booting", "Booting")
    source.release("--to", tmp_path / "trial", "--upto", "2")
    source.release("--to", tmp_path / "real")
    source.release("--to", tmp_path / "again", "--replay")
    assert published(tmp_path / "again").tips() == published(tmp_path / "real").tips()
    source.release("--to", tmp_path / "mirror", "--replay", "2")
    assert published(tmp_path / "mirror").tips() == published(tmp_path / "trial").tips()


def test_dry_run_and_no_record(source: Source, tmp_path: Path) -> None:
    done = source.release("--to", tmp_path / "c", "--dry-run")
    assert "nothing was published" in done.stdout and not (tmp_path / "c").exists() and not source.git("tag")
    source.release("--to", tmp_path / "c", "--no-record")
    assert not source.git("tag")


def test_solutions_and_catch_up(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "s", "--solutions", "--upto", "2")
    solved = published(tmp_path / "s")
    assert set(solved.tips()) == {"sol1", "sol2"}
    assert "free_list = r->next" in solved.show("sol2", "kern/kalloc.c")
    solved.git("merge-base", "--is-ancestor", "sol1", "sol2")
    assert "repository of their own" in source.release("--to", tmp_path / "s", status=1).stderr
    source.release("--to", tmp_path / "c", "--upto", "2", "--catch-up", "1")
    course = published(tmp_path / "c")
    assert set(course.tips()) == {"lab1", "lab2", "lab2-catchup1"}
    assert "hcr_el2" in course.show("lab2-catchup1", "kern/entry.S")
    assert "free_list = r->next" not in course.show("lab2-catchup1", "kern/kalloc.c")
    assert "repository of their own" in source.release("--to", tmp_path / "c", "--solutions", status=1).stderr
    correct(source, "kern/main.c", "booting", "Booting")
    source.release("--to", tmp_path / "c")
    course.git("merge-base", "--is-ancestor", "lab2", "lab2-catchup1")
    assert "Booting" in course.show("lab2-catchup1", "kern/main.c"), "catch-up branches get corrections too"
    assert "--catch-up 3" in source.release("--to", tmp_path / "c", "--catch-up", "3", status=1).stderr
    source.release("--to", tmp_path / "again", "--replay")
    assert published(tmp_path / "again").tips() == course.tips()
    source.release("--to", tmp_path / "s2", "--replay", "--solutions")
    assert published(tmp_path / "s2").tips() == solved.tips()


# --- warnings about exercises -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, old, new, exercise",
    [
        ("kern/kalloc.c", "    return NULL;\n", "    return 0;\n", "kalloc"),
        ("kern/kalloc.c", "/* Takes a page. */", "/* Takes one page. */", "kalloc"),
        ("kern/kalloc.c", "char *\nkalloc(void)", "char *\nkalloc(int order)", "kalloc"),
        ("kern/uart.c", "/* Receives one", "/* Gets one", "uart_putc"),
        ("kern/uart.c", "    write(AUX_MU_BAUD, 270);\n", "    write(AUX_MU_BAUD, 271);\n", None),
        ("kern/kalloc.c", "    size_t n = 0;\n", "    size_t n = 0, m;\n", None),
        ("kern/kalloc.c", "        kfree(p);\n", "        kfree((char *)p);\n", None),
        ("kern/entry.S", "    b boot_start\n", "    bl boot_start\n", "el2_to_el1"),
        ("kern/entry.S", "_start:\n", "_start: /* ! */\n", None),
        ("kern/scratch.c", "/* Yours. */", "/* All yours. */", "kern/scratch.c"),
    ],
)
def test_a_correction_at_an_exercise_is_warned_about(
    path: str, old: str, new: str, exercise: str | None, source: Source, tmp_path: Path
) -> None:
    source.release("--to", tmp_path / "c")
    correct(source, path, old, new)
    done = source.release("--to", tmp_path / "c")
    assert ("warning:" in done.stderr) == (exercise is not None), done.stderr
    if exercise is not None:
        assert exercise in done.stderr and path in done.stderr
        assert done.stderr.count("warning:") == 1, "once, not for each branch"


# --- what is refused ----------------------------------------------------------------------------


def test_upto(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "c", "--upto", "2")
    tips = published(tmp_path / "c").tips()
    done = source.release("--to", tmp_path / "c", "--upto", "1", status=1)
    assert "labs 1 to 2 are published" in done.stderr and published(tmp_path / "c").tips() == tips
    assert "the source has labs 1 to 4" in source.release("--to", tmp_path / "c", "--upto", "5", status=1).stderr
    source.release("--to", tmp_path / "c", "--upto", "0", status=2)
    source.release("--to", tmp_path / "c", "--upto", "x", status=2)
    source.release(status=2)
    source.release("--to", tmp_path / "c", "--replay", "--upto", "1", status=2)


def test_foreign_commits(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "c", "--upto", "2")
    clone = Folder(tmp_path / "clone")
    source.git("clone", "-q", "-b", "lab1", str(tmp_path / "c"), str(clone.path))
    clone.write("kern/main.c", "mine")
    clone.commit("by hand")
    clone.git("push", "-q", "origin", "lab1")
    tips = published(tmp_path / "c").tips()
    correct(source, "kern/main.c", "booting", "Booting")
    done = source.release("--to", tmp_path / "c", status=1)
    assert "branch lab1 holds a commit that labs/release did not make" in done.stderr and "by hand" in done.stderr
    assert published(tmp_path / "c").tips() == tips and source.git("tag") == "release-1"


def test_branches_changed_by_hand(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "c", "--upto", "1")
    correct(source, "kern/main.c", "booting", "Booting")
    source.release("--to", tmp_path / "c", "--upto", "2")
    course = published(tmp_path / "c")
    course.git("branch", "-f", "lab2", "lab1~1")
    assert "is not an ancestor of" in source.release("--to", course.path, status=1).stderr
    course.git("branch", "-D", "lab1")
    assert "without a gap" in source.release("--to", course.path, status=1).stderr


def test_destinations(source: Source, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("x")
    (tmp_path / "file").write_text("x")
    assert "holds files and is not a git repository" in source.release("--to", full, status=1).stderr
    assert "is not a folder" in source.release("--to", tmp_path / "file", status=1).stderr
    assert "is the source itself" in source.release("--to", source.path, status=1).stderr
    source.git("clone", "-q", str(source.path), str(tmp_path / "other"))
    assert "inside the repository" in source.release("--to", tmp_path / "other" / "kern", status=1).stderr
    assert "cannot read" in source.release("--to", f"file://{tmp_path}/none", status=1).stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    source.release("--to", empty, "--upto", "1")
    source.git("clone", "-q", str(empty), str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "kern" / "main.c").exists(), "a fresh clone has files"
    bare = tmp_path / "bare"
    source.git("init", "-q", "--bare", str(bare))
    source.release("--to", f"file://{bare}", "--upto", "1")
    assert published(bare).tips() == published(empty).tips()
    assert source.git("tag") == "release-1", "the same publication once more is the same record"


def test_a_source_without_git(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    done = Source(tmp_path / "source").release("--to", tmp_path / "c", status=1)
    assert "is not a git repository" in done.stderr
    bare = Source(tmp_path / "fresh")
    bare.path.mkdir()
    bare.git("init", "-q")
    assert "there is no commit HEAD" in bare.release("--to", tmp_path / "c", status=1).stderr


def test_a_push_that_fails_leaves_nothing(source: Source, tmp_path: Path) -> None:
    source.release("--to", tmp_path / "c", "--upto", "1")
    course = published(tmp_path / "c")
    tips = course.tips()
    hook = course.path / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ntest "$1" != refs/heads/lab2\n')
    hook.chmod(0o755)
    correct(source, "kern/main.c", "booting", "Booting")
    done = source.release("--to", tmp_path / "c", "--upto", "2", status=1)
    assert "nothing is published" in done.stderr
    assert course.tips() == tips and source.git("tag") == "release-1"
    hook.unlink()
    source.release("--to", tmp_path / "c", "--upto", "2")
    assert source.git("tag").split() == ["release-1", "release-2"]


def test_recorded_and_not_pushed_is_made_good(source: Source, tmp_path: Path) -> None:
    """Killed between the tag and the push, the next run finishes the same publication."""
    source.release("--to", tmp_path / "c", "--upto", "1")
    source.release("--to", tmp_path / "d", "--replay")
    correct(source, "kern/main.c", "booting", "Booting")
    source.release("--to", tmp_path / "c")
    done = source.release("--to", tmp_path / "d")
    assert "recorded as release-2" in done.stdout and source.git("tag").split() == ["release-1", "release-2"]
    assert published(tmp_path / "c").tips() == published(tmp_path / "d").tips()


def test_help_and_colour(source: Source) -> None:
    text = source.release("--help").stdout
    assert "--catch-up" in text and "\033" not in text and "release-K" in text


# --- lab.toml -----------------------------------------------------------------------------------


def test_lab_toml_errors() -> None:
    good = source_files()["labs/lab1/lab.toml"]
    assert isinstance(good, str)
    assert labs.parse(1, good).title == "Boot"
    for old, new, message in [
        ('title = "Boot"', "", '"title" is missing'),
        ("points = 100", 'points = "x"', '"points" must be a whole number'),
        ("points = 100", "points = -1", "must not be negative"),
        ('clause = "it works"', 'clause = "it works"\nclaus = "x"', "unknown key 'claus'"),
        ('"kern/scratch.c"', '"/etc/passwd"', "is not a path inside the tree"),
        ('"kern/scratch.c"', '"../x"', "is not a path inside the tree"),
        ('student = ["kern/entry.S", "kern/uart.c"]', 'student = ["kern/uart.c"]', "is not listed under"),
        ('name = "all"', 'name = "All!"', "is not a C name"),
    ]:
        assert old in good
        with pytest.raises(labs.LabError, match=re.escape(message)):
            labs.parse(1, good.replace(old, new, 1))
    with pytest.raises(labs.LabError, match="labs/lab1/lab.toml is missing"):
        labs.parse_all({2: good})


def test_a_folder_is_a_labs(source: Source, tmp_path: Path) -> None:
    """An entry that ends in / is a whole folder; a file in it can still belong to another lab."""
    source.write("labs/lab2/lab.toml", source.read("labs/lab2/lab.toml").replace("files = [", 'files = ["user/", '))
    text = source.read("labs/lab3/lab.toml")
    source.write("labs/lab3/lab.toml", text.replace("files = [", 'files = ["user/c/x.c", '))
    for name in ("user/a.c", "user/b/a.c", "user/c/x.c", "user/c/y.c", "users.c"):
        source.write(name, f"/* {name} */\n")
    source.commit()
    source.release("--to", tmp_path / "c")
    course = published(tmp_path / "c")

    def brought(lab: int) -> set[str]:
        return {name for name in course.names(f"lab{lab}") if name.startswith("user")}

    assert brought(1) == {"users.c"}
    assert brought(2) == {"users.c", "user/a.c", "user/b/a.c", "user/c/y.c"}
    assert brought(3) == brought(2) | {"user/c/x.c"} == brought(4)

    found = labs.read(source.path)
    assert {"user/%", "user/c/x.c", "labs/lab2/%"} <= set(labs.later(found, 1))
    assert "user/%" not in labs.later(found, 2) and "user/c/x.c" in labs.later(found, 2)
    for path, lab in (("user/new.c", 2), ("user/c/x.c", 3), ("labs/lab4/x", 4), ("kern/main.c", 1)):
        assert labs.lab_of(found, path) == lab


def test_a_draft(source: Source, tmp_path: Path) -> None:
    """It can be built by number; but it is neither released nor the last lab, and its files reach nobody."""
    text = source.read("labs/lab4/lab.toml")
    source.write("labs/lab4/lab.toml", "draft = true\n" + text)
    source.commit()
    source.release("--to", tmp_path / "c")
    course = published(tmp_path / "c")
    assert [lab.number for lab in labs.read(source.path)] == [1, 2, 3]
    everything = labs.read(source.path, drafts=True)
    assert [lab.draft for lab in everything] == [False, False, False, True]
    assert set(everything[3].files) <= set(labs.later(everything, 3))
    assert not course.names("lab3") & set(everything[3].files)
    assert "1 to 3" in source.release("--to", tmp_path / "c", "--upto", "4", status=1).stderr
    with pytest.raises(labs.LabError, match="though lab 3 is none"):
        labs.parse_all({n: ("draft = true\n" if n == 2 else "") + source.read(f"labs/lab{n}/lab.toml").replace(
            "draft = true\n", "") for n in range(1, 5)})


def test_a_folder_that_is_missing(source: Source, tmp_path: Path) -> None:
    source.write("labs/lab3/lab.toml", source.read("labs/lab3/lab.toml").replace("files = [", 'files = ["users/", '))
    source.commit()
    done = source.release("--to", tmp_path / "c", status=1)
    assert "users/, listed under files, does not exist" in done.stderr
