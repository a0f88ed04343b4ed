"""Carries a student's commits from one release onto another.

Everything is worked out in git's object store, with git's own three-way merge; the branch and the
working tree are touched once, at the end, when the outcome is known to be whole.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gitrepo import Entry, Git, Person
from say import Refused

HANDOFF = "Hand-off"  # trailer of the commit that holds a finished lab's work
MERGE_TREE = (2, 38)  # the git that has merge-tree --write-tree

_SETTINGS = ("-c", "merge.renames=true", "-c", "merge.directoryRenames=false", "-c", "merge.renormalize=false")


class Conflict(Exception):
    """The student and staff changed the same lines."""

    def __init__(self, files: Sequence[str]) -> None:
        super().__init__(", ".join(files))
        self.files = tuple(files)


@dataclass(frozen=True)
class Commit:
    """A student's commit."""

    id: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    message: str


def require_git(git: Git) -> None:
    words = git.text("version").split()
    version = tuple(int(part) for part in words[2].split(".")[:2] if part.isdigit())
    if version < MERGE_TREE:
        wanted = ".".join(str(part) for part in MERGE_TREE)
        raise Refused(
            f"this needs git {wanted} or newer, and here is {words[2]}; the handout has the commands to use instead"
        )


def read_commit(git: Git, name: str) -> Commit:
    form = "%x00".join(("%H", "%T", "%P", "%an", "%ae", "%ad", "%B"))
    fields = git.text("log", "-1", "--date=raw", f"--format={form}", name).split("\0", 6)
    commit, tree, parents, author, email, date, message = fields
    return Commit(commit, tree, tuple(parents.split()), Person(author, email, date), message.rstrip("\n") + "\n")


