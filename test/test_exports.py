"""JUnit XML, Gradescope and GitHub's step summary."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import pytest

import grading
from grade import export, gradescope, one

ROOT = grading.ROOT
EVIL = ("</failure>]]><x a='\"'/>&amp;\x00\x07\x1b[31m\ufffe\ud800\U0001f600\u202e\n```\n| a | b |\n</details>\n"
        "labs/lab2/check.c:1: passed\n@everyone <script>")


def check(name: str, points: int, kind: str = "passed", text: str = "", lab: int = 2) -> dict[str, Any]:
    return {"name": name, "lab": lab, "points": points, "score": points if kind == "passed" else 0,
            "passed": kind == "passed", "kind": kind, "message": text, "clause": "what is asked for", "seed": 9,
            "arguments": f"check={name} seed=9", "instructions": 1, "console": text}


def data(text: str = "why", **more: Any) -> dict[str, Any]:
    checks = [check("one", 40), check("two", 40, "failed", text), check("three", 20, "boot", text),
              check("old", 0, "judge", text, lab=1), check("older", 0, lab=1), check("odd", 0, "error", text, lab=1)]
    return {"lab": 2, "title": "T", "score": 40, "max": 100, "seed": 9, "seconds": 1234.5678, "problem": "",
            "build": {"ok": True, "output": ""}, "ignored": ["Makefile"], "notes": ["no sandbox"], "checks": checks, **more}


VARIANTS = {
    "plain": data(), "evil": data(EVIL, ignored=[EVIL], notes=[EVIL]),
    "unbuilt": data(EVIL, build={"ok": False, "output": EVIL}, checks=[check("one", 100, "build", EVIL)]),
    "refused": data(problem=EVIL, checks=[], build={"ok": False, "output": ""}),
    "full": data(checks=[check("one", 100)], score=100, ignored=[], notes=[]),
}

# ---- JUnit ------------------------------------------------------------------------------------------

# What the two schemas that tools check against have in common (Ant's and Jenkins'): per element the
# attributes, with their form, and the elements within, in order.  * any number, ? at most one.
TEXT, NUMBER, DECIMAL = r".*", r"\d+", r"\d+(\.\d+)?"
JUNIT: dict[str, tuple[dict[str, str], str]] = {
    "testsuites": ({}, r"(testsuite )*"),
    "testsuite": ({"id": NUMBER, "package": r"\S+", "name": r".+", "hostname": r"\S+", "tests": NUMBER, "failures": NUMBER,
                   "errors": NUMBER, "skipped": NUMBER, "time": r"\d{1,6}\.\d{3}",
                   "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"},
                  r"properties (testcase )*system-out system-err "),
    "properties": ({}, r"(property )*"),
    "property": ({"name": r".+", "value": TEXT}, r""),
    "testcase": ({"classname": r".+", "name": r".+", "time": DECIMAL}, r"((failure|error) )?"),
    "failure": ({"type": r".+", "message": TEXT}, r""),
    "error": ({"type": r".+", "message": TEXT}, r""),
    "system-out": ({}, r""), "system-err": ({}, r""),
}


def conforms(element: ET.Element) -> None:
    attributes, children = JUNIT[element.tag]
    assert set(element.attrib) == set(attributes)
    for name, value in element.attrib.items():
        assert re.fullmatch(attributes[name], value, re.DOTALL), (element.tag, name, value)
    assert re.fullmatch(children, "".join(child.tag + " " for child in element)), element.tag
    if children:
        assert not (element.text or "").strip()
    for child in element:
        conforms(child)


@pytest.mark.parametrize("variant", VARIANTS)
def test_junit_is_what_the_schemas_say(variant: str) -> None:
    text = export.junit(VARIANTS[variant])
    root = ET.fromstring(text.encode("utf-8"))
    conforms(root)
    suite = root[0]
    cases = suite.findall("testcase")
    assert suite.get("tests") == str(len(cases))
    assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suite.get("errors") == str(len(suite.findall("testcase/error")))
    assert not re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)


def test_junit_says_what_happened() -> None:
    suite = ET.fromstring(export.junit(data()))[0]
    assert [c.get("name") for c in suite.findall("testcase[failure]")] == ["two", "three", "old"]
    assert [c.get("name") for c in suite.findall("testcase[error]")] == ["odd"]
    said = suite.findtext("testcase[@name='three']/failure") or ""
    assert "what is asked for" in said and "| why" in said and 'make qemu ARGS="check=three seed=9"' in said
    assert "Makefile" in (suite.findtext("system-out") or "")


# ---- Gradescope -------------------------------------------------------------------------------------

FORMATS = {"text", "html", "simple_format", "md", "ansi"}
NUMBERS = (int, float)
# The specification's fields.
TOP = {"score": NUMBERS, "execution_time": NUMBERS, "output": str, "output_format": FORMATS, "test_output_format": FORMATS,
       "test_name_format": FORMATS, "visibility": set(gradescope.VISIBILITY), "stdout_visibility": set(gradescope.VISIBILITY),
       "extra_data": dict, "tests": list, "leaderboard": list}
TEST = {"score": NUMBERS, "max_score": NUMBERS, "status": {"passed", "failed"}, "name": str, "name_format": FORMATS,
        "number": str, "output": str, "output_format": FORMATS, "tags": list, "visibility": set(gradescope.VISIBILITY),
        "extra_data": dict}


def fits(values: dict[str, Any], fields: dict[str, Any]) -> None:
    for name, value in values.items():
        assert name in fields, name
        form = fields[name]
        assert value in form if isinstance(form, set) else isinstance(value, form), (name, value)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("visibility", gradescope.VISIBILITY)
def test_gradescope_results_are_what_the_specification_says(variant: str, visibility: str) -> None:
    results = json.loads(json.dumps(gradescope.results(VARIANTS[variant], visibility)))
    fits(results, TOP)
    for test in results["tests"]:
        fits(test, TEST)
        assert test["output_format"] == test["name_format"] == "text" and test["visibility"] == visibility
    assert results["output_format"] == "text" and results["stdout_visibility"] == "hidden"
    assert results["visibility"] == visibility and results["output"]
    assert results["score"] == VARIANTS[variant]["score"]
    assert sum(t["score"] for t in results["tests"]) in (results["score"], 0)
    text = json.dumps(results, ensure_ascii=False)
    assert "\x1b" not in text and "\u202e" not in text and "\\u001b" not in text


def test_gradescope_shows_earlier_labs_only_when_they_fail() -> None:
    names = [t["name"] for t in gradescope.results(data())["tests"]]
    assert names == ["one", "two", "three", "lab 1: old (worth no points here)", "lab 1: odd (worth no points here)"]


@pytest.fixture(scope="module")
def autograder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for lab 1, unpacked as Gradescope does it."""
    folder = tmp_path_factory.mktemp("gradescope")
    archive = folder / "autograder.zip"
    gradescope.make_zip(archive, 1, "after_published")
    first = archive.read_bytes()
    gradescope.make_zip(archive, 1, "after_published")
    assert archive.read_bytes() == first
    source = folder / "source"
    with zipfile.ZipFile(archive) as z:
        z.extractall(source)
        for info in z.infolist():
            (source / info.filename).chmod(info.external_attr >> 16 & 0o777)
    return source


