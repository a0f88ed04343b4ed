"""A whole class: many submissions, stopped and resumed, and the reports of them."""

from __future__ import annotations

import csv
import html.parser
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

import grading
from grade import page, sheet, store
from grade.submission import Submission

ROOT = grading.ROOT
FILES = ("kern/entry.S", "kern/uart.c", "kern/backtrace.c")

# Runs the command line with grading itself replaced: a submission's uart.c says what it scores, and
# what else happens. Each grading leaves a line in a log, which shows what was done twice.
FAKE = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from grade import __main__ as command, crew, one, run
log = Path({log!r})

def grade(course, taken, seed, scratch, jobs=1, progress=None):
    text = taken.files["kern/uart.c"].decode()
    with open(log, "a") as f:
        f.write(text.split()[0] + "\\n")
    time.sleep({pause})
    if "kill" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "raise" in text:
        raise RuntimeError("boom")
    if "nospace" in text:
        raise OSError(28, "No space left on device")
    score = int(text.split()[1]) if text.split()[1:] else 0
    results = [run.Result(c.name, m.number, p, p if i * 25 < score else 0, i * 25 < score,
                          "passed" if i * 25 < score else "failed", "" if i * 25 < score else text, c.clause, seed,
                          "check=" + c.name, 1, text) for i, (m, c, p) in enumerate(course.wanted)]
    return {{"lab": course.number, "title": course.lab.title, "score": sum(r.score for r in results), "max": 100,
             "seed": seed, "seconds": time.monotonic(), "build": {{"ok": "unbuilt" not in text, "output": text}},
             "ignored": taken.ignored, "notes": []}}, results

one.grade = grade
real = crew.make_slot
def make_slot(course, folder):
    folder.mkdir()
    (folder / "template").mkdir()
    return crew.Slot(folder / "tree", folder / "template", folder / "scratch")
