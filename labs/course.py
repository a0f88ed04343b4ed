"""The course as a student's clone sees it: which remote it is, what it has published, and on which
of its releases the student's work stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from gitrepo import Git, GitError
from say import Refused, step, warn

# Every commit that labs/release makes carries this committer and a trailer that names its source.
RELEASE_EMAIL = "release@bramble.invalid"
SOURCE_TRAILER = "Source"

ADDRESS_FILE = "labs/course"  # the course's URL, when staff give it along
_LAB_REF = re.compile(r"refs/heads/lab([1-9][0-9]*)\Z")
_LAB_FILE = re.compile(r"labs/lab([1-9][0-9]*)/lab\.toml\Z")
_REMOTE_NAMES = ("course", "upstream", "origin")

HOW_TO_NAME = "Say where the course is, once:  make {command} COURSE=URL"


@dataclass(frozen=True)
class Course:
    """The remote that publishes the labs, and the newest release of each."""

    remote: str
    url: str
    tips: dict[int, str]

    def ref(self, lab: int) -> str:
        return f"{self.remote}/lab{lab}"


def is_release(git: Git, commit: str) -> bool:
    """Did labs/release make this commit?"""
    row = git.text("log", "-1", f"--format=%ce %(trailers:key={SOURCE_TRAILER},valueonly,separator=%x20)", commit)
    email, _, source = row.partition(" ")
    return email == RELEASE_EMAIL and bool(source.strip())


def lab_of(git: Git, commit: str) -> int:
    """The last lab in the tree of `commit`; 0 when it is no Bramble."""
    rows = git.lines("ls-tree", "-r", "--name-only", "--full-tree", commit, "labs/")
    return max((int(match[1]) for row in rows if (match := _LAB_FILE.match(row))), default=0)


def _place(url: str) -> str:
    """What two spellings of a repository's address have in common."""
    url = re.sub(r"^[a-z+]+://([^/@]*@)?", "", url.strip())
    url = re.sub(r"^[^/@]+@([^/:]+):", r"\1/", url)
    return url.rstrip("/").removesuffix(".git").lower()


def _remotes(git: Git) -> dict[str, str]:
    return {name: git.text("remote", "get-url", name) for name in git.lines("remote")}


def _add_remote(git: Git, url: str) -> None:
    """Makes `url` a remote of this clone, unless it is one."""
    remotes = _remotes(git)
    if _place(url) in (_place(known) for known in remotes.values()):
        return
    name = "course"
    if name in remotes:
        git.data("remote", "set-url", name, url)
        step(f"remote {name} is now {url} (it was {remotes[name]})")
    else:
        git.data("remote", "add", name, url)
        step(f"added the remote {name}: {url}")


def find(git: Git, root: Path, url: str | None, command: str) -> Course:
    """Fetches the lab branches of every remote and picks the course among them.

    A fork has lab branches too.  The course is the remote whose branches are all staff's and are
    the furthest on; a branch with a student's own commits is not one of the course's.
    """
    if url:
        if Path(url).exists():
            url = str(Path(url).resolve())
        _add_remote(git, url)
    elif (root / ADDRESS_FILE).is_file() and (given := (root / ADDRESS_FILE).read_text().strip()):
        _add_remote(git, given)
    remotes = _remotes(git)
    if not remotes:
        raise Refused("this clone has no remote, so the course is not known.\n" + HOW_TO_NAME.format(command=command))
    found: list[Course] = []
    foreign: list[str] = []
    for name, address in sorted(remotes.items(), key=lambda item: _rank(item[0])):
        heads = _lab_heads(git, name)
        if heads is None:
            continue
        if not heads:
            continue
        _fetch(git, name, sorted(heads))
        tips = {lab: tip for lab, tip in heads.items() if is_release(git, tip)}
        foreign += [f"{name}/lab{lab}" for lab in sorted(set(heads) - set(tips))]
        if tips:
            found.append(Course(name, address, tips))
    if not found:
        why = "no remote of this clone has the course's branches lab1, lab2, ..."
        if foreign:
            why = f"{', '.join(foreign)} hold commits that are not the course's: that is a fork, not the course."
        raise Refused(f"{why}\n" + HOW_TO_NAME.format(command=command))
    # max keeps the first of equals
    return max(found, key=lambda course: int(git.text("rev-list", "--count", *course.tips.values())))


def _rank(name: str) -> tuple[int, str]:
    return (_REMOTE_NAMES.index(name) if name in _REMOTE_NAMES else len(_REMOTE_NAMES), name)


def _lab_heads(git: Git, remote: str) -> dict[int, str] | None:
    """Lab branches of a remote; None when it cannot be reached and never had any."""
    try:
        rows = git.lines("ls-remote", "--heads", remote, "refs/heads/lab*")
    except GitError as error:
        if git.ok("rev-parse", "--verify", "--quiet", f"refs/remotes/{remote}/lab1"):
            raise Refused(
                f"cannot reach {remote}, which has lab branches; nothing was changed.\n{error}\n"
                f"Try again when it is there; if it is gone for good: git remote remove {remote}"
            ) from None
        warn(f"cannot reach the remote {remote}; going on without it ({str(error).splitlines()[-1]})")
        return None
    found = {}
    for row in rows:
        tip, ref = row.split("\t")
        if match := _LAB_REF.match(ref):
            found[int(match[1])] = tip
    return found


def _fetch(git: Git, remote: str, labs: Sequence[int]) -> None:
    step(f"fetching {remote}: " + ", ".join(f"lab{lab}" for lab in labs))
    names = [f"+refs/heads/lab{lab}:refs/remotes/{remote}/lab{lab}" for lab in labs]
    shallow = git.text("rev-parse", "--is-shallow-repository") == "true"
    git.data("fetch", "--quiet", "--no-tags", *(["--unshallow"] if shallow else []), remote, *names)
    # A clone of a single branch would not know the others, neither as upstream nor in a plain `git fetch`.
    patterns = [row.lstrip("+").partition(":")[0] for row in git.lines("config", "--get-all", f"remote.{remote}.fetch")]
    if not all(any(fnmatchcase(f"refs/heads/lab{lab}", pattern) for pattern in patterns) for lab in labs):
        git.data("remote", "set-branches", "--add", remote, "lab*")


def closest_release(git: Git, course: Course, tree: str) -> str | None:
    """The release that `tree` differs least from; None when it resembles none.

    Lines are counted: a student's own edits count against every release alike, and a correction the
    student does not have counts against those that contain it.
    """
    best: tuple[int, str] | None = None
    seen = set()
    for row in git.lines("log", "--reverse", "--format=%H %T", *course.tips.values()):
        commit, candidate = row.split(" ")
        if candidate in seen:
            continue
        seen.add(candidate)
        distance = 0
        for change in git.lines("diff-tree", "-r", "--numstat", "--no-renames", candidate, tree):
            added, removed, _ = change.split("\t", 2)
            distance += 1 if added == "-" else int(added) + int(removed)
        if best is None or distance < best[0]:
            best = (distance, commit)
    if best is None:
        return None
    ours = {(entry.path, entry.id) for entry in git.files(tree)}
    theirs = {(entry.path, entry.id) for entry in git.files(best[1])}
    return best[1] if 2 * len(ours & theirs) >= len(theirs) else None
