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


@pytest.fixture
def source(tmp_path: Path) -> rehearsal.Source:
    """Staff's repository of a little course with four labs."""
    return rehearsal.make_source(tmp_path / "source")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler as it is, without memory (compiler.py)."""
    monkeypatch.setenv("PATH", compiler.PLAIN)
