"""What the judges of lab 5 write by hand: structures of the kernel's, and instructions."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest

import grading
from grade import el0, lab as labs

LAYOUT = r"""
#include "aspace.h"
#include "sched.h"
#include "sysreg.h"
#include "syscall.h"
#include "trap.h"
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #field)
_Static_assert(sizeof(struct trap_frame) == 36 * 8 && sizeof(struct context) == 14 * 8, "sizes");
_Static_assert(sizeof(struct aspace) == 6 * 8, "sizes");
AT(trap_frame, sp, 31 * 8); AT(trap_frame, elr, 32 * 8); AT(trap_frame, spsr, 33 * 8); AT(trap_frame, esr, 34 * 8);
AT(trap_frame, far, 35 * 8); AT(context, x28, 9 * 8); AT(context, fp, 80); AT(context, lr, 88); AT(context, sp, 96);
AT(context, tpidr, 104); AT(aspace, root, 0); AT(aspace, asid, 8);
_Static_assert(NSYSCALLS == 512 && ENOSYS == 38 && SYS_getpid == 172, "system calls");
_Static_assert(VECTOR_USER_SYNC == 8 && VECTOR_USER_IRQ == 9, "vectors");
_Static_assert(EC_FP == 0x07 && EC_SVC == 0x15 && EC_DABORT_LOW == 0x24 && CPACR_FPEN == 3 << 20, "classes");
"""


def test_the_layout_is_that_of_the_headers(tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    source.write_text(LAYOUT)
    done = subprocess.run([grading.CROSS + "gcc", "-std=gnu17", "-ffreestanding", "-fsyntax-only", "-DLAB=5", "-DSOL=5",
                           "-I", str(grading.ROOT / "inc"), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_judges_have_the_same_layouts() -> None:
    folder = grading.ROOT / "labs" / "lab5"
    trap, syscall, switch = (labs.module(folder / f"judge_{name}.py", f"layout_of_{name}")
                             for name in ("trap", "syscall", "switch"))
    assert (trap.FRAME.size, syscall.FRAME.size, switch.CONTEXT.size) == (288, 288, 112)
    assert [*trap.NAMES[31:]] == [*syscall.NAMES[31:]] == ["sp", "elr", "spsr", "esr", "far"]


def assembled(folder: Path, lines: list[str]) -> list[int]:
    source, made, flat = folder / "a.S", folder / "a.o", folder / "a.bin"
    source.write_text("\n".join(lines) + "\n")
    subprocess.run([grading.CROSS + "gcc", "-c", "-o", str(made), str(source)], check=True)
    subprocess.run([grading.CROSS + "objcopy", "-O", "binary", "-j", ".text", str(made), str(flat)], check=True)
    return [word for word, in struct.iter_unpack("<I", flat.read_bytes())]


def test_system_registers(tmp_path: Path) -> None:
    names = {"cpacr": "cpacr_el1"}      # gdb's name, and the assembler's
    lines = [f"msr {names.get(name, name)}, x{register}" for name in el0.REGISTERS for register in (0, 9)]
    assert assembled(tmp_path, [*lines, "msr cntv_cval_el0, xzr", "eret", "b .", "br x10"]) == [
        *(el0.msr(name, register) for name in el0.REGISTERS for register in (0, 9)),
        el0.msr("cntv_cval_el0", 31), el0.ERET, el0.HERE, el0.BR_X10]


@pytest.mark.parametrize(("kind", "pattern"), [
    ("svc", "svc #{imm}"), ("brk", "brk #{imm}"), ("load", "ldr x{a}, [x{b}]"), ("store", "str x{a}, [x{b}]"),
    ("here", "b .")])
def test_what_a_program_executes(tmp_path: Path, kind: str, pattern: str) -> None:
    words = [el0.instruction(kind, random.Random(seed)) for seed in range(20)]
    lines = [pattern.format(imm=word >> 5 & 0xFFFF, a=word & 31, b=word >> 5 & 31) for word in words]
    assert assembled(tmp_path, lines) == words
    assert all(word & 31 != 31 and word >> 5 & 31 != 31 for word in words if kind in ("load", "store"))