crew.make_slot = make_slot
sys.exit(command.main(sys.argv[1:]))
"""


class Class:
    """A folder of submissions, and the command that grades it."""

    def __init__(self, folder: Path):
        self.folder, self.out, self.log = folder / "class", folder / "out", folder / "log"
        self.folder.mkdir()

    def add(self, name: str, text: str) -> Path:
        for file in FILES:
            target = self.folder / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return self.folder / name

    def start(self, *options: str, pause: float = 0.0) -> subprocess.Popen[str]:
        script = self.folder.parent / "fake.py"
        script.write_text(FAKE.format(root=str(ROOT), log=str(self.log), pause=pause))
        return subprocess.Popen([sys.executable, "-B", str(script), "--class", str(self.folder), "--lab", "1", "--out",
                                 str(self.out), "--jobs", "2", *options], cwd=ROOT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *options: str, status: int = 0) -> str:
        process = self.start(*options)
        said, errors = process.communicate(timeout=120)
        assert process.returncode == status, said + errors
        return said + errors

    def graded(self) -> list[str]:
        return sorted(self.log.read_text().split()) if self.log.exists() else []

    def table(self) -> dict[str, dict[str, str]]:
        with open(self.out / "results.csv", newline="", encoding="utf-8") as f:
            return {row["submission"]: row for row in csv.DictReader(f)}

    def reports(self) -> tuple[str, str]:
        return (self.out / "results.csv").read_text(), (self.out / "index.html").read_text()


@pytest.fixture
def course(tmp_path: Path) -> Class:
    return Class(tmp_path)


def test_every_submission_gets_its_result(course: Class) -> None:
    course.add("alice", "a 100")
    course.add("bob", "b 50")
    course.add("carol-10", "c 0 unbuilt")
    course.add("carol-9", "c 0")
    for name in ("killed", "raises", "full"):
        course.add(name, {"killed": "kill", "raises": "raise", "full": "nospace"}[name])
    (course.folder / "notes.txt").write_text("no submission")
    (course.folder / "empty").mkdir()
    (course.folder / ".hidden").mkdir()
    (course.folder / "loop").symlink_to(course.folder)
    said = course.run(status=3)
    table = course.table()
    assert list(table) == ["alice", "bob", "carol-9", "carol-10", "empty", "full", "killed", "loop", "notes.txt", "raises"]
    assert (table["alice"]["score"], table["alice"]["el"], table["alice"]["backtrace"]) == ("100", "25", "30")
    assert (table["bob"]["score"], table["bob"]["not passed"]) == ("45", "uart backtrace")
    assert table["carol-10"]["problem"] == "it does not compile"
    assert table["killed"]["status"] == table["raises"]["status"] == table["full"]["status"] == "error"
    assert "signal 9" in table["killed"]["problem"] and "No space" in table["full"]["problem"]
    assert table["notes.txt"]["status"] == table["empty"]["status"] == table["loop"]["status"] == "refused"
    assert "4 graded, 3 cannot be graded, 3 with trouble" in said
    assert not list(course.out.glob(".work")) and not [p for p in course.out.rglob("*") if p.name.endswith(".part")]


def test_nothing_is_done_twice(course: Class) -> None:
    for n in range(6):
        course.add(f"s{n}", f"s{n} {n * 25}")
    course.run()
    first = course.reports()
    assert course.graded() == [f"s{n}" for n in range(6)]
    assert "6 kept" in course.run()
    assert course.graded() == [f"s{n}" for n in range(6)] and course.reports() == first
    course.add("s3", "s3 100 better")
    course.run()
    assert course.graded().count("s3") == 2 and len(course.graded()) == 7
    course.run("--seed", "7")
    assert len(course.graded()) == 13 and course.table()["s0"]["seed"] == "7"


def test_trouble_of_ours_is_tried_again(course: Class) -> None:
    course.add("s", "raise")
    course.run(status=3)
    course.run(status=3)
    assert len(course.graded()) == 2


def test_a_result_that_is_broken_is_made_anew(course: Class) -> None:
    course.add("s", "s 100")
    course.run()
    for text in ("", "{", "[]", '{"format": 1}', '{"format": 0, "checks": []}'):
        (course.out / "results" / "s.json").write_text(text)
        course.run()
    assert len(course.graded()) == 6 and course.table()["s"]["score"] == "100"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_and_resumed(course: Class, tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "other").mkdir()
    undisturbed = Class(tmp_path / "other")
    for c in (course, undisturbed):
        for n in range(12):
            c.add(f"s{n}", f"s{n} {n * 10}")
    undisturbed.run()
    process = course.start(pause=0.4)
    until = time.monotonic() + 60
    while len(list((course.out / "results").glob("*.json"))) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(how)
    process.communicate(timeout=60)
    done = len(list((course.out / "results").glob("*.json")))
    assert 4 <= done < 12 and not list((course.out / "results").glob("*.part"))
    if how != signal.SIGKILL:
        assert "not graded yet" in course.reports()[0]
    said = course.run()
    assert f"{done} kept" in said
    assert course.reports() == undisturbed.reports()
    again = [name for name in course.graded() if course.graded().count(name) > 1]
    assert len(set(again)) <= 2         # those under way when it was stopped
    if how == signal.SIGKILL:
        assert not (course.out / ".work").exists()


def test_what_a_killed_run_left_is_cleared_away(course: Class) -> None:
    for n in range(4):
        course.add(f"s{n}", f"s{n} 100")
    process = course.start(pause=0.5)
    until = time.monotonic() + 60
    while not ((course.out / ".work").exists() and (course.out / ".work").read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    scratch = [Path(line) for line in (course.out / ".work").read_text().splitlines()]
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert len(scratch) == 2 and all(folder.is_dir() for folder in scratch)
    course.run()
    assert not any(folder.exists() for folder in scratch)


def test_two_runs_do_not_share_results(course: Class) -> None:
    for n in range(4):
        course.add(f"s{n}", f"s{n} 100")
    first = course.start(pause=60)
    until = time.monotonic() + 60
    while not ((course.out / ".work").exists() and (course.out / ".work").read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    assert "another run" in course.run(status=2)
    first.terminate()
    first.communicate(timeout=60)


def test_one_by_one_and_collected(course: Class) -> None:
    """As GNU parallel does it: each submission by itself, then the reports."""
    for n in range(3):
        course.add(f"s{n}", f"s{n} {n * 50}")
    names = course.run("--list").split()
    assert names == ["s0", "s1", "s2"]
    for name in names[:2]:
        course.run("--only", name)
    assert course.run("--list").split() == ["s2"]
    assert "2 results, 1 not graded yet" in course.run("--collect")
    assert course.table()["s2"]["status"] == "not graded yet"
    course.add("s0", "s0 100 changed")
    assert course.run("--list").split() == ["s0", "s2"]
    course.run("--only", "s0", "--only", "s2")
    course.run("--collect")
    (course.folder.parent / "w").mkdir()
    whole = Class(course.folder.parent / "w")
    shutil.copytree(course.folder, whole.folder, dirs_exist_ok=True)
    whole.run()
    assert whole.reports() == course.reports()
    assert "there is no nobody" in course.run("--only", "nobody", status=2)


def test_results_from_other_machines(course: Class) -> None:
    """Printed there, one line each, and taken in here: odd names and other words between the lines included."""
    for name in ("alice", "-b c (2)", "\u00e4'$(touch x)"):
        course.add(name, f"s {100 if name == 'alice' else 0}")
    lines = [course.run(f"--only={name}", "--print") for name in course.run("--list").splitlines()]
    assert not course.out.exists() or not list((course.out / "results").iterdir())
    printed = course.folder.parent / "printed"
    printed.write_text('ssh: hello\n[]\n{"file": "../../x.json"}\n{"file": "alice.json", "format": 1}\n' + "".join(lines)
                       + json.dumps({"file": "nobody.json", "format": 1, "checks": [], "status": "graded"}) + "\n")
    assert "3 results, 0 not graded yet" in course.run("--collect", str(printed))
    assert course.table()["alice"]["score"] == "100" and len(list((course.out / "results").iterdir())) == 3
    assert "3 kept" in course.run()
    assert "goes with" in course.run("--print", status=2)


def test_bad_usage(course: Class) -> None:
    assert "nothing in" in course.run(status=2)
    course.add("s", "s 100")
    assert "do not belong into" in course.run("--out", str(course.folder / "results"), status=2)
    assert "not a date" in course.run("--before", "yesterday", status=2)


# ---- Odd names --------------------------------------------------------------------------------------

ODD = ["=cmd|' C calc'!A0", "<script>alert(1)<!--", "a\nb", "-rf", "--out", "x" * 240, "\u202egnp.exe", "'\"&",
       "@SUM(1)", "+1", "\x1b[31mred", "Zoë Ångström", "100%", "a,b;c\td", "\uff1d1"]


def test_odd_names(course: Class) -> None:
    for name in ODD:
        course.add(name, "s 100")
    course.add("plain", "s 0 =1+1 <img src=x onerror=alert(1)> \x1b]0;title\x07 ]]> </script>")
    raw = os.fsencode(course.folder) + b"/\xff\xfe"
    os.mkdir(raw)
    said = course.run()
    assert "\x1b" not in said
    files = os.listdir(course.out / "results")
    assert len(files) == len(ODD) + 2 and all(f.isascii() and f.isprintable() and not f.startswith(("-", ".")) for f in files)
    with open(course.out / "results.csv", newline="", encoding="utf-8") as f:
        for row in list(csv.reader(f))[1:]:
            assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\uff1d")) for cell in row)
            assert all(cell.isprintable() for cell in row)
    look(course.out / "index.html")


def test_result_files_have_names_of_their_own() -> None:
    assert store.file_name("alice") == "alice.json" and store.file_name(".x") == "%2Ex.json"
    assert store.file_name("a/b") == "a%2Fb.json" and len(store.file_name("ä" * 250)) < 200
    assert len({store.file_name(n) for n in [*ODD, "x" * 239, "x" * 241, "%3D", "="]}) == len(ODD) + 4


def test_cells() -> None:
    assert sheet.safe("alice") == "alice" and sheet.safe(3) == 3
    for text in ("=1", " =1", "\t=1", "+1", "-1", "@x", "\uff1d1", "|x"):
        assert sheet.safe(text).startswith("'")


# ---- The page ---------------------------------------------------------------------------------------


class Looker(html.parser.HTMLParser):
    """What the page consists of."""

    VOID = {"meta", "input", "br", "rect"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def count(self, tag: str) -> int:
        return sum(t == tag for t, _ in self.tags)


def look(path: Path) -> Looker:
    """The page, which must be whole, without anything of a student's that is not text."""
    text = path.read_text(encoding="utf-8")
    looker = Looker()
    looker.feed(text)
    looker.close()
    assert not looker.open
    ids = [a["id"] for _, a in looker.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert looker.count("script") == looker.count("style") == 1
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "ul", "li", "b", "svg", "rect", "text", "div",
               "label", "input", "select", "option", "output", "table", "thead", "tbody", "tr", "th", "td", "button",
               "small", "span", "a", "bdi", "dialog", "section", "h2", "h3", "p", "pre", "code", "details", "summary",
               "script"}
    for tag, attributes in looker.tags:
        assert tag in allowed, tag
        assert not any(name.startswith("on") or name in ("src", "style", "srcdoc") for name in attributes)
        if tag == "a":
            assert (attributes["href"] or "").startswith("#s")
    policy = next(a["content"] or "" for t, a in looker.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not any(mark in text for mark in ("\x1b", "\u202e", "http://", "https://"))
    return looker


def result(name: str, message: str, **more: Any) -> dict[str, Any]:
    checks = [{"name": check, "lab": 2, "points": 50, "score": 0, "passed": False, "kind": "boot", "message": message,
               "clause": "what is asked for", "seed": 1, "arguments": "check=x", "instructions": 1, "console": message}
              for check in ("one", "two")]
    return {"entry": name, "lab": 2, "status": "graded", "problem": "", "origin": {"commit": message}, "key": "k",
            "content": "c", "title": message, "score": 0, "max": 100, "seed": 1, "seconds": 1.0,
            "build": {"ok": True, "output": message}, "ignored": [message], "notes": [message], "checks": checks, **more}


EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e\x00 {{x}} <!-- ]]>"


