"""grade/procs.py and lab 6's judges read the kernel's structures where the headers have them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import grading

from grade import lab as labs
from grade import procs

ROOT = grading.ROOT
LAYOUT = r"""
#include <stddef.h>
#include "pager.h"
#include "proc.h"
#include "vma.h"
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #field)
AT(proc, state, STATE); AT(proc, pid, PID); AT(proc, ppid, PPID); AT(proc, name, 124); AT(proc, next, NEXT);
AT(proc, waits, WAITS); AT(proc, kstack, 168); AT(proc, as.root, 176); AT(proc, as.asid, 184); AT(proc, as.vmas, 192);
AT(proc, as.pages, 216); AT(proc, as.image, 224); AT(proc, killed, KILLED); AT(proc, status, STATUS);
AT(proc, children, CHILDREN); AT(proc, sibling, SIBLING);
AT(vma, start, 0); AT(vma, end, 8); AT(vma, prot, 16); AT(vma, kind, 20); AT(vma, next, 24);
AT(image, file, 0); AT(image, size, 8); AT(image, users, 376); AT(image, next, 384); AT(image, npages, 392);
AT(image, page, IMAGE_SIZE);
_Static_assert(sizeof(struct proc) == PROC_SIZE && sizeof(struct vma) == 32, "sizes");
_Static_assert(PROC_NEW == NEW && PROC_RUNNABLE == RUNNABLE && PROC_RUNNING == RUNNING && PROC_SLEEPING == SLEEPING
               && PROC_ZOMBIE == ZOMBIE, "states");
"""
NAMES = ("NEW", "RUNNABLE", "RUNNING", "SLEEPING", "ZOMBIE", "STATE", "PID", "PPID", "NEXT", "WAITS", "KILLED", "STATUS",
         "CHILDREN", "SIBLING")


def whole() -> Any:
    return labs.module(ROOT / "labs" / "lab6" / "judge_whole.py", "judge_whole_of_lab_6")


def test_layout(tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    known = {name: getattr(procs, name) for name in NAMES}
    known |= {"PROC_SIZE": procs.PROC.size, "IMAGE_SIZE": procs.IMAGE.size}
    source.write_text("".join(f"#define {name} {value}\n" for name, value in known.items()) + LAYOUT)
    done = subprocess.run([grading.CROSS + "gcc", "-std=gnu17", "-ffreestanding", "-fsyntax-only", "-DLAB=6", "-DSOL=6",
                           "-I", str(ROOT / "inc"), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_fields_are_where_they_are_said_to_be() -> None:
    fields = dict(zip(procs.FIELDS, procs.PROC.unpack(bytes(range(200)) * 4)))
    for name, at, size in (("state", procs.STATE, 4), ("ppid", procs.PPID, 4), ("next", procs.NEXT, 8), ("waits", 152, 8),
                           ("kstack", 168, 8), ("image", 224, 8), ("killed", procs.KILLED, 4), ("status", procs.STATUS, 4),
                           ("sibling", procs.SIBLING, 8)):
        assert fields[name] & (1 << 8 * size) - 1 == int.from_bytes((bytes(range(200)) * 4)[at:at + size], "little"), name


def test_pages_of_a_file() -> None:
    """Of a made-up program with a segment that begins in the middle of a page, one for the BSS alone, and a note."""
    header = bytearray(64)
    header[32:40] = (64).to_bytes(8, "little")
    header[54:58] = bytes([56, 0, 3, 0])
    segments = [(1, 0x200, 0x400200, 0x1000), (1, 0, 0x402000, 0), (4, 0x200, 0x400200, 0x20)]
    table = b"".join(kind.to_bytes(4, "little") + bytes(4) + offset.to_bytes(8, "little") + va.to_bytes(8, "little")
                     + bytes(8) + size.to_bytes(8, "little") + bytes(16) for kind, offset, va, size in segments)
    data = bytes(i * 7 & 0xff for i in range(0x1000))
    file = (bytes(header) + table).ljust(0x200, b"\0") + data
    assert list(whole().contents(file)) == [bytes(0x200) + data[:0xE00], data[0xE00:].ljust(4096, b"\0")]
