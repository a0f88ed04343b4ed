"""Right work has to pass whatever the judges draw: the campaign that looks for seeds with which it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import seeds


def test_right_work_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["seeds", "el", "--lab", "1", "--seeds", "2", "--first", "7"])
    monkeypatch.setattr(seeds, "_made", [])
    assert seeds.main() == 0
    assert capsys.readouterr().out == "4 runs, seeds 7 to 8: 0 failed\n"


def test_what_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(name: str, seed: int, _: Path) -> str:
        return "expected 1, found 2" if seed == 5 else ""

    monkeypatch.setattr(seeds, "_made", [SimpleNamespace(base="plain", number=3, run=run)])
    found = seeds.run_all([(0, "one", 4), (0, "one", 5), (0, "two", 4)], 2, tmp_path)
    assert found == ["lab 3, plain: one with seed 5: expected 1, found 2"]
    assert capsys.readouterr().out == found[0] + "\n"


def test_no_such_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["seeds", "nothing", "--lab", "1"])
    monkeypatch.setattr(seeds, "_made", [])
    assert seeds.main() == 2
    assert "no such check" in capsys.readouterr().err
