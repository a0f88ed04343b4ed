"""Whole runs of the grader's command line, on kernels that are good, broken and hostile."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import grading
from grading import by_name, grade, replace_body

LAST = max(grading.course())


@pytest.fixture
def solved(tmp_path: Path) -> Path:
    """The student's files of lab 1 as the reference has them."""
    return grading.submission(tmp_path / "submission", 1, 1)


# Seconds that a grading run may take on two processors, with all earlier checks.
SECONDS = {2: 10, LAST: 20}


@pytest.mark.parametrize("lab", sorted({*grading.course()} - {*SECONDS}))
def test_reference_scores_everything(lab: int, tmp_path: Path) -> None:
    status, data, text = grade(grading.submission(tmp_path / "s", lab, lab), lab)
    assert (status, data.get("score"), data.get("max")) == (0, 100, 100), text
    assert all(c["passed"] for c in data["checks"])


@pytest.mark.parametrize("lab", SECONDS)
def test_reference_scores_everything_in_seconds(lab: int, tmp_path: Path, plain: None) -> None:
    """Counted in processor time, as this machine may have other things to do; without a sandbox, in which it would
    not be counted."""
    folder = grading.submission(tmp_path / "s", lab, lab)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status, data, text = grade(folder, lab, env={"GRADE_SANDBOX": "none"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert (status, data.get("score"), data.get("max")) == (0, 100, 100), text
    assert all(c["passed"] for c in data["checks"])
    assert spent / 2 <= 2 * SECONDS[lab], "on a processor half as fast, or one that others use, too"


def test_earlier_judges_agree_with_later_kernels(tmp_path: Path) -> None:
    """In a whole run they are not asked; here all are."""
    names = [c.name for lab in grading.course().values() for c in lab.checks]
    folder = grading.submission(tmp_path / "s", LAST, LAST)
    status, data, text = grade(folder, LAST, *(word for name in names for word in ("--check", name)))
    assert (status, data.get("score"), len(data["checks"])) == (0, 100, len(names)), text


@pytest.mark.parametrize("file, function, body", [
    ("backtrace.c", "backtrace", "(void)fp, (void)pcs, (void)max; for (;;) ;"),     # hangs, so that none comes after it
    ("backtrace.c", "backtrace", "(void)fp, (void)pcs, (void)max; return 0;"),      # fails
])
def test_what_fails_in_a_row_is_told_by_its_judge(tmp_path: Path, file: str, function: str, body: str) -> None:
    folder = grading.submission(tmp_path / "s", 2, 2)
    replace_body(folder / "kern" / file, function + "(", body)
    names = [c.name for c in grading.course()[1].checks]
    alone = by_name(grade(folder, 2, "--seed", "5", *(word for name in names for word in ("--check", name)))[1])
    whole = by_name(grade(folder, 2, "--seed", "5")[1])
    assert not all(alone[name]["passed"] for name in names)
    for name in names:
        assert [whole[name][key] for key in ("passed", "kind", "message")] == \
            [alone[name][key] for key in ("passed", "kind", "message")], name


@pytest.mark.parametrize("trick, passes", [("check_end(me, 0);", True), ("for (;;) check_begin(me);", False)])
def test_a_forged_earlier_check_is_worth_nothing(tmp_path: Path, trick: str, passes: bool) -> None:
    """Of a row the kernel's own word is taken; but it ends, and --check asks the judge."""
    folder = grading.submission(tmp_path / "s", 2, 2)
    replace_body(folder / "kern" / "backtrace.c", "backtrace(",
                 "void check_begin(const void *), check_end(const void *, const char *);\n"
                 'static const char *const me[] = {"backtrace"};\n'
                 f"(void)fp, (void)pcs, (void)max; {trick} return 0;")
    row = by_name(grade(folder, 2, "--seed", "5")[1])
    assert (row["backtrace"]["passed"], row["backtrace"]["points"], row["backtrace"]["score"]) == (passes, 0, 0)
    assert row["uart"]["passed"]
    assert not by_name(grade(folder, 2, "--check", "backtrace")[1])["backtrace"]["passed"]


@pytest.mark.parametrize("lab, sol", sorted({(lab, sol) for lab in grading.course() for sol in (0, lab - 1)}))
def test_handed_out_state_scores_nothing(lab: int, sol: int, tmp_path: Path) -> None:
    """And each check says what to write first."""
    # With the earlier labs solved, their checks pass here as they do in the reference.
    options = () if sol == 0 else ("--no-regressions",)
    status, data, text = grade(grading.submission(tmp_path / "s", lab, sol), lab, *options)
    assert (status, data.get("score")) == (1, 0), text
    for check in data["checks"]:
        assert not check["passed"] or not check["points"], check
        if check["points"]:
            assert "write " in check["message"] and check["kind"] not in ("error", "time"), check


def test_one_check_and_a_seed(solved: Path) -> None:
    name = grading.course()[1].checks[-1].name
    status, data, text = grade(solved, 1, "--check", name, "--seed", "123456789")
    assert status == 0 and [c["name"] for c in data["checks"]] == [name], text
    assert data["seed"] == 123456789 and "seed=456789" in data["checks"][0]["arguments"]


def test_bad_usage_is_status_2(solved: Path) -> None:
    assert grade(solved, 1, "--check", "no_such_check")[0] == 2
    assert grade(solved, 99)[0] == 2
    status, _, said = grade(solved / "nowhere", 1)
    assert status == 2 and "is not a folder" in said
    (solved / "kern" / "uart.c").unlink()
    status, data, said = grade(solved, 1)
    assert status == 2 and "missing" in said and "kern/uart.c" in said and not data
    assert "Traceback" not in said


def test_binary_in_place_of_a_source(solved: Path) -> None:
    (solved / "kern" / "uart.c").write_bytes(Path(sys.executable).read_bytes()[:100000])
    status, _, said = grade(solved, 1)
    assert status == 2 and "kern/uart.c is a compiled file" in said


def test_what_does_not_compile_shows_the_compilers_words(solved: Path) -> None:
    with open(solved / "kern" / "uart.c", "a") as f:
        f.write("\nint broken(void) { return undeclared_name; }\n")
    status, data, said = grade(solved, 1)
    assert status == 1 and data["score"] == 0
    assert "kern/uart.c" in said and "undeclared_name" in said
    assert {c["kind"] for c in data["checks"]} == {"build"}


def test_no_qemu_is_trouble_with_a_remedy(solved: Path) -> None:
    status, _, said = grade(solved, 1, env={"QEMU": "qemu-not-here"})
    assert status == 3 and "./setup" in said and "Traceback" not in said


EVIL = {
    "loops": ("for (;;) asm volatile(\"\");", "boot", "still running after .* in uart_putc"),
    "floods": ("for (;;) mmio_write(AUX_PA + AUX_MU_IO, 88);", "boot", "printed more than"),
    "resets": ("power_reset();", "boot", "the machine was reset"),
    "powers off": ("power_off();", "boot", "the machine was powered off"),
    "sleeps": ("asm volatile(\"msr daifset, #2; 1: wfi; b 1b\");", "boot", "sleeps"),
    "faults": ("*(volatile int *)8 = c;", "panic|boot", "."),
    "ends checks": ("extern void check_end(const void *, const char *); check_end(0, 0);",
                    "judge", "before the check had begun"),
}


@pytest.mark.parametrize("how", EVIL)
def test_kernels_that_misbehave(how: str, solved: Path) -> None:
    """uart_putc runs from the first line that the kernel prints on."""
    body, kind, message = EVIL[how]
    uart = solved / "kern" / "uart.c"
    uart.write_text('#include "power.h"\n' + uart.read_text())
    replace_body(uart, "\nuart_putc(", f"(void)c; {body}")
    began = time.monotonic()
    status, data, said = grade(solved, 1)
    assert status == 1, said
    for check in data["checks"]:
        if not check["passed"]:
            assert re.fullmatch(kind, check["kind"]), check
            assert re.search(message, check["message"]), check
    for asked in grading.course()[1].checks:
        if "uart_putc" in asked.exercises:
            assert by_name(data)[asked.name]["score"] == 0
    assert time.monotonic() - began < 60


def test_edited_staff_files_are_ignored_and_named(solved: Path) -> None:
    (solved / "kern" / "main.c").write_text("#error mine\n")
    (solved / "local.mk").write_text("$(error not to be read)\n")
    status, data, said = grade(solved, 1)
    assert (status, data["score"], data["ignored"]) == (0, 100, ["kern/main.c"]), said


def test_base_reference_does_not_punish_twice(tmp_path: Path) -> None:
    folder = grading.submission(tmp_path / "s", 2, 2)
    replace_body(folder / "kern" / "backtrace.c", "\nbacktrace(",
                 "(void)fp, (void)pcs, (void)max; for (;;) asm volatile(\"\");")
    status, data, said = grade(folder, 2)
    assert [c["name"] for c in data["checks"] if not c["passed"] and not c["points"]], said
    (folder / "kern" / "backtrace.c").unlink()
    status, data, said = grade(folder, 2, "--base", "reference")
    assert (status, data["score"]) == (0, 100) and all(c["passed"] for c in data["checks"]), said


def test_without_a_sandbox_the_score_is_the_same_and_the_report_says_so(solved: Path) -> None:
    status, data, said = grade(solved, 1, env={"GRADE_SANDBOX": "none"})
    assert (status, data["score"]) == (0, 100), said
    assert "no sandbox" in said and any("no sandbox" in n for n in data["notes"])


def test_interrupted_runs_leave_nothing(solved: Path, tmp_path: Path) -> None:
    replace_body(solved / "kern" / "uart.c", "\nuart_putc(", "(void)c; for (;;) asm volatile(\"\");")
    place = tmp_path / "tmp"
    place.mkdir()
    with subprocess.Popen([sys.executable, "-m", "grade", str(solved), "--lab", "1"], cwd=grading.ROOT,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env={**os.environ, "TMPDIR": str(place)}) as run:
        for _ in range(200):
            if list(place.glob("*/run-*")):
                break
            time.sleep(0.05)
        time.sleep(0.3)
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) != 0
    assert not list(place.iterdir())
    time.sleep(0.2)
    found = subprocess.run(["pgrep", "-f", str(place)], capture_output=True, text=True).stdout
    assert not found


@pytest.mark.parametrize("lab", range(2, LAST + 1))
def test_a_forger_scores_nothing(lab: int, tmp_path: Path) -> None:
    """The earlier labs solved; of this one nothing but claims (test/fixtures/grade/forger)."""
    folder = grading.submission(tmp_path / "s", lab, lab - 1)
    for source in (grading.FIXTURES / "forger").rglob("*.[cS]"):
        if (target := folder / source.relative_to(grading.FIXTURES / "forger")).exists():
            target.write_bytes(source.read_bytes())
    status, data, said = grade(folder, lab, "--no-regressions")
    assert data["build"]["ok"], said
    assert (status, data["score"]) == (1, 0), said


def test_a_forger_in_lab_1_scores_nothing(tmp_path: Path) -> None:
    """The console prints every line it should, at the first call of uart_putc."""
    folder = grading.submission(tmp_path / "s", 1, 0)
    uart = folder / "kern" / "uart.c"
    lines = "".join(f"check_{c.name}: passed!\\n" for c in grading.course()[1].checks)
    replace_body(uart, "\nuart_putc(", f"""
    static int said;
    extern void check_end(const void *, const char *);
    if (!said++) {{
        for (const char *s = "{lines}"; *s; s++)
            mmio_write(AUX_PA + AUX_MU_IO, (uint32_t)*s);
        for (const char *s = "boot: monitor\\nboot: passed\\n"; *s; s++)
            mmio_write(0x3f201000, (uint32_t)*s);
    }}
    check_end(0, 0);
    (void)c;""")
    entry = folder / "kern" / "entry.S"
    entry.write_text(entry.read_text().replace("_start:\n", "_start:\n    bl fake\n", 1)
                     + "\nfake:\n    ret\n")
    status, data, said = grade(folder, 1)
    assert data["build"]["ok"], said
    assert (status, data["score"]) == (1, 0), said
