"""Students in many shapes: how they edit, how they start, and how they go through the labs.

What a file must look like in the end is worked out here as well, from the release's own text: the
same edit made on the corrected file.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path

import cut
import rules
from gitrepo import Git
from rehearsal import Folder, Source

STYLES = ("in place", "rewritten", "helpers", "crlf", "crlf committed")


# --- editing ------------------------------------------------------------------------------------


def solved_by(files: cut.Source, lab: int, solved: int, style: str, skipped: Container[int] = ()) -> dict[str, str]:
    """The exercise files of release `lab` after a student has done labs 1 to `solved` in `style`, but
    for those `skipped`.

    An exercise that a later lab has the student extend looks as lab `solved` leaves it.
    """
    release = cut.Cut(files, lab, 0)
    done = {path: entry.number for entry in files.labs if entry.number <= solved and entry.number not in skipped
            for path in (*entry.student, *entry.optional)}  # the last lab in which the student worked on the file
    found: dict[str, list[rules.Spot]] = {}
    for spot in rules.spots(release, helpers=True):
        if spot.lab <= done.get(spot.path, 0):
            found.setdefault(spot.path, []).append(spot)
    result = {}
    for path, places in found.items():
        lines = release.text(path).decode().split("\n")
        for spot in reversed(places):
            file = release.origin[path]
            kept = file.kept(lab, done[path])
            answer = [file.lines[n].decode() for n in kept if spot.region.first < n < spot.region.last]
            _edit(lines, spot, answer, style)
        result[path] = "\n".join(lines)
    return result


def _edit(lines: list[str], spot: rules.Spot, answer: list[str], style: str) -> None:
    if style == "rewritten":
        answer = [re.sub(r"^( {4})+", lambda m: "\t" * (len(m[0]) // 4), line) for line in answer]
    last = spot.last + len(answer) - (spot.core_last - spot.core_first + 1)
    lines[spot.core_first : spot.core_last + 1] = answer
    if spot.path.endswith(".S") or spot.name == spot.path:
        return
    if style == "rewritten" and spot.first < spot.core_first:
        # the signature on one line, with its brace
        brace = lines.index("{", spot.first)
        signature = " ".join(lines[spot.first : brace]).replace("* ", "*")
        lines[spot.first : brace + 1] = [f"{signature} {{"]
    if style == "helpers":
        lines[last + 1 : last + 1] = ["", *_helper(f"after_{spot.name}")]
        top = spot.first
        while top > 0 and lines[top - 1].strip():  # above the function's comment
            top -= 1
        lines[top:top] = [*_helper(f"before_{spot.name}"), ""]


def _helper(name: str) -> list[str]:
    return [f"int {name}(int x);", "int", f"{name}(int x)", "{", "    return x + 1;", "}"]


@dataclass
class Corrections:
    """Corrections of the source far from every exercise: one of each kind."""

    source: Source

    def handout(self, lab: int) -> None:
        self._put(f"labs/lab{lab}/README.md", lambda text: text + "\nErratum: read twice.\n")

    def header(self, path: str = "inc/types.h") -> None:
        name = f"CORRECTED_{Path(path).stem.upper()}"

        def change(text: str) -> str:
            if known := re.search(rf"{name} (\d+)", text):
                return text.replace(known[0], f"{name} {int(known[1]) + 1}")
            return text.replace("#define", f"#define {name} 1\n#define", 1)

        self._put(path, change)

    def makefile(self) -> None:
        self._put("Makefile", lambda text: text.replace("\nCFLAGS", "\n# Corrected.\nCFLAGS", 1))

    def main(self) -> None:
        start = re.compile(r"\n(main\(.*\))\n\{\n")
        self._put("kern/main.c", lambda text: start.sub(r"\n\1\n{\n    /* Corrected. */\n", text, count=1))

    def staff_function(self, path: str) -> None:
        """A line more in a staff function of a file with exercises, clear of them."""
        files = cut.Source(Git(self.source.path), self.source.git("rev-parse", "HEAD"))
        file = files.released[path]
        taken = [range(r.first - 8, r.last + 9) for r in file.regions]
        for number, line in enumerate(file.lines):
            if line == b"{" and not any(number in numbers for numbers in taken):
                lines = [*file.lines[: number + 1], b"    /* Corrected. */", *file.lines[number + 1 :]]
                self.source.write(path, b"\n".join(lines))
                return
        raise AssertionError(f"{path} has no staff function away from its exercises")

    def _put(self, path: str, change: Callable[[str], str]) -> None:
        old = self.source.read(path)
        new = change(old)
        assert new != old, path
        self.source.write(path, new)


# --- a published course that can be wound to any stage ------------------------------------------


@dataclass
class Stages:
    """Everything a course publishes over a term, stage by stage."""

    store: Folder
    source: Source
    commits: list[str] = field(default_factory=list)
    tips: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sources: dict[str, cut.Source] = field(default_factory=dict)    # by commit: what is cut once is known

    def publish(self, message: str, upto: int) -> None:
        if self.source.git("status", "--porcelain"):
            self.source.commit(message)
        done = self.source.release("--to", self.store.path, "--upto", str(upto))
        self.warnings += [line for line in done.stderr.splitlines() if "uncommitted" not in line]
        self.commits.append(self.source.git("rev-parse", "HEAD"))
        self.tips.append(self.store.tips())

    def files(self, stage: int) -> cut.Source:
        commit = self.commits[stage]
        if commit not in self.sources:
            self.sources[commit] = cut.Source(Git(self.source.path), commit)
        return self.sources[commit]

    def course(self, path: Path) -> Course:
        shutil.copytree(self.store.path, path)
        course = Course(path, self)
        course.wind(0)
        return course


class Course(Folder):
    """The repository that students clone."""

    def __init__(self, path: Path, stages: Stages) -> None:
        super().__init__(path)
        self.stages = stages
        self.stage = 0

    def wind(self, stage: int) -> None:
        self.stage = stage
        for name in self.tips():
            if name not in self.stages.tips[stage]:
                self.git("update-ref", "-d", f"refs/heads/{name}")
        for name, tip in self.stages.tips[stage].items():
            self.git("update-ref", f"refs/heads/{name}", tip)

    @property
    def url(self) -> str:
        return f"file://{self.path}"


# --- students -----------------------------------------------------------------------------------


class Student(Folder):
    """Somebody who takes the course."""

    def __init__(self, path: Path, course: Course, style: str) -> None:
        super().__init__(path)
        self.course, self.style = course, style
        self.made: list[str] = []
        self.solved = 0
        self.skipped: tuple[int, ...] = ()
        self.extra: dict[str, str] = {}
        self.named_course = False

    # the ways to begin; each leaves a branch with lab 1 checked out

    def clone(self, *options: str, start: str = "origin/lab1") -> None:
        self.course.git("clone", "-q", *options, self.course.url, str(self.path))
        self.git("checkout", "-q", "-b", "dev", start)

    def fork(self) -> None:
        """A fork with the lab branches of that day, and `push -u` to it."""
        self.clone()
        bare = self.path.with_name(self.path.name + "-fork")
        self.git("clone", "-q", "--bare", self.course.url, str(bare))
        self.git("remote", "add", "fork", str(bare))
        self.git("push", "-q", "-u", "fork", "dev")

    def fork_as_origin(self) -> None:
        bare = self.path.with_name(self.path.name + "-fork")
        self.course.git("clone", "-q", "--bare", self.course.url, str(bare))
        self.course.git("clone", "-q", str(bare), str(self.path))
        self.git("checkout", "-q", "-b", "dev", "origin/lab1")
        self.git("push", "-q", "-u", "origin", "dev")
        self.git("remote", "add", "upstream", self.course.url)

    def work_on_lab1(self) -> None:
        """On a branch that is called lab1 itself, pushed to the fork as lab1."""
        self.fork()
        self.git("checkout", "-q", "-B", "lab1", "origin/lab1")
        self.git("branch", "-D", "dev")
        self.write("notes.txt", "x\n")
        self.save("notes")
        self.extra["notes.txt"] = "x\n"
        self.git("push", "-q", "-u", "fork", "lab1")

    def shallow(self) -> None:
        self.clone("--depth", "1", "--branch", "lab1", start="HEAD")

    def single_branch(self) -> None:
        self.clone("--single-branch", "--branch", "lab1")

    def autocrlf(self) -> None:
        self.clone("-c", "core.autocrlf=true")

    def unzip(self) -> None:
        self.path.mkdir()
        archive = self.course.path / "tree.tar"
        self.course.git("archive", "-o", str(archive), "lab1")
        self.run("tar", "xf", archive)
        archive.unlink()

    def zip(self) -> None:
        """A zip, never made a repository: `update` is told where the course is."""
        self.unzip()
        self.named_course = True

    def template(self) -> None:
        """A history of one's own that begins with the course's files."""
        self.unzip()
        self.git("init", "-q", "-b", "main")
        self.save("Initial commit")
        self.named_course = True

    def zip_of_windows(self) -> None:
        """Unpacked, all line ends CRLF, no executable bits, no .gitattributes when first committed."""
        self.unzip()
        attributes = self.read(".gitattributes")
        (self.path / ".gitattributes").unlink()
        for path in self.path.rglob("*"):
            if path.is_file():
                path.chmod(0o644)
                data = path.read_bytes()
                if b"\0" not in data:
                    path.write_bytes(data.replace(b"\n", b"\r\n"))
        self.git("init", "-q", "-b", "master")
        self.save("first")
        self.write(".gitattributes", attributes)
        self.save("attributes")
        self.named_course = True

    # working

    def save(self, message: str) -> None:
        self.made.append(self.commit(message))

    def solve(self, lab: int, release: cut.Source) -> None:
        """Does the exercises of one lab on the release that is checked out."""
        before = solved_by(release, lab, lab - 1, self.style, self.skipped)
        after = solved_by(release, lab, lab, self.style, self.skipped)
        self.solved = lab
        is_repository = (self.path / ".git").exists()
        for path, text in after.items():
            if before.get(path) == text:
                continue
            if self.style in ("crlf", "crlf committed"):
                text = text.replace("\n", "\r\n")
            self.write(path, text)
            if not is_repository:
                continue
            if self.style == "crlf committed":
                blob = self.git("hash-object", "-w", "--no-filters", path)
                self.git("update-index", "--cacheinfo", f"100644,{blob},{path}")
                self.git("commit", "-q", "-m", f"lab {lab}: {path} by upload")
                self.made.append(self.git("rev-parse", "HEAD"))
            else:
                self.save(f"lab {lab}: {path}")

    def scratch(self) -> None:
        """Work in the files that are the student's own."""
        text = self.read("kern/scratch.c").replace("\r\n", "\n")
        self.extra["kern/scratch.c"] = re.sub(r"(scratch\(void\)\n\{\n)", r"\1    /* mine */\n", text)
        assert self.extra["kern/scratch.c"] != text
        self.write("kern/scratch.c", self.extra["kern/scratch.c"])
        self.write("local.mk", "# mine\n")
        self.write("kern/mine.c", "int mine;\n")
        self.extra["kern/mine.c"] = "int mine;\n"
        if (self.path / ".git").exists():
            self.save("scratch")

    def work(self, *words: str, status: int = 0) -> str:
        """labs/work, as make calls it."""
        url = ["--course", self.course.url] if self.named_course and words[0] != "handin" else []
        quick = ["--no-checks"] if words[0] == "next-lab" else []
        done = self.run(sys.executable, "labs/work", *words, *url, *quick, status=status)
        assert "Traceback" not in done.stderr, done.stderr
        if words[0] != "handin" and status == 0:
            self.named_course = False
        return done.stdout + done.stderr

    # what must be true

    def check(self, lab: int, stage: int | None = None) -> None:
        """The tree is the release of this stage with the student's work, and no commit is lost."""
        stage = self.course.stage if stage is None else stage
        tip = self.course.stages.tips[stage][f"lab{lab}"]
        self.git("merge-base", "--is-ancestor", tip, "HEAD")
        solved = solved_by(self.course.stages.files(stage), lab, self.solved, self.style, self.skipped)
        wanted = solved | self.extra
        ours, theirs = self._tree("HEAD"), self._tree(tip)
        texts = Git(self.path).blobs(ours[path][1] for path in wanted if path in ours)
        for path, blob in theirs.items():
            if path in wanted:
                # .gitattributes gives LF in the repository, whatever the editor wrote
                assert texts[ours[path][1]].decode().replace("\r\n", "\n") == wanted[path], path
            else:
                assert ours.get(path) == blob, f"{path} lacks a correction"
        assert set(ours) - set(theirs) <= set(self.extra)
        for path, text in self.extra.items():
            assert texts[ours[path][1]].decode().replace("\r\n", "\n") == text
        kept = set(self.git("rev-list", "--glob=*").split())
        for commit in self.made:
            assert commit in kept, f"commit {commit} is lost"
        assert not self.git("status", "--porcelain"), "the working tree is clean"

    def _tree(self, commit: str) -> dict[str, tuple[str, str]]:
        rows = (row.split(None, 3) for row in self.git("ls-tree", "-r", commit).splitlines())
        return {path: (mode, blob) for mode, _, blob, path in rows}


