"""Writes cuts as commits on the published branches, moving them forward only, and records that.

The new commits are made in a scratch repository and arrive in one atomic push, so that a release
is there in full or not at all.  Their ids depend on the source commit, the branches as published
and the arguments, and on nothing else.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import rules
from course import RELEASE_EMAIL, SOURCE_TRAILER
from cut import Cut, Source
from gitrepo import Git, GitError, Person
from say import Refused, step, warn

BRANCH = re.compile(r"(lab|sol)([1-9][0-9]*)(?:-catchup([1-9][0-9]*))?\Z")
_TAG = re.compile(r"release-([1-9][0-9]*)\Z")
_SOURCE = f"{SOURCE_TRAILER}: "


@dataclass(frozen=True, order=True)
class Branch:
    """A branch to publish: lab N (solved up to lab `solved`, when that is not 0)."""

    lab: int
    solved: int = 0
    solutions: bool = False

    @property
    def name(self) -> str:
        if self.solutions:
            return f"sol{self.lab}"
        return f"lab{self.lab}-catchup{self.solved}" if self.solved else f"lab{self.lab}"

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.name}"

    def cut(self, source: Source) -> Cut:
        return Cut(source, self.lab, self.lab if self.solutions else self.solved)


@dataclass(frozen=True)
class Request:
    """What is asked for.  `upto` None: as far as published, or everything when nothing is."""

    upto: int | None = None
    solutions: bool = False
    catch_up: tuple[int, ...] = ()
    message: str | None = None

    @property
    def family(self) -> str:
        return "sol" if self.solutions else "lab"


@dataclass
class Plan:
    """What a publication changes: tips before and after, by branch name."""

    before: dict[str, str]
    after: dict[str, str]
    news: list[str] = field(default_factory=list)

    @property
    def changed(self) -> dict[str, str]:
        return {name: tip for name, tip in self.after.items() if self.before.get(name) != tip}


@dataclass(frozen=True)
class Record:
    """The message of a tag release-K: one publication, enough to repeat it."""

    number: int
    commit: str
    upto: int
    solutions: bool
    catch_up: tuple[int, ...]
    message: str | None
    before: dict[str, str]
    after: dict[str, str]

    @property
    def tag(self) -> str:
        return f"release-{self.number}"

    @property
    def request(self) -> Request:
        return Request(self.upto, self.solutions, self.catch_up, self.message)


# --- the scratch repository ---------------------------------------------------------------------


@contextmanager
def scratch(source: Git) -> Iterator[Git]:
    """A temporary bare repository that sees the source's objects and keeps new ones to itself."""
    objects = Path(source.folder, source.text("rev-parse", "--git-path", "objects")).resolve()
    with tempfile.TemporaryDirectory(prefix="bramble-release-") as folder:
        git = Git(Path(folder), pure=True)
        git.text("init", "--quiet", "--bare", "--initial-branch=lab1")
        Path(folder, "objects", "info").mkdir(parents=True, exist_ok=True)
        Path(folder, "objects", "info", "alternates").write_text(f"{objects}\n")
        yield git


