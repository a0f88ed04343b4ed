"""make bench: the same numbers in every run, and no target missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test" / "bench"))

import bench  # noqa: E402
from test_build import LAST  # noqa: E402


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    subprocess.run(["make", "-s", "-C", ROOT, f"O={folder}", "bench-kernel"], check=True)
    return folder / "bench" / "kernel8.img"


def test_two_runs_agree_and_no_target_is_missed(image: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    first, second = bench.measure(image, LAST), bench.measure(image, LAST)
    assert first == second
    missed = bench.report(first)
    assert not missed, capsys.readouterr().out


def test_a_missed_target_is_told() -> None:
    results = {row.name: (int((row.limit or row.target or 0) + 1) * 1000, 1000) for row in bench.ROWS}
    results["whole"] = bench.WHOLE - 1, 1
    missed = bench.report(results)
    assert missed[:-1] == [row.title for row in bench.ROWS if row.target]
    assert missed[-1].startswith("free memory")
