"""What the pages say about the tree is there: files, make targets, options, points, pictures."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "labs"))

import labs  # noqa: E402

HANDOUTS = sorted(ROOT.glob("labs/lab*/README.md"))
STUDENT = [ROOT / "labs/student.md", *HANDOUTS]
STAFF = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES = STUDENT + STAFF
PICTURES = sorted(ROOT.glob("labs/lab*/*.svg"))

EXTENSIONS = "c|h|S|ld|py|md|mk|svg|toml|sh"
PLACEHOLDER = re.compile(r"[A-Z]{3}|labN|labK|\*|<|\.\.\.")
MADE = ("obj/", "handins/")  # what commands on the pages write or are given
# Names of other people's files, and of files that the reader is to make.
FOREIGN = {"config.txt", "local.mk", "labs/course", "armstub8.S", "out.json"}


def ids(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def every(pages: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=ids(pages))


def tracked() -> set[str]:
    """The project's files, by git when there is a git."""
    done = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                          cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0 and done.stdout:
        return set(done.stdout.split("\n")) - {""}
    return {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()}


FILES = tracked()
FOLDERS = {"/".join(name.split("/")[:depth]) for name in FILES for depth in range(1, name.count("/") + 1)}


def blocks(text: str) -> Iterator[list[str]]:
    """The code blocks: runs of lines with four blanks in front, an empty line before them."""
    block: list[str] = []
    before = ""
    for line in [*text.split("\n"), "end"]:
        if line.startswith("    ") and (block or not before.strip() or before.startswith("    ")):
            block.append(line[4:])
        elif block and not line.strip():
            block.append("")
        elif block:
            yield block
            block = []
        before = line
    if block:
        yield block


def prose(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith("    "))


def spans(text: str) -> list[str]:
    """What stands `like this`."""
    return re.findall(r"`([^`]+)`", prose(text))


def commands(text: str) -> Iterator[str]:
    """Each command that a page tells the reader to type, without its comment."""
    for span in spans(text):
        yield " ".join(span.split())
    for block in blocks(text):
        for line in block:
            line = re.sub(r"\s#.*|\s{3,}.*", "", line.strip())
            yield from (part.strip() for part in re.split(r"&&|;", line))