def test_the_zip_holds_no_solutions(autograder: Path) -> None:
    assert os.access(autograder / "setup.sh", os.X_OK) and os.access(autograder / "run_autograder", os.X_OK)
    tree = autograder / gradescope.TREE
    for part in ("staff.mk", "test", "docs", "labs/lab1/mutants", "labs/lab2", "kern/vm.c", ".git"):
        assert not (tree / part).exists()
    for path in tree.rglob("*"):
        if path.is_file():
            assert not re.search(rb"\b(LAB|SOL)\b", path.read_bytes()), path
    for name in grading.course()[1].student:
        assert b"your code here" in (tree / name).read_bytes().lower()
    for script in ("setup.sh", "run_autograder"):
        subprocess.run(["sh", "-n", str(autograder / script)], check=True)


def run_autograder(autograder: Path, submission: Path, results: Path) -> dict[str, Any]:
    """What run_autograder does, at places of ours."""
    command = (autograder / "run_autograder").read_text()
    for there, here in (("/autograder/source", autograder), ("/autograder/submission", submission),
                        ("/autograder/results", results)):
        command = command.replace(there, str(here))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((results / "results.json").read_text())
    fits(found, TOP)
    assert isinstance(found, dict)
    return found


def test_the_zip_grades(autograder: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    good = run_autograder(autograder, grading.submission(tmp_path / "good", 1, 1), tmp_path / "results")
    assert good["score"] == 100 and good["visibility"] == "after_published"
    assert "release" not in good["output"]
    (tmp_path / "nothing").mkdir()
    bad = run_autograder(autograder, tmp_path / "nothing", tmp_path / "results")
    assert bad["score"] == 0 and "missing" in bad["output"] and not bad["tests"]


# ---- GitHub -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_summary_keeps_students_text_in_fences(variant: str) -> None:
    text = export.summary(VARIANTS[variant])
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    fence = None
    for line in text.splitlines():
        if fence is None and (opened := re.match(r"(`{3,})text$", line)):
            fence = opened[1]
        elif line == fence:
            fence = None
        elif fence is None:
            assert "@" not in line and "<script" not in line and "<x" not in line and "passed\n" not in line
            assert not line.startswith("labs/")
    assert fence is None


def test_the_summary_has_a_table() -> None:
    text = export.summary(data())
    assert text.startswith("## Lab 2: 40 of 100 points\n")
    assert "| two | 0/40 | ❌ failed |" in text and "| one | 40/40 | ✅ passed |" in text


def test_the_workflow() -> None:
    """labs/classroom.yml: its script lines are shell, and it asks for what the command line has."""
    text = (ROOT / "labs" / "classroom.yml").read_text()
    assert "GITHUB_STEP_SUMMARY" in text and "permissions:\n  contents: read\n" in text
    known = subprocess.run([sys.executable, "-B", "-m", "grade", "--help"], cwd=ROOT, capture_output=True, text=True).stdout
    asked = re.search(r"python3 -m grade \"\$work\" (.*)", text)
    assert asked and all(option in known for option in re.findall(r"--[a-z]+", asked[1]))
    scripts = re.findall(r"run: \|\n((?:          .*\n|\n)+)", text)
    assert scripts
    for script in scripts:
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


# ---- The command line -------------------------------------------------------------------------------


def test_all_formats_at_once(tmp_path: Path) -> None:
    work = grading.submission(tmp_path / "work", 1, 1)
    options = ["--junit", str(tmp_path / "j.xml"), "--gradescope", str(tmp_path / "g.json"), "--summary",
               str(tmp_path / "s.md"), "--check", "el"]
    status, found, said = grading.grade(work, 1, *options)
    assert status == 0, said
    conforms(ET.parse(tmp_path / "j.xml").getroot())
    fits(json.loads((tmp_path / "g.json").read_text()), TOP)
    assert found["score"] == 25 and "25 of 25" in (tmp_path / "s.md").read_text()


def test_a_refusal_reaches_the_formats(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    done = subprocess.run([sys.executable, "-B", "-m", "grade", str(tmp_path / "work"), "--lab", "1", "--junit",
                           str(tmp_path / "j.xml"), "--summary", str(tmp_path / "s.md")], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 2
    suite = ET.parse(tmp_path / "j.xml").getroot()[0]
    assert suite.get("errors") == "1" and "missing" in (tmp_path / "s.md").read_text()


@pytest.mark.parametrize("text, found", [
    (b'#line 3 "labs/lab1/check.c"\n', True), (b'  #  line 3\n', True), (b'# 12 "kern/main.c"\n', True),
    (b'%:line 3\n', True), (b'#/* x */line 3\n', True), (b'#\\\nline 3\n', True), (b'/* # line */ # 7 "x"\n', True),
    (b'/* see #line */\n#include <x.h>\n', False), (b'int line = 3;\n#define line 3\n', False),
    (b'#if 0\n#endif\n', False), (b'// a\n', False), (b"\tmov x0, #1\n", False), (b"    # 12 is a comment\n", False),
])
def test_line_directives_are_seen(text: bytes, found: bool) -> None:
    assert one.renames({"kern/vm.c": text}) == (["kern/vm.c"] if found else [])
