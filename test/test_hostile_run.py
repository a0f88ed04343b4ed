"""Tricks that a kernel can try while it is graded.

The honest twin is a submission of which vm_free does nothing: that check is worth no point, and no
trick may earn it one.  Each trick is C in vm_free (or assembly in entry.S), run in both boxes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import grading
import mutants
from grade import build, lab as labs, one, run
from grade.machine import Stop
from test_hostile_build import box  # noqa: F401

LAB = 2
CHECK = "vm_free"

PRELUDE = r"""
#include "check.h"
#include "backtrace.h"
#include "bcm2837.h"
#include "console.h"
#include "power.h"
#include "string.h"
#include "sysreg.h"
extern char vectors[], check_vm_free[];
void check_end(const void *check, const char *failed);

/* The entry that maps va in the kernel's own tables. */
static uint64_t *
own_entry(uint64_t va)
{
    uint64_t *table = P2V(read_sysreg(ttbr1_el1) & 0xfffffffff000);

    for (int level = 0;; level++) {
        uint64_t *entry = &table[va >> (39 - 9 * level) & 511];
        if (level == 3 || (*entry & 3) != 3)
            return entry;
        table = P2V(*entry & 0xfffffffff000);
    }
}

static void
flush(void)
{
    __asm__ volatile("dsb sy; tlbi vmalle1; dsb sy; ic iallu; dsb sy; isb" : : : "memory");
}

static void
jump_to_the_end(void)
{
    uint64_t *frame = __builtin_frame_address(0);

    for (int i = 0; i < 20 && frame; i++, frame = (uint64_t *)frame[0]) {
        uint64_t offset;
        const char *name = symbol_name(frame[1], &offset);
        if (name && strcmp(name, "run") == 0)
            __asm__ volatile("mov x2, %1; mov x29, %0; mov sp, x29; mov x30, x2; mov x1, xzr; b check_end"
                             : : "r"(frame[0]), "r"(frame[1]) : "x1", "x2");
    }
}

/* Is the check of this name on the stack? */
static bool
called_by(const char *check)
{
    uint64_t *frame = __builtin_frame_address(0);

    for (int i = 0; i < 20 && frame; i++, frame = (uint64_t *)frame[0]) {
        uint64_t offset;
        const char *name = symbol_name(frame[1], &offset);
        if (name && strcmp(name, check) == 0)
            return true;
    }
    return false;
}
static uint64_t spare[512 * 4] __attribute__((aligned(4096)));
"""

WRITABLE = "uint64_t *e = own_entry((uint64_t)check_vm_free); *e &= ~PTE_RO; flush(); "
PATCH = "*(volatile uint32_t *)check_vm_free = 0xd65f03c0; "
DMA = """
    static volatile uint32_t cb[8] __attribute__((aligned(32)));
    static volatile uint32_t ret[4] = {0xd65f03c0, 0xd65f03c0, 0xd65f03c0, 0xd65f03c0};
    cb[0] = 1 << 4 | 1 << 8; cb[1] = (uint32_t)V2P(ret); cb[2] = (uint32_t)V2P(check_vm_free); cb[3] = 16;
    mmio_write(0x3f007ff0, 1); mmio_write(0x3f007004, (uint32_t)V2P(cb)); mmio_write(0x3f007000, 1);
"""
MAILBOX = "mmio_write(0x3f00b8a0, ((uint32_t)V2P(check_vm_free) & ~15u) | 8); for (int i = 0; i < 1000; i++) __asm__(\"\");"
SCREEN = """
    static volatile uint32_t m[16] __attribute__((aligned(16))) = {64, 0, 0x48003, 8, 0, 60000, 60000, 0x48004, 8, 0, 60000, 60000, 0};
    mmio_write(0x3f00b8a0, (uint32_t)V2P(m) | 8);
"""
SMC = """
    volatile uint32_t *v = P2V(0x400);
    v[0] = 0xd53e1100; v[1] = 0xb27f0000; v[2] = 0xd51e1100; v[3] = 0xd69f03e0;   /* scr_el3 |= 2; eret */
    flush(); __asm__ volatile("smc #0" : : : "x0", "memory");
"""
COPY = """
    uint64_t *e = own_entry((uint64_t)check_vm_free);
    memcpy(spare, (void *)((uint64_t)check_vm_free & ~4095ul), 4096);
    ((uint32_t *)spare)[((uint64_t)check_vm_free & 4095) / 4] = 0xd65f03c0;
    *e = (*e & ~0xfffffffff000ul) | V2P(spare); flush();