# --- ways through the labs ----------------------------------------------------------------------
# Stage 0: lab 1 is out.  1: lab 2 too.  2: corrections of lab 1.  3: of lab 2.  4: lab 3 is out.
# 5: corrections of all three.  6: lab 4 is out.  7: corrections of all four.  Each way ends at the last
# stage; `labs` is how many labs the course has.


def solve_here(student: Student, lab: int, stage: int) -> None:
    student.solve(lab, student.course.stages.files(stage))


def careful(student: Student, labs: int) -> None:
    """Updates whenever something is out."""
    solve_here(student, 1, 0)
    for stage in range(1, len(student.course.stages.tips)):
        student.course.wind(stage)
        student.work("update")
        student.check(student.solved, stage)
        if f"lab{student.solved + 1}" in student.course.stages.tips[stage]:
            student.work("next-lab")
            student.check(student.solved + 1, stage)
            solve_here(student, student.solved + 1, stage)
    student.check(labs)


def late(student: Student, labs: int) -> None:
    """Stays with lab 1 until everything is out, then catches up."""
    solve_here(student, 1, 0)
    last = len(student.course.stages.tips) - 1
    student.course.wind(last)
    for lab in range(2, labs + 1):
        student.work("next-lab")
        student.check(lab)
        solve_here(student, lab, last)
    student.check(labs)