def test_nothing_of_a_students_gets_into_the_page(tmp_path: Path) -> None:
    results = []
    for n, more in enumerate(({}, {"build": {"ok": False, "output": EVIL}}, {"status": "refused", "problem": EVIL})):
        path = tmp_path / f"{n}.json"
        data = result(EVIL, EVIL, **more)
        data["checks"][0]["kind"] = EVIL        # not even from a result file that somebody edited
        store.write(path, data)
        results.append((EVIL, path))
    results.append((EVIL, tmp_path / "missing.json"))
    page.write(tmp_path / "index.html", results, 2, EVIL)
    look(tmp_path / "index.html")


def test_the_page_has_what_it_should(course: Class) -> None:
    course.add("alice", "a 100")
    course.add("bob", "b 50")
    course.add("carol", "c 0 unbuilt")
    (course.folder / "dave").mkdir()
    course.run()
    looker = look(course.out / "index.html")
    assert looker.count("tr") == 1 + 4 and looker.count("section") == 4
    rows = [a for t, a in looker.tags if t == "tr" and "data-name" in a]
    assert [r["data-name"] for r in rows] == ["alice", "bob", "carol", "dave"]
    assert [r["data-is"] for r in rows] == ["graded full", "graded part", "graded part unbuilt", "refused"]
    assert rows[1]["data-fails"] == "1.uart 1.backtrace"
    heads = [a for t, a in looker.tags if t == "th" and "aria-sort" in a]
    assert len(heads) == 2 + 4 and all(a["scope"] == "col" for a in heads)
    assert ("small", "67 %") in looker.texts        # el and bss, of the three that were graded
    for tag, attributes in looker.tags:
        if tag == "button":
            assert attributes["type"] == "button"
    labels = {a["href"] for t, a in looker.tags if t == "a"}
    assert labels <= {"#" + str(a["id"]) for t, a in looker.tags if t == "section"}


