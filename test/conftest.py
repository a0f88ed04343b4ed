"""Fixtures that several tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "labs", ROOT / "test"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import compiler  # noqa: E402

compiler.install()

import rehearsal  # noqa: E402

# Those that take longest come first: else one worker is alone with the last of them.
LONG = ("test_real_course.py", "test_grade_run.py", "test_hostile_run.py", "test_fixtures.py", "test_mutants.py",
        "test_user.py", "test_san.py", "test_memview.py", "test_student.py", "test_processes.py", "test_bench.py",
        "test_gdb.py", "test_owners.py", "test_heap_trace.py", "test_build.py",
        "test_hostile_build.py", "test_fork.py", "test_boot.py", "test_grade_teach.py", "test_class.py",
        "test_release.py")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):      # newer xdist: files with many tests first
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture
def source(tmp_path: Path) -> rehearsal.Source:
    """Staff's repository of a little course with four labs."""
    return rehearsal.make_source(tmp_path / "source")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler as it is, without memory (compiler.py)."""
    monkeypatch.setenv("PATH", compiler.PLAIN)