def early(student: Student, labs: int) -> None:
    """Goes on at once, half done; meets lab 1's corrections in lab 2."""
    student.course.wind(1)
    solve_here(student, 1, 0)
    student.work("next-lab")
    student.check(2)
    solve_here(student, 2, 1)
    for stage in range(2, len(student.course.stages.tips)):
        student.course.wind(stage)
        student.work("update")
        student.check(2)
    for lab in range(3, labs + 1):
        student.work("next-lab")
        student.check(lab)
        solve_here(student, lab, len(student.course.stages.tips) - 1)
    student.check(labs)


def merging(student: Student, labs: int) -> None:
    """Merges by hand instead of rebasing, then uses the tools after all."""
    solve_here(student, 1, 0)
    student.course.wind(2)
    remote = student.git("remote").split()[-1]
    student.git("fetch", "-q", remote)
    student.git("merge", "-q", "--no-edit", f"{remote}/lab1")
    student.made.append(student.git("rev-parse", "HEAD"))
    student.check(1)
    student.course.wind(len(student.course.stages.tips) - 1)
    student.git("fetch", "-q", remote)
    student.git("merge", "-q", "--no-edit", f"{remote}/lab2")
    student.check(2)
    solve_here(student, 2, student.course.stage)
    student.work("update")
    for lab in range(3, labs + 1):
        student.work("next-lab")
        student.check(lab)
        solve_here(student, lab, student.course.stage)
    student.check(labs)


