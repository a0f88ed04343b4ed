"""The mutants, and what makes sure that the checks find them."""

from __future__ import annotations

import functools
import os
import re

import cut
import mutants
import pytest

TABLE = mutants.ROOT / "labs" / "mistakes.md"


@functools.cache
def everyone() -> list[mutants.Mutant]:
    return mutants.read_all()


@functools.cache
def rows() -> list[str]:
    return [line for line in TABLE.read_text().splitlines() if line.startswith("| ")]


def names_in(text: str) -> set[str]:
    """The mutants that a row of the table names."""
    known = {mutant.name for mutant in everyone()}
    return {word for word in re.findall(r"[A-Za-z0-9-]+", text) if word in known}


@pytest.mark.parametrize("mutant", everyone(), ids=lambda m: f"lab{m.lab}-{m.name}")
def test_mutant_applies(mutant: mutants.Mutant) -> None:
    changed = mutants.mutated(mutant)
    assert set(changed) == set(mutants.solution(mutant.lab, mutant.base))
    assert mutants.should_fail(mutants.Job(mutant.lab, mutant.base, mutant))


@pytest.mark.parametrize("mutant", everyone(), ids=lambda m: f"lab{m.lab}-{m.name}")
def test_mutant_stands_in_the_table(mutant: mutants.Mutant) -> None:
    """In the row of each of its mistakes, and with its checks."""
    mine = [row for row in rows() if mutant.name in names_in(row)]
    assert mine
    for mistake in mutant.mistake.split(", "):
        if mistake != "-":
            assert any(row.startswith(f"| {mistake} |") for row in mine), mistake
    for check in mutant.checks:
        if check not in (mutants.WHOLE_LAB, mutants.BUILD):
            assert any(check in row for row in mine), check


def test_table_names_only_mutants_that_exist() -> None:
    gone = {word for row in rows() for word in re.findall(r"\b[A-G][0-9]+-[A-Za-z0-9-]+", row)}
    assert gone - {mutant.name for mutant in everyone()} == set()
    assert all(names_in(row) or "none: " in row or row.startswith(("| row", "| exercise")) for row in rows())


def test_students_get_none_of_it() -> None:
    assert all(cut.staff_only(m.path.relative_to(mutants.ROOT).as_posix()) for m in everyone())
    assert cut.staff_only("labs/mistakes.md")


def test_what_is_a_survivor() -> None:
    caught = mutants.Outcome(failed={"vm_free": "leaks"}, passed=["free_list"])
    assert caught.verdict(("vm_free",)) == ""
    assert "not caught by free_list" in caught.verdict(("vm_free", "free_list"))
    assert "survives" in mutants.Outcome(passed=["vm_free"]).verdict(("vm_free",))
    assert mutants.Outcome(trouble="no QEMU").verdict(("vm_free",)) == "no QEMU"
    assert "fails vm_free" in mutants.verdict(mutants.Job(2, "plain", None), caught)


@pytest.mark.parametrize(("text", "complaint"), [
    ("mistake: D1\nwrong: x\n\n", "no check"),
    ("mistake: D1\nwrong: x\ncheck: vm_free\nbase: nobody\n\n", "no solution"),
    ("mistake: D1\nwrong x\n\n", "not understood"),
])
def test_header_that_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(mutants.BadMutant, match=complaint):
        mutants.parse(2, "made-up", text)


def test_patch_that_does_not_apply_or_changes_nothing() -> None:
    head = "mistake: -\nwrong: x\ncheck: vm_free\n\ndiff --git a/kern/vm.c b/kern/vm.c\n--- a/kern/vm.c\n+++ b/kern/vm.c\n"
    with pytest.raises(mutants.BadMutant, match="does not apply"):
        mutants.mutated(mutants.parse(2, "made-up", head + "@@ -1,1 +1,1 @@\n-no such line\n+another\n"))
    jobs = [mutants.Job(2, "reference", mutants.parse(2, "made-up", head + "@@ -1,1 +1,1 @@\n-no such line\n+x\n"))]
    outcomes = mutants.grade_all(jobs, False, mutants.SEED, 1, True)
    assert "does not apply" in mutants.verdict(jobs[0], outcomes[jobs[0]])


def test_checks_find_the_mistakes() -> None:
    """A sample, which is the same every time; MUTANTS=all takes all of them, as make mutants does."""
    chosen = everyone() if os.environ.get("MUTANTS") == "all" else mutants.sample(everyone())
    jobs = mutants.jobs_for(chosen)
    outcomes = mutants.grade_all(jobs, False, mutants.SEED, 2, True)
    wrong = {job.name: said for job in jobs if (said := mutants.verdict(job, outcomes[job]))}
    assert not wrong
