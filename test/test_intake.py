"""What the grader takes out of folders, archives and git repositories, and what it refuses.

Every hostile submission here comes with a canary: a file outside that it tries to write or to read,
or a program that it tries to have run.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import stat
import struct
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from grade import archive, contain, intake, names, sandbox
from grade.intake import Wish, moment, take
from grade.submission import BadSubmission

KALLOC, VM, MAIN = b"int kalloc;\n", b"int vm;\r\n", b"int main;\n"
WORK = {"kern/kalloc.c": KALLOC, "kern/vm.c": VM}
WISH = Wish(2, tuple(WORK), ("kern/scratch.c",), {"kern/main.c": names.digest(MAIN), "Makefile": names.digest(b"all:\n")})
SECRET = b"canary: nobody may read this\n"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file outside of any submission, which must stay as it is."""
    path = tmp_path / "canary" / "vm.c"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def tar(path: Path, files: dict[str, bytes], *odd: tarfile.TarInfo, last: bool = True) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        if last:
            for name, data in files.items():
                out.addfile(member(name, size=len(data)), io.BytesIO(data))
        for info in odd:
            out.addfile(info)
        if not last:
            for name, data in files.items():
                out.addfile(member(name, size=len(data)), io.BytesIO(data))
    return path


def zipped(path: Path, files: dict[str, bytes], **modes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.compress_type = 3, zipfile.ZIP_DEFLATED
            info.external_attr = modes.get(name.replace("/", "_").replace(".", "_"), stat.S_IFREG | 0o644) << 16
            out.writestr(info, data)
    return path


def refused(path: Path, wish: Wish = WISH) -> str:
    with pytest.raises(BadSubmission) as caught:
        take(path, wish)
    said = str(caught.value)
    assert said and "\n" not in said and said.isprintable()
    return said


# ---- Honest ones ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda p: folder(p / "s", WORK),
    lambda p: folder(p / "s", {"bramble/" + n: d for n, d in WORK.items()}),
    lambda p: tar(p / "s.tar", WORK),
    lambda p: tar(p / "s.tar", {"./handin/" + n: d for n, d in WORK.items()}),
    lambda p: zipped(p / "s.zip", WORK),
    lambda p: zipped(p / "s.zip", {"a/b/" + n: d for n, d in WORK.items()} | {"__MACOSX/a/b/kern/._vm.c": b"\0"}),
    lambda p: zipped(p / "s.zip", {n.replace("/", "\\"): d for n, d in WORK.items()}),
    lambda p: zipped(folder(p / "s", {}).parent / "s.zip", WORK),
])
def test_honest_submissions(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    taken = take(make(tmp_path), WISH)
    assert taken.files == WORK and not taken.ignored and not taken.notes


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_tar_files(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = tmp_path / "odd name"
    packed.write_bytes(pack(tar(tmp_path / "s.tar", {**WORK, "kern/scratch.c": b"x"}).read_bytes()))
    assert take(packed, WISH).files == {**WORK, "kern/scratch.c": b"x"}


def test_a_folder_with_one_archive_in_it(tmp_path: Path) -> None:
    inside = folder(tmp_path / "s", {"readme.txt": b"hello"})
    zipped(inside / "work.zip", WORK)
    taken = take(inside, WISH)
    assert taken.files == WORK and "work.zip" in taken.notes[0]
    zipped(inside / "work2.zip", WORK)
    assert "several archives" in refused(inside)


@pytest.mark.parametrize("make", [folder, tar, zipped])
def test_edited_staff_files_are_named(tmp_path: Path, make: Callable[..., Path]) -> None:
    files = {"x/" + n: d for n, d in {**WORK, "kern/main.c": b"hacked", "Makefile": b"all:\r\n"}.items()}
    assert take(make(tmp_path / "s", files), WISH).ignored == ["kern/main.c"]


def handin(path: Path, work: dict[str, bytes], **change: object) -> Path:
    manifest = {"format": 1, "lab": 2, "commit": "c" * 40, "author": "A <a@b>", "date": "2026-01-01T00:00:00+00:00",
                "files": {n: hashlib.sha256(d).hexdigest() for n, d in work.items()}, **change}
    return tar(path, {f"handin-lab2/{n}": d for n, d in work.items()}
               | {"handin-lab2/manifest.json": json.dumps(manifest).encode()})


def test_handin_bundles(tmp_path: Path) -> None:
    taken = take(handin(tmp_path / "h.tar", WORK), WISH)
    assert taken.files == WORK and not taken.notes
    assert taken.origin["kind"] == "make handin" and taken.origin["commit"] == "c" * 40


def test_handin_bundles_that_were_changed(tmp_path: Path) -> None:
    changed = take(handin(tmp_path / "h.tar", WORK, files={"kern/vm.c": "0"}, lab=1), WISH)
    assert any("kern/vm.c" in n and "changed after" in n for n in changed.notes)
    assert any("for lab 1" in n for n in changed.notes)
    for odd in ({"format": 7}, {"files": []}, {"files": None}, {"lab": {}}):
        assert take(handin(tmp_path / "h.tar", WORK, **odd), WISH).files == WORK
    deep = tar(tmp_path / "d.tar", {**WORK, "manifest.json": b"[" * 100_000})
    assert "not one that make handin writes" in take(deep, WISH).notes[0]


# ---- Hostile names and kinds ------------------------------------------------------------------------


@pytest.mark.parametrize("name, said", [
    ("../canary/vm.c", "leads out"), ("kern/../../canary/vm.c", "leads out"), ("/etc/vm.c", "absolute"),
    ("C:/windows/vm.c", "absolute"), ("kern/\x1b[31mvm.c", "control"), ("a/" * 600 + "vm.c", "characters"),
])
@pytest.mark.parametrize("make", [tar, zipped])
def test_names_that_lead_elsewhere(tmp_path: Path, canary: Path, make: Callable[..., Path], name: str, said: str) -> None:
    assert said in refused(make(tmp_path / "s", {**WORK, name: b"overwritten"}))
    assert canary.read_bytes() == SECRET


@pytest.mark.parametrize("kind, link", [
    (tarfile.SYMTYPE, "../canary/vm.c"), (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "/etc/passwd"),
    (tarfile.LNKTYPE, "kern/kalloc.c"), (tarfile.FIFOTYPE, ""), (tarfile.CHRTYPE, ""), (tarfile.BLKTYPE, ""),
])
def test_links_and_devices_in_tar_files(tmp_path: Path, canary: Path, kind: bytes, link: str) -> None:
    said = refused(tar(tmp_path / "s.tar", {"kern/kalloc.c": KALLOC}, member("kern/vm.c", kind, link)))
    assert "link" in said or "device" in said
    # A link in place of the folder, and the file then written through it.
    said = refused(tar(tmp_path / "s.tar", WORK, member("kern", kind, link or "../canary"), last=False))
    assert "not a folder" in said
    # Elsewhere they do not matter: nothing is unpacked.
    assert take(tar(tmp_path / "s.tar", WORK, member("obj/x", kind, link)), WISH).files == WORK
    assert canary.read_bytes() == SECRET


def test_links_in_zip_files(tmp_path: Path, canary: Path) -> None:
    link = zipped(tmp_path / "s.zip", {**WORK, "kern/vm.c": b"../canary/vm.c"}, kern_vm_c=stat.S_IFLNK | 0o777)
    assert "is a link" in refused(link)
    fifo = zipped(tmp_path / "s.zip", WORK, kern_vm_c=stat.S_IFIFO | 0o644)
    assert "device or a pipe" in refused(fifo)


@pytest.mark.parametrize("make", [tar, zipped, folder])
@pytest.mark.parametrize("twin", ["kern/VM.c", "KERN/vm.c", "kern/\uff56m.c", "kern/v\u200bm.c", "kern/vm.\u0441"])
def test_twins(tmp_path: Path, make: Callable[..., Path], twin: str) -> None:
    """Case, full-width letters, invisible letters.  A letter that only looks the same is another name."""
    path = make(tmp_path / "s", {**WORK, twin: b"other"})
    if twin.endswith("\u0441"):
        assert take(path, WISH).files == WORK
    else:
        assert "hand in one" in refused(path)
    only = make(tmp_path / "t", {"kern/kalloc.c": KALLOC, twin: b"other"})
    said = refused(only)
    assert "kern/vm.c" in said and ("there is" in said) == (not twin.endswith("\u0441"))


def test_composed_and_decomposed_names(tmp_path: Path) -> None:
    assert names.folded("kern/\u00e9.c") == names.folded("kern/e\u0301.c") == names.folded("KERN/E\u0301.C")


@pytest.mark.parametrize("make", [tar, zipped])
def test_the_same_name_twice(tmp_path: Path, make: Callable[..., Path]) -> None:
    path = make(tmp_path / "s", {**WORK, "./kern/vm.c": b"second"})
    assert "twice" in refused(path)


def test_two_copies(tmp_path: Path) -> None:
    both = {f"{where}/{n}": d for where in ("a", "b") for n, d in WORK.items()}
    assert "two copies" in refused(zipped(tmp_path / "s.zip", both))
    deeper = {**WORK, **{f"old/{n}": b"old" for n in WORK}}
    assert take(zipped(tmp_path / "s.zip", deeper), WISH).files == WORK


def test_odd_names_of_submissions(tmp_path: Path) -> None:
    for name in (b"-rf", b"a\nb.tar", b"\xff\xfe", "Zoë; $(touch x)".encode(), b"'\"<b>"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        assert take(tar(path, WORK), WISH).files == WORK


# ---- Bombs ------------------------------------------------------------------------------------------


def test_a_large_file(tmp_path: Path) -> None:
    big = {**WORK, "kern/vm.c": bytes(2 << 20)}
    for make in (tar, zipped, folder):
        assert "larger than 1024 KiB" in refused(make(tmp_path / make.__name__, big))


def test_a_zip_file_that_lies_about_sizes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "s.zip", {**WORK, "kern/vm.c": bytes(8 << 20)})
    data = path.read_bytes().replace(struct.pack("<I", 8 << 20), struct.pack("<I", 9))
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_file_that_unpacks_to_much(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    big = tmp_path / "big.tar"
    with tarfile.open(big, "w") as out:
        out.addfile(member("zeros", size=40 << 20), io.BytesIO(bytes(40 << 20)))
        for name, data in WORK.items():
            out.addfile(member(name, size=len(data)), io.BytesIO(data))
    bomb = tmp_path / "bomb"
    bomb.write_bytes(pack(big.read_bytes()))
    big.unlink()
    assert "unpacks to more than" in refused(bomb)


def test_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 50)
    monkeypatch.setattr(intake, "MAX_WALK", 50)
    many = {**WORK, **{f"x/{n}": b"" for n in range(60)}}
    for make in (tar, zipped, folder):
        assert "more than 50 files" in refused(make(tmp_path / make.__name__, many))


def test_a_zip_file_with_an_endless_directory(tmp_path: Path) -> None:
    path = zipped(tmp_path / "s.zip", WORK)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\5\6")
    struct.pack_into("<HHI", data, at + 8, 60_000, 60_000, 100 << 20)
    path.write_bytes(data)
    assert "endless" in refused(path)


def test_headers_that_claim_the_sky(tmp_path: Path) -> None:
    """A pax header of 200 GiB, a member of negative size, names without end: limits, not memory."""
    start = tar(tmp_path / "s.tar", {}).read_bytes()[:0]
    for kind, size in ((b"x", 200 << 30), (b"L", 200 << 30), (b"g", 1 << 40), (b"0", -512), (b"x", -512)):
        info = member("kern/vm.c", kind)
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        number = size & ((1 << 88) - 1)
        header[124:136] = (b"\x80" if size >= 0 else b"\xff") + number.to_bytes(11, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        path = tmp_path / "claim.tar"
        path.write_bytes(start + bytes(header) + bytes(4096))
        refused(path)


def test_limits_on_time_and_memory() -> None:
    def loop() -> None:
        while True:
            pass

    began = time.monotonic()
    with pytest.raises(BadSubmission, match="longer than"):
        contain.contained(loop, seconds=0.3)
    assert time.monotonic() - began < 5
    with pytest.raises(BadSubmission, match="memory"):
        contain.contained(lambda: len(bytearray(2 << 30)), memory=256 << 20)
    with pytest.raises(BadSubmission, match="no such"):
        contain.contained(lambda: (_ for _ in ()).throw(BadSubmission("no such thing")))
    assert contain.contained(lambda: {"a": b"b"}) == {"a": b"b"}


@pytest.mark.parametrize("data", [
    b"", b"hello", b"\x7fELF" + bytes(600), b"PK\3\4", b"PK\3\4" + bytes(600), b"\x1f\x8b", b"\x1f\x8b" + b"x" * 100,
    b"BZh9" + b"x" * 100, b"\xfd7zXZ\0" + b"x" * 100, bytes(257) + b"ustar" + bytes(250), b"PK\5\6" + b"\xff" * 18,
    b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 2000,
])
def test_broken_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s").write_bytes(data)
    refused(tmp_path / "s")


def test_truncated_archives(tmp_path: Path) -> None:
    for whole, until in ((tar(tmp_path / "s.tar", WORK), 1500), (zipped(tmp_path / "s.zip", WORK), 250)):
        data = whole.read_bytes()
        for length in range(0, until, 50):
            cut = tmp_path / "cut"
            cut.write_bytes(data[:length])
            with pytest.raises(BadSubmission):
                take(cut, WISH)


def test_an_encrypted_zip_file(tmp_path: Path) -> None:
    path = zipped(tmp_path / "s.zip", WORK)
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + flags] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path)


# ---- Hostile folders --------------------------------------------------------------------------------


def test_links_in_folders(tmp_path: Path, canary: Path) -> None:
    work = folder(tmp_path / "s", {"kern/kalloc.c": KALLOC})
    (work / "kern" / "vm.c").symlink_to(canary)
    assert "is a link" in refused(work)
    (work / "kern" / "vm.c").unlink()
    os.mkfifo(work / "kern" / "vm.c")
    assert "device or a pipe" in refused(work)
    linked = tmp_path / "linked"
    linked.mkdir()
    folder(tmp_path / "elsewhere", WORK)
    (linked / "kern").symlink_to(tmp_path / "elsewhere" / "kern")
    assert "missing" in refused(linked)
    (tmp_path / "t").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refused(tmp_path / "t")
    loop = folder(tmp_path / "loop", {})
    loop.mkdir()
    (loop / "loop").symlink_to(loop)
    assert "missing" in refused(loop)


def test_archives_behind_links(tmp_path: Path) -> None:
    outside = zipped(tmp_path / "outside.zip", WORK)
    inside = folder(tmp_path / "s", {"a": b""})
    (inside / "work.zip").symlink_to(outside)
    assert "missing" in refused(inside)


def test_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "neither" in refused(tmp_path / "fifo")
    assert "not a folder" in refused(tmp_path / "nothing")
    assert "neither" in refused(Path("/dev/zero"))


# ---- Git repositories -------------------------------------------------------------------------------


def git(where: Path, *arguments: str, date: str = "2026-03-01T12:00:00+00:00") -> str:
    return subprocess.run(
        ["git", "-c", "user.name=s", "-c", "user.email=s@example.org", "-c", "commit.gpgsign=false",
         "-c", "init.defaultBranch=main", *arguments], cwd=where, check=True, capture_output=True, text=True,
        env={**os.environ, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_GLOBAL": "/dev/null"}
    ).stdout.strip()


def commit(where: Path, text: bytes, date: str) -> str:
    (where / "kern" / "vm.c").write_bytes(text)
    git(where, "add", "-A")
    git(where, "commit", "-qm", "work", date=date)
    return git(where, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """main with two commits, dev with a later one, and uncommitted work."""
    where = folder(tmp_path / "clone", WORK)
    git(where, "init", "-q")
    commit(where, b"first\n", "2026-03-01T12:00:00+00:00")
    commit(where, b"second\n", "2026-03-03T12:00:00+00:00")
    git(where, "checkout", "-qb", "dev")
    commit(where, b"third\n", "2026-03-05T12:00:00+00:00")
    git(where, "checkout", "-q", "main")
    (where / "kern" / "vm.c").write_bytes(b"not committed\n")
    return where


def of(path: Path, ref: str | None = None, before: str | None = None) -> bytes:
    taken = take(path, replace(WISH, ref=ref, before=moment(before) if before else None))
    assert taken.origin["kind"] == "git repository" and len(taken.origin["commit"]) == 40
    return taken.files["kern/vm.c"]


def test_git_work_tree_refs_and_dates(clone: Path) -> None:
    assert take(clone, WISH).files["kern/vm.c"] == b"not committed\n"
    assert of(clone, ref="HEAD") == b"second\n"
    assert of(clone, ref="dev") == b"third\n"
    assert of(clone, ref=git(clone, "rev-parse", "HEAD~")) == b"first\n"
    assert of(clone, before="2026-03-02T00:00+00:00") == b"first\n"
    assert of(clone, before="2026-03-03T12:00:00Z") == b"second\n"
    assert of(clone, ref="dev", before="2026-03-04") == b"second\n"
    wish = replace(WISH, before=moment("2026-02-01"))
    assert "no commit before 2026-02-01" in refused(clone, wish)
    assert "has no branch-x" in refused(clone, replace(WISH, ref="branch-x"))
    for odd in ("--help", "-x", "main:kern", "@{upstream}", "main^{/x}", "../../etc/passwd", "refs/../HEAD"):
        refused(clone, replace(WISH, ref=odd))


def test_a_branch_before_a_tag_of_that_name(clone: Path) -> None:
    git(clone, "tag", "dev", "main~")
    assert of(clone, ref="dev") == b"third\n"


def test_packed_bare_and_cloned_repositories(clone: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    git(tmp_path, "clone", "-q", "--bare", str(clone), str(bare))
    assert of(bare) == b"second\n" and of(bare, ref="dev") == b"third\n"
    git(clone, "gc", "-q")
    assert of(clone, ref="dev") == b"third\n"
    git(tmp_path, "clone", "-q", "--no-local", "--depth", "1", f"file://{clone}", "shallow")
    assert of(tmp_path / "shallow", ref="main") == b"second\n"
    git(tmp_path, "clone", "-q", str(bare), "again")
    assert of(tmp_path / "again", ref="dev") == b"third\n"      # only origin/dev there


def test_staff_files_in_repositories(clone: Path) -> None:
    folder(clone, {"kern/main.c": b"hacked", "Makefile": b"all:\n"})
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "more")
    assert take(clone, replace(WISH, ref="main")).ignored == ["kern/main.c"]


@pytest.mark.parametrize("boxed", [True, False])
def test_what_git_would_run_is_not_run(clone: Path, tmp_path: Path, boxed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration, hooks, filters, fsmonitor, attributes, pagers, credential helpers."""
    if not boxed:
        monkeypatch.setattr(sandbox, "missing", lambda: "switched off")
    alarm = tmp_path / "ran"
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {alarm}\ncat\n")
    script.chmod(0o755)
    config = clone / ".git" / "config"
    config.write_text(config.read_text() + f"""
[core]
    fsmonitor = {script}
    hooksPath = {tmp_path}
    sshCommand = {script}
    pager = {script}
    editor = {script}
    gitProxy = {script}
    alternateRefsCommand = {script}
    attributesFile = {clone}/.gitattributes
[filter "evil"]
    clean = {script}
    smudge = {script}
    process = {script}
[diff]
    external = {script}
[diff "evil"]
    textconv = {script}
    command = {script}
[log]
    showSignature = true
[gpg]
    program = {script}
[uploadpack]
    packObjectsHook = {script}
[alias]
    rev-parse = !{script}
    ls-tree = !{script}
    cat-file = !{script}
[include]
    path = {tmp_path}/more
[credential]
    helper = {script}
[extensions]
    partialClone = origin
[remote "origin"]
    promisor = true
    url = ext::{script} %S
[protocol "ext"]
    allow = always
""")
    (clone / ".gitattributes").write_text("*.c filter=evil diff=evil\n")
    (clone / ".git" / "info" / "attributes").write_text("*.c filter=evil diff=evil\n")
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        target = clone / ".git" / "hooks" / hook
        target.write_text(script.read_text())
        target.chmod(0o755)
    assert of(clone, ref="main") == b"second\n"
    assert of(clone, ref="dev", before="2026-04-01") == b"third\n"
    assert take(clone, WISH).files["kern/vm.c"] == b"not committed\n"
    assert not alarm.exists()
    subprocess.run(["git", "status"], cwd=clone, capture_output=True)
    assert alarm.exists()       # a git that obeys the repository would have run it


def test_objects_that_are_elsewhere(clone: Path, tmp_path: Path, canary: Path) -> None:
    """Alternates, .git as a file or a link, object folders and references that are links."""
    git(tmp_path, "clone", "-q", "--shared", str(clone), "borrower")
    refused(tmp_path / "borrower", replace(WISH, ref="HEAD"))
    pointer = folder(tmp_path / "pointer", {".git": f"gitdir: {clone}/.git\n".encode(), **WORK})
    assert "points elsewhere" in refused(pointer, replace(WISH, ref="HEAD"))
    linked = folder(tmp_path / "linked", WORK)
    (linked / ".git").symlink_to(clone / ".git")
    assert "points elsewhere" in refused(linked, replace(WISH, ref="HEAD"))
    inside = folder(tmp_path / "inside" / ".git", {"HEAD": b"ref: refs/heads/main\n", "config": b""})
    (inside / "objects").symlink_to(clone / ".git" / "objects")
    (inside / "refs").symlink_to(clone / ".git" / "refs")
    refused(tmp_path / "inside", replace(WISH, ref="HEAD"))
    commondir = folder(tmp_path / "worktree" / ".git", {
        "HEAD": b"ref: refs/heads/main\n", "commondir": f"{clone}/.git\n".encode(), "objects/x": b"", "refs/x": b""})
    refused(commondir.parent, replace(WISH, ref="HEAD"))
    head = folder(tmp_path / "head" / ".git", {"objects/x": b"", "refs/x": b""})
    (head / "HEAD").symlink_to(canary)
    assert "canary" not in refused(head.parent, replace(WISH, ref="HEAD"))


def test_pipes_in_a_repository(clone: Path) -> None:
    os.mkfifo(clone / ".git" / "refs" / "heads" / "pipe")
    os.mkfifo(clone / ".git" / "objects" / "pack" / f"pack-{'0' * 40}.pack")
    (clone / ".git" / "packed-refs").unlink(missing_ok=True)
    os.mkfifo(clone / ".git" / "packed-refs")
    assert of(clone, ref="dev") == b"third\n"


def test_replacements_and_grafts_do_not_count(clone: Path) -> None:
    first, last = git(clone, "rev-parse", "main~"), git(clone, "rev-parse", "main")
    git(clone, "replace", last, first)
    assert of(clone, ref="main") == b"second\n"


def test_odd_trees(clone: Path, tmp_path: Path, canary: Path) -> None:
    (clone / "kern" / "vm.c").unlink()
    (clone / "kern" / "vm.c").symlink_to(canary)
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "link")
    assert "is a link" in refused(clone, replace(WISH, ref="HEAD"))
    head = git(clone, "rev-parse", "HEAD")
    for entry in (f"160000 commit {head}\tkern", f"120000 blob {blob(clone, b'../canary')}\tkern",
                  f"100644 blob {blob(clone, b'x')}\tkern"):
        tree = subprocess.run(["git", "mktree", "--missing"], cwd=clone, input=entry, check=True, text=True,
                              capture_output=True).stdout.strip()
        git(clone, "update-ref", "refs/heads/odd", git(clone, "commit-tree", "-m", "odd", tree))
        assert "missing" in refused(clone, replace(WISH, ref="odd"))


def blob(where: Path, data: bytes) -> str:
    return subprocess.run(["git", "hash-object", "-w", "--stdin"], cwd=where, input=data, check=True,
                          capture_output=True).stdout.decode().strip()


def test_a_tree_bomb(clone: Path) -> None:
    """A tree of ten folders, which are all the same tree of ten folders, and so on: 10^12 files."""
    work = git(clone, "rev-parse", "main:kern")
    tree = subprocess.run(["git", "mktree"], cwd=clone, input=f"100644 blob {blob(clone, b'x')}\tvm.c", check=True,
                          text=True, capture_output=True).stdout.strip()
    for _ in range(12):
        rows = "\n".join(f"040000 tree {tree}\td{n}" for n in range(10))
        tree = subprocess.run(["git", "mktree"], cwd=clone, input=rows, check=True, text=True,
                              capture_output=True).stdout.strip()
    rows = f"040000 tree {tree}\tbomb\n040000 tree {work}\tkern"
    tree = subprocess.run(["git", "mktree"], cwd=clone, input=rows, check=True, text=True,
                          capture_output=True).stdout.strip()
    git(clone, "update-ref", "refs/heads/bomb", git(clone, "commit-tree", "-m", "bomb", tree))
    began = time.monotonic()
    assert of(clone, ref="bomb") == b"second\n"
    assert time.monotonic() - began < 20


def test_a_large_blob(clone: Path) -> None:
    commit(clone, bytes(3 << 20), "2026-03-07T12:00:00+00:00")
    assert "larger than 1024 KiB" in refused(clone, replace(WISH, ref="main"))


def test_a_repository_without_commits(tmp_path: Path) -> None:
    empty = folder(tmp_path / "empty", WORK)
    git(empty, "init", "-q")
    assert "no commit at its HEAD" in refused(empty, replace(WISH, before=moment("2026-01-01")))


def test_dates_and_refs_say_nothing_about_archives(tmp_path: Path) -> None:
    taken = take(zipped(tmp_path / "s.zip", WORK), replace(WISH, before=moment("2026-01-01")))
    assert taken.files == WORK and "--before" in taken.notes[0]


def test_dates_are_dates() -> None:
    assert moment("2026-03-02T00:00+01:00").timestamp() == 1772406000
    for text in ("yesterday", "12", "", "2026-13-01", "never"):
        with pytest.raises(BadSubmission):
            moment(text)