class Destination:
    """The repository published to: a path or a URL."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.is_url = bool(re.match(r"[a-z][a-z0-9+.-]*://|[^/]+@[^/]+:|[^/.]+\.[^/]+:", where))
        self.path = None if self.is_url else Path(where).expanduser().resolve()
        self.is_new = False
        if self.path is not None:
            self.where = str(self.path)
            self.is_new = not self.path.exists() or self.path.is_dir() and not any(self.path.iterdir())

    @property
    def shown(self) -> str:
        """The name without a user or password in it."""
        return re.sub(r"(?<=://)[^/@]*@", "", self.where)

    def branches(self, git: Git) -> dict[str, str]:
        """The tips of its published branches, by name."""
        if self.is_new:
            return {}
        if self.path is not None and not self.path.is_dir():
            raise Refused(f"{self.where} is not a folder")
        try:
            rows = Git(git.folder).lines("ls-remote", "--heads", self.where)
        except GitError as error:
            hint = "Give an empty folder, a path that does not exist yet, a git repository or its URL."
            raise Refused(f"cannot read {self.shown} as a git repository:\n{error}\n{hint}") from None
        tips = {}
        for row in rows:
            tip, ref = row.split("\t")
            if BRANCH.match(name := ref.removeprefix("refs/heads/")):
                tips[name] = tip
        return tips

    def fetch(self, git: Git, tips: dict[str, str]) -> None:
        if tips:
            names = [f"+refs/heads/{name}:refs/heads/{name}" for name in tips]
            Git(git.folder).data("fetch", "--quiet", "--no-tags", self.where, *names)

    def push(self, git: Git, tips: dict[str, str]) -> None:
        """Moves all the branches forward, or none of them."""
        if self.is_new and self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            first = min(tips)
            Git(self.path, pure=True).text("init", "--quiet", "--bare", f"--initial-branch={first}")
            step(f"created the bare repository {self.where}")
        refs = [f"{tip}:refs/heads/{name}" for name, tip in sorted(tips.items())]
        settings = ("-c", "push.followTags=false", "-c", "push.gpgSign=false")
        try:
            Git(git.folder).data(*settings, "push", "--quiet", "--atomic", "--no-verify", self.where, *refs)
        except GitError as error:
            raise Refused(f"{self.shown} did not take the branches; nothing is published:\n{error}") from None


# --- planning -----------------------------------------------------------------------------------


def check_published(git: Git, tips: dict[str, str], request: Request) -> int:
    """Refuses branches that labs/release did not write; returns the highest lab published."""
    other = "lab" if request.solutions else "sol"
    if strangers := [name for name in tips if name.startswith(other)]:
        kinds = {"lab": "the handed-out labs", "sol": "the solutions"}
        raise Refused(
            f"this repository holds {kinds[other]} ({', '.join(sorted(strangers))}); "
            f"{kinds[request.family]} go into a repository of their own"
        )
    for name, tip in sorted(tips.items()):
        rows = git.lines("log", f"--format=%H %ce %(trailers:key={SOURCE_TRAILER},valueonly,separator=%x20)", tip)
        for row in rows:
            commit, email, *source = row.split(" ")
            if email != RELEASE_EMAIL or not any(source):
                about = git.text("log", "-1", "--format=%h %an: %s", commit)
                raise Refused(
                    f"branch {name} holds a commit that labs/release did not make:\n    {about}\n"
                    f"Releasing over it could lose it.  Take it off the branch, or move it to another one."
                )
    numbers = sorted(branch.lab for name in tips if not (branch := parse_branch(name)).solved)
    if numbers != list(range(1, len(numbers) + 1)):
        raise Refused(f"the repository has {request.family} branches {numbers}, not 1 to {len(numbers)} without a gap")
    for lower, upper in zip(numbers, numbers[1:]):
        low, high = f"{request.family}{lower}", f"{request.family}{upper}"
        if not git.is_ancestor(tips[low], tips[high]):
            raise Refused(f"{low} is not an ancestor of {high} there: somebody else changed these branches")
    return len(numbers)


def parse_branch(name: str) -> Branch:
    match = BRANCH.match(name)
    assert match is not None, name
    return Branch(int(match[2]), int(match[3] or 0), match[1] == "sol")


def resolve(request: Request, source: Source, published: int) -> Request:
    """The request with `upto` settled; refuses one that cannot be met."""
    upto = request.upto or (published or source.last)
    if upto > source.last:
        raise Refused(f"--upto {upto}: the source has labs 1 to {source.last}")
    if upto < published:
        raise Refused(
            f"--upto {upto}: labs 1 to {published} are published, and what is published stays.\n"
            f"Say --upto {published}, or leave it out to correct what is out."
        )
    for known in request.catch_up:
        if known >= upto:
            raise Refused(
                f"--catch-up {known} makes a lab {known + 1} in which labs up to {known} are solved, but labs 1 to "
                f"{upto} are what is being published: --upto {known + 1} or a smaller --catch-up"
            )
    return Request(upto, request.solutions, request.catch_up, request.message)


def branches_of(request: Request, tips: dict[str, str]) -> list[Branch]:
    """The branches to write, each after those it contains."""
    assert request.upto is not None
    wanted = {Branch(lab, 0, request.solutions) for lab in range(1, request.upto + 1)}
    wanted |= {Branch(known + 1, known) for known in request.catch_up}
    wanted |= {parse_branch(name) for name in tips}
    return sorted(wanted)


def make_plan(git: Git, source: Source, request: Request, tips: dict[str, str]) -> Plan:
    """Writes the commits into `git`; nothing is published yet."""
    name, email, date = "Bramble", RELEASE_EMAIL, git.text("log", "-1", "--format=%cd", "--date=raw", source.commit)
    author = Person(name, email, date)
    plan = Plan(dict(tips), dict(tips))
    secrets = {known: rules.solution_texts(source, known) for known in (0, *request.catch_up)}
    for branch in branches_of(request, tips):
        cut = branch.cut(source)
        if branch.solved and not branch.solutions:
            secret = secrets.setdefault(branch.solved, rules.solution_texts(source, branch.solved))
            refuse_problems(list(rules.leaks(cut, secret)))
        old = tips.get(branch.name)
        below = Branch(branch.lab, 0) if branch.solved else Branch(branch.lab - 1, 0, branch.solutions)
        base = plan.after.get(below.name)
        step(f"cut {branch.name}: {len(cut.origin)} files")
        tree = cut.write(git)
        parents = [commit for commit in (old, base) if commit]
        if old and base and git.is_ancestor(base, old):
            parents = [old]
        if old and parents == [old] and git.tree_id(old) == tree:
            continue
        subject = _subject(git, branch, source, old, tree, request.message)
        message = f"{subject}\n\n{_SOURCE}{source.commit}\n"
        plan.after[branch.name] = git.write_commit(tree, parents, message, author)
        plan.news.append(f"{branch.name}: {subject}")
    return plan


def _subject(git: Git, branch: Branch, source: Source, old: str | None, tree: str, message: str | None) -> str:
    title = f"Lab {branch.lab}"
    if old is None:
        added = f"labs 1 to {branch.solved} solved, to catch up" if branch.solved else source.labs[branch.lab - 1].title
        return f"{title}: {added}" + (", solved" if branch.solutions else "")
    if message:
        return f"{title}: {message}"
    paths = git.lines("diff-tree", "-r", "--name-only", "--no-renames", old, tree)
    if not paths:
        return f"{title}: take in the history of lab {branch.lab - 1}"
    return f"{title}: correct {', '.join(paths[:4])}" + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")


def warn_students(git: Git, source: Source, request: Request, plan: Plan) -> None:
    """Warns about each correction that touches an exercise students may have done."""
    told = set()
    sources: dict[str, Source] = {}         # several branches come of the same commit
    for name in sorted(plan.changed):
        branch = parse_branch(name)
        if branch.solutions or branch.solved or name not in plan.before:
            continue
        body = git.text("log", "-1", "--format=%B", plan.before[name])
        before = body.rsplit(_SOURCE, 1)[1].strip()
        if git.commit_id(before) is None:
            warn(
                f"commit {before[:10]}, which {name} was made from, is not in this clone: "
                "cannot tell whether a correction touches an exercise"
            )
            continue
        if before not in sources:
            sources[before] = Source(git, before)
        old, new = branch.cut(sources[before]), branch.cut(source)
        for danger in rules.endangered(old, new):
            if (danger.spot.path, danger.spot.name) not in told:
                told.add((danger.spot.path, danger.spot.name))
                warn(str(danger))
        for path in old.source.labs[branch.lab - 1].optional:
            if path in old.origin and (path not in new.origin or old.text(path) != new.text(path)) and path not in told:
                told.add(path)
                warn(f"{path} belongs to the students: a correction of it collides with whatever they wrote there")


def refuse_problems(found: Sequence[str], shown: int = 20) -> None:
    if found:
        more = f"\n... and {len(found) - shown} more" if len(found) > shown else ""
        raise Refused("this source cannot be released:\n" + "\n".join(found[:shown]) + more)


# --- records ------------------------------------------------------------------------------------


def records(source: Git) -> list[Record]:
    """The recorded publications, oldest first."""
    found = []
    for row in source.lines("for-each-ref", "--format=%(objecttype) %(refname:strip=2)", "refs/tags/release-*"):
        kind, tag = row.split(" ", 1)
        if kind != "tag" or not (match := _TAG.match(tag)):
            continue
        body = source.text("for-each-ref", "--format=%(contents:body)", f"refs/tags/{tag}")
        try:
            values = json.loads(body)
            found.append(
                Record(
                    int(match[1]),
                    source.text("rev-parse", f"refs/tags/{tag}^{{commit}}"),
                    values["upto"],
                    values["solutions"],
                    tuple(values["catch_up"]),
                    values["message"],
                    values["before"],
                    values["after"],
                )
            )
        except (ValueError, KeyError, TypeError):
            raise Refused(f"the tag {tag} is not a record of labs/release: rename or delete it") from None
    return sorted(found, key=lambda record: record.number)


def history(found: Sequence[Record], last: Record) -> list[Record]:
    """The publications that led to `last`, oldest first, `last` included."""
    chain = [last]
    while chain[0].before:
        earlier = [r for r in found if r.number < chain[0].number and r.after == chain[0].before]
        if not earlier:
            raise Refused(
                f"{chain[0].tag} went onto branches that no earlier tag records.\n"
                f"Fetch the tags of the clone that published them: git fetch --tags"
            )
        chain.insert(0, earlier[-1])
    return chain


def write_record(source: Git, commit: str, request: Request, plan: Plan, number: int) -> Record:
    assert request.upto is not None
    record = Record(
        number, commit, request.upto, request.solutions, request.catch_up, request.message, plan.before, plan.after
    )
    values = asdict(record)
    del values["number"], values["commit"]
    kind = "solutions of labs" if request.solutions else "labs"
    message = f"Release {number}: {kind} 1 to {request.upto}\n\n{json.dumps(values, indent=1, sort_keys=True)}\n"
    date = source.text("log", "-1", "--format=%cd", "--date=raw", commit)
    header = f"object {commit}\ntype commit\ntag {record.tag}\ntagger Bramble <{RELEASE_EMAIL}> {date}\n\n"
    name = source.text("mktag", stdin=(header + message).encode())
    source.data("update-ref", f"refs/tags/{record.tag}", name, "0" * len(name))
    return record


def delete_record(source: Git, record: Record) -> None:
    source.data("update-ref", "-d", f"refs/tags/{record.tag}")