def by_hand(student: Student, labs: int) -> None:
    """The handout's own sequence, with git alone; corrections of an earlier lab on its own branch."""

    def rebase(onto: str) -> None:
        """As git does it: the commits are copied, and the copies count from then on."""
        subjects = [student.git("log", "-1", "--format=%s", commit) for commit in student.made]
        student.git("rebase", "-q", onto)
        copies = student.git("rev-list", "--reverse", f"{onto}..HEAD").split()
        assert [student.git("log", "-1", "--format=%s", commit) for commit in copies] == subjects
        student.made = copies

    def out(lab: int) -> int:
        return next(stage for stage, tips in enumerate(student.course.stages.tips) if f"lab{lab}" in tips)

    last = len(student.course.stages.tips) - 1
    solve_here(student, 1, 0)
    finished = []
    for lab in range(2, labs + 1):
        finished.append(list(student.made))
        student.course.wind(out(lab))
        student.git("fetch", "-q")
        student.git("checkout", "-q", "-b", f"dev-lab{lab}")
        rebase(f"origin/lab{lab}")
        student.check(lab)
        solve_here(student, lab, student.course.stage)
        student.course.wind(out(lab + 1) - 1 if lab < labs else last)
        student.git("fetch", "-q")
        rebase(f"origin/lab{lab}")
        student.check(lab)
    newest, student.made = student.made, finished[0]
    student.git("checkout", "-q", "dev")
    student.solved = 1
    rebase("origin/lab1")
    student.check(1)
    student.solved = labs
    student.made += newest
    student.git("checkout", "-q", f"dev-lab{labs}")
    student.work("update")
    student.check(labs)


def skipping(student: Student, labs: int) -> None:
    """Never does lab 2: goes on with lab 3 at once, and writes of kalloc what it is there."""
    solve_here(student, 1, 0)
    last = len(student.course.stages.tips) - 1
    student.course.wind(last)
    student.work("next-lab", "--lab", "3")
    student.skipped = (2,)
    for lab in range(3, labs + 1):
        student.check(lab)
        solve_here(student, lab, last)
        student.work("next-lab" if lab < labs else "update")
    student.check(labs)


STARTS: dict[str, Callable[[Student], None]] = {
    "clone": Student.clone,
    "fork": Student.fork,
    "fork as origin": Student.fork_as_origin,
    "on lab1": Student.work_on_lab1,
    "shallow": Student.shallow,
    "single branch": Student.single_branch,
    "autocrlf": Student.autocrlf,
    "zip": Student.zip,
    "template": Student.template,
    "zip of Windows": Student.zip_of_windows,
}
WAYS = {"careful": careful, "late": late, "early": early, "merging": merging, "by hand": by_hand, "skipping": skipping}
OWN_HISTORY = ("zip", "template", "zip of Windows")