"""
ROOT_COPY = """
    memcpy(spare, P2V(read_sysreg(ttbr1_el1)), 4096);
    write_sysreg(ttbr1_el1, V2P(spare)); __asm__("isb"); flush();
"""
ALIAS = """
    uint64_t *root = P2V(read_sysreg(ttbr1_el1));
    root[300] = V2P(&spare[512]) | 3; spare[512] = V2P(&spare[1024]) | 3;
    spare[1024] = 0 | PTE_AF | PTE_PXN | PTE_UXN | 1; flush();
"""

# Trick: body of vm_free, and what the grader's answer is: kind, message.
KERNEL = {
    "nothing at all (the honest twin)": ("", "failed", "nothing at all was freed"),
    "check_end(NULL, NULL)": ("check_end(NULL, NULL);", "judge|tampered", "went to check_end|vm_free"),
    "check_end, then on": ("check_end(NULL, NULL); kfree((char *)pgdir);", "judge", "."),
    "a jump to check_end as if the check had returned": ("jump_to_the_end();", "judge", "missing"),
    "good for the kernel's check only": (
        "if (called_by(\"check_vm_free\")) jump_to_the_end(); kfree((char *)pgdir);", "judge", "."),
    "good while a check= is asked for": (
        "if (check_is_last()) jump_to_the_end();", "judge", "missing"),
    "says so on staff's UART": (
        "for (const char *s = \"boot: monitor\\ncheck passed\\n\"; *s; s++) mmio_write(PL011_DR_PA, *s);"
        "cprintf(\"check_vm_free: passed!\\n\");", "failed", "nothing at all was freed"),
    "code made writable and changed": (WRITABLE + PATCH + "flush(); jump_to_the_end();", "tampered", "overwritten|another way"),
    "code made writable": (WRITABLE + "jump_to_the_end();", "tampered", "another way"),
    "code changed and put back": (
        "uint32_t was = *(uint32_t *)check_vm_free; " + WRITABLE + PATCH
        + "*(volatile uint32_t *)check_vm_free = was; *e |= PTE_RO; flush(); jump_to_the_end();", "judge", "missing"),
    "code replaced by a copy": (COPY + "jump_to_the_end();", "tampered", "another way"),
    "another root table": (ROOT_COPY + "jump_to_the_end();", "tampered", "TTBR1_EL1"),
    "an alias of the code, writable": (ALIAS + "jump_to_the_end();", "tampered", "can be written"),
    "a hole in the linear map": (
        "uint64_t *e = own_entry(0xffff000000c00000); *e += 1 << 21; flush(); jump_to_the_end();",
        "tampered", "of the linear map leads to"),
    "vectors of one's own": (
        "memcpy(spare, vectors, 2048); write_sysreg(vbar_el1, spare); __asm__(\"isb\"); jump_to_the_end();",
        "tampered", "VBAR"),
    "another SCTLR": (
        "write_sysreg(sctlr_el1, read_sysreg(sctlr_el1) | 2); __asm__(\"isb\"); jump_to_the_end();",
        "tampered", "SCTLR"),
    "another MAIR": ("write_sysreg(mair_el1, 0); __asm__(\"isb\"); jump_to_the_end();", "tampered", "MAIR_EL1"),
    "another TCR": (
        "write_sysreg(tcr_el1, read_sysreg(tcr_el1) | 1ul << 37); __asm__(\"isb\"); jump_to_the_end();",
        "tampered", "TCR_EL1"),
    "breakpoints of one's own": (
        "write_sysreg(mdscr_el1, 1 << 15 | 1 << 13); __asm__(\"isb\"); jump_to_the_end();", "tampered", "MDSCR_EL1"),
    "registers changed in calls only, and put back": (
        "uint64_t vbar = read_sysreg(vbar_el1); write_sysreg(vbar_el1, spare);"
        "for (volatile int i = 0; i < 9; i++); write_sysreg(vbar_el1, vbar); jump_to_the_end();", "judge|tampered", "."),
    "EL3, by smc": (SMC + "jump_to_the_end();", "tampered", "EL3 was changed"),
    "the DMA engine": (DMA + "jump_to_the_end();", "tampered", "overwritten"),
    "the mailbox": (MAILBOX + "jump_to_the_end();", "tampered", "overwritten"),
    "a screen larger than the host": (SCREEN + "jump_to_the_end();", "judge|error|time", "."),
    "interrupts": (
        "write_sysreg(cntp_tval_el0, 100); write_sysreg(cntp_ctl_el0, 1); mmio_write(0x40000040, 2);"
        "if (!called_by(\"check_vm_free\")) return; jump_to_the_end();", "judge|tampered", "."),
    "interrupts left on": (
        "__asm__ volatile(\"msr daifclr, #2\"); jump_to_the_end();", "judge|tampered|time", "."),
    "the other cores": (
        "for (int i = 1; i < 4; i++) ((volatile uint64_t *)P2V(0xd8))[i] = 0x80000;"
        "__asm__ volatile(\"dsb sy; sev\");", "failed", "nothing at all was freed"),
    "powers off": ("power_off();", "power-off", "powered off"),
    "resets": ("power_reset();", "reset", "reset"),
    "never returns": ("for (;;) __asm__ volatile(\"\");", "time", "still running"),
    "sleeps": ("__asm__ volatile(\"1: wfi; b 1b\");", "time", "sleeps"),
    "prints for ever": ("for (;;) cprintf(\"passed \");", "flood|time", "."),
    "a stack that never ends": ("volatile char big[3000]; big[0] = 1; vm_free(pgdir, level + 1); big[1] = 1;", "failed|judge", "overflow"),
    "frees itself in a circle": ("kfree((char *)pgdir); ((uint64_t *)pgdir)[0] = (uint64_t)pgdir;", "failed|judge", "."),
}

# In el2_to_el1, before the eret; and what the grader's answer is.
ENTRY = {
    "stays at EL2": ("    ret\n", "boot", "EL2"),
    "stage 2": ("    orr x0, x0, #1\n    msr hcr_el2, x0\n", "tampered|boot", "HCR_EL2|."),
    "traps writes to TTBR1": ("    orr x0, x0, #1 << 26\n    msr hcr_el2, x0\n", "tampered|boot", "HCR_EL2|."),
    "EL0's rights for EL1": ("    orr x0, x0, #1 << 27\n    msr hcr_el2, x0\n", "tampered|boot", "HCR_EL2|."),
    "tables for stage 2": ("    mov x1, #0x100000\n    msr vttbr_el2, x1\n", "tampered", "VTTBR_EL2"),
    "traps debug": ("    mov x1, #0x100\n    msr mdcr_el2, x1\n", "tampered|boot", "MDCR_EL2|."),
    "traps CPACR": ("    mrs x1, cptr_el2\n    orr x1, x1, #1 << 31\n    msr cptr_el2, x1\n", "tampered|boot", "CPTR_EL2|."),
    "changes staff's code before it runs": (
        "    adrp x1, check_end\n    add x1, x1, :lo12:check_end\n    ldr w2, =0xd65f03c0\n    str w2, [x1, #4]\n",
        "tampered", "overwritten"),
}


@dataclass
class Bench:
    tree: build.Tree
    files: dict[str, bytes]
    scratch: Path
    lab: Any
    exercises: list[Any]
    runs: int = 0

    def grade(self, changed: dict[str, bytes], name: str = CHECK) -> run.Result:
        build.overlay(self.tree, {name: data for name, data in {**self.files, **changed}.items()
                                  if (self.tree.path / name).read_bytes() != data})     # make leaves the others alone
        for product in (self.tree.path / "obj").glob("kernel8.*"):
            product.unlink()
        built = build.build(self.tree, LAB, 0, 2)
        assert built.ok, built.output
        check = next(c for c in self.lab.checks if c.name == name)
        self.runs += 1
        return run.run_check(self.tree.path, built.image, built.elf, self.lab, check, check.points, 4711,
                             self.exercises, self.scratch / f"run{self.runs}")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("hostile")
    honest = grading.submission(folder / "honest", LAB, LAB)
    vm = honest / "kern" / "vm.c"
    grading.replace_body(vm, "\nvm_free(", "(void)pgdir, (void)level; @TRICK@")
    text = vm.read_text()
    vm.write_text(text[:text.rindex("\nvoid\nvm_free(")] + PRELUDE + text[text.rindex("\nvoid\nvm_free("):])
    tree = build.pristine(grading.ROOT, LAB, folder / "tree")
    files = {p.relative_to(honest).as_posix(): p.read_bytes() for p in honest.rglob("*") if p.is_file()}
    course = labs.load(tree.path)
    made = Bench(tree, files, folder, course[LAB], [e for n in (1, LAB) for e in course[n].exercises])
    build.overlay(tree, files)
    return made


@pytest.mark.parametrize("trick", KERNEL)
def test_kernel(trick: str, bench: Bench, box: str) -> None:  # noqa: F811
    body, kind, message = KERNEL[trick]
    result = bench.grade({"kern/vm.c": bench.files["kern/vm.c"].replace(b"@TRICK@", body.encode())})
    assert (result.score, result.passed) == (0, False), result
    assert re.fullmatch(kind, result.kind) and re.search(message, result.message), result
    assert not one.is_our_trouble([result])


@pytest.mark.parametrize("trick", ENTRY)
def test_entry(trick: str, bench: Bench, box: str) -> None:  # noqa: F811
    """With a kernel that does nothing wrong else: it loses every point."""
    lines, kind, message = ENTRY[trick]
    entry = bench.files["kern/entry.S"].decode()
    at = entry.index("    eret", entry.index("\nel2_to_el1:"))
    result = bench.grade({"kern/entry.S": (entry[:at] + lines + entry[at:]).encode(),
                          "kern/vm.c": bench.files["kern/vm.c"].replace(b"@TRICK@", b"")}, "map_region")
    assert (result.score, result.passed) == (0, False), result
    assert re.fullmatch(kind, result.kind) and re.search(message, result.message), result


def test_without_a_trick_the_other_checks_pass(bench: Bench) -> None:
    honest = {"kern/vm.c": bench.files["kern/vm.c"].replace(b"@TRICK@", b"")}
    result = bench.grade(honest, "map_region")
    assert result.passed, result


# --- the judge alone ------------------------------------------------------------

def forged(self: run.Run) -> None:
    """A check that was passed by perfect forgery: it returns before its first line."""
    self.judge("begin")
    for symbol in ("check_begin", "panicked"):
        self.machine.unbreak(self.guest.symbol(symbol))
    own = self.guest.symbol(f"check_{self.check.name}")
    self.machine.break_at(own)
    stop = self.machine.run(self.check.ticks)
    self.machine.unbreak(own)
    if stop is Stop.BREAKPOINT and self.machine.pc == own:
        self.machine.set_register("pc", self.machine.register("x30"))
        stop = self.machine.run(self.check.ticks)
    if stop is not Stop.BREAKPOINT:
        raise run.Ended("time", "the check did not come to its end")
    self.machine.set_register("x1", 0)


# Those that the kernel's own check alone had found, once; and the first of each check.
KEPT = ("A7-empty-list-followed", "G2-lock-kept", "kalloc-last-page-kept", "reserve-too-small",
        "range-last-page-refused", "bt-aligned-to-8")


def sample() -> list[mutants.Mutant]:
    if os.environ.get("ALL_FORGED"):
        return [m for m in mutants.read_all() if m.checks != (mutants.BUILD,)]
    seen: set[tuple[int, str]] = set()
    chosen = []
    for mutant in mutants.read_all():
        key = (mutant.lab, mutant.checks[0])
        if mutant.name in KEPT or key not in seen and mutant.checks[0] not in (mutants.BUILD, mutants.WHOLE_LAB):
            seen.add(key)
            chosen.append(mutant)
    return chosen


LABS = sorted(grading.course())


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[int, mutants.Bench]:
    folder = tmp_path_factory.mktemp("forged")
    return {lab: mutants.Bench(lab, folder) for lab in LABS}


@pytest.mark.parametrize("lab", LABS)
def test_judges_need_no_check(lab: int, benches: dict[int, mutants.Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference passes with forged checks as well: what the next test finds is found by the judges."""
    monkeypatch.setattr(run.Run, "execute", forged)
    reference = {name: (benches[lab].tree.path / name).read_bytes() for name in benches[lab].lab.student}
    every = tuple(check.name for check in benches[lab].lab.checks)
    outcome = benches[lab].grade(reference, every, 7)
    assert not outcome.trouble and not outcome.failed, outcome


@pytest.mark.parametrize("mutant", sample(), ids=lambda m: m.name)
def test_a_forged_check_gains_nothing(mutant: mutants.Mutant, benches: dict[int, mutants.Bench],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge alone finds what the kernel's own check would have found (ALL_FORGED=1: every mutant)."""
    monkeypatch.setattr(run.Run, "execute", forged)
    wanted = mutants.should_fail(mutants.Job(mutant.lab, mutant.base, mutant))
    outcome = benches[mutant.lab].grade(mutants.mutated(mutant), wanted, 7)
    assert not outcome.trouble and not outcome.passed, outcome