def me(git: Git) -> Person:
    """Who works here; a made-up name where git has been told none."""
    now = f"{int(time.time())} +0000"
    done = git.run("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    if done.returncode == 0:
        person, _, date = done.stdout.decode(errors="replace").strip().rpartition("> ")
        name, _, email = person.rpartition(" <")
        return Person(name, email, date)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "student"
    return Person(user, f"{user}@localhost", now)


class Carrier:
    """Carries commits onto `tip`, a release."""

    def __init__(self, git: Git, tip: str) -> None:
        self.git, self.tip, self.committer = git, tip, me(git)
        self._staff = {entry.id for entry in git.files(tip)}
        self._clean: dict[str, str] = {}  # blob -> the same with LF line ends
        self._trees: dict[str, str] = {}

    def with_lf(self, tree: str) -> str:
        """The tree with CRLF line ends made LF, as .gitattributes wants them."""
        if tree in self._trees:
            return self._trees[tree]
        entries = self.git.files(tree)
        known = self._staff | self._clean.keys()
        fresh = [e.id for e in entries if e.id not in known and e.mode.startswith("100")]
        for name, data in self.git.blobs(fresh).items():
            text = b"\r\n" in data and b"\0" not in data
            self._clean[name] = self.git.write_blob(data.replace(b"\r\n", b"\n")) if text else name
        cleaned = [Entry(e.mode, self._clean.get(e.id, e.id), e.path) for e in entries]
        self._trees[tree] = tree if cleaned == entries else self.git.write_tree(cleaned)
        return self._trees[tree]

    def merge(self, ours: str, theirs: str) -> str:
        """The tree of merging two commits."""
        options = ("--write-tree", "--name-only", "--no-messages", "-z")
        done = self.git.run(*_SETTINGS, "merge-tree", *options, ours, theirs)
        if done.returncode not in (0, 1):
            raise Refused(f"git merge-tree: {done.stderr.decode(errors='replace').strip()}")
        tree, *files = done.stdout.decode(errors="surrogateescape").rstrip("\0").split("\0")
        if done.returncode == 1:
            raise Conflict(sorted({name for name in files if name}))
        return tree

    def _merge_trees(self, base: str, ours: str, theirs: str) -> str:
        """The tree of a three-way merge."""
        if theirs in (base, ours):
            return ours
        if ours == base:
            return theirs
        nobody = Person("nobody", "nobody@localhost", "0 +0000")
        root = self.git.write_commit(base, [], "base\n", nobody)
        sides = [self.git.write_commit(tree, [root], "side\n", nobody) for tree in (ours, theirs)]
        return self.merge(sides[0], sides[1])

    def cleaned(self, head: str) -> str:
        """`head`, or where CRLF was committed a commit on top of it with LF line ends."""
        tree = self.git.tree_id(head)
        lf = self.with_lf(tree)
        return head if lf == tree else self.git.write_commit(lf, [head], "Line ends: LF\n", self.committer)

    def replay(self, commits: Sequence[str], onto: str) -> str:
        """The commits, one by one, on top of `onto`; a merge among them counts as what it changes
        against its first parent."""
        top = onto
        for name in commits:
            commit = read_commit(self.git, name)
            base = self.with_lf(self.git.tree_id(commit.parents[0]))
            ours = self.git.tree_id(top)
            tree = self._merge_trees(base, ours, self.with_lf(commit.tree))
            if tree != ours or commit.tree == self.git.tree_id(commit.parents[0]):
                top = self.git.write_commit(tree, [top], commit.message, commit.author, self.committer)
        return top

    def update(self, head: str) -> tuple[str, str]:
        """`head` brought onto the tip, and how: commit by commit, or by one merge where that alone
        is free of conflicts or the history has merges already."""
        commits = self.git.lines("rev-list", "--reverse", "--topo-order", head, f"^{self.tip}")
        merges = self.git.lines("rev-list", "--min-parents=2", head, f"^{self.tip}")
        if not merges:
            try:
                return self.replay(commits, self.tip), f"your {counted(len(commits), 'commit')} on top"
            except Conflict:
                pass
        clean = self.cleaned(head)
        tree = self.merge(clean, self.tip)
        message = "Take in the course's corrections\n"
        return self.git.write_commit(tree, [clean, self.tip], message, self.committer), "merged into your history"

    def squash(self, head: str, lab: int, title: str) -> tuple[str, str | None]:
        """All work up to `head` on the tip of the next lab: earlier hand-offs as they are, then what
        followed as one commit.  Returns the new tip and the subject of that commit (None: no work)."""
        clean = self.cleaned(head)
        total = self.merge(self.tip, clean)
        handoffs = self._handoffs(head)
        try:
            top = self.replay(handoffs, self.tip)
        except Conflict:  # together they fit, one by one they do not
            top, handoffs = self.tip, []
        done = [f"^{handoffs[-1]}"] if handoffs else []
        commits = self.git.lines("rev-list", "--no-merges", "--reverse", head, f"^{self.tip}", *done)
        if self.git.tree_id(top) == total:
            return top, None
        subject = f"Lab {lab}: {title}"
        message = self.squash_message(subject, commits, lab)
        author = read_commit(self.git, commits[-1]).author if commits else self.committer
        author = Person(author.name, author.email, self.committer.date)
        return self.git.write_commit(total, [top], message, author, self.committer), subject

    def squash_message(self, subject: str, commits: Sequence[str], lab: int) -> str:
        subjects = [read_commit(self.git, name).message.split("\n", 1)[0] for name in commits]
        listing = "".join(f"- {text}\n" for text in subjects)
        return f"{subject}\n\n{listing}\n{HANDOFF}: lab{lab}\n"

    def _handoffs(self, head: str) -> list[str]:
        """The commits up to the last hand-off, oldest first; none where the history is not a line."""
        form = f"--format=%H %(trailers:key={HANDOFF},valueonly,separator=%x20)"
        rows = self.git.lines("log", "--reverse", "--topo-order", form, head, f"^{self.tip}")
        if self.git.lines("rev-list", "--min-parents=2", head, f"^{self.tip}"):
            return []
        marked = [at for at, row in enumerate(rows) if row.partition(" ")[2].strip()]
        return [row.partition(" ")[0] for row in rows[: marked[-1] + 1]] if marked else []

    def graft(self, head: str, release: str) -> str:
        """Joins a history that does not come from the course to the release it was made from."""
        modes = {entry.path: entry.mode for entry in self.git.files(release)}
        entries = self.git.files(self.with_lf(self.git.tree_id(head)))
        # an archive may have lost the executable bits
        fixed = [Entry(modes.get(e.path, e.mode), e.id, e.path) if e.mode.startswith("100") else e for e in entries]
        tree = self.git.write_tree(fixed)
        message = (
            "Join the course's history\n\n"
            "The files stay as they are; from here on git knows which release they come from.\n"
        )
        return self.git.write_commit(tree, [head, release], message, self.committer)


def counted(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def in_the_way(git: Git, root: Path, head: str, new: str) -> list[str]:
    """Files in the working tree that git does not know and that `new` would overwrite."""
    known = {entry.path for entry in git.files(head)}
    fresh = [entry.path for entry in git.files(new) if entry.path not in known]
    blocked = []
    for path in fresh:
        place = root / path
        if place.exists() or place.is_symlink():
            blocked.append(path)
            continue
        for parent in place.parents:  # a file where a folder must go
            name = parent.relative_to(root).as_posix() if root in parent.parents else None
            if name and name not in known and parent.exists() and not parent.is_dir():
                blocked.append(name)
    return sorted(set(blocked))
