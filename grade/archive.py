"""Reads zip and tar files as data: no member is ever written to disk, and none but the wanted is kept.

Debian 12's Python has no extraction filters, and needs none here.  Called in a process with limits
on time and memory (contain.py), as both formats can make their reader spend either.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from grade.names import Entry, Sink, clean, shown
from grade.submission import MAX_SIZE, BadSubmission

MAX_ARCHIVE = 64 << 20      # bytes of the file
MAX_UNPACKED = 256 << 20    # bytes of a tar file when unpacked
MAX_ENTRIES = 50_000
MAX_RATIO = 200             # unpacked to packed, beyond ...
FREE_RATIO = 16 << 20       # ... so many bytes
MAX_DIRECTORY = 8 << 20     # bytes of a zip file's directory

BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, lzma.LZMAError, zlib.error, ValueError,
          struct.error, NotImplementedError, OverflowError, IndexError, KeyError)


def kind_of(head: bytes) -> str | None:
    """zip or tar, from a file's first 512 bytes; None when it is neither."""
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")) or head[257:262] == b"ustar":
        return "tar"
    return None


class Capped:
    """A file to read from that ends with BadSubmission when it unpacks to too much."""

    def __init__(self, source: IO[bytes], packed: int):
        self.source = source
        self.limit = min(MAX_UNPACKED, max(FREE_RATIO, packed * MAX_RATIO))
        self.total = 0

    def read(self, size: int) -> bytes:
        if size < 0:
            raise BadSubmission("it is broken: a size in it is negative")
        data = self.source.read(min(size, MAX_UNPACKED + 1))
        self.total += len(data)
        if self.total > self.limit:
            raise BadSubmission(f"it unpacks to more than {self.limit >> 20} MiB: hand in sources only")
        return data


class Tar:
    """A tar file, packed or not.  Read twice: once for the names, once for the wanted files."""

    def __init__(self, path: Path):
        self.path = path
        self.size = path.stat().st_size

    def unpacked(self, raw: BinaryIO) -> IO[bytes]:
        head = raw.read(6)
        raw.seek(0)
        source: Any = raw
        if head.startswith(b"\x1f\x8b"):
            source = gzip.GzipFile(fileobj=raw)
        elif head.startswith(b"BZh"):
            source = bz2.BZ2File(raw)
        elif head.startswith(b"\xfd7zXZ\0"):
            source = lzma.LZMAFile(raw)
        stream: IO[bytes] = source
        return stream

    def members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        with open(self.path, "rb") as raw:
            stream: Any = Capped(self.unpacked(raw), self.size)
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=0) as tar:
                count = 0
                while (member := tar.next()) is not None:
                    vars(tar)["members"] = []       # or it would remember all of them
                    count += 1
                    if count > MAX_ENTRIES:
                        raise BadSubmission(f"there are more than {MAX_ENTRIES} files in it")
                    yield tar, member

    @staticmethod
    def entry(member: tarfile.TarInfo) -> Entry:
        kind = ("folder" if member.isdir() else "link" if member.issym() or member.islnk() else
                "a sparse file" if member.issparse() else "file" if member.isreg() else "a device or a pipe")
        return Entry(clean(member.name), kind, member.size)

    def entries(self) -> Iterator[Entry]:
        for _, member in self.members():
            yield self.entry(member)

    def read(self, names: set[str], sink: Sink) -> None:
        for tar, member in self.members():
            entry = self.entry(member)
            if entry.name in names and entry.kind == "file":
                if entry.size > MAX_SIZE:
                    sink(entry.name, None)
                    continue
                content = tar.extractfile(member)
                data = content.read(MAX_SIZE + 1) if content else b""
                if len(data) != entry.size:
                    raise BadSubmission(f"it is broken: {shown(entry.name)} is cut short")
                sink(entry.name, data)


class Zip:
    """A zip file."""

    def __init__(self, path: Path):
        self.path = path
        self.check_directory()

    def check_directory(self) -> None:
        """Python reads the whole directory into memory: see first that it is of a sane size."""
        with open(self.path, "rb") as f:
            f.seek(max(0, self.path.stat().st_size - 65_557))
            tail = f.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + 22:
            raise BadSubmission("it is broken: a zip file without its directory at the end")
        count, size = struct.unpack_from("<HI", tail, at + 10)
        if tail[max(0, at - 20):].startswith(b"PK\6\7"):        # zip64: sizes stand elsewhere
            where = tail.rfind(b"PK\6\6", 0, at)
            if where < 0 or len(tail) < where + 56:
                raise BadSubmission("it is broken: a zip file without its directory at the end")
            count, size = struct.unpack_from("<QQ", tail, where + 32)
        if count > MAX_ENTRIES or size > MAX_DIRECTORY:
            raise BadSubmission(f"there are more than {MAX_ENTRIES} files in it, or their names are endless")

    def infos(self, archive: zipfile.ZipFile) -> Iterator[tuple[Entry, zipfile.ZipInfo]]:
        infos = archive.infolist()
        if len(infos) > MAX_ENTRIES:
            raise BadSubmission(f"there are more than {MAX_ENTRIES} files in it")
        total = 0
        for info in infos:
            # Names with backslashes come from old Windows tools.
            name = info.orig_filename.replace("\\", "/")
            unix = info.external_attr >> 16 if info.create_system == 3 else 0
            kind = "folder" if name.endswith("/") else "file"
            if unix and unix & 0o170000 not in (0, 0o100000, 0o040000):
                kind = "link" if unix & 0o170000 == 0o120000 else "a device or a pipe"
            total += info.file_size
            if total > MAX_UNPACKED:
                raise BadSubmission(f"it unpacks to more than {MAX_UNPACKED >> 20} MiB: hand in sources only")
            yield Entry(clean(name), kind, info.file_size), info

    def entries(self) -> Iterator[Entry]:
        with zipfile.ZipFile(self.path) as archive:
            for entry, _ in self.infos(archive):
                yield entry

    def read(self, names: set[str], sink: Sink) -> None:
        with zipfile.ZipFile(self.path) as archive:
            for entry, info in self.infos(archive):
                if entry.name not in names or entry.kind != "file":
                    continue
                if info.flag_bits & 0x1:
                    raise BadSubmission("it is encrypted: hand it in without a password")
                with archive.open(info) as f:
                    data = f.read(MAX_SIZE + 1)
                sink(entry.name, data if len(data) <= MAX_SIZE else None)


def source_of(path: Path) -> Tar | Zip:
    """The archive at path, an ordinary file."""
    size = path.stat().st_size
    if size > MAX_ARCHIVE:
        raise BadSubmission(f"it is larger than {MAX_ARCHIVE >> 20} MiB: hand in sources only")
    with open(path, "rb") as f:
        kind = kind_of(f.read(512))
    if kind is None:
        raise BadSubmission("it is neither a folder nor a zip or tar file")
    return Zip(path) if kind == "zip" else Tar(path)