# ---- For real ---------------------------------------------------------------------------------------


def test_a_small_real_class(tmp_path: Path) -> None:
    """The reference as an archive, the starter as a folder, one that does not compile, one that is nothing."""
    entries = tmp_path / "class"
    entries.mkdir()
    reference = grading.submission(tmp_path / "reference", 1, 1)
    with tarfile.open(entries / "reference.tar.gz", "w:gz") as out:
        out.add(reference, "handin-lab1")
    grading.submission(entries / "starter", 1, 0)
    broken = grading.submission(entries / "broken", 1, 1)
    (broken / "kern" / "uart.c").write_text('#line 7 "labs/lab1/check.c"\nint x = ;\n')
    (entries / "readme.txt").write_text("nothing")

    def run(out: str) -> dict[str, dict[str, str]]:
        done = subprocess.run([sys.executable, "-B", "-m", "grade", "--class", str(entries), "--lab", "1", "--out",
                               str(tmp_path / out), "--jobs", "2"], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(tmp_path / out / "results.csv", newline="", encoding="utf-8") as f:
            return {row["submission"]: row for row in csv.DictReader(f)}

    table = run("out")
    assert {n: row["score"] for n, row in table.items()} == {
        "reference.tar.gz": "100", "starter": "0", "broken": "0", "readme.txt": ""}
    assert table["broken"]["problem"] == "it does not compile"
    notes = json.loads((tmp_path / "out" / "results" / "broken.json").read_text())["notes"]
    assert any("kern/uart.c" in note and "#line" in note for note in notes)
    look(tmp_path / "out" / "index.html")
    assert run("again") == table
    assert not (tmp_path / "out" / ".work").exists()


def test_contents_and_seeds() -> None:
    one, two = Submission({"a": b"xb", "b": b""}), Submission({"a": b"x", "b": b"b"})
    assert store.content_of(one) != store.content_of(two)
    assert store.seed_of("c", 1) == store.seed_of("c", 1) != store.seed_of("c", 2)