@every(PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path = (page.parent / target.split("#")[0]).resolve()
        assert path.is_relative_to(ROOT), f"{target} is outside the project"
        assert path.exists(), f"{target} is not there"


@every(PAGES)
def test_named_files_exist(page: Path) -> None:
    text = re.sub(r"\]\([^)]*\)", "]", page.read_text(encoding="utf-8"))  # links have a test of their own
    named = set(re.findall(rf"(?<![\w/.-])([\w.-]+(?:/[\w.-]+)*\.(?:{EXTENSIONS}))(?![\w/-])", text))
    named |= {span for span in spans(text) if re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)*/?", span) and "/" in span}
    names = {name.split("/")[-1] for name in FILES}
    for name in sorted(named - FOREIGN):
        if PLACEHOLDER.search(name) or name.startswith(MADE) or re.match(r"origin/|refs/", name):
            continue
        if "/" in name:
            assert name.rstrip("/") in FILES | FOLDERS, f"{name} is not in the tree"
        else:
            assert name in names, f"no file is called {name}"


def targets(*makefiles: str) -> set[str]:
    found: set[str] = set()
    for makefile in makefiles:
        for path in ROOT.glob(makefile):
            text = path.read_text(encoding="utf-8")
            for names in re.findall(r"^([a-z][\w -]*):(?!=)", text, re.MULTILINE):
                found |= set(names.split())
    return found


@every(PAGES)
def test_make_targets_exist(page: Path) -> None:
    known = targets("Makefile", "labs/lab*/build.mk")
    if page not in STUDENT:
        known |= targets("staff.mk", "test/*.mk", "test/*/*.mk")
    for command in commands(page.read_text(encoding="utf-8")):
        if not re.match(r"make( |$)", command) or re.match(r"make [\w-]+: ", command):
            continue  # the latter is what make says
        for word in re.sub(r'"[^"]*"', "", command).split()[1:]:
            if "=" not in word and not word.startswith("-") and not PLACEHOLDER.search(word):
                assert word.rstrip(":") in known, f"`{command}`: there is no target {word}"


def options_of(*program: str) -> set[str]:
    done = subprocess.run([*program, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout))


@pytest.mark.parametrize("program", ["labs/release", "python3 -m grade", "python3 test/mutants.py", "./setup"])
def test_options_exist(program: str) -> None:
    words = program.split()
    known = options_of(*[sys.executable if word == "python3" else word for word in words])
    for page in PAGES:
        for command in commands(page.read_text(encoding="utf-8")):
            if command.startswith(program + " "):
                for option in re.findall(r"(?<=\s)--?[a-z][\w-]*", command[len(program):]):
                    assert option in known, f"{page.name}: `{command}`: {program} has no {option}"


@every(PAGES)
def test_shell_blocks_are_shell(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if re.match(r"(\./setup|make|git|labs/release|python3|for|cd) ", block[0] + " ") and \
                not re.match(r"make qemu: |make .*: [A-Z]", block[0]):
            text = "\n".join(re.sub(r"\s{3,}(?!#).*", "", line) if not line.startswith(" ") else line for line in block)
            done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
            assert done.returncode == 0, f"{block[0]}: {done.stderr}"


@every(sorted(ROOT.glob("docs/*.md")))
def test_pages_are_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").split("\n")) <= 200


@every(PAGES)
def test_pages_stay_in_the_project(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?<![\w/.])/(?:work|home|root|mnt|Users)/[\w/.-]*|\.\./shared[\w/.-]*", text)
    assert not found
    for word in ("TODO", "FIXME", "XXX", "CHECK_TABLE", "EXPECTED_BOOT", "BOOT_TRANSCRIPT"):
        assert word not in text


@every(STUDENT)
def test_no_marks_in_what_students_get(page: Path) -> None:
    assert not re.findall(r"\b(?:LAB|SOL)\b", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("lab", labs.read(ROOT), ids=lambda lab: f"lab{lab.number}")
def test_handout_agrees_with_lab_toml(lab: labs.Lab) -> None:
    text = (ROOT / lab.folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# Lab {lab.number}: {lab.title}\n")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
    assert rows == [(check.name, str(check.points)) for check in lab.checks]
    for exercise in lab.exercises:
        assert f"`{exercise.name}`" in text and f"`{exercise.file}`" in text
    for path in lab.optional:
        assert f"`{path}`" in text


def messages() -> str:
    """What kernel, programs, checks and grader can say, literals joined over line ends."""
    sources = [ROOT / name for name in sorted(FILES) if re.match(r"(kern|lib|user|labs/lab\d+|grade)/.*\.(c|py)\Z", name)]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources if source.is_file())
    return re.sub(r"[\"']\s*\n\s*f?[\"']", "", text)


@every(HANDOUTS)
def test_quoted_messages_exist(page: Path) -> None:
    """Each symptom in bold quotes something that is really said; numbers and ... stand for anything."""
    text = page.read_text(encoding="utf-8")
    section = text[text.index("## What usually goes wrong"):text.index("## Questions to think about")]
    said = messages()
    for bold in re.findall(r"\*\*(.+?)\*\*", " ".join(section.split())):
        for quote in re.findall(r"`([^`]+)`", bold):
            words = re.sub(r"\.\.\.|\b(?:0x[0-9a-f]+|[0-9]+)\b", " ", quote).split()
            pairs = [pair for pair in map(" ".join, zip(words, words[1:])) if len(pair) >= 9]
            assert not pairs or any(pair in said for pair in pairs), f"nothing says `{quote}`"


def test_readme_names_every_kernel_file() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in sorted(FILES) if re.fullmatch(r"kern/[^/]*\.[cS]", name) and name[5:] not in text]
    assert not missing


@pytest.mark.parametrize("picture", PICTURES, ids=ids(PICTURES))
def test_pictures(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text)
    tags = {element.tag.split("}")[-1] for element in tree.iter()}
    assert {"title", "desc"} <= tags and not tags & {"script", "image", "foreignObject"}
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert f"({picture.name})" in (picture.parent / "README.md").read_text(encoding="utf-8")
