"""What the grader makes of barriers, TLB and cache maintenance while it follows a call; and struct aspace."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import grading
from grade.aspace import ASPACE, FIELDS
from grade.order import CLEAN, CLEANED, CLEARED, DIRTY, DROPPED, GONE, INVALIDATED, SYNCED, VISIBLE, Code, Live, Order
from grade.view import P2V

VA, ASID, PA = 0x1234_5678_9000, 0xABCD, 0x40_0000
PAGE = VA >> 12
WORDS = {                                   # as the assembler has them; the operand is in x3
    "dsb sy": 0xD5033F9F, "dsb ish": 0xD5033B9F, "dsb ishst": 0xD5033A9F, "dsb ishld": 0xD503399F, "dsb nsh": 0xD503379F,
    "isb": 0xD5033FDF, "nop": 0xD503201F, "dmb ish": 0xD5033BBF,
    "tlbi vmalle1is": 0xD508831F, "tlbi vmalle1": 0xD508871F, "tlbi aside1is": 0xD5088343, "tlbi aside1": 0xD5088743,
    "tlbi vae1is": 0xD5088323, "tlbi vae1": 0xD5088723, "tlbi vaae1is": 0xD5088363, "tlbi vale1is": 0xD50883A3,
    "tlbi vaale1is": 0xD50883E3, "tlbi alle2is": 0xD50C831F,
    "ic ialluis": 0xD508711F, "ic iallu": 0xD508751F,
}


def through(order: Order, x3: int, *instructions: str) -> None:
    order.g.registers["x3"] = x3            # type: ignore[attr-defined]
    for text in instructions:
        order.instruction(WORDS[text])


def guest() -> Any:
    made = SimpleNamespace(registers={})
    made.reg = lambda name: made.registers[name]
    return made


@pytest.mark.parametrize(("span", "asid", "x3", "instructions", "stage"), [
    (1, ASID, ASID << 48 | PAGE, ("dsb ishst", "tlbi vae1is", "dsb ish"), GONE),
    (1, ASID, ASID << 48 | PAGE, ("dsb sy", "tlbi vale1is", "dsb sy"), GONE),
    (1, ASID, PAGE, ("dsb ish", "tlbi vaae1is", "dsb ish"), GONE),
    (1, ASID, PAGE, ("dsb ish", "tlbi vaale1is", "dsb ish"), GONE),
    (1, ASID, ASID << 48, ("dsb ishst", "tlbi aside1is", "dsb ish"), GONE),
    (1, ASID, 0, ("dsb ishst", "tlbi vmalle1is", "nop", "dsb ish"), GONE),
    (1, None, PAGE, ("dsb ishst", "tlbi vae1is", "dsb ish"), GONE),
    (1, None, ASID << 48, ("dsb ishst", "tlbi aside1is", "dsb ish"), VISIBLE),      # a global entry has no ASID
    (1, ASID, ASID << 48 | PAGE, ("tlbi vae1is", "dsb ish"), VISIBLE),
    (1, ASID, ASID << 48 | PAGE, ("dmb ish", "isb", "tlbi vae1is"), CLEARED),
    (1, ASID, ASID << 48 | PAGE, ("dsb nsh", "tlbi vae1is"), CLEARED),
    (1, ASID, ASID << 48 | PAGE, ("dsb ishld", "tlbi vae1is"), CLEARED),
    (1, ASID, ASID << 48 | PAGE, ("dsb ishst", "tlbi vae1is", "isb"), INVALIDATED),
    (1, ASID, ASID << 48 | PAGE, ("dsb ishst", "tlbi vae1is", "dsb ishst"), INVALIDATED),
    (1, ASID, ASID << 48 | PAGE, ("dsb ishst", "tlbi vae1is", "dsb nsh"), INVALIDATED),
    (1, ASID, ASID << 48 | PAGE, ("dsb ishst", "tlbi vae1", "dsb ish"), VISIBLE),
    (1, ASID, 0, ("dsb ishst", "tlbi vmalle1", "dsb ish"), VISIBLE),
    (1, ASID, 0, ("dsb ishst", "tlbi alle2is", "dsb ish"), VISIBLE),
    (1, ASID, PAGE, ("dsb ishst", "tlbi vae1is", "dsb ish"), VISIBLE),              # ASID 0
    (1, ASID, ASID << 48 | PAGE + 1, ("dsb ishst", "tlbi vae1is", "dsb ish"), VISIBLE),
    (1, ASID, ASID << 48 | VA, ("dsb ishst", "tlbi vae1is", "dsb ish"), VISIBLE),   # not shifted
    (512, ASID, ASID << 48 | PAGE + 5, ("dsb ishst", "tlbi vae1is", "dsb ish"), GONE),      # a table for 2 MiB
    (512, ASID, ASID << 48 | PAGE + 5, ("dsb ishst", "tlbi vale1is", "dsb ish"), VISIBLE),  # the last level alone
    (512, ASID, ASID << 48 | PAGE + 512, ("dsb ishst", "tlbi vae1is", "dsb ish"), VISIBLE),
])
def test_stages(span: int, asid: int | None, x3: int, instructions: tuple[str, ...], stage: int) -> None:
    entry = Live(VA, 0, 0, CLEARED, PA, asid, span << 12)
    through(Order(guest(), "f()", [entry]), x3, *instructions)
    assert entry.stage == stage
    assert stage == GONE or entry.why()


def lines(code: Code, order: Order, word: int, pa: int = PA, step: int = 64) -> None:
    for at in range(0, 4096, step):
        order.g.registers["x3"] = P2V(pa) + at          # type: ignore[attr-defined]
        order.instruction(word | 3)


def test_code() -> None:
    for clean in (0xD50B7B20, 0xD50B7A20, 0xD50B7E20):  # dc cvau, cvac, civac
        code = Code(PA)
        order = Order(guest(), "f()", [], [code])
        assert min(code.lines) == DIRTY and "dc cvau" in str(code.missing())
        lines(code, order, clean, PA + 4096)
        assert set(code.lines) == {DIRTY}
        lines(code, order, 0xD50B7520)                  # ic ivau: too early
        lines(code, order, clean, step=128)
        assert "32 of its 64" in str(code.missing())
        lines(code, order, clean)
        assert set(code.lines) == {CLEANED}
        through(order, 0, "ic ialluis", "dsb nsh")
        assert set(code.lines) == {CLEANED} and code.missing()
        through(order, 0, "dsb ish", "ic iallu", "dsb ish")
        assert set(code.lines) == {CLEAN} and "this core" in str(code.missing())
        lines(code, order, 0xD50B7520)
        assert set(code.lines) == {DROPPED} and "dsb" in str(code.missing())
        through(order, 0, "dsb ish")
        assert set(code.lines) == {SYNCED} and code.missing() is None


def test_struct_aspace(tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    source.write_text('#include "aspace.h"\n' + "".join(
        f"_Static_assert(__builtin_offsetof(struct aspace, {name}) == {8 * i}, \"{name}\");\n"
        for i, name in enumerate(FIELDS)) + f"_Static_assert(sizeof(struct aspace) == {ASPACE.size}, \"size\");\n")
    done = subprocess.run([grading.CROSS + "gcc", "-std=gnu17", "-ffreestanding", "-fsyntax-only", "-DLAB=5", "-DSOL=5",
                           "-I", str(grading.ROOT / "inc"), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
